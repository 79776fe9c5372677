//! PostgreSQL, versions 11 to 18: `COPY (...) TO STDOUT (FORMAT binary)` straight into Arrow.
//!
//! ```text
//! prepare:  connect -> read-only snapshot -> describe -> mapping -> one connection for each slice
//! open:     COPY on the slice's connection -> Decoder (index a block, decode column by column)
//! ```
//!
//! Types are known before the first row, from a described statement. A type that has no Arrow
//! counterpart is cast to text on the server, so no column type fails.

mod connection;
mod copy;
mod decode;
mod error;
mod slices;
mod sql;
mod stream;
mod tls;
mod types;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod fuzzing_tests;

use std::num::NonZeroUsize;
use std::sync::Mutex;

use async_trait::async_trait;

use self::connection::{Address, ColumnDescription, Connection};
use self::copy::Decoder;
use self::error::Stage;
pub(crate) use self::error::reported;
use self::sql::Selected;
use self::stream::{Anchor, CopyStream};
use self::types::{Mapping, TypeFacts, Wire};
use crate::config::{PostgresSource, SpecialValues};
use crate::fault::{Fault, FaultKind};
use crate::schema::{Column, TableSchema};
use crate::shutdown::Shutdown;
use crate::source::read_only::{self, SqlDialect};
use crate::source::{BatchLimits, BatchStream, Extraction, Query, Source, TextExport, TextForms};
use crate::task::Read;

/// A PostgreSQL database.
pub struct Postgres {
    address: Address,
}

impl Postgres {
    /// A source for a proven configuration. Connects to nothing; reads the root certificate.
    pub fn new(config: PostgresSource, shutdown: Shutdown) -> Result<Self, Fault> {
        Ok(Self { address: Address::new(config, shutdown)? })
    }

    /// A connection inside a read-only transaction with one snapshot, set up so that texts have
    /// one form everywhere.
    async fn begin(&self) -> Result<Connection, Fault> {
        let mut connection = self.address.connect().await?;
        // Bytes as they are: asked for UTF-8, the server would refuse a text that is not, without
        // a word about its column.
        let encoding = match connection.encoding_unknown {
            true => "SET LOCAL client_encoding = 'SQL_ASCII';",
            false => "",
        };
        let session = format!("{}{encoding}", self.session());
        connection.batch(&session, "begin a read-only transaction").await?;
        Ok(connection)
    }

    /// Begins a read-only transaction in which texts have one form everywhere.
    fn session(&self) -> String {
        let timeout = self.address.config.statement_timeout.map_or_else(String::new, |limit| {
            format!("SET LOCAL statement_timeout = {};", limit.as_millis().min(i32::MAX as u128))
        });
        format!(
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;\
             SET LOCAL standard_conforming_strings = on;\
             SET LOCAL datestyle = 'ISO, MDY';\
             SET LOCAL intervalstyle = 'iso_8601';\
             SET LOCAL timezone = 'UTC';\
             SET LOCAL bytea_output = 'hex';\
             SET LOCAL extra_float_digits = 3;\
             SET LOCAL idle_in_transaction_session_timeout = 0;\
             {timeout}"
        )
    }

    /// Where unqualified names are looked up in this transaction. After the snapshot is joined,
    /// because a query takes one.
    async fn set_search_path(&self, connection: &mut Connection) -> Result<(), Fault> {
        let Some(path) = &self.address.config.search_path else { return Ok(()) };
        let sql = "SELECT pg_catalog.set_config('search_path', $1, true)";
        connection.query(Stage::Own, sql, &[path.as_str()], "set the configured search_path").await?;
        Ok(())
    }

    /// Everything that is known of the result before its rows.
    async fn describe(&self, connection: &mut Connection, query: &Query) -> Result<Described, Fault> {
        let base = match &query.read {
            Read::Query(text) => {
                let query = read_only::check(text, SqlDialect::PostgreSql)?;
                Base { sql: query.as_str().to_owned(), table: None }
            }
            Read::Table(text) => {
                let table = slices::find_table(connection, text).await?;
                Base { sql: format!("SELECT * FROM {}", table.name), table: Some(table) }
            }
        };
        let all = connection.describe(&base.sql).await?;
        let chosen = sql::choose(&all, query.columns.as_deref())?;
        let facts = type_facts(connection, &chosen).await?;
        let mut columns = Vec::with_capacity(chosen.len());
        let mut selected = Vec::with_capacity(chosen.len());
        let mut wires = Vec::with_capacity(chosen.len());
        for (column, (facts, source_type)) in chosen.iter().zip(facts) {
            let mapping = Mapping::of(facts, self.address.config.numeric);
            let required = base.table.as_ref().is_some_and(|table| table.required.contains(&column.name));
            // A special value that becomes NULL, or a cast that may, ends the guarantee.
            let nullable = !required || self.address.config.special_values == SpecialValues::Null;
            columns.push(Column {
                name: column.name.clone(),
                source_type,
                data_type: mapping.data_type,
                nullable,
            });
            selected.push(Selected { name: column.name.clone(), select: mapping.select });
            wires.push(mapping.wire);
        }
        let schema = TableSchema::new(columns)?;
        Ok(Described { schema, wires, base: base.sql, table: base.table, all, selected })
    }
}

/// What is read before columns are chosen and cast.
struct Base {
    sql: String,
    table: Option<slices::Table>,
}

/// What is known of a result before its rows.
struct Described {
    schema: TableSchema,
    wires: Vec<Wire>,
    base: String,
    table: Option<slices::Table>,
    /// The columns of `base`.
    all: Vec<ColumnDescription>,
    /// The columns of the result.
    selected: Vec<Selected>,
}

