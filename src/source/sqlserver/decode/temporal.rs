//! Dates and times.
//!
//! Days count from 0001-01-01, those of `datetime` and `smalldatetime` from 1900-01-01; all are days
//! of the Gregorian calendar. Times count from midnight in units of their scale.

use std::marker::PhantomData;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    Date32Type, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampNanosecondType,
};

use super::Invalid;
use super::fixed::{FixedWidth, array};
use super::text::TextOf;

/// Days from 0001-01-01 to 1970-01-01, where Arrow counts from.
const EPOCH_DAYS: i32 = 719_162;
/// Days from 1900-01-01 to 1970-01-01.
const DATETIME_EPOCH_DAYS: i64 = 25_567;
/// Days of the calendar: the last one is 9999-12-31.
const CALENDAR_DAYS: i32 = 3_652_059;
const DAY_MICROSECONDS: i64 = 86_400_000_000;
/// Units of 100 nanoseconds in a day.
const DAY_TICKS: u64 = 864_000_000_000;
/// Ticks of `datetime` in a day, 300 in a second.
const DATETIME_TICKS: u32 = 25_920_000;
const MINUTE_MICROSECONDS: i64 = 60_000_000;

/// Days since 1970-01-01 out of three bytes.
#[inline]
fn days(bytes: [u8; 3]) -> Result<i32, Invalid> {
    let days = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    if days >= CALENDAR_DAYS { Err(Invalid::Malformed) } else { Ok(days - EPOCH_DAYS) }
}

/// `date`.
pub(super) struct Date;

impl FixedWidth for Date {
    type Arrow = Date32Type;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i32, Invalid> {
        days(array(field)?)
    }
}

/// `smalldatetime`: days and minutes.
pub(super) struct SmallDateTime;

impl FixedWidth for SmallDateTime {
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        let [a, b, c, d] = array(field)?;
        let (days, minutes) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        if minutes >= 24 * 60 {
            return Err(Invalid::Malformed);
        }
        let days = i64::from(days) - DATETIME_EPOCH_DAYS;
        Ok(days * DAY_MICROSECONDS + i64::from(minutes) * MINUTE_MICROSECONDS)
    }
}

/// `datetime`: days and three-hundredths of a second, which become milliseconds as the server
/// prints them: .000, .003 and .007.
pub(super) struct DateTime;

impl FixedWidth for DateTime {
    type Arrow = TimestampMicrosecondType;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        let [a, b, c, d, e, f, g, h] = array(field)?;
        let (days, ticks) = (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        // From 1753 to 9999.
        if ticks >= DATETIME_TICKS || !(-53_690..2_958_464).contains(&days) {
            return Err(Invalid::Malformed);
        }
        let days = i64::from(days) - DATETIME_EPOCH_DAYS;
        let milliseconds = (i64::from(ticks) * 10 + 1) / 3;
        Ok(days * DAY_MICROSECONDS + milliseconds * 1000)
    }
}

/// Reads a time of day of some scale.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// Bytes of the time: 3, 4 or 5.
    bytes: usize,
    /// Units of 100 nanoseconds in one unit of the scale.
    ticks: u64,
    scale: u8,
}

impl Clock {
    /// `None` for a scale that no server has.
    pub(super) fn of(scale: u8) -> Option<Self> {
        let bytes = match scale {
            0..=2 => 3,
            3 | 4 => 4,
            5..=7 => 5,
            _ => return None,
        };
        Some(Self { bytes, ticks: 10_u64.pow(7 - u32::from(scale)), scale })
    }

    /// Units of 100 nanoseconds since midnight, and what follows in the field.
    #[inline]
    fn read<'a>(&self, field: &'a [u8]) -> Result<(u64, &'a [u8]), Invalid> {
        let (time, rest) = field.split_at_checked(self.bytes).ok_or(Invalid::Malformed)?;
        let mut bytes = [0; 8];
        bytes[..time.len()].copy_from_slice(time);
        let ticks = u64::from_le_bytes(bytes) * self.ticks;
        if ticks >= DAY_TICKS { Err(Invalid::Malformed) } else { Ok((ticks, rest)) }
    }
}

/// What a time is counted in.
pub(super) trait Unit: Send {
    /// The Arrow type of a time of day.
    type Time: ArrowPrimitiveType<Native = i64>;
    /// The Arrow type of an instant.
    type Timestamp: ArrowPrimitiveType<Native = i64>;
    /// Units in a day.
    const DAY: i64;

    /// Units of 100 nanoseconds, below 2^40, in this unit.
    fn scaled(ticks: u64) -> i64;
}

/// Microseconds, off which the seventh digit is cut.
pub(super) struct Microseconds;

impl Unit for Microseconds {
    type Time = Time64MicrosecondType;
    type Timestamp = TimestampMicrosecondType;
    const DAY: i64 = DAY_MICROSECONDS;

    #[inline]
    fn scaled(ticks: u64) -> i64 {
        ticks.cast_signed() / 10
    }
}

/// Nanoseconds.
pub(super) struct Nanoseconds;

impl Unit for Nanoseconds {
    type Time = Time64NanosecondType;
    type Timestamp = TimestampNanosecondType;
    const DAY: i64 = DAY_MICROSECONDS * 1000;

    #[inline]
    fn scaled(ticks: u64) -> i64 {
        ticks.cast_signed() * 100
    }
}

