//! What each MySQL type becomes: its decoder and its Arrow type.
//!
//! The table in `docs/TYPES.md` says the same for people. Codes and flags are those of
//! `field_types.h` and `mysql_com.h`, which never change.

use arrow::datatypes::{DataType, TimeUnit};

use crate::config::{TimeMapping, TinyintMapping};

/// Bits of a column's flags.
pub(super) mod flag {
    pub(crate) const NOT_NULL: u16 = 1;
    pub(crate) const UNSIGNED: u16 = 32;
    pub(crate) const ENUM: u16 = 256;
    pub(crate) const SET: u16 = 2048;
}

/// Codes of types on the wire.
pub(super) mod code {
    pub(crate) const DECIMAL: u8 = 0;
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const NULL: u8 = 6;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const MEDIUM_BLOB: u8 = 250;
    pub(crate) const LONG_BLOB: u8 = 251;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// The character set `binary`: bytes, not text.
pub(super) const BINARY: u16 = 63;
/// Bytes of a character of `utf8mb4`, in which texts arrive and their lengths are given.
const CHARACTER_BYTES: u32 = 4;
/// Largest precision of a `DECIMAL`.
const MOST_DIGITS: u32 = 65;

/// A column as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnDescription {
    pub(super) name: String,
    pub(super) type_code: u8,
    pub(super) is_unsigned: bool,
    pub(super) flags: u16,
    pub(super) character_set: u16,
    /// Longest value: bytes of a text, digits and signs of a number, bits.
    pub(super) length: u32,
    /// Digits after the point, or of a second.
    pub(super) decimals: u8,
    /// MariaDB's name of a type that has no code of its own (`uuid`, `json`, `point`), or empty.
    pub(super) format: String,
}

/// How many bytes of a row belong to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Always so many.
    Fixed(u8),
    /// One byte says how many follow: dates and times.
    Byte,
    /// A length-encoded integer says how many follow.
    Length,
    /// None: the value is always NULL.
    Nothing,
}

/// How the bytes of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Int1,
    UInt1,
    /// A number as a truth.
    Bool1,
    Int2,
    UInt2,
    Int4,
    UInt4,
    Int8,
    /// Into a decimal of 20 digits.
    UInt8,
    Float4,
    Float8,
    Date,
    DateTime,
    Time,
    /// Microseconds, signed, longer than a day.
    TimeMicroseconds,
    /// `[-]hh:mm:ss[.ffffff]`, longer than a day; with so many digits of a second.
    TimeText(u8),
    /// Digits as text, into the decimal type of the column.
    Decimal,
    /// One bit.
    Bit,
    /// Up to 64 bits, most significant byte first.
    Bits,
    /// UTF-8.
    Text,
    Bytes,
    /// A reference system in four bytes, then well-known binary.
    Geometry,
    /// Nothing but NULL.
    Null,
}

/// What the configuration has to say about types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choices {
    pub(super) time: TimeMapping,
    pub(super) tinyint1: TinyintMapping,
}

/// The whole decision for one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) wire: Wire,
    pub(super) data_type: DataType,
}

impl ColumnDescription {
    /// Where a value of this column ends in a row of the binary protocol.
    pub(super) fn width(&self) -> Width {
        match self.type_code {
            code::TINY => Width::Fixed(1),
            code::SHORT | code::YEAR => Width::Fixed(2),
            code::LONG | code::INT24 | code::FLOAT => Width::Fixed(4),
            code::LONGLONG | code::DOUBLE => Width::Fixed(8),
            code::DATE | code::NEWDATE | code::DATETIME | code::TIMESTAMP | code::TIME => Width::Byte,
            code::NULL => Width::Nothing,
            _ => Width::Length,
        }
    }

    fn is_binary(&self) -> bool {
        self.character_set == BINARY
    }

    /// Precision and scale of a `DECIMAL`: the length counts a sign and a point as well.
    fn digits(&self) -> (u8, i8) {
        let scale = u32::from(self.decimals).min(38);
        let sign = u32::from(!self.is_unsigned);
        let point = u32::from(scale > 0);
        let precision = self.length.saturating_sub(sign + point).clamp(1, MOST_DIGITS).max(scale);
        (precision as u8, scale as i8)
    }

