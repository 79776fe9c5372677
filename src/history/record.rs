//! Runs and lines as they are kept.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::task::{Report, TaskId};

/// How an attempt ended, as this agent saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It runs.
    Running,
    /// Its files are committed.
    Completed,
    /// It failed; the error says why.
    Failed,
    /// A person ended it.
    Cancelled,
    /// The agent stopped in good order and gave the task back.
    Released,
    /// The agent died.
    Interrupted,
    /// Its lease went to somebody else; it committed nothing.
    Lost,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Released,
        Self::Interrupted,
        Self::Lost,
    ];

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
            Self::Lost => "lost",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One attempt of one task, of whichever task source.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Position in order of arrival: the cursor of a listing.
    pub sequence: i64,
    /// Name of the task source.
    pub task_source: String,
    /// The task.
    pub task: TaskId,
    /// 1 for the first one, as the task source counts.
    pub attempt: u32,
    /// How it ended.
    pub state: RunState,
    /// Name of the source connection.
    pub source: String,
    /// Name of the target connection.
    pub destination: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Rows in its files, when it completed.
    pub rows: Option<u64>,
    /// Bytes in its files, when it completed.
    pub bytes: Option<u64>,
    /// Its files, when it completed.
    pub files: Option<u64>,
    /// Why it failed.
    pub report: Option<Report>,
}

/// Which runs are wanted.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// In this state only.
    pub state: Option<RunState>,
    /// Of this task only.
    pub task: Option<TaskId>,
    /// That came before this cursor.
    pub before: Option<i64>,
    /// At most so many; 1,000 however many are asked for, and when nothing is said.
    pub limit: Option<NonZeroU32>,
}

/// One page of runs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunRecord>,
    /// Give this to get the next page; `None` on the last one.
    pub next: Option<i64>,
}

/// What an attempt logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRecord {
    /// Position in order of arrival: the cursor of a listing.
    pub sequence: i64,
    /// When.
    pub time: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Which attempt.
    pub attempt: u32,
    /// Which part of the agent.
    pub target: String,
    /// In words.
    pub message: String,
    /// In figures.
    pub fields: Map<String, Value>,
}

/// One page of lines, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePage {
    /// The lines.
    pub lines: Vec<LineRecord>,
    /// Whether there are more of them already.
    pub has_more: bool,
}
