//! What a task asks for, after every default and old spelling has been resolved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{TaskId, Traceparent};

/// Attempts that a task gets when it does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Largest number of parallel slices that a task may ask for.
pub const MAX_SLICES: u16 = 64;

/// A named unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The name.
    pub id: TaskId,
    /// The work.
    pub spec: TaskSpec,
}

/// The work itself, without its name. Two tasks are the same when their specs are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Where rows come from.
    pub source: SourceSpec,
    /// Where files go.
    pub destination: DestinationSpec,
    /// How often the task is tried, the first time included; at least 1.
    pub max_attempts: u32,
    /// Longest time for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Higher runs first; tasks of equal priority run in order of arrival.
    pub priority: i32,
    /// The trace that watches the task; no part of what the task is.
    #[serde(default, skip_serializing_if = "Traceparent::is_none")]
    pub trace: Traceparent,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// Name of a configured source connection.
    pub connection: String,
    /// A query or a table.
    pub read: Read,
    /// These columns only, in this order; all when `None`. Names are matched exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Parallel connections wanted; the configured default when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<u16>,
    /// Column whose ranges divide a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice_column: Option<String>,
    /// Largest number of rows of one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// `native`, `odbc` or the name of a bulk utility; what the connection says when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// A query or a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read {
    /// One SQL query, as the user wrote it.
    Query(String),
    /// A table or view, `name` or `schema.name`, with double quotes where the name needs them.
    Table(String),
}

/// Where files go, and what they look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestinationSpec {
    /// The kind of store.
    pub kind: DestinationKind,
    /// Name of a configured target connection; the one named like the kind when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Directory or key prefix below the connection's root; for a Snowflake stage, the stage with
    /// its path, as the task gave it.
    pub path: String,
    /// File format.
    pub format: FileFormat,
    /// Compression; the format's default when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// A file of about this many bytes is followed by the next one; the configured default when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_file_size: Option<u64>,
    /// The table that the files are loaded into, once they are on their stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadSpec>,
}

impl DestinationSpec {
    /// Name of the target connection that this destination uses.
    #[must_use]
    pub fn connection_name(&self) -> &str {
        self.connection.as_deref().unwrap_or(self.kind.as_str())
    }
}

/// A table of Snowflake that files of a stage are loaded into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSpec {
    /// `table`, `schema.table` or `database.schema.table`, with double quotes where a part needs them.
    pub table: String,
    /// What becomes of the rows that the table has.
    pub mode: LoadMode,
    /// The columns of the result whose values name a row, for [`LoadMode::Merge`]; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether a table that is missing is made.
    pub create: bool,
    /// Whether columns that are missing are added, and those that are too narrow are widened.
    pub evolve: bool,
    /// Whether the files are removed from the stage after the load.
    pub purge: bool,
}

/// What becomes of the rows that a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// They stay.
    #[default]
    Append,
    /// They go.
    Replace,
    /// Those with the keys of a new row are updated, the others stay.
    Merge,
}

impl LoadMode {
    /// The name in tasks and in the control table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Merge => "merge",
        }
    }
}

/// The kinds of store that this agent writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// A directory of this machine.
    Local,
    /// Amazon S3, or a store that speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Blob,
    /// Google Cloud Storage.
    Gcs,
    /// An internal stage of Snowflake.
    SnowflakeStage,
}

impl DestinationKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Local, Self::S3, Self::Blob, Self::Gcs, Self::SnowflakeStage];

    /// The name in tasks and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Blob => "blob",
            Self::Gcs => "gcs",
            Self::SnowflakeStage => "snowflake_stage",
        }
    }
}

/// File formats.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Comma-separated values, RFC 4180.
    Csv,
}

impl FileFormat {
    /// The name in tasks, and the extension of uncompressed files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }
}

/// Compression: inside Parquet pages, or around a whole CSV file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Snappy; Parquet only.
    Snappy,
    /// Zstandard, level 1.
    Zstd,
    /// Gzip.
    Gzip,
    /// None.
    None,
}

impl Compression {
    /// The name in tasks and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
impl TaskSpec {
    /// Reads a table into a local directory, in one attempt and with every default.
    pub(crate) fn sample() -> Self {
        let source = SourceSpec {
            connection: "sales".into(),
            read: Read::Table("orders".into()),
            columns: None,
            slices: None,
            slice_column: None,
            batch_size: None,
            method: None,
        };
        let destination = DestinationSpec {
            kind: DestinationKind::Local,
            connection: None,
            path: "orders".into(),
            format: FileFormat::Parquet,
            compression: None,
            max_file_size: None,
            load: None,
        };
        let trace = Traceparent::default();
        Self { source, destination, max_attempts: 1, timeout: None, priority: 0, trace }
    }
}
