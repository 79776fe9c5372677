//! Settings of what watches over the agent: `[log]`, `[queue]`, `[history]`, `[guards]`, `[otlp]`.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use crate::telemetry::{LogFormat, LogLevel, RotationSettings};

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// Which lines are logged; decided by `application.debug_mode` when `None`.
    pub level: Option<LogLevel>,
    /// How lines look; text when `None`.
    pub format: Option<LogFormat>,
    /// Whether there are files beside stderr.
    pub files: bool,
    /// Where they are; `logs` in the data directory when `None`.
    pub directory: Option<PathBuf>,
    /// A file is full at this many bytes.
    pub max_file_size: u64,
    /// Full files that are kept.
    pub max_files: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: None,
            format: None,
            files: true,
            directory: None,
            // As in version 1.2.0.
            max_file_size: 10_000_000,
            max_files: 5,
        }
    }
}

impl LogSettings {
    /// Name of the file that is written.
    pub const FILE: &str = "data_exchange_agent.log";

    /// Where and how much is written to files, when it is.
    #[must_use]
    pub fn rotation(&self, data_directory: &std::path::Path) -> Option<RotationSettings> {
        let directory = self.directory.clone().unwrap_or_else(|| data_directory.join("logs"));
        self.files.then(|| RotationSettings {
            file: directory.join(Self::FILE),
            max_bytes: self.max_file_size,
            max_files: self.max_files,
        })
    }
}

/// `[queue]`: how long the local queue keeps tasks that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Tasks go when they have ended longer ago; never for that reason when `None`.
    pub keep: Option<Duration>,
    /// The tasks that ended first go when more have ended; no limit when `None`.
    pub max_tasks: Option<u64>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        // As long as the history keeps the runs of a task; and about 1 GiB of tasks.
        Self { keep: Some(HistorySettings::default().keep), max_tasks: Some(1_000_000) }
    }
}

/// `[history]`: how much is kept of runs and their log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Runs and lines go when they are older.
    pub keep: Duration,
    /// The oldest runs go when there are more.
    pub max_runs: u64,
    /// The oldest lines go when there are more.
    pub max_lines: u64,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 24 * 60 * 60), max_runs: 100_000, max_lines: 1_000_000 }
    }
}

/// `[guards]`: when no new task is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// Free bytes on every file system that the agent writes to.
    pub min_free_disk: u64,
    /// Bytes of memory that the agent can still get.
    pub min_available_memory: u64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { min_free_disk: 100 << 20, min_available_memory: 64 << 20 }
    }
}

/// `[otlp]` with an `endpoint`: where traces and metrics are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// `http` or `https`; no slash at its end.
    pub endpoint: String,
    /// Name and value of each header.
    pub headers: Vec<(String, Secret)>,
    /// What the agent is called there.
    pub service_name: String,
    /// Whether traces are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Time between two sendings of metrics.
    pub metrics_interval: Duration,
    /// Longest time for an answer.
    pub timeout: Duration,
}
