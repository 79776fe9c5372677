//! Digits of decimals that arrive as text, gathered in integers of every width.

use arrow::datatypes::{ArrowNativeTypeOp, i256};

/// Digits that fit into 64 bits, so that most numbers need no wider arithmetic.
pub(super) const CHUNK_DIGITS: usize = 18;

/// An integer that holds the digits of a decimal.
pub(super) trait Digits: ArrowNativeTypeOp {
    /// `self * 10^digits + chunk`. Invariant: the caller has counted digits, so it fits.
    fn push(self, digits: usize, chunk: u64) -> Self;
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
