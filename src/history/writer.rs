//! The one task that writes the history, and clears it out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, query};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::database;
use super::record::{RunRecord, RunState};
use crate::config::HistorySettings;
use crate::telemetry::AttemptLine;

/// Entries of one transaction at most.
const BATCH: usize = 1_024;
/// How long the first entry of a transaction waits for others.
const GATHER: Duration = Duration::from_millis(200);
/// How often the history is cleared out.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How long clearing out rests between two steps, so that what waits is written first.
const PRUNE_REST: Duration = Duration::from_millis(50);
/// Rows that one step clears out of each table at most.
const PRUNE_STEP: i64 = 2_000;
/// How often a history that cannot be written is warned about.
const WARN_EVERY: Duration = Duration::from_secs(300);

/// What is to be written.
#[derive(Debug)]
pub(super) enum Entry {
    /// An attempt begins, or ends: the whole record, the later one wins.
    Run(Box<RunRecord>),
    /// A line of the run of this number.
    Line(i64, Box<AttemptLine>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: PathBuf,
    /// `None` after a failure: the next transaction opens a new connection.
    pub(super) connection: Option<SqliteConnection>,
    pub(super) entries: mpsc::Receiver<Entry>,
    pub(super) closing: CancellationToken,
    pub(super) settings: watch::Receiver<HistorySettings>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) warned: Option<Instant>,
}

