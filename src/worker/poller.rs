//! Leases tasks for free workers and feeds them into the channel.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::fault::Fault;
use crate::guards::Hold;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Lease, Outcome};
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

/// The workers that have nothing to do, one permit each.
#[derive(Debug)]
pub(super) struct FreeWorkers {
    permits: Arc<Semaphore>,
    /// Held by the poller that takes all of them. Pollers that look at the same moment would share them out
    /// otherwise, and each would ask its task source for fewer tasks than there are workers without work.
    taking: Mutex<()>,
}

impl FreeWorkers {
    pub(super) fn new(workers: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(workers)), taking: Mutex::new(()) }
    }

    /// Waits for a free worker.
    async fn one(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Waits for a free worker, then takes all that are free. The one permit gives all of them back at once.
    async fn all(&self) -> OwnedSemaphorePermit {
        let _taking = self.taking.lock().await;
        let mut permits = self.one().await;
        // This underestimates when a worker gets free meanwhile; the next round finds it.
        while let Ok(other) = Arc::clone(&self.permits).try_acquire_owned() {
            permits.merge(other);
        }
        permits
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

/// A task source that has not answered by then keeps no worker from the others: one that hangs would stop
/// the work of all of them.
const SLOW_ANSWER: Duration = Duration::from_secs(1);

/// How long a task that came so late waits for a worker: nobody extends its lease meanwhile, which lives for
/// minutes.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Poller {
    pub(super) source: Arc<dyn TaskSource>,
    pub(super) free: Arc<FreeWorkers>,
    pub(super) jobs: async_channel::Sender<Job>,
    pub(super) handling: watch::Receiver<bool>,
    /// Why no task is to be taken.
    pub(super) hold: watch::Receiver<Option<Hold>>,
    pub(super) interval: watch::Receiver<Duration>,
    pub(super) shutdown: Shutdown,
    /// Ends the poller when the task source is drained; none for a service.
    pub(super) until_drained: Option<Arc<Outstanding>>,
    pub(super) longest_wait: Duration,
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
    async fn wanted_workers(&mut self) -> OwnedSemaphorePermit {
        loop {
            // An error means that the pool is gone, and with it the wish to handle tasks.
            if self.handling.wait_for(|handling| *handling).await.is_err() {
                return std::future::pending().await;
            }
            if self.hold.wait_for(Option::is_none).await.is_err() {
                return std::future::pending().await;
            }
            let permits = self.free.all().await;
            // A worker can take hours to get free; the wish may have ended meanwhile.
            if *self.handling.borrow() && self.hold.borrow().is_none() {
                return permits;
            }
        }
    }

    async fn lease(&self, permits: OwnedSemaphorePermit) -> Result<usize, Fault> {
        let limit = NonZeroUsize::new(permits.num_permits()).expect("at least one worker is free");
        let mut permits = Some(permits);
        // Not cancelled by a stop: a lease whose answer is dropped would be nobody's.
        let mut answer = self.source.lease(limit);
        let leases = tokio::select! {
            leases = &mut answer => leases?,
            () = tokio::time::sleep(SLOW_ANSWER) => {
                drop(permits.take());
                answer.await?
            }
        };
        let count = leases.len();
        debug_assert!(count <= limit.get(), "a task source gives no more than asked for");
        for lease in leases {
            // The answer may have taken long, and nobody wants to begin by now.
            if let Some(reason) = self.unwanted() {
                self.give_back(&lease, reason).await;
                continue;
            }
            let permit = match permits.as_mut().and_then(|permits| permits.split(1)) {
                Some(permit) => permit,
                None => match self.worker_for_late_task().await {
                    Ok(permit) => permit,
                    Err(reason) => {
                        self.give_back(&lease, reason).await;
                        continue;
                    }
                },
            };
            let count = self.until_drained.as_ref().map(JobCount::new);
            let job = Job { lease, source: Arc::clone(&self.source), permit, count };
            // The channel has a place for every worker, so this waits for nobody.
            if self.jobs.send(job).await.is_err() {
                tracing::error!("a leased task found no worker pool; its lease will run out");
            }
        }
        Ok(count)
    }

    /// Why a task that was leased is not to be begun after all.
    fn unwanted(&self) -> Option<&'static str> {
        if self.shutdown.is_draining() {
            Some("the agent stops")
        } else if !*self.handling.borrow() {
            Some("it came when no task was to be started any more")
        } else if self.hold.borrow().is_some() {
            Some("it came when a disk or the memory had become short")
        } else {
            None
        }
    }

    /// A worker for a task that was leased so late that others have the workers by now; why not, when none
    /// becomes free soon, or none is to begin any more.
    async fn worker_for_late_task(&self) -> Result<OwnedSemaphorePermit, &'static str> {
        tokio::select! {
            permit = self.free.one() => self.unwanted().map_or(Ok(permit), Err),
            () = self.shutdown.draining() => Err("the agent stops"),
            () = tokio::time::sleep(self.longest_wait) => {
                Err("it came late, and no worker has become free since")
            }
        }
    }

    /// Gives a task back that nobody has begun.
    async fn give_back(&self, lease: &Lease, reason: &str) {
        match self.source.finish(lease, &Outcome::Released).await {
            Ok(_) => tracing::info!(task.id = %lease.task.id, "task released: {reason}"),
            Err(fault) => tracing::warn!(
                task.id = %lease.task.id,
                error = fault.chain(),
                "a task could not be given back; its lease will run out"
            ),
        }
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::{Barrier, mpsc};
    use tokio::task::JoinSet;

    use super::*;
    use crate::task::{Extension, Finished, LeaseId, Task, TaskId, TaskSpec};

    /// Longer than anything here takes; only a defect reaches it.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Gives one task when the test lets it, and tells how tasks ended.
    struct Slow {
        asked: Notify,
        answer: Notify,
        ended: mpsc::UnboundedSender<Outcome>,
    }

    #[async_trait]
    impl TaskSource for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        async fn lease(&self, _limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
            self.asked.notify_one();
            self.answer.notified().await;
            Ok(vec![lease()])
        }

        async fn wait_for_work(&self) {
            std::future::pending().await
        }

        async fn is_drained(&self) -> Result<bool, Fault> {
            Ok(false)
        }

        async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
            Ok(vec![Extension::Held; leases.len()])
        }

        async fn finish(&self, _lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault> {
            self.ended.send(outcome.clone()).expect("the test listens");
            Ok(Finished::Recorded)
        }
    }

    fn lease() -> Lease {
        let task = Task { id: TaskId::generate(), spec: TaskSpec::sample() };
        Lease { id: LeaseId("1".into()), task, attempt: 1, failures_before: 0 }
    }

    struct Polled {
        source: Arc<Slow>,
        free: Arc<FreeWorkers>,
        jobs: async_channel::Receiver<Job>,
        ended: mpsc::UnboundedReceiver<Outcome>,
        shutdown: Shutdown,
        handle: watch::Sender<bool>,
        hold: watch::Sender<Option<Hold>>,
        _interval: watch::Sender<Duration>,
    }

    /// A poller with one worker, which has asked and gets no answer.
    async fn polled(longest_wait: Duration) -> Polled {
        let (ended, heard) = mpsc::unbounded_channel();
        let source = Arc::new(Slow { asked: Notify::new(), answer: Notify::new(), ended });
        let free = Arc::new(FreeWorkers::new(1));
        let (send, jobs) = async_channel::bounded(1);
        let (handle, handling) = watch::channel(true);
        let (hold, held) = watch::channel(None);
        let (time, interval) = watch::channel(PATIENCE);
        let shutdown = Shutdown::new();
        let poller = Poller {
            source: Arc::clone(&source) as Arc<dyn TaskSource>,
            free: Arc::clone(&free),
            jobs: send,
            handling,
            hold: held,
            interval,
            shutdown: shutdown.clone(),
            until_drained: None,
            longest_wait,
        };
        shutdown.spawn(poller.run());
        tokio::time::timeout(PATIENCE, source.asked.notified()).await.expect("it is asked");
        Polled { source, free, jobs, ended: heard, shutdown, handle, hold, _interval: time }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn pollers_that_look_at_the_same_moment_see_all_free_workers() {
        const WORKERS: usize = 50;
        for _ in 0..500 {
            let free = Arc::new(FreeWorkers::new(WORKERS));
            let start = Arc::new(Barrier::new(2));
            let mut pollers = JoinSet::new();
            for _ in 0..2 {
                let (free, start) = (Arc::clone(&free), Arc::clone(&start));
                pollers.spawn(async move {
                    start.wait().await;
                    free.all().await.num_permits()
                });
            }
            assert_eq!(pollers.join_all().await, [WORKERS; 2]);
        }
    }

    #[tokio::test]
    async fn a_task_source_that_does_not_answer_keeps_no_worker_from_the_others() {
        let polled = polled(PATIENCE).await;
        let other = tokio::time::timeout(PATIENCE, polled.free.one()).await.expect("it is free again");
        polled.source.answer.notify_one();
        tokio::task::yield_now().await;
        assert!(polled.jobs.is_empty(), "its task waits for the worker");
        drop(other);
        let job = tokio::time::timeout(PATIENCE, polled.jobs.recv()).await.expect("a job").unwrap();
        assert_eq!((job.lease.id.0.as_str(), polled.free.permits.available_permits()), ("1", 0));
        polled.shutdown.begin_drain();
    }

    #[tokio::test]
    async fn a_task_that_comes_when_none_is_to_be_started_any_more_is_given_back() {
        let short = Hold { short: crate::guards::Short::Disk, reason: String::new() };
        let changes: [&dyn Fn(&Polled); 3] = [
            &|polled| {
                polled.handle.send_replace(false);
            },
            &|polled| {
                polled.hold.send_replace(Some(short.clone()));
            },
            &|polled| polled.shutdown.begin_drain(),
        ];
        for change in changes {
            let mut polled = polled(PATIENCE).await;
            change(&polled);
            polled.source.answer.notify_one();
            let ended = tokio::time::timeout(PATIENCE, polled.ended.recv()).await.expect("an end");
            assert!(matches!(ended, Some(Outcome::Released)), "{ended:?}");
            assert!(polled.jobs.is_empty());
            polled.shutdown.begin_drain();
        }
    }

    #[tokio::test]
    async fn a_task_that_comes_too_late_is_given_back_when_every_worker_is_busy_for_long() {
        let mut polled = polled(Duration::from_millis(1)).await;
        let free = Arc::clone(&polled.free);
        let _other = tokio::time::timeout(PATIENCE, free.one()).await.expect("it is free again");
        polled.source.answer.notify_one();
        let ended = tokio::time::timeout(PATIENCE, polled.ended.recv()).await.expect("an end");
        assert!(matches!(ended, Some(Outcome::Released)), "{ended:?}");
        assert!(polled.jobs.is_empty());
        polled.shutdown.begin_drain();
    }

    #[tokio::test]
    async fn a_task_that_comes_too_late_for_a_worker_is_given_back_at_the_stop() {
        let mut polled = polled(PATIENCE).await;
        let _other = tokio::time::timeout(PATIENCE, polled.free.one()).await.expect("it is free again");
        polled.source.answer.notify_one();
        polled.shutdown.begin_drain();
        let ended = tokio::time::timeout(PATIENCE, polled.ended.recv()).await.expect("an end");
        assert!(matches!(ended, Some(Outcome::Released)), "{ended:?}");
        assert!(polled.shutdown.finished(PATIENCE).await);
        assert!(polled.jobs.try_recv().is_err());
    }
}
