//! Exact decimals.

use arrow::datatypes::i256;

use super::number::sign;
use super::values::Read;

const NOT: &str = "a decimal number was expected";
const TOO_LARGE: &str = "the number does not fit the decimal type of the column";
/// Digits of the widest decimal.
const MOST_DIGITS: usize = 76;

/// A reader of decimals of up to 38 digits.
pub(super) fn narrow<T: TryFrom<i128>>(precision: u8, scale: i8) -> impl Fn(&[u8]) -> Read<T> {
    let limit = 10_i128.checked_pow(u32::from(precision.min(38))).unwrap_or(i128::MAX);
    move |text| {
        let mut number: i128 = 0;
        let read = digits(text, scale, |digit| {
            number = number.checked_mul(10)?.checked_add(i128::from(digit))?;
            (number < limit).then_some(())
        });
        match read {
            Read::Value(is_negative) => {
                let number = if is_negative { -number } else { number };
                T::try_from(number).map_or(Read::Not(TOO_LARGE), Read::Value)
            }
            Read::Special(reason) => Read::Special(reason),
            Read::Impossible(reason) | Read::Not(reason) => Read::Not(reason),
        }
    }
}

/// A reader of decimals of up to 76 digits.
pub(super) fn wide(precision: u8, scale: i8) -> impl Fn(&[u8]) -> Read<i256> {
    let precision = usize::from(precision).min(MOST_DIGITS);
    move |text| {
        let mut buffer = [b'0'; MOST_DIGITS + 1];
        let mut length = 0;
        let read = digits(text, scale, |digit| {
            if length == 0 && digit == 0 {
                return Some(());
            }
            (length < precision).then(|| {
                buffer[length] = b'0' + digit;
                length += 1;
            })
        });
        match read {
            Read::Value(is_negative) => {
                let digits =
                    if length == 0 { "0" } else { std::str::from_utf8(&buffer[..length]).unwrap_or("") };
                match i256::from_string(digits) {
                    Some(number) => Read::Value(if is_negative { -number } else { number }),
                    None => Read::Not(TOO_LARGE),
                }
            }
            Read::Special(reason) => Read::Special(reason),
            Read::Impossible(reason) | Read::Not(reason) => Read::Not(reason),
        }
    }
}

/// Gives the digits of the number times ten to the power of `scale` to `take`, which says `None`
/// when there are too many. Returns whether the number is negative. Nothing but zeros may be cut.
fn digits(text: &[u8], scale: i8, mut take: impl FnMut(u8) -> Option<()>) -> Read<bool> {
    if let b"NaN" | b"Infinity" | b"-Infinity" = text {
        return Read::Special("the decimal type of the column has neither NaN nor infinity");
    }
    let (is_negative, rest) = sign(text);
    let point = memchr::memchr(b'.', rest);
    let (whole, fraction) = match point {
        Some(point) => (&rest[..point], &rest[point + 1..]),
        None => (rest, &rest[rest.len()..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Read::Not(NOT);
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Read::Not(NOT);
    }
    let Ok(scale) = usize::try_from(scale) else { return Read::Not(TOO_LARGE) };
    let kept = fraction.len().min(scale);
    if fraction[kept..].iter().any(|digit| *digit != b'0') {
        return Read::Not("the number has more digits after the point than the column");
    }
    let padding = scale - kept;
    let all = whole.iter().chain(&fraction[..kept]).map(|digit| digit - b'0');
    for digit in all.chain(std::iter::repeat_n(0, padding)) {
        if take(digit).is_none() {
            return Read::Not(TOO_LARGE);
        }
    }
    Read::Value(is_negative)
}