impl Writer {
    /// Writes until the history is closed.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        let mut next_prune = Instant::now();
        loop {
            let closing = self.closing.is_cancelled();
            if closing {
                // Nothing is taken in any more, but what waits is still written.
                self.entries.close();
            }
            tokio::select! {
                received = self.entries.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep_until(next_prune), if !closing => {
                    let has_more = self.prune().await;
                    next_prune = Instant::now() + if has_more { PRUNE_REST } else { PRUNE_EVERY };
                    continue;
                }
                () = self.closing.cancelled(), if !closing => continue,
            }
            self.gather(&mut batch).await;
            self.write(&mut batch).await;
        }
        if let Some(connection) = self.connection.take() {
            // Only tidying up can fail here.
            drop(connection.close().await);
        }
    }

    /// Waits a moment for more, unless somebody waits for this.
    async fn gather(&mut self, batch: &mut Vec<Entry>) {
        let deadline = Instant::now() + GATHER;
        let is_urgent = |batch: &Vec<Entry>| batch.iter().any(|entry| matches!(entry, Entry::Flush(_)));
        while batch.len() < BATCH && !is_urgent(batch) && !self.closing.is_cancelled() {
            let room = BATCH - batch.len();
            match tokio::time::timeout_at(deadline, self.entries.recv_many(batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    async fn write(&mut self, batch: &mut Vec<Entry>) {
        let kept = batch.iter().filter(|entry| !matches!(entry, Entry::Flush(_))).count();
        if kept > 0
            && let Err(error) = self.transaction(batch).await
        {
            self.connection = None;
            self.dropped.fetch_add(kept as u64, Ordering::Relaxed);
            self.warn(&error, "runs and log lines could not be kept; the work goes on without them");
        }
        for entry in batch.drain(..) {
            if let Entry::Flush(done) = entry {
                // Nobody waits any more: all right.
                done.send(()).ok();
            }
        }
    }

    fn warn(&mut self, error: &sqlx::Error, message: &str) {
        if self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(file = %self.file.display(), %error, "{message}");
    }

    async fn connected(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(database::open_writer(&self.file).await?)),
        }
    }

    async fn transaction(&mut self, batch: &[Entry]) -> Result<(), sqlx::Error> {
        let mut transaction = self.connected().await?.begin_with("BEGIN IMMEDIATE").await?;
        let mut lines = Vec::new();
        for entry in batch {
            match entry {
                Entry::Run(run) => write_run(&mut transaction, run).await?,
                Entry::Line(run, line) => lines.push((
                    run,
                    line.time.as_millisecond(),
                    line.level,
                    &line.target,
                    &line.message,
                    &line.fields,
                )),
                Entry::Flush(_) => {}
            }
        }
        if !lines.is_empty() {
            let lines =
                serde_json::to_string(&lines).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
            query(
                "INSERT INTO line (run, time, level, target, message, fields) SELECT value ->> 0, \
                 value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?1)",
            )
            .bind(lines)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    /// Clears out a step of what is too old or too much. True when there is more.
    async fn prune(&mut self) -> bool {
        let settings = *self.settings.borrow();
        match self.prune_step(settings).await {
            Ok(count) => count >= PRUNE_STEP.unsigned_abs(),
            Err(error) => {
                self.connection = None;
                self.warn(&error, "the history could not be cleared out");
                false
            }
        }
    }

    /// The rows that went, of the table that lost most.
    async fn prune_step(&mut self, settings: HistorySettings) -> Result<u64, sqlx::Error> {
        let keep = i64::try_from(settings.keep.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::now().as_millisecond().saturating_sub(keep);
        let mut transaction = self.connected().await?.begin_with("BEGIN IMMEDIATE").await?;
        // Lines lie in order of their time, nearly: whatever is too old is at the beginning.
        let lines = query(
            "DELETE FROM line WHERE sequence IN (SELECT sequence FROM line ORDER BY sequence LIMIT ?1) AND \
             (time < ?2 OR sequence <= (SELECT max(sequence) FROM line) - ?3)",
        )
        .bind(PRUNE_STEP)
        .bind(oldest)
        .bind(i64::try_from(settings.max_lines).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        let runs = query(
            "DELETE FROM run WHERE state <> 'running' AND sequence IN ( \
             SELECT sequence FROM (SELECT sequence FROM run WHERE started_at < ?2 ORDER BY started_at LIMIT ?1) \
             UNION ALL SELECT sequence FROM (SELECT sequence FROM run \
             WHERE sequence <= (SELECT max(sequence) FROM run) - ?3 ORDER BY sequence LIMIT ?1))",
        )
        .bind(PRUNE_STEP)
        .bind(oldest)
        .bind(i64::try_from(settings.max_runs).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let most = lines.rows_affected().max(runs.rows_affected());
        if most > 0 {
            // Gives pages that became free back to the file system.
            query("PRAGMA incremental_vacuum(2000)").execute(self.connected().await?).await?;
        }
        Ok(most)
    }
}

async fn write_run(connection: &mut SqliteConnection, run: &RunRecord) -> Result<(), sqlx::Error> {
    let report = run.report.as_ref().map(serde_json::to_string).transpose();
    let signed = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    query(
        "INSERT INTO run (sequence, task_source, task, attempt, state, source, destination, started_at, \
         finished_at, rows, bytes, files, report) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
         ?13) ON CONFLICT (sequence) DO UPDATE SET state = excluded.state, finished_at = \
         excluded.finished_at, rows = excluded.rows, bytes = excluded.bytes, files = excluded.files, \
         report = excluded.report",
    )
    .bind(run.sequence)
    .bind(&run.task_source)
    .bind(run.task.as_str())
    .bind(run.attempt)
    .bind(run.state.as_str())
    .bind(&run.source)
    .bind(&run.destination)
    .bind(run.started_at.as_millisecond())
    .bind(run.finished_at.map(Timestamp::as_millisecond))
    .bind(signed(run.rows))
    .bind(signed(run.bytes))
    .bind(signed(run.files))
    .bind(report.map_err(|error| sqlx::Error::Encode(Box::new(error)))?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the runs that an agent left when it died. Returns the highest number of a run so far.
pub(super) async fn recover(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    query("UPDATE run SET state = ?1 WHERE state = ?2")
        .bind(RunState::Interrupted.as_str())
        .bind(RunState::Running.as_str())
        .execute(&mut *connection)
        .await?;
    let highest: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'run'")
        .fetch_optional(connection)
        .await?;
    Ok(highest.unwrap_or(0))
}
