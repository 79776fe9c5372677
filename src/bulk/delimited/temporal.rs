//! Dates and times in the forms of ISO 8601 that databases print.

use arrow::datatypes::TimeUnit;

use super::values::Read;

const NO_DATE: &str = "a date such as 2026-11-20 was expected";
const NO_TIME: &str = "a time such as 13:45:30.25 was expected";
const NO_TIMESTAMP: &str = "a timestamp such as 2026-11-20 13:45:30.25 was expected";
const IMPOSSIBLE: &str = "no calendar has this date or time";
const OUT_OF_RANGE: &str = "the date or time is outside of what the column can count";
const INFINITE: &str = "the type of the column has no infinity";

const SECONDS_OF_DAY: i64 = 86_400;

/// A piece of text that is read from its beginning.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        wanted.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Digits, as many as there are between the two bounds, and their number.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return None;
        }
        let number = self.0[..count].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        self.0 = &self.0[count..];
        Some(number)
    }

    fn text(&mut self, wanted: &[u8]) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

/// Year, month and day as they are written.
struct WrittenDate {
    year: i64,
    month: i64,
    day: i64,
}

impl WrittenDate {
    fn read(text: &mut Cursor<'_>) -> Option<Self> {
        let year = text.digits(4, 7)?;
        text.byte(b"-")?;
        let month = text.digits(2, 2)?;
        text.byte(b"-")?;
        let day = text.digits(2, 2)?;
        Some(Self { year, month, day })
    }

    /// Days since 1970-01-01 in the Gregorian calendar; `None` for a day that it does not have.
    fn days(&self, before_christ: bool) -> Option<i64> {
        let year = match (before_christ, self.year) {
            (_, 0) => return None,
            (true, year) => 1 - year,
            (false, year) => year,
        };
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(is_leap),
            _ => return None,
        };
        if !(1..=last).contains(&self.day) {
            return None;
        }
        // Years begin in March here, so that the leap day is the last one.
        let year = year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(era * 146_097 + day_of_era - 719_468)
    }
}

/// Seconds and nanoseconds of a day as they are written.
struct WrittenTime {
    seconds: i64,
    nanoseconds: i64,
    is_possible: bool,
    /// 24:00:00, which is the next midnight.
    is_next_midnight: bool,
}

impl WrittenTime {
    fn read(text: &mut Cursor<'_>) -> Option<Self> {
        let hour = text.digits(2, 2)?;
        text.byte(b":")?;
        let minute = text.digits(2, 2)?;
        text.byte(b":")?;
        let second = text.digits(2, 2)?;
        let mut nanoseconds = 0;
        if text.byte(b".").is_some() {
            let before = text.0.len();
            nanoseconds = text.digits(1, 9)?;
            for _ in before - text.0.len()..9 {
                nanoseconds *= 10;
            }
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        let is_clock = minute < 60 && second < 60;
        let is_possible = is_clock && seconds < SECONDS_OF_DAY;
        let is_next_midnight = is_clock && seconds == SECONDS_OF_DAY && nanoseconds == 0;
        Some(Self { seconds, nanoseconds, is_possible, is_next_midnight })
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Days since 1970-01-01.
pub(super) fn date(text: &[u8]) -> Read<i32> {
    if let b"infinity" | b"-infinity" = text {
        return Read::Special(INFINITE);
    }
    let mut rest = Cursor(text);
    let Some(written) = WrittenDate::read(&mut rest) else { return Read::Not(NO_DATE) };
    let before_christ = rest.text(b" BC");
    if !rest.0.is_empty() {
        return Read::Not(NO_DATE);
    }
    let Some(days) = written.days(before_christ) else { return Read::Impossible(IMPOSSIBLE) };
    i32::try_from(days).map_or(Read::Not(OUT_OF_RANGE), Read::Value)
}

/// Units since midnight. Digits that the unit does not have are cut.
pub(super) fn time(text: &[u8], unit: TimeUnit) -> Read<i64> {
    let mut rest = Cursor(text);
    let written = WrittenTime::read(&mut rest).filter(|_| rest.0.is_empty());
    let Some(written) = written else { return Read::Not(NO_TIME) };
    if written.is_next_midnight {
        return Read::Special("24:00:00 is no time of a day");
    }
    if !written.is_possible {
        return Read::Not(IMPOSSIBLE);
    }
    let scale = per_second(unit);
    Read::Value(written.seconds * scale + written.nanoseconds / (1_000_000_000 / scale))
}

/// The same in 32 bits.
pub(super) fn time32(text: &[u8], unit: TimeUnit) -> Read<i32> {
    match time(text, unit) {
        Read::Value(value) => i32::try_from(value).map_or(Read::Not(OUT_OF_RANGE), Read::Value),
        Read::Impossible(reason) => Read::Impossible(reason),
        Read::Special(reason) => Read::Special(reason),
        Read::Not(reason) => Read::Not(reason),
    }
}

/// Units since 1970. An offset is taken off where the column counts in UTC, and is an error where it
/// does not. Digits that the unit does not have are cut.
pub(super) fn timestamp(text: &[u8], unit: TimeUnit, zoned: bool) -> Read<i64> {
    if let b"infinity" | b"-infinity" = text {
        return Read::Special(INFINITE);
    }
    let mut rest = Cursor(text);
    let Some((date, time, offset)) = timestamp_parts(&mut rest, zoned) else {
        return Read::Not(NO_TIMESTAMP);
    };
    let before_christ = rest.text(b" BC");
    if !rest.0.is_empty() {
        return Read::Not(NO_TIMESTAMP);
    }
    let Some(days) = date.days(before_christ).filter(|_| time.is_possible) else {
        return Read::Impossible(IMPOSSIBLE);
    };
    let scale = per_second(unit);
    let seconds = days * SECONDS_OF_DAY + time.seconds - offset;
    let value =
        i128::from(seconds) * i128::from(scale) + i128::from(time.nanoseconds / (1_000_000_000 / scale));
    i64::try_from(value).map_or(Read::Not(OUT_OF_RANGE), Read::Value)
}

fn timestamp_parts(text: &mut Cursor<'_>, zoned: bool) -> Option<(WrittenDate, WrittenTime, i64)> {
    let date = WrittenDate::read(text)?;
    text.byte(b" T")?;
    let time = WrittenTime::read(text)?;
    let offset = if zoned { offset(text)? } else { 0 };
    Some((date, time, offset))
}

/// Seconds east of Greenwich; none is UTC.
fn offset(text: &mut Cursor<'_>) -> Option<i64> {
    if text.byte(b"Zz").is_some() {
        return Some(0);
    }
    let mut signed = *text;
    let _blank = signed.byte(b" ");
    let Some(sign) = signed.byte(b"+-") else { return Some(0) };
    *text = signed;
    let mut seconds = text.digits(2, 2)? * 3600;
    if text.byte(b":").is_some() {
        seconds += text.digits(2, 2)? * 60;
        if text.byte(b":").is_some() {
            seconds += text.digits(2, 2)?;
        }
    }
    Some(if sign == b'-' { -seconds } else { seconds })
}
