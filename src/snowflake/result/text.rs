//! Values as text, the same from both forms.

use jiff::civil::Date;

use super::Column;
use crate::snowflake::statement::OFFSET_BASE;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;
/// Digits behind the point of a second.
const FINEST: u8 = 9;

/// The text of a cell in Snowflake's JSON notation. `None` when it is readable already, or not what
/// the type says.
pub(super) fn readable(raw: &str, column: &Column) -> Option<String> {
    let scale = column.scale.unwrap_or(FINEST);
    match column.data_type.as_str() {
        "boolean" => match raw {
            "1" => Some("true".to_owned()),
            "0" => Some("false".to_owned()),
            _ => Some(raw.to_ascii_lowercase()),
        },
        "real" => raw.parse().ok().map(real),
        "date" => date(raw.parse().ok()?),
        "time" => time(nanoseconds(raw)?, scale),
        "timestamp_ntz" => timestamp(nanoseconds(raw)?, scale),
        "timestamp_ltz" => timestamp_with_offset(nanoseconds(raw)?, 0, scale),
        "timestamp_tz" => match raw.split_once(' ') {
            Some((instant, offset)) => timestamp_with_offset(
                nanoseconds(instant)?,
                offset.parse::<i64>().ok()?.checked_sub(OFFSET_BASE)?,
                scale,
            ),
            None => timestamp_with_offset(nanoseconds(raw)?, 0, scale),
        },
        "binary" => Some(raw.to_ascii_uppercase()),
        _ => None,
    }
}

/// Seconds with a fraction, as nanoseconds. More than nine digits are cut.
fn nanoseconds(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || !fraction.is_ascii() {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let fraction = &fraction[..fraction.len().min(usize::from(FINEST))];
    let places = u32::try_from(usize::from(FINEST) - fraction.len()).ok()?;
    let rest = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? * 10_i128.pow(places) };
    let value = i128::from(seconds) * SECOND + rest;
    Some(if is_negative { -value } else { value })
}

/// The shortest text that is this number.
pub(super) fn real(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let text = format!("{number:?}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Days since 1970-01-01.
pub(super) fn date(days: i64) -> Option<String> {
    calendar(days).map(|date| date.to_string())
}

fn calendar(days: i64) -> Option<Date> {
    const EPOCH: Date = jiff::civil::date(1970, 1, 1);

    // A span of days that is too long for a calendar is an error of its own.
    let span = jiff::Span::new().try_days(days).ok()?;
    EPOCH.checked_add(span).ok()
}

/// Nanoseconds since midnight.
pub(super) fn time(nanoseconds: i128, scale: u8) -> Option<String> {
    if !(0..DAY).contains(&nanoseconds) {
        return None;
    }
    let seconds = nanoseconds / SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    let scale = usize::from(scale.min(FINEST));
    if scale > 0 {
        let fraction = format!("{:09}", nanoseconds % SECOND);
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

/// Nanoseconds since 1970-01-01 without a time zone.
pub(super) fn timestamp(nanoseconds: i128, scale: u8) -> Option<String> {
    let days = i64::try_from(nanoseconds.div_euclid(DAY)).ok()?;
    Some(format!("{} {}", date(days)?, time(nanoseconds.rem_euclid(DAY), scale)?))
}

/// Nanoseconds since 1970-01-01 in UTC, shown at an offset in minutes.
pub(super) fn timestamp_with_offset(nanoseconds: i128, minutes: i64, scale: u8) -> Option<String> {
    if minutes.abs() > OFFSET_BASE {
        return None;
    }
    let local = nanoseconds.checked_add(i128::from(minutes) * 60 * SECOND)?;
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    Some(format!("{} {sign}{:02}:{:02}", timestamp(local, scale)?, minutes / 60, minutes % 60))
}

/// An integer with a point before its last `scale` digits.
pub(super) fn decimal(number: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return number.to_string();
    }
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}
