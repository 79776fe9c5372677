//! Dates and instants in the structures of ODBC, and times of a day.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, Time64MicrosecondArray, Time64NanosecondArray};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType, TimestampNanosecondType};
use odbc_api::CursorRow;
use odbc_api::buffers::AnyColumnBufferSlice;
use odbc_api::sys::{Date, Timestamp};

use super::fixed::Cell;
use super::text::{each_text, short_text};
use super::{ColumnDecoder, Invalid};

pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const DAY_SECONDS: i64 = 86_400;

/// Days since 1970-01-01 of a date that some calendar page shows.
///
/// Counts in years that begin in March, so that the leap day is the last one, and in cycles of 400
/// years, which all have 146,097 days.
#[inline]
pub(super) fn days(year: i16, month: u16, day: u16) -> Result<i32, Invalid> {
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => return Err(Invalid::NoSuchDate),
    };
    if day == 0 || day > longest || year < 1 {
        return Err(Invalid::NoSuchDate);
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

/// Seconds since 1970-01-01 00:00:00, and nanoseconds above them.
#[inline]
fn instant(value: Timestamp) -> Result<(i64, i64), Invalid> {
    let Timestamp { year, month, day, hour, minute, second, fraction } = value;
    if hour > 23 || minute > 59 || second > 59 || i64::from(fraction) >= SECOND {
        return Err(Invalid::Malformed);
    }
    let clock = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Ok((i64::from(days(year, month, day)?) * DAY_SECONDS + clock, i64::from(fraction)))
}

pub(super) struct Day;

impl Cell for Day {
    type C = Date;
    type Arrow = Date32Type;

    #[inline]
    fn read(Date { year, month, day }: Date) -> Result<i32, Invalid> {
        days(year, month, day)
    }
}

pub(super) struct Microseconds;

impl Cell for Microseconds {
    type C = Timestamp;
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(value: Timestamp) -> Result<i64, Invalid> {
        let (seconds, nanoseconds) = instant(value)?;
        Ok(seconds * 1_000_000 + nanoseconds / 1000)
    }
}

pub(super) struct Nanoseconds;

impl Cell for Nanoseconds {
    type C = Timestamp;
    type Arrow = TimestampNanosecondType;

    #[inline]
    fn read(value: Timestamp) -> Result<i64, Invalid> {
        let (seconds, nanoseconds) = instant(value)?;
        in_nanoseconds(seconds, nanoseconds)
    }
}

/// Nanoseconds since 1970-01-01 00:00:00.
#[inline]
pub(super) fn in_nanoseconds(seconds: i64, nanoseconds: i64) -> Result<i64, Invalid> {
    let whole = i128::from(seconds) * i128::from(SECOND) + i128::from(nanoseconds);
    i64::try_from(whole).map_err(|_too_far| Invalid::FarInstant)
}

/// Gathers times of a day, which arrive as texts.
pub(super) struct Times {
    values: Vec<i64>,
    nulls: NullBufferBuilder,
    is_fine: bool,
}

impl Times {
    pub(super) fn new(is_fine: bool) -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0), is_fine }
    }

    #[inline]
    fn push(&mut self, text: Option<&[u8]>) -> Result<(), Invalid> {
        let nanoseconds = text.map(time_of_day).transpose()?;
        self.nulls.append(nanoseconds.is_some());
        let nanoseconds = nanoseconds.unwrap_or_default();
        self.values.push(if self.is_fine { nanoseconds } else { nanoseconds / 1000 });
        Ok(())
    }
}

