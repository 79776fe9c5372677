//! What the columns of a result are, before any row is read.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteColumn;
use sqlx::{AssertSqlSafe, Column as _, ColumnOrigin, Either, Executor, Row, SqlSafeStr, Statement};

use super::column_kind::{ColumnKind, SeenClasses};
use super::connection::ReadConnection;
use crate::fault::{Fault, FaultKind};
use crate::schema::{Column, TableSchema};
use crate::source::read_only::{TableName, quote_identifier};

/// A statement to run and how its columns are read.
#[derive(Debug)]
pub(super) struct Plan {
    /// The statement.
    pub(super) sql: String,
    /// The selected columns.
    pub(super) columns: Vec<PlannedColumn>,
    /// The same as a schema.
    pub(super) schema: TableSchema,
    /// Columns of the statement; more than selected when a query has others, too.
    pub(super) width: usize,
}

/// One selected column.
#[derive(Clone, Debug)]
pub(super) struct PlannedColumn {
    /// Its place in the rows of the statement, from 0.
    pub(super) position: usize,
    /// How its values are read.
    pub(super) kind: ColumnKind,
    /// Its name for messages; see [`label`].
    pub(super) label: String,
}

/// What is read: text that is safe between parentheses, or a table.
pub(super) enum Target<'a> {
    Query(&'a str),
    Table(&'a TableName),
}

/// A column of the statement, as far as it is known without looking at rows.
struct Described {
    name: String,
    declared: Option<String>,
    nullable: bool,
}

/// What `pragma_table_xinfo` says about a column of a table.
struct Declaration {
    declared: String,
    nullable: bool,
}

/// Plans the reading of `target`. Reads rows only where a column has no declared type that decides.
pub(super) async fn plan(
    connection: &mut ReadConnection,
    target: Target<'_>,
    wanted: Option<&[String]>,
) -> Result<Plan, Fault> {
    let mut sql = match &target {
        Target::Query(text) => (*text).to_owned(),
        Target::Table(table) => format!("SELECT * FROM {}", table.quoted()),
    };
    let table_name = match &target {
        Target::Query(_) => None,
        Target::Table(table) => Some(table.name.as_str()),
    };
    let mut described = describe(connection, &sql, table_name).await?;
    let mut positions = select(&described, wanted)?;
    if let (Target::Table(table), Some(names)) = (&target, wanted) {
        // The names were found, so that SQLite does not take a quoted one for a literal.
        let list: Vec<String> = names.iter().map(|name| quote_identifier(name)).collect();
        sql = format!("SELECT {} FROM {}", list.join(", "), table.quoted());
        described = describe(connection, &sql, table_name).await?;
        positions = (0..described.len()).collect();
    }
    let mut kinds: HashMap<usize, (ColumnKind, String)> = HashMap::new();
    let mut undecided = Vec::new();
    for position in &positions {
        let declared = described[*position].declared.as_deref().unwrap_or("");
        match ColumnKind::declared(declared) {
            Some(kind) => drop(kinds.insert(*position, (kind, declared.to_owned()))),
            None => undecided.push(*position),
        }
    }
    for (position, seen) in see_classes(connection, &sql, described.len(), &undecided).await? {
        let declared = described[position].declared.clone().filter(|declared| !declared.is_empty());
        kinds.insert(position, (seen.kind(), declared.unwrap_or_else(|| seen.names())));
    }
    build(sql, &described, &positions, kinds)
}

fn build(
    sql: String,
    described: &[Described],
    positions: &[usize],
    mut kinds: HashMap<usize, (ColumnKind, String)>,
) -> Result<Plan, Fault> {
    let mut columns = Vec::new();
    let mut planned = Vec::new();
    for position in positions {
        let Described { name, nullable, .. } = &described[*position];
        let (kind, source_type) = kinds.remove(position).expect("every selected column was decided, once");
        planned.push(PlannedColumn { position: *position, kind, label: label(name, *position) });
        let data_type = kind.data_type();
        columns.push(Column { name: name.clone(), source_type, data_type, nullable: *nullable });
    }
    refuse_unnamed_duplicates(&columns)?;
    let schema = TableSchema::new(columns)?;
    Ok(Plan { sql, columns: planned, schema, width: described.len() })
}

/// The name of a column for messages. SQLite names an expression without alias by its text, which
/// can hold literals: such a column is called by its place.
fn label(name: &str, position: usize) -> String {
    let is_word = name.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | ' '));
    if is_word { format!("column `{name}`") } else { format!("column number {}", position + 1) }
}

