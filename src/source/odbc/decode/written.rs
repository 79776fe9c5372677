//! Numbers, dates and instants that arrive as texts, from drivers that would make something else of a value
//! that their structure does not hold, and say nothing.

use std::str::FromStr;

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType,
};
use odbc_api::CursorRow;
use odbc_api::buffers::AnyColumnBufferSlice;

use super::temporal::{DAY_SECONDS, SECOND, days, in_nanoseconds, time_of_day};
use super::text::{count, each_text, short_text};
use super::{ColumnDecoder, Invalid};
use crate::source::fixed_width::Primitives;

/// From a text to a value of Arrow.
pub(super) trait Reader: Send {
    type Arrow: ArrowPrimitiveType;

    fn read(text: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Invalid>;
}

/// Gathers values of one kind.
pub(super) struct Written<R: Reader>(Primitives<R::Arrow>);

impl<R: Reader> Written<R> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self(Primitives::new(data_type))
    }

    #[inline]
    fn push(&mut self, text: Option<&[u8]>) -> Result<(), Invalid> {
        self.0.push(text.map(R::read).transpose()?);
        Ok(())
    }
}

impl<R: Reader> ColumnDecoder for Written<R> {
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid> {
        self.0.reserve(count(cells));
        each_text(cells, |text| self.push(text))
    }

    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid> {
        short_text::<64, _>(row, number, |text| self.push(text))
    }

    fn byte_size(&self) -> usize {
        self.0.byte_size()
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(self.0.take_array())
    }
}

fn number<T: FromStr>(text: &[u8]) -> Result<T, Invalid> {
    let text = std::str::from_utf8(text).map_err(|_no_text| Invalid::Malformed)?;
    text.trim_ascii().parse().map_err(|_no_number| Invalid::Malformed)
}

pub(super) struct Integer;

impl Reader for Integer {
    type Arrow = Int64Type;

    #[inline]
    fn read(text: &[u8]) -> Result<i64, Invalid> {
        number(text)
    }
}

pub(super) struct Double;

impl Reader for Double {
    type Arrow = Float64Type;

    #[inline]
    fn read(text: &[u8]) -> Result<f64, Invalid> {
        number(text)
    }
}

/// The number of some digits, and nothing else.
#[inline]
fn digits(text: &[u8]) -> Result<u16, Invalid> {
    let mut value = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Invalid::Malformed);
        }
        value = value * 10 + u16::from(digit);
    }
    Ok(value)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
#[inline]
fn date(text: &[u8]) -> Result<i32, Invalid> {
    let &[a, b, c, d, b'-', e, f, b'-', g, h] = text else { return Err(Invalid::Malformed) };
    let year = i16::try_from(digits(&[a, b, c, d])?).map_err(|_too_large| Invalid::Malformed)?;
    days(year, digits(&[e, f])?, digits(&[g, h])?)
}

/// Seconds since 1970-01-01 00:00:00 of a date, or of a date and a clock, and nanoseconds above them.
///
/// The clock is `hh:mm`, `hh:mm:ss` or `hh:mm:ss.f`, behind a blank or a `T`; a zone may follow if it is that of
/// UTC.
#[inline]
fn instant(text: &[u8]) -> Result<(i64, i64), Invalid> {
    let text = text.trim_ascii();
    let (day, clock) = text.split_at(text.len().min(10));
    if clock.ends_with(b" BC") {
        return Err(Invalid::NoSuchDate);
    }
    let midnight = i64::from(date(day)?) * DAY_SECONDS;
    let Some((between, clock)) = clock.split_first() else { return Ok((midnight, 0)) };
    if !matches!(between, b' ' | b'T') {
        return Err(Invalid::Malformed);
    }
    let in_utc = [&b"Z"[..], b"+00", b"+00:00"].iter().find_map(|zone| clock.strip_suffix(*zone));
    let clock = in_utc.unwrap_or(clock);
    let in_day = match *clock {
        [a, b, b':', c, d] => time_of_day(&[a, b, b':', c, d, b':', b'0', b'0']),
        _ => time_of_day(clock),
    };
    let in_day = in_day.map_err(|_no_clock| Invalid::Malformed)?;
    Ok((midnight + in_day / SECOND, in_day % SECOND))
}

