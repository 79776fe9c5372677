//! `DECIMAL` into decimals, exactly: on the wire it is a text like `-12.340`.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, PrimitiveArray};
use arrow::datatypes::{ArrowNativeTypeOp, DataType, DecimalType};

use super::{ColumnDecoder, Invalid};
use crate::source::digits::{CHUNK_DIGITS, Digits};
use crate::source::mysql::rows::Block;

/// Gathers decimals.
pub(super) struct Decimals<T: DecimalType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    precision: usize,
    scale: usize,
    kind: PhantomData<T>,
}

impl<T: DecimalType> Decimals<T>
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
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            data_type: data_type.clone(),
            precision: usize::from(precision.min(T::MAX_PRECISION)),
            scale: usize::try_from(scale).unwrap_or(0),
            kind: PhantomData,
        }
    }

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
        let mut number = append(T::Native::ZERO, whole)?;
        number = append(number, fraction)?;
        let mut missing = self.scale - fraction.len();
        while missing > 0 {
            let digits = missing.min(CHUNK_DIGITS);
            number = number.push(digits, 0);
            missing -= digits;
        }
        Ok(if is_negative { number.neg_wrapping() } else { number })
    }
}

#[inline]
fn append<N: Digits>(mut number: N, digits: &[u8]) -> Result<N, Invalid> {
    for chunk in digits.chunks(CHUNK_DIGITS) {
        let mut value = 0_u64;
        for byte in chunk {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(Invalid::Malformed);
            }
            value = value * 10 + u64::from(digit);
        }
        number = number.push(chunk.len(), value);
    }
    Ok(number)
}

impl<T> ColumnDecoder for Decimals<T>
where
    T: DecimalType + Send,
    T::Native: Digits + Send,
{
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid> {
        self.values.reserve(block.rows());
        for value in block.column(bytes, column) {
            let value = value?.map(|value| self.read(value)).transpose()?;
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
        let array = PrimitiveArray::<T>::new(values.into(), self.nulls.finish());
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal64Type, Decimal128Type, Decimal256Type};
    use proptest::prelude::*;

    use super::*;
    use crate::source::mysql::rows::one_column;

    fn decode<T>(text: &str, data_type: &DataType) -> Result<String, Invalid>
    where
        T: DecimalType + Send,
        T::Native: Digits + Send,
    {
        let mut decoder = Decimals::<T>::new(data_type);
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
            let decoder = Decimals::<Decimal64Type>::new(&DataType::Decimal64(18, scale));
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
