//! The nested form of a task: what `POST /tasks` accepts and what the views of a task show.

mod read;

use std::time::Duration;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};

pub(super) use read::{KINDS, MAX_BATCH_SIZE, connection, destination_kind, path, stage, task_id};

use super::load_request::TableLoadRequest;
use crate::task::{
    Compression, DestinationKind, DestinationSpec, FileFormat, LoadSpec, Read, SourceSpec, Task, TaskId,
    TaskSpec, Traceparent,
};

/// A task in the nested form.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "orders-2026-11",
    "source_config": {"database": "sales", "query": "SELECT * FROM orders WHERE year = 2026"},
    "destination_config": {"type": "s3", "path": "orders/2026/", "compression": "zstd"},
    "timeout": "30m"
}))]
pub(super) struct TaskRequest {
    /// The kind of work; there is only this one.
    #[schema(required = false)]
    pub task_type: TaskType,
    /// Names the task and makes repeating the request safe; a new one when missing. 1 to 128
    /// characters of `A-Z a-z 0-9 . _ -`, not beginning with a dot; a whole number is taken as
    /// its digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    pub id: Option<TaskId>,
    /// Where rows come from.
    pub source_config: SourceRequest,
    /// Where files go.
    pub destination_config: DestinationRequest,
    /// How often the task is tried, the first time included.
    #[schema(required = false, minimum = 1, maximum = 100, default = 3)]
    pub max_attempts: u32,
    /// Longest time for one attempt, in seconds or as a text such as `90s`, `5m`, `2h`; 1 ms to
    /// 30 days. No limit when missing.
    #[serde(serialize_with = "as_seconds", skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = duration_schema, required = false)]
    pub timeout: Option<Duration>,
    /// Higher runs first; tasks of equal priority run in order of arrival.
    #[schema(required = false, minimum = -1000, maximum = 1000, default = 0)]
    pub priority: i32,
    /// The trace that watches the task, as W3C Trace Context writes it; that of the header `traceparent`
    /// when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub traceparent: Option<String>,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TaskType {
    /// Move the rows of a query or table into files.
    #[default]
    DataExtraction,
}

/// What to read: exactly one of `query` and `table`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct SourceRequest {
    /// Name of a configured source connection.
    #[schema(max_length = 128)]
    pub database: String,
    /// One SQL query that only reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A table or view, `name` or `schema.name`, with double quotes where the name needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub table: Option<String>,
    /// These columns only, in this order; all when missing. Names are matched exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 2000)]
    pub columns: Option<Vec<String>>,
    /// Parallel connections; the configured default when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 64)]
    pub slices: Option<u16>,
    /// Column whose ranges divide a query into slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub slice_column: Option<String>,
    /// Largest number of rows of one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub batch_size: Option<usize>,
    /// How rows are read: `auto` (what the connection says, else `native`), `native` (the agent itself),
    /// `odbc`, or the name of a bulk utility such as `bcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub method: Option<String>,
}

/// Where files go, and what they look like.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct DestinationRequest {
    /// The kind of store.
    #[serde(rename = "type")]
    pub kind: DestinationKind,
    /// Directory or key prefix below the root of the connection; no component may be `..`. An
    /// empty text is the root itself. Required, except for `snowflake_stage`, which has `stage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub path: Option<String>,
    /// The stage of a `snowflake_stage`, with a path on it: `@db.schema.stage/path/`,
    /// `@db.schema.%table/path/` or `@~/path/`. Names that are case-sensitive or have other
    /// characters than letters, digits, `_` and `$` are in double quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub stage: Option<String>,
    /// Name of a configured target connection; the one named like `type` when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub connection: Option<String>,
    /// File format; the configured default when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FileFormat>,
    /// Compression; the configured default of the format when missing. CSV knows no snappy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// A file of about this many bytes is followed by the next one; a text such as `64MiB` is
    /// read, too. The configured default when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = size_schema, required = false)]
    pub max_file_size: Option<u64>,
    /// The table that the files are loaded into; for `snowflake_stage` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<TableLoadRequest>,
}

