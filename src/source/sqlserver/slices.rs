//! How one result is read over several connections: by ranges of a column.
//!
//! Boundaries are computed here, from the least and the greatest value: a number of units between
//! them, whatever the column's type. Where only the server knows the order of values, it is asked
//! whether the boundaries rise.

use std::num::NonZeroUsize;

use super::connection::Connection;
use super::sql::{Base, Described, literal, position_of};
use crate::fault::{Fault, FaultKind};
use crate::source::ranges::{boundaries, byte_boundaries, ranges, text_boundaries, units_of, value_at};

/// Types whose ranges can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruler {
    Units(Unit),
    /// Characters, in the order of their collation.
    Text,
    Binary,
}

/// Types whose values are a number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Integer,
    /// Units of the last digit behind the point.
    Decimal,
    /// Units of 100 nanoseconds since 0001-01-01, printed with this many digits of a second; `None`
    /// for days.
    Instant(Option<usize>),
    /// The same of the instant in UTC.
    Offset,
    /// The same of the first day that `datetime` knows, 1900-01-01.
    Time,
    /// The value of an identifier's bytes, in the order in which the server compares them.
    Identifier,
}

/// The bytes of a `uniqueidentifier` as it is stored, those that are compared first in front.
const COMPARED: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];

const DAY_TICKS: i128 = 864_000_000_000;

impl Ruler {
    fn of(type_name: &str) -> Option<Self> {
        let base = type_name.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(Self::Units(match base.as_str() {
            "tinyint" | "smallint" | "int" | "bigint" => Unit::Integer,
            "decimal" | "numeric" | "money" | "smallmoney" => Unit::Decimal,
            "date" => Unit::Instant(None),
            "smalldatetime" => Unit::Instant(Some(0)),
            "datetime" => Unit::Instant(Some(3)),
            "datetime2" => Unit::Instant(Some(7)),
            "datetimeoffset" => Unit::Offset,
            "time" => Unit::Time,
            "uniqueidentifier" => Unit::Identifier,
            "char" | "varchar" | "nchar" | "nvarchar" => return Some(Self::Text),
            "binary" | "varbinary" | "timestamp" | "rowversion" => return Some(Self::Binary),
            _ => return None,
        }))
    }

    /// `value` as [`Ruler::between`] reads it, in SQL: a text, or bytes, which are printed in hexadecimal
    /// digits on their way.
    fn printed(self, value: &str) -> String {
        match self {
            Self::Units(unit) => unit.printed(value),
            // More than a boundary needs, and no more than a key can have.
            Self::Text => format!("CONVERT(nvarchar(1000), {value})"),
            Self::Binary => format!("CAST({value} AS varbinary(50))"),
        }
    }

    /// Literals between two printed values, in the order of the values as far as it is known here.
    fn between(self, least: &str, greatest: &str, type_name: &str, wanted: NonZeroUsize) -> Vec<String> {
        match self {
            Self::Units(unit) => unit.between(least, greatest, type_name, wanted),
            Self::Text => text_boundaries(least, greatest, longest(type_name), wanted)
                .iter()
                .map(|text| format!("CAST({} AS {type_name})", literal(text)))
                .collect(),
            Self::Binary => byte_boundaries(least, greatest, wanted)
                .iter()
                .map(|digits| format!("CAST(0x{digits} AS {type_name})"))
                .collect(),
        }
    }

    /// Only the server knows in which order values of the type are.
    fn is_of_the_server(self) -> bool {
        matches!(self, Self::Units(Unit::Identifier) | Self::Text | Self::Binary)
    }
}

impl Unit {
    /// `value` as a text that [`Unit::read`] reads, in SQL.
    fn printed(self, value: &str) -> String {
        match self {
            Self::Integer | Self::Identifier => format!("CONVERT(varchar(50), {value})"),
            // Style 2 gives money all of its digits; decimals do not mind.
            Self::Decimal => format!("CONVERT(varchar(60), {value}, 2)"),
            Self::Instant(_) | Self::Time => {
                format!("CONVERT(varchar(40), CAST({value} AS datetime2(7)), 121)")
            }
            Self::Offset => {
                format!("CONVERT(varchar(40), CAST(SWITCHOFFSET({value}, '+00:00') AS datetime2(7)), 121)")
            }
        }
    }

