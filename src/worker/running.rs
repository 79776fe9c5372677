//! The attempts that run now: for live progress, and to cancel one at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::task::{Progress, TaskId};

/// One running attempt.
#[derive(Clone, Debug)]
pub struct RunningTask {
    /// Its live figures.
    pub progress: Arc<Progress>,
    /// Number of the attempt.
    pub attempt: u32,
    look: CancellationToken,
}

impl RunningTask {
    /// Resolves when somebody asked the attempt to look at its lease at once.
    pub async fn asked_to_look(&self) {
        self.look.cancelled().await;
    }
}

/// Names a running task: task sources give ids of their own, so an id alone is not enough.
type Key = (&'static str, TaskId);

/// The running attempts by task source and task.
#[derive(Debug, Default)]
pub struct Running {
    tasks: Mutex<HashMap<Key, RunningTask>>,
    entered: AtomicU64,
}

impl Running {
    /// Enters an attempt until the guard is dropped. `source` is the name of the task source.
    #[must_use]
    pub fn enter(self: &Arc<Self>, source: &'static str, id: &TaskId, attempt: u32) -> RunningGuard {
        let task = RunningTask { progress: Arc::default(), attempt, look: CancellationToken::new() };
        let key = (source, id.clone());
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key.clone(), task.clone());
        RunningGuard { running: Arc::clone(self), key, task }
    }

    /// The attempt of task `id` of the task source `source`, when one runs.
    #[must_use]
    pub fn get(&self, source: &'static str, id: &TaskId) -> Option<RunningTask> {
        self.lock().get(&(source, id.clone())).cloned()
    }

    /// How many attempts have been entered so far.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    /// How many attempts run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Every running attempt, with the name of its task source.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, TaskId, RunningTask)> {
        self.lock().iter().map(|((source, id), task)| (*source, id.clone(), task.clone())).collect()
    }

    /// Makes the attempt of task `id` look at its lease now, in place of at the next beat of its keeper.
    ///
    /// Only a hint, which may come too early or too late: the request to cancel itself is on
    /// record in the task source, and a keeper finds it there at its next beat at the latest.
    pub fn hurry(&self, source: &'static str, id: &TaskId) {
        if let Some(task) = self.get(source, id) {
            task.look.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, RunningTask>> {
        self.tasks.lock().expect("nothing panics while it holds this lock")
    }
}

/// Keeps an attempt in [`Running`].
#[derive(Debug)]
pub struct RunningGuard {
    running: Arc<Running>,
    key: Key,
    /// The attempt.
    pub task: RunningTask,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}
