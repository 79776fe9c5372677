//! Values in the driver's buffers into Arrow arrays, column by column.
//!
//! A fetch fills a buffer for each column; each decoder then takes its values out of it in one loop of
//! its own: one virtual call for a buffer and a column, none for a value. Results with long values come
//! a row at a time instead, a value in as many pieces as it takes.

mod decimal;
mod fixed;
mod temporal;
mod text;
mod written;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal64Type, Decimal128Type, Decimal256Type, TimeUnit};
use odbc_api::CursorRow;
use odbc_api::buffers::{AnyColumnBufferSlice, BufferDesc};

use super::error::CUT;
use super::types::{Mapping, Wire};
use crate::source::fixed_width::Booleans;
use crate::source::variable_width::TooLong;

/// Why a value cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    /// A buffer has another type than its decoder.
    #[error("a buffer has another type than was agreed")]
    OtherBuffer,
    /// Digits of a number, or the fields of a time, are not what the driver should send.
    #[error("the driver sent a value of another form than its type has")]
    Malformed,
    /// A date that no calendar has, or one before the year 1.
    #[error("a date has a year, month or day that no calendar has, or is before the year 1")]
    NoSuchDate,
    /// A time that is negative, or of a day and more.
    #[error("a time is negative or longer than a day, and the output has times of a day only")]
    LongTime,
    /// An instant that does not fit into nanoseconds.
    #[error("an instant is before 1678 or after 2261, too far for nanoseconds")]
    FarInstant,
    /// A number with more digits than the driver said.
    #[error("a number has more digits than the column's decimal type, as the driver describes it")]
    Overflow,
    /// Text that is not UTF-8.
    #[error("a text is not valid UTF-8")]
    NotUtf8,
    /// Text that is not UTF-16.
    #[error("a text is not valid UTF-16")]
    NotUtf16,
    /// A value that is longer than the driver said.
    #[error("a value is longer than the driver says that the column's values are")]
    Truncated,
    /// More than 2 GiB of text in one batch.
    #[error("the values of one batch exceed 2 GiB")]
    TooLong,
    /// The driver refuses to hand out a piece.
    #[error("the driver cannot hand out a value")]
    Driver(#[from] odbc_api::Error),
}

impl Invalid {
    /// What a person can do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "Set `text = \"utf16\"` for the connection, or set the driver up for UTF-8.",
            Self::Truncated => CUT,
            Self::FarInstant => "Set `seventh_digit = \"cut\"` for the connection.",
            Self::LongTime | Self::NoSuchDate | Self::Overflow | Self::Malformed | Self::NotUtf16 => {
                "Cast the column in the query to text, or to a type that holds every value."
            }
            Self::TooLong => "Lower transfer.batch_rows.",
            Self::OtherBuffer | Self::Driver(_) => "Cast the column in the query to text.",
        }
    }
}

impl From<TooLong> for Invalid {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// Gathers the values of one column.
pub(super) trait ColumnDecoder: Send {
    /// Takes the values of a filled buffer.
    fn append(&mut self, cells: AnyColumnBufferSlice<'_>) -> Result<(), Invalid>;

    /// Takes the value of a row's column `number`, counted from 1, in pieces if it is long.
    fn append_from(&mut self, row: &mut CursorRow<'_>, number: u16) -> Result<(), Invalid>;

    /// Bytes that are gathered.
    fn byte_size(&self) -> usize;

    /// The gathered values; the decoder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, Invalid>;
}

/// Bytes of a cell of bytes.
fn cell_bytes(mapping: &Mapping) -> usize {
    match mapping.cell {
        Some(BufferDesc::Binary { max_bytes }) => max_bytes,
        _ => usize::MAX,
    }
}

/// The decoder of a column.
pub(super) fn decoder(mapping: &Mapping) -> Box<dyn ColumnDecoder> {
    macro_rules! written {
        ($reader:ty) => {
            Box::new(written::Written::<$reader>::new(&mapping.arrow))
        };
    }
    macro_rules! fixed {
        ($cell:ty) => {
            Box::new(fixed::Fixed::<$cell>::new(&mapping.arrow))
        };
    }
    let is_fine = matches!(
        mapping.arrow,
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Time64(TimeUnit::Nanosecond)
    );
    match mapping.wire {
        Wire::Int2 => fixed!(fixed::Int2),
        Wire::Int4 => fixed!(fixed::Int4),
        Wire::Int8 => fixed!(fixed::Int8),
        Wire::IntegerText => written!(written::Integer),
        Wire::Float4 => fixed!(fixed::Float4),
        Wire::Float8 => fixed!(fixed::Float8),
        Wire::FloatText => written!(written::Double),
        Wire::Bit => Box::new(Booleans::default()),
        Wire::Date => fixed!(temporal::Day),
        Wire::DateText => written!(written::Day),
        Wire::Timestamp if is_fine => fixed!(temporal::Nanoseconds),
        Wire::Timestamp => fixed!(temporal::Microseconds),
        Wire::TimestampText if is_fine => written!(written::Nanoseconds),
        Wire::TimestampText => written!(written::Microseconds),
        Wire::Time => Box::new(temporal::Times::new(is_fine)),
        Wire::Decimal => match mapping.arrow {
            DataType::Decimal64(..) => Box::new(decimal::Decimals::<Decimal64Type>::new(&mapping.arrow)),
            DataType::Decimal128(..) => Box::new(decimal::Decimals::<Decimal128Type>::new(&mapping.arrow)),
            _ => Box::new(decimal::Decimals::<Decimal256Type>::new(&mapping.arrow)),
        },
        Wire::WideText => Box::new(text::WideTexts::default()),
        Wire::NarrowText => Box::new(text::NarrowTexts::default()),
        Wire::Bytes => Box::new(text::Binaries::new(cell_bytes(mapping))),
    }
}
