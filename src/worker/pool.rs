//! N workers, their pollers, and the switch that starts and stops them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::poller::{FreeWorkers, Job, LONGEST_WAIT, Poller, PollerEnd};
use super::runner::Runner;
use super::running::Running;
use crate::guards::Guards;
use crate::shutdown::Shutdown;
use crate::task_source::TaskSource;

/// How large a pool is, how often it looks for work, and when it ends.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Attempts that run at the same time.
    pub workers: NonZeroUsize,
    /// Longest time between two looks at a task source.
    pub interval: Duration,
    /// End when every task source is drained, in place of waiting for more.
    pub once: bool,
    /// Hold new tasks while something is short.
    pub guards: Guards,
}

/// A handle on the running pool; clones share it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    workers: NonZeroUsize,
    handling: watch::Sender<bool>,
    interval: watch::Sender<Duration>,
    running: Arc<Running>,
    alive: AtomicUsize,
    /// One of them has ended in the middle of its work.
    is_broken: AtomicBool,
    /// Cancelled when no poller and no worker is left.
    ended: CancellationToken,
    /// A task source could not be drained, because it does not give tasks.
    gave_up: AtomicBool,
}

/// Counts a critical task as alive until it ends, however it ends.
struct AliveGuard {
    shared: Arc<Shared>,
    has_done_its_work: bool,
}

impl AliveGuard {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), has_done_its_work: false }
    }

    /// The task has ended because there is nothing more to do: all is well.
    fn done(mut self) {
        self.has_done_its_work = true;
    }
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        if !self.has_done_its_work {
            self.shared.is_broken.store(true, Ordering::Release);
        }
        if self.shared.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.ended.cancel();
        }
    }
}

impl Pool {
    /// Starts one poller for each task source, and the workers. They end when the agent drains.
    #[must_use]
    pub fn start(
        settings: PoolSettings,
        task_sources: Vec<Arc<dyn TaskSource>>,
        runner: &Arc<Runner>,
        shutdown: &Shutdown,
    ) -> Self {
        let workers = settings.workers.get();
        let (jobs, queue) = async_channel::bounded::<Job>(workers);
        let free = Arc::new(FreeWorkers::new(workers));
        let shared = Arc::new(Shared {
            workers: settings.workers,
            handling: watch::Sender::new(true),
            interval: watch::Sender::new(settings.interval),
            running: Arc::clone(runner.running()),
            alive: AtomicUsize::new(task_sources.len() + workers),
            is_broken: AtomicBool::new(false),
            ended: CancellationToken::new(),
            gave_up: AtomicBool::new(false),
        });
        for source in task_sources {
            let poller = Poller {
                source,
                free: Arc::clone(&free),
                jobs: jobs.clone(),
                handling: shared.handling.subscribe(),
                hold: settings.guards.follow(),
                interval: shared.interval.subscribe(),
                shutdown: shutdown.clone(),
                until_drained: settings.once.then(Arc::default),
                longest_wait: LONGEST_WAIT,
            };
            let guard = AliveGuard::new(&shared);
            shutdown.spawn(async move {
                if poller.run().await == PollerEnd::GaveUp {
                    guard.shared.gave_up.store(true, Ordering::Release);
                }
                guard.done();
            });
        }
        for _ in 0..workers {
            let queue = queue.clone();
            let runner = Arc::clone(runner);
            let guard = AliveGuard::new(&shared);
            // A worker ends when every poller has ended and the channel is empty: what was leased
            // is always run, or released by the runner itself when the agent aborts.
            shutdown.spawn(async move {
                while let Ok(Job { lease, source, permit, count }) = queue.recv().await {
                    runner.run(lease, source.as_ref()).await;
                    drop(permit);
                    drop(count);
                }
                guard.done();
            });
        }
        Self { shared }
    }

    /// Starts to take tasks. False when it already did.
    pub fn start_handling(&self) -> bool {
        !self.shared.handling.send_replace(true)
    }