pub(super) struct Day;

impl Reader for Day {
    type Arrow = Date32Type;

    #[inline]
    fn read(text: &[u8]) -> Result<i32, Invalid> {
        date(text.trim_ascii())
    }
}

pub(super) struct Microseconds;

impl Reader for Microseconds {
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(text: &[u8]) -> Result<i64, Invalid> {
        let (seconds, nanoseconds) = instant(text)?;
        Ok(seconds * 1_000_000 + nanoseconds / 1000)
    }
}

pub(super) struct Nanoseconds;

impl Reader for Nanoseconds {
    type Arrow = TimestampNanosecondType;

    #[inline]
    fn read(text: &[u8]) -> Result<i64, Invalid> {
        let (seconds, nanoseconds) = instant(text)?;
        in_nanoseconds(seconds, nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_instants_are_those_that_are_written() {
        for (text, microseconds) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59.999999", -1),
            ("9999-12-31 23:59:59.999999", 253_402_300_799_999_999),
            ("1970-01-02", 86_400_000_000),
            ("1970-01-01T00:01", 60_000_000),
            ("1970-01-01T00:00:01.5Z", 1_500_000),
            (" 1970-01-01 00:00:01+00 ", 1_000_000),
        ] {
            assert_eq!(Microseconds::read(text.as_bytes()).ok(), Some(microseconds), "{text}");
        }
        assert_eq!(Nanoseconds::read(b"1970-01-01 00:00:00.123456789").ok(), Some(123_456_789));
        assert_eq!(Day::read(b"2024-02-29").ok(), Some(19_782));
    }

    /// What psqlODBC 13 and MariaDB's driver 3.1 write where there is no such date, and what SQLite's hands out
    /// as it is.
    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "0000-00-00",
            "1202-00-00",
            "2024-00-10",
            "2023-02-29",
            "0000-00-00 00:00:00.000000",
            "0044-03-15 00:00:00 BC",
            "9999-01-01 00:00:00 BC",
        ] {
            let error = Microseconds::read(text.as_bytes());
            assert!(matches!(error, Err(Invalid::NoSuchDate)), "{text}: {error:?}");
        }
        for text in
            ["", "x", "infinity", "12024-01-02", "2024-1-2", "2024-01-01 24:00:00", "2024-01-01 23:59:60"]
                .into_iter()
                .chain(["2024-01-01 00:00:00+02", "2024-01-01x00:00:00", "2024-01-01 00:00:00.1234567890"])
        {
            let error = Microseconds::read(text.as_bytes());
            assert!(matches!(error, Err(Invalid::Malformed)), "{text}: {error:?}");
        }
        assert!(matches!(Day::read(b"2024-01-01 00:00:00"), Err(Invalid::Malformed)));
    }

    #[test]
    fn a_number_is_all_of_its_text() {
        assert_eq!(Integer::read(b"-9223372036854775808").ok(), Some(i64::MIN));
        assert_eq!(Double::read(b"1e+300").ok(), Some(1e300));
        for text in ["", "abc", "12,5", "9223372036854775808", "1.5"] {
            assert!(matches!(Integer::read(text.as_bytes()), Err(Invalid::Malformed)), "{text}");
        }
        assert!(matches!(Double::read(b"12,5"), Err(Invalid::Malformed)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _any = (Microseconds::read(&text), Nanoseconds::read(&text), Day::read(&text));
            let _any = (Integer::read(&text), Double::read(&text));
        }

        #[test]
        fn an_instant_comes_back(year in 1_i16..=9999, month in 1_i8..=12, day in 1_i8..=28, second in 0_i64..86_400, fraction in 0_i64..1_000_000) {
            let midnight = jiff::civil::date(year, month, day);
            let since = (midnight - jiff::civil::date(1970, 1, 1)).get_days();
            let text = format!(
                "{midnight} {:02}:{:02}:{:02}.{fraction:06}", second / 3600, second / 60 % 60, second % 60
            );
            let expected = (i64::from(since) * DAY_SECONDS + second) * 1_000_000 + fraction;
            prop_assert_eq!(Microseconds::read(text.as_bytes()).ok(), Some(expected));
        }
    }
}
