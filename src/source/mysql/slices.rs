//! How one result is read over several connections: by ranges of a column.
//!
//! Boundaries lie at equal distances between the smallest and the largest value, which an index
//! answers at once. They are computed here and written into the queries as literals. Where only the
//! server knows the order of values, it is asked whether the boundaries rise.

use std::num::NonZeroUsize;

use super::connection::Connection;
use super::error::Stage;
use super::sql::{self, Base, identifier, literal};
use super::types::{BINARY, ColumnDescription, code, flag};
use crate::fault::{Fault, FaultKind};
use crate::source::ranges::{boundaries, byte_boundaries, text_boundaries};
use crate::source::read_only::{self, SqlDialect};

/// Rows that a slice of a table should have at least: below, another connection costs more than it
/// brings.
const LEAST_ROWS: u64 = 2_000;

/// A table or view that a task names.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Quoted, with its database when the task gave one.
    pub(super) name: String,
    /// Not a view: what the catalog says of NULLs holds for each row.
    pub(super) is_base: bool,
    /// A consistent snapshot covers it.
    pub(super) is_transactional: bool,
    /// First column of the primary key.
    key: Option<String>,
    /// As the server estimates.
    rows: u64,
}

/// Looks a table up in the catalog.
pub(super) async fn find_table(connection: &mut Connection, text: &str) -> Result<Table, Fault> {
    let parsed = read_only::parse_table_name(text, SqlDialect::MySql)?;
    let name = match &parsed.schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&parsed.name)),
        None => identifier(&parsed.name),
    };
    let schema = parsed.schema.as_deref().map_or_else(|| "DATABASE()".to_owned(), literal);
    let table = literal(&parsed.name);
    let action = "look up the table";
    let rows = connection
        .query(
            &format!(
                "SELECT TABLE_TYPE, ENGINE, TABLE_ROWS FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}"
            ),
            action,
        )
        .await?;
    let Some([kind, engine, estimate]) = rows.first().map(Vec::as_slice) else {
        return Err(Fault::new(FaultKind::Request, format!("look up table {name}: there is none")).remedy(
            "Check the name and the database, and that the connection's user may see it; on most servers upper and lower case differ.",
        ));
    };
    let is_base = kind.as_deref() == Some("BASE TABLE");
    // InnoDB, and what else the server's snapshot covers.
    let is_transactional = engine.as_deref().is_some_and(|engine| matches!(engine, "InnoDB" | "ROCKSDB"));
    let rows = estimate.as_deref().and_then(|estimate| estimate.parse().ok()).unwrap_or(0);
    let keys = connection
        .query(
            &format!(
                "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {schema} \
                 AND TABLE_NAME = {table} AND INDEX_NAME = 'PRIMARY' AND SEQ_IN_INDEX = 1"
            ),
            action,
        )
        .await?;
    let key = keys.into_iter().flatten().flatten().next();
    Ok(Table { name, is_base, is_transactional, key, rows })
}

/// What the rows are divided by, before its smallest and largest values are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Divisor {
    column: String,
    kind: Kind,
}

/// The column whose ranges divide the result; `None` when there is to be one slice.
pub(super) fn divisor(
    columns: &[ColumnDescription],
    table: Option<&Table>,
    slice_column: Option<&str>,
    wanted: NonZeroUsize,
) -> Result<Option<Divisor>, Fault> {
    if let Some(name) = slice_column {
        // Looked up also when one slice is wanted: a misspelt name should not wait for its day.
        let action = format!("divide the result by `{name}`");
        let column = sql::find(columns, name, &action)?;
        let kind = Kind::of(column).ok_or_else(|| {
            Fault::new(FaultKind::Request, format!("{action}: ranges of its type cannot be computed")).remedy(
                "Choose a `slice_column` of an integer, year, decimal, date, datetime, timestamp, char or binary type.",
            )
        })?;
        let divisor = Divisor { column: name.to_owned(), kind };
        return Ok((wanted.get() > 1).then_some(divisor));
    }
    if wanted.get() == 1 {
        return Ok(None);
    }
    let key = table.and_then(|table| table.key.as_ref());
    let column = key.and_then(|key| columns.iter().find(|column| column.name == *key));
    let kind = column.and_then(|column| Some((column, Kind::of(column)?)));
    let Some((column, kind)) = kind else {
        tracing::info!(
            "one slice: rows can be divided only by the ranges of a `slice_column`, or of a table's \
             primary key that begins with a number, date, text or bytes"
        );
        return Ok(None);
    };
    Ok(Some(Divisor { column: column.name.clone(), kind }))
}

/// How many slices a table of so many rows is worth.
pub(super) fn worthwhile(
    table: Option<&Table>,
    slice_column: Option<&str>,
    wanted: NonZeroUsize,
) -> NonZeroUsize {
    match (table, slice_column) {
        (Some(table), None) => {
            let most = usize::try_from(table.rows / LEAST_ROWS).unwrap_or(usize::MAX);
            NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN).min(wanted)
        }
        _ => wanted,
    }
}