impl TaskRequest {
    /// The task, with a new id when the request has none.
    pub(super) fn into_task(self, default_format: FileFormat) -> Task {
        let Self { task_type: TaskType::DataExtraction, id, source_config, destination_config, .. } = self;
        let spec = TaskSpec {
            source: source_config.into_spec(),
            destination: DestinationSpec {
                kind: destination_config.kind,
                connection: destination_config.connection,
                path: destination_config
                    .stage
                    .or(destination_config.path)
                    .expect("a destination has a stage or a path, checked by `read`"),
                format: destination_config.format.unwrap_or(default_format),
                compression: destination_config.compression,
                max_file_size: destination_config.max_file_size,
                load: destination_config.load.map(LoadSpec::from),
            },
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            priority: self.priority,
            trace: self.traceparent.as_deref().and_then(Traceparent::parse).unwrap_or_default(),
        };
        Task { id: id.unwrap_or_else(TaskId::generate), spec }
    }
}

impl From<&Task> for TaskRequest {
    fn from(task: &Task) -> Self {
        let TaskSpec { source, destination, max_attempts, timeout, priority, trace } = task.spec.clone();
        let (query, table) = match source.read {
            Read::Query(query) => (Some(query), None),
            Read::Table(table) => (None, Some(table)),
        };
        let (path, stage) = place(destination.kind, destination.path);
        Self {
            task_type: TaskType::DataExtraction,
            id: Some(task.id.clone()),
            source_config: SourceRequest {
                database: source.connection,
                query,
                table,
                columns: source.columns,
                slices: source.slices,
                slice_column: source.slice_column,
                batch_size: source.batch_size,
                method: source.method,
            },
            destination_config: DestinationRequest {
                kind: destination.kind,
                path,
                stage,
                connection: destination.connection,
                format: Some(destination.format),
                compression: destination.compression,
                max_file_size: destination.max_file_size,
                load: destination.load.map(TableLoadRequest::from),
            },
            max_attempts,
            timeout,
            priority,
            traceparent: trace.as_str().map(str::to_owned),
        }
    }
}

impl SourceRequest {
    /// What to read.
    pub(super) fn into_spec(self) -> SourceSpec {
        let read = match (self.query, self.table) {
            (Some(query), _) => Read::Query(query),
            (None, table) => Read::Table(table.expect("a source has a query or a table, checked by `read`")),
        };
        SourceSpec {
            connection: self.database,
            read,
            columns: self.columns,
            slices: self.slices,
            slice_column: self.slice_column,
            batch_size: self.batch_size,
            method: self.method,
        }
    }
}

/// Where a path belongs: `path`, or `stage` of a Snowflake stage.
pub(super) fn place(kind: DestinationKind, path: String) -> (Option<String>, Option<String>) {
    match kind {
        DestinationKind::SnowflakeStage => (None, Some(path)),
        DestinationKind::Local | DestinationKind::S3 | DestinationKind::Blob | DestinationKind::Gcs => {
            (Some(path), None)
        }
    }
}

/// Whole seconds as an integer, others as a fraction.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_seconds<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match timeout {
        None => serializer.serialize_none(),
        Some(timeout) if timeout.subsec_nanos() == 0 => serializer.serialize_u64(timeout.as_secs()),
        Some(timeout) => serializer.serialize_f64(timeout.as_secs_f64()),
    }
}

fn duration_schema() -> Schema {
    number_or_text("^[0-9]+ *(ms|s|m|h|d)$", Type::Number)
}

fn size_schema() -> Schema {
    number_or_text("^[0-9]+ *(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$", Type::Integer)
}

fn number_or_text(pattern: &str, number: Type) -> Schema {
    let number = ObjectBuilder::new().schema_type(number).minimum(Some(0));
    let text =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).format(None::<SchemaFormat>);
    let schema = |builder: ObjectBuilder| RefOr::T(Schema::Object(builder.build()));
    Schema::AnyOf(AnyOfBuilder::new().item(schema(number)).item(schema(text)).build())
}
