//! Binary COPY fields into Arrow arrays, column by column.
//!
//! A [`Block`] indexes the fields of a run of rows where they lie in the
//! receive buffer. Each column then takes its fields out of the block in one loop of its own: one
//! virtual call for a block and a column, none for a value, and no allocation for either.

mod fixed;
mod numeric;
mod text;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal64Type, Decimal128Type, Decimal256Type};

use self::numeric::Numeric;
use super::types::Wire;
use crate::config::SpecialValues;
use crate::source::block::{Block, Outside};
use crate::source::fixed_width::Booleans;
use crate::source::variable_width::TooLong;

/// Why a field cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// The field's bytes are not what its type says.
    #[error("the server sent a field of a wrong length or form")]
    Malformed,
    /// NaN, infinity, or another value that the output type has no form for.
    #[error("{0} has no form in the output type")]
    Special(&'static str),
    /// A number that is too large for the column's decimal type.
    #[error("a number does not fit the column's decimal type")]
    Overflow,
    /// Text that is not UTF-8.
    #[error("a text is not valid UTF-8")]
    NotUtf8,
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
    /// Takes field `column` of every row of `block`, whose fields lie in `bytes`.
    fn append(&mut self, block: &Block, bytes: &[u8], column: usize) -> Result<(), Invalid>;

    /// Bytes that are gathered.
    fn byte_size(&self) -> usize;

    /// The gathered values; the decoder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, Invalid>;
}

/// The decoder of a column.
pub(super) fn decoder(wire: Wire, data_type: &DataType, special: SpecialValues) -> Box<dyn ColumnDecoder> {
    macro_rules! fixed {
        ($reader:expr) => {
            Box::new(fixed::Fixed::new($reader, data_type, special))
        };
    }
    match wire {
        Wire::Bool => Box::new(Booleans::default()),
        Wire::Int2 => fixed!(fixed::Int2),
        Wire::Int4 => fixed!(fixed::Int4),
        Wire::Int8 => fixed!(fixed::Int8),
        Wire::Oid => fixed!(fixed::Oid),
        Wire::Float4 => fixed!(fixed::Float4),
        Wire::Float8 => fixed!(fixed::Float8),
        Wire::Date => fixed!(fixed::Date),
        Wire::Time => fixed!(fixed::Time),
        Wire::Timestamp => fixed!(fixed::Timestamp),
        Wire::Numeric => match data_type {
            DataType::Decimal64(..) => fixed!(Numeric::<Decimal64Type>::new(data_type)),
            DataType::Decimal128(..) => fixed!(Numeric::<Decimal128Type>::new(data_type)),
            _ => fixed!(Numeric::<Decimal256Type>::new(data_type)),
        },
        Wire::Text => Box::new(text::Texts::plain()),
        Wire::Jsonb => Box::new(text::Texts::jsonb()),
        Wire::Uuid => Box::new(text::Uuids::default()),
        Wire::Bytea => Box::new(text::Binaries::default()),
    }
}
