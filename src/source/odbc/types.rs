//! What each ODBC type becomes: how it is fetched, and its Arrow type.
//!
//! The table in `docs/TYPES.md` says the same for people.

use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use odbc_api::DataType;
use odbc_api::buffers::BufferDesc;
use odbc_api::sys::SqlDataType;

use crate::config::{OdbcText, SeventhDigit, SqlDialect};

/// A value whose cell would take more than this is fetched in pieces: every row of a buffer would
/// have to have room for the longest one.
const LONGEST_CELL: usize = 64 << 10;
/// Types of SQL Server that its drivers have numbers of their own for.
const SQL_SERVER_TIME: SqlDataType = SqlDataType(-154);
const GUID: SqlDataType = SqlDataType(-11);
/// Digits, sign, point, and some more: drivers that pad must not look as if they cut.
const DECIMAL_MARGIN: usize = 8;

/// A column as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) is_unsigned: bool,
    /// Characters of the longest value as text; asked for types that are not known.
    pub(super) display_size: Option<usize>,
}

/// A float of PostgreSQL has fifteen digits or more; its driver says ten of `money`, which is none.
const LEAST_DIGITS_OF_A_FLOAT: usize = 15;
/// The longest `money`, in any of the forms that a server may write it in.
const MONEY_CHARACTERS: usize = 64;

/// What the configuration has to say about types, and whose driver it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    pub(super) dialect: SqlDialect,
    pub(super) text: OdbcText,
    pub(super) seventh_digit: SeventhDigit,
}

/// How the values of a column are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Int2,
    Int4,
    Int8,
    /// As text, from a driver that makes NULL of what is no integer, and an integer of what is another number.
    IntegerText,
    Float4,
    Float8,
    /// As text, likewise.
    FloatText,
    /// As one byte: MariaDB's driver forgets to say of a `SQL_C_BIT` that it is not NULL.
    Bit,
    Date,
    /// As text, `YYYY-MM-DD`, from a driver that makes another date of one that its structure does not hold.
    DateText,
    Timestamp,
    /// As text, likewise, with `hh:mm:ss.fffffffff`.
    TimestampText,
    /// As text, `hh:mm:ss.fffffffff`: the structure of the standard has no fractions.
    Time,
    /// As text, digits with a point.
    Decimal,
    /// As UTF-16.
    WideText,
    /// As bytes that have to be UTF-8.
    NarrowText,
    Bytes,
}

/// The whole decision for one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) wire: Wire,
    pub(super) arrow: ArrowType,
    /// The cell of a row in a buffer; `None` for values that only come in pieces.
    pub(super) cell: Option<BufferDesc>,
}

impl Mapping {
    fn fixed(wire: Wire, arrow: ArrowType, cell: BufferDesc) -> Self {
        Self { wire, arrow, cell: Some(cell) }
    }

