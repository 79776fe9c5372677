//! The queue as the rest of the agent sees it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{broadcast, mpsc, watch};

use super::change::Finish;
use super::database;
use super::files::Files;
use super::read::{self, LeaseKey};
use super::record::{Cancelled, Counts, Page, Retried, Submitted, TaskRecord, TaskState};
use super::request::{Ask, Request, Signals};
use super::retention::Retention;
use super::submit::{NewTask, SubmitError};
use super::writer::{WAITING_REQUESTS, Writer};
use crate::config::QueueSettings;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::{self, Shutdown};
use crate::task::{Extension, Finished, Lease, LeaseId, Outcome, Task, TaskId};
use crate::task_source::TaskSource;

/// Longest sleep towards the end of a back-off: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The durable queue; clones share it.
///
/// What a call has answered is on the disk. A call that is dropped while it waits may still be
/// carried out, except that its leases go back to the queue.
#[derive(Clone, Debug)]
pub struct LocalQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: mpsc::Sender<Request>,
    readers: SqlitePool,
    signals: Arc<Signals>,
    settings: watch::Sender<QueueSettings>,
}

impl LocalQueue {
    /// The name of this task source.
    pub const NAME: &'static str = "local";

    /// Opens the queue in `data_directory`, which is created when it is missing. Refuses when
    /// another process has it open. Tasks that were running when an agent died wait again. Tasks that
    /// have ended are cleared out in the background as `settings` say.
    ///
    /// The queue outlives a drain, because outcomes are recorded during the stop: [`Self::close`]
    /// ends its writer, and has to be called before [`Shutdown::finished`].
    pub async fn open(
        data_directory: &Path,
        settings: QueueSettings,
        shutdown: &Shutdown,
    ) -> Result<Self, Fault> {
        let directory = data_directory.to_owned();
        let files = shutdown::spawn_blocking(move || Files::take(&directory))
            .await
            .map_err(|error| Fault::new(FaultKind::Bug, "open the files of the queue").because(error))??;
        let readers = database::readers(&files.database);
        let signals = Arc::new(Signals::new());
        let (requests, received) = mpsc::channel(WAITING_REQUESTS);
        let (settings, changed) = watch::channel(settings);
        let writer = Writer::open(files, received, Arc::clone(&signals), Retention::new(changed)).await?;
        let ended = signals.ended.clone();
        shutdown.spawn(async move {
            // Also when the writer panics: `close` must not wait for ever.
            let _ended = ended.drop_guard();
            writer.run().await;
        });
        Ok(Self(Arc::new(Inner { requests, readers, signals, settings })))
    }

    /// Changes how long ended tasks are kept; the next clearing out goes by it.
    pub fn set(&self, settings: QueueSettings) {
        self.0.settings.send_replace(settings);
    }

    /// Accepts tasks: all of them, durably, or none. An id that is known already is no error when
    /// its task has the same body. One answer for each task, in the same order.
    pub async fn submit(&self, tasks: Vec<Task>) -> Result<Vec<Submitted>, SubmitError> {
        let action = "submit tasks";
        let prepare = |task: Task| {
            let spec = read::to_json(&task.spec).map_err(|error| database::fault(error, action))?;
            Ok(NewTask { task, spec })
        };
        let tasks = tasks.into_iter().map(prepare).collect::<Result<Vec<_>, Fault>>()?;
        self.ask(action, tasks, Request::Submit).await?.map_err(|id| SubmitError::Conflict { id })
    }

    /// A task with its attempts.
    pub async fn get(&self, id: &TaskId) -> Result<Option<TaskRecord>, Fault> {
        let failed = |error| database::fault(error, format!("read task `{id}` from the queue"));
        let mut connection = self.0.readers.acquire().await.map_err(failed)?;
        read::record(&mut connection, id).await.map_err(failed)
    }

    /// Tasks with their attempts, newest first: those in `state`, or all, that came before the
    /// cursor `before`. At most 1,000, also when `limit` is higher.
    pub async fn list(
        &self,
        state: Option<TaskState>,
        before: Option<i64>,
        limit: NonZeroU32,
    ) -> Result<Page, Fault> {
        read::page(&self.0.readers, state, before, limit.get())
            .await
            .map_err(|error| database::fault(error, "list the tasks of the queue"))
    }

    /// Cancels a task that waits; asks the attempt of a running one to end.
    pub async fn cancel(&self, id: &TaskId) -> Result<Cancelled, Fault> {
        self.ask("cancel a task", id.clone(), Request::Cancel).await
    }

    /// Puts a failed or cancelled task back into the queue, with fresh attempts and its history.
    pub async fn retry(&self, id: &TaskId) -> Result<Retried, Fault> {
        self.ask("put a task back into the queue", id.clone(), Request::Retry).await
    }

    /// How many tasks there are in each state, of those that are kept; costs the same for any number of tasks.
    pub async fn counts(&self) -> Result<Counts, Fault> {
        read::counts(&self.0.readers)
            .await
            .map_err(|error| database::fault(error, "count the tasks of the queue"))
    }

