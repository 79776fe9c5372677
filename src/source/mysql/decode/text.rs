//! Values of a variable width: texts and bytes.

use arrow::array::ArrayRef;

use super::{ColumnDecoder, Invalid};
use crate::source::block::Block;
use crate::source::variable_width::VariableWidth;

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

/// Gathers texts.
pub(super) struct Texts<F> {
    values: VariableWidth,
    form: F,
}

impl<F: Form> Texts<F> {
    pub(super) fn new(form: F) -> Self {
        Self { values: VariableWidth::default(), form }
    }
}

impl<F: Form> ColumnDecoder for Texts<F> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for value in block.column(bytes, column) {
            self.values.take::<Invalid>(value?, |texts, value| self.form.put(texts, value))?;
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

/// Gathers bytes, without so many at the beginning of each value.
pub(super) struct Binaries {
    values: VariableWidth,
    cut: usize,
}

impl Binaries {
    pub(super) fn new(cut: usize) -> Self {
        Self { values: VariableWidth::default(), cut }
    }
}

impl ColumnDecoder for Binaries {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for value in block.column(bytes, column) {
            self.values.take::<Invalid>(value?, |values, value| {
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
        Ok(self.values.finish_bytes())
    }
}
