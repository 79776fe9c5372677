//! How one result is read over several connections: by ranges of blocks or of a column, all
//! under one exported snapshot.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use super::connection::{ColumnDescription, Connection};
use super::error::Stage;
use super::sql::{identifier, literal};
use crate::fault::{Fault, FaultKind};
use crate::source::read_only::{self, SqlDialect};

/// Blocks that a slice must have at least: below, another connection costs more than it brings.
const LEAST_BLOCKS: u64 = 64;

/// A table or view that a task names.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Quoted, with its schema when the task gave one.
    pub(super) name: String,
    /// Columns that cannot be NULL.
    pub(super) required: HashSet<String>,
    /// Blocks of the largest relation behind the name; `None` when rows have no `ctid` to range over.
    blocks: Option<u64>,
}

/// Which rows a slice reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// All of them.
    Everything,
    /// Those of a table in `[from, to)`, in blocks.
    Blocks { from: Option<u64>, to: Option<u64> },
    /// Those of a column in `[from, to)`; the literals are quoted. NULLs are in the first range.
    Column { column: String, from: Option<String>, to: Option<String> },
}

impl Range {
    /// `base` restricted to this range.
    pub(super) fn restrict(&self, base: &str) -> String {
        let both = |from: Option<String>, to: Option<String>| {
            let conditions: Vec<String> = from.into_iter().chain(to).collect();
            conditions.join(" AND ")
        };
        match self {
            Self::Everything => base.to_owned(),
            Self::Blocks { from, to } => {
                let from = from.map(|block| format!("ctid >= '({block},0)'::tid"));
                let to = to.map(|block| format!("ctid < '({block},0)'::tid"));
                format!("{base} WHERE {}", both(from, to))
            }
            Self::Column { column, from, to } => {
                let name = format!("s.{}", identifier(column));
                let nulls = if from.is_none() { format!(" OR {name} IS NULL") } else { String::new() };
                let from = from.as_ref().map(|from| format!("{name} >= {from}"));
                let to = to.as_ref().map(|to| format!("{name} < {to}"));
                format!("SELECT * FROM ({base}) AS s WHERE {}{nulls}", both(from, to))
            }
        }
    }
}

/// Looks a table up in the catalog.
pub(super) async fn find_table(connection: &mut Connection, text: &str) -> Result<Table, Fault> {
    let parsed = read_only::parse_table_name(text, SqlDialect::PostgreSql)?;
    let name = match &parsed.schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&parsed.name)),
        None => identifier(&parsed.name),
    };
    let rows = connection
        .query(
            Stage::Own,
            "SELECT c.oid::text, c.relkind::text, c.relhassubclass::text, \
             (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::text \
             FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass($1)",
            &[&name],
            "look up the table",
        )
        .await?;
    let Some([Some(oid), Some(kind), Some(has_children), blocks]) = rows.first().map(Vec::as_slice) else {
        return Err(Fault::new(FaultKind::Request, format!("look up table {name}: there is none"))
            .remedy("Check the name and the schema, and that the connection's user may see it; names without quotes are lower case."));
    };
    let has_children = has_children == "true";
    let own_blocks = blocks.as_deref().and_then(|blocks| blocks.parse().ok());
    let blocks = match kind.as_str() {
        "r" | "m" if !has_children => own_blocks,
        "p" if connection.major_version >= 12 => partition_blocks(connection, oid).await?,
        _ => None,
    };
    // Children of plain inheritance may drop the constraint of their parent.
    let guaranteed = kind == "p" || (kind == "r" && !has_children);
    let required = if guaranteed { required_columns(connection, oid).await? } else { HashSet::new() };
    Ok(Table { name, required, blocks })
}

async fn required_columns(connection: &mut Connection, oid: &str) -> Result<HashSet<String>, Fault> {
    let rows = connection
        .query(
            Stage::Own,
            // Since version 18 a constraint can be NOT VALID: older rows may break it.
            "SELECT a.attname::text FROM pg_catalog.pg_attribute AS a \
             WHERE a.attrelid = $1::oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = a.attrelid \
             AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey))",
            &[oid],
            "look up the table's columns",
        )
        .await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Blocks of the largest partition; `None` when one of them is a foreign table.
async fn partition_blocks(connection: &mut Connection, oid: &str) -> Result<Option<u64>, Fault> {
    let rows = connection
        .query(
            Stage::Own,
            "SELECT bool_or(c.relkind = 'f')::text, \
             (max(pg_relation_size(c.oid)) / current_setting('block_size')::bigint)::text \
             FROM pg_partition_tree($1::oid) AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.relid",
            &[oid],
            "look up the table's partitions",
        )
        .await?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([Some(foreign), Some(blocks)]) if foreign == "false" => blocks.parse().ok(),
        _ => None,
    })
}

