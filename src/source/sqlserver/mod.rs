//! SQL Server 2016 and later, Azure SQL Database and Managed Instance: rows of TDS straight into Arrow.
//!
//! ```text
//! prepare:  connect -> describe -> what is selected -> probe -> one connection for each slice
//! open:     the statement on the slice's connection -> Decoder (index a block, decode column by column)
//! ```
//!
//! Types are known before the first row: the server describes the query, a type that cannot be
//! decoded here is cast to text there, and a probe without rows says how each column arrives.

mod address;
mod browser;
mod connection;
mod decode;
mod describe;
mod entra;
mod error;
mod protocol;
mod rows;
mod slices;
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
use std::time::Duration;

use async_trait::async_trait;

use self::address::Address;
use self::connection::{Connection, decoder_of};
use self::describe::{Description, Standing};
pub(crate) use self::error::told;
use self::stream::RowStream;
use crate::config::{SqlServerConsistency, SqlServerSource};
use crate::fault::Fault;
use crate::fault::FaultKind;
use crate::schema::TableSchema;
use crate::shutdown::Shutdown;
use crate::source::{BatchLimits, BatchStream, Extraction, Query, Source, TextExport, TextForms};

/// Settings of every session: quotes are those of the standard, texts are not cut, rows are
/// counted, and nothing is left of what the server's defaults may say.
const SESSION: &str = "SET QUOTED_IDENTIFIER ON; SET NOCOUNT OFF; SET ROWCOUNT 0; \
                       SET TEXTSIZE 2147483647; SET IMPLICIT_TRANSACTIONS OFF; SET LOCK_TIMEOUT -1;";

/// Every statement after it reads the rows that were committed when it, or its transaction, read first.
pub(crate) const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT;";

/// A database of SQL Server.
pub struct SqlServer {
    address: Address,
}

impl SqlServer {
    /// A source for a proven configuration. Connects to nothing; reads the root certificate.
    pub fn new(config: SqlServerSource, shutdown: Shutdown) -> Result<Self, Fault> {
        Ok(Self { address: Address::new(config, shutdown)? })
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let mut connection = self.address.connect().await?;
        connection.run(SESSION, "set up the session").await?;
        Ok(connection)
    }

    /// A connection inside a snapshot transaction, whose snapshot is taken when it reads first.
    async fn begin_snapshot(connection: &mut Connection) -> Result<(), Fault> {
        let sql = format!("{SNAPSHOT} BEGIN TRANSACTION;");
        connection.run(&sql, "begin a snapshot transaction").await?;
        Ok(())
    }

    /// One connection for each condition, all with the same picture of the data.
    async fn begin(
        &self,
        mut first: Connection,
        description: &Description,
        conditions: usize,
        under_snapshot: bool,
    ) -> Result<Vec<Connection>, Fault> {
        if !under_snapshot {
            return Ok(vec![first]);
        }
        if conditions == 1 {
            Self::begin_snapshot(&mut first).await?;
            return Ok(vec![first]);
        }
        let mut connections = vec![first];
        let others = (1..conditions).map(|_slice| self.connect());
        connections.extend(futures::future::try_join_all(others).await?);
        let all: Vec<_> = connections.iter_mut().map(Self::begin_snapshot).collect();
        futures::future::try_join_all(all).await?;
        // Nobody changes the table between the first and the last snapshot.
        let still = match description.lock() {
            Some(sql) => {
                let mut holder = self.connect().await?;
                holder.run(&sql, "hold the table still while snapshots are taken").await?;
                Some(holder)
            }
            None => None,
        };
        let touch = description.touch();
        let all: Vec<_> =
            connections.iter_mut().map(|connection| connection.run(&touch, "take a snapshot")).collect();
        futures::future::try_join_all(all).await?;
        if let Some(mut holder) = still {
            holder.run("COMMIT TRANSACTION", "let the table go").await?;
            holder.close();
        }
        Ok(connections)
    }

