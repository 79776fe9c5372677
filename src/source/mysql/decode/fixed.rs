//! Values of a fixed width in Arrow.

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};

use super::{ColumnDecoder, Invalid};
use crate::config::ZeroDates;
use crate::source::block::Block;
use crate::source::fixed_width::{Booleans, Primitives};

/// How one value becomes one of a fixed width.
pub(super) trait FixedWidth: Send {
    /// What it becomes.
    type Arrow: ArrowPrimitiveType;

    /// Reads one value.
    fn read(&self, value: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

macro_rules! little_endian {
    ($($name:ident: $native:ty => $arrow:ty),* $(,)?) => {$(
        pub(super) struct $name;

        impl FixedWidth for $name {
            type Arrow = $arrow;

            #[inline]
            fn read(&self, value: &[u8]) -> Result<<$arrow as ArrowPrimitiveType>::Native, Invalid> {
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
    fn read(&self, value: &[u8]) -> Result<i64, Invalid> {
        i64::try_from(bits(value)?).map_err(|_too_wide| Invalid::Malformed)
    }
}

/// 64 bits.
pub(super) struct WideBits;

impl FixedWidth for WideBits {
    type Arrow = Decimal128Type;

    #[inline]
    fn read(&self, value: &[u8]) -> Result<i128, Invalid> {
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
    reader: T,
    values: Primitives<T::Arrow>,
    zero_dates: ZeroDates,
}

impl<T: FixedWidth> Fixed<T> {
    pub(super) fn new(reader: T, data_type: &DataType, zero_dates: ZeroDates) -> Self {
        Self { reader, values: Primitives::new(data_type), zero_dates }
    }
}

impl<T: FixedWidth> ColumnDecoder for Fixed<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        self.values.extend(block.column(bytes, column), |value| match self.reader.read(value) {
            Ok(value) => Ok(Some(value)),
            Err(Invalid::ZeroDate) if self.zero_dates == ZeroDates::Null => Ok(None),
            Err(invalid) => Err(invalid),
        })
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.values.take_array())
    }
}

/// Of `bit(1)`, and of `tinyint(1)` where that is a truth.
impl ColumnDecoder for Booleans {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.extend(block.column(bytes, column), |value| match value {
            [number] => Ok(*number != 0),
            _ => Err(Invalid::Malformed),
        })
    }

    fn byte_size(&self) -> usize {
        self.len() / 8
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.take_array())
    }
}