/// Types whose ranges can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Units(Unit),
    /// Characters, in the order of their collation.
    Text,
    Binary,
}

/// Types whose values are a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Integers and the whole parts of decimals.
    Number,
    /// Days since 1970-01-01.
    Date,
    /// Seconds since then.
    Instant,
    /// Years, 1901 to 2155. Compared with any other number, the server finds none or another one: 70
    /// means 1970, and 1012 is no year at all.
    Year,
}

impl Kind {
    fn of(column: &ColumnDescription) -> Option<Self> {
        Some(Self::Units(match column.type_code {
            code::TINY | code::SHORT | code::INT24 | code::LONG | code::LONGLONG => Unit::Number,
            code::YEAR => Unit::Year,
            code::DECIMAL | code::NEWDECIMAL => Unit::Number,
            code::DATE | code::NEWDATE => Unit::Date,
            code::DATETIME | code::TIMESTAMP => Unit::Instant,
            // Nothing that only looks like a text: a server may have an order of its own for it, or know
            // none of our boundaries.
            code::VARCHAR | code::VAR_STRING | code::STRING
                if column.format.is_empty() && column.flags & (flag::ENUM | flag::SET) == 0 =>
            {
                return Some(if column.character_set == BINARY { Self::Binary } else { Self::Text });
            }
            _ => return None,
        }))
    }

    /// A value as [`Kind::between`] reads it, in SQL.
    fn printed(self, column: &str) -> String {
        match self {
            Self::Units(Unit::Number | Unit::Year) => format!("CAST(FLOOR({column}) AS CHAR)"),
            Self::Units(Unit::Date | Unit::Instant) | Self::Text => format!("CAST({column} AS CHAR)"),
            Self::Binary => format!("HEX({column})"),
        }
    }

    /// Leaves out what no calendar has: it would count as the year 0 and spoil the distances. The year
    /// 0000 is in the first range, because every boundary is a year after the least one.
    fn usable(self, column: &str) -> String {
        match self {
            Self::Units(Unit::Year) => format!("{column} > 0"),
            Self::Units(Unit::Number) | Self::Text | Self::Binary => format!("{column} IS NOT NULL"),
            Self::Units(Unit::Date | Unit::Instant) => format!("{column} >= '1000-01-01'"),
        }
    }

    /// Literals between two printed values, in the order of the values as far as it is known here.
    fn between(self, least: &str, greatest: &str, wanted: NonZeroUsize) -> Vec<String> {
        match self {
            Self::Text => {
                text_boundaries(least, greatest, None, wanted).iter().map(|text| literal(text)).collect()
            }
            Self::Binary => {
                byte_boundaries(least, greatest, wanted).iter().map(|digits| format!("x'{digits}'")).collect()
            }
            Self::Units(unit) => {
                let Some((least, greatest)) = unit.read(least).zip(unit.read(greatest)) else {
                    return Vec::new();
                };
                let boundaries = boundaries(least, greatest, wanted);
                boundaries.into_iter().filter_map(|at| unit.literal(at)).collect()
            }
        }
    }
}

impl Unit {
    fn read(self, text: &str) -> Option<i128> {
        match self {
            Self::Number | Self::Year => text.parse().ok(),
            Self::Date => {
                let date: jiff::civil::Date = text.parse().ok()?;
                Some(i128::from(date.duration_since(epoch().date()).as_hours()) / 24)
            }
            Self::Instant => {
                let instant: jiff::civil::DateTime = text.replace(' ', "T").parse().ok()?;
                Some(instant.duration_since(epoch()).as_secs().into())
            }
        }
    }

    fn literal(self, number: i128) -> Option<String> {
        let span =
            |seconds: Option<i128>| Some(jiff::SignedDuration::from_secs(i64::try_from(seconds?).ok()?));
        match self {
            Self::Number | Self::Year => Some(number.to_string()),
            Self::Date => {
                let date = epoch().date().checked_add(span(number.checked_mul(86_400))?).ok()?;
                Some(format!("DATE'{date}'"))
            }
            Self::Instant => {
                let instant = epoch().checked_add(span(Some(number))?).ok()?;
                Some(format!("TIMESTAMP'{}'", instant.to_string().replace('T', " ")))
            }
        }
    }
}

fn epoch() -> jiff::civil::DateTime {
    jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
}

