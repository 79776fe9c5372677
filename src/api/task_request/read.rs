//! Reads the nested form of a task, and finds everything that is wrong with it at once.

use serde_json::Value;

use super::{DestinationRequest, SourceRequest, TaskRequest, TaskType};
use crate::api::fields::{
    Findings, Object, choice, duration, expected, integer, line, short_line, size, text,
};
use crate::api::load_request::TableLoadRequest;
use crate::catalog::AUTO;
use crate::snowflake::put::StageLocation;
use crate::task::{
    Compression, DEFAULT_MAX_ATTEMPTS, DestinationKind, FileFormat, MAX_SLICES, TaskId, Traceparent,
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
pub(in crate::api) const MAX_BATCH_SIZE: usize = 10_000_000;
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

impl TaskRequest {
    /// Reads the nested form. `None` when something is wrong; `findings` then has all of it.
    pub(in crate::api) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
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
}

impl SourceRequest {
    /// Reads a source. It is good only when `findings` has nothing new.
    pub(in crate::api) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
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
    pub(super) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
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
pub(in crate::api) fn task_id(value: &Value) -> Result<TaskId, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => return Err(expected("a string or a whole number", other)),
    };
    TaskId::parse(text).map_err(|invalid| invalid.to_string())
}

/// The name of a connection.
pub(in crate::api) fn connection(value: &Value) -> Result<String, String> {
    let name = line(MAX_NAME)(value)?;
    if name.contains("://") {
        // Not repeated in any answer: a URL may have a password.
        return Err("expected the name of a configured connection; found a URL".to_owned());
    }
    Ok(name)
}

/// A directory or key prefix.
pub(in crate::api) fn path(value: &Value) -> Result<String, String> {
    let path = value.as_str().ok_or_else(|| expected("a string", value))?;
    short_line(path, MAX_PATH)?;
    if path.split('/').any(|component| component == "..") {
        return Err("a component `..` could lead out of the root of the connection".to_owned());
    }
    Ok(path.to_owned())
}

/// A stage with a path on it.
pub(in crate::api) fn stage(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| expected("a string", value))?;
    short_line(text, MAX_PATH)?;
    StageLocation::parse(text).map_err(|error| error.to_string())?;
    Ok(text.trim().to_owned())
}

/// The kinds of store, for the one who forgot to name one.
pub(in crate::api) const KINDS: &str = "`local`, `s3`, `blob`, `gcs` or `snowflake_stage`";

/// A kind of store, also as version 1.2.0 spells it.
pub(in crate::api) fn destination_kind(value: &Value) -> Result<DestinationKind, String> {
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

fn traceparent(value: &Value) -> Result<String, String> {
    let text = line(MAX_TRACEPARENT)(value)?;
    match Traceparent::parse(&text) {
        Some(_) => Ok(text),
        None => Err("expected a `traceparent` of W3C Trace Context, such as \
                     `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`"
            .to_owned()),
    }
}
