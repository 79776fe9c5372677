//! Values of a variable width: texts, bytes, and UUIDs as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, NullBufferBuilder, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use super::{ColumnDecoder, Invalid};
use crate::source::postgres::copy::Block;

/// Bytes and offsets of the values that were gathered.
struct Values {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Default for Values {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl Values {
    /// Takes one field, which `put` appends to the bytes.
    #[inline]
    fn take(
        &mut self,
        field: Option<&[u8]>,
        put: impl Fn(&mut Vec<u8>, &[u8]) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        if let Some(field) = field {
            put(&mut self.bytes, field)?;
        }
        self.nulls.append(field.is_some());
        self.offsets.push(i32::try_from(self.bytes.len()).map_err(|_too_long| Invalid::TooLong)?);
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.bytes.len() + size_of_val(self.offsets.as_slice())
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Vec<u8>, Option<NullBuffer>) {
        let mut next = Vec::with_capacity(self.offsets.len());
        next.push(0);
        let offsets = std::mem::replace(&mut self.offsets, next);
        let next = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes, self.nulls.finish())
    }
}

fn texts(
    (offsets, bytes, nulls): (OffsetBuffer<i32>, Vec<u8>, Option<NullBuffer>),
) -> Result<ArrayRef, Invalid> {
    // One check for the whole column, which finds broken texts and texts that are cut at a
    // character alike.
    let array = StringArray::try_new(offsets, bytes.into(), nulls).map_err(|_not_utf8| Invalid::NotUtf8)?;
    Ok(Arc::new(array))
}

/// Gathers texts.
pub(super) struct Texts {
    values: Values,
    jsonb: bool,
}

impl Texts {
    pub(super) fn plain() -> Self {
        Self { values: Values::default(), jsonb: false }
    }

    /// `jsonb`: every value begins with its version, 1 (`jsonb_send` in `jsonb.c`).
    pub(super) fn jsonb() -> Self {
        Self { values: Values::default(), jsonb: true }
    }
}

impl ColumnDecoder for Texts {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.offsets.reserve(block.rows());
        if self.jsonb {
            for field in block.column(bytes, column) {
                self.values.take(field?, |values, field| {
                    values.extend_from_slice(field.strip_prefix(&[1]).ok_or(Invalid::Malformed)?);
                    Ok(())
                })?;
            }
        } else {
            for field in block.column(bytes, column) {
                self.values.take(field?, |values, field| {
                    values.extend_from_slice(field);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        texts(self.values.finish())
    }
}

/// Gathers UUIDs, as 36 characters each.
#[derive(Default)]
pub(super) struct Uuids(Values);

impl ColumnDecoder for Uuids {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        for field in block.column(bytes, column) {
            self.0.take(field?, |values, field| {
                let uuid = uuid::Uuid::from_slice(field).map_err(|_wrong_length| Invalid::Malformed)?;
                let mut text = uuid::Uuid::encode_buffer();
                values.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
                Ok(())
            })?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.0.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        texts(self.0.finish())
    }
}

/// Gathers bytes.
#[derive(Default)]
pub(super) struct Binaries(Values);

impl ColumnDecoder for Binaries {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        for field in block.column(bytes, column) {
            self.0.take(field?, |values, field| {
                values.extend_from_slice(field);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.0.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        let (offsets, bytes, nulls) = self.0.finish();
        Ok(Arc::new(BinaryArray::new(offsets, bytes.into(), nulls)))
    }
}
