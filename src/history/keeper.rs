//! The history as the rest of the agent sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::database::Trouble;
use super::mirror::Told;
use super::record::{LinePage, RunFilter, RunPage, RunRecord, RunState};
use super::writer::{Entry, Writer, recover};
use super::{database, read};
use crate::clock::ClockWatch;
use crate::config::HistorySettings;
use crate::fault::Fault;
use crate::shutdown::{self, Shutdown};
use crate::task::{Lease, Outcome, Receipt, Report, TaskId};
use crate::telemetry::{AttemptLine, LineSink};

/// The database file in the data directory.
const DATABASE: &str = "history.sqlite";
/// Entries that wait for the writer at most.
const WAITING: usize = 8_192;
/// Places that lines leave to runs, which are few and worth more.
const RESERVED: usize = 512;
/// Lines of one attempt that are kept: bounds what an attempt that goes wrong over and over can fill.
const LINES_OF_RUN: usize = 10_000;
/// How long a read waits for what was logged before it.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// The history; clones share it.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: mpsc::Sender<Entry>,
    readers: SqlitePool,
    settings: watch::Sender<HistorySettings>,
    last_run: AtomicI64,
    /// Told everything as well, until the history is closed.
    mirror: Mutex<Option<mpsc::Sender<Told>>>,
    dropped: Arc<AtomicU64>,
    closing: CancellationToken,
    ended: CancellationToken,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum RunOutcome<'o> {
    /// With an outcome.
    Ended(&'o Outcome),
    /// Without one: its lease went to somebody else.
    Lost,
}

/// The entry of one attempt that runs; its lines come here.
#[derive(Debug)]
pub struct RunLog {
    history: History,
    begun: RunRecord,
    lines: AtomicUsize,
}

impl History {
    /// Opens the history in `data_directory`, which this agent has for itself. A damaged file is put
    /// aside. Behind one that another program holds, entries wait or are dropped until it lets go.
    pub async fn open(
        data_directory: &Path,
        settings: HistorySettings,
        shutdown: &Shutdown,
    ) -> Result<Self, Fault> {
        let file = data_directory.join(DATABASE);
        let action = || format!("open the history file `{}`", file.display());
        let opened = match open(&file).await {
            Ok(opened) => Some(opened),
            Err(error) => match Trouble::of(&error) {
                Trouble::Damaged => {
                    let aside = put_aside(&file);
                    tracing::warn!(
                        file = %file.display(), %error, aside = aside.map(|path| path.display().to_string()),
                        "the history is damaged; it is put aside, and a new one begins"
                    );
                    Some(open(&file).await.map_err(|error| database::fault(error, action()))?)
                }
                Trouble::Unavailable => {
                    tracing::warn!(
                        file = %file.display(), %error,
                        "the history cannot be written; the agent begins without it, and tries again with every \
                         entry. End the program that has the file, or start the version of the agent that wrote \
                         it"
                    );
                    None
                }
                Trouble::Entry | Trouble::Other => return Err(database::fault(error, action())),
            },
        };
        let (connection, last_run) = opened.unzip();
        let (entries, received) = mpsc::channel(WAITING);
        let (settings, changed) = watch::channel(settings);
        let dropped = Arc::new(AtomicU64::new(0));
        let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
        let writer = Writer {
            file: file.clone(),
            // Runs are counted from 0 where nobody knows yet how far the file has got.
            runs_before: last_run.map(|_| 0),
            connection,
            entries: received,
            closing: closing.clone(),
            settings: changed,
            clock: ClockWatch::default(),
            dropped: Arc::clone(&dropped),
            warned: None,
        };
        let guard = ended.clone();
        shutdown.spawn(async move {
            // Also when the writer panics: `close` must not wait for ever.
            let _ended = guard.drop_guard();
            writer.run().await;
        });
        let readers = database::readers(&file);
        let last_run = AtomicI64::new(last_run.unwrap_or(0));
        Ok(Self(Arc::new(Inner {
            entries,
            readers,
            settings,
            last_run,
            mirror: Mutex::default(),
            dropped,
            closing,
            ended,
        })))
    }

    /// Tells somebody else everything from now on, until this history is closed.
    pub fn tell(&self, mirror: mpsc::Sender<Told>) {
        *self.0.mirror.lock().unwrap_or_else(PoisonError::into_inner) = Some(mirror);
    }

    /// Enters an attempt that begins.
    #[must_use]
    pub fn begin(&self, task_source: &str, lease: &Lease) -> Arc<RunLog> {
        let spec = &lease.task.spec;
        let begun = RunRecord {
            sequence: self.0.last_run.fetch_add(1, Ordering::Relaxed) + 1,
            task_source: task_source.to_owned(),
            task: lease.task.id.clone(),
            attempt: lease.attempt,
            state: RunState::Running,
            source: spec.source.connection.clone(),
            destination: spec.destination.connection_name().to_owned(),
            started_at: Timestamp::now(),
            finished_at: None,
            rows: None,
            bytes: None,
            files: None,
            report: None,
        };
        self.keep_run(begun.clone());
        Arc::new(RunLog { history: self.clone(), begun, lines: AtomicUsize::new(0) })
    }

    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<RunPage, Fault> {
        self.flush().await;
        let runs = read::runs(&self.0.readers, filter).await;
        runs.map_err(|error| database::fault(error, "list the runs of the history"))
    }

