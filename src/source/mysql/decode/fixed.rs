//! Values of a fixed width in Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};

use super::{ColumnDecoder, Invalid};
use crate::config::ZeroDates;
use crate::source::mysql::rows::Block;

/// A value that becomes one of a fixed width.
pub(super) trait FixedWidth: Send {
    /// What it becomes.
    type Arrow: ArrowPrimitiveType;

    /// Reads one value.
    fn read(value: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

macro_rules! little_endian {
    ($($name:ident: $native:ty => $arrow:ty),* $(,)?) => {$(
        pub(super) struct $name;

        impl FixedWidth for $name {
            type Arrow = $arrow;

            #[inline]
            fn read(value: &[u8]) -> Result<<$arrow as ArrowPrimitiveType>::Native, Invalid> {
                let bytes = value.try_into().map_err(|_wrong_length| Invalid::Malformed)?;
                Ok(<$native>::from_le_bytes(bytes).into())
            }
        }
    )*};
}

little_endian! {
    Int1: i8 => Int16Type,
    UInt1: u8 => Int16Type,
    Int2: i16 => Int16Type,
    UInt2: u16 => Int32Type,
    Int4: i32 => Int32Type,
    UInt4: u32 => Int64Type,
    Int8: i64 => Int64Type,
    UInt8: u64 => Decimal128Type,
    Float4: f32 => Float32Type,
    Float8: f64 => Float64Type,
}

/// Up to 63 bits.
pub(super) struct Bits;

impl FixedWidth for Bits {
    type Arrow = Int64Type;

    #[inline]
    fn read(value: &[u8]) -> Result<i64, Invalid> {
        i64::try_from(bits(value)?).map_err(|_too_wide| Invalid::Malformed)
    }
}

/// 64 bits.
pub(super) struct WideBits;

impl FixedWidth for WideBits {
    type Arrow = Decimal128Type;

    #[inline]
    fn read(value: &[u8]) -> Result<i128, Invalid> {
        Ok(bits(value)?.into())
    }
}

fn bits(value: &[u8]) -> Result<u64, Invalid> {
    if value.len() > 8 {
        return Err(Invalid::Malformed);
    }
    Ok(value.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
}

/// Gathers values of a fixed width.
pub(super) struct Fixed<T: FixedWidth> {
    values: Vec<<T::Arrow as ArrowPrimitiveType>::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    zero_dates: ZeroDates,
}

impl<T: FixedWidth> Fixed<T> {
    pub(super) fn new(data_type: &DataType, zero_dates: ZeroDates) -> Self {
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            data_type: data_type.clone(),
            zero_dates,
        }
    }
}

impl<T: FixedWidth> ColumnDecoder for Fixed<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for value in block.column(bytes, column) {
            let value = match value? {
                Some(value) => match T::read(value) {
                    Ok(value) => Some(value),
                    Err(Invalid::ZeroDate) if self.zero_dates == ZeroDates::Null => None,
                    Err(invalid) => return Err(invalid),
                },
                None => None,
            };
            self.nulls.append(value.is_some());
            self.values.push(value.unwrap_or_default());
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

/// Gathers truths: `bit(1)`, and `tinyint(1)` where that is one.
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
        for value in block.column(bytes, column) {
            let value = match value? {
                None => None,
                Some([number]) => Some(*number != 0),
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
