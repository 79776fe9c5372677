//! A task as the API shows it.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::task_request::TaskRequest;
use crate::task::{ProgressSnapshot, Receipt, Report, TaskId};
use crate::task_source::local::{AttemptRecord, AttemptState, LocalQueue, TaskRecord, TaskState};
use crate::worker::Running;

/// A task with its history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "orders-2026-11",
    "status": "running",
    "created_at": "2026-11-20T08:30:00.125Z",
    "updated_at": "2026-11-20T08:30:01.25Z",
    "next_attempt_at": null,
    "cancel_requested": false,
    "request": {
        "task_type": "data_extraction",
        "id": "orders-2026-11",
        "source_config": {"database": "sales", "table": "public.orders", "slices": 4},
        "destination_config": {"type": "s3", "path": "orders/2026/", "format": "parquet"},
        "max_attempts": 3,
        "priority": 0
    },
    "attempts": [{"number": 1, "status": "running", "started_at": "2026-11-20T08:30:01.25Z",
        "finished_at": null, "error": null}],
    "progress": {"rows": 1200000, "rows_encoded": 1190000, "bytes": 48000000, "parts": 4,
        "elapsed_ms": 1500, "rows_per_second": 800000.0},
    "receipt": null
}))]
pub(super) struct TaskView {
    /// The name.
    #[schema(value_type = String)]
    pub id: TaskId,
    /// Where the task is in its life.
    pub status: TaskState,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its status last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it is tried again at the earliest, while it waits after a failed attempt.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// Whether somebody asked to cancel it and its attempt still runs.
    pub cancel_requested: bool,
    /// The task itself, in the nested form and with the defaults filled in.
    pub request: TaskRequest,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Live figures, while it runs.
    pub progress: Option<ProgressSnapshot>,
    /// Its files, when it completed.
    pub receipt: Option<Receipt>,
}

/// One attempt of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptView {
    /// 1 for the first one.
    pub number: u32,
    /// How it ended.
    pub status: AttemptState,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<Report>,
}

impl TaskView {
    /// The view of a record, with live figures when the task runs here.
    pub(super) fn new(record: TaskRecord, running: &Running) -> Self {
        let request = TaskRequest::from(&record.task);
        let progress = match record.state {
            TaskState::Running => {
                running.get(LocalQueue::NAME, &record.task.id).map(|task| task.progress.snapshot())
            }
            TaskState::Queued | TaskState::Completed | TaskState::Failed | TaskState::Cancelled => None,
        };
        Self {
            id: record.task.id,
            status: record.state,
            created_at: record.created_at,
            updated_at: record.updated_at,
            next_attempt_at: record.eligible_at,
            cancel_requested: record.cancel_requested,
            request,
            attempts: record.attempts.into_iter().map(AttemptView::from).collect(),
            progress,
            receipt: record.receipt,
        }
    }
}

impl From<AttemptRecord> for AttemptView {
    fn from(record: AttemptRecord) -> Self {
        Self {
            number: record.number,
            status: record.state,
            started_at: record.started_at,
            finished_at: record.finished_at,
            error: record.report,
        }
    }
}
