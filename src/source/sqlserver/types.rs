//! What each SQL Server type becomes: the SQL that is selected, and its Arrow type.
//!
//! The name of a type, out of the description, decides what is selected; how the selected thing
//! arrives decides its Arrow type. The table in `docs/TYPES.md` says the same for people.

use arrow::datatypes::{DataType, TimeUnit};

use super::protocol::type_info::{Kind, TypeInfo};
use crate::config::{OffsetPolicy, SeventhDigit, SpatialPolicy};

/// What is selected in place of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    /// The column itself.
    AsIs,
    /// `CAST(column AS nvarchar(max))`.
    Text,
    /// `column.ToString()`, which every CLR type has.
    ClrText,
    /// `column.STAsBinary()`, well-known binary.
    WellKnownBinary,
}

/// The connection's options about types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TypeOptions {
    pub(super) offset: OffsetPolicy,
    pub(super) seventh_digit: SeventhDigit,
    pub(super) spatial: SpatialPolicy,
}

/// Types that arrive in a form that is decoded here. `vector` and `json` arrive as text, because
/// the login does not ask for more.
const READ_AS_IS: &[&str] = &[
    "bigint",
    "binary",
    "bit",
    "char",
    "date",
    "datetime",
    "datetime2",
    "datetimeoffset",
    "decimal",
    "float",
    "image",
    "int",
    "json",
    "money",
    "nchar",
    "ntext",
    "numeric",
    "nvarchar",
    "real",
    "rowversion",
    "smalldatetime",
    "smallint",
    "smallmoney",
    "sql_variant",
    "sysname",
    "text",
    "time",
    "timestamp",
    "tinyint",
    "uniqueidentifier",
    "varbinary",
    "varchar",
    "vector",
    "xml",
];

/// What is selected for a column of the type `name`, for example `decimal(15,2)`. Total: whatever is
/// not listed is cast to text on the server.
pub(super) fn select(name: &str, is_clr: bool, spatial: SpatialPolicy) -> Select {
    let base = name.split('(').next().unwrap_or_default().trim();
    let is = |other: &str| base.eq_ignore_ascii_case(other);
    match () {
        () if READ_AS_IS.iter().any(|known| is(known)) => Select::AsIs,
        () if spatial == SpatialPolicy::Wkb && (is("geometry") || is("geography")) => Select::WellKnownBinary,
        () if is_clr || is("geometry") || is("geography") || is("hierarchyid") => Select::ClrText,
        () => Select::Text,
    }
}

