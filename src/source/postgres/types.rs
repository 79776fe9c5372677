//! What each PostgreSQL type becomes: the SQL that is selected, its decoder and its Arrow type.
//!
//! The table in `docs/TYPES.md` says the same for people. Object identifiers are those of
//! `pg_type.dat` in the PostgreSQL source; they never change.

use arrow::datatypes::{DataType, TimeUnit};

use crate::config::NumericPolicy;

/// How the bytes of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    /// `oid`: unsigned, 32 bits.
    Oid,
    Float4,
    Float8,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds since midnight.
    Time,
    /// Microseconds since 2000-01-01, with or without zone.
    Timestamp,
    /// `numeric`, into the decimal type of the column.
    Numeric,
    /// UTF-8.
    Text,
    /// A version byte, then UTF-8.
    Jsonb,
    /// 16 bytes, as text.
    Uuid,
    /// Bytes.
    Bytea,
}

/// What is selected in place of the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    /// The column itself.
    AsIs,
    /// `column::text`.
    Text,
    /// `column::double precision`.
    Double,
    /// `to_json(column)::text`.
    Json,
}

/// The whole decision for one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) select: Select,
    pub(super) wire: Wire,
    pub(super) data_type: DataType,
}

/// What the catalog says of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TypeFacts {
    pub(super) oid: u32,
    pub(super) modifier: i32,
    /// `pg_type.typtype`: `b`ase, `c`omposite, `e`num, `p`seudo, `r`ange, `m`ultirange.
    pub(super) kind: char,
    /// `pg_type.typcategory`: `A` is an array.
    pub(super) category: char,
}

/// Largest precision of Arrow's and Parquet's 256-bit decimals.
const MAX_PRECISION: i32 = 76;

impl Mapping {
    fn new(select: Select, wire: Wire, data_type: DataType) -> Self {
        Self { select, wire, data_type }
    }

    /// Decides for a type. Total: whatever is not listed is cast to text on the server.
    pub(super) fn of(facts: TypeFacts, numeric: NumericPolicy) -> Self {
        let as_is = |wire, data_type| Self::new(Select::AsIs, wire, data_type);
        match facts.oid {
            16 => as_is(Wire::Bool, DataType::Boolean),
            17 => as_is(Wire::Bytea, DataType::Binary),
            20 => as_is(Wire::Int8, DataType::Int64),
            21 => as_is(Wire::Int2, DataType::Int16),
            23 => as_is(Wire::Int4, DataType::Int32),
            26 => as_is(Wire::Oid, DataType::Int64),
            700 => as_is(Wire::Float4, DataType::Float32),
            701 => as_is(Wire::Float8, DataType::Float64),
            1082 => as_is(Wire::Date, DataType::Date32),
            1083 => as_is(Wire::Time, DataType::Time64(TimeUnit::Microsecond)),
            1114 => as_is(Wire::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, None)),
            1184 => as_is(Wire::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            1700 => Self::numeric(facts.modifier, numeric),
            // name, text, json, xml, bpchar, varchar
            19 | 25 | 114 | 142 | 1042 | 1043 => as_is(Wire::Text, DataType::Utf8),
            3802 => as_is(Wire::Jsonb, DataType::Utf8),
            2950 => as_is(Wire::Uuid, DataType::Utf8),
            _ if facts.kind == 'e' => as_is(Wire::Text, DataType::Utf8),
            _ if facts.category == 'A' => Self::new(Select::Json, Wire::Text, DataType::Utf8),
            _ => Self::new(Select::Text, Wire::Text, DataType::Utf8),
        }
    }