    /// How many tasks were completed in the life of this queue, those that were cleared out included:
    /// never less than before.
    pub async fn completed_ever(&self) -> Result<u64, Fault> {
        read::completed_ever(&self.0.readers)
            .await
            .map_err(|error| database::fault(error, "count the completed tasks of the queue"))
    }

    /// When the task was accepted that waits longest, in order of arrival; `None` when none waits.
    pub async fn oldest_waiting(&self) -> Result<Option<Timestamp>, Fault> {
        read::oldest_waiting(&self.0.readers)
            .await
            .map_err(|error| database::fault(error, "look for the oldest task of the queue"))
    }

    /// Proves that the queue can write, by writing.
    pub async fn check(&self) -> Result<(), Fault> {
        self.ask("check the queue", (), Request::Check).await
    }

    /// The id of each task that changes from now on, after the change is durable. A receiver that
    /// is too slow misses some and is told so.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<TaskId> {
        self.0.signals.changes.subscribe()
    }

    /// Answers what waits, ends the writer and frees the files. Later calls fail.
    pub async fn close(&self) {
        // The writer goes last: the last connection folds the log back into the database file.
        self.0.readers.close().await;
        self.0.signals.closing.cancel();
        self.0.signals.ended.cancelled().await;
    }

    async fn ask<Q, R, A>(
        &self,
        action: &'static str,
        question: Q,
        request: impl FnOnce(Ask<Q, R, A>) -> Request,
    ) -> Result<A, Fault> {
        let (ask, answered) = Ask::new(question);
        self.0.requests.send(request(ask)).await.map_err(|_| self.gone(action))?;
        let answer = answered.await.map_err(|_| self.gone(action))?;
        answer.map_err(|fault| fault.while_doing(action))
    }

    /// Why there is nobody to ask.
    fn gone(&self, action: &'static str) -> Fault {
        if self.0.signals.closing.is_cancelled() {
            Fault::new(FaultKind::Transient, action)
                .because("the queue is closed, because the agent stops")
                .remedy("Ask again when the agent runs again.")
        } else {
            Fault::new(FaultKind::Bug, action)
                .because("the writer of the queue has ended")
                .remedy("Restart the agent, and report the panic that its log shows.")
        }
    }
}

#[async_trait]
impl TaskSource for LocalQueue {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn lease(&self, limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
        let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX);
        Ok(self.ask("lease tasks from the queue", limit, Request::Lease).await?.take())
    }

    async fn wait_for_work(&self) {
        loop {
            // Made before looking: it hears of work that arrives while the query runs.
            let notified = self.0.signals.work.notified();
            let sleep = match read::next_eligible(&self.0.readers).await {
                Ok(None) => LONGEST_SLEEP,
                Ok(Some(moment)) => {
                    let left = moment.saturating_sub(Timestamp::now().as_millisecond());
                    match u64::try_from(left) {
                        Ok(left) if left > 0 => Duration::from_millis(left).min(LONGEST_SLEEP),
                        Ok(_) | Err(_) if self.0.signals.ended.is_cancelled() => LONGEST_SLEEP,
                        Ok(_) | Err(_) => return,
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "could not look for the next back-off of the queue");
                    LONGEST_SLEEP
                }
            };
            // Either way the next turn looks again.
            drop(tokio::time::timeout(sleep, notified).await);
        }
    }

    async fn is_drained(&self) -> Result<bool, Fault> {
        let counts = self.counts().await?;
        Ok(counts.queued + counts.running == 0)
    }

    async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
        // A lease of this queue has no deadline: the lock on the file tells that its agent lives.
        read::extensions(&self.0.readers, leases)
            .await
            .map_err(|error| database::fault(error, "look after the leases of the queue"))
    }

    fn leases_run_out(&self) -> bool {
        // Only the end of the agent gives a running task back.
        false
    }

    async fn finish(&self, lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault> {
        let action = "record the outcome of an attempt";
        let Some(key) = LeaseKey::parse(&lease.id) else { return Ok(Finished::LeaseLost) };
        let finish = Finish::new(key, outcome).map_err(|error| database::fault(error, action))?;
        self.ask(action, finish, Request::Finish).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_whose_writer_died_says_so() {
        let (requests, received) = mpsc::channel(1);
        drop(received);
        let signals = Arc::new(Signals::new());
        let readers = database::readers(Path::new("never-opened"));
        let (settings, _) = watch::channel(QueueSettings::default());
        let queue = LocalQueue(Arc::new(Inner { requests, readers, signals, settings }));
        let fault = queue.check().await.expect_err("nobody writes");
        assert_eq!(fault.kind(), FaultKind::Bug);
        assert_eq!(fault.chain(), "check the queue: the writer of the queue has ended");
        assert!(fault.hint().expect("a remedy").contains("Restart"));
    }
}
