//! Fields of rows into Arrow arrays, column by column.
//!
//! A [`Block`] says where the fields of a run of rows lie. Each column takes its fields out of the
//! block in one loop of its own: one virtual call for a block and a column, none for a value, and
//! no allocation for either.

mod decimal;
mod fixed;
mod temporal;
mod text;
mod variant;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Decimal64Type, Decimal128Type, TimeUnit};

use self::decimal::{Decimal, Money4, Money8};
use self::fixed::{Fixed, Float4, Float8, Int2, Int4, Int8, TinyInt};
use self::temporal::{
    Clock, Date, DateTime, Instant, Microseconds, Nanoseconds, OffsetText, SmallDateTime, TimeOfDay,
};
use self::text::{Binaries, Texts};
use super::error::BROKEN_PROTOCOL;
use super::protocol::type_info::{Kind, TypeInfo};
use super::rows::Block;
use crate::fault::FaultKind;
use crate::source::fixed_width::Booleans;
use crate::source::variable_width::TooLong;

/// Why a field cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// The field's bytes are not what its type says.
    #[error("the server sent a field of a wrong length or form")]
    Malformed,
    /// A number that is too large for the column's decimal type.
    #[error("a number does not fit the column's decimal type")]
    Overflow,
    /// An instant outside of what nanoseconds can count.
    #[error("an instant lies outside of the years 1678 to 2261, which nanoseconds can count")]
    Instant,
    /// Bytes that are no text of the column's code page.
    #[error("a text is not valid in the column's code page")]
    NotText,
    /// Half of a pair of surrogates.
    #[error("a text is not valid UTF-16: half of a character is missing")]
    NotUtf16,
    /// A row that is longer than the connection allows.
    #[error("a row is too long")]
    LongRow,
    /// More than 2 GiB of text in one batch.
    #[error("the values of one batch exceed 2 GiB")]
    TooLong,
    /// A value of `sql_variant` whose type is not known here.
    #[error("a sql_variant holds a type that is not known here")]
    Variant,
}

impl From<TooLong> for Invalid {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl Invalid {
    pub(super) fn kind(self) -> FaultKind {
        match self {
            // As likely made by what stands between, which another attempt may not meet.
            Self::Malformed => FaultKind::Transient,
            Self::Overflow
            | Self::Instant
            | Self::NotText
            | Self::NotUtf16
            | Self::LongRow
            | Self::TooLong
            | Self::Variant => FaultKind::Data,
        }
    }

    pub(super) fn remedy(self, column: &str) -> String {
        match self {
            Self::Malformed => BROKEN_PROTOCOL.to_owned(),
            Self::LongRow => {
                "Raise `longest_row` of the connection, or leave out the columns that have such values."
                    .to_owned()
            }
            Self::Overflow => format!("Cast [{column}] to a wider decimal in the query."),
            Self::Instant => "Set `seventh_digit = \"cut\"` on the connection.".to_owned(),
            Self::NotText => {
                format!(
                    "Select CAST([{column}] AS nvarchar(max)) to let the server convert it, or CAST([{column}] AS varbinary(max)) to get its bytes."
                )
            }
            Self::NotUtf16 => {
                format!("Select CAST([{column}] AS varbinary(max)) to get its bytes, or repair the text.")
            }
            Self::TooLong => "Lower `batch_rows`.".to_owned(),
            Self::Variant => format!("Select CAST([{column}] AS nvarchar(max))."),
        }
    }
}

/// Gathers the values of one column.
pub(super) trait ColumnDecoder: Send {
    /// Takes field `column` of every row of `block`, whose fields lie in `bytes`.
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid>;

    /// Bytes that are gathered.
    fn byte_size(&self) -> usize;

    /// Bits that every value takes in the array, NULL or not.
    fn value_bits(&self) -> usize;

