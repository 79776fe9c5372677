//! What the columns of a result become in a table, and what they fit into.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

use crate::fault::{Fault, FaultKind};
use crate::schema::Column;

/// Digits of a NUMBER, at most.
const MAX_DIGITS: u8 = 38;
/// Digits after the point of a NUMBER, at most.
const MAX_SCALE: u8 = 37;
/// Digits after the second that new columns get: the most there are, and Snowflake's default.
const SECOND_DIGITS: u8 = 9;

/// The type of a column in Snowflake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// `BOOLEAN`
    Boolean,
    /// `NUMBER(precision,scale)`
    Number {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `NUMBER(digits,0)`, of a source that counts its integers in bits.
    Integer(u8),
    /// `FLOAT`, 64 bits.
    Float,
    /// `VARCHAR`, with its length in characters when one is known.
    Text(Option<u32>),
    /// `BINARY`
    Binary,
    /// `DATE`
    Date,
    /// `TIME(digits)`
    Time(u8),
    /// `TIMESTAMP_NTZ(digits)`: a wall clock without a zone.
    TimestampLocal(u8),
    /// `TIMESTAMP_LTZ(digits)`: a moment.
    TimestampMoment(u8),
    /// `TIMESTAMP_TZ(digits)`: a moment with the offset it was written with.
    TimestampOffset(u8),
    /// `VARIANT`
    Variant,
    /// `OBJECT`
    Object,
    /// `ARRAY`
    Array,
    /// Anything else, in Snowflake's words.
    Other(String),
}

/// How a value of the file becomes a value of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// As it is.
    Direct,
    /// JSON text, parsed.
    Json,
    /// JSON text of an object, parsed.
    JsonObject,
    /// JSON text of an array, parsed.
    JsonArray,
}

/// What is between a column of a result and a column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Every value fits, or Snowflake itself refuses the one that does not.
    Fits(Conversion),
    /// Some values may not fit; every one does when the column has this type.
    Widen(ColumnType),
    /// Values would be changed, or the load cannot be written; with the remedy.
    Never(&'static str),
}

