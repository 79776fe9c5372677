//! One attempt, from its lease to its outcome.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span};

use super::ending::{Cut, Ended, decide, describe, named};
use super::keeper::{self, StopReason};
use super::running::{Running, RunningTask, Visible};
use crate::catalog::Catalog;
use crate::config::TransferSettings;
use crate::destination::Target;
use crate::fault::{Fault, FaultKind};
use crate::history::{History, RunOutcome};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Finished, Lease, Outcome, Progress, Receipt, Report, Task, TaskId};
use crate::task_source::TaskSource;
use crate::telemetry::{AttemptLog, Metrics, continue_trace};
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
    history: Option<History>,
}

/// Tasks whose last attempt here failed, by task source.
type FailedTasks = Mutex<HashSet<(&'static str, TaskId)>>;

/// What an attempt finds when it begins.
enum Opened {
    /// Something to do.
    Transfer(Transfer),
    /// Everything is done already.
    Done(Receipt),
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
        Self { catalog, settings, running: Arc::default(), metrics, shutdown, failed: None, history: None }
    }

    /// Enters every attempt and what it logs into a history.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
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
        // Every line of the attempt has these, in whichever task or thread it is logged.
        let span = tracing::info_span!(
            "attempt", task.id = %lease.task.id, attempt = lease.attempt, task_source = source.name(),
            otel.status_code = Empty, otel.status_description = Empty, rows = Empty, outcome = Empty
        );
        continue_trace(&span, &lease.task.spec.trace);
        self.run_within(&span, lease, source).instrument(span.clone()).await;
    }

    async fn run_within(&self, span: &Span, lease: Lease, source: &dyn TaskSource) {
        let log = self.history.as_ref().map(|history| history.begin(source.name(), &lease));
        if let Some(log) = &log {
            AttemptLog::attach(span, Arc::clone(log) as _);
        }
        let guard = self.running.enter(source.name(), &lease.task.id, lease.attempt);
        let begun = Instant::now();
        let mut ended = self.caught_attempt(&lease, source, &guard.task).await;
        if let Err(fault) = &ended
            && fault.kind() == FaultKind::Credentials
            && self.has_newer_secrets(&lease, begun).await
        {
            tracing::info!(
                error = fault.chain(),
                "a login was refused; the attempt is made once more with newer secrets"
            );
            guard.task.progress.begin_again();
            ended = self.caught_attempt(&lease, source, &guard.task).await;
        }
        let waits = guard.task.progress.waits();
        self.metrics.attempt_waited(waits);
        let Some(outcome) = decide(&lease, ended) else {
            tracing::warn!("the lease went to somebody else; the attempt has committed nothing");
            if let Some(log) = log {
                log.end(RunOutcome::Lost);
            }
            return;
        };
        let outcome = outcome.read_by(self.catalog.method(&lease.task.spec.source));
        let outcome = if may_leave_files(&lease, source.counts_attempts(), &outcome, &guard.task) {
            self.retract(&lease, source, outcome).instrument(debug_span!("retract")).await
        } else {
            outcome
        };
        let shown = named(&lease, &outcome);
        self.metrics.attempt_ended(&shown, begun.elapsed());
        tell(&shown, begun.elapsed());
        describe(span, &shown);
        // Before the task source knows: whoever sees the task ended finds its run ended too.
        if let Some(log) = log {
            log.end(RunOutcome::Ended(&outcome));
        }
        self.remember(source.name(), &lease.task.id, &outcome);
        let finish = finish(&lease, &outcome, source, &self.shutdown, Backoff::TASK_SOURCE);
        finish.instrument(debug_span!("finish")).await;
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

    /// Removes what this attempt has made visible, when its commit failed in the middle, or an earlier one,
    /// when its agent died between its commit and its outcome. Returns the outcome, which is another one when
    /// rows were loaded into a table: they stay there, so that such a task is completed. Files that could not be
    /// removed are in the report, and keep a task from being cancelled without anybody looking for them.
    async fn retract(&self, lease: &Lease, source: &dyn TaskSource, outcome: Outcome) -> Outcome {
        let Lease { task: Task { id, spec }, attempt, .. } = lease;
        let retract = async {
            // Files of somebody else are not ours to remove.
            if let Some(StopReason::LeaseLost) = keeper::confirm(source, lease).await? {
                return Ok(None);
            }
            let (_, destination) = self.catalog.resolve(spec)?;
            if let Some(receipt) = destination.recorded(id, *attempt, &spec.destination).await? {
                return Ok(Some(Outcome::Completed(receipt)));
            }
            let (task, path) = (id.clone(), spec.destination.path.clone());
            destination.retract(&Target { task, attempt: *attempt, path, load: None }).await?;
            Ok(None)
        };
        let retracted: Result<Option<Outcome>, Fault> = tokio::select! {
            retracted = retract => retracted,
            () = self.shutdown.aborting() => {
                Err(Fault::new(FaultKind::Transient, "look for files of the task: the agent stops"))
            }
        };
        match retracted {
            Ok(other) => other.unwrap_or(outcome),
            Err(fault) => {
                tracing::warn!(
                    error = fault.chain(),
                    hint = fault.hint(),
                    "what attempts may have left could not be removed; files of this task may be visible"
                );
                with_files_left(outcome, fault)
            }
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
        let spec = &lease.task.spec;
        let method = self.catalog.method(&spec.source);
        tracing::info!(
            source.name = spec.source.connection,
            destination.name = spec.destination.connection_name(),
            method = method.name,
            reason = method.reason,
            "attempt begins"
        );
        let mut cut = Box::pin(self.cut(lease, source, running));

        // Nothing is stored yet, so dropping the half-opened ends of the transfer is enough.
        let opened = tokio::select! {
            opened = self.open(lease, &running.progress).instrument(debug_span!("plan")) => match opened {
                // A login that was in progress, for example, ends by itself at the abort, with an error.
                Err(fault) if fault.kind().is_retryable() && self.shutdown.is_aborting() => {
                    return Ok(Ended::Cut(Cut::Released));
                }
                opened => opened?,
            },
            cut = &mut cut => return Ok(Ended::Cut(cut)),
        };
        let transfer = match opened {
            Opened::Transfer(transfer) => transfer,
            Opened::Done(receipt) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Ok(Ended::Completed(Receipt { duration_ms, ..receipt }));
            }
        };
        let stop = CancellationToken::new();
        let written = {
            let write = transfer.write(&stop).instrument(debug_span!("extract"));
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
                let commit = async {
                    running.set_visible(Visible::Some);
                    let files = transfer.publish(written).await?;
                    running.set_visible(Visible::All);
                    transfer.load(files, begun).await
                };
                let commit = commit.instrument(debug_span!("commit"));
                holding(lease, source, running, &self.metrics, commit).await.map(Ended::Completed)
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

    async fn open(&self, lease: &Lease, progress: &Arc<Progress>) -> Result<Opened, Fault> {
        let Lease { task: task @ Task { id, spec }, attempt, .. } = lease;
        let (source, destination) = self.catalog.resolve(spec)?;
        if let Some(receipt) = destination.recorded(id, *attempt, &spec.destination).await? {
            tracing::info!(
                task.id = %id, attempt, rows = receipt.rows,
                "an earlier attempt has done everything; only its outcome was lost"
            );
            return Ok(Opened::Done(receipt));
        }
        let method = self.catalog.method(&spec.source);
        let (source, destination) = (source.as_ref(), destination.as_ref());
        let transfer = Transfer::open_attempt(source, destination, task, *attempt, &self.settings, progress);
        Ok(Opened::Transfer(transfer.await?.read_by(method)))
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
            reason = keeper::watch(source, lease, running, &self.metrics) => Cut::Lease(reason),
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
    metrics: &Metrics,
    commit: impl Future<Output = Result<Receipt, Fault>>,
) -> Result<Receipt, Fault> {
    let keep = async {
        loop {
            // It was asked for just now.
            tokio::time::sleep(keeper::BEAT).await;
            let reason = keeper::watch(source, lease, running, metrics).await;
            tracing::warn!(?reason, "too late to stop the attempt: it is being committed");
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

/// True when files may be visible that are not whole, because this attempt failed in the middle of its commit;
/// or any at all of a task that ends without them: of this attempt, whose load failed, or of one before it.
fn may_leave_files(lease: &Lease, counts_attempts: bool, outcome: &Outcome, running: &RunningTask) -> bool {
    let may_be_first = counts_attempts && lease.attempt <= 1 && running.is(Visible::Nothing);
    running.is(Visible::Some) || (is_end_without_files(lease, outcome) && !may_be_first)
}

/// What an outcome is when files of the task may still be visible.
fn with_files_left(outcome: Outcome, fault: Fault) -> Outcome {
    match outcome {
        Outcome::Retry { after, report } => {
            Outcome::Retry { after, report: Report { files_left: true, ..report } }
        }
        Outcome::Failed(report) => Outcome::Failed(Report { files_left: true, ..report }),
        // Who cancels a task believes that nothing of it is there.
        Outcome::Cancelled => {
            let report = Report::of(&fault.while_doing("cancel the task: remove the files of its attempts"));
            Outcome::Failed(Report { files_left: true, ..report })
        }
        Outcome::Completed(_) | Outcome::Released => outcome,
    }
}

/// True when nothing more is done for the task.
fn is_end_without_files(lease: &Lease, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Cancelled | Outcome::Failed(_) => true,
        Outcome::Retry { .. } => lease.failures_before.saturating_add(1) >= lease.task.spec.max_attempts,
        Outcome::Completed(_) | Outcome::Released => false,
    }
}

fn locked(failed: &FailedTasks) -> MutexGuard<'_, HashSet<(&'static str, TaskId)>> {
    failed.lock().expect("nothing panics while it holds this lock")
}

/// Records the outcome. A task source that does not answer is asked again for a while: an answer
/// that was lost must be repeated, and never be replaced by another outcome. Where leases do not run
/// out, it is asked for as long as the agent lives: a disk that is full for an hour would otherwise leave
/// the task running for ever, without anybody who runs it.
async fn finish(
    lease: &Lease,
    outcome: &Outcome,
    source: &dyn TaskSource,
    shutdown: &Shutdown,
    backoff: Backoff,
) {
    let mut failures = 0_u32;
    loop {
        let fault = match source.finish(lease, outcome).await {
            Ok(Finished::Recorded) => return,
            Ok(Finished::LeaseLost) => {
                tracing::warn!("the lease was lost; the outcome was dropped");
                return;
            }
            Err(fault) => fault,
        };
        failures = failures.saturating_add(1);
        tracing::warn!(failures, error = fault.chain(), "outcome could not be recorded");
        if failures >= FINISH_TRIES && (source.leases_run_out() || shutdown.is_draining()) {
            break;
        }
        let wait = backoff.wait(failures);
        if failures < FINISH_TRIES {
            tokio::time::sleep(wait).await;
        } else {
            // Woken by a stop, it is tried once more.
            let _woken = tokio::time::timeout(wait, shutdown.draining()).await;
        }
    }
    tracing::error!("outcome is not on record; the task will come back");
}

fn tell(outcome: &Outcome, elapsed: Duration) {
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Outcome::Completed(receipt) => tracing::info!(
            duration_ms,
            rows = receipt.rows,
            bytes = receipt.bytes,
            files = receipt.files.len(),
            "task completed"
        ),
        Outcome::Retry { after, report } => tracing::warn!(
            duration_ms, kind = %report.kind, error = report.message, hint = report.hint,
            retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            "attempt failed; the task is tried again"
        ),
        Outcome::Failed(report) => tracing::error!(
            duration_ms, kind = %report.kind, error = report.message, hint = report.hint, "task failed"
        ),
        Outcome::Cancelled => tracing::info!(duration_ms, "task cancelled"),
        Outcome::Released => tracing::info!(duration_ms, "task released: the agent stops"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::task::{Extension, LeaseId, Task, TaskSpec};

    const AT_ONCE: Backoff = Backoff { first: Duration::from_micros(1), longest: Duration::from_micros(1) };

    /// Fails to record an outcome this many times.
    struct Failing {
        leases_run_out: bool,
        failures: u32,
        asked: AtomicU32,
    }

    #[async_trait]
    impl TaskSource for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        async fn lease(&self, _limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
            Ok(Vec::new())
        }

        async fn wait_for_work(&self) {}

        async fn extend(&self, _leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
            Ok(Vec::new())
        }

        fn leases_run_out(&self) -> bool {
            self.leases_run_out
        }

        async fn finish(&self, _lease: &Lease, _outcome: &Outcome) -> Result<Finished, Fault> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if asked < self.failures {
                return Err(Fault::new(FaultKind::Transient, "write to the queue: the disk is full"));
            }
            Ok(Finished::Recorded)
        }
    }

    fn lease() -> Lease {
        let task = Task { id: TaskId::generate(), spec: TaskSpec::sample() };
        Lease { id: LeaseId("1".into()), task, attempt: 1, failures_before: 0 }
    }

    async fn tries(leases_run_out: bool, failures: u32, shutdown: &Shutdown) -> u32 {
        let source = Failing { leases_run_out, failures, asked: AtomicU32::new(0) };
        finish(&lease(), &Outcome::Cancelled, &source, shutdown, AT_ONCE).await;
        source.asked.into_inner()
    }

    #[tokio::test]
    async fn an_outcome_is_repeated_until_a_queue_whose_leases_do_not_run_out_has_it() {
        let shutdown = Shutdown::new();
        assert_eq!(tries(false, 100, &shutdown).await, 101);
        assert_eq!(tries(true, 100, &shutdown).await, FINISH_TRIES, "the lease runs out instead");
        assert_eq!(tries(true, 3, &shutdown).await, 4);
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_an_outcome_that_cannot_be_recorded() {
        let shutdown = Shutdown::new();
        shutdown.begin_drain();
        assert_eq!(tries(false, u32::MAX, &shutdown).await, FINISH_TRIES);
    }
}
