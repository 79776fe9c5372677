//! One attempt, from its lease to its outcome.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span};

use super::ending::{Cut, Ended, decide, describe, named, tell};
use super::keeper::{self, StopReason};
use super::record::finish;
use super::running::{Running, RunningTask, Visible};
use crate::catalog::Catalog;
use crate::config::TransferSettings;
use crate::destination::Target;
use crate::fault::{Fault, FaultKind};
use crate::history::{History, RunOutcome};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Lease, Outcome, Progress, Receipt, Report, Task, TaskId};
use crate::task_source::TaskSource;
use crate::telemetry::{AttemptLog, Metrics, continue_trace};
use crate::transfer::Transfer;

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
