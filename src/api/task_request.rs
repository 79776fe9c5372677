//! The nested form of a task: what `POST /tasks` accepts and what the views of a task show.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};

use super::fields::{Findings, Object, choice, duration, expected, integer, line, short_line, size, text};
use super::load_request::TableLoadRequest;
use crate::catalog::AUTO;
use crate::snowflake::put::StageLocation;
use crate::task::{
    Compression, DEFAULT_MAX_ATTEMPTS, DestinationKind, DestinationSpec, FileFormat, LoadSpec, MAX_SLICES,
    Read, SourceSpec, Task, TaskId, TaskSpec, Traceparent,
};

/// Characters of a connection's or column's name.
const MAX_NAME: usize = 128;
/// Characters of a table's name, with its schema.
const MAX_TABLE_NAME: usize = 512;
/// Characters of a destination path.
const MAX_PATH: usize = 1024;
/// Columns that a task can name.
const MAX_COLUMNS: usize = 2000;
/// Rows of a batch.
pub(super) const MAX_BATCH_SIZE: usize = 10_000_000;
/// Attempts of a task.
const MAX_ATTEMPTS: u32 = 100;
/// Priorities reach from minus this to plus this.
const MAX_PRIORITY: i32 = 1000;
/// Characters of a `traceparent`: later versions may be longer than 55.
const MAX_TRACEPARENT: usize = 256;
/// Bytes of a file at least: smaller ones would only be a heap of files.
const MIN_FILE_SIZE: u64 = 1024;
/// Bytes of a file at most: S3 stores no larger object.
const MAX_FILE_SIZE: u64 = 5 << 40;

const TASK_FIELDS: [&str; 8] = [
    "task_type",
    "id",
    "source_config",
    "destination_config",
    "max_attempts",
    "timeout",
    "priority",
    "traceparent",
];
const SOURCE_FIELDS: [&str; 8] =
    ["database", "query", "table", "columns", "slices", "slice_column", "batch_size", "method"];
const DESTINATION_FIELDS: [&str; 8] =
    ["type", "path", "stage", "connection", "format", "compression", "max_file_size", "load"];

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
    /// Reads the nested form. `None` when something is wrong; `findings` then has all of it.
    pub(super) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let before = findings.count();
        let object = Object::open(value, pointer, &TASK_FIELDS, findings)?;
        let task_type =
            object.optional("task_type", findings, choice(&[("data_extraction", TaskType::DataExtraction)]));
        let id = object.optional("id", findings, task_id);
        let what = "an object with `database` and `query` or `table`";
        let source = object.required("source_config", what, findings, Ok);
        let source = source
            .and_then(|source| SourceRequest::read(source, &object.pointer_to("source_config"), findings));
        let what = "an object with `type` and `path`";
        let destination = object.required("destination_config", what, findings, Ok);
        let destination = destination.and_then(|destination| {
            DestinationRequest::read(destination, &object.pointer_to("destination_config"), findings)
        });
        let max_attempts = object.optional("max_attempts", findings, integer(1..=MAX_ATTEMPTS));
        let timeout = object.optional("timeout", findings, duration);
        let priority = object.optional("priority", findings, integer(-MAX_PRIORITY..=MAX_PRIORITY));
        let traceparent = object.optional("traceparent", findings, traceparent);
        if findings.count() > before {
            return None;
        }
        Some(Self {
            task_type: task_type.unwrap_or_default(),
            id,
            source_config: source?,
            destination_config: destination?,
            max_attempts: max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS),
            timeout,
            priority: priority.unwrap_or_default(),
            traceparent,
        })
    }

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

fn traceparent(value: &Value) -> Result<String, String> {
    let text = line(MAX_TRACEPARENT)(value)?;
    match Traceparent::parse(&text) {
        Some(_) => Ok(text),
        None => Err("expected a `traceparent` of W3C Trace Context, such as \
                     `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`"
            .to_owned()),
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

    /// Reads a source. It is good only when `findings` has nothing new.
    pub(super) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let object = Object::open(value, pointer, &SOURCE_FIELDS, findings)?;
        let what = "the name of a source connection";
        let database = object.required("database", what, findings, connection);
        let query = object.optional("query", findings, text);
        let table = object.optional("table", findings, line(MAX_TABLE_NAME));
        match (object.get("query"), object.get("table")) {
            (Some(_), Some(_)) => {
                findings.add(object.pointer_to("table"), "only one of `query` and `table` can be given");
            }
            (None, None) => findings.add(object.pointer_to("query"), "missing: one of `query` and `table`"),
            (Some(_), None) | (None, Some(_)) => {}
        }
        let columns =
            object.get("columns").and_then(|value| columns(value, &object.pointer_to("columns"), findings));
        let slices = object.optional("slices", findings, integer(1..=MAX_SLICES));
        let slice_column = object.optional("slice_column", findings, line(MAX_NAME));
        let batch_size = object.optional("batch_size", findings, integer(1..=MAX_BATCH_SIZE));
        let method = object.optional("method", findings, connection).filter(|method| method != AUTO);
        Some(Self { database: database?, query, table, columns, slices, slice_column, batch_size, method })
    }
}