    fn numeric(modifier: i32, policy: NumericPolicy) -> Self {
        let declared = precision_and_scale(modifier);
        let (precision, scale) = match (declared, policy) {
            (Some(declared), _) => declared,
            (None, NumericPolicy::Decimal { precision, scale }) => (i32::from(precision), i32::from(scale)),
            (None, NumericPolicy::Text) => return Self::new(Select::Text, Wire::Text, DataType::Utf8),
            (None, NumericPolicy::Double) => {
                return Self::new(Select::Double, Wire::Float8, DataType::Float64);
            }
        };
        // A negative scale rounds to tens or hundreds: the digits before the point grow. A scale
        // beyond the precision has zeros after the point. Decimals have neither.
        let (precision, scale) =
            if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
        let Ok(digits) = u8::try_from(precision) else { return Self::wide() };
        let Ok(scale) = i8::try_from(scale) else { return Self::wide() };
        let data_type = match precision {
            // 64 bits hold 18 digits; Parquet stores these as integers as well.
            ..=18 => DataType::Decimal64(digits, scale),
            19..=38 => DataType::Decimal128(digits, scale),
            39..=MAX_PRECISION => DataType::Decimal256(digits, scale),
            _ => return Self::wide(),
        };
        Self::new(Select::AsIs, Wire::Numeric, data_type)
    }

    /// A numeric that no decimal can hold: text, exactly as the server prints it.
    fn wide() -> Self {
        Self::new(Select::Text, Wire::Text, DataType::Utf8)
    }
}

/// Precision and scale out of `atttypmod`: `((precision << 16) | (scale & 0x7ff)) + 4`, the scale
/// an 11-bit signed number since version 15 (`numeric.c`, `make_numeric_typmod`).
fn precision_and_scale(modifier: i32) -> Option<(i32, i32)> {
    if modifier < 4 {
        return None;
    }
    let packed = modifier - 4;
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    Some(((packed >> 16) & 0xffff, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    fn numeric(modifier: i32, policy: NumericPolicy) -> (Select, DataType) {
        let mapping = Mapping::of(TypeFacts { oid: 1700, modifier, kind: 'b', category: 'N' }, policy);
        (mapping.select, mapping.data_type)
    }

    #[test]
    fn a_numeric_with_precision_becomes_the_smallest_decimal_that_holds_it() {
        for (precision, scale, expected) in [
            (1, 0, DataType::Decimal64(1, 0)),
            (15, 2, DataType::Decimal64(15, 2)),
            (18, 18, DataType::Decimal64(18, 18)),
            (19, 0, DataType::Decimal128(19, 0)),
            (38, 10, DataType::Decimal128(38, 10)),
            (39, 0, DataType::Decimal256(39, 0)),
            (76, 76, DataType::Decimal256(76, 76)),
            (77, 0, DataType::Utf8),
            (1000, 500, DataType::Utf8),
            (3, -2, DataType::Decimal64(5, 0)),
            (2, 5, DataType::Decimal64(5, 5)),
            (2, -1000, DataType::Utf8),
            (2, 200, DataType::Utf8),
        ] {
            let (_, data_type) = numeric(typmod(precision, scale), NumericPolicy::Text);
            assert_eq!(data_type, expected, "numeric({precision},{scale})");
        }
    }

    #[test]
    fn a_numeric_without_precision_follows_the_policy() {
        assert_eq!(numeric(-1, NumericPolicy::Text), (Select::Text, DataType::Utf8));
        assert_eq!(numeric(-1, NumericPolicy::Double), (Select::Double, DataType::Float64));
        let decimal = NumericPolicy::Decimal { precision: 38, scale: 9 };
        assert_eq!(numeric(-1, decimal), (Select::AsIs, DataType::Decimal128(38, 9)));
    }

    #[test]
    fn whatever_is_not_known_is_cast_on_the_server() {
        let mapping = |oid, kind, category| {
            let mapping = Mapping::of(TypeFacts { oid, modifier: -1, kind, category }, NumericPolicy::Text);
            (mapping.select, mapping.wire, mapping.data_type)
        };
        assert_eq!(mapping(99_999, 'b', 'U'), (Select::Text, Wire::Text, DataType::Utf8));
        assert_eq!(mapping(99_999, 'e', 'E'), (Select::AsIs, Wire::Text, DataType::Utf8));
        assert_eq!(mapping(1007, 'b', 'A'), (Select::Json, Wire::Text, DataType::Utf8));
        assert_eq!(mapping(869, 'b', 'I'), (Select::Text, Wire::Text, DataType::Utf8));
    }
}
