//! The attempts that run now: for live progress, and to cancel one at once.

use std::collections::HashMap;
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

/// The running attempts by task.
#[derive(Debug, Default)]
pub struct Running {
    tasks: Mutex<HashMap<TaskId, RunningTask>>,
}

impl Running {
    /// Enters an attempt until the guard is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: &TaskId, attempt: u32) -> RunningGuard {
        let task = RunningTask { progress: Arc::default(), attempt, look: CancellationToken::new() };
        self.lock().insert(id.clone(), task.clone());
        RunningGuard { running: Arc::clone(self), id: id.clone(), task }
    }

    /// The attempt of `id`, when one runs.
    #[must_use]
    pub fn get(&self, id: &TaskId) -> Option<RunningTask> {
        self.lock().get(id).cloned()
    }

    /// How many attempts run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Every running attempt.
    #[must_use]
    pub fn all(&self) -> Vec<(TaskId, RunningTask)> {
        self.lock().iter().map(|(id, task)| (id.clone(), task.clone())).collect()
    }

    /// Makes the attempt of `id` look at its lease now, in place of at the next beat of its keeper.
    ///
    /// Only a hint, which may come too early or too late: the request to cancel itself is on
    /// record in the task source, and a keeper finds it there at its next beat at the latest.
    pub fn hurry(&self, id: &TaskId) {
        if let Some(task) = self.lock().get(id) {
            task.look.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, RunningTask>> {
        self.tasks.lock().expect("nothing panics while it holds this lock")
    }
}

/// Keeps an attempt in [`Running`].
#[derive(Debug)]
pub struct RunningGuard {
    running: Arc<Running>,
    id: TaskId,
    /// The attempt.
    pub task: RunningTask,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}
