//! MySQL 5.7 and later, MariaDB 10.5 and later: rows of the binary protocol straight into Arrow.
//!
//! ```text
//! prepare:  connect -> read-only snapshot -> describe -> mapping -> one connection for each slice
//! open:     execute on the slice's connection -> Decoder (index a block, decode column by column)
//! ```
//!
//! Types are known before the first row, from a prepared statement. Rows are sent as the server
//! finds them, and kept nowhere.

mod characters;
mod connection;
mod decode;
mod error;
mod packet;
mod rows;
mod slices;
mod snapshot;
mod sql;
mod stream;
mod texts;
mod tls;
mod types;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod fuzzing_tests;

use std::num::NonZeroUsize;
use std::sync::Mutex;

use async_trait::async_trait;

use self::characters::Doubt;
use self::connection::{Address, Connection};
pub(crate) use self::error::reported;
use self::rows::Decoder;
use self::slices::Table;
use self::sql::Base;
use self::stream::RowStream;
use self::types::{Choices, ColumnDescription, Mapping, Width, Wire, flag};
use crate::config::{MysqlSource, ZeroDates};
use crate::fault::{Fault, FaultKind};
use crate::schema::{Column, TableSchema};
use crate::shutdown::Shutdown;
use crate::source::read_only::{self, SqlDialect};
use crate::source::{BatchLimits, BatchStream, Extraction, Query, Source, TextExport, TextForms};
use crate::task::Read;

/// A MySQL or MariaDB database.
pub struct Mysql {
    address: Address,
}

/// What is read, and the columns that it has.
struct Found {
    base: Base,
    table: Option<Table>,
    columns: Vec<ColumnDescription>,
}

impl Mysql {
    /// A source for a proven configuration. Connects to nothing; reads the files of certificates
    /// and keys.
    pub fn new(config: MysqlSource, shutdown: Shutdown) -> Result<Self, Fault> {
        Ok(Self { address: Address::new(config, shutdown)? })
    }

    /// Proves that the query only reads, and lets the server describe it.
    async fn find(&self, connection: &mut Connection, query: &Query) -> Result<Found, Fault> {
        let (base, table) = match &query.read {
            Read::Query(text) => {
                let query = read_only::check(text, SqlDialect::MySql)?;
                (Base::Query(query.as_str().to_owned()), None)
            }
            Read::Table(text) => {
                let table = slices::find_table(connection, text).await?;
                (Base::Table(table.name.clone()), Some(table))
            }
        };
        let columns = connection.describe(&base.everything()).await?;
        Ok(Found { base, table, columns })
    }

    /// What the columns become.
    fn map(
        &self,
        columns: &[ColumnDescription],
        table: Option<&Table>,
    ) -> Result<(TableSchema, Vec<(Wire, Width)>), Fault> {
        let config = &self.address.config;
        let choices = Choices { time: config.time, tinyint1: config.tinyint1 };
        let mappings: Vec<Mapping> = columns.iter().map(|column| Mapping::of(column, choices)).collect();
        let is_base = table.is_some_and(|table| table.is_base);
        let described = columns.iter().zip(&mappings).map(|(column, mapping)| {
            let is_required = is_base && column.flags & flag::NOT_NULL != 0;
            // A zero date that becomes NULL ends the guarantee.
            let may_become_null =
                matches!(mapping.wire, Wire::Date | Wire::DateTime) && config.zero_dates == ZeroDates::Null;
            Column {
                name: column.name.clone(),
                source_type: column.type_name(),
                data_type: mapping.data_type.clone(),
                nullable: !is_required || may_become_null,
            }
        });
        let schema = TableSchema::new(described.collect())?;
        let wires = columns.iter().zip(&mappings).map(|(column, mapping)| (mapping.wire, column.width()));
        Ok((schema, wires.collect()))
    }
}

