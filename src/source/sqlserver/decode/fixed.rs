//! Numbers of a fixed width, and bits.

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt8Type};

use super::{ColumnDecoder, Invalid};
use crate::source::fixed_width::{Booleans, Primitives};
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
    values: Primitives<T::Arrow>,
}

impl<T: FixedWidth> Fixed<T> {
    pub(super) fn new(reader: T, data_type: &DataType) -> Self {
        Self { reader, values: Primitives::new(data_type) }
    }
}

impl<T: FixedWidth> ColumnDecoder for Fixed<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        self.values.extend(block.column(bytes, column), |field| self.reader.read(field).map(Some))
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn value_bits(&self) -> usize {
        size_of::<<T::Arrow as ArrowPrimitiveType>::Native>() * 8
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.values.take_array())
    }
}

impl ColumnDecoder for Booleans {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.extend(block.column(bytes, column), |field| match field {
            [byte] => Ok(*byte != 0),
            _ => Err(Invalid::Malformed),
        })
    }

    fn byte_size(&self) -> usize {
        self.len() / 8
    }

    fn value_bits(&self) -> usize {
        1
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.take_array())
    }
}