    /// The type in the server's own words.
    pub(super) fn type_name(&self) -> String {
        let unsigned = if self.is_unsigned { " unsigned" } else { "" };
        // Codes above 6 stand for "as many as there are".
        let fraction = match self.decimals {
            digits @ 1..=6 => format!("({digits})"),
            _ => String::new(),
        };
        let characters = match self.is_binary() {
            true => self.length,
            false => self.length / CHARACTER_BYTES,
        };
        if !self.format.is_empty() {
            return self.format.clone();
        }
        match self.type_code {
            code::TINY if self.length == 1 => format!("tinyint(1){unsigned}"),
            code::TINY => format!("tinyint{unsigned}"),
            code::SHORT => format!("smallint{unsigned}"),
            code::INT24 => format!("mediumint{unsigned}"),
            code::LONG => format!("int{unsigned}"),
            code::LONGLONG => format!("bigint{unsigned}"),
            code::FLOAT => format!("float{unsigned}"),
            code::DOUBLE => format!("double{unsigned}"),
            code::DECIMAL | code::NEWDECIMAL => {
                let (precision, scale) = self.digits();
                format!("decimal({precision},{scale}){unsigned}")
            }
            code::DATE | code::NEWDATE => "date".into(),
            code::DATETIME => format!("datetime{fraction}"),
            code::TIMESTAMP => format!("timestamp{fraction}"),
            code::TIME => format!("time{fraction}"),
            code::YEAR => "year".into(),
            code::BIT => format!("bit({})", self.length),
            code::JSON => "json".into(),
            code::VECTOR => "vector".into(),
            code::GEOMETRY => "geometry".into(),
            code::NULL => "null".into(),
            code::ENUM => "enum".into(),
            code::SET => "set".into(),
            _ if self.flags & flag::ENUM != 0 => "enum".into(),
            _ if self.flags & flag::SET != 0 => "set".into(),
            code::TINY_BLOB | code::BLOB | code::MEDIUM_BLOB | code::LONG_BLOB => {
                let kind = if self.is_binary() { "blob" } else { "text" };
                let size = match characters {
                    0..=255 => "tiny",
                    256..=65_535 => "",
                    65_536..=16_777_215 => "medium",
                    16_777_216.. => "long",
                };
                format!("{size}{kind}")
            }
            code::STRING if self.is_binary() => format!("binary({characters})"),
            code::STRING => format!("char({characters})"),
            code::VAR_STRING | code::VARCHAR if self.is_binary() => format!("varbinary({characters})"),
            code::VAR_STRING | code::VARCHAR => format!("varchar({characters})"),
            other => format!("type {other}"),
        }
    }
}

impl Mapping {
    fn new(wire: Wire, data_type: DataType) -> Self {
        Self { wire, data_type }
    }

