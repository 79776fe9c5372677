//! What is known of a result before its rows.

use super::connection::{Answer, Connection};
use super::sql::{self, Base, Described, Selected, identifier, literal};
use super::types::{self, TypeOptions};
use crate::config::SqlServerSource;
use crate::fault::{Fault, FaultKind};
use crate::schema::{Column, TableSchema};
use crate::source::Query;
use crate::source::read_only::{self, SqlDialect};
use crate::task::Read;

/// How long a lock is waited for while others wait for us, in milliseconds.
const LOCK_TIMEOUT: u32 = 2000;

/// A table or view that a task names.
pub(super) struct Table {
    /// In brackets, with its schema when the task gave one.
    name: String,
    /// A table of this database, not a view or a synonym.
    pub(super) is_base: bool,
    /// First column of the clustered index, or else of the primary key.
    pub(super) key: Option<String>,
}

/// Everything that is known of a result before its rows.
pub(super) struct Description {
    pub(super) schema: TableSchema,
    pub(super) base: Base,
    pub(super) table: Option<Table>,
    /// The columns of `base`.
    pub(super) all: Vec<Described>,
    /// The columns of the result.
    pub(super) selected: Vec<Selected>,
}

impl Description {
    /// Keeps writers away from the table until the transaction ends; `None` for what cannot be
    /// locked.
    pub(super) fn lock(&self) -> Option<String> {
        let table = self.table.as_ref().filter(|table| table.is_base)?;
        Some(format!(
            "SET LOCK_TIMEOUT {LOCK_TIMEOUT}; BEGIN TRANSACTION; SELECT TOP (1) 1 FROM {} WITH (TABLOCK, HOLDLOCK);",
            table.name
        ))
    }

    /// Reads as little as there is, which is what takes a snapshot.
    pub(super) fn touch(&self) -> String {
        // Any table will do for a query: a snapshot is that of the whole database.
        let table = self.table.as_ref().map_or("sys.objects", |table| &table.name);
        format!("SET LOCK_TIMEOUT {LOCK_TIMEOUT}; SELECT TOP (1) 1 FROM {table}; SET LOCK_TIMEOUT -1;")
    }
}

/// What the database lets a reader do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) snapshots_allowed: bool,
    /// A statement reads one moment without being asked to (READ_COMMITTED_SNAPSHOT).
    pub(super) reads_committed_snapshots: bool,
    /// There are writers, and locks keep them away. A readable secondary shows snapshots anyway, and
    /// locks there keep nobody away.
    pub(super) can_be_written: bool,
}

/// Asks what the database lets a reader do.
pub(super) async fn standing(connection: &mut Connection) -> Result<Standing, Fault> {
    let answer = connection
        .run(
            "SELECT CONVERT(int, snapshot_isolation_state), \
             CONVERT(varchar(20), DATABASEPROPERTYEX(DB_NAME(), 'Updateability')), \
             CONVERT(int, is_read_committed_snapshot_on) \
             FROM sys.databases WHERE name = DB_NAME()",
            "ask whether the database allows snapshot isolation",
        )
        .await?;
    let row = answer.rows.first().map(Vec::as_slice).unwrap_or_default();
    let value = |index: usize| row.get(index).and_then(Option::as_deref).unwrap_or_default();
    Ok(Standing {
        snapshots_allowed: value(0) == "1",
        can_be_written: value(1) == "READ_WRITE",
        reads_committed_snapshots: value(2) == "1",
    })
}