    /// Decides for a column. Total: what is not known is fetched as text.
    pub(super) fn of(column: &Described, choices: Choices) -> Self {
        const NULLABLE: bool = true;
        let small = || Self::fixed(Wire::Int2, ArrowType::Int16, BufferDesc::I16 { nullable: NULLABLE });
        let integer = || Self::fixed(Wire::Int4, ArrowType::Int32, BufferDesc::I32 { nullable: NULLABLE });
        let big = || Self::fixed(Wire::Int8, ArrowType::Int64, BufferDesc::I64 { nullable: NULLABLE });
        let is_sqlite = choices.dialect == SqlDialect::Sqlite;
        match column.data_type {
            // Any column of SQLite holds integers of 64 bits, doubles and texts, whatever its type says.
            DataType::TinyInt | DataType::SmallInt | DataType::Integer | DataType::BigInt if is_sqlite => {
                Self::short(Wire::IntegerText, ArrowType::Int64)
            }
            DataType::Real | DataType::Float { .. } | DataType::Double if is_sqlite => {
                Self::short(Wire::FloatText, ArrowType::Float64)
            }
            DataType::Float { precision }
                if choices.dialect == SqlDialect::PostgreSql && precision < LEAST_DIGITS_OF_A_FLOAT =>
            {
                Self::text(Some(MONEY_CHARACTERS), choices)
            }
            // The next wider signed type: not every reader of Parquet knows unsigned ones.
            DataType::TinyInt => small(),
            DataType::SmallInt if column.is_unsigned => integer(),
            DataType::SmallInt => small(),
            DataType::Integer if column.is_unsigned => big(),
            DataType::Integer => integer(),
            DataType::BigInt if column.is_unsigned => Self::decimal(20, 0),
            DataType::BigInt => big(),
            // Through a double, in which every float is exact: MariaDB's driver writes floats into a buffer as
            // if each took eight bytes.
            DataType::Real => {
                Self::fixed(Wire::Float4, ArrowType::Float32, BufferDesc::F64 { nullable: NULLABLE })
            }
            // FLOAT of any precision: some drivers count its decimal digits, some its bits.
            DataType::Float { .. } | DataType::Double => {
                Self::fixed(Wire::Float8, ArrowType::Float64, BufferDesc::F64 { nullable: NULLABLE })
            }
            DataType::Bit => {
                Self::fixed(Wire::Bit, ArrowType::Boolean, BufferDesc::I8 { nullable: NULLABLE })
            }
            DataType::Numeric { precision, scale } | DataType::Decimal { precision, scale } => {
                match decimal(precision, scale) {
                    Some((precision, scale)) => Self::decimal(precision, scale),
                    None => Self::text(None, choices),
                }
            }
            DataType::Date if choices.has_dates_as_text() => Self::short(Wire::DateText, ArrowType::Date32),
            DataType::Timestamp { precision } if choices.has_dates_as_text() => {
                Self::short(Wire::TimestampText, ArrowType::Timestamp(unit(precision, choices), None))
            }
            DataType::Date => {
                Self::fixed(Wire::Date, ArrowType::Date32, BufferDesc::Date { nullable: NULLABLE })
            }
            DataType::Timestamp { precision } => Self::fixed(
                Wire::Timestamp,
                ArrowType::Timestamp(unit(precision, choices), None),
                BufferDesc::Timestamp { nullable: NULLABLE },
            ),
            DataType::Time { precision } => Self::time(precision, choices),
            DataType::Other { data_type: SQL_SERVER_TIME, decimal_digits, .. } => {
                Self::time(decimal_digits, choices)
            }
            DataType::Other { data_type: GUID, .. } => Self::text(Some(36), choices),
            DataType::Char { length }
            | DataType::WChar { length }
            | DataType::Varchar { length }
            | DataType::WVarchar { length } => Self::text(length.map(|length| length.get()), choices),
            DataType::LongVarchar { .. } | DataType::WLongVarchar { .. } => Self::text(None, choices),
            DataType::Binary { length } | DataType::Varbinary { length } => {
                Self::bytes(length.map(|length| length.get()))
            }
            DataType::LongVarbinary { .. } => Self::bytes(None),
            DataType::Unknown | DataType::Other { .. } => Self::text(column.display_size, choices),
        }
    }

    fn decimal(precision: u8, scale: i8) -> Self {
        let arrow = match precision {
            // 64 bits hold 18 digits; Parquet stores these as integers as well.
            ..=18 => ArrowType::Decimal64(precision, scale),
            19..=38 => ArrowType::Decimal128(precision, scale),
            _ => ArrowType::Decimal256(precision, scale),
        };
        let max_str_len = usize::from(precision) + DECIMAL_MARGIN;
        Self::fixed(Wire::Decimal, arrow, BufferDesc::Text { max_str_len })
    }

    fn time(precision: i16, choices: Choices) -> Self {
        Self::short(Wire::Time, ArrowType::Time64(unit(precision, choices)))
    }

    /// A value that is read from a short text.
    fn short(wire: Wire, arrow: ArrowType) -> Self {
        Self::fixed(wire, arrow, BufferDesc::Text { max_str_len: 31 })
    }

    fn text(characters: Option<usize>, choices: Choices) -> Self {
        // A character takes up to two units of UTF-16, and up to four bytes of UTF-8.
        let (wire, cell) = match choices.text {
            OdbcText::Utf16 => (
                Wire::WideText,
                characters.map(|count| BufferDesc::WText { max_str_len: count.saturating_mul(2) }),
            ),
            OdbcText::Utf8 => (
                Wire::NarrowText,
                characters.map(|count| BufferDesc::Text { max_str_len: count.saturating_mul(4) }),
            ),
        };
        Self { wire, arrow: ArrowType::Utf8, cell: cell.filter(is_short).map(with_one_more) }
    }

    fn bytes(length: Option<usize>) -> Self {
        let cell = length.map(|max_bytes| BufferDesc::Binary { max_bytes });
        Self { wire: Wire::Bytes, arrow: ArrowType::Binary, cell: cell.filter(is_short).map(with_one_more) }
    }
}

fn is_short(cell: &BufferDesc) -> bool {
    match *cell {
        BufferDesc::Text { max_str_len } => max_str_len <= LONGEST_CELL,
        BufferDesc::WText { max_str_len } => max_str_len <= LONGEST_CELL / 2,
        BufferDesc::Binary { max_bytes } => max_bytes <= LONGEST_CELL,
        _ => true,
    }
}