#[async_trait]
impl Source for Mysql {
    async fn check(&self) -> Result<(), Fault> {
        let mut connection = self.address.connect().await?;
        connection.run("SELECT 1", "run SELECT 1").await?;
        connection.close().await;
        Ok(())
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let mut first = self.address.session().await?;
        snapshot::begin(&mut first).await?;
        let found = self.find(&mut first, query).await?;
        let table = found.table.as_ref();
        let chosen = sql::choose(&found.columns, query.columns.as_deref())?;
        let chosen = (chosen != found.columns).then_some(chosen);
        let slice_column = query.slice_column.as_deref();
        let wanted = read_only::slices(&query.read, SqlDialect::MySql, wanted);
        let wanted = slices::worthwhile(table, slice_column, wanted);
        let wanted = snapshot::limit(&self.address.config, table, wanted);
        let mut conditions = vec![None];
        let mut connections = vec![first];
        if let Some(divisor) = slices::divisor(&found.columns, table, slice_column, wanted)? {
            conditions = divisor.conditions(&mut connections[0], &found.base, wanted).await?;
        }
        if conditions.len() > 1 {
            match snapshot::share(&self.address, table, conditions.len()).await? {
                Some(shared) => connections = shared,
                None => conditions = vec![None],
            }
        }
        let statements: Vec<String> = conditions
            .iter()
            .map(|condition| found.base.select(chosen.as_deref(), condition.as_deref()))
            .collect();
        // A derived table can have other types than the query in it: what counts is what will run.
        let columns = match statements.first() {
            Some(first) if *first != found.base.everything() => connections[0].describe(first).await?,
            _ => found.columns,
        };
        let (schema, wires) = self.map(&columns, found.table.as_ref())?;
        let of_wires = wires.iter().map(|(wire, _)| *wire);
        let doubtful = characters::convertible(&mut connections[0], &statements[0], of_wires).await?;
        let slices = connections.into_iter().zip(statements).zip(conditions);
        let slices = slices.map(|((connection, sql), condition)| {
            let doubt =
                (!doubtful.is_empty()).then(|| Doubt::new(&doubtful, &columns, &found.base, condition));
            Mutex::new(Some(Slice { connection, sql, doubt }))
        });
        let slices = slices.collect();
        Ok(Box::new(MysqlExtraction {
            slices,
            columns,
            schema,
            wires,
            zero_dates: self.address.config.zero_dates,
            longest_row: self.address.config.longest_row,
        }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let mut connection = self.address.session().await?;
        snapshot::begin(&mut connection).await?;
        let found = self.find(&mut connection, query).await?;
        let chosen = sql::choose(&found.columns, query.columns.as_deref())?;
        // A derived table can have other types than the query in it: what counts is what will run.
        let columns = connection.describe(&found.base.select(Some(&chosen), None)).await?;
        let mut session = self.address.settings(&mut connection).await?;
        session.push("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY".to_owned());
        connection.close().await;
        let (schema, wires) = self.map(&columns, found.table.as_ref())?;
        let texts: Vec<String> = columns
            .iter()
            .zip(wires)
            .map(|(column, (wire, _width))| texts::text_of(&sql::identifier(&column.name), wire))
            .collect();
        let forms = TextForms {
            texts_are_marked: true,
            impossible_dates_are_null: self.address.config.zero_dates == ZeroDates::Null,
            ..TextForms::default()
        };
        let sql = format!("SELECT {} FROM {}", texts.join(", "), found.base.relation());
        Ok(TextExport { sql, session, schema, forms })
    }
}

/// A slice that was not opened yet: its connection is inside the snapshot.
struct Slice {
    connection: Connection,
    sql: String,
    doubt: Option<Doubt>,
}

struct MysqlExtraction {
    schema: TableSchema,
    columns: Vec<ColumnDescription>,
    wires: Vec<(Wire, Width)>,
    slices: Vec<Mutex<Option<Slice>>>,
    zero_dates: ZeroDates,
    longest_row: NonZeroUsize,
}

impl MysqlExtraction {
    /// The rows are decoded as the columns were described; an ALTER TABLE or a view that was
    /// replaced meanwhile must not be read as something else.
    fn check(&self, columns: &[ColumnDescription]) -> Result<(), Fault> {
        let is_same = columns.len() == self.columns.len()
            && columns.iter().zip(&self.columns).all(|(now, then)| {
                (now.type_code, now.is_unsigned, now.character_set, now.decimals)
                    == (then.type_code, then.is_unsigned, then.character_set, then.decimals)
            });
        if is_same {
            return Ok(());
        }
        Err(Fault::new(FaultKind::Transient, "start the extraction")
            .because("the columns of the result are others than were described")
            .remedy("If this comes back, cast the columns of the query to definite types."))
    }
}

#[async_trait]
impl Extraction for MysqlExtraction {
    fn schema(&self) -> &TableSchema {
        &self.schema
    }

    fn slice_count(&self) -> usize {
        self.slices.len()
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let taken = self.slices[slice].lock().expect("nothing panics while it holds this lock").take();
        let Some(Slice { mut connection, sql, doubt }) = taken else {
            return Err(Fault::new(FaultKind::Bug, format!("open slice {slice} a second time")));
        };
        let statement = connection.prepare(&sql).await?;
        let columns = connection.execute(&statement).await?;
        self.check(&columns)?;
        let schema = self.schema.arrow();
        let sequence = connection.sequence;
        let mut decoder =
            Decoder::new(&self.wires, schema, self.zero_dates, limits, sequence, self.longest_row);
        decoder.watch(doubt.iter().flat_map(Doubt::columns));
        Ok(Box::new(RowStream::new(connection, decoder, doubt)))
    }
}
