//! Exact numbers: `decimal`, `numeric`, `money` and `smallmoney`.

use std::marker::PhantomData;

use arrow::datatypes::{ArrowPrimitiveType, Decimal64Type, Decimal128Type};

use super::Invalid;
use super::fixed::{FixedWidth, array};

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
struct Magnitude {
    /// Ten to the power of the precision: the first number that has a digit too many.
    limit: u128,
}

impl Magnitude {
    /// For a type of `precision` digits, up to 38.
    fn of(precision: u8) -> Self {
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

/// `decimal` and `numeric`, into decimals as wide as the column's.
pub(super) struct Decimal<T> {
    magnitude: Magnitude,
    kind: PhantomData<T>,
}

impl<T> Decimal<T> {
    /// For a type of `precision` digits, up to 38.
    pub(super) fn of(precision: u8) -> Self {
        Self { magnitude: Magnitude::of(precision), kind: PhantomData }
    }
}

impl<T: ArrowPrimitiveType + Send> FixedWidth for Decimal<T>
where
    T::Native: TryFrom<i128>,
{
    type Arrow = T;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<T::Native, Invalid> {
        T::Native::try_from(self.magnitude.read(field)?).map_err(|_too_wide| Invalid::Overflow)
    }
}
