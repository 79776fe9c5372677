//! Leases tasks for free workers and feeds them into the channel.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::fault::Fault;
use crate::guards::Hold;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::Lease;
use crate::task_source::TaskSource;

/// A leased task on its way to a worker. The permit is the worker that waits for it.
pub(super) struct Job {
    pub(super) lease: Lease,
    pub(super) source: Arc<dyn TaskSource>,
    pub(super) permit: OwnedSemaphorePermit,
    /// Counts the job until its outcome is recorded; with [`Poller::until_drained`] only.
    pub(super) count: Option<JobCount>,
}

/// Attempts of one task source that have not ended.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    jobs: AtomicUsize,
    ended: Notify,
}

/// One of them.
#[derive(Debug)]
pub(super) struct JobCount(Arc<Outstanding>);

impl JobCount {
    fn new(outstanding: &Arc<Outstanding>) -> Self {
        outstanding.jobs.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(outstanding))
    }
}

impl Drop for JobCount {
    fn drop(&mut self) {
        self.0.jobs.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

/// Why a poller has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollerEnd {
    /// The agent drains.
    Stopped,
    /// The task source has nothing more; with [`Poller::until_drained`] only.
    Drained,
    /// The task source does not give tasks; with [`Poller::until_drained`] only.
    GaveUp,
}

/// Failures in a row after which a task source that is to be drained is given up: about a minute.
const DRAIN_TRIES: u32 = 10;

pub(super) struct Poller {
    pub(super) source: Arc<dyn TaskSource>,
    /// One permit for each worker that has nothing to do.
    pub(super) free: Arc<Semaphore>,
    pub(super) jobs: async_channel::Sender<Job>,
    pub(super) handling: watch::Receiver<bool>,
    /// Why no task is to be taken.
    pub(super) hold: watch::Receiver<Option<Hold>>,
    pub(super) interval: watch::Receiver<Duration>,
    pub(super) shutdown: Shutdown,
    /// Ends the poller when the task source is drained; none for a service.
    pub(super) until_drained: Option<Arc<Outstanding>>,
}

impl Poller {
    /// Polls until the agent drains, or the task source is drained where that is wanted.
    pub(super) async fn run(mut self) -> PollerEnd {
        let shutdown = self.shutdown.clone();
        let mut failures = 0;
        while !shutdown.is_draining() {
            let permits = tokio::select! {
                permits = self.wanted_workers() => permits,
                () = shutdown.draining() => break,
            };
            // Looked at before the question: an attempt that ends meanwhile may put its task back.
            let is_idle =
                self.until_drained.as_ref().is_some_and(|jobs| jobs.jobs.load(Ordering::Acquire) == 0);
            let leased = match self.lease(permits).await {
                Ok(0) if is_idle => self.source.is_drained().await.map(|is_drained| (0, is_drained)),
                other => other.map(|count| (count, false)),
            };
            match leased {
                Ok((_, true)) => return PollerEnd::Drained,
                Ok((0, false)) => {
                    failures = 0;
                    self.rest(self.idle_time()).await;
                }
                Ok(_) => failures = 0,
                Err(fault) => {
                    failures += 1;
                    let is_hopeless = failures >= DRAIN_TRIES || !fault.kind().is_retryable();
                    if self.until_drained.is_some() && is_hopeless {
                        tracing::error!(
                            task_source = self.source.name(),
                            failures,
                            error = fault.chain(),
                            hint = fault.hint(),
                            "the task source is given up: it does not give tasks"
                        );
                        return PollerEnd::GaveUp;
                    }
                    tracing::warn!(
                        task_source = self.source.name(),
                        failures,
                        error = fault.chain(),
                        hint = fault.hint(),
                        "tasks could not be leased"
                    );
                    let wait = Backoff::TASK_SOURCE.wait(failures);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = shutdown.draining() => {}
                    }
                }
            }
        }
        PollerEnd::Stopped
    }

    /// Waits until tasks are handled, nothing is short and a worker is free, then takes all that are
    /// free.
    async fn wanted_workers(&mut self) -> Vec<OwnedSemaphorePermit> {
        loop {
            // An error means that the pool is gone, and with it the wish to handle tasks.
            if self.handling.wait_for(|handling| *handling).await.is_err() {
                return std::future::pending().await;
            }
            if self.hold.wait_for(Option::is_none).await.is_err() {
                return std::future::pending().await;
            }
            let permits = self.free_workers().await;
            // A worker can take hours to get free; the wish may have ended meanwhile.
            if *self.handling.borrow() && self.hold.borrow().is_none() {
                return permits;
            }
        }
    }

    /// Waits for a free worker, then takes all that are free.
    async fn free_workers(&self) -> Vec<OwnedSemaphorePermit> {
        let first = Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed");
        let mut permits = vec![first];
        // This underestimates when a worker gets free meanwhile; the next round finds it.
        while let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            permits.push(permit);
        }
        permits
    }

    async fn lease(&self, permits: Vec<OwnedSemaphorePermit>) -> Result<usize, Fault> {
        let limit = NonZeroUsize::new(permits.len()).expect("at least one worker is free");
        // Not cancelled by a stop: a lease whose answer is dropped would be nobody's.
        let leases = self.source.lease(limit).await?;
        let count = leases.len();
        debug_assert!(count <= permits.len(), "a task source gives no more than asked for");
        for (lease, permit) in leases.into_iter().zip(permits) {
            let count = self.until_drained.as_ref().map(JobCount::new);
            let job = Job { lease, source: Arc::clone(&self.source), permit, count };
            // The channel has a place for every worker, so this waits for nobody.
            if self.jobs.send(job).await.is_err() {
                tracing::error!("a leased task found no worker pool; its lease will run out");
            }
        }
        Ok(count)
    }

    /// The interval with a fifth of jitter, so that many agents do not poll in step.
    fn idle_time(&self) -> Duration {
        self.interval.borrow().mul_f64(rand::rng().random_range(0.8..=1.0))
    }

    async fn rest(&self, longest: Duration) {
        let attempt_ended = async {
            match &self.until_drained {
                Some(jobs) => jobs.ended.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = attempt_ended => {}
            () = self.source.wait_for_work() => {}
            () = tokio::time::sleep(longest) => {}
            () = self.shutdown.draining() => {}
        }
    }
}
