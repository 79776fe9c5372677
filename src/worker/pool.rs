//! N workers, their pollers, and the switch that starts and stops them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::poller::{Job, LONGEST_WAIT, Poller, PollerEnd};
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
    expected_alive: usize,
    /// Cancelled when no poller and no worker is left.
    ended: CancellationToken,
    /// A task source could not be drained, because it does not give tasks.
    gave_up: AtomicBool,
}

/// Counts a critical task as alive until it ends, however it ends.
struct AliveGuard(Arc<Shared>);

impl Drop for AliveGuard {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.cancel();
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
        let free = Arc::new(Semaphore::new(workers));
        let expected_alive = task_sources.len() + workers;
        let shared = Arc::new(Shared {
            workers: settings.workers,
            handling: watch::Sender::new(true),
            interval: watch::Sender::new(settings.interval),
            running: Arc::clone(runner.running()),
            alive: AtomicUsize::new(expected_alive),
            expected_alive,
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
            let guard = AliveGuard(Arc::clone(&shared));
            shutdown.spawn(async move {
                if poller.run().await == PollerEnd::GaveUp {
                    guard.0.gave_up.store(true, Ordering::Release);
                }
                drop(guard);
            });
        }
        for _ in 0..workers {
            let queue = queue.clone();
            let runner = Arc::clone(runner);
            let guard = AliveGuard(Arc::clone(&shared));
            // A worker ends when every poller has ended and the channel is empty: what was leased
            // is always run, or released by the runner itself when the agent aborts.
            shutdown.spawn(async move {
                while let Ok(Job { lease, source, permit, count }) = queue.recv().await {
                    runner.run(lease, source.as_ref()).await;
                    drop(permit);
                    drop(count);
                }
                drop(guard);
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

    /// True while every poller and worker is alive. None of them ends before a drain, so `false`
    /// without one means a defect.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shared.alive.load(Ordering::Relaxed) == self.shared.expected_alive
    }
}
