//! What commands read of the agent's answers. Unknown fields are left alone, so that an older
//! command works with a newer agent.

use serde::Deserialize;

use crate::task::Receipt;

/// `GET /tasks/{id}`, as far as commands show it.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct TaskView {
    pub(in crate::cli) id: String,
    pub(in crate::cli) status: String,
    #[serde(default)]
    pub(in crate::cli) created_at: String,
    #[serde(default)]
    pub(in crate::cli) updated_at: String,
    pub(in crate::cli) next_attempt_at: Option<String>,
    #[serde(default)]
    pub(in crate::cli) cancel_requested: bool,
    #[serde(default)]
    pub(in crate::cli) request: RequestView,
    #[serde(default)]
    pub(in crate::cli) attempts: Vec<AttemptView>,
    pub(in crate::cli) progress: Option<ProgressView>,
    pub(in crate::cli) receipt: Option<Receipt>,
}

/// The task as it was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct RequestView {
    pub(in crate::cli) source_config: SourceView,
    pub(in crate::cli) destination_config: DestinationView,
    pub(in crate::cli) max_attempts: u32,
    pub(in crate::cli) priority: i32,
}

/// Where rows come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct SourceView {
    pub(in crate::cli) database: String,
    pub(in crate::cli) query: Option<String>,
    pub(in crate::cli) table: Option<String>,
}

/// Where files go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct DestinationView {
    #[serde(rename = "type")]
    pub(in crate::cli) kind: String,
    pub(in crate::cli) connection: Option<String>,
    pub(in crate::cli) path: Option<String>,
    pub(in crate::cli) stage: Option<String>,
}

/// One attempt.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct AttemptView {
    pub(in crate::cli) number: u32,
    pub(in crate::cli) status: String,
    #[serde(default)]
    pub(in crate::cli) started_at: String,
    pub(in crate::cli) finished_at: Option<String>,
    pub(in crate::cli) error: Option<ErrorView>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct ErrorView {
    #[serde(default)]
    pub(in crate::cli) kind: String,
    pub(in crate::cli) message: String,
    pub(in crate::cli) hint: Option<String>,
}

/// Live figures.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct ProgressView {
    pub(in crate::cli) rows: u64,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) parts: u64,
    #[serde(default)]
    pub(in crate::cli) rows_per_second: f64,
}

/// A page of `GET /tasks`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct TaskPage {
    pub(in crate::cli) tasks: Vec<serde_json::Value>,
    pub(in crate::cli) next_cursor: Option<String>,
}

/// The answer to one submitted task.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct Accepted {
    pub(in crate::cli) id_task: String,
    pub(in crate::cli) status: String,
    #[serde(default)]
    pub(in crate::cli) created: bool,
    #[serde(default)]
    pub(in crate::cli) notes: Vec<String>,
}

/// A page of `GET /tasks/{id}/logs`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct LogPage {
    pub(in crate::cli) lines: Vec<serde_json::Value>,
    pub(in crate::cli) next: Option<serde_json::Value>,
}

/// One line of a task's log.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct LogLine {
    #[serde(default)]
    pub(in crate::cli) time: String,
    #[serde(default)]
    pub(in crate::cli) level: String,
    pub(in crate::cli) attempt: Option<u32>,
    #[serde(default)]
    pub(in crate::cli) message: String,
    #[serde(default)]
    pub(in crate::cli) fields: serde_json::Map<String, serde_json::Value>,
}

impl TaskView {
    /// True when nothing more happens by itself.
    pub(in crate::cli) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// Rows so far; `None` before the first attempt has figures.
    pub(in crate::cli) fn rows(&self) -> Option<u64> {
        self.figure(|receipt| receipt.rows, |progress| progress.rows)
    }

    /// Bytes so far.
    pub(in crate::cli) fn bytes(&self) -> Option<u64> {
        self.figure(|receipt| receipt.bytes, |progress| progress.bytes)
    }

    /// Files so far.
    pub(in crate::cli) fn parts(&self) -> Option<u64> {
        self.figure(|receipt| receipt.files.len() as u64, |progress| progress.parts)
    }

    /// Rows a second: of the attempt that runs, or of the one that completed.
    pub(in crate::cli) fn rows_per_second(&self) -> f64 {
        match (&self.receipt, &self.progress) {
            (Some(receipt), _) => receipt.rows as f64 * 1000.0 / receipt.duration_ms.max(1) as f64,
            (None, Some(progress)) => progress.rows_per_second,
            (None, None) => 0.0,
        }
    }

    /// Why the last attempt that failed did.
    pub(in crate::cli) fn last_error(&self) -> Option<&ErrorView> {
        self.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
    }

    /// Connection and table or query, in one line.
    pub(in crate::cli) fn from(&self) -> String {
        let source = &self.request.source_config;
        let read = source.table.as_ref().or(source.query.as_ref()).map_or("", String::as_str);
        let read: Vec<&str> = read.split_whitespace().collect();
        format!("{}: {}", source.database, read.join(" "))
    }

    /// Target and path, in one line.
    pub(in crate::cli) fn to(&self) -> String {
        let destination = &self.request.destination_config;
        let target = destination.connection.as_ref().unwrap_or(&destination.kind);
        let place = destination.stage.as_ref().or(destination.path.as_ref()).map_or("", String::as_str);
        format!("{target}: {place}")
    }

    fn figure(&self, done: impl Fn(&Receipt) -> u64, running: impl Fn(&ProgressView) -> u64) -> Option<u64> {
        match (&self.receipt, &self.progress) {
            (Some(receipt), _) => Some(done(receipt)),
            (None, Some(progress)) => Some(running(progress)),
            (None, None) => None,
        }
    }
}
