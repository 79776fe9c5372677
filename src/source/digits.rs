//! Digits of decimals that arrive as text, gathered in integers of every width.

use arrow::datatypes::{ArrowNativeTypeOp, DataType, DecimalType, i256};

/// Digits that fit into 64 bits, so that most numbers need no wider arithmetic.
const CHUNK_DIGITS: usize = 18;

/// An integer that holds the digits of a decimal.
pub(super) trait Digits: ArrowNativeTypeOp {
    /// `self * 10^digits + chunk`. Invariant: the caller has counted digits, so it fits.
    fn push(self, digits: usize, chunk: u64) -> Self;

    /// The number with the digits `whole` and, behind them, `fraction` and zeros: `scale` digits after
    /// the point. `None` where a byte is no digit. Invariant: the caller has counted digits, so it fits.
    #[inline]
    fn of_digits(whole: &[u8], fraction: &[u8], scale: usize) -> Option<Self> {
        let mut number = append(Self::ZERO, whole)?;
        number = append(number, fraction)?;
        let mut missing = scale - fraction.len();
        while missing > 0 {
            let digits = missing.min(CHUNK_DIGITS);
            number = number.push(digits, 0);
            missing -= digits;
        }
        Some(number)
    }
}

#[inline]
fn append<N: Digits>(mut number: N, digits: &[u8]) -> Option<N> {
    for chunk in digits.chunks(CHUNK_DIGITS) {
        let mut value = 0_u64;
        for byte in chunk {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + u64::from(digit);
        }
        number = number.push(chunk.len(), value);
    }
    Some(number)
}

/// Digits of a decimal type, and how many of them stand after the point.
pub(super) fn precision_and_scale<T: DecimalType>(data_type: &DataType) -> (usize, usize) {
    let (precision, scale) = match data_type {
        DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (*precision, *scale),
        _ => (T::MAX_PRECISION, 0),
    };
    (usize::from(precision.min(T::MAX_PRECISION)), usize::try_from(scale).unwrap_or(0))
}

macro_rules! digits {
    ($($native:ty: $widen:expr),* $(,)?) => {$(
        impl Digits for $native {
            #[inline]
            fn push(self, digits: usize, chunk: u64) -> Self {
                self.wrapping_mul($widen(POWERS[digits])).wrapping_add($widen(chunk))
            }
        }
    )*};
}

digits! {
    i64: u64::cast_signed,
    i128: i128::from,
    i256: |value: u64| i256::from_i128(i128::from(value)),
}

/// Ten to the power of 0 to 18.
const POWERS: [u64; CHUNK_DIGITS + 1] = {
    let mut powers = [1; CHUNK_DIGITS + 1];
    let mut exponent = 1;
    while exponent <= CHUNK_DIGITS {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};
