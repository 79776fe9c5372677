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
mod consistency;
mod deadline;
mod decode;
mod describe;
mod entra;
mod error;
mod integrated;
#[cfg(feature = "kerberos")]
mod kerberos;
mod protocol;
mod rows;
mod slices;
mod snapshots;
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

use self::address::Address;
use self::connection::{Connection, decoder_of};
use self::consistency::Wish;
use self::deadline::Deadline;
use self::describe::Description;
pub(crate) use self::error::told;
use self::stream::RowStream;
use crate::config::SqlServerSource;
use crate::fault::Fault;
use crate::fault::FaultKind;
use crate::schema::TableSchema;
use crate::shutdown::Shutdown;
use crate::source::read_only::{self, SqlDialect};
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
        self.address.connect(SESSION, "set up the session").await
    }

    /// What is wanted of the slices of a result.
    fn wish(&self, description: &Description, slices: NonZeroUsize) -> Wish {
        let config = &self.address.config;
        Wish {
            consistency: config.consistency,
            slices,
            is_table: description.table.as_ref().is_some_and(|table| table.is_base),
            undoes_snapshots: description.table.is_some() && config.hint_undoes_snapshots(),
        }
    }

    /// What a result is, and the slices that are it together.
    async fn slices(&self, query: &Query, wanted: NonZeroUsize) -> Result<(TableSchema, Slices), Fault> {
        let config = &self.address.config;
        let mut first = self.connect().await?;
        let description = describe::describe(&mut first, query, config).await?;
        let divider = slices::divider(
            &description.all,
            query.slice_column.as_deref(),
            description.table.as_ref().and_then(|table| table.key.as_deref()),
        )?;
        let wanted = read_only::slices(&query.read, SqlDialect::SqlServer, wanted);
        let standing = describe::standing(&mut first).await?;
        let (wanted, under_snapshot) = consistency::plan(standing, self.wish(&description, wanted))?;
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
        let connections = self.begin(first, &description, conditions, under_snapshot).await?;
        let slices = connections.into_iter().map(|(connection, condition)| {
            let sql = description.base.select(&description.all, &description.selected, condition.as_deref());
            Mutex::new(Some(Slice { connection, sql }))
        });
        let slices = slices.collect();
        Ok((description.schema, slices))
    }
}

#[async_trait]
impl Source for SqlServer {
    async fn check(&self) -> Result<(), Fault> {
        self.address.connect("SELECT 1", "run SELECT 1").await?.close();
        Ok(())
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let deadline = Deadline::begin(self.address.config.statement_timeout);
        let (schema, slices) = deadline.hold("prepare the extraction", self.slices(query, wanted)).await?;
        Ok(Box::new(SqlServerExtraction { schema, slices, deadline }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let deadline = Deadline::begin(self.address.config.statement_timeout);
        let described = async {
            let mut connection = self.connect().await?;
            let described = describe::describe(&mut connection, query, &self.address.config).await?;
            let standing = describe::standing(&mut connection).await?;
            connection.close();
            Ok((described, standing))
        };
        let (description, standing) = deadline.hold("describe the query", described).await?;
        // The same picture of the data that one slice of the agent itself has.
        let (_one, under_snapshot) = consistency::plan(standing, self.wish(&description, NonZeroUsize::MIN))?;
        let mut session = vec![SESSION.to_owned()];
        session.extend(under_snapshot.then(|| SNAPSHOT.to_owned()));
        let Description { schema, base, all, selected, .. } = description;
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

type Slices = Vec<Mutex<Option<Slice>>>;

struct SqlServerExtraction {
    schema: TableSchema,
    slices: Slices,
    deadline: Deadline,
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
        let action = "start the extraction";
        let columns = self.deadline.hold(action, connection.start(&sql)).await?;
        let longest_row = connection.address.config.longest_row.get();
        let decoder = decoder_of(&columns, self.schema.arrow(), limits, longest_row, action)?;
        connection.detach()?;
        Ok(Box::new(RowStream::new(connection, decoder, self.deadline)))
    }
}
