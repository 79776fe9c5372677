//! Numbers of a fixed width, and bits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt8Type};

use super::{ColumnDecoder, Invalid};
use crate::source::sqlserver::rows::Block;

/// How one field becomes a value of a fixed width.
pub(super) trait FixedWidth: Send {
    /// What it becomes.
    type Arrow: ArrowPrimitiveType;

    /// Reads one field.
    fn read(&self, field: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

/// A field of exactly `N` bytes.
#[inline]
pub(super) fn array<const N: usize>(field: &[u8]) -> Result<[u8; N], Invalid> {
    field.try_into().map_err(|_wrong_length| Invalid::Malformed)
}

macro_rules! little_endian {
    ($($name:ident: $native:ty => $arrow:ty),* $(,)?) => {$(
        pub(super) struct $name;

        impl FixedWidth for $name {
            type Arrow = $arrow;

            #[inline]
            fn read(&self, field: &[u8]) -> Result<$native, Invalid> {
                Ok(<$native>::from_le_bytes(array(field)?))
            }
        }
    )*};
}

little_endian! {
    TinyInt: u8 => UInt8Type,
    Int2: i16 => Int16Type,
    Int4: i32 => Int32Type,
    Int8: i64 => Int64Type,
    Float4: f32 => Float32Type,
    Float8: f64 => Float64Type,
}

/// Gathers values of a fixed width.
pub(super) struct Fixed<T: FixedWidth> {
    reader: T,
    values: Vec<<T::Arrow as ArrowPrimitiveType>::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
}

impl<T: FixedWidth> Fixed<T> {
    pub(super) fn new(reader: T, data_type: &DataType) -> Self {
        Self { reader, values: Vec::new(), nulls: NullBufferBuilder::new(0), data_type: data_type.clone() }
    }
}

impl<T: FixedWidth> ColumnDecoder for Fixed<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for field in block.column(bytes, column) {
            let value = match field? {
                Some(field) => {
                    self.nulls.append_non_null();
                    self.reader.read(field)?
                }
                None => {
                    self.nulls.append_null();
                    Default::default()
                }
            };
            self.values.push(value);
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        let array = PrimitiveArray::<T::Arrow>::new(values.into(), self.nulls.finish());
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// Gathers bits.
pub(super) struct Booleans {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Default for Booleans {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }
}

impl ColumnDecoder for Booleans {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        for field in block.column(bytes, column) {
            let value = match field? {
                None => None,
                Some([byte]) => Some(*byte != 0),
                Some(_) => return Err(Invalid::Malformed),
            };
            self.nulls.append(value.is_some());
            self.values.append(value.unwrap_or_default());
        }
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.values.len() / 8
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish())))
    }
}