/// Nanoseconds since midnight of `hh:mm:ss[.f]`.
#[inline]
pub(super) fn time_of_day(text: &[u8]) -> Result<i64, Invalid> {
    let text = text.trim_ascii();
    let (clock, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &text[..0]),
    };
    if clock.first() == Some(&b'-') || clock.len() > 8 {
        return Err(Invalid::LongTime);
    }
    let two = |tens: u8, ones: u8| {
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        if tens > 9 || ones > 9 { Err(Invalid::Malformed) } else { Ok(i64::from(tens * 10 + ones)) }
    };
    let &[a, b, b':', c, d, b':', e, f] = clock else { return Err(Invalid::Malformed) };
    let (hour, minute, second) = (two(a, b)?, two(c, d)?, two(e, f)?);
    if hour > 23 {
        return Err(Invalid::LongTime);
    }
    if minute > 59 || second > 59 || fraction.len() > 9 {
        return Err(Invalid::Malformed);
    }
    let mut nanoseconds = 0;
    for position in 0..9 {
        let digit = fraction.get(position).map_or(0, |byte| byte.wrapping_sub(b'0'));
        if digit > 9 {
            return Err(Invalid::Malformed);
        }
        nanoseconds = nanoseconds * 10 + i64::from(digit);
    }
    Ok((hour * 3600 + minute * 60 + second) * SECOND + nanoseconds)
}

impl ColumnDecoder for Times {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        each_text(cells, |text| self.push(text))
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        short_text::<64, _>(row, number, |text| self.push(text))
    }

    fn byte_size(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        let next = Vec::with_capacity(self.values.len());
        let (values, nulls) = (std::mem::replace(&mut self.values, next), self.nulls.finish());
        Ok(match self.is_fine {
            true => Arc::new(Time64NanosecondArray::new(values.into(), nulls)),
            false => Arc::new(Time64MicrosecondArray::new(values.into(), nulls)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timestamp(year: i16, month: u16, day: u16, fraction: u32) -> Timestamp {
        Timestamp { year, month, day, hour: 23, minute: 59, second: 59, fraction }
    }

    #[test]
    fn instants_are_counted_from_1970() {
        assert_eq!(Microseconds::read(timestamp(1969, 12, 31, 999_999_999)).ok(), Some(-1));
        let sixty = Timestamp { second: 60, ..timestamp(2016, 12, 31, 0) };
        assert!(matches!(Microseconds::read(sixty), Err(Invalid::Malformed)));
        assert_eq!(Nanoseconds::read(timestamp(1969, 12, 31, 999_999_999)).ok(), Some(-1));
        assert!(matches!(Nanoseconds::read(timestamp(9999, 12, 31, 0)), Err(Invalid::FarInstant)));
        assert_eq!(
            Microseconds::read(timestamp(9999, 12, 31, 999_999_000)).ok(),
            Some(253_402_300_799_999_999)
        );
        for (year, month, day) in
            [(0, 0, 0), (0, 1, 1), (-44, 3, 15), (2023, 2, 29), (1900, 2, 29), (2024, 13, 1), (2024, 4, 31)]
        {
            assert!(matches!(Microseconds::read(timestamp(year, month, day, 0)), Err(Invalid::NoSuchDate)));
        }
    }

    #[test]
    fn times_are_read_with_their_fractions() {
        for (text, expected) in [
            ("00:00:00", 0),
            ("23:59:59.999999999", DAY_SECONDS * SECOND - 1),
            ("01:02:03.5", 3_723_500_000_000),
            (" 12:00:00.123456 ", 43_200_123_456_000),
        ] {
            assert_eq!(time_of_day(text.as_bytes()).ok(), Some(expected), "{text}");
        }
        for text in ["-01:00:00", "838:59:59", "24:00:00"] {
            assert!(matches!(time_of_day(text.as_bytes()), Err(Invalid::LongTime)), "{text}");
        }
        for text in
            ["", "1:2:3", "12:00", "12:60:00", "23:59:60", "12:00:00.1234567890", "12:00:00.x", "ab:cd:ef"]
        {
            assert!(matches!(time_of_day(text.as_bytes()), Err(Invalid::Malformed)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn days_are_those_of_another_calendar(year in 1_i16..=9999, month in 1_u16..=12, day in 1_u16..=31) {
            let other = jiff::civil::Date::new(year, month as i8, day as i8).ok();
            let expected = other.map(|date| (date - jiff::civil::date(1970, 1, 1)).get_days());
            prop_assert_eq!(days(year, month, day).ok(), expected);
        }

        #[test]
        fn no_text_makes_the_reader_of_times_panic(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _any_answer = time_of_day(&text);
        }
    }
}