    /// What attempts of a task logged after the cursor `after`, oldest first; at most 1,000 lines,
    /// also when `limit` is higher.
    pub async fn lines(
        &self,
        task: &TaskId,
        attempt: Option<u32>,
        after: i64,
        limit: u32,
    ) -> Result<LinePage, Fault> {
        self.flush().await;
        let lines = read::lines(&self.0.readers, task, attempt, after, limit).await;
        lines.map_err(|error| database::fault(error, format!("read the log of task `{task}`")))
    }

    /// Entries that were dropped, because the history could not keep up or be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Changes how much is kept; the next clearing out goes by it.
    pub fn set(&self, settings: HistorySettings) {
        self.0.settings.send_replace(settings);
    }

    /// Writes what waits and ends the writer. Later entries are dropped.
    pub async fn close(&self) {
        // The writer goes last: the last connection folds the log back into the database file.
        self.0.readers.close().await;
        self.0.closing.cancel();
        *self.0.mirror.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.ended.cancelled().await;
    }

    fn keep_run(&self, run: RunRecord) {
        self.mirror(|| Told::Run(Box::new(run.clone())));
        self.keep(Entry::Run(Box::new(run)));
    }

    fn mirror(&self, told: impl FnOnce() -> Told) {
        let mirror = self.0.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = mirror.as_ref()
            && mirror.try_send(told()).is_err()
        {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn keep(&self, entry: Entry) {
        if self.0.entries.try_send(entry).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was put in before can be read, within reason.
    async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flush = async {
            if self.0.entries.send(Entry::Flush(done)).await.is_ok() {
                // An error means that the writer has ended; then there is nothing to wait for.
                drop(written.await);
            }
        };
        // What is there can be shown all the same.
        drop(tokio::time::timeout(FLUSH_LIMIT, flush).await);
    }
}

impl RunLog {
    /// Enters how the attempt ended.
    pub fn end(&self, outcome: RunOutcome<'_>) {
        let mut run = self.begun.clone();
        run.finished_at = Some(Timestamp::now());
        let failed = |run: &mut RunRecord, report: &Report| {
            run.state = RunState::Failed;
            run.report = Some(report.clone());
        };
        match outcome {
            RunOutcome::Ended(Outcome::Completed(receipt)) => {
                let Receipt { rows, bytes, files, .. } = receipt;
                run.state = RunState::Completed;
                (run.rows, run.bytes, run.files) = (Some(*rows), Some(*bytes), Some(files.len() as u64));
            }
            RunOutcome::Ended(Outcome::Retry { report, .. } | Outcome::Failed(report)) => {
                failed(&mut run, report);
            }
            RunOutcome::Ended(Outcome::Cancelled) => run.state = RunState::Cancelled,
            RunOutcome::Ended(Outcome::Released) => run.state = RunState::Released,
            RunOutcome::Lost => run.state = RunState::Lost,
        }
        self.history.keep_run(run);
    }
}

impl LineSink for RunLog {
    fn line(&self, line: AttemptLine) {
        let inner = &self.history.0;
        let is_too_much = self.lines.fetch_add(1, Ordering::Relaxed) >= LINES_OF_RUN;
        if is_too_much || inner.entries.capacity() <= RESERVED {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            let told = || Told::Line { run: Box::new(self.begun.clone()), line: Box::new(line.clone()) };
            self.history.mirror(told);
            self.history.keep(Entry::Line(self.begun.sequence, Box::new(line)));
        }
    }
}

/// Opens the file, and tells the highest number of a run in it.
async fn open(file: &Path) -> Result<(SqliteConnection, i64), sqlx::Error> {
    let owned = file.to_owned();
    // Created here, because SQLite would create it with the permissions of the umask.
    let created = shutdown::spawn_blocking(move || {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(owned).map(drop)
    });
    created.await.map_err(|_panic| sqlx::Error::WorkerCrashed)?.map_err(sqlx::Error::Io)?;
    let mut connection = database::open_writer(file).await?;
    match recover(&mut connection).await {
        Ok(last_run) => Ok((connection, last_run)),
        Err(error) => {
            database::close(connection).await;
            Err(error)
        }
    }
}

/// Renames a damaged file, with what SQLite keeps beside it. One that was put aside before stays.
fn put_aside(file: &Path) -> Option<PathBuf> {
    let mut names = std::iter::once(format!("{DATABASE}.unreadable"))
        .chain((2..).map(|number| format!("{DATABASE}.unreadable.{number}")));
    let free = names.find(|name| !file.with_file_name(name).exists())?;
    let aside = |suffix: &str| file.with_file_name(format!("{free}{suffix}"));
    for suffix in ["-wal", "-shm"] {
        // There may be none.
        fs::rename(file.with_file_name(format!("{DATABASE}{suffix}")), aside(suffix)).ok();
    }
    fs::rename(file, aside("")).is_ok().then(|| aside(""))
}
