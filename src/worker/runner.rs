//! One attempt, from its lease to its outcome.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::keeper::{self, StopReason};
use super::running::{Running, RunningTask};
use crate::catalog::Catalog;
use crate::config::TransferSettings;
use crate::fault::{Advice, Fault, FaultKind};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Finished, Lease, Outcome, Progress, Receipt, Report, TaskId};
use crate::task_source::TaskSource;
use crate::telemetry::Metrics;
use crate::transfer::Transfer;

/// How often an outcome that could not be recorded is sent again.
const FINISH_TRIES: u32 = 8;

/// Runs attempts. Shared by all workers.
pub struct Runner {
    catalog: Arc<Catalog>,
    settings: TransferSettings,
    running: Arc<Running>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    failed: Option<FailedTasks>,
}

/// Tasks whose last attempt here failed, by task source.
type FailedTasks = Mutex<HashSet<(&'static str, TaskId)>>;

/// How an attempt ended that did not fail.
enum Ended {
    Completed(Receipt),
    Cut(Cut),
}

/// Why an attempt was ended before it was done.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The task source stopped it.
    Lease(StopReason),
    /// It took longer than its task allows.
    TimedOut(Duration),
    /// The agent stops.
    Released,
}

impl Runner {
    /// A runner for the connections of `catalog`.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        settings: TransferSettings,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        Self { catalog, settings, running: Arc::default(), metrics, shutdown, failed: None }
    }

    /// Remembers which tasks failed, for an agent that ends when its queues are drained. The memory
    /// grows with them, so that a service does without.
    #[must_use]
    pub fn remembering_failures(mut self) -> Self {
        self.failed = Some(Mutex::default());
        self
    }

    /// How many tasks failed, and were not completed by a later attempt; 0 for a runner that does not
    /// remember them.
    #[must_use]
    pub fn failed_tasks(&self) -> usize {
        self.failed.as_ref().map_or(0, |failed| locked(failed).len())
    }

    /// The attempts that run now.
    #[must_use]
    pub fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Runs one attempt and records its outcome. Never fails: what goes wrong is the outcome.
    pub async fn run(&self, lease: Lease, source: &dyn TaskSource) {
        let guard = self.running.enter(source.name(), &lease.task.id, lease.attempt);
        let begun = Instant::now();
        let mut ended = self.caught_attempt(&lease, source, &guard.task).await;
        if let Err(fault) = &ended
            && fault.kind() == FaultKind::Credentials
            && self.has_newer_secrets(&lease, begun).await
        {
            tracing::info!(
                task.id = %lease.task.id, attempt = lease.attempt, error = fault.chain(),
                "a login was refused; the attempt is made once more with newer secrets"
            );
            guard.task.progress.begin_again();
            ended = self.caught_attempt(&lease, source, &guard.task).await;
        }
        let Some(outcome) = decide(&lease, ended) else { return };
        self.metrics.attempt_ended(&outcome, begun.elapsed());
        log(&lease, &outcome, begun.elapsed());
        self.remember(source.name(), &lease.task.id, &outcome);
        finish(&lease, &outcome, source).await;
    }

    async fn caught_attempt(
        &self,
        lease: &Lease,
        source: &dyn TaskSource,
        running: &RunningTask,
    ) -> Result<Ended, Fault> {
        let attempt = AssertUnwindSafe(self.attempt(lease, source, running)).catch_unwind();
        attempt.await.unwrap_or_else(|_panic| {
            Err(Fault::new(FaultKind::Bug, "run the attempt: it panicked; the log has the place"))
        })
    }

    /// Reads the secrets of both ends again. Nothing of the refused attempt is left by then.
    async fn has_newer_secrets(&self, lease: &Lease, since: Instant) -> bool {
        let Ok((source, destination)) = self.catalog.resolve(&lease.task.spec) else { return false };
        let renewed = async { tokio::join!(source.renew(since), destination.renew(since)) };
        tokio::select! {
            (source, destination) = renewed => source || destination,
            () = self.shutdown.aborting() => false,
        }
    }

    fn remember(&self, source: &'static str, id: &TaskId, outcome: &Outcome) {
        let Some(failed) = &self.failed else { return };
        let key = (source, id.clone());
        match outcome {
            Outcome::Failed(_) | Outcome::Retry { .. } => locked(failed).insert(key),
            Outcome::Completed(_) | Outcome::Cancelled | Outcome::Released => locked(failed).remove(&key),
        };
    }

    /// The sentence of this agent: planned, extracted, encoded, uploaded, committed.
    async fn attempt(
        &self,
        lease: &Lease,
        source: &dyn TaskSource,
        running: &RunningTask,
    ) -> Result<Ended, Fault> {
        let begun = Instant::now();
        tracing::info!(
            task.id = %lease.task.id,
            attempt = lease.attempt,
            source.name = lease.task.spec.source.connection,
            "attempt begins"
        );
        let mut cut = Box::pin(self.cut(lease, source, running));

        // Nothing is stored yet, so dropping the half-opened ends of the transfer is enough.
        let transfer = tokio::select! {
            transfer = self.open(lease, &running.progress) => transfer?,
            cut = &mut cut => return Ok(Ended::Cut(cut)),
        };
        let stop = CancellationToken::new();
        let written = {
            let write = transfer.write(&stop);
            tokio::pin!(write);
            tokio::select! {
                written = &mut write => written.map(|written| written.ok_or(Cut::Released)),
                cut = &mut cut => {
                    stop.cancel();
                    // Waits for the slices to end; what they return does not matter any more.
                    drop(write.await);
                    Ok(Err(cut))
                }
            }
        };
        // It may have been left in the middle of a question to the task source. One that is not polled
        // any more would keep its connection, and whoever waits for that, us included, would wait for ever.
        drop(cut);
        // A lost lease never commits, and a cancelled task leaves no file. From here on a stop
        // waits: a commit that is cut in the middle would leave some of the files visible.
        let written = match written {
            Ok(Ok(written)) => match keeper::confirm(source, lease).await {
                Ok(None) => Ok(Ok(written)),
                Ok(Some(reason)) => Ok(Err(Cut::Lease(reason))),
                Err(fault) => {
                    Err(fault.while_doing("ask whether the lease is still held, before the commit"))
                }
            },
            other => other,
        };
        match written {
            Ok(Ok(written)) => {
                let commit = transfer.commit(written, begun);
                holding(lease, source, running, commit).await.map(Ended::Completed)
            }
            Ok(Err(cut)) => {
                transfer.upload.abort().await;
                Ok(Ended::Cut(cut))
            }
            Err(fault) => {
                transfer.upload.abort().await;
                Err(fault)
            }
        }
    }

    async fn open(&self, lease: &Lease, progress: &Arc<Progress>) -> Result<Transfer, Fault> {
        let spec = &lease.task.spec;
        let (source, destination) = self.catalog.resolve(spec)?;
        Transfer::open(source.as_ref(), destination.as_ref(), &lease.task, &self.settings, progress).await
    }

    /// Resolves when the attempt must end early.
    async fn cut(&self, lease: &Lease, source: &dyn TaskSource, running: &RunningTask) -> Cut {
        let timed_out = async {
            match lease.task.spec.timeout {
                Some(limit) => {
                    tokio::time::sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = keeper::watch(source, lease, running) => Cut::Lease(reason),
            limit = timed_out => Cut::TimedOut(limit),
            () = self.shutdown.aborting() => Cut::Released,
        }
    }
}

/// Keeps the lease for as long as a commit takes: loading many rows into a table can take longer than
/// a lease lasts. What the task source says meanwhile comes too late to stop the commit; two attempts
/// that load at the same time find that out in the table itself.
async fn holding(
    lease: &Lease,
    source: &dyn TaskSource,
    running: &RunningTask,
    commit: impl Future<Output = Result<Receipt, Fault>>,
) -> Result<Receipt, Fault> {
    let keep = async {
        loop {
            // It was asked for just now.
            tokio::time::sleep(keeper::BEAT).await;
            let reason = keeper::watch(source, lease, running).await;
            tracing::warn!(
                task.id = %lease.task.id, attempt = lease.attempt, ?reason,
                "too late to stop the attempt: it is being committed"
            );
            if reason == StopReason::LeaseLost {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        receipt = commit => receipt,
        never = keep => never,
    }
}

fn locked(failed: &FailedTasks) -> MutexGuard<'_, HashSet<(&'static str, TaskId)>> {
    failed.lock().expect("nothing panics while it holds this lock")
}

/// What follows from the end of an attempt. `None` when the lease is somebody else's: then there
/// is nothing to say to the task source.
fn decide(lease: &Lease, ended: Result<Ended, Fault>) -> Option<Outcome> {
    let fault = match ended {
        Ok(Ended::Completed(receipt)) => return Some(Outcome::Completed(receipt)),
        Ok(Ended::Cut(Cut::Lease(StopReason::Cancelled))) => return Some(Outcome::Cancelled),
        Ok(Ended::Cut(Cut::Lease(StopReason::LeaseLost))) => return None,
        Ok(Ended::Cut(Cut::Released)) => return Some(Outcome::Released),
        Ok(Ended::Cut(Cut::TimedOut(limit))) => Fault::new(
            FaultKind::Transient,
            format!("run the attempt: it took longer than its timeout of {limit:?}"),
        )
        .remedy("Raise the task's `timeout`, or give it more `slices`."),
        Err(fault) => fault,
    };
    let report = Report::of(&fault);
    let failure = lease.failures_before.saturating_add(1);
    let after = match fault.kind().advice() {
        Advice::RetryLater => Backoff::TASK.wait(failure),
        Advice::SlowDown => Backoff::THROTTLED.wait(failure),
        Advice::AskOperator(_) | Advice::RejectTask | Advice::GiveUp => return Some(Outcome::Failed(report)),
    };
    Some(Outcome::Retry { after, report })
}

/// Records the outcome. A task source that does not answer is asked again for a while: an answer
/// that was lost must be repeated, and never be replaced by another outcome.
async fn finish(lease: &Lease, outcome: &Outcome, source: &dyn TaskSource) {
    for failure in 1..=FINISH_TRIES {
        match source.finish(lease, outcome).await {
            Ok(Finished::Recorded) => return,
            Ok(Finished::LeaseLost) => {
                tracing::warn!(task.id = %lease.task.id, attempt = lease.attempt, "the lease was lost; the outcome was dropped");
                return;
            }
            Err(fault) => {
                tracing::warn!(task.id = %lease.task.id, failure, error = fault.chain(), "outcome could not be recorded");
                tokio::time::sleep(Backoff::TASK_SOURCE.wait(failure)).await;
            }
        }
    }
    tracing::error!(task.id = %lease.task.id, attempt = lease.attempt, "outcome is not on record; the task will come back");
}

fn log(lease: &Lease, outcome: &Outcome, elapsed: Duration) {
    let id = &lease.task.id;
    let attempt = lease.attempt;
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Outcome::Completed(receipt) => tracing::info!(
            task.id = %id, attempt, duration_ms, rows = receipt.rows, bytes = receipt.bytes,
            files = receipt.files.len(), "task completed"
        ),
        Outcome::Retry { after, report } => tracing::warn!(
            task.id = %id, attempt, duration_ms, kind = %report.kind, error = report.message,
            hint = report.hint, retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            "attempt failed; the task is retried while attempts are left"
        ),
        Outcome::Failed(report) => tracing::error!(
            task.id = %id, attempt, duration_ms, kind = %report.kind, error = report.message,
            hint = report.hint, "task failed"
        ),
        Outcome::Cancelled => tracing::info!(task.id = %id, attempt, duration_ms, "task cancelled"),
        Outcome::Released => {
            tracing::info!(task.id = %id, attempt, duration_ms, "task released: the agent stops")
        }
    }
}
