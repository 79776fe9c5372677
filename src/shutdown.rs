//! Two level-triggered stop signals and a tracker of every spawned task.
//!
//! `drain` means: take nothing new. `abort` means: stop at the next safe point. A late subscriber
//! sees a signal that was given before, because a token stays cancelled.
//!
//! Invariant: nothing else in the crate calls `tokio::spawn` or `spawn_blocking`.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::fault::{Fault, FaultKind};

/// The stop signals and the tracker; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
    tracker: TaskTracker,
}

impl Shutdown {
    /// A fresh pair of signals that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to take nothing new.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Asks everybody to stop at the next safe point. Implies drain.
    pub fn begin_abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// True once drain or abort was asked for.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// True once abort was asked for.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.abort.is_cancelled()
    }

    /// Resolves when drain is asked for, at once if it already was.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves when abort is asked for, at once if it already was.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }

    /// A token that is cancelled by abort, and can be cancelled alone.
    #[must_use]
    pub fn abort_child(&self) -> CancellationToken {
        self.abort.child_token()
    }

    /// Spawns a tracked task. Its log lines belong to the span in which it was spawned.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(future.instrument(Span::current())))
    }

    /// Spawns a tracked task that outlives the work during which it began, and belongs to no span.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_apart<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(future))
    }

    /// Waits until every tracked task has ended, or `limit` has passed. True when all ended.
    pub async fn finished(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

/// Runs blocking work (encoding, file access) on a thread of its own. Its log lines belong to the
/// span in which it was spawned.
///
/// The thread ends by itself when its input channel closes, so it needs no tracker.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn_blocking<F, R>(work: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// Runs work that blocks on a thread of its own, and waits for it. A panic there is the fault of a bug while
/// doing `action`.
pub(crate) async fn run_blocking<T: Send + 'static>(
    action: impl Into<Cow<'static, str>>,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let lost = |error| Err(Fault::new(FaultKind::Bug, action).because(error));
    spawn_blocking(work).await.unwrap_or_else(lost)
}

/// Tasks that belong to one activity: dropping the set aborts them, [`TaskSet::shutdown`] aborts
/// them and waits until none of them runs any more.
#[derive(Debug, Default)]
pub struct TaskSet<T: 'static>(tokio::task::JoinSet<T>);

impl<T: Send + 'static> TaskSet<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(tokio::task::JoinSet::new())
    }

    /// Starts a task of this activity.
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(future.instrument(Span::current()));
    }

    /// Waits for the next task that ends; `None` when all have ended.
    pub async fn join_next(&mut self) -> Option<Result<T, tokio::task::JoinError>> {
        self.0.join_next().await
    }

    /// Aborts what still runs and waits for its end.
    pub async fn shutdown(&mut self) {
        self.0.shutdown().await;
    }
}

/// Spawns the API server, which outlives the drain and is ended by its own signal.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn_server<F>(server: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(server)
}