    /// A printed value in units, and how many digits it has behind the point.
    fn read(self, text: &str) -> Option<(i128, usize)> {
        match self {
            Self::Integer | Self::Decimal => {
                let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
                Some((format!("{whole}{fraction}").parse().ok()?, fraction.len()))
            }
            Self::Instant(_) | Self::Offset | Self::Time => Some((ticks(text.trim())?, 0)),
            Self::Identifier => {
                let stored = uuid::Uuid::parse_str(text.trim()).ok()?.to_bytes_le();
                Some((units_of(u128::from_be_bytes(COMPARED.map(|place| stored[place]))), 0))
            }
        }
    }

    fn between(self, least: &str, greatest: &str, type_name: &str, wanted: NonZeroUsize) -> Vec<String> {
        let Some(((least, digits), (greatest, _))) = self.read(least).zip(self.read(greatest)) else {
            return Vec::new();
        };
        let boundaries = boundaries(least, greatest, wanted).into_iter();
        boundaries.map(|units| self.literal(units, digits, type_name)).collect()
    }

    /// `units` as a literal of the column's type.
    fn literal(self, units: i128, digits: usize, type_name: &str) -> String {
        let text = match self {
            Self::Integer => return units.to_string(),
            Self::Decimal => {
                let sign = if units < 0 { "-" } else { "" };
                let all = format!("{:0width$}", units.unsigned_abs(), width = digits + 1);
                let (whole, fraction) = all.split_at(all.len() - digits);
                let point = if digits > 0 { "." } else { "" };
                // A number with a point is a decimal literal, of exactly its digits.
                return format!("{sign}{whole}{point}{fraction}");
            }
            Self::Instant(digits) => instant_text(units, digits),
            Self::Offset => instant_text(units, Some(7)),
            // Not every server drops a date before a time.
            Self::Time => instant_text(units, Some(7)).split_off("1900-01-01T".len()),
            Self::Identifier => {
                let value = value_at(units).to_be_bytes();
                let mut stored = [0; 16];
                for (byte, place) in value.into_iter().zip(COMPARED) {
                    stored[place] = byte;
                }
                uuid::Uuid::from_bytes_le(stored).to_string()
            }
        };
        format!("CAST({} AS {type_name})", literal(&text))
    }
}

/// `yyyy-mm-dd hh:mm:ss.fffffff` in units of 100 nanoseconds since 0001-01-01.
fn ticks(text: &str) -> Option<i128> {
    let (date, time) = text.split_once(' ')?;
    let date: jiff::civil::Date = date.parse().ok()?;
    let time: jiff::civil::Time = time.parse().ok()?;
    let days = date.since(first_day()).ok()?.get_days();
    let nanoseconds = time.duration_since(jiff::civil::Time::midnight()).as_nanos();
    Some(i128::from(days) * DAY_TICKS + nanoseconds / 100)
}

fn instant_text(units: i128, digits: Option<usize>) -> String {
    // Boundaries lie between two instants of the calendar.
    let days = i64::try_from(units.div_euclid(DAY_TICKS)).unwrap_or_default();
    let date = first_day().saturating_add(jiff::Span::new().days(days.clamp(0, 3_652_058)));
    let in_day = units.rem_euclid(DAY_TICKS);
    let Some(digits) = digits else { return date.to_string() };
    let seconds = in_day / 10_000_000;
    let mut text = format!("{date}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if digits > 0 {
        let fraction = format!("{:07}", in_day % 10_000_000);
        text.push('.');
        text.push_str(&fraction[..digits]);
    }
    text
}

fn first_day() -> jiff::civil::Date {
    jiff::civil::date(1, 1, 1)
}

/// The column that a result is divided by, and how.
pub(super) struct Divider {
    position: usize,
    ruler: Ruler,
}

/// The column that a task names, or that a table is sorted by; `None` when there is none.
pub(super) fn divider(
    all: &[Described],
    named: Option<&str>,
    key: Option<&str>,
) -> Result<Option<Divider>, Fault> {
    if let Some(name) = named {
        let position = position_of(all, name, "divide the result by")?;
        let ruler = Ruler::of(&all[position].type_name).ok_or_else(|| {
            let action = format!("divide the result by `{name}`: ranges of its type cannot be computed");
            Fault::new(FaultKind::Request, action)
                .remedy("Choose a `slice_column` of a number, a date or time, a text or bytes, or a uniqueidentifier.")
        })?;
        return Ok(Some(Divider { position, ruler }));
    }
    let position = key.and_then(|key| all.iter().position(|column| column.name == key));
    Ok(position.and_then(|position| {
        let ruler = Ruler::of(&all[position].type_name)?;
        Some(Divider { position, ruler })
    }))
}

