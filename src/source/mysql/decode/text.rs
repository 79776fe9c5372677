//! Values of a variable width: texts and bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, NullBufferBuilder, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use super::{ColumnDecoder, Invalid};
use crate::source::mysql::rows::Block;

/// How a value becomes text.
pub(super) trait Form: Send {
    /// Appends the text of one value.
    fn put(&self, texts: &mut Vec<u8>, value: &[u8]) -> Result<(), Invalid>;
}

/// The value is text already.
pub(super) struct Plain;

impl Form for Plain {
    #[inline]
    fn put(&self, texts: &mut Vec<u8>, value: &[u8]) -> Result<(), Invalid> {
        texts.extend_from_slice(value);
        Ok(())
    }
}

/// Bytes and offsets of the values that were gathered.
struct Values {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Values {
    fn new() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    /// Takes one value, which `put` appends to the bytes.
    #[inline]
    fn take(
        &mut self,
        value: Option<&[u8]>,
        put: impl Fn(&mut Vec<u8>, &[u8]) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        if let Some(value) = value {
            put(&mut self.bytes, value)?;
        }
        self.nulls.append(value.is_some());
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

/// Gathers texts.
pub(super) struct Texts<F> {
    values: Values,
    form: F,
}

impl<F: Form> Texts<F> {
    pub(super) fn new(form: F) -> Self {
        Self { values: Values::new(), form }
    }
}

impl<F: Form> ColumnDecoder for Texts<F> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.offsets.reserve(block.rows());
        for value in block.column(bytes, column) {
            self.values.take(value?, |texts, value| self.form.put(texts, value))?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        let (offsets, bytes, nulls) = self.values.finish();
        // One check for the whole column, which finds broken texts and texts that are cut at a
        // character alike.
        let array =
            StringArray::try_new(offsets, bytes.into(), nulls).map_err(|_not_utf8| Invalid::NotUtf8)?;
        Ok(Arc::new(array))
    }
}

/// Gathers bytes, without so many at the beginning of each value.
pub(super) struct Binaries {
    values: Values,
    cut: usize,
}

impl Binaries {
    pub(super) fn new(cut: usize) -> Self {
        Self { values: Values::new(), cut }
    }
}

impl ColumnDecoder for Binaries {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.offsets.reserve(block.rows());
        for value in block.column(bytes, column) {
            self.values.take(value?, |values, value| {
                values.extend_from_slice(value.get(self.cut..).ok_or(Invalid::Malformed)?);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        let (offsets, bytes, nulls) = self.values.finish();
        Ok(Arc::new(BinaryArray::new(offsets, bytes.into(), nulls)))
    }
}
