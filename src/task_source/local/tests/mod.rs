//! The queue on real files.

mod life;
mod model;
mod recovery;
mod retention;
mod service;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{LocalQueue, Submitted, TaskRecord};
use crate::config::QueueSettings;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::task::{FileReceipt, Finished, Lease, Outcome, Read, Receipt, Report, Task, TaskId, TaskSpec};
use crate::task_source::TaskSource;

/// Longer than anything here takes; only a defect reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing goes.
const FOR_EVER: QueueSettings = QueueSettings { keep: None, max_tasks: None };

/// A data directory that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("queue-test-{}", uuid::Uuid::new_v4())))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    async fn open(&self) -> LocalQueue {
        self.try_open().await.expect("the queue opens")
    }

    async fn try_open(&self) -> Result<LocalQueue, Fault> {
        LocalQueue::open(&self.0, FOR_EVER, &Shutdown::new()).await
    }

    async fn open_with(&self, settings: QueueSettings) -> LocalQueue {
        LocalQueue::open(&self.0, settings, &Shutdown::new()).await.expect("the queue opens")
    }

    /// The files as a kill -9 at this moment would leave them, in another place.
    fn as_after_a_kill(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(&copy.0).unwrap();
        for name in ["queue.sqlite", "queue.sqlite-wal"] {
            fs::copy(self.0.join(name), copy.0.join(name)).unwrap();
        }
        copy
    }

    /// A connection of some other program.
    async fn connect(&self) -> sqlx::SqliteConnection {
        super::database::connect_writer(&self.0.join("queue.sqlite")).await.unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn id(text: &str) -> TaskId {
    TaskId::parse(text).unwrap()
}

fn task(name: &str) -> Task {
    let mut spec = TaskSpec::sample();
    spec.source.read = Read::Query("SELECT 'it''s \u{1F980} \\ \"quoted\"\n\u{1}' AS text".into());
    spec.source.columns = Some(vec!["text".into()]);
    spec.destination.max_file_size = Some(u64::MAX);
    (spec.max_attempts, spec.timeout) = (3, Some(Duration::from_millis(1_500)));
    Task { id: id(name), spec }
}

fn with_priority(name: &str, priority: i32) -> Task {
    let mut task = task(name);
    task.spec.priority = priority;
    task
}

fn with_another_body(name: &str) -> Task {
    let mut task = task(name);
    task.spec.destination.path = "elsewhere".into();
    task
}

fn report() -> Report {
    Report {
        kind: FaultKind::Transient,
        message: "read rows: \"connection\" reset".into(),
        hint: None,
        files_left: false,
        method: None,
        at: Timestamp::now(),
    }
}

fn receipt() -> Receipt {
    let file = FileReceipt {
        location: "file:///data/orders/task_1_result_001.parquet".into(),
        rows: u64::MAX,
        bytes: 10,
        sha256: "00".into(),
    };
    Receipt {
        files: vec![file],
        rows: u64::MAX,
        bytes: 10,
        duration_ms: 5,
        slices: 1,
        load: None,
        method: None,
    }
}

fn retry_after(after: Duration) -> Outcome {
    Outcome::Retry { after, report: report() }
}

async fn submit(queue: &LocalQueue, task: Task) -> TaskRecord {
    match queue.submit(vec![task]).await.unwrap().remove(0) {
        Submitted::Created(record) => record,
        Submitted::Existing(record) => panic!("{} was there before", record.task.id),
    }
}

async fn lease(queue: &LocalQueue, limit: usize) -> Vec<Lease> {
    queue.lease(NonZeroUsize::new(limit).unwrap()).await.unwrap()
}

async fn lease_one(queue: &LocalQueue) -> Lease {
    lease(queue, 1).await.pop().expect("a task waits")
}

async fn record(queue: &LocalQueue, name: &str) -> TaskRecord {
    queue.get(&id(name)).await.unwrap().expect("the task is known")
}

async fn finish(queue: &LocalQueue, lease: &Lease, outcome: Outcome) -> Finished {
    queue.finish(lease, &outcome).await.unwrap()
}