/// The Arrow type of what arrives as `type_info`.
pub(super) fn data_type(type_info: TypeInfo, options: TypeOptions) -> DataType {
    let unit = |scale: u8| match (scale, options.seventh_digit) {
        (7.., SeventhDigit::Nanoseconds) => TimeUnit::Nanosecond,
        (_, SeventhDigit::Nanoseconds | SeventhDigit::Cut) => TimeUnit::Microsecond,
    };
    match type_info.kind {
        Kind::Bit => DataType::Boolean,
        Kind::TinyInt => DataType::UInt8,
        Kind::Int(2) => DataType::Int16,
        Kind::Int(4) => DataType::Int32,
        Kind::Int(_) => DataType::Int64,
        Kind::Float(4) => DataType::Float32,
        Kind::Float(_) => DataType::Float64,
        Kind::Money(4) => DataType::Decimal64(10, 4),
        // 64 bits of ten-thousandths have up to 19 digits, one more than Decimal64 may have.
        Kind::Money(_) => DataType::Decimal128(19, 4),
        Kind::Decimal { precision, scale } => {
            let precision = precision.clamp(1, 38);
            let scale = i8::try_from(scale.min(precision)).unwrap_or_default();
            match precision {
                // 64 bits hold 18 digits; Parquet stores these as integers as well.
                ..=18 => DataType::Decimal64(precision, scale),
                _ => DataType::Decimal128(precision, scale),
            }
        }
        Kind::Date => DataType::Date32,
        Kind::Time { scale } => DataType::Time64(unit(scale)),
        Kind::DateTime(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::DateTime2 { scale } => DataType::Timestamp(unit(scale), None),
        Kind::DateTimeOffset { scale } => match options.offset {
            OffsetPolicy::Utc => DataType::Timestamp(unit(scale), Some("UTC".into())),
            OffsetPolicy::Text => DataType::Utf8,
        },
        // A NULL literal has no type; the server makes an integer of it.
        Kind::Null => DataType::Int32,
        Kind::Guid | Kind::Char(_) | Kind::NChar | Kind::Xml | Kind::Variant => DataType::Utf8,
        Kind::Binary | Kind::Clr => DataType::Binary,
    }
}

/// The name of a wire type, for servers that describe nothing.
pub(super) fn name_of(type_info: TypeInfo) -> String {
    match type_info.kind {
        Kind::Null => "int".into(),
        Kind::Bit => "bit".into(),
        Kind::TinyInt => "tinyint".into(),
        Kind::Int(2) => "smallint".into(),
        Kind::Int(4) => "int".into(),
        Kind::Int(_) => "bigint".into(),
        Kind::Float(4) => "real".into(),
        Kind::Float(_) => "float".into(),
        Kind::Money(4) => "smallmoney".into(),
        Kind::Money(_) => "money".into(),
        Kind::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        Kind::Date => "date".into(),
        Kind::Time { scale } => format!("time({scale})"),
        Kind::DateTime(4) => "smalldatetime".into(),
        Kind::DateTime(_) => "datetime".into(),
        Kind::DateTime2 { scale } => format!("datetime2({scale})"),
        Kind::DateTimeOffset { scale } => format!("datetimeoffset({scale})"),
        Kind::Guid => "uniqueidentifier".into(),
        Kind::Char(_) => "varchar".into(),
        Kind::NChar => "nvarchar".into(),
        Kind::Xml => "xml".into(),
        Kind::Variant => "sql_variant".into(),
        Kind::Binary => "varbinary".into(),
        Kind::Clr => "geometry".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::type_info::Framing;
    use super::*;

    #[test]
    fn whatever_is_not_known_is_cast_on_the_server() {
        for (name, is_clr, expected) in [
            ("decimal(15,2)", false, Select::AsIs),
            ("nvarchar(max)", false, Select::AsIs),
            ("Sysname", false, Select::AsIs),
            ("vector(3)", false, Select::AsIs),
            ("hierarchyid", false, Select::ClrText),
            ("geography", true, Select::ClrText),
            ("dbo.Point", true, Select::ClrText),
            ("a type of a later version", false, Select::Text),
            ("", false, Select::Text),
        ] {
            assert_eq!(select(name, is_clr, SpatialPolicy::Text), expected, "{name}");
        }
        assert_eq!(select("geometry", true, SpatialPolicy::Wkb), Select::WellKnownBinary);
        assert_eq!(select("hierarchyid", true, SpatialPolicy::Wkb), Select::ClrText);
    }

    #[test]
    fn a_decimal_becomes_the_smallest_one_that_holds_it() {
        let options = TypeOptions {
            offset: OffsetPolicy::Utc,
            seventh_digit: SeventhDigit::Cut,
            spatial: SpatialPolicy::Text,
        };
        let mapped = |kind| data_type(TypeInfo { kind, framing: Framing::Byte }, options);
        for (precision, scale, expected) in [
            (1, 0, DataType::Decimal64(1, 0)),
            (18, 18, DataType::Decimal64(18, 18)),
            (19, 0, DataType::Decimal128(19, 0)),
            (38, 38, DataType::Decimal128(38, 38)),
        ] {
            assert_eq!(mapped(Kind::Decimal { precision, scale }), expected);
        }
        assert_eq!(mapped(Kind::TinyInt), DataType::UInt8);
        assert_eq!(mapped(Kind::Money(8)), DataType::Decimal128(19, 4));
    }
}