/// Describes what `query` reads.
pub(super) async fn describe(
    connection: &mut Connection,
    query: &Query,
    config: &SqlServerSource,
) -> Result<Description, Fault> {
    let (base, table) = match &query.read {
        Read::Query(text) => (Base::Query(read_only::check(text, SqlDialect::SqlServer)?), None),
        Read::Table(text) => {
            let table = find_table(connection, text).await?;
            let base = Base::Table { name: table.name.clone(), hint: config.table_hint.clone() };
            (base, Some(table))
        }
    };
    let all = columns_of(connection, &base.whole()).await?;
    let selected = sql::choose(&all, query.columns.as_deref(), |column| {
        types::select(&column.type_name, column.is_clr, config.spatial)
    })?;
    let probe = connection.run(&base.probe(&all, &selected), "describe the query").await?;
    if probe.columns.len() != selected.len() {
        return Err(Fault::new(FaultKind::Transient, "describe the query")
            .because("the query has another number of columns than it was described with"));
    }
    let options = TypeOptions {
        offset: config.datetimeoffset,
        seventh_digit: config.seventh_digit,
        spatial: config.spatial,
    };
    let columns = selected.iter().zip(&probe.columns).map(|(selected, wire)| {
        let described = &all[selected.position];
        Column {
            name: selected.name.clone(),
            source_type: described.type_name.clone(),
            data_type: types::data_type(wire.type_info, options),
            // Known for tables only: what a query guarantees, nobody has promised to be right about.
            nullable: described.nullable || !table.as_ref().is_some_and(|table| table.is_base),
        }
    });
    let schema = TableSchema::new(columns.collect())?;
    Ok(Description { schema, base, table, all, selected })
}

/// The columns of a statement, without running it.
async fn columns_of(connection: &mut Connection, sql: &str) -> Result<Vec<Described>, Fault> {
    let action = "describe the query";
    let text = literal(sql);
    let describe =
        format!("DECLARE @query nvarchar(max) = {text}; EXEC sp_describe_first_result_set @query;");
    let answer = connection.run(&describe, action).await?;
    let described = read_description(&answer);
    if !described.is_empty() {
        return Ok(described);
    }
    // Not every server that speaks TDS describes every query. Preparing one gives its columns too,
    // but neither names of CLR types nor what can be NULL.
    let prepare = format!(
        "DECLARE @query nvarchar(max) = {text}; DECLARE @handle int; \
         EXEC sp_prepare @handle OUTPUT, NULL, @query, 1; EXEC sp_unprepare @handle;"
    );
    let answer = connection.run(&prepare, action).await?;
    let columns = answer.columns.into_iter().map(|column| Described {
        type_name: types::name_of(column.type_info),
        name: column.name,
        is_clr: false,
        nullable: true,
    });
    Ok(columns.collect())
}

/// Reads the answer of `sp_describe_first_result_set`, whose columns are found by their names.
fn read_description(answer: &Answer) -> Vec<Described> {
    let place = |name: &str| answer.columns.iter().position(|column| column.name == name);
    let described = answer.rows.iter().filter_map(|row| {
        let value = |name: &str| place(name).and_then(|place| row.get(place)?.as_deref());
        let truth = |name: &str| value(name).is_some_and(|value| value == "true" || value == "1");
        if truth("is_hidden") {
            return None;
        }
        let type_name = value("system_type_name").or(value("user_type_name")).unwrap_or_default();
        Some(Described {
            name: value("name").unwrap_or_default().to_owned(),
            type_name: type_name.to_owned(),
            is_clr: value("assembly_qualified_type_name").is_some(),
            nullable: truth("is_nullable"),
        })
    });
    described.collect()
}

/// Looks a table up in the catalog.
async fn find_table(connection: &mut Connection, text: &str) -> Result<Table, Fault> {
    let parsed = read_only::parse_table_name(text, SqlDialect::SqlServer)?;
    let name = match &parsed.schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&parsed.name)),
        None => identifier(&parsed.name),
    };
    let object = format!("OBJECT_ID({})", literal(&name));
    let action = "look up the table";
    let answer =
        connection.run(&format!("SELECT type FROM sys.objects WHERE object_id = {object}"), action).await?;
    let kind = answer.rows.first().and_then(|row| row.first().cloned().flatten());
    let Some(kind) = kind.filter(|kind| matches!(kind.trim(), "U" | "V" | "SN" | "S" | "ET")) else {
        return Err(Fault::new(FaultKind::Request, format!("look up table {name}: there is none"))
            .remedy("Check the name and the schema, and that the connection's user may see it."));
    };
    let keys = connection
        .run(
            &format!(
                "SELECT c.name FROM sys.indexes AS i \
                 JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id \
                 JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id \
                 WHERE i.object_id = {object} AND k.key_ordinal = 1 AND (i.type = 1 OR i.is_primary_key = 1) \
                 ORDER BY CASE WHEN i.type = 1 THEN 0 ELSE 1 END"
            ),
            "look up the table's keys",
        )
        .await?;
    let key = keys.rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    Ok(Table { name, is_base: kind.trim() == "U", key })
}
