//! Leases, outcomes, receipts and reports.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LoadMode, Task};
use crate::fault::{Fault, FaultKind};

/// Names one attempt of one task; unique for the life of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub String);

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The right to run one attempt.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Names this attempt to its task source.
    pub id: LeaseId,
    /// What to run.
    pub task: Task,
    /// 1 for the first attempt. Counts every start, also of attempts that were released or that
    /// the agent did not survive.
    pub attempt: u32,
    /// Attempts that failed before this one and count towards `max_attempts`: a failure of this
    /// one is the last when `failures_before + 1 >= max_attempts`.
    pub failures_before: u32,
}

/// What became of a lease that was to be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Still ours.
    Held,
    /// Somebody else's now: stop, commit nothing, report nothing.
    Lost,
    /// Still ours, but the task was cancelled: stop and finish with [`Outcome::Cancelled`].
    Cancelled,
}

/// What became of an attempt. Exactly one is recorded for each.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Files are committed.
    Completed(Receipt),
    /// Failed, and worth another attempt not before `after`.
    Retry {
        /// Back-off.
        after: Duration,
        /// What went wrong.
        report: Report,
    },
    /// Failed for good.
    Failed(Report),
    /// Ended because a person asked for it. Cancelled is not failed.
    Cancelled,
    /// Given back because the agent stops. Does not count as an attempt.
    Released,
}

impl Outcome {
    /// The same with this in the report of what went wrong.
    #[must_use]
    pub fn read_by(mut self, method: MethodReceipt) -> Self {
        if let Self::Retry { report, .. } | Self::Failed(report) = &mut self {
            report.method = Some(method);
        }
        self
    }
}

/// What the task source made of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is on record.
    Recorded,
    /// The lease was not ours any more; nothing was changed.
    LeaseLost,
}

/// Proof of a completed task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receipt {
    /// Every file, in order of its number.
    pub files: Vec<FileReceipt>,
    /// Rows in all files; equals the rows read from the source.
    pub rows: u64,
    /// Bytes in all files.
    pub bytes: u64,
    /// Time of the attempt that completed, in milliseconds.
    pub duration_ms: u64,
    /// Parallel slices that were read.
    pub slices: u32,
    /// What the load into a table did, for a task that asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReceipt>,
    /// How the rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodReceipt>,
}

/// How the rows of a task were read, and why so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MethodReceipt {
    /// `native`, `odbc` or the name of a bulk utility.
    pub name: String,
    /// Who chose it.
    pub reason: String,
}

/// One committed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileReceipt {
    /// Where the file is: `file:///...`, `s3://bucket/key`, `gs://bucket/key`, or the URL of a blob.
    pub location: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in lower-case hex.
    pub sha256: String,
}

/// Proof of a load: what its row in the control table says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoadReceipt {
    /// The table, with database and schema, every part in double quotes.
    pub table: String,
    /// How its rows were treated.
    pub mode: LoadMode,
    /// Rows of the files that were loaded.
    pub rows_loaded: u64,
    /// Rows that the table got.
    pub rows_inserted: u64,
    /// Rows of the table that were changed.
    pub rows_updated: u64,
    /// Rows of the table that were removed.
    pub rows_deleted: u64,
    /// True when an earlier attempt had loaded already and this one only found its record: the
    /// numbers are those of the earlier one.
    pub already_loaded: bool,
    /// Whether the files were removed from the stage afterwards.
    pub purged: bool,
}

/// Why an attempt did not complete, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// Decides what happens next.
    pub kind: FaultKind,
    /// What was being done and why it failed, outermost first.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True when files of the task may be visible that it has not completed: they could not be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_left: bool,
    /// How the rows were read, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodReceipt>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl Report {
    /// Longest message that is kept, in bytes.
    pub const MAX_MESSAGE: usize = 4096;

    /// Puts a fault on record.
    #[must_use]
    pub fn of(fault: &Fault) -> Self {
        let mut message = fault.chain();
        if message.len() > Self::MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(Self::MAX_MESSAGE));
            message.push('…');
        }
        let hint = fault.hint().map(str::to_owned);
        Self { kind: fault.kind(), message, hint, files_left: false, method: None, at: Timestamp::now() }
    }
}
