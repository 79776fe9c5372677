//! `numeric` into decimals, exactly.
//!
//! On the wire (`numeric_send` in `numeric.c`): four 16-bit words — number of digits, weight of the
//! first digit, sign, display scale — and then the digits, base 10,000. The value is the sum of
//! `digit[i] * 10000^(weight - i)`.

use std::marker::PhantomData;

use arrow::datatypes::{ArrowNativeTypeOp, DataType, DecimalType, i256};

use super::Invalid;
use super::fixed::FixedWidth;

const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// An integer that holds the digits of a decimal. Arrow's own checked arithmetic builds an error
/// value for each overflow and is not inlined; this is the hottest loop of a table of numbers.
pub(super) trait Digits: ArrowNativeTypeOp {
    /// `self * factor + digit`, or `None` when it does not fit.
    fn push(self, factor: u16, digit: u16) -> Option<Self>;
    /// `self * factor`, or `None` when it does not fit.
    fn times(self, factor: Self) -> Option<Self>;
}

macro_rules! digits {
    ($($native:ty: $small:expr),* $(,)?) => {$(
        impl Digits for $native {
            #[inline]
            fn push(self, factor: u16, digit: u16) -> Option<Self> {
                self.checked_mul($small(factor))?.checked_add($small(digit))
            }

            #[inline]
            fn times(self, factor: Self) -> Option<Self> {
                self.checked_mul(factor)
            }
        }
    )*};
}

digits! { i64: i64::from, i128: i128::from, i256: |value: u16| i256::from_i128(i128::from(value)) }

/// Reads decimals.
pub(super) struct Numeric<T: DecimalType> {
    /// Digits after the point.
    scale: i32,
    /// Ten to the power of 0, 1 ... up to the precision. The last one is the first number that
    /// has a digit too many.
    powers: Vec<T::Native>,
    kind: PhantomData<T>,
}

impl<T: DecimalType> Numeric<T>
where
    T::Native: Digits,
{
    pub(super) fn new(data_type: &DataType) -> Self {
        let (precision, scale) = match data_type {
            DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => (*precision, *scale),
            _ => (T::MAX_PRECISION, 0),
        };
        let one = T::Native::ZERO.push(1, 1);
        let powers = std::iter::successors(one, |power| power.push(10, 0));
        let powers = powers.take(usize::from(precision.min(T::MAX_PRECISION)) + 1).collect();
        Self { scale: i32::from(scale), powers, kind: PhantomData }
    }

    /// The digits as an integer of `scale` digits after the point.
    #[inline]
    fn magnitude(&self, digits: &[u8], weight: i32) -> Result<T::Native, Invalid> {
        let Some((before, last)) = digits.split_last_chunk::<2>() else { return Ok(T::Native::ZERO) };
        let mut value = T::Native::ZERO;
        for digit in before.chunks_exact(2) {
            value = value.push(10_000, digit_of([digit[0], digit[1]])?).ok_or(Invalid::Overflow)?;
        }
        let last = digit_of(*last)?;
        // The last digit stands for 10000^(weight - count + 1); in units of the column's scale
        // that is ten to the power of `exponent`.
        let exponent = (weight - (before.len() / 2) as i32) * 4 + self.scale;
        match exponent {
            0.. => {
                let factor = self.powers.get(exponent as usize).ok_or(Invalid::Overflow)?;
                value.push(10_000, last).and_then(|value| value.times(*factor)).ok_or(Invalid::Overflow)
            }
            // The last digit reaches below the column's scale. What is cut off there must be zero.
            -3..0 => {
                let cut = 10_u16.pow(exponent.unsigned_abs());
                if last % cut != 0 {
                    return Err(Invalid::Overflow);
                }
                value.push(10_000 / cut, last / cut).ok_or(Invalid::Overflow)
            }
            // The whole digit lies below. The server strips trailing zeros, so this is rare.
            _ if last == 0 => self.magnitude(before, weight),
            _ => Err(Invalid::Overflow),
        }
    }
}

#[inline]
fn digit_of(bytes: [u8; 2]) -> Result<u16, Invalid> {
    let digit = u16::from_be_bytes(bytes);
    if digit < 10_000 { Ok(digit) } else { Err(Invalid::Malformed) }
}