impl ColumnType {
    /// The type that holds every value of `column`.
    pub(super) fn of(column: &Column) -> Result<Self, Fault> {
        Ok(match &column.data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::UInt8 => Self::Integer(3),
            DataType::Int16 | DataType::UInt16 => Self::Integer(5),
            DataType::Int32 | DataType::UInt32 => Self::Integer(10),
            DataType::Int64 => Self::Integer(19),
            DataType::UInt64 => Self::Integer(20),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => decimal(column, *precision, *scale)?,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Text(length(&column.source_type))
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Binary,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(digits(*unit)),
            DataType::Timestamp(unit, None) => Self::TimestampLocal(digits(*unit)),
            DataType::Timestamp(unit, Some(_)) => Self::TimestampMoment(digits(*unit)),
            other => {
                return Err(unloadable(column, format!("its Arrow type {other} has no type in Snowflake")));
            }
        })
    }

    /// The type as a new column gets it: at least as wide, so that it needs no change later where
    /// width costs nothing.
    #[must_use]
    pub(super) fn for_new_column(&self) -> Self {
        match self {
            // What Snowflake's own integer types are; a small number takes little space in it.
            Self::Integer(_) => Self::Number { precision: MAX_DIGITS, scale: 0 },
            Self::Text(_) => Self::Text(None),
            Self::Time(_) => Self::Time(SECOND_DIGITS),
            Self::TimestampLocal(_) => Self::TimestampLocal(SECOND_DIGITS),
            Self::TimestampMoment(_) => Self::TimestampMoment(SECOND_DIGITS),
            Self::TimestampOffset(_) => Self::TimestampOffset(SECOND_DIGITS),
            other => other.clone(),
        }
    }

    /// Reads a type as `DESCRIBE TABLE` prints it. Total: what is not known is [`Self::Other`].
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        let (word, arguments) = match text.split_once('(') {
            Some((word, rest)) => (word.trim(), rest.split_once(')').map_or(rest, |(inside, _)| inside)),
            None => (text.split_whitespace().next().unwrap_or(text), ""),
        };
        let numbers: Option<Vec<u32>> = match arguments {
            "" => Some(Vec::new()),
            arguments => arguments.split(',').map(|number| number.trim().parse().ok()).collect(),
        };
        // An object with declared members, for example, is no plain OBJECT.
        let Some(numbers) = numbers else { return Self::Other(text.to_owned()) };
        let small = |index: usize, default: u8| match numbers.get(index) {
            Some(number) => u8::try_from(*number).unwrap_or(u8::MAX),
            None => default,
        };
        match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => Self::Boolean,
            "NUMBER" | "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" => {
                Self::Number { precision: small(0, MAX_DIGITS), scale: small(1, 0) }
            }
            "INT" | "INTEGER" | "BIGINT" | "SMALLINT" | "TINYINT" | "BYTEINT" => {
                Self::Number { precision: MAX_DIGITS, scale: 0 }
            }
            "FLOAT" | "FLOAT4" | "FLOAT8" | "DOUBLE" | "REAL" | "DOUBLE PRECISION" => Self::Float,
            "VARCHAR" | "TEXT" | "STRING" => Self::Text(numbers.first().copied()),
            "CHAR" | "CHARACTER" => Self::Text(Some(numbers.first().copied().unwrap_or(1))),
            "BINARY" | "VARBINARY" => Self::Binary,
            "DATE" => Self::Date,
            "TIME" => Self::Time(small(0, SECOND_DIGITS)),
            "TIMESTAMP_NTZ" | "DATETIME" => Self::TimestampLocal(small(0, SECOND_DIGITS)),
            "TIMESTAMP_LTZ" => Self::TimestampMoment(small(0, SECOND_DIGITS)),
            "TIMESTAMP_TZ" => Self::TimestampOffset(small(0, SECOND_DIGITS)),
            "VARIANT" => Self::Variant,
            "OBJECT" => Self::Object,
            "ARRAY" => Self::Array,
            _ => Self::Other(text.to_owned()),
        }
    }

    /// How values of this type (of a result) fit into a column of type `into`. `source_type` is the
    /// type in the source's words.
    ///
    /// Snowflake checks lengths and the digits before the point of every value it loads, and refuses
    /// what does not fit. It rounds digits after a point or a second without a word, so that they
    /// are checked here.
    #[must_use]
    pub(super) fn fit(&self, into: &Self, source_type: &str) -> Fit {
        const CAST: &str = "Cast the column in the task's query, or change the type of the table's column.";
        const ROUNDED: &str = "Round the column in the task's query, or give the table's column more digits: \
                               Snowflake would round the values without a word.";
        const ZONE: &str = "Say in the task's query which zone the clock has, with AT TIME ZONE, so that the \
                            types agree.";
        let direct = Fit::Fits(Conversion::Direct);
        if let Self::Integer(digits) = self {
            return Self::Number { precision: *digits, scale: 0 }.fit(into, source_type);
        }
        let enough = |have: u8, need: u8| {
            if have >= need { Fit::Fits(Conversion::Direct) } else { Fit::Never(ROUNDED) }
        };
        match (self, into) {
            (Self::Boolean, Self::Boolean)
            | (Self::Float, Self::Float)
            | (Self::Binary, Self::Binary)
            | (Self::Date, Self::Date) => direct,
            (Self::Number { precision, scale }, Self::Number { precision: has, scale: has_scale }) => {
                if has_scale < scale {
                    return Fit::Never(ROUNDED);
                }
                let needed = precision.saturating_sub(*scale).saturating_add(*has_scale);
                if *has >= needed || *has >= MAX_DIGITS {
                    direct
                } else {
                    Fit::Widen(Self::Number { precision: needed.min(MAX_DIGITS), scale: *has_scale })
                }
            }
            (Self::Text(Some(length)), Self::Text(Some(has))) if length > has => {
                Fit::Widen(Self::Text(Some(*length)))
            }
            (Self::Text(_), Self::Text(_)) => direct,
            (Self::Text(_), Self::Variant) => Fit::Fits(Conversion::Json),
            (Self::Text(_), Self::Object) => Fit::Fits(Conversion::JsonObject),
            // A cast to ARRAY wraps whatever is not an array: only where nothing else can be.
            (Self::Text(_), Self::Array) if source_type.ends_with("[]") => Fit::Fits(Conversion::JsonArray),
            (Self::Text(_), Self::Array) => {
                Fit::Never("Make the table's column a VARIANT: Snowflake would wrap what is not an array.")
            }
            (Self::Time(need), Self::Time(has))
            | (Self::TimestampLocal(need), Self::TimestampLocal(has))
            | (Self::TimestampMoment(need), Self::TimestampMoment(has) | Self::TimestampOffset(has)) => {
                enough(*has, *need)
            }
            (Self::TimestampLocal(_), Self::TimestampMoment(_) | Self::TimestampOffset(_))
            | (Self::TimestampMoment(_), Self::TimestampLocal(_)) => Fit::Never(ZONE),
            _ => Fit::Never(CAST),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => formatter.write_str("BOOLEAN"),
            Self::Number { precision, scale } => write!(formatter, "NUMBER({precision},{scale})"),
            Self::Integer(digits) => write!(formatter, "NUMBER({digits},0)"),
            Self::Float => formatter.write_str("FLOAT"),
            Self::Text(None) => formatter.write_str("VARCHAR"),
            Self::Text(Some(length)) => write!(formatter, "VARCHAR({length})"),
            Self::Binary => formatter.write_str("BINARY"),
            Self::Date => formatter.write_str("DATE"),
            Self::Time(digits) => write!(formatter, "TIME({digits})"),
            Self::TimestampLocal(digits) => write!(formatter, "TIMESTAMP_NTZ({digits})"),
            Self::TimestampMoment(digits) => write!(formatter, "TIMESTAMP_LTZ({digits})"),
            Self::TimestampOffset(digits) => write!(formatter, "TIMESTAMP_TZ({digits})"),
            Self::Variant => formatter.write_str("VARIANT"),
            Self::Object => formatter.write_str("OBJECT"),
            Self::Array => formatter.write_str("ARRAY"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

fn decimal(column: &Column, precision: u8, scale: i8) -> Result<ColumnType, Fault> {
    match u8::try_from(scale) {
        Ok(scale) if precision <= MAX_DIGITS && scale <= MAX_SCALE => {
            Ok(ColumnType::Number { precision, scale })
        }
        _ => Err(unloadable(
            column,
            format!(
                "it has {precision} digits, {scale} of them after the point; a NUMBER has at most 38, and 37"
            ),
        )),
    }
}

fn unloadable(column: &Column, why: String) -> Fault {
    Fault::new(FaultKind::Request, format!("load column `{}` of type {}", column.name, column.source_type))
        .because(why)
        .remedy("Cast the column in the task's query, for example to text.")
}

/// Digits after the second.
fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The length in characters that a source's type declares, for example 20 of `character varying(20)`.
fn length(source_type: &str) -> Option<u32> {
    if source_type.eq_ignore_ascii_case("uuid") {
        return Some(36);
    }
    let (word, rest) = source_type.split_once('(')?;
    let number = rest.strip_suffix(')')?.trim().parse().ok()?;
    word.to_ascii_lowercase().contains("char").then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: DataType, source_type: &str) -> Column {
        Column { name: "c".into(), source_type: source_type.into(), data_type, nullable: true }
    }

    fn of(data_type: DataType, source_type: &str) -> String {
        match ColumnType::of(&column(data_type, source_type)) {
            Ok(column_type) => column_type.for_new_column().to_string(),
            Err(fault) => format!("{}: {}", fault.kind(), fault.chain()),
        }
    }

    #[test]
    fn every_arrow_type_of_the_sources_has_a_column_type_or_a_clear_refusal() {
        use DataType as T;
        for (data_type, source_type, expected) in [
            (T::Boolean, "boolean", "BOOLEAN"),
            (T::Int16, "smallint", "NUMBER(38,0)"),
            (T::Int32, "integer", "NUMBER(38,0)"),
            (T::Int64, "bigint", "NUMBER(38,0)"),
            (T::Float32, "real", "FLOAT"),
            (T::Float64, "double precision", "FLOAT"),
            (T::Decimal64(15, 2), "numeric(15,2)", "NUMBER(15,2)"),
            (T::Decimal128(38, 37), "numeric(38,37)", "NUMBER(38,37)"),
            (T::Utf8, "character varying(20)", "VARCHAR"),
            (T::Utf8, "jsonb", "VARCHAR"),
            (T::Binary, "bytea", "BINARY"),
            (T::Date32, "date", "DATE"),
            (T::Time64(TimeUnit::Microsecond), "time without time zone", "TIME(9)"),
            (T::Timestamp(TimeUnit::Microsecond, None), "timestamp without time zone", "TIMESTAMP_NTZ(9)"),
            (
                T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                "timestamp with time zone",
                "TIMESTAMP_LTZ(9)",
            ),
        ] {
            assert_eq!(of(data_type.clone(), source_type), expected, "{data_type}");
        }
        let refused = of(T::Decimal256(50, 2), "numeric(50,2)");
        assert!(
            refused.starts_with("request: load column `c` of type numeric(50,2): it has 50"),
            "{refused}"
        );
        assert!(of(T::Decimal128(38, 38), "numeric(38,38)").contains("38 of them after the point"));
        assert!(of(T::Duration(TimeUnit::Second), "x").contains("no type in Snowflake"));
    }

    #[test]
    fn types_are_read_as_they_are_described() {
        for (text, expected) in [
            ("NUMBER(38,0)", ColumnType::Number { precision: 38, scale: 0 }),
            ("NUMBER(10, 2)", ColumnType::Number { precision: 10, scale: 2 }),
            ("VARCHAR(16777216)", ColumnType::Text(Some(16_777_216))),
            ("VARCHAR(10) COLLATE 'en-ci'", ColumnType::Text(Some(10))),
            ("FLOAT", ColumnType::Float),
            ("BINARY(8388608)", ColumnType::Binary),
            ("TIME(3)", ColumnType::Time(3)),
            ("TIMESTAMP_NTZ(9)", ColumnType::TimestampLocal(9)),
            ("TIMESTAMP_LTZ(6)", ColumnType::TimestampMoment(6)),
            ("TIMESTAMP_TZ", ColumnType::TimestampOffset(9)),
            ("VARIANT", ColumnType::Variant),
            ("OBJECT", ColumnType::Object),
            ("OBJECT(a NUMBER(38,0))", ColumnType::Other("OBJECT(a NUMBER(38,0))".into())),
            ("ARRAY", ColumnType::Array),
            ("VECTOR(FLOAT, 3)", ColumnType::Other("VECTOR(FLOAT, 3)".into())),
            ("GEOGRAPHY", ColumnType::Other("GEOGRAPHY".into())),
            ("", ColumnType::Other(String::new())),
        ] {
            assert_eq!(ColumnType::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_type_fits_into_itself_as_new_columns_have_it() {
        for data_type in [
            DataType::Boolean,
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal128(38, 10),
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ] {
            let wanted = ColumnType::of(&column(data_type, "varchar(7)")).unwrap();
            let created = ColumnType::parse(&wanted.for_new_column().to_string());
            assert_eq!(wanted.fit(&created, "x"), Fit::Fits(Conversion::Direct), "{wanted}");
        }
    }

    #[test]
    fn what_snowflake_would_change_silently_is_refused_and_what_it_checks_is_not() {
        let check = |data_type: DataType, source_type: &str, into: &str| {
            let wanted = ColumnType::of(&column(data_type, source_type)).unwrap();
            match wanted.fit(&ColumnType::parse(into), source_type) {
                Fit::Fits(conversion) => format!("{conversion:?}"),
                Fit::Widen(column_type) => format!("widen to {column_type}"),
                Fit::Never(_) => "never".to_owned(),
            }
        };
        let local = || DataType::Timestamp(TimeUnit::Microsecond, None);
        let moment = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (data_type, source_type, into, expected) in [
            (DataType::Decimal64(15, 2), "numeric(15,2)", "NUMBER(15,2)", "Direct"),
            (DataType::Decimal64(15, 2), "numeric(15,2)", "NUMBER(38,2)", "Direct"),
            (DataType::Decimal64(15, 2), "numeric(15,2)", "NUMBER(10,2)", "widen to NUMBER(15,2)"),
            (DataType::Decimal64(15, 2), "numeric(15,2)", "NUMBER(15,4)", "widen to NUMBER(17,4)"),
            (DataType::Decimal64(15, 2), "numeric(15,2)", "NUMBER(38,0)", "never"),
            (DataType::Decimal128(38, 2), "numeric(38,2)", "NUMBER(20,10)", "widen to NUMBER(38,10)"),
            (DataType::Decimal64(15, 2), "numeric(15,2)", "FLOAT", "never"),
            (DataType::Int32, "integer", "NUMBER(10,0)", "Direct"),
            (DataType::Int64, "bigint", "NUMBER(10,0)", "widen to NUMBER(19,0)"),
            (DataType::Int16, "smallint", "NUMBER(10,2)", "Direct"),
            (DataType::Int32, "integer", "FLOAT", "never"),
            (DataType::Utf8, "character varying(20)", "VARCHAR(10)", "widen to VARCHAR(20)"),
            (DataType::Utf8, "character varying(20)", "VARCHAR(20)", "Direct"),
            (DataType::Utf8, "text", "VARCHAR(10)", "Direct"),
            (DataType::Utf8, "uuid", "VARCHAR(36)", "Direct"),
            (DataType::Utf8, "jsonb", "VARIANT", "Json"),
            (DataType::Utf8, "jsonb", "OBJECT", "JsonObject"),
            (DataType::Utf8, "integer[]", "ARRAY", "JsonArray"),
            (DataType::Utf8, "jsonb", "ARRAY", "never"),
            (DataType::Utf8, "text", "NUMBER(38,0)", "never"),
            (DataType::Int32, "integer", "VARCHAR(20)", "never"),
            (DataType::Binary, "bytea", "BINARY(16)", "Direct"),
            (local(), "timestamp", "TIMESTAMP_NTZ(6)", "Direct"),
            (local(), "timestamp", "TIMESTAMP_NTZ(3)", "never"),
            (local(), "timestamp", "TIMESTAMP_LTZ(9)", "never"),
            (moment(), "timestamptz", "TIMESTAMP_LTZ(9)", "Direct"),
            (moment(), "timestamptz", "TIMESTAMP_TZ(9)", "Direct"),
            (moment(), "timestamptz", "TIMESTAMP_NTZ(9)", "never"),
            (DataType::Date32, "date", "TIMESTAMP_NTZ(9)", "never"),
            (DataType::Boolean, "boolean", "NUMBER(1,0)", "never"),
        ] {
            assert_eq!(check(data_type, source_type, into), expected, "{source_type} into {into}");
        }
    }
}