/// `time`.
pub(super) struct TimeOfDay<U>(Clock, PhantomData<U>);

impl<U> TimeOfDay<U> {
    pub(super) fn new(clock: Clock) -> Self {
        Self(clock, PhantomData)
    }
}

impl<U: Unit> FixedWidth for TimeOfDay<U> {
    type Arrow = U::Time;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        let (ticks, rest) = self.0.read(field)?;
        if rest.is_empty() { Ok(U::scaled(ticks)) } else { Err(Invalid::Malformed) }
    }
}

/// `datetime2` and, with an offset of two bytes behind it, `datetimeoffset`, which is UTC on the wire.
pub(super) struct Instant<U> {
    clock: Clock,
    offset_bytes: usize,
    unit: PhantomData<U>,
}

impl<U> Instant<U> {
    pub(super) fn local(clock: Clock) -> Self {
        Self { clock, offset_bytes: 0, unit: PhantomData }
    }

    pub(super) fn with_offset(clock: Clock) -> Self {
        Self { offset_bytes: 2, ..Self::local(clock) }
    }
}

impl<U: Unit> FixedWidth for Instant<U> {
    type Arrow = U::Timestamp;

    #[inline]
    fn read(&self, field: &[u8]) -> Result<i64, Invalid> {
        let (ticks, rest) = self.clock.read(field)?;
        let (date, offset) = rest.split_first_chunk().ok_or(Invalid::Malformed)?;
        if offset.len() != self.offset_bytes {
            return Err(Invalid::Malformed);
        }
        let day = i64::from(days(*date)?).checked_mul(U::DAY).ok_or(Invalid::Instant)?;
        day.checked_add(U::scaled(ticks)).ok_or(Invalid::Instant)
    }
}

/// `datetimeoffset` as the server prints it: `2024-01-31 12:00:00.1234567 +02:00`.
pub(super) struct OffsetText(pub(super) Clock);

impl TextOf for OffsetText {
    fn append(&self, text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
        offset_text(text, self.0, field)
    }
}

/// Appends a `datetimeoffset` in its own time and zone.
pub(super) fn offset_text(text: &mut Vec<u8>, clock: Clock, field: &[u8]) -> Result<(), Invalid> {
    let (ticks, rest) = clock.read(field)?;
    let [a, b, c, d, e] = array(rest)?;
    let (utc_days, offset) = (days([a, b, c])?, i16::from_le_bytes([d, e]));
    // Whole minutes, up to 14 hours.
    if !(-840..=840).contains(&offset) {
        return Err(Invalid::Malformed);
    }
    let local = ticks.cast_signed() + i64::from(offset) * MINUTE_MICROSECONDS * 10;
    let day = DAY_TICKS.cast_signed();
    let days = utc_days + i32::try_from(local.div_euclid(day)).map_err(|_| Invalid::Malformed)?;
    date_text(text, days);
    text.push(b' ');
    time_text(text, local.rem_euclid(day).cast_unsigned(), clock.scale);
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    push(text, format_args!(" {sign}{:02}:{:02}", minutes / 60, minutes % 60));
    Ok(())
}

/// Appends `datetime2`.
pub(super) fn datetime2_text(text: &mut Vec<u8>, clock: Clock, field: &[u8]) -> Result<(), Invalid> {
    let (ticks, rest) = clock.read(field)?;
    date_text(text, days(array(rest)?)?);
    text.push(b' ');
    time_text(text, ticks, clock.scale);
    Ok(())
}

/// Appends `time`.
pub(super) fn clock_text(text: &mut Vec<u8>, clock: Clock, field: &[u8]) -> Result<(), Invalid> {
    let (ticks, rest) = clock.read(field)?;
    time_text(text, ticks, clock.scale);
    if rest.is_empty() { Ok(()) } else { Err(Invalid::Malformed) }
}

/// Appends `date`.
pub(super) fn day_text(text: &mut Vec<u8>, field: &[u8]) -> Result<(), Invalid> {
    date_text(text, days(array(field)?)?);
    Ok(())
}

/// Appends microseconds since 1970 with `digits` behind the point.
pub(super) fn instant_text(text: &mut Vec<u8>, microseconds: i64, digits: u8) {
    let days = microseconds.div_euclid(DAY_MICROSECONDS);
    // Within the calendar, because every reader above checks that.
    date_text(text, i32::try_from(days).unwrap_or_default());
    text.push(b' ');
    time_text(text, microseconds.rem_euclid(DAY_MICROSECONDS).cast_unsigned() * 10, digits);
}

fn time_text(text: &mut Vec<u8>, ticks: u64, digits: u8) {
    let seconds = ticks / 10_000_000;
    push(text, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    if digits > 0 {
        let fraction = ticks % 10_000_000 / 10_u64.pow(7 - u32::from(digits));
        push(text, format_args!(".{fraction:0width$}", width = usize::from(digits)));
    }
}

/// Days since 1970-01-01 as `yyyy-mm-dd`, by counting in cycles of 400 years from March.
fn date_text(text: &mut Vec<u8>, days: i32) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i32::from(month <= 2);
    push(text, format_args!("{year:04}-{month:02}-{day:02}"));
}

/// Writes into a vector, which cannot fail.
pub(super) fn push(text: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    let _never_fails = std::io::Write::write_fmt(text, arguments);
}
