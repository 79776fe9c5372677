//! Values of a variable width: texts, bytes, and UUIDs as text.

use arrow::array::ArrayRef;

use super::{ColumnDecoder, Invalid};
use crate::source::block::Block;
use crate::source::variable_width::VariableWidth;

/// Gathers texts.
pub(super) struct Texts {
    values: VariableWidth,
    jsonb: bool,
}

impl Texts {
    pub(super) fn plain() -> Self {
        Self { values: VariableWidth::default(), jsonb: false }
    }

    /// `jsonb`: every value begins with its version, 1 (`jsonb_send` in `jsonb.c`).
    pub(super) fn jsonb() -> Self {
        Self { values: VariableWidth::default(), jsonb: true }
    }
}

impl ColumnDecoder for Texts {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        if self.jsonb {
            for field in block.column(bytes, column) {
                self.values.take::<Invalid>(field?, |values, field| {
                    values.extend_from_slice(field.strip_prefix(&[1]).ok_or(Invalid::Malformed)?);
                    Ok(())
                })?;
            }
        } else {
            for field in block.column(bytes, column) {
                self.values.take::<Invalid>(field?, |values, field| {
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
        self.values.finish_texts().map_err(|_not_utf8| Invalid::NotUtf8)
    }
}

/// Gathers UUIDs, as 36 characters each.
#[derive(Default)]
pub(super) struct Uuids(VariableWidth);

impl ColumnDecoder for Uuids {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        for field in block.column(bytes, column) {
            self.0.take::<Invalid>(field?, |values, field| {
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
        self.0.finish_texts().map_err(|_not_utf8| Invalid::NotUtf8)
    }
}

/// Gathers bytes.
#[derive(Default)]
pub(super) struct Binaries(VariableWidth);

impl ColumnDecoder for Binaries {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        for field in block.column(bytes, column) {
            self.0.take::<Invalid>(field?, |values, field| {
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
        Ok(self.0.finish_bytes())
    }
}
