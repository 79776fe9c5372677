//! Values of a variable width on their way into an Arrow array, whatever protocol they come by.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, NullBufferBuilder, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

/// More than 2 GiB of values in one batch: Arrow's offsets have 32 bits.
#[derive(Debug)]
pub(super) struct TooLong;

/// Bytes and offsets of the values that were gathered.
pub(super) struct VariableWidth {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Default for VariableWidth {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl VariableWidth {
    /// Makes room for so many more values.
    pub(super) fn reserve(&mut self, values: usize) {
        self.offsets.reserve(values);
    }

    /// Takes one field, which `put` appends to the bytes.
    #[inline]
    pub(super) fn take<E: From<TooLong>>(
        &mut self,
        field: Option<&[u8]>,
        put: impl Fn(&mut Vec<u8>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(field) = field {
            put(&mut self.bytes, field)?;
        }
        self.end_value(field.is_some())?;
        Ok(())
    }

    /// Takes one field, which `put` appends to the bytes as it arrives; it answers whether there was
    /// one.
    #[cfg(feature = "odbc")]
    #[inline]
    pub(super) fn take_by<E: From<TooLong>>(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let is_there = put(&mut self.bytes)?;
        self.end_value(is_there)?;
        Ok(())
    }

    #[inline]
    fn end_value(&mut self, is_there: bool) -> Result<(), TooLong> {
        self.nulls.append(is_there);
        self.offsets.push(i32::try_from(self.bytes.len()).map_err(|_too_long| TooLong)?);
        Ok(())
    }

    /// Bytes that the values take.
    pub(super) fn byte_size(&self) -> usize {
        self.bytes.len() + size_of_val(self.offsets.as_slice())
    }

    /// The values as texts, and an empty place for the next ones. One check for the whole column,
    /// which finds broken texts and texts that are cut at a character alike.
    pub(super) fn finish_texts(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes, nulls) = self.finish();
        Ok(Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?))
    }

    /// The values as bytes, and an empty place for the next ones.
    pub(super) fn finish_bytes(&mut self) -> ArrayRef {
        let (offsets, bytes, nulls) = self.finish();
        Arc::new(BinaryArray::new(offsets, bytes.into(), nulls))
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
