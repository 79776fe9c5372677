//! The one task that writes the history, and clears it out.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Connection;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::database::{self, Trouble};
use super::record::{RunRecord, RunState};
use crate::clock::ClockWatch;
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
/// How long runs that could not be written wait before they are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Runs that wait to be written again at most.
const KEPT_RUNS: usize = 4_096;
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
    /// What is added to the numbers of runs and was not known when they were given; `None` before the
    /// file was opened for the first time.
    pub(super) runs_before: Option<i64>,
    pub(super) entries: mpsc::Receiver<Entry>,
    pub(super) closing: CancellationToken,
    pub(super) settings: watch::Receiver<HistorySettings>,
    pub(super) clock: ClockWatch,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) warned: Option<Instant>,
}

impl Writer {
    /// Writes until the history is closed.
    pub(super) async fn run(mut self) {
        // What is in it at the beginning of a turn could not be written in the one before.
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
                () = tokio::time::sleep(TRY_AGAIN), if !batch.is_empty() => {}
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
        if !batch.is_empty() {
            self.write(&mut batch).await;
            self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        if let Some(connection) = self.connection.take() {
            database::close(connection).await;
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
        let is_to_write = batch.iter().any(|entry| !matches!(entry, Entry::Flush(_)));
        let mut again = Vec::new();
        if is_to_write && let Err(error) = self.transaction(batch).await {
            self.connection = None;
            let lines = batch.iter().filter(|entry| matches!(entry, Entry::Line(..))).count();
            let mut runs = newest_of_runs(batch);
            let mut lost = lines + runs.len();
            if Trouble::of(&error) != Trouble::Entry {
                again = runs.split_off(runs.len().saturating_sub(KEPT_RUNS));
                lost -= again.len();
            }
            self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
            self.warn(&error, "log lines could not be kept, and runs have to wait; the work goes on");
        }
        for entry in batch.drain(..) {
            if let Entry::Flush(done) = entry {
                // Nobody waits any more: all right.
                done.send(()).ok();
            }
        }
        *batch = again;
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
            none => {
                let mut opened = database::open_writer(&self.file).await?;
                if self.runs_before.is_none() {
                    self.runs_before = Some(recover(&mut opened).await?);
                }
                Ok(none.insert(opened))
            }
        }
    }

    async fn transaction(&mut self, batch: &[Entry]) -> Result<(), sqlx::Error> {
        self.connected().await?;
        let before = self.runs_before.unwrap_or(0);
        let mut transaction = self.connected().await?.begin_with("BEGIN IMMEDIATE").await?;
        let mut lines = Vec::new();
        for entry in batch {
            match entry {
                Entry::Run(run) => write_run(&mut transaction, before + run.sequence, run).await?,
                Entry::Line(run, line) => lines.push((
                    before + run,
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
        if !self.clock.believes(Timestamp::now(), Instant::now()) {
            return false;
        }
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

/// The runs among these entries, each as it is by now, oldest first.
fn newest_of_runs(batch: &mut Vec<Entry>) -> Vec<Entry> {
    let mut runs: Vec<Entry> = batch.extract_if(.., |entry| matches!(entry, Entry::Run(_))).collect();
    let mut seen = HashSet::new();
    runs.reverse();
    runs.retain(|entry| matches!(entry, Entry::Run(run) if seen.insert(run.sequence)));
    runs.reverse();
    runs
}

async fn write_run(
    connection: &mut SqliteConnection,
    sequence: i64,
    run: &RunRecord,
) -> Result<(), sqlx::Error> {
    let report = run.report.as_ref().map(serde_json::to_string).transpose();
    let signed = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    query(
        "INSERT INTO run (sequence, task_source, task, attempt, state, source, destination, started_at, \
         finished_at, rows, bytes, files, report) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
         ?13) ON CONFLICT (sequence) DO UPDATE SET state = excluded.state, finished_at = \
         excluded.finished_at, rows = excluded.rows, bytes = excluded.bytes, files = excluded.files, \
         report = excluded.report",
    )
    .bind(sequence)
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
