//! What the local queue remembers of a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::task::{Receipt, Report, Task};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a worker, or for the back-off of its last attempt to pass.
    Queued,
    /// A worker has it.
    Running,
    /// Its files are committed.
    Completed,
    /// It will not be tried again by itself.
    Failed,
    /// A person ended it.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name in the API, the metrics and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True when nothing more happens by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A task and its whole history. Moments are whole milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// The task.
    pub task: Task,
    /// Its state.
    pub state: TaskState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// Not before this moment, when it waits for a back-off.
    pub eligible_at: Option<Timestamp>,
    /// A person asked to cancel it, and its attempt still runs.
    pub cancel_requested: bool,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// Its files, when it completed.
    pub receipt: Option<Receipt>,
    /// Position in order of arrival: the cursor of a listing.
    pub sequence: i64,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// It runs.
    Running,
    /// It committed.
    Completed,
    /// It failed; the report says why.
    Failed,
    /// A person ended it.
    Cancelled,
    /// The agent stopped in good order and gave the task back.
    Released,
    /// The agent died.
    Interrupted,
}

impl AttemptState {
    /// The name in the API and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One attempt of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// 1 for the first one. Counts every start, also of attempts that were released or interrupted.
    pub number: u32,
    /// How it ended.
    pub state: AttemptState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub report: Option<Report>,
}

/// What became of one submitted task.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// New, and durable.
    Created(TaskRecord),
    /// The same id and body were accepted before; nothing changed.
    Existing(TaskRecord),
}

/// What became of a request to cancel.
#[derive(Clone, Debug, PartialEq)]
pub enum Cancelled {
    /// There is no such task.
    Unknown,
    /// It waited, and is cancelled now.
    Now(TaskRecord),
    /// It runs; the request is on record and [`crate::task::Extension::Cancelled`] will tell its attempt.
    Requested(TaskRecord),
    /// It had ended before.
    AlreadyEnded(TaskRecord),
}

/// What became of a request to try again.
#[derive(Clone, Debug, PartialEq)]
pub enum Retried {
    /// There is no such task.
    Unknown,
    /// It was failed or cancelled, and waits again with fresh attempts.
    Queued(TaskRecord),
    /// It is in a state that cannot be retried.
    Refused(TaskRecord),
}

/// How many tasks there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// Waiting.
    pub queued: u64,
    /// Running.
    pub running: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// One page of a listing, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<TaskRecord>,
    /// Give this to get the next page; `None` on the last one.
    pub next: Option<i64>,
}