    /// Decides for a column. Total: what is not listed is text or bytes, as its character set says.
    pub(super) fn of(column: &ColumnDescription, choices: Choices) -> Self {
        let timestamp = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        match (column.type_code, column.is_unsigned) {
            (code::TINY, _) if column.length == 1 && choices.tinyint1 == TinyintMapping::Boolean => {
                Self::new(Wire::Bool1, DataType::Boolean)
            }
            // The next wider signed type: not every reader of Parquet knows unsigned ones.
            (code::TINY, false) => Self::new(Wire::Int1, DataType::Int16),
            (code::TINY, true) => Self::new(Wire::UInt1, DataType::Int16),
            (code::SHORT, false) => Self::new(Wire::Int2, DataType::Int16),
            (code::SHORT, true) => Self::new(Wire::UInt2, DataType::Int32),
            (code::YEAR, _) => Self::new(Wire::UInt2, DataType::Int32),
            (code::LONG | code::INT24, false) | (code::INT24, true) => Self::new(Wire::Int4, DataType::Int32),
            (code::LONG, true) => Self::new(Wire::UInt4, DataType::Int64),
            (code::LONGLONG, false) => Self::new(Wire::Int8, DataType::Int64),
            (code::LONGLONG, true) => Self::new(Wire::UInt8, DataType::Decimal128(20, 0)),
            (code::FLOAT, _) => Self::new(Wire::Float4, DataType::Float32),
            (code::DOUBLE, _) => Self::new(Wire::Float8, DataType::Float64),
            (code::DECIMAL | code::NEWDECIMAL, _) => Self::new(Wire::Decimal, decimal(column.digits())),
            (code::DATE | code::NEWDATE, _) => Self::new(Wire::Date, DataType::Date32),
            (code::DATETIME, _) => Self::new(Wire::DateTime, timestamp(None)),
            (code::TIMESTAMP, _) => Self::new(Wire::DateTime, timestamp(Some("UTC"))),
            (code::TIME, _) => match choices.time {
                TimeMapping::TimeOfDay => Self::new(Wire::Time, DataType::Time64(TimeUnit::Microsecond)),
                TimeMapping::Microseconds => Self::new(Wire::TimeMicroseconds, DataType::Int64),
                TimeMapping::Text => Self::new(Wire::TimeText(column.decimals.min(6)), DataType::Utf8),
            },
            (code::BIT, _) => match column.length {
                ..=1 => Self::new(Wire::Bit, DataType::Boolean),
                2..=63 => Self::new(Wire::Bits, DataType::Int64),
                _ => Self::new(Wire::Bits, DataType::Decimal128(20, 0)),
            },
            (code::NULL, _) => Self::new(Wire::Null, DataType::Utf8),
            (code::JSON, _) => Self::new(Wire::Text, DataType::Utf8),
            (code::GEOMETRY, _) => Self::new(Wire::Geometry, DataType::Binary),
            (code::VECTOR, _) => Self::new(Wire::Bytes, DataType::Binary),
            _ if column.is_binary() => Self::new(Wire::Bytes, DataType::Binary),
            _ => Self::new(Wire::Text, DataType::Utf8),
        }
    }
}

fn decimal((precision, scale): (u8, i8)) -> DataType {
    match precision {
        // 64 bits hold 18 digits; Parquet stores these as integers as well.
        ..=18 => DataType::Decimal64(precision, scale),
        19..=38 => DataType::Decimal128(precision, scale),
        _ => DataType::Decimal256(precision, scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_code: u8, is_unsigned: bool, length: u32, decimals: u8) -> ColumnDescription {
        let flags = if is_unsigned { flag::UNSIGNED } else { 0 };
        let (name, format) = ("c".to_owned(), String::new());
        ColumnDescription {
            name,
            type_code,
            is_unsigned,
            flags,
            character_set: BINARY,
            length,
            decimals,
            format,
        }
    }

    #[test]
    fn a_decimal_becomes_the_smallest_one_that_holds_it() {
        for (is_unsigned, length, scale, name, expected) in [
            (false, 17, 2, "decimal(15,2)", DataType::Decimal64(15, 2)),
            (true, 16, 2, "decimal(15,2) unsigned", DataType::Decimal64(15, 2)),
            (false, 19, 0, "decimal(18,0)", DataType::Decimal64(18, 0)),
            (false, 20, 0, "decimal(19,0)", DataType::Decimal128(19, 0)),
            (false, 40, 10, "decimal(38,10)", DataType::Decimal128(38, 10)),
            (false, 67, 30, "decimal(65,30)", DataType::Decimal256(65, 30)),
            (false, 67, 38, "decimal(65,38)", DataType::Decimal256(65, 38)),
        ] {
            let column = column(code::NEWDECIMAL, is_unsigned, length, scale);
            assert_eq!(column.type_name(), name);
            assert_eq!(Mapping::of(&column, Choices::default()).data_type, expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_text_or_bytes() {
        let mut unknown = column(200, false, 10, 0);
        assert_eq!(Mapping::of(&unknown, Choices::default()), Mapping::new(Wire::Bytes, DataType::Binary));
        unknown.character_set = 45;
        assert_eq!(Mapping::of(&unknown, Choices::default()), Mapping::new(Wire::Text, DataType::Utf8));
        assert_eq!(unknown.width(), Width::Length);
    }
}