/// Conditions of at most `wanted` slices, which together are everything; `None` for all rows.
pub(super) async fn conditions(
    connection: &mut Connection,
    base: &Base,
    all: &[Described],
    divider: &Divider,
    wanted: NonZeroUsize,
) -> Result<Vec<Option<String>>, Fault> {
    let column = base.column(all, divider.position);
    let [least, greatest] = ["MIN", "MAX"].map(|name| divider.ruler.printed(&format!("{name}({column})")));
    let sql = base.statement(all, &format!("{least}, {greatest}"), None);
    let answer = connection.run(&sql, "compute the ranges of the slices").await?;
    let Some([Some(least), Some(greatest)]) = answer.rows.first().map(Vec::as_slice) else {
        return Ok(vec![None]);
    };
    let type_name = &all[divider.position].type_name;
    let literals = divider.ruler.between(least, greatest, type_name, wanted);
    if divider.ruler.is_of_the_server() && !they_rise(connection, base, all, &column, &literals).await? {
        tracing::info!("one slice: the server orders the values in another way than was expected");
        return Ok(vec![None]);
    }
    Ok(ranges(&column, &literals))
}

/// Asks the server whether it sees each literal behind the one before, as it compares values of the
/// column. Ranges whose ends were the wrong way round would have rows twice.
async fn they_rise(
    connection: &mut Connection,
    base: &Base,
    all: &[Described],
    column: &str,
    literals: &[String],
) -> Result<bool, Fault> {
    // An expression that could be the column is of its collation; two literals are of the database's.
    let pair = |(a, b)| format!("{a} < CASE WHEN {column} IS NULL THEN {column} ELSE {b} END");
    let pairs: Vec<String> = literals.iter().zip(literals.iter().skip(1)).map(pair).collect();
    if pairs.is_empty() {
        return Ok(true);
    }
    let expression = format!("TOP (1) CASE WHEN {} THEN 1 ELSE 0 END", pairs.join(" AND "));
    let sql = base.statement(all, &expression, Some(&format!("{column} IS NOT NULL")));
    let answer = connection.run(&sql, "compare the ends of the slices").await?;
    let found = answer.rows.first().and_then(|row| row.first()?.as_deref());
    Ok(found == Some("1"))
}