/// Room for one unit more than values may have: one that fills its cell was cut, whatever the driver says.
fn with_one_more(cell: BufferDesc) -> BufferDesc {
    match cell {
        BufferDesc::Text { max_str_len } => BufferDesc::Text { max_str_len: max_str_len + 1 },
        BufferDesc::WText { max_str_len } => BufferDesc::WText { max_str_len: max_str_len + 1 },
        BufferDesc::Binary { max_bytes } => BufferDesc::Binary { max_bytes: max_bytes + 1 },
        other => other,
    }
}

impl Choices {
    /// Drivers that were seen to make another date, or NULL, of one that the structure of ODBC does not hold:
    /// `infinity` and years of five digits of PostgreSQL, zero dates of MySQL, any text in SQLite.
    fn has_dates_as_text(self) -> bool {
        match self.dialect {
            SqlDialect::PostgreSql | SqlDialect::Redshift | SqlDialect::MySql | SqlDialect::Sqlite => true,
            SqlDialect::SqlServer
            | SqlDialect::Oracle
            | SqlDialect::Db2
            | SqlDialect::Teradata
            | SqlDialect::Ansi => false,
        }
    }
}

/// Precision and scale of an Arrow decimal for those of ODBC; `None` when there is none.
fn decimal(precision: usize, scale: i16) -> Option<(u8, i8)> {
    let scale = i64::from(scale);
    let precision = i64::try_from(precision).ok().filter(|precision| *precision > 0)?;
    // Parquet has no negative scales: zeros at the end are digits like others.
    let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    if precision > 76 {
        return None;
    }
    Some((u8::try_from(precision).ok()?, i8::try_from(scale).ok()?))
}

fn unit(precision: i16, choices: Choices) -> TimeUnit {
    match choices.seventh_digit {
        SeventhDigit::Nanoseconds if precision > 6 => TimeUnit::Nanosecond,
        SeventhDigit::Nanoseconds | SeventhDigit::Cut => TimeUnit::Microsecond,
    }
}