/// The ranges of at most `wanted` slices; together they are everything, and no row is in two.
pub(super) async fn ranges(
    connection: &mut Connection,
    base: &str,
    columns: &[ColumnDescription],
    table: Option<&Table>,
    slice_column: Option<&str>,
    wanted: NonZeroUsize,
) -> Result<Vec<Range>, Fault> {
    if let Some(name) = slice_column {
        // Looked up also when one slice is wanted: a misspelt name should not wait for its day.
        let kind = slice_type(columns, name)?;
        if wanted.get() == 1 {
            return Ok(vec![Range::Everything]);
        }
        return Ok(column_ranges(name, kind.sql(), boundaries(connection, base, name, kind, wanted).await?));
    }
    if wanted.get() == 1 {
        return Ok(vec![Range::Everything]);
    }
    match table.and_then(|table| table.blocks) {
        Some(blocks) => Ok(block_ranges(blocks, wanted)),
        None => {
            tracing::info!(
                "one slice: rows of a query or view can be divided only by the ranges of a `slice_column`"
            );
            Ok(vec![Range::Everything])
        }
    }
}

fn block_ranges(blocks: u64, wanted: NonZeroUsize) -> Vec<Range> {
    let count = (blocks / LEAST_BLOCKS).clamp(1, wanted.get() as u64);
    if count == 1 {
        return vec![Range::Everything];
    }
    let start = |slice: u64| blocks * slice / count;
    let range = |slice: u64| Range::Blocks {
        from: (slice > 0).then(|| start(slice)),
        // The last one is open: the table may have grown since its size was asked for.
        to: (slice + 1 < count).then(|| start(slice + 1)),
    };
    (0..count).map(range).collect()
}

/// Types whose ranges can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SliceType {
    Int2,
    Int4,
    Int8,
    Numeric,
    Date,
    Timestamp,
    Timestamptz,
}

impl SliceType {
    fn of(type_oid: u32) -> Option<Self> {
        Some(match type_oid {
            21 => Self::Int2,
            23 => Self::Int4,
            20 => Self::Int8,
            1700 => Self::Numeric,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            _ => return None,
        })
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
        }
    }

    /// The boundary after `i` of `n` parts between `lo` and `hi`, as SQL that cannot overflow.
    fn boundary(self) -> &'static str {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => "lo + floor((hi::numeric - lo::numeric + 1) * i / n)",
            Self::Numeric => "trunc(lo + (hi - lo) * i / n, 10)",
            Self::Date => "lo + ((hi - lo)::bigint * i / n)::int",
            // Microseconds since 2000, as the server counts, because a difference of two
            // timestamps can be more than an interval holds.
            Self::Timestamp | Self::Timestamptz => {
                "'2000-01-01 00:00:00'::timestamp + interval '1 second' \
                 * (extract(epoch FROM lo) - 946684800 + (extract(epoch FROM hi) - extract(epoch FROM lo)) * i / n)"
            }
        }
    }

    /// Leaves out what cannot be computed with.
    fn finite(self) -> &'static str {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => "true",
            Self::Numeric => "v::text NOT IN ('NaN', 'Infinity', '-Infinity')",
            Self::Date | Self::Timestamp | Self::Timestamptz => "isfinite(v)",
        }
    }
}

fn slice_type(columns: &[ColumnDescription], name: &str) -> Result<SliceType, Fault> {
    let matching: Vec<_> = columns.iter().filter(|column| column.name == name).collect();
    let names = || columns.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
    let action = format!("divide the result by `{name}`");
    match matching.as_slice() {
        [column] => SliceType::of(column.type_oid).ok_or_else(|| {
            Fault::new(FaultKind::Request, format!("{action}: ranges of its type cannot be computed"))
                .remedy("Choose a `slice_column` of an integer, numeric, date or timestamp type.")
        }),
        [] => Err(Fault::new(FaultKind::Request, format!("{action}: the result has no such column"))
            .remedy(format!("Choose among {}.", names()))),
        _ => Err(Fault::new(FaultKind::Request, format!("{action}: several columns have this name"))
            .remedy("Give each column a name of its own with AS.")),
    }
}

