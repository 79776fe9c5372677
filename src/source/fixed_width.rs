//! Values of a fixed width on their way into an Arrow array, whatever protocol they come by.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
};
use arrow::datatypes::DataType;

// `push` is inlined by force: left to itself, the compiler calls it for some types and not for others, which
// costs a tenth of the instructions of their columns.

/// Numbers, decimals and instants that were gathered.
pub(super) struct Primitives<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> Primitives<T> {
    /// For a column of `data_type`, which belongs to `T`.
    pub(super) fn new(data_type: &DataType) -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0), data_type: data_type.clone() }
    }

    /// Makes room for so many more values.
    pub(super) fn reserve(&mut self, values: usize) {
        self.values.reserve(values);
    }

    /// Takes one value; `None` is NULL.
    #[inline(always)]
    pub(super) fn push(&mut self, value: Option<T::Native>) {
        self.values.push(value.unwrap_or_default());
        self.nulls.append(value.is_some());
    }

    /// Takes the fields of a column, each of which `read` turns into a value or NULL.
    #[inline]
    pub(super) fn extend<'a, O, E: From<O>>(
        &mut self,
        fields: impl Iterator<Item = Result<Option<&'a [u8]>, O>>,
        read: impl Fn(&[u8]) -> Result<Option<T::Native>, E>,
    ) -> Result<(), E> {
        for field in fields {
            let value = match field? {
                Some(field) => read(field)?,
                None => None,
            };
            self.push(value);
        }
        Ok(())
    }

    /// Bytes that the values take.
    pub(super) fn byte_size(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    /// The values, and an empty place for the next ones.
    pub(super) fn take_array(&mut self) -> ArrayRef {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        let array = PrimitiveArray::<T>::new(values.into(), self.nulls.finish());
        Arc::new(array.with_data_type(self.data_type.clone()))
    }
}

/// Truths that were gathered.
pub(super) struct Booleans {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Default for Booleans {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }
}

impl Booleans {
    /// Takes one truth; `None` is NULL.
    #[inline(always)]
    pub(super) fn push(&mut self, value: Option<bool>) {
        self.values.append(value.unwrap_or_default());
        self.nulls.append(value.is_some());
    }

    /// Takes the fields of a column, each of which `read` turns into a truth.
    #[inline]
    pub(super) fn extend<'a, O, E: From<O>>(
        &mut self,
        fields: impl Iterator<Item = Result<Option<&'a [u8]>, O>>,
        read: impl Fn(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        for field in fields {
            let value = match field? {
                Some(field) => Some(read(field)?),
                None => None,
            };
            self.push(value);
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The truths, and an empty place for the next ones.
    pub(super) fn take_array(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish()))
    }
}