/// How many characters a type holds; `None` for `max`.
fn longest(type_name: &str) -> Option<usize> {
    type_name.split_once('(')?.1.trim_end_matches(')').trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(type_name: &str) -> Unit {
        match Ruler::of(type_name) {
            Some(Ruler::Units(unit)) => unit,
            other => panic!("{type_name}: {other:?}"),
        }
    }

    fn wanted(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("not zero")
    }

    #[test]
    fn conditions_meet_and_have_the_nulls_in_the_first_one() {
        assert_eq!(
            ranges("q.[a]", &["10".into(), "20".into()]),
            [
                Some("q.[a] < 10 OR q.[a] IS NULL".to_owned()),
                Some("q.[a] >= 10 AND q.[a] < 20".to_owned()),
                Some("q.[a] >= 20".to_owned()),
            ]
        );
        assert_eq!(ranges("q.[a]", &[]), [None]);
    }

    #[test]
    fn boundaries_are_spread_evenly_and_few_values_make_few_slices() {
        assert_eq!(boundaries(1, 100, wanted(4)), [26, 51, 76]);
        assert_eq!(boundaries(1, 2, wanted(4)), [2]);
        assert_eq!(boundaries(7, 7, wanted(4)), []);
        assert_eq!(boundaries(i128::from(i64::MIN), i128::from(i64::MAX), wanted(2)), [0]);
    }

    #[test]
    fn every_type_is_read_and_written_in_its_own_words() {
        for (type_name, text, units, digits, written) in [
            ("int", "-5", -5, 0, "-5"),
            ("decimal(15,2)", "-12.05", -1205, 2, "-12.05"),
            ("decimal(15,2)", "0.05", 5, 2, "0.05"),
            ("money", "1.2345", 12_345, 4, "1.2345"),
            ("date", "0001-01-02 00:00:00.0000000", DAY_TICKS, 0, "CAST(N'0001-01-02' AS date)"),
            (
                "datetime",
                "1970-01-01 00:00:01.0030000",
                621_355_968_010_030_000,
                0,
                "CAST(N'1970-01-01T00:00:01.003' AS datetime)",
            ),
            (
                "smalldatetime",
                "1970-01-01 00:01:00.0000000",
                621_355_968_600_000_000,
                0,
                "CAST(N'1970-01-01T00:01:00' AS smalldatetime)",
            ),
            (
                "datetime2(7)",
                "9999-12-31 23:59:59.9999999",
                3_155_378_975_999_999_999,
                0,
                "CAST(N'9999-12-31T23:59:59.9999999' AS datetime2(7))",
            ),
        ] {
            let ruler = unit(type_name);
            assert_eq!(ruler.read(text), Some((units, digits)), "{type_name}");
            assert_eq!(ruler.literal(units, digits, type_name), written);
        }
        for (type_name, text, written) in [
            (
                "datetimeoffset(7)",
                "2024-05-06 07:08:09.1234567",
                "CAST(N'2024-05-06T07:08:09.1234567' AS datetimeoffset(7))",
            ),
            ("time(3)", "1900-01-01 23:59:59.9990000", "CAST(N'23:59:59.9990000' AS time(3))"),
        ] {
            let ruler = unit(type_name);
            let (units, digits) = ruler.read(text).expect(text);
            assert_eq!(ruler.literal(units, digits, type_name), written);
        }
        assert_eq!(Ruler::of("sql_variant"), None);
    }

    #[test]
    fn texts_and_bytes_are_cut_between_the_least_and_the_greatest() {
        let between = |type_name: &str, least: &str, greatest: &str| {
            let ruler = Ruler::of(type_name).expect(type_name);
            ruler.between(least, greatest, type_name, wanted(2))
        };
        assert_eq!(between("nvarchar(10)", "it's 10", "it's 90"), ["CAST(N'it''s 5' AS nvarchar(10))"]);
        assert_eq!(between("char(1)", "A", "Z").len(), 1);
        let half = format!("CAST(0x80{} AS binary(16))", "00".repeat(14));
        let (least, greatest) = ("00".repeat(16), "FF".repeat(16));
        assert_eq!(between("binary(16)", least.as_str(), greatest.as_str()), [half]);
        assert_eq!(between("varchar(max)", "same", "same"), [""; 0]);
        assert_eq!(
            (longest("varchar(36)"), longest("varchar(max)"), longest("date")),
            (Some(36), None, None)
        );
    }

    #[test]
    fn identifiers_are_compared_from_their_last_group_on() {
        let ruler = unit("uniqueidentifier");
        let units = |text| ruler.read(text).expect(text).0;
        // In the order of SQL Server: the last group, the fourth, then bytes of the third, second and
        // first from right to left.
        let rising = [
            "00000000-0000-0000-0000-000000000000",
            "04000000-0000-0000-0000-000000000000",
            "00000004-0000-0000-0000-000000000000",
            "00000000-0100-0000-0000-000000000000",
            "00000000-0001-0000-0000-000000000000",
            "00000000-0000-0100-0000-000000000000",
            "00000000-0000-0001-0000-000000000000",
            "00000000-0000-0000-0001-000000000000",
            "00000000-0000-0000-0100-000000000000",
            "00000000-0000-0000-0000-000000000001",
            "ffffffff-ffff-ffff-ffff-0fffffffffff",
            "00000000-0000-0000-0000-100000000000",
        ];
        assert!(rising.is_sorted_by(|before, after| units(before) < units(after)));
        assert_eq!(
            ruler.literal(units("00000004-0000-0000-0000-000000000001"), 0, "uniqueidentifier"),
            "CAST(N'00000004-0000-0000-0000-000000000001' AS uniqueidentifier)"
        );
        let (least, greatest) = (units(rising[0]), units("ffffffff-ffff-ffff-ffff-ffffffffffff"));
        let middle = boundaries(least, greatest, wanted(2));
        assert_eq!(
            ruler.literal(middle[0], 0, "uniqueidentifier"),
            "CAST(N'00000000-0000-0000-0000-800000000000' AS uniqueidentifier)"
        );
    }

    proptest! {
        #[test]
        fn boundaries_lie_inside_and_rise(a in any::<i64>(), b in any::<i64>(), count in 1_usize..40) {
            let (least, greatest) = (i128::from(a.min(b)), i128::from(a.max(b)));
            let found = boundaries(least, greatest, wanted(count));
            prop_assert!(found.len() < count.max(1));
            prop_assert!(found.iter().all(|value| *value > least && *value <= greatest));
            prop_assert!(found.is_sorted_by(|before, after| before < after));
        }
    }
}