impl Divisor {
    /// The conditions of at most `wanted` slices; together they hold for every row, and for no row
    /// twice. `None` is everything.
    pub(super) async fn conditions(
        &self,
        connection: &mut Connection,
        base: &Base,
        wanted: NonZeroUsize,
    ) -> Result<Vec<Option<String>>, Fault> {
        let name = format!("s.{}", identifier(&self.column));
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE {}",
            self.kind.printed(&format!("MIN({name})")),
            self.kind.printed(&format!("MAX({name})")),
            base.relation(),
            self.kind.usable(&name),
        );
        let rows = connection.query_at(Stage::Run, &sql, "compute the ranges of the slice column").await?;
        let text = |index: usize| rows.first()?.get(index)?.as_deref();
        let (Some(least), Some(greatest)) = (text(0), text(1)) else { return Ok(vec![None]) };
        let literals = self.kind.between(least, greatest, wanted);
        if matches!(self.kind, Kind::Text | Kind::Binary)
            && !they_rise(connection, base, &name, &literals).await?
        {
            tracing::info!("one slice: the server orders the values in another way than was expected");
            return Ok(vec![None]);
        }
        Ok(conditions(&name, &literals))
    }
}

/// Asks the server whether it sees each literal behind the one before, as it compares values of the
/// column, and whether it can compare a value with all of them. Ranges whose ends were the wrong way
/// round would have rows twice.
async fn they_rise(
    connection: &mut Connection,
    base: &Base,
    name: &str,
    literals: &[String],
) -> Result<bool, Fault> {
    // An expression that could be the column is of its collation; two literals are of the connection's.
    let pairs = literals.iter().zip(literals.iter().skip(1));
    let rising = pairs.map(|(a, b)| format!("{a} < IF({name} IS NULL, {name}, {b})"));
    let compared = literals.iter().map(|at| format!("({name} < {at}) IS NOT NULL"));
    let all: Vec<String> = rising.chain(compared).collect();
    if all.is_empty() {
        return Ok(true);
    }
    let sql =
        format!("SELECT {} FROM {} WHERE {name} IS NOT NULL LIMIT 1", all.join(" AND "), base.relation());
    let rows = connection.query_at(Stage::Run, &sql, "compare the ends of the slices").await?;
    Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some("1"))
}

/// `low <= name < high` for each pair of neighbours, open at both ends; NULLs are in the first.
fn conditions(name: &str, literals: &[String]) -> Vec<Option<String>> {
    if literals.is_empty() {
        return vec![None];
    }
    let condition = |slice: usize| {
        let from = slice.checked_sub(1).map(|before| format!("{name} >= {}", literals[before]));
        let to = literals.get(slice).map(|to| format!("{name} < {to}"));
        match (from, to) {
            (None, Some(to)) => Some(format!("({to} OR {name} IS NULL)")),
            (Some(from), Some(to)) => Some(format!("{from} AND {to}")),
            (from, None) => from,
        }
    };
    (0..=literals.len()).map(condition).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("not zero")
    }

    #[test]
    fn ranges_meet_and_are_open_at_both_ends() {
        assert_eq!(boundaries(1, 100, wanted(4)), [26, 51, 76]);
        assert_eq!(boundaries(5, 5, wanted(4)), [] as [i128; 0]);
        assert_eq!(boundaries(5, 6, wanted(4)), [6]);
        let texts: Vec<Option<String>> = conditions("s.`a`", &["10".into(), "20".into()]);
        let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
        assert_eq!(texts, ["(s.`a` < 10 OR s.`a` IS NULL)", "s.`a` >= 10 AND s.`a` < 20", "s.`a` >= 20"]);
        assert_eq!(conditions("s.`a`", &[]), [None]);
    }

    #[test]
    fn dates_and_instants_are_counted_and_written_back() {
        for (kind, text, literal) in [
            (Unit::Date, "2024-02-29", "DATE'2024-02-29'"),
            (Unit::Date, "1000-01-01", "DATE'1000-01-01'"),
            (Unit::Date, "9999-12-31", "DATE'9999-12-31'"),
            (Unit::Instant, "2024-02-29 12:34:56", "TIMESTAMP'2024-02-29 12:34:56'"),
            (Unit::Instant, "1969-12-31 23:59:59", "TIMESTAMP'1969-12-31 23:59:59'"),
            (Unit::Number, "-18446744073709551615", "-18446744073709551615"),
        ] {
            let number = kind.read(text).expect(text);
            assert_eq!(kind.literal(number).as_deref(), Some(literal));
        }
        assert_eq!(
            Unit::Instant.read("2024-02-29 12:34:56.999999"),
            Unit::Instant.read("2024-02-29 12:34:56")
        );
        assert_eq!(Unit::Date.read("0000-00-00"), None);
    }

    proptest! {
        #[test]
        fn boundaries_rise_and_lie_inside(low in any::<i64>(), distance in 0_u64.., count in 1_usize..300) {
            let (low, high) = (i128::from(low), i128::from(low) + i128::from(distance));
            let found = boundaries(low, high, wanted(count));
            prop_assert!(found.len() < count.max(1));
            prop_assert!(found.iter().all(|at| low < *at && *at <= high));
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
