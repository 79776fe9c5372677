//! Exact numbers: `decimal`, `numeric`, `money` and `smallmoney`.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal64Type, Decimal128Type};

use super::fixed::{FixedWidth, array};
use super::{ColumnDecoder, Invalid};
use crate::source::sqlserver::rows::Block;

/// `smallmoney`: ten-thousandths in 32 bits.
pub(super) struct Money4;

impl FixedWidth for Money4 {
    type Arrow = Decimal64Type;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        Ok(i32::from_le_bytes(array(field)?).into())
    }
}

/// `money`: ten-thousandths in 64 bits, the upper half first.
pub(super) struct Money8;

impl FixedWidth for Money8 {
    type Arrow = Decimal128Type;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i128, Invalid> {
        money(field).map(i128::from)
    }
}

/// `money` in ten-thousandths.
#[inline]
pub(super) fn money(field: &[u8]) -> Result<i64, Invalid> {
    let [a, b, c, d, e, f, g, h] = array(field)?;
    Ok(i64::from_le_bytes([e, f, g, h, a, b, c, d]))
}

/// Reads the sign and the digits of a decimal.
pub(super) struct Magnitude {
    /// Ten to the power of the precision: the first number that has a digit too many.
    limit: u128,
}

impl Magnitude {
    /// For a type of `precision` digits, up to 38.
    pub(super) fn of(precision: u8) -> Self {
        Self { limit: 10_u128.saturating_pow(precision.into()) }
    }

    /// Reads one field: a byte that is 1 unless the number is negative, and 4, 8, 12 or 16 bytes.
    #[inline]
    fn read(&self, field: &[u8]) -> Result<i128, Invalid> {
        let (sign, digits) = field.split_first().ok_or(Invalid::Malformed)?;
        let magnitude = match digits.len() {
            4 => u128::from(u32::from_le_bytes(array(digits)?)),
            8 => u128::from(u64::from_le_bytes(array(digits)?)),
            length @ (12 | 16) => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(digits);
                u128::from_le_bytes(bytes)
            }
            _ => return Err(Invalid::Malformed),
        };
        if magnitude >= self.limit {
            return Err(Invalid::Overflow);
        }
        // Below ten to the power of 38, which has 127 bits.
        let value = magnitude.cast_signed();
        Ok(if *sign == 0 { -value } else { value })
    }
}

/// A decimal out of a field, in units of its scale.
pub(super) fn decimal(field: &[u8]) -> Result<i128, Invalid> {
    Magnitude::of(38).read(field)
}

/// Gathers decimals.
pub(super) struct Decimals<T: ArrowPrimitiveType> {
    magnitude: Magnitude,
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> Decimals<T> {
    pub(super) fn new(magnitude: Magnitude, data_type: &DataType) -> Self {
        Self { magnitude, values: Vec::new(), nulls: NullBufferBuilder::new(0), data_type: data_type.clone() }
    }
}

impl<T: ArrowPrimitiveType> ColumnDecoder for Decimals<T>
where
    T::Native: TryFrom<i128>,
{
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for field in block.column(bytes, column) {
            let value = match field? {
                Some(field) => {
                    self.nulls.append_non_null();
                    let value = self.magnitude.read(field)?;
                    T::Native::try_from(value).map_err(|_too_wide| Invalid::Overflow)?
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
        let array = PrimitiveArray::<T>::new(values.into(), self.nulls.finish());
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}