impl<T> FixedWidth for Numeric<T>
where
    T: DecimalType + Send,
    T::Native: Digits + Send,
{
    type Arrow = T;

    /// Reads one field as an integer of `scale` digits after the point.
    #[inline]
    fn read(&self, field: &[u8]) -> Result<T::Native, Invalid> {
        let (header, digits) = field.split_first_chunk::<8>().ok_or(Invalid::Malformed)?;
        let word = |index: usize| u16::from_be_bytes([header[index], header[index + 1]]);
        let (count, weight, sign) = (word(0), i32::from(word(2).cast_signed()), word(4));
        match sign {
            0 | NEGATIVE => {}
            NOT_A_NUMBER => return Err(Invalid::Special("NaN")),
            INFINITY => return Err(Invalid::Special("Infinity")),
            NEGATIVE_INFINITY => return Err(Invalid::Special("-Infinity")),
            _ => return Err(Invalid::Malformed),
        }
        if digits.len() != usize::from(count) * 2 {
            return Err(Invalid::Malformed);
        }
        let value = self.magnitude(digits, weight)?;
        if self.powers.last().is_none_or(|limit| value >= *limit) {
            return Err(Invalid::Overflow);
        }
        Ok(if sign == NEGATIVE { value.neg_wrapping() } else { value })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray};
    use arrow::datatypes::{Decimal64Type, Decimal128Type, Decimal256Type};
    use proptest::prelude::*;

    use super::super::ColumnDecoder as _;
    use super::super::fixed::Fixed;
    use super::*;
    use crate::config::SpecialValues;
    use crate::source::block::one_column;

    /// The wire form of `digits * 10^-scale`, made the slow and obvious way.
    fn encode(value: i128, scale: u32) -> Vec<u8> {
        let text = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
        let (whole, fraction) = text.split_at(text.len() - scale as usize);
        let whole = format!("{whole:0>width$}", width = whole.len().div_ceil(4) * 4);
        let fraction = format!("{fraction:0<width$}", width = fraction.len().div_ceil(4) * 4);
        let groups = |text: &str| -> Vec<u16> {
            text.as_bytes()
                .chunks(4)
                .map(|four| std::str::from_utf8(four).unwrap().parse().unwrap())
                .collect()
        };
        let (whole, fraction) = (groups(&whole), groups(&fraction));
        let mut weight = whole.len() as i16 - 1;
        let mut digits: Vec<u16> = [whole, fraction].concat();
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let sign = if value < 0 { NEGATIVE } else { 0 };
        let header = [digits.len() as u16, weight as u16, sign, scale as u16];
        header.into_iter().chain(digits).flat_map(u16::to_be_bytes).collect()
    }

    fn decode<T>(
        fields: &[Option<Vec<u8>>],
        data_type: &DataType,
        special: SpecialValues,
    ) -> Result<ArrayRef, Invalid>
    where
        T: DecimalType + Send,
        T::Native: Digits + Send,
    {
        let mut decoder = Fixed::new(Numeric::<T>::new(data_type), data_type, special);
        let (block, bytes) = one_column(fields);
        decoder.append(&block, &bytes, 0)?;
        decoder.finish()
    }

    proptest! {
        #[test]
        fn every_number_of_18_digits_survives(value in -999_999_999_999_999_999_i64..=999_999_999_999_999_999, scale in 0_u32..=18) {
            let data_type = DataType::Decimal64(18, scale as i8);
            let array = decode::<Decimal64Type>(&[Some(encode(value.into(), scale)), None], &data_type, SpecialValues::Error).unwrap();
            prop_assert_eq!(array.as_primitive::<Decimal64Type>().value(0), value);
            prop_assert!(array.is_null(1));
        }

        #[test]
        fn every_number_of_38_digits_survives(high in -9_999_999_999_999_999_999_i128..=9_999_999_999_999_999_999, low in 0..10_i128.pow(19), scale in 0_u32..=38) {
            let value = high * 10_i128.pow(19) + if high < 0 { -low } else { low };
            let narrow = decode::<Decimal128Type>(&[Some(encode(value, scale))], &DataType::Decimal128(38, scale as i8), SpecialValues::Error).unwrap();
            prop_assert_eq!(narrow.as_primitive::<Decimal128Type>().value(0), value);
            let wide = decode::<Decimal256Type>(&[Some(encode(value, scale))], &DataType::Decimal256(76, scale as i8), SpecialValues::Error).unwrap();
            prop_assert_eq!(wide.as_primitive::<Decimal256Type>().value(0), i256::from_i128(value));
        }

        #[test]
        fn no_bytes_make_it_panic(field in proptest::collection::vec(any::<u8>(), 0..40), scale in 0_i8..=18) {
            let _any_answer = decode::<Decimal64Type>(&[Some(field)], &DataType::Decimal64(18, scale), SpecialValues::Error);
        }
    }

    #[test]
    fn a_number_with_a_digit_too_many_is_refused() {
        let check = |value, scale, precision, column_scale| {
            let data_type = DataType::Decimal64(precision, column_scale);
            decode::<Decimal64Type>(&[Some(encode(value, scale))], &data_type, SpecialValues::Error)
                .map(|_array| ())
        };
        assert_eq!(check(999, 0, 3, 0), Ok(()));
        assert_eq!(check(1000, 0, 3, 0), Err(Invalid::Overflow));
        assert_eq!(check(-1000, 0, 3, 0), Err(Invalid::Overflow));
        assert_eq!(check(1234, 3, 10, 2), Err(Invalid::Overflow));
        assert_eq!(check(1, 8, 10, 2), Err(Invalid::Overflow));
        assert_eq!(check(10_i128.pow(30), 0, 18, 0), Err(Invalid::Overflow));
    }

    #[test]
    fn nan_and_infinities_are_errors_or_nulls() {
        for (sign, name) in [(NOT_A_NUMBER, "NaN"), (INFINITY, "Infinity"), (NEGATIVE_INFINITY, "-Infinity")]
        {
            let field: Vec<u8> = [0, 0, sign, 0].into_iter().flat_map(u16::to_be_bytes).collect();
            let data_type = DataType::Decimal64(5, 2);
            let decode = |special| decode::<Decimal64Type>(&[Some(field.clone())], &data_type, special);
            assert_eq!(decode(SpecialValues::Error).unwrap_err(), Invalid::Special(name));
            assert!(decode(SpecialValues::Null).unwrap().is_null(0));
        }
    }
}
