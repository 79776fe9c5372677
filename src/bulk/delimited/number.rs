//! Numbers and truths.

use super::values::Read;

/// An integer: an optional sign and digits.
pub(super) fn integer<T: TryFrom<i128>>(text: &[u8]) -> Read<T> {
    const NOT: &str = "an integer was expected";
    let (is_negative, digits) = sign(text);
    // 38 digits always fit, and no integer column has more than 20.
    if digits.is_empty() || digits.len() > 38 {
        return Read::Not(NOT);
    }
    let mut number: i128 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Read::Not(NOT);
        }
        number = number * 10 + i128::from(digit - b'0');
    }
    let number = if is_negative { -number } else { number };
    T::try_from(number).map_or(Read::Not("the integer is too large for the column"), Read::Value)
}

/// A number with point and exponent, to the nearest one that the type has.
pub(super) fn float<T: std::str::FromStr>(text: &[u8]) -> Read<T> {
    const NOT: &str = "a number was expected";
    let text = std::str::from_utf8(text).map_or("", |text| text);
    text.parse().map_or(Read::Not(NOT), Read::Value)
}

/// `1`, `t`, `true` or the opposite.
pub(super) fn boolean(text: &[u8]) -> Read<bool> {
    match text {
        b"1" | b"t" | b"true" | b"TRUE" | b"True" => Read::Value(true),
        b"0" | b"f" | b"false" | b"FALSE" | b"False" => Read::Value(false),
        _ => Read::Not("true or false was expected"),
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The sign and what follows it.
pub(super) fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}