    /// The gathered values; the decoder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, Invalid>;
}

/// The decoder of a column that arrives as `type_info` and becomes `data_type`; `None` when the two
/// do not fit.
pub(super) fn decoder(type_info: TypeInfo, data_type: &DataType) -> Option<Box<dyn ColumnDecoder>> {
    use TimeUnit::{Microsecond, Nanosecond};
    let boxed: Box<dyn ColumnDecoder> = match (type_info.kind, data_type) {
        (Kind::Null, _) => Box::new(Nothing { rows: 0, data_type: data_type.clone() }),
        (Kind::Bit, DataType::Boolean) => Box::new(Booleans::default()),
        (Kind::TinyInt, DataType::UInt8) => Box::new(Fixed::new(TinyInt, data_type)),
        (Kind::Int(2), DataType::Int16) => Box::new(Fixed::new(Int2, data_type)),
        (Kind::Int(4), DataType::Int32) => Box::new(Fixed::new(Int4, data_type)),
        (Kind::Int(8), DataType::Int64) => Box::new(Fixed::new(Int8, data_type)),
        (Kind::Float(4), DataType::Float32) => Box::new(Fixed::new(Float4, data_type)),
        (Kind::Float(8), DataType::Float64) => Box::new(Fixed::new(Float8, data_type)),
        (Kind::Money(4), DataType::Decimal64(10, 4)) => Box::new(Fixed::new(Money4, data_type)),
        (Kind::Money(8), DataType::Decimal128(19, 4)) => Box::new(Fixed::new(Money8, data_type)),
        (Kind::Decimal { scale, .. }, DataType::Decimal64(precision, to))
            if i8::try_from(scale) == Ok(*to) =>
        {
            Box::new(Fixed::new(Decimal::<Decimal64Type>::of(*precision), data_type))
        }
        (Kind::Decimal { scale, .. }, DataType::Decimal128(precision, to))
            if i8::try_from(scale) == Ok(*to) =>
        {
            Box::new(Fixed::new(Decimal::<Decimal128Type>::of(*precision), data_type))
        }
        (Kind::Date, DataType::Date32) => Box::new(Fixed::new(Date, data_type)),
        (Kind::DateTime(4), DataType::Timestamp(Microsecond, None)) => {
            Box::new(Fixed::new(SmallDateTime, data_type))
        }
        (Kind::DateTime(8), DataType::Timestamp(Microsecond, None)) => {
            Box::new(Fixed::new(DateTime, data_type))
        }
        (Kind::Time { scale }, DataType::Time64(Microsecond)) => {
            Box::new(Fixed::new(TimeOfDay::<Microseconds>::new(Clock::of(scale)?), data_type))
        }
        (Kind::Time { scale }, DataType::Time64(Nanosecond)) => {
            Box::new(Fixed::new(TimeOfDay::<Nanoseconds>::new(Clock::of(scale)?), data_type))
        }
        (Kind::DateTime2 { scale }, DataType::Timestamp(Microsecond, None)) => {
            Box::new(Fixed::new(Instant::<Microseconds>::local(Clock::of(scale)?), data_type))
        }
        (Kind::DateTime2 { scale }, DataType::Timestamp(Nanosecond, None)) => {
            Box::new(Fixed::new(Instant::<Nanoseconds>::local(Clock::of(scale)?), data_type))
        }
        (Kind::DateTimeOffset { scale }, DataType::Timestamp(Microsecond, Some(_))) => {
            Box::new(Fixed::new(Instant::<Microseconds>::with_offset(Clock::of(scale)?), data_type))
        }
        (Kind::DateTimeOffset { scale }, DataType::Timestamp(Nanosecond, Some(_))) => {
            Box::new(Fixed::new(Instant::<Nanoseconds>::with_offset(Clock::of(scale)?), data_type))
        }
        (Kind::DateTimeOffset { scale }, DataType::Utf8) => {
            Box::new(Texts::new(OffsetText(Clock::of(scale)?)))
        }
        (Kind::Guid, DataType::Utf8) => Box::new(Texts::new(text::Guid)),
        (Kind::Char(code_page), DataType::Utf8) => Box::new(Texts::new(code_page)),
        (Kind::NChar, DataType::Utf8) => Box::new(Texts::new(text::Utf16)),
        (Kind::Xml, DataType::Utf8) => Box::new(Texts::new(text::Xml)),
        (Kind::Variant, DataType::Utf8) => Box::new(Texts::new(variant::Variant)),
        (Kind::Binary | Kind::Clr, DataType::Binary) => Box::new(Binaries::default()),
        _ => return None,
    };
    Some(boxed)
}

/// A column that is NULL in every row, because the query says so.
struct Nothing {
    rows: usize,
    data_type: DataType,
}

impl ColumnDecoder for Nothing {
    fn append(&mut self, block: &Block, _bytes: &[u8], _column: usize) -> Result<(), Invalid> {
        self.rows += block.rows();
        Ok(())
    }

    fn byte_size(&self) -> usize {
        self.rows * 4
    }

    fn value_bits(&self) -> usize {
        32
    }

    fn finish(&mut self) -> Result<ArrayRef, Invalid> {
        Ok(new_null_array(&self.data_type, std::mem::take(&mut self.rows)))
    }
}
