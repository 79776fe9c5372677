//! The attempts that run now: for live progress, and to cancel one at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use crate::task::{Progress, TaskId};

/// Which files of an attempt others may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visible {
    /// None.
    Nothing,
    /// Some: the commit is under way, or has failed in its middle.
    Some,
    /// All of them.
    All,
}

/// One running attempt.
#[derive(Clone, Debug)]
pub struct RunningTask {
    /// Its live figures.
    pub progress: Arc<Progress>,
    /// Number of the attempt.
    pub attempt: u32,
    look: CancellationToken,
    visible: Arc<AtomicU8>,
}

impl RunningTask {
    /// Resolves when somebody asked the attempt to look at its lease at once.
    pub async fn asked_to_look(&self) {
        self.look.cancelled().await;
    }

    /// Notes how far the files of the attempt are.
    pub(super) fn set_visible(&self, visible: Visible) {
        self.visible.store(visible as u8, Ordering::Relaxed);
    }

    /// True when some or all of the files of the attempt are `visible`.
    pub(super) fn is(&self, visible: Visible) -> bool {
        self.visible.load(Ordering::Relaxed) == visible as u8
    }
}

/// Names a running task: task sources give ids of their own, so an id alone is not enough.
type Key = (&'static str, TaskId);

/// The running attempts by task source and task.
#[derive(Debug, Default)]
pub struct Running {
    attempts: Mutex<Attempts>,
    entered: AtomicU64,
}

#[derive(Debug, Default)]
struct Attempts {
    tasks: HashMap<Key, RunningTask>,
    /// What the attempts did that have ended.
    ended: Moved,
}

/// What was moved since the agent started, by whatever became of the attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows that left the sources.
    pub rows: u64,
    /// Bytes handed to the destinations.
    pub bytes: u64,
}

impl Moved {
    fn add(&mut self, task: &RunningTask) {
        let progress = task.progress.snapshot();
        self.rows = self.rows.saturating_add(progress.rows);
        self.bytes = self.bytes.saturating_add(progress.bytes);
    }
}

impl Running {
    /// Enters an attempt until the guard is dropped. `source` is the name of the task source.
    #[must_use]
    pub fn enter(self: &Arc<Self>, source: &'static str, id: &TaskId, attempt: u32) -> RunningGuard {
        let task = RunningTask {
            progress: Arc::default(),
            attempt,
            look: CancellationToken::new(),
            visible: Arc::default(),
        };
        let key = (source, id.clone());
        self.entered.fetch_add(1, Ordering::Relaxed);
        self.lock().tasks.insert(key.clone(), task.clone());
        RunningGuard { running: Arc::clone(self), key, task }
    }

    /// The attempt of task `id` of the task source `source`, when one runs.
    #[must_use]
    pub fn get(&self, source: &'static str, id: &TaskId) -> Option<RunningTask> {
        self.lock().tasks.get(&(source, id.clone())).cloned()
    }

    /// How many attempts have been entered so far.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    /// How many attempts run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Every running attempt, with the name of its task source.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, TaskId, RunningTask)> {
        self.lock().tasks.iter().map(|((source, id), task)| (*source, id.clone(), task.clone())).collect()
    }

    /// What all attempts have moved, those that run and those that have ended.
    #[must_use]
    pub fn moved(&self) -> Moved {
        let attempts = self.lock();
        let mut moved = attempts.ended;
        attempts.tasks.values().for_each(|task| moved.add(task));
        moved
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

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().expect("nothing panics while it holds this lock")
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
        let mut attempts = self.running.lock();
        attempts.tasks.remove(&self.key);
        attempts.ended.add(&self.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_stays_counted_when_attempts_end() {
        let running = Arc::new(Running::default());
        let id = TaskId::parse("one").unwrap();
        let first = running.enter("local", &id, 1);
        let second = running.enter("remote", &id, 1);
        first.task.progress.add_rows_read(5);
        second.task.progress.add_rows_read(7);
        second.task.progress.add_bytes_written(100);
        assert_eq!(running.moved(), Moved { rows: 12, bytes: 100 });
        drop(second);
        assert_eq!((running.moved(), running.count()), (Moved { rows: 12, bytes: 100 }, 1));
        drop(first);
        assert_eq!((running.moved(), running.count()), (Moved { rows: 12, bytes: 100 }, 0));
    }
}