impl DestinationRequest {
    fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let object = Object::open(value, pointer, &DESTINATION_FIELDS, findings)?;
        let kind = object.required("type", KINDS, findings, destination_kind);
        let what = "a directory or key prefix below the root of the connection";
        let (path, stage) = match kind {
            Some(DestinationKind::SnowflakeStage) => {
                if object.get("path").is_some() {
                    findings.add(object.pointer_to("path"), "a Snowflake stage has its path in `stage`");
                }
                let what = "a stage with a path on it, such as `@db.schema.stage/path/`";
                (None, object.required("stage", what, findings, stage))
            }
            Some(
                DestinationKind::Local | DestinationKind::S3 | DestinationKind::Blob | DestinationKind::Gcs,
            ) => {
                if object.get("stage").is_some() {
                    findings.add(object.pointer_to("stage"), "only a `snowflake_stage` has this field");
                }
                (object.required("path", what, findings, path), None)
            }
            // Whatever was meant, it needs one of them.
            None if object.get("stage").is_some() => (None, object.optional("stage", findings, stage)),
            None => (object.required("path", what, findings, path), None),
        };
        let connection = object.optional("connection", findings, connection);
        let formats = [FileFormat::Parquet, FileFormat::Csv].map(|format| (format.as_str(), format));
        let format = object.optional("format", findings, choice(&formats));
        let compressions = [Compression::Snappy, Compression::Zstd, Compression::Gzip, Compression::None]
            .map(|compression| (compression.as_str(), compression));
        let compression = object.optional("compression", findings, choice(&compressions));
        let max_file_size = object.optional("max_file_size", findings, size(MIN_FILE_SIZE..=MAX_FILE_SIZE));
        let load = object.get("load").and_then(|load| {
            let pointer = object.pointer_to("load");
            if kind.is_some_and(|kind| kind != DestinationKind::SnowflakeStage) {
                findings.add(
                    pointer.clone(),
                    "only files of the type `snowflake_stage` can be loaded into a table",
                );
            }
            TableLoadRequest::read(load, &pointer, findings)
        });
        if path.is_none() && stage.is_none() {
            return None;
        }
        Some(Self { kind: kind?, path, stage, connection, format, compression, max_file_size, load })
    }
}

/// The name of a task, as a text or as a whole number.
pub(super) fn task_id(value: &Value) -> Result<TaskId, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => return Err(expected("a string or a whole number", other)),
    };
    TaskId::parse(text).map_err(|invalid| invalid.to_string())
}

/// The name of a connection.
pub(super) fn connection(value: &Value) -> Result<String, String> {
    let name = line(MAX_NAME)(value)?;
    if name.contains("://") {
        // Not repeated in any answer: a URL may have a password.
        return Err("expected the name of a configured connection; found a URL".to_owned());
    }
    Ok(name)
}

/// A directory or key prefix.
pub(super) fn path(value: &Value) -> Result<String, String> {
    let path = value.as_str().ok_or_else(|| expected("a string", value))?;
    short_line(path, MAX_PATH)?;
    if path.split('/').any(|component| component == "..") {
        return Err("a component `..` could lead out of the root of the connection".to_owned());
    }
    Ok(path.to_owned())
}

/// A stage with a path on it.
pub(super) fn stage(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| expected("a string", value))?;
    short_line(text, MAX_PATH)?;
    StageLocation::parse(text).map_err(|error| error.to_string())?;
    Ok(text.trim().to_owned())
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

/// The kinds of store, for the one who forgot to name one.
pub(super) const KINDS: &str = "`local`, `s3`, `blob`, `gcs` or `snowflake_stage`";

/// A kind of store, also as version 1.2.0 spells it.
pub(super) fn destination_kind(value: &Value) -> Result<DestinationKind, String> {
    match value.as_str() {
        Some("snowflake:stage" | "snowflake") => Ok(DestinationKind::SnowflakeStage),
        Some("azure_blob") => Ok(DestinationKind::Blob),
        _ => choice(&DestinationKind::ALL.map(|kind| (kind.as_str(), kind)))(value),
    }
}

fn columns(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Vec<String>> {
    let Value::Array(values) = value else {
        findings.add(pointer.to_owned(), expected("an array of column names", value));
        return None;
    };
    if values.is_empty() || values.len() > MAX_COLUMNS {
        findings.add(pointer.to_owned(), format!("expected 1 to {MAX_COLUMNS} column names"));
        return None;
    }
    let mut names = Vec::with_capacity(values.len());
    let mut seen = std::collections::HashSet::new();
    for (index, value) in values.iter().enumerate() {
        match line(MAX_NAME)(value) {
            Ok(name) if !seen.insert(name.clone()) => {
                findings.add(format!("{pointer}/{index}"), "the same column is there twice");
            }
            Ok(name) => names.push(name),
            Err(detail) => findings.add(format!("{pointer}/{index}"), detail),
        }
    }
    Some(names)
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