/// The values between the slices, in order, as text; fewer than wanted when there are few values.
async fn boundaries(
    connection: &mut Connection,
    base: &str,
    column: &str,
    kind: SliceType,
    wanted: NonZeroUsize,
) -> Result<Vec<String>, Fault> {
    let sql = format!(
        // WHERE and not FILTER: an index answers min and max with a WHERE, not with a FILTER.
        "SELECT DISTINCT b.value, b.value::text FROM (\
           SELECT ({boundary})::{kind} AS value, lo FROM (\
             SELECT min(v) AS lo, max(v) AS hi \
             FROM (SELECT s.{name} AS v FROM ({base}) AS s) AS values_of_column WHERE {finite}\
           ) AS bounds, (SELECT $1::int AS n) AS count, generate_series(1, $1::int - 1) AS i \
           WHERE lo < hi\
         ) AS b WHERE b.value > b.lo ORDER BY b.value",
        boundary = kind.boundary(),
        kind = kind.sql(),
        finite = kind.finite(),
        name = identifier(column),
    );
    let count = wanted.get().to_string();
    let rows =
        connection.query(Stage::Run, &sql, &[&count], "compute the ranges of the slice column").await?;
    Ok(rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

fn column_ranges(column: &str, kind: &str, boundaries: Vec<String>) -> Vec<Range> {
    if boundaries.is_empty() {
        return vec![Range::Everything];
    }
    let literals: Vec<String> = boundaries.iter().map(|text| format!("{}::{kind}", literal(text))).collect();
    let range = |slice: usize| Range::Column {
        column: column.to_owned(),
        from: slice.checked_sub(1).map(|before| literals[before].clone()),
        to: literals.get(slice).cloned(),
    };
    (0..=literals.len()).map(range).collect()
}

/// Makes this connection's snapshot available to others, for as long as its transaction lasts.
pub(super) async fn export_snapshot(connection: &mut Connection) -> Result<String, Fault> {
    let action = "export the snapshot";
    let rows = connection.query(Stage::Own, "SELECT pg_export_snapshot()", &[], action).await?;
    rows.into_iter()
        .flatten()
        .flatten()
        .next()
        .ok_or_else(|| Fault::new(FaultKind::Bug, action).because("the server returned none"))
}

/// Gives a transaction that has not read yet the exported snapshot.
pub(super) async fn join_snapshot(connection: &mut Connection, snapshot: &str) -> Result<(), Fault> {
    connection.batch(&format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot)), "join the snapshot").await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("not zero")
    }

    #[test]
    fn block_ranges_meet_and_are_open_at_both_ends() {
        let blocks = |from, to| Range::Blocks { from, to };
        assert_eq!(block_ranges(0, wanted(8)), [Range::Everything]);
        assert_eq!(block_ranges(127, wanted(8)), [Range::Everything]);
        assert_eq!(block_ranges(128, wanted(8)), [blocks(None, Some(64)), blocks(Some(64), None)]);
        assert_eq!(
            block_ranges(1000, wanted(3)),
            [blocks(None, Some(333)), blocks(Some(333), Some(666)), blocks(Some(666), None)]
        );
    }

    #[test]
    fn column_ranges_have_the_nulls_in_the_first_one() {
        let ranges = column_ranges("a\"b", "int4", vec!["10".into(), "20".into()]);
        let sql: Vec<String> = ranges.iter().map(|range| range.restrict("SELECT 1")).collect();
        assert_eq!(
            sql,
            [
                "SELECT * FROM (SELECT 1) AS s WHERE s.\"a\"\"b\" < '10'::int4 OR s.\"a\"\"b\" IS NULL",
                "SELECT * FROM (SELECT 1) AS s WHERE s.\"a\"\"b\" >= '10'::int4 AND s.\"a\"\"b\" < '20'::int4",
                "SELECT * FROM (SELECT 1) AS s WHERE s.\"a\"\"b\" >= '20'::int4",
            ]
        );
        assert_eq!(column_ranges("a", "int4", Vec::new()), [Range::Everything]);
    }
}