impl Described {
    /// The statement that copies the rows of a range.
    fn copy(&self, range: &slices::Range) -> String {
        format!("COPY ({}) TO STDOUT (FORMAT binary)", self.select(range.restrict(&self.base)))
    }

    /// The columns of the result out of `base`.
    fn select(&self, base: String) -> String {
        let as_is = self.selected.len() == self.all.len()
            && self.selected.iter().zip(&self.all).all(|(selected, all)| selected.is(all));
        if as_is { base } else { sql::wrap(&base, &self.all, &self.selected) }
    }
}

/// Catalog facts and the printed type of each column.
async fn type_facts(
    connection: &mut Connection,
    columns: &[ColumnDescription],
) -> Result<Vec<(TypeFacts, String)>, Fault> {
    let action = "look up the types of the columns";
    let list =
        |numbers: &mut dyn Iterator<Item = String>| format!("{{{}}}", numbers.collect::<Vec<_>>().join(","));
    let oids = list(&mut columns.iter().map(|column| column.type_oid.to_string()));
    let modifiers = list(&mut columns.iter().map(|column| column.type_modifier.to_string()));
    let rows = connection
        .query(
            Stage::Own,
            "SELECT format_type(t.oid, c.modifier), t.typtype::text, t.typcategory::text \
             FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS c(oid, modifier, position) \
             JOIN pg_catalog.pg_type AS t ON t.oid = c.oid ORDER BY c.position",
            &[&oids, &modifiers],
            action,
        )
        .await?;
    if rows.len() != columns.len() {
        return Err(Fault::new(FaultKind::Transient, action).because("a type was dropped meanwhile"));
    }
    let facts = columns.iter().zip(rows).map(|(column, row)| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut text = || row.next().unwrap_or_default();
        let (source_type, kind, category) = (text(), text(), text());
        let letter = |text: String| text.chars().next().unwrap_or(' ');
        let facts = TypeFacts {
            oid: column.type_oid,
            modifier: column.type_modifier,
            kind: letter(kind),
            category: letter(category),
        };
        (facts, source_type)
    });
    Ok(facts.collect())
}

#[async_trait]
impl Source for Postgres {
    async fn check(&self) -> Result<(), Fault> {
        let mut connection = self.address.connect().await?;
        connection.query(Stage::Own, "SELECT 1", &[], "run SELECT 1").await?;
        connection.close().await;
        Ok(())
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let mut first = self.begin().await?;
        self.set_search_path(&mut first).await?;
        let described = self.describe(&mut first, query).await?;
        let wanted = read_only::slices(&query.read, SqlDialect::PostgreSql, wanted);
        let ranges = slices::ranges(
            &mut first,
            &described.base,
            &described.all,
            described.table.as_ref(),
            query.slice_column.as_deref(),
            wanted,
        )
        .await?;
        let mut connections = vec![first];
        if ranges.len() > 1 {
            let snapshot = slices::export_snapshot(&mut connections[0]).await?;
            // Every slice joins the snapshot before the first one reads, because the snapshot
            // can be joined only while the transaction that exported it runs.
            let joins = ranges.iter().skip(1).map(|_range| async {
                let mut connection = self.begin().await?;
                slices::join_snapshot(&mut connection, &snapshot).await?;
                self.set_search_path(&mut connection).await?;
                Ok::<_, Fault>(connection)
            });
            connections.extend(futures::future::try_join_all(joins).await?);
        }
        let anchor = (ranges.len() > 1).then(Anchor::default);
        let slices = connections.into_iter().zip(&ranges).map(|(connection, range)| {
            let (copy, anchor) = (described.copy(range), anchor.clone());
            Mutex::new(Some(Slice { connection, copy, anchor }))
        });
        Ok(Box::new(PostgresExtraction {
            slices: slices.collect(),
            schema: described.schema,
            wires: described.wires,
            special: self.address.config.special_values,
        }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let mut connection = self.begin().await?;
        self.set_search_path(&mut connection).await?;
        let described = self.describe(&mut connection, query).await?;
        connection.close().await;
        let sql = described.select(described.base.clone());
        let special_values_are_null = self.address.config.special_values == SpecialValues::Null;
        let forms = TextForms { special_values_are_null, ..TextForms::default() };
        let mut session = vec![self.session(), "SET LOCAL client_encoding = 'UTF8'".to_owned()];
        session.extend(self.address.config.search_path.as_deref().map(|path| {
            format!("SELECT pg_catalog.set_config('search_path', {}, true)", sql::literal(path))
        }));
        Ok(TextExport { sql, session, schema: described.schema, forms })
    }
}

/// A slice that was not opened yet: its connection is inside the snapshot.
struct Slice {
    connection: Connection,
    copy: String,
    /// Shared by all slices, when there are several.
    anchor: Option<Anchor>,
}

struct PostgresExtraction {
    schema: TableSchema,
    wires: Vec<Wire>,
    slices: Vec<Mutex<Option<Slice>>>,
    special: SpecialValues,
}

#[async_trait]
impl Extraction for PostgresExtraction {
    fn schema(&self) -> &TableSchema {
        &self.schema
    }

    fn slice_count(&self) -> usize {
        self.slices.len()
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let taken = self.slices[slice].lock().expect("nothing panics while it holds this lock").take();
        let Some(Slice { mut connection, copy, anchor }) = taken else {
            return Err(Fault::new(FaultKind::Bug, format!("open slice {slice} a second time")));
        };
        connection.start_copy(&copy).await?;
        let decoder = Decoder::new(&self.wires, self.schema.arrow(), self.special, limits);
        // The first slice is read in the transaction that exported the snapshot.
        Ok(Box::new(CopyStream::new(connection, decoder, anchor, slice == 0)))
    }
}
