//! Decimals, exactly: they arrive as texts like `-12.340`.

use arrow::array::ArrayRef;
use arrow::datatypes::{ArrowNativeTypeOp, DataType, DecimalType};
use odbc_api::CursorRow;
use odbc_api::buffers::AnyColumnBufferSlice;

use super::text::{count, each_text, short_text};
use super::{ColumnDecoder, Invalid};
use crate::source::digits::{Digits, precision_and_scale};
use crate::source::fixed_width::Primitives;

/// Gathers decimals.
pub(super) struct Decimals<T: DecimalType> {
    values: Primitives<T>,
    precision: usize,
    scale: usize,
}

impl<T: DecimalType> Decimals<T>
where
    T::Native: Digits,
{
    pub(super) fn new(data_type: &DataType) -> Self {
        let (precision, scale) = precision_and_scale::<T>(data_type);
        Self { values: Primitives::new(data_type), precision, scale }
    }

    #[inline]
    fn push(&mut self, text: Option<&[u8]>) -> Result<(), Invalid> {
        self.values.push(text.map(|text| self.read(text)).transpose()?);
        Ok(())
    }

    /// Reads one value as an integer of `scale` digits after the point.
    #[inline]
    fn read(&self, value: &[u8]) -> Result<T::Native, Invalid> {
        let value = value.trim_ascii();
        let (is_negative, text) = match value {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, value),
        };
        let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(point) => (&text[..point], &text[point + 1..]),
            None => (text, &text[..0]),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Invalid::Malformed);
        }
        let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
        let whole = &whole[zeros..];
        let (fraction, below) = fraction.split_at(fraction.len().min(self.scale));
        if whole.len() + self.scale > self.precision || below.iter().any(|byte| *byte != b'0') {
            // A number with other letters in it is none, however long it is.
            let is_number = whole.iter().chain(fraction).chain(below).all(u8::is_ascii_digit);
            return Err(if is_number { Invalid::Overflow } else { Invalid::Malformed });
        }
        let number = T::Native::of_digits(whole, fraction, self.scale).ok_or(Invalid::Malformed)?;
        Ok(if is_negative { number.neg_wrapping() } else { number })
    }
}

impl<T> ColumnDecoder for Decimals<T>
where
    T: DecimalType + Send,
    T::Native: Digits + Send,
{
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        self.values.reserve(count(cells));
        each_text(cells, |text| self.push(text))
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        // The longest decimal of Arrow has 76 digits.
        short_text::<128, _>(row, number, |text| self.push(text))
    }

    fn byte_size(&self) -> usize {
        self.values.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.values.take_array())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal64Type, Decimal128Type, Decimal256Type};
    use proptest::prelude::*;

    use super::*;

    fn decode<T>(text: &str, data_type: &DataType) -> Option<String>
    where
        T: DecimalType + Send,
        T::Native: Digits + Send,
    {
        let mut decoder = Decimals::<T>::new(data_type);
        decoder.push(Some(text.as_bytes())).ok()?;
        Some(decoder.finish().ok()?.as_primitive::<T>().value_as_string(0))
    }

    proptest! {
        #[test]
        fn every_decimal_survives(sign in "-?", whole in "[1-9][0-9]{0,34}", fraction in "[0-9]{30}") {
            let text = format!("{sign}{whole}.{fraction}");
            prop_assert_eq!(decode::<Decimal256Type>(&text, &DataType::Decimal256(65, 30)), Some(text));
            let text = format!("{sign}{}.{}", &whole[..whole.len().min(28)], &fraction[..10]);
            prop_assert_eq!(decode::<Decimal128Type>(&text, &DataType::Decimal128(38, 10)), Some(text));
            let text = format!("{sign}{}.{}", &whole[..whole.len().min(13)], &fraction[..2]);
            prop_assert_eq!(decode::<Decimal64Type>(&text, &DataType::Decimal64(15, 2)), Some(text));
        }

        #[test]
        fn no_bytes_make_it_panic(value in proptest::collection::vec(any::<u8>(), 0..40), scale in 0_i8..=18) {
            let decoder = Decimals::<Decimal64Type>::new(&DataType::Decimal64(18, scale));
            let _any_answer = decoder.read(&value);
        }
    }

    #[test]
    fn other_spellings_are_the_same_number_and_no_digit_is_lost() {
        let decoder = Decimals::<Decimal64Type>::new(&DataType::Decimal64(5, 2));
        for (text, expected) in [
            ("0", 0),
            ("-0.00", 0),
            ("0012.5", 1250),
            (".5", 50),
            ("+1.", 100),
            (" 1.2300", 123),
            ("-.01", -1),
        ] {
            assert_eq!(decoder.read(text.as_bytes()).ok(), Some(expected), "{text}");
        }
        for text in ["1000", "1.234", "-1000.00"] {
            assert!(matches!(decoder.read(text.as_bytes()), Err(Invalid::Overflow)), "{text}");
        }
        for text in ["", "-", ".", "1e3", "1.2.3", "x", "1,5", "NaN", "Infinity"] {
            assert!(matches!(decoder.read(text.as_bytes()), Err(Invalid::Malformed)), "{text}");
        }
    }
}
