//! Exact decimals from texts and doubles.

use std::fmt::Write;

/// Reads a number as an integer of `10^-scale`; `None` when it is no number, or when it has digits
/// that `precision` and `scale` have no room for. Never rounds.
pub(super) fn from_text(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // Zeros at the end would overflow the mantissa without changing the value.
    let fraction = fraction.trim_end_matches('0');
    let mut value = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let shift = i64::from(scale) + i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let value = shifted(value, shift)?;
    fits(if negative { -value } else { value }, precision)
}

/// An integer in units of `10^-scale`.
pub(super) fn from_integer(integer: i64, precision: u8, scale: i8) -> Option<i128> {
    fits(shifted(i128::from(integer), i64::from(scale))?, precision)
}

/// The decimal that `real` is the double of: its shortest decimal notation, if that has no more
/// digits than fit.
pub(super) fn from_real(real: f64, precision: u8, scale: i8, buffer: &mut String) -> Option<i128> {
    /// Every integer up to here has at most 15 digits: no two decimals of 15 digits share a double,
    /// so the one found is the shortest notation.
    const FIFTEEN_DIGITS: f64 = 1e15;
    /// Powers of ten up to here are exact doubles.
    const EXACT_POWER: i8 = 22;
    if (0..=EXACT_POWER).contains(&scale) {
        let power = 10_f64.powi(i32::from(scale));
        let units = (real * power).round();
        if units.abs() < FIFTEEN_DIGITS && units / power == real {
            return fits(units as i128, precision);
        }
    }
    if !real.is_finite() {
        return None;
    }
    buffer.clear();
    write!(buffer, "{real:e}").ok()?;
    from_text(buffer, precision, scale)
}

/// `value * 10^shift`, if that is an integer.
fn shifted(value: i128, shift: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?)?;
    if shift >= 0 {
        value.checked_mul(power)
    } else if value % power == 0 {
        Some(value / power)
    } else {
        None
    }
}

fn fits(value: i128, precision: u8) -> Option<i128> {
    (value.unsigned_abs() < 10_u128.checked_pow(u32::from(precision))?).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn real(value: f64, precision: u8, scale: i8) -> Option<i128> {
        from_real(value, precision, scale, &mut String::new())
    }

    #[test]
    fn texts_are_read_exactly_or_not_at_all() {
        for (text, precision, scale, expected) in [
            ("12.34", 10, 2, Some(1234)),
            ("-12.3", 10, 2, Some(-1230)),
            ("+.5", 3, 1, Some(5)),
            ("5.", 3, 0, Some(5)),
            ("12.340000000000000000000000000000000000000000000000", 10, 2, Some(1234)),
            ("12.345", 10, 2, None),
            ("123456789.00", 10, 2, None),
            ("12345678.99", 10, 2, Some(1_234_567_899)),
            ("1e3", 10, 2, Some(100_000)),
            ("1.5e-1", 10, 2, Some(15)),
            ("1e-3", 10, 2, None),
            ("0e-999999", 10, 2, Some(0)),
            ("0e999999", 10, 2, Some(0)),
            ("1e999999999", 10, 2, None),
            ("99999999999999999999999999999999999999", 38, 0, Some(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 38, 0, None),
            ("", 10, 2, None),
            ("-", 10, 2, None),
            (".", 10, 2, None),
            ("1 ", 10, 2, None),
            ("0x1F", 10, 2, None),
            ("1.2.3", 10, 2, None),
            ("inf", 10, 2, None),
            ("1e", 10, 2, None),
            ("--1", 10, 2, None),
        ] {
            assert_eq!(from_text(text, precision, scale), expected, "{text} as ({precision},{scale})");
        }
    }

    #[test]
    fn doubles_are_the_decimal_that_they_print_as() {
        for (value, precision, scale, expected) in [
            (12.34, 10, 2, Some(1234)),
            (0.1, 10, 2, Some(10)),
            (0.1 + 0.2, 10, 2, None),
            (1.005, 10, 2, None),
            (-0.0, 10, 2, Some(0)),
            (1e15, 20, 0, Some(10_i128.pow(15))),
            (1e22, 30, 2, Some(10_i128.pow(24))),
            (1e300, 38, 2, None),
            (1e-300, 38, 38, None),
            (99_999_999.99, 10, 2, Some(9_999_999_999)),
            (100_000_000.0, 10, 2, None),
            (f64::INFINITY, 10, 2, None),
            (f64::NAN, 10, 2, None),
            (0.5, 38, 30, Some(5 * 10_i128.pow(29))),
        ] {
            assert_eq!(real(value, precision, scale), expected, "{value} as ({precision},{scale})");
        }
    }

    #[test]
    fn integers_are_scaled() {
        assert_eq!(from_integer(-7, 10, 2), Some(-700));
        assert_eq!(from_integer(100_000_000, 10, 2), None);
        assert_eq!(from_integer(i64::MIN, 38, 19), Some(i128::from(i64::MIN) * 10_i128.pow(19)));
        assert_eq!(from_integer(i64::MAX, 38, 38), None);
    }

    proptest! {
        #[test]
        fn a_decimal_of_fifteen_digits_survives_a_double(
            units in -999_999_999_999_999_i64..=999_999_999_999_999,
            scale in 0_i8..=15,
        ) {
            let text = format!("{units}e-{scale}");
            let double: f64 = text.parse().expect("a number");
            prop_assert_eq!(real(double, 38, scale), Some(i128::from(units)));
            prop_assert_eq!(from_text(&text, 38, scale), Some(i128::from(units)));
        }

        #[test]
        fn what_a_double_becomes_reads_back_as_the_same_double(value in any::<f64>(), scale in 0_i8..=38) {
            if let Some(units) = real(value, 38, scale) {
                let back: f64 = format!("{units}e-{scale}").parse().expect("a number");
                prop_assert_eq!(back, value);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+.eE0-9a]{0,60}", precision in 0_u8..=40, scale in -5_i8..=40) {
            let _ = from_text(&text, precision, scale);
        }
    }
}