/// The schema's own check would put the name into its message, and with it the text of an
/// expression.
fn refuse_unnamed_duplicates(columns: &[Column]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for (position, column) in columns.iter().enumerate() {
        if !seen.insert(column.name.as_str()) && label(&column.name, position).starts_with("column number") {
            let action =
                format!("describe the result: column number {} has the name of another", position + 1);
            return Err(
                Fault::new(FaultKind::Request, action).remedy("Give one of them another name with AS.")
            );
        }
    }
    Ok(())
}

/// The positions of the wanted columns; all of them when none are named.
fn select(described: &[Described], wanted: Option<&[String]>) -> Result<Vec<usize>, Fault> {
    let Some(wanted) = wanted else { return Ok((0..described.len()).collect()) };
    let mut positions = Vec::new();
    for name in wanted {
        let mut found = described.iter().enumerate().filter(|(_, column)| column.name == *name);
        let position = match (found.next(), found.next()) {
            (Some((position, _)), None) => position,
            (None, _) => return Err(not_selectable(name, "there is no column of this name")),
            (Some(_), Some(_)) => return Err(not_selectable(name, "several columns have this name")),
        };
        if positions.contains(&position) {
            return Err(not_selectable(name, "it is named twice"));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn not_selectable(name: &str, why: &'static str) -> Fault {
    Fault::new(FaultKind::Request, format!("select column `{name}` of the result"))
        .because(why)
        .remedy("Correct `columns` of the task: names are matched exactly, each once.")
}

async fn describe(
    connection: &mut ReadConnection,
    sql: &str,
    table: Option<&str>,
) -> Result<Vec<Described>, Fault> {
    let text = AssertSqlSafe(sql.to_owned()).into_sql_str();
    let statement = connection
        .sqlite()
        .prepare(text)
        .await
        .map_err(|error| connection.fault("describe the result in", &error))?;
    if !matches!(statement.parameters(), None | Some(Either::Right(0))) {
        let action = connection.action("describe the result in");
        return Err(Fault::new(FaultKind::Request, action)
            .because("the query has a parameter")
            .remedy("Write the value into the query: a task has no parameters."));
    }
    let mut tables: HashMap<String, HashMap<String, Declaration>> = HashMap::new();
    let mut columns = Vec::new();
    for column in statement.columns() {
        columns.push(describe_column(connection, column, table, &mut tables).await?);
    }
    Ok(columns)
}

async fn describe_column(
    connection: &mut ReadConnection,
    column: &SqliteColumn,
    table: Option<&str>,
    tables: &mut HashMap<String, HashMap<String, Declaration>>,
) -> Result<Described, Fault> {
    let name = column.name().to_owned();
    let ColumnOrigin::Table(origin) = column.origin() else {
        return Ok(Described { name, declared: None, nullable: true });
    };
    if !tables.contains_key(&*origin.table) {
        let declarations = declarations(connection, &origin.table).await?;
        tables.insert(origin.table.to_string(), declarations);
    }
    // SQLite gives the origin's name as it was declared, except for the rowid, which is no column.
    let declaration = tables.get(&*origin.table).and_then(|columns| columns.get(&*origin.name));
    Ok(match declaration {
        Some(Declaration { declared, nullable }) => {
            // In a query, and in a view, an outer join can add NULLs to any column. The columns of a
            // view come from other tables than the one that was named.
            let is_plain = table.is_some_and(|table| table.eq_ignore_ascii_case(&origin.table));
            Described { name, declared: Some(declared.clone()), nullable: *nullable || !is_plain }
        }
        None => Described { name, declared: None, nullable: true },
    })
}

/// The declared columns of a table.
async fn declarations(
    connection: &mut ReadConnection,
    table: &str,
) -> Result<HashMap<String, Declaration>, Fault> {
    const COLUMNS: &str = "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1)";
    const KEY_INDEXES: &str = "SELECT count(*) FROM pragma_index_list(?1) WHERE origin = 'pk'";
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(connection.sqlite()).await;
    let rows = rows.map_err(|error| connection.fault("read the columns of a table in", &error))?;
    let key_indexes = sqlx::query(KEY_INDEXES).bind(table).fetch_one(connection.sqlite()).await;
    let read = |error: sqlx::Error| connection.fault("read the columns of a table in", &error);
    let key_indexes: i64 = key_indexes.and_then(|row| row.try_get(0)).map_err(read)?;
    let mut columns: Vec<(String, String, bool, i64)> = Vec::new();
    for row in rows {
        let column = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        columns.push(column().map_err(read)?);
    }
    let key_columns = columns.iter().filter(|(_, _, _, key)| *key > 0).count();
    let declaration = |(name, declared, not_null, key): (String, String, bool, i64)| {
        // An `INTEGER PRIMARY KEY` without an index of its own is the rowid, which is never NULL.
        // Other primary keys may hold NULL: https://www.sqlite.org/lang_createtable.html
        let is_rowid =
            key > 0 && key_columns == 1 && key_indexes == 0 && declared.eq_ignore_ascii_case("INTEGER");
        (name, Declaration { declared, nullable: !(not_null || is_rowid) })
    };
    Ok(columns.into_iter().map(declaration).collect())
}

/// Runs the query once to see which classes occur in the columns at `positions`.
async fn see_classes(
    connection: &mut ReadConnection,
    sql: &str,
    width: usize,
    positions: &[usize],
) -> Result<Vec<(usize, SeenClasses)>, Fault> {
    /// SQLite allows 2,000 columns in a result; each column here takes five.
    const COLUMNS_AT_ONCE: usize = 300;
    let mut all = Vec::new();
    for chunk in positions.chunks(COLUMNS_AT_ONCE) {
        let row = sqlx::query(AssertSqlSafe(class_query(sql, width, chunk)))
            .persistent(false)
            .fetch_one(connection.sqlite())
            .await
            .map_err(|error| connection.fault("see the types of the result in", &error))?;
        for (index, position) in chunk.iter().enumerate() {
            let seen = |offset: usize| -> Result<bool, Fault> {
                let value: Option<bool> = row
                    .try_get(index * 5 + offset)
                    .map_err(|error| connection.fault("see the types of the result in", &error))?;
                Ok(value.unwrap_or(false))
            };
            let classes = SeenClasses {
                integer: seen(0)?,
                large_integer: seen(1)?,
                real: seen(2)?,
                text: seen(3)?,
                blob: seen(4)?,
            };
            all.push((*position, classes));
        }
    }
    Ok(all)
}

/// An empty SELECT in front gives the columns names that are known and unique, whatever the query
/// calls them.
fn class_query(sql: &str, width: usize, positions: &[usize]) -> String {
    let names: Vec<String> = (0..width).map(|position| format!("NULL AS c{position}")).collect();
    let tests: Vec<String> = positions
        .iter()
        .map(|position| {
            let column = format!("c{position}");
            format!(
                "max(typeof({column}) = 'integer'), \
                 max(typeof({column}) = 'integer' AND {column} NOT BETWEEN -9007199254740992 AND 9007199254740992), \
                 max(typeof({column}) = 'real'), max(typeof({column}) = 'text'), max(typeof({column}) = 'blob')"
            )
        })
        .collect();
    format!(
        "SELECT {} FROM (SELECT {} WHERE 0 UNION ALL SELECT * FROM ({sql}))",
        tests.join(", "),
        names.join(", ")
    )
}
