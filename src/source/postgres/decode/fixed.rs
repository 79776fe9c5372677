//! Values of a fixed width.

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};

use super::{ColumnDecoder, Invalid};
use crate::config::SpecialValues;
use crate::source::block::Block;
use crate::source::fixed_width::{Booleans, Primitives};

/// Days from 1970-01-01, where Arrow counts from, to 2000-01-01, where PostgreSQL does.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROSECONDS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;
/// `24:00:00`, which `time` can hold and Arrow and Parquet cannot.
const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// How one field becomes a value of a fixed width.
pub(super) trait FixedWidth: Send {
    /// What it becomes.
    type Arrow: ArrowPrimitiveType;

    /// Reads one field.
    fn read(&self, field: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

fn array<const N: usize>(field: &[u8]) -> Result<[u8; N], Invalid> {
    field.try_into().map_err(|_wrong_length| Invalid::Malformed)
}

macro_rules! big_endian {
    ($($name:ident: $native:ty => $arrow:ty),* $(,)?) => {$(
        pub(super) struct $name;

        impl FixedWidth for $name {
            type Arrow = $arrow;

            #[inline]
            fn read(&self, field: &[u8]) -> Result<<$arrow as ArrowPrimitiveType>::Native, Invalid> {
                Ok(<$native>::from_be_bytes(array(field)?).into())
            }
        }
    )*};
}

big_endian! {
    Int2: i16 => Int16Type,
    Int4: i32 => Int32Type,
    Int8: i64 => Int64Type,
    Oid: u32 => Int64Type,
    Float4: f32 => Float32Type,
    Float8: f64 => Float64Type,
}

pub(super) struct Date;

impl FixedWidth for Date {
    type Arrow = Date32Type;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i32, Invalid> {
        match i32::from_be_bytes(array(field)?) {
            i32::MAX => Err(Invalid::Special("infinity")),
            i32::MIN => Err(Invalid::Special("-infinity")),
            days => days.checked_add(EPOCH_DAYS).ok_or(Invalid::Special("a date after the year 5,881,000")),
        }
    }
}

pub(super) struct Time;

impl FixedWidth for Time {
    type Arrow = Time64MicrosecondType;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        match i64::from_be_bytes(array(field)?) {
            time @ 0..DAY_MICROSECONDS => Ok(time),
            DAY_MICROSECONDS => Err(Invalid::Special("24:00:00")),
            _ => Err(Invalid::Malformed),
        }
    }
}

pub(super) struct Timestamp;

impl FixedWidth for Timestamp {
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        match i64::from_be_bytes(array(field)?) {
            i64::MAX => Err(Invalid::Special("infinity")),
            i64::MIN => Err(Invalid::Special("-infinity")),
            // 64 bits of microseconds end some decades earlier when they count from 1970.
            instant => instant
                .checked_add(EPOCH_MICROSECONDS)
                .ok_or(Invalid::Special("a timestamp after the year 294,246")),
        }
    }
}

/// Gathers values of a fixed width.
pub(super) struct Fixed<T: FixedWidth> {
    reader: T,
    values: Primitives<T::Arrow>,
    special: SpecialValues,
}

impl<T: FixedWidth> Fixed<T> {
    pub(super) fn new(reader: T, data_type: &DataType, special: SpecialValues) -> Self {
        Self { reader, values: Primitives::new(data_type), special }
    }
}

impl<T: FixedWidth> ColumnDecoder for Fixed<T> {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        self.values.extend(block.column(bytes, column), |field| match self.reader.read(field) {
            Ok(value) => Ok(Some(value)),
            Err(Invalid::Special(_)) if self.special == SpecialValues::Null => Ok(None),
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

impl ColumnDecoder for Booleans {
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.extend(block.column(bytes, column), |field| match field {
            [0] => Ok(false),
            [1] => Ok(true),
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
