//! A read-only connection that stops its statement when it is dropped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::error;
use crate::fault::{Fault, FaultKind};

/// Rows that wait between SQLite's thread and ours. More do not make it faster, and each can hold
/// values of any size.
const ROW_BUFFER: usize = 32;
/// Steps of SQLite's virtual machine between two looks at the stop signal: some microseconds.
const STEPS_BETWEEN_CHECKS: i32 = 1_000;

/// Interrupts the running statement when it is dropped.
#[derive(Debug)]
pub(super) struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// An open connection. Dropping it interrupts a running statement and closes the file.
#[derive(Debug)]
pub(super) struct ReadConnection {
    sqlite: SqliteConnection,
    file: String,
    stop: StopOnDrop,
}

impl ReadConnection {
    /// Opens the file, which must exist. Nothing that runs on the connection can write to it.
    pub(super) async fn open(path: &Path, busy_timeout: Duration) -> Result<Self, Fault> {
        let file = path.display().to_string();
        let action = || format!("open the SQLite database `{file}`");
        // An absolute path: SQLite would read one that begins with `file:` as a URI with options.
        let path = std::path::absolute(path)
            .map_err(|error| Fault::new(FaultKind::Request, action()).because(error))?;
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(missing(action(), "it is not a file")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(action(), "there is no such file"));
            }
            Err(error) => return Err(Fault::new(FaultKind::Permission, action()).because(error)),
        }
        if path.to_str().is_none() {
            return Err(missing(action(), "the path is not UTF-8"));
        }
        let mut sqlite = SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true)
            .pragma("query_only", "ON")
            .busy_timeout(busy_timeout)
            .row_buffer_size(ROW_BUFFER)
            // The log must not hold the text of a query.
            .disable_statement_logging()
            .connect()
            .await
            .map_err(|error| error::fault(action(), &error))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = StopOnDrop(Arc::clone(&stopped));
        sqlite
            .lock_handle()
            .await
            .map_err(|error| error::fault(action(), &error))?
            .set_progress_handler(STEPS_BETWEEN_CHECKS, move || !stopped.load(Relaxed));
        Ok(Self { sqlite, file, stop })
    }

    /// Begins a transaction that sees the database as it is now. SQLite fixes the snapshot with the
    /// first read, hence the second statement, which also proves that the file is a database.
    pub(super) async fn fix_snapshot(&mut self) -> Result<(), Fault> {
        for statement in ["BEGIN", "SELECT count(*) FROM sqlite_schema"] {
            let result = sqlx::query(statement).execute(&mut self.sqlite).await;
            result.map_err(|error| self.fault("begin to read", &error))?;
        }
        Ok(())
    }

    /// Closes the file and waits until it is closed.
    pub(super) async fn close(self) -> Result<(), Fault> {
        let action = self.action("close");
        self.sqlite.close().await.map_err(|error| error::fault(action, &error))
    }

    /// sqlx's connection.
    pub(super) fn sqlite(&mut self) -> &mut SqliteConnection {
        &mut self.sqlite
    }

    /// The connection without its stop, which goes to whoever may drop the rows.
    pub(super) fn into_parts(self) -> (SqliteConnection, String, StopOnDrop) {
        (self.sqlite, self.file, self.stop)
    }

    /// `doing` and the file, for messages.
    pub(super) fn action(&self, doing: &str) -> String {
        format!("{doing} the SQLite database `{}`", self.file)
    }

    /// A fault for an error of sqlx.
    pub(super) fn fault(&self, doing: &str, error: &sqlx::Error) -> Fault {
        error::fault(self.action(doing), error)
    }
}

fn missing(action: String, why: &'static str) -> Fault {
    Fault::new(FaultKind::Request, action)
        .because(why)
        .remedy("Correct `path` of the connection: the file of an existing SQLite database.")
}
