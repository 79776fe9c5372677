//! Values of the binary protocol into Arrow arrays, column by column.
//!
//! A [`Block`] indexes the values of a run of rows where they lie in the receive buffer. Each
//! column then takes its values out of the block in one loop of its own: one virtual call for a
//! block and a column, none for a value, and no allocation for either.

mod decimal;
mod fixed;
mod temporal;
mod text;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal64Type, Decimal128Type, Decimal256Type};

use self::decimal::Decimal;
use super::types::Wire;
use crate::config::ZeroDates;
use crate::source::block::{Block, Outside};
use crate::source::fixed_width::Booleans;
use crate::source::variable_width::TooLong;

/// Why a value cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// The value's bytes are not what its type says.
    #[error("the server sent a value of a wrong length or form")]
    Malformed,
    /// A packet is missing, or came twice.
    #[error("the server's packets are out of order")]
    OutOfOrder,
    /// `0000-00-00`, a month or day of zero, the 31st of February.
    #[error("a date has a year, month or day that no calendar has")]
    ZeroDate,
    /// A time that is negative, or of a day and more.
    #[error("a time is negative or longer than a day, and the output has times of a day only")]
    LongTime,
    /// A number that is too large for the column's decimal type.
    #[error("a number does not fit the column's decimal type")]
    Overflow,
    /// Text that is not UTF-8.
    #[error("a text is not valid UTF-8")]
    NotUtf8,
    /// A row of more bytes than the connection takes.
    #[error("a row has more than {0} bytes")]
    LongRow(usize),
    /// More than 2 GiB of text in one batch.
    #[error("the texts of one batch exceed 2 GiB")]
    TooLong,
}

impl From<TooLong> for Invalid {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl From<Outside> for Invalid {
    fn from(_: Outside) -> Self {
        Self::Malformed
    }
}

/// Gathers the values of one column.
pub(super) trait ColumnDecoder: Send {
    /// Takes value `column` of every row of `block`, whose values lie in `bytes`.
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid>;

    /// Bytes that are gathered.
    fn byte_size(&self) -> usize;

    /// The gathered values; the decoder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, Invalid>;
}

/// The decoder of a column.
pub(super) fn decoder(wire: Wire, data_type: &DataType, zero_dates: ZeroDates) -> Box<dyn ColumnDecoder> {
    macro_rules! fixed {
        ($reader:expr) => {
            Box::new(fixed::Fixed::new($reader, data_type, zero_dates))
        };
    }
    match wire {
        Wire::Int1 => fixed!(fixed::Int1),
        Wire::UInt1 => fixed!(fixed::UInt1),
        Wire::Int2 => fixed!(fixed::Int2),
        Wire::UInt2 => fixed!(fixed::UInt2),
        Wire::Int4 => fixed!(fixed::Int4),
        Wire::UInt4 => fixed!(fixed::UInt4),
        Wire::Int8 => fixed!(fixed::Int8),
        Wire::UInt8 => fixed!(fixed::UInt8),
        Wire::Float4 => fixed!(fixed::Float4),
        Wire::Float8 => fixed!(fixed::Float8),
        Wire::Bits => match data_type {
            DataType::Int64 => fixed!(fixed::Bits),
            _ => fixed!(fixed::WideBits),
        },
        Wire::Date => fixed!(temporal::Date),
        Wire::DateTime => fixed!(temporal::DateTime),
        Wire::Time => fixed!(temporal::TimeOfDay),
        Wire::TimeMicroseconds => fixed!(temporal::Duration),
        Wire::Decimal => match data_type {
            DataType::Decimal64(..) => fixed!(Decimal::<Decimal64Type>::new(data_type)),
            DataType::Decimal128(..) => fixed!(Decimal::<Decimal128Type>::new(data_type)),
            _ => fixed!(Decimal::<Decimal256Type>::new(data_type)),
        },
        Wire::Bool1 | Wire::Bit => Box::new(Booleans::default()),
        Wire::Text | Wire::Null => Box::new(text::Texts::<text::Plain>::new(text::Plain)),
        Wire::TimeText(digits) => Box::new(text::Texts::new(temporal::TimeText(digits))),
        Wire::Bytes => Box::new(text::Binaries::new(0)),
        // The reference system is cut off: four bytes before the well-known binary.
        Wire::Geometry => Box::new(text::Binaries::new(4)),
    }
}
