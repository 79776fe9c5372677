//! The file of the history: connections, format, and what its errors mean.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::fault::{Fault, FaultKind};

/// The newest format that this version reads; the one that it writes.
const FORMAT: i64 = 1;
/// How long a statement waits for another program that has the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// Reads that run at the same time; each connection costs a thread.
const READERS: u32 = 2;
/// How long a read waits for a free connection.
const READER_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the one connection that writes, and brings the file to the format of this version.
///
/// A commit does not wait for the disk: after a loss of power the last lines may be missing, and the
/// file is whole all the same.
pub(super) async fn open_writer(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        // After a burst the log shrinks again.
        .pragma("journal_size_limit", "16777216")
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await?;
    let format: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
    match format {
        FORMAT => Ok(connection),
        0 => {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(connection)
        }
        _newer => {
            close(connection).await;
            Err(sqlx::Error::Configuration("the file has the format of a newer version".into()))
        }
    }
}

/// Closes a connection after which nothing is left to do.
pub(super) async fn close(connection: SqliteConnection) {
    // Only tidying up can fail here.
    drop(connection.close().await);
}

/// Why a history cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The file is damaged, or no database.
    Damaged,
    /// Another program has it at the moment, or a newer version of the agent has written it. The file is good.
    Unavailable,
    /// What was to be written: it will never be taken.
    Entry,
    /// Something else, of the disk for example.
    Other,
}

impl Trouble {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(_) => return Self::Unavailable,
            sqlx::Error::Encode(_) => return Self::Entry,
            _ => {}
        }
        // The extended code of SQLite has the primary one in its lowest byte.
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i64>().ok());
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Self::Unavailable,
            Some(11 | 26) => Self::Damaged,
            Some(18..=20) => Self::Entry,
            _ => Self::Other,
        }
    }
}

/// Opens connections that only read, when they are first needed.
pub(super) fn readers(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// What an error of the file means for whoever asked. The texts of SQLite name tables and columns,
/// never values.
pub(super) fn fault(error: sqlx::Error, action: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because(error)
        .remedy("Check the disk of the data directory: free space, rights, and errors in the system log.")
}