    /// How many slices may be read at the same time, and whether under snapshots.
    fn plan(
        &self,
        standing: Standing,
        is_table: bool,
        wanted: NonZeroUsize,
    ) -> Result<(NonZeroUsize, bool), Fault> {
        const ONE: NonZeroUsize = NonZeroUsize::MIN;
        let allowed = standing.snapshots_allowed;
        Ok(match self.address.config.consistency {
            SqlServerConsistency::Serial => (ONE, false),
            SqlServerConsistency::Snapshot if !allowed => {
                return Err(Fault::new(FaultKind::Request, "begin a snapshot transaction")
                    .because("the database does not allow snapshot isolation")
                    .remedy("Run ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON, or set consistency = \"serial\" on the connection."));
            }
            SqlServerConsistency::Snapshot => (wanted, true),
            SqlServerConsistency::Exact if !allowed => {
                if wanted > ONE {
                    tracing::info!("one slice: the database does not allow snapshot isolation");
                }
                (ONE, false)
            }
            SqlServerConsistency::Exact if wanted > ONE && !(is_table && standing.can_be_locked) => {
                tracing::info!(
                    "one slice: only a table of a writable database can be held still while several \
                     snapshots are taken; consistency = \"snapshot\" takes them without"
                );
                (ONE, true)
            }
            SqlServerConsistency::Exact => (wanted, true),
        })
    }
}

#[async_trait]
impl Source for SqlServer {
    async fn check(&self) -> Result<(), Fault> {
        let mut connection = self.address.connect().await?;
        connection.run("SELECT 1", "run SELECT 1").await?;
        connection.close();
        Ok(())
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let config = &self.address.config;
        let mut first = self.connect().await?;
        let description = describe::describe(&mut first, query, config).await?;
        let divider = slices::divider(
            &description.all,
            query.slice_column.as_deref(),
            description.table.as_ref().and_then(|table| table.key.as_deref()),
        )?;
        let standing = describe::standing(&mut first).await?;
        let is_table = description.table.as_ref().is_some_and(|table| table.is_base);
        let (wanted, under_snapshot) = self.plan(standing, is_table, wanted)?;
        let conditions = match divider {
            Some(divider) if wanted.get() > 1 => {
                slices::conditions(&mut first, &description.base, &description.all, &divider, wanted).await?
            }
            Some(_) => vec![None],
            None => {
                if wanted.get() > 1 {
                    tracing::info!(
                        "one slice: rows can be divided by the clustered or primary key of a table, or by a `slice_column`"
                    );
                }
                vec![None]
            }
        };
        let connections = self.begin(first, &description, conditions.len(), under_snapshot).await?;
        let slices = connections.into_iter().zip(&conditions).map(|(connection, condition)| {
            let sql = description.base.select(&description.all, &description.selected, condition.as_deref());
            Mutex::new(Some(Slice { connection, sql }))
        });
        let slices = slices.collect();
        Ok(Box::new(SqlServerExtraction {
            slices,
            schema: description.schema,
            limit: config.statement_timeout,
        }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let mut connection = self.connect().await?;
        let Description { schema, base, all, selected, .. } =
            describe::describe(&mut connection, query, &self.address.config).await?;
        let standing = describe::standing(&mut connection).await?;
        connection.close();
        // The same picture of the data that one slice of the agent itself has.
        let (_one, under_snapshot) = self.plan(standing, false, NonZeroUsize::MIN)?;
        let mut session = vec![SESSION.to_owned()];
        session.extend(under_snapshot.then(|| SNAPSHOT.to_owned()));
        let texts: Result<Vec<String>, Fault> =
            selected.iter().map(|selected| texts::text_of(&base, &all, selected)).collect();
        let sql = base.statement_of_texts(&all, &texts?);
        Ok(TextExport { sql, session, schema, forms: TextForms::default() })
    }
}

/// A slice that was not opened yet.
struct Slice {
    connection: Connection,
    sql: String,
}

struct SqlServerExtraction {
    schema: TableSchema,
    slices: Vec<Mutex<Option<Slice>>>,
    limit: Option<Duration>,
}

#[async_trait]
impl Extraction for SqlServerExtraction {
    fn schema(&self) -> &TableSchema {
        &self.schema
    }

    fn slice_count(&self) -> usize {
        self.slices.len()
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let taken = self.slices[slice].lock().expect("nothing panics while it holds this lock").take();
        let Some(Slice { mut connection, sql }) = taken else {
            return Err(Fault::new(FaultKind::Bug, format!("open slice {slice} a second time")));
        };
        let columns = connection.start(&sql).await?;
        let decoder = decoder_of(&columns, self.schema.arrow(), limits, "start the extraction")?;
        connection.detach()?;
        Ok(Box::new(RowStream::new(connection, decoder, self.limit)))
    }
}