impl Described {
    /// The type in words.
    pub(super) fn type_name(&self) -> String {
        let unsigned = if self.is_unsigned { " unsigned" } else { "" };
        let of_length = |name: &str, length: Option<std::num::NonZeroUsize>| match length {
            Some(length) => format!("{name}({length})"),
            None => name.to_owned(),
        };
        match self.data_type {
            DataType::TinyInt => format!("tinyint{unsigned}"),
            DataType::SmallInt => format!("smallint{unsigned}"),
            DataType::Integer => format!("integer{unsigned}"),
            DataType::BigInt => format!("bigint{unsigned}"),
            DataType::Real => "real".into(),
            DataType::Float { precision } => format!("float({precision})"),
            DataType::Double => "double".into(),
            DataType::Bit => "bit".into(),
            DataType::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
            DataType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            DataType::Date => "date".into(),
            DataType::Time { precision } => format!("time({precision})"),
            DataType::Timestamp { precision } => format!("timestamp({precision})"),
            DataType::Char { length } => of_length("char", length),
            DataType::WChar { length } => of_length("nchar", length),
            DataType::Varchar { length } => of_length("varchar", length),
            DataType::WVarchar { length } => of_length("nvarchar", length),
            DataType::LongVarchar { .. } => "long varchar".into(),
            DataType::WLongVarchar { .. } => "long nvarchar".into(),
            DataType::Binary { length } => of_length("binary", length),
            DataType::Varbinary { length } => of_length("varbinary", length),
            DataType::LongVarbinary { .. } => "long varbinary".into(),
            DataType::Unknown => "unknown".into(),
            DataType::Other { data_type: SQL_SERVER_TIME, decimal_digits, .. } => {
                format!("time({decimal_digits})")
            }
            DataType::Other { data_type: GUID, .. } => "guid".into(),
            DataType::Other { data_type, .. } => format!("type {}", data_type.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn described(data_type: DataType, is_unsigned: bool) -> Described {
        Described { name: "c".into(), data_type, is_unsigned, display_size: None }
    }

    fn choices(dialect: SqlDialect) -> Choices {
        Choices { dialect, text: OdbcText::default(), seventh_digit: SeventhDigit::default() }
    }

    fn arrow(data_type: DataType, is_unsigned: bool) -> ArrowType {
        Mapping::of(&described(data_type, is_unsigned), choices(SqlDialect::Ansi)).arrow
    }

    #[test]
    fn dates_of_drivers_that_change_them_come_as_text() {
        for (dialect, data_type, wire) in [
            (SqlDialect::PostgreSql, DataType::Date, Wire::DateText),
            (SqlDialect::Redshift, DataType::Timestamp { precision: 6 }, Wire::TimestampText),
            (SqlDialect::MySql, DataType::Timestamp { precision: 0 }, Wire::TimestampText),
            (SqlDialect::Oracle, DataType::Timestamp { precision: 6 }, Wire::Timestamp),
            (SqlDialect::Ansi, DataType::Date, Wire::Date),
            (SqlDialect::Sqlite, DataType::SmallInt, Wire::IntegerText),
            (SqlDialect::Sqlite, DataType::Double, Wire::FloatText),
            // `money`, and a float.
            (SqlDialect::PostgreSql, DataType::Float { precision: 10 }, Wire::WideText),
            (SqlDialect::PostgreSql, DataType::Float { precision: 15 }, Wire::Float8),
        ] {
            let mapping = Mapping::of(&described(data_type, false), choices(dialect));
            assert_eq!(mapping.wire, wire, "{dialect:?} {data_type:?}");
        }
    }

    #[test]
    fn a_cell_has_room_for_one_unit_more_than_a_value() {
        let length = NonZeroUsize::new(10);
        for (data_type, cell) in [
            (DataType::Varchar { length }, BufferDesc::WText { max_str_len: 21 }),
            (DataType::Binary { length }, BufferDesc::Binary { max_bytes: 11 }),
        ] {
            let mapping = Mapping::of(&described(data_type, false), choices(SqlDialect::Ansi));
            assert_eq!(mapping.cell, Some(cell));
        }
    }

    #[test]
    fn integers_become_the_signed_type_that_holds_them() {
        for (data_type, signed, unsigned) in [
            (DataType::TinyInt, ArrowType::Int16, ArrowType::Int16),
            (DataType::SmallInt, ArrowType::Int16, ArrowType::Int32),
            (DataType::Integer, ArrowType::Int32, ArrowType::Int64),
            (DataType::BigInt, ArrowType::Int64, ArrowType::Decimal128(20, 0)),
        ] {
            assert_eq!(
                (arrow(data_type, false), arrow(data_type, true)),
                (signed, unsigned),
                "{data_type:?}"
            );
        }
    }

    #[test]
    fn a_decimal_becomes_the_smallest_one_that_holds_it() {
        for (precision, scale, expected) in [
            (15, 2, ArrowType::Decimal64(15, 2)),
            (18, 18, ArrowType::Decimal64(18, 18)),
            (38, 10, ArrowType::Decimal128(38, 10)),
            (39, 0, ArrowType::Decimal256(39, 0)),
            (5, -2, ArrowType::Decimal64(7, 0)),
            (2, 5, ArrowType::Decimal64(5, 5)),
            (0, 0, ArrowType::Utf8),
            (131_072, 16, ArrowType::Utf8),
        ] {
            assert_eq!(arrow(DataType::Numeric { precision, scale }, false), expected, "{precision},{scale}");
            assert_eq!(arrow(DataType::Decimal { precision, scale }, false), expected);
        }
    }

    #[test]
    fn floats_of_every_precision_keep_their_digits() {
        assert_eq!(arrow(DataType::Float { precision: 15 }, false), ArrowType::Float64);
        assert_eq!(arrow(DataType::Real, false), ArrowType::Float32);
    }

    #[test]
    fn long_values_and_unknown_lengths_come_in_pieces() {
        let length = NonZeroUsize::new;
        for (data_type, has_cell) in [
            (DataType::Varchar { length: length(44) }, true),
            (DataType::Varchar { length: length(16_384) }, true),
            (DataType::Varchar { length: length(16_385) }, false),
            (DataType::WVarchar { length: None }, false),
            (DataType::LongVarchar { length: length(10) }, false),
            (DataType::Varbinary { length: length(65_536) }, true),
            (DataType::Varbinary { length: length(65_537) }, false),
            (DataType::LongVarbinary { length: length(10) }, false),
            (DataType::Unknown, false),
        ] {
            let mapping = Mapping::of(&described(data_type, false), choices(SqlDialect::Ansi));
            assert_eq!(mapping.cell.is_some(), has_cell, "{data_type:?}");
        }
    }

    #[test]
    fn seven_digits_are_cut_or_kept_as_nanoseconds() {
        let seven = described(DataType::Timestamp { precision: 7 }, false);
        let keeps = Choices { seventh_digit: SeventhDigit::Nanoseconds, ..choices(SqlDialect::Ansi) };
        let (cut, kept) = (Mapping::of(&seven, choices(SqlDialect::Ansi)), Mapping::of(&seven, keeps));
        assert_eq!(cut.arrow, ArrowType::Timestamp(TimeUnit::Microsecond, None));
        assert_eq!(kept.arrow, ArrowType::Timestamp(TimeUnit::Nanosecond, None));
        let six = described(DataType::Timestamp { precision: 6 }, false);
        assert_eq!(Mapping::of(&six, keeps).arrow, ArrowType::Timestamp(TimeUnit::Microsecond, None));
    }
}