    /// Takes no new task; running ones end. False when it already was so.
    pub fn stop_handling(&self) -> bool {
        self.shared.handling.send_replace(false)
    }

    /// Whether tasks are taken.
    #[must_use]
    pub fn is_handling(&self) -> bool {
        *self.shared.handling.borrow()
    }

    /// Changes the longest time between two looks at a task source, from the next look on.
    pub fn set_interval(&self, interval: Duration) {
        self.shared.interval.send_replace(interval);
    }

    /// Attempts that can run at the same time.
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        self.shared.workers
    }

    /// The attempts that run now.
    #[must_use]
    pub fn running(&self) -> &Arc<Running> {
        &self.shared.running
    }

    /// Resolves when no poller and no worker is left: after a drain, and with [`PoolSettings::once`]
    /// when every task source is drained or was given up.
    pub async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// True when a task source was given up with [`PoolSettings::once`], because it gave no tasks.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.shared.gave_up.load(Ordering::Acquire)
    }

    /// True while no poller and no worker has ended in the middle of its work. One that has nothing more to
    /// do, because its task source is drained or the agent drains, may end; `false` means a defect.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.shared.is_broken.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::catalog::Catalog;
    use crate::config::TransferSettings;
    use crate::fault::Fault;
    use crate::task::{Extension, Finished, Lease, LeaseId, Outcome};
    use crate::telemetry::Metrics;

    /// Longer than anything here takes; only a defect reaches it.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A task source without tasks.
    #[derive(Clone, Copy, PartialEq)]
    enum Empty {
        /// Nothing comes any more.
        Drained,
        /// Something may come.
        Waiting,
        /// A defect.
        Panics,
    }

    #[async_trait]
    impl TaskSource for Empty {
        fn name(&self) -> &'static str {
            "empty"
        }

        async fn lease(&self, _limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
            assert!(*self != Self::Panics, "this test wants it");
            Ok(Vec::new())
        }

        async fn wait_for_work(&self) {
            std::future::pending().await
        }

        async fn is_drained(&self) -> Result<bool, Fault> {
            Ok(*self == Self::Drained)
        }

        async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
            Ok(vec![Extension::Held; leases.len()])
        }

        async fn finish(&self, _lease: &Lease, _outcome: &Outcome) -> Result<Finished, Fault> {
            Ok(Finished::Recorded)
        }
    }

    /// A pool of two workers for these task sources, of whose pollers one has ended.
    async fn with_one_poller_ended(sources: [Empty; 2], shutdown: &Shutdown) -> Pool {
        let runner = Arc::new(Runner::new(
            Arc::new(Catalog::new()),
            TransferSettings::default(),
            Arc::new(Metrics::new()),
            shutdown.clone(),
        ));
        let settings = PoolSettings {
            workers: NonZeroUsize::new(2).unwrap(),
            interval: PATIENCE,
            once: true,
            guards: Guards::default(),
        };
        let sources = sources.map(|source| Arc::new(source) as Arc<dyn TaskSource>).to_vec();
        let pool = Pool::start(settings, sources, &runner, shutdown);
        let ended = async {
            while pool.shared.alive.load(Ordering::Acquire) > 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("a poller ends");
        pool
    }

    #[tokio::test]
    async fn a_pool_is_whole_when_one_of_its_task_sources_is_drained_before_the_others() {
        let shutdown = Shutdown::new();
        let pool = with_one_poller_ended([Empty::Drained, Empty::Waiting], &shutdown).await;
        assert!(pool.is_whole());
        shutdown.begin_drain();
        assert!(shutdown.finished(PATIENCE).await);
        assert!(pool.is_whole(), "a stop is no defect");
    }

    #[tokio::test]
    async fn a_pool_with_a_poller_that_panicked_is_broken() {
        let shutdown = Shutdown::new();
        let pool = with_one_poller_ended([Empty::Panics, Empty::Waiting], &shutdown).await;
        assert!(!pool.is_whole());
        shutdown.begin_drain();
    }
}
