//! Dates and times.
//!
//! On the wire a date is a year, a month and a day, and a datetime has hours, minutes, seconds and
//! microseconds after them; what is zero at the end is left out. A time is a sign, days, hours,
//! minutes, seconds and microseconds.

use std::io::Write as _;

use arrow::datatypes::{Date32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType};

use super::Invalid;
use super::fixed::FixedWidth;
use super::text::Form;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Days since 1970-01-01 of a date that some calendar page shows.
///
/// Counts in years that begin in March, so that the leap day is the last one, and in cycles of
/// 400 years, which all have 146,097 days.
#[inline]
fn days(year: u16, month: u8, day: u8) -> Result<i32, Invalid> {
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => return Err(Invalid::ZeroDate),
    };
    if day == 0 || day > longest || year == 0 {
        return Err(Invalid::ZeroDate);
    }
    let (month, day) = (i32::from(month), i32::from(day));
    let year = i32::from(year) - i32::from(month <= 2);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    Ok(cycle * 146_097 + day_of_cycle - 719_468)
}

/// Microseconds since midnight.
#[inline]
fn clock(hour: u8, minute: u8, second: u8, microsecond: [u8; 4]) -> Result<i64, Invalid> {
    let microsecond = i64::from(u32::from_le_bytes(microsecond));
    if hour > 23 || minute > 59 || second > 59 || microsecond >= SECOND {
        return Err(Invalid::Malformed);
    }
    Ok((i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second)) * SECOND + microsecond)
}

pub(super) struct Date;

impl FixedWidth for Date {
    type Arrow = Date32Type;

    #[inline]
    fn read(&self, value: &[u8]) -> Result<i32, Invalid> {
        match *value {
            [] => Err(Invalid::ZeroDate),
            [a, b, month, day] => days(u16::from_le_bytes([a, b]), month, day),
            _ => Err(Invalid::Malformed),
        }
    }
}

pub(super) struct DateTime;

impl FixedWidth for DateTime {
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(&self, value: &[u8]) -> Result<i64, Invalid> {
        let instant = |a, b, month, day, clock: Result<i64, Invalid>| {
            Ok(i64::from(days(u16::from_le_bytes([a, b]), month, day)?) * DAY + clock?)
        };
        match *value {
            [] => Err(Invalid::ZeroDate),
            [a, b, month, day] => instant(a, b, month, day, Ok(0)),
            [a, b, month, day, hour, minute, second] => {
                instant(a, b, month, day, clock(hour, minute, second, [0; 4]))
            }
            [a, b, month, day, hour, minute, second, c, d, e, f] => {
                instant(a, b, month, day, clock(hour, minute, second, [c, d, e, f]))
            }
            _ => Err(Invalid::Malformed),
        }
    }
}

/// A time of up to 838 hours, with its sign, in microseconds.
pub(super) struct Duration;

impl FixedWidth for Duration {
    type Arrow = Int64Type;

    #[inline]
    fn read(&self, value: &[u8]) -> Result<i64, Invalid> {
        let (sign, days, clock) = match *value {
            [] => return Ok(0),
            [sign, a, b, c, d, hour, minute, second] => {
                (sign, [a, b, c, d], clock(hour, minute, second, [0; 4])?)
            }
            [sign, a, b, c, d, hour, minute, second, e, f, g, h] => {
                (sign, [a, b, c, d], clock(hour, minute, second, [e, f, g, h])?)
            }
            _ => return Err(Invalid::Malformed),
        };
        let time =
            i64::from(u32::from_le_bytes(days)).checked_mul(DAY).and_then(|days| days.checked_add(clock));
        let time = time.ok_or(Invalid::Malformed)?;
        Ok(if sign == 0 { time } else { -time })
    }
}

/// A time of a day.
pub(super) struct TimeOfDay;

impl FixedWidth for TimeOfDay {
    type Arrow = Time64MicrosecondType;

    #[inline]
    fn read(&self, value: &[u8]) -> Result<i64, Invalid> {
        match Duration.read(value)? {
            time @ 0..DAY => Ok(time),
            _ => Err(Invalid::LongTime),
        }
    }
}

/// `[-]hh:mm:ss` with so many digits of a second, as the server prints it.
pub(super) struct TimeText(pub(super) u8);

impl Form for TimeText {
    fn put(&self, texts: &mut Vec<u8>, value: &[u8]) -> Result<(), Invalid> {
        let time = Duration.read(value)?;
        let (sign, time) = (if time < 0 { "-" } else { "" }, time.unsigned_abs());
        let (seconds, fraction) = (time / SECOND as u64, time % SECOND as u64);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let digits = usize::from(self.0.min(6));
        // Writing to a vector cannot fail.
        let _ = write!(texts, "{sign}{hours:02}:{minutes:02}:{seconds:02}");
        if digits > 0 {
            let _ = write!(texts, ".{:0digits$}", fraction / 10_u64.pow(6 - self.0.min(6) as u32));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn civil(day: i32) -> jiff::civil::Date {
        jiff::civil::Date::new(1970, 1, 1).expect("a date") + jiff::Span::new().days(day)
    }

    proptest! {
        #[test]
        fn every_day_of_a_calendar_is_counted(day in -719_162_i32..2_932_897) {
            let date = civil(day);
            prop_assert_eq!(days(date.year().unsigned_abs(), date.month().unsigned_abs(), date.day().unsigned_abs()), Ok(day));
        }

        #[test]
        fn a_day_is_counted_exactly_when_a_calendar_has_it(year in 1_u16..=9999, month in 0_u8..=13, day in 0_u8..=32) {
            let exists = jiff::civil::Date::new(year as i16, month as i8, day as i8).is_ok();
            prop_assert_eq!(days(year, month, day).is_ok(), exists);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(value in proptest::collection::vec(any::<u8>(), 0..14)) {
            let _dates = (Date.read(&value), DateTime.read(&value));
            let _times = (Duration.read(&value), TimeOfDay.read(&value));
            let _text = TimeText(6).put(&mut Vec::new(), &value);
        }
    }

    #[test]
    fn times_keep_their_sign_and_their_hours() {
        let text = |digits, value: &[u8]| {
            let mut bytes = Vec::new();
            TimeText(digits).put(&mut bytes, value).map(|()| String::from_utf8(bytes).expect("text"))
        };
        let long = [1, 34, 0, 0, 0, 22, 59, 59, 0x3f, 0x42, 0x0f, 0];
        assert_eq!(text(6, &long).as_deref(), Ok("-838:59:59.999999"));
        assert_eq!(text(3, &long).as_deref(), Ok("-838:59:59.999"));
        assert_eq!(text(0, &[]).as_deref(), Ok("00:00:00"));
        assert_eq!(Duration.read(&long), Ok(-(838 * 3600 + 59 * 60 + 59) * SECOND - 999_999));
        assert_eq!(TimeOfDay.read(&long), Err(Invalid::LongTime));
        assert_eq!(TimeOfDay.read(&[0, 1, 0, 0, 0, 0, 0, 0]), Err(Invalid::LongTime));
    }

    #[test]
    fn dates_of_no_calendar_are_told() {
        for value in [&[][..], &[0, 0, 0, 0], &[0xe8, 7, 0, 1], &[0xe8, 7, 1, 0], &[0xe8, 7, 2, 30]] {
            assert_eq!(Date.read(value), Err(Invalid::ZeroDate), "{value:?}");
        }
    }
}
