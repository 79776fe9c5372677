//! `DECIMAL` into decimals, exactly: on the wire it is a text like `-12.340`.

use std::marker::PhantomData;

use arrow::datatypes::{ArrowNativeTypeOp, DataType, DecimalType};

use super::Invalid;
use super::fixed::FixedWidth;
use crate::source::digits::{Digits, precision_and_scale};

/// Reads decimals.
pub(super) struct Decimal<T: DecimalType> {
    precision: usize,
    scale: usize,
    kind: PhantomData<T>,
}

impl<T: DecimalType> Decimal<T>
where
    T::Native: Digits,
{
    pub(super) fn new(data_type: &DataType) -> Self {
        let (precision, scale) = precision_and_scale::<T>(data_type);
        Self { precision, scale, kind: PhantomData }
    }
}

impl<T> FixedWidth for Decimal<T>
where
    T: DecimalType + Send,
    T::Native: Digits + Send,
{
    type Arrow = T;

    /// Reads one value as an integer of `scale` digits after the point.
    #[inline]
    fn read(&self, value: &[u8]) -> Result<T::Native, Invalid> {
        let (is_negative, text) = match value {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, value),
        };
        let point = text.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = match point {
            Some(point) => (&text[..point], &text[point + 1..]),
            None => (text, &text[..0]),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Invalid::Malformed);
        }
        // ZEROFILL has zeros in front, beyond the digits of the type.
        let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
        let whole = &whole[zeros..];
        if whole.len() + self.scale > self.precision {
            return Err(Invalid::Overflow);
        }
        let (fraction, below) = fraction.split_at(fraction.len().min(self.scale));
        if below.iter().any(|byte| *byte != b'0') {
            return Err(Invalid::Overflow);
        }
        let number = T::Native::of_digits(whole, fraction, self.scale).ok_or(Invalid::Malformed)?;
        Ok(if is_negative { number.neg_wrapping() } else { number })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal64Type, Decimal128Type, Decimal256Type};
    use proptest::prelude::*;

    use super::super::ColumnDecoder as _;
    use super::super::fixed::Fixed;
    use super::*;
    use crate::config::ZeroDates;
    use crate::source::block::one_column;

    fn decode<T>(text: &str, data_type: &DataType) -> Result<String, Invalid>
    where
        T: DecimalType + Send,
        T::Native: Digits + Send,
    {
        let mut decoder = Fixed::new(Decimal::<T>::new(data_type), data_type, ZeroDates::Error);
        let (block, bytes) = one_column(&[Some(text.as_bytes().to_vec()), None]);
        decoder.append(&block, &bytes, 0)?;
        let array = decoder.finish()?;
        assert!(array.is_null(1));
        Ok(array.as_primitive::<T>().value_as_string(0))
    }

    proptest! {
        #[test]
        fn every_decimal_survives(sign in "-?", whole in "[1-9][0-9]{0,34}", fraction in "[0-9]{30}") {
            let text = format!("{sign}{whole}.{fraction}");
            prop_assert_eq!(decode::<Decimal256Type>(&text, &DataType::Decimal256(65, 30)), Ok(text));
            let text = format!("{sign}{}.{}", &whole[..whole.len().min(28)], &fraction[..10]);
            prop_assert_eq!(decode::<Decimal128Type>(&text, &DataType::Decimal128(38, 10)), Ok(text));
            let text = format!("{sign}{}.{}", &whole[..whole.len().min(13)], &fraction[..2]);
            prop_assert_eq!(decode::<Decimal64Type>(&text, &DataType::Decimal64(15, 2)), Ok(text));
        }

        #[test]
        fn no_bytes_make_it_panic(value in proptest::collection::vec(any::<u8>(), 0..40), scale in 0_i8..=18) {
            let decoder = Decimal::<Decimal64Type>::new(&DataType::Decimal64(18, scale));
            let _any_answer = decoder.read(&value);
        }
    }

    #[test]
    fn other_spellings_are_the_same_number() {
        let read = |text| decode::<Decimal64Type>(text, &DataType::Decimal64(5, 2));
        for (text, expected) in [
            ("0", "0.00"),
            ("-0.00", "0.00"),
            ("000012.5", "12.50"),
            (".5", "0.50"),
            ("999.99", "999.99"),
            ("1.2300", "1.23"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["1000", "1.234", "-1000.00"] {
            assert_eq!(read(text), Err(Invalid::Overflow), "{text}");
        }
        for text in ["", "-", ".", "1e3", "1.2.3", "x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
