//! SQLite files, read through sqlx.
//!
//! A connection is opened read-only, describes the result and reads its rows in one transaction,
//! so both see the same snapshot. Connections of their own cannot share a snapshot in SQLite, so
//! there is always one slice, whatever was asked for.
//!
//! Three threads work on one extraction: SQLite's own (sqlx starts it), a blocking one that decodes
//! rows, and the reader of the batches. Channels of few rows and one batch lie between them.
//! The types are described in `docs/TYPES.md`.

mod column_kind;
mod connection;
mod decimal;
mod decode;
mod describe;
mod error;
mod extraction;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use self::connection::ReadConnection;
use self::describe::Target;
use self::extraction::SqliteExtraction;
use super::read_only::{SqlDialect, check, parse_table_name};
use super::{Extraction, Query, Source};
use crate::config::model::SqliteSource;
use crate::fault::Fault;
use crate::task::Read;

/// How long a statement waits for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// `kind = "sqlite"`: one database file.
#[derive(Clone, Debug)]
pub struct SqliteDatabase {
    path: PathBuf,
    busy_timeout: Duration,
}

impl SqliteDatabase {
    /// The database of a configured connection. The file is not touched yet.
    #[must_use]
    pub fn new(configuration: &SqliteSource) -> Self {
        Self { path: configuration.path.clone(), busy_timeout: BUSY_TIMEOUT }
    }

    async fn begin(&self) -> Result<ReadConnection, Fault> {
        let mut connection = ReadConnection::open(&self.path, self.busy_timeout).await?;
        connection.fix_snapshot().await?;
        Ok(connection)
    }
}

#[async_trait]
impl Source for SqliteDatabase {
    async fn check(&self) -> Result<(), Fault> {
        self.begin().await?.close().await
    }

    async fn prepare(&self, query: &Query, _wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        let wanted = query.columns.as_deref();
        let (connection, plan) = match &query.read {
            Read::Query(text) => {
                let checked = check(text, SqlDialect::Sqlite)?;
                let mut connection = self.begin().await?;
                let plan = describe::plan(&mut connection, Target::Query(checked.as_str()), wanted).await?;
                (connection, plan)
            }
            Read::Table(text) => {
                let table = parse_table_name(text, SqlDialect::Sqlite)?;
                let mut connection = self.begin().await?;
                let plan = describe::plan(&mut connection, Target::Table(&table), wanted).await?;
                (connection, plan)
            }
        };
        Ok(Box::new(SqliteExtraction::new(connection, plan)))
    }
}
