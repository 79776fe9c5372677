//! The database of the queue: connections, format versions, and what its errors mean.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::fault::{Fault, FaultKind};

/// What leads to each format from the one before it, the first from an empty file. This version writes
/// the last of them, and brings older files to it.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("format_2.sql")];
/// How long one statement waits for another program that writes to the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// Reads that run at the same time; each connection costs a thread.
const READERS: u32 = 2;
/// How long a read waits for a free connection.
const READER_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the one connection that writes. A commit has reached the disk when it returns.
pub(super) async fn connect_writer(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        // Holds for new files; that of an older one stays, until somebody runs VACUUM.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // On macOS a plain fsync leaves the data in the cache of the drive.
        .pragma("fullfsync", "ON")
        // After a burst the log shrinks again.
        .pragma("journal_size_limit", "67108864")
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await
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
        // A file does not go away like a server; the check would cost a thread switch per read.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Brings the file to the format of this version.
pub(super) async fn migrate(connection: &mut SqliteConnection, file: &Path) -> Result<(), Fault> {
    let action = || format!("prepare the queue file `{}`", file.display());
    let failed = |error| fault(error, action());
    let format: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    let Some(missing) = usize::try_from(format).ok().and_then(|format| STEPS.get(format..)) else {
        return Err(Fault::new(
            FaultKind::Request,
            format!(
                "open the queue file `{}`, which has format {format} of a newer version of the agent \
                 (this one reads formats up to {})",
                file.display(),
                STEPS.len()
            ),
        )
        .remedy("Start that newer version, or give this one a `data_directory` of its own."));
    };
    if missing.is_empty() {
        return Ok(());
    }
    // All or nothing: a file is of one format or of the other.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    for step in missing {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

/// True when another program held the file for too long, and nothing has happened.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(5 | 6))
}

/// The primary result code of SQLite.
fn result_code(error: &sqlx::Error) -> Option<i64> {
    let extended: i64 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// What an error of the database means for whoever asked. The texts of SQLite name tables and
/// columns of the queue, never values.
pub(super) fn fault(error: sqlx::Error, action: impl Into<Cow<'static, str>>) -> Fault {
    let (kind, remedy) = classify(&error);
    describe(kind, remedy, error, action)
}

/// The same fault for one of several requests that failed together.
pub(super) fn shared_fault(
    error: &std::sync::Arc<sqlx::Error>,
    action: impl Into<Cow<'static, str>>,
) -> Fault {
    let (kind, remedy) = classify(error);
    describe(kind, remedy, std::sync::Arc::clone(error), action)
}

fn describe(
    kind: FaultKind,
    remedy: Option<&'static str>,
    error: impl Error + Send + Sync + 'static,
    action: impl Into<Cow<'static, str>>,
) -> Fault {
    let fault = Fault::new(kind, action).because(error);
    match remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}

fn classify(error: &sqlx::Error) -> (FaultKind, Option<&'static str>) {
    if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) {
        return (FaultKind::Transient, None);
    }
    match result_code(error) {
        // BUSY, LOCKED
        Some(5 | 6) => {
            (FaultKind::Transient, Some("End the program that holds the queue file open for writing."))
        }
        // IOERR, FULL
        Some(10 | 13) => (
            FaultKind::Transient,
            Some("Check the disk of the data directory: free space, quota and errors in the system log."),
        ),
        // PERM, READONLY, CANTOPEN
        Some(3 | 8 | 14) => (
            FaultKind::Permission,
            Some("Give this user the right to write the data directory and the files in it."),
        ),
        // CORRUPT, NOTADB
        Some(11 | 26) => (
            FaultKind::Data,
            Some("The queue file is damaged: move it away, or put back a copy of it, then start the agent."),
        ),
        _ => (FaultKind::Bug, None),
    }
}
