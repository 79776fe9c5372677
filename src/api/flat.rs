//! The flat form of a task, as version 1.2.0 knows it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Findings, Object, expected, integer, short_line, text};
use super::task_request::{self, DestinationRequest, MAX_BATCH_SIZE, SourceRequest, TaskRequest, TaskType};
use crate::catalog::AUTO;
use crate::task::{DEFAULT_MAX_ATTEMPTS, DestinationKind, TaskId};

/// Fields that only the flat form has: one of them tells it from the nested form.
pub(super) const OWN_FIELDS: [&str; 8] = [
    "engine",
    "database",
    "schema",
    "statement",
    "source_type",
    "upload_type",
    "upload_path",
    "suggested_batch_size",
];
const FIELDS: [&str; 9] = [
    "id",
    "engine",
    "database",
    "schema",
    "statement",
    "source_type",
    "upload_type",
    "upload_path",
    "suggested_batch_size",
];

/// A task in the flat form of version 1.2.0.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": 42,
    "engine": "postgresql",
    "statement": "SELECT * FROM users",
    "source_type": "jdbc",
    "upload_type": "s3",
    "upload_path": "users/"
}))]
pub(super) struct FlatTaskRequest {
    /// Names the task, as in the nested form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 128, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    pub id: Option<TaskId>,
    /// Name of a configured source connection.
    #[schema(max_length = 128)]
    pub engine: String,
    /// Name of the database on the server. A connection belongs to one database, so this must be
    /// the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub database: Option<String>,
    /// Does not change what is read, as in version 1.2.0: the statement says which schema it
    /// reads. The answer has a note about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub schema: Option<String>,
    /// One SQL query that only reads.
    pub statement: String,
    /// How rows are read: `jdbc` or `auto` (what the connection says, else the agent itself), `native`,
    /// `odbc`, or the name of a bulk utility such as `bcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub source_type: Option<String>,
    /// The kind of store: `local`, `s3`, `blob`, `gcs` or `snowflake_stage`, which version 1.2.0 spells
    /// `snowflake:stage`.
    pub upload_type: DestinationKind,
    /// Directory or key prefix below the root of the connection; no component may be `..`. For a
    /// Snowflake stage, the stage with its path, such as `@db.schema.stage/path/`.
    #[schema(max_length = 1024)]
    pub upload_path: String,
    /// Largest number of rows of one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub suggested_batch_size: Option<usize>,
}

/// The method of version 1.2.0 that is not one of its bulk utilities.
const JDBC: &str = "jdbc";

impl FlatTaskRequest {
    /// Reads the flat form. `None` when something is wrong; `findings` then has all of it.
    pub(super) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let before = findings.count();
        let object = Object::open(value, pointer, &FIELDS, findings)?;
        let id = object.optional("id", findings, task_request::task_id);
        let what = "the name of a source connection";
        let engine = object.required("engine", what, findings, task_request::connection);
        let database = object.optional("database", findings, name);
        let schema = object.optional("schema", findings, name);
        let statement = object.required("statement", "an SQL query", findings, text);
        let source_type = object.optional("source_type", findings, name);
        let upload_type =
            object.required("upload_type", task_request::KINDS, findings, task_request::destination_kind);
        let upload_path = match upload_type {
            Some(DestinationKind::SnowflakeStage) => {
                let what = "a stage with a path on it, such as `@db.schema.stage/path/`";
                object.required("upload_path", what, findings, task_request::stage)
            }
            Some(
                DestinationKind::Local | DestinationKind::S3 | DestinationKind::Blob | DestinationKind::Gcs,
            )
            | None => {
                let what = "a directory or key prefix below the root of the connection";
                object.required("upload_path", what, findings, task_request::path)
            }
        };
        let suggested_batch_size =
            object.optional("suggested_batch_size", findings, integer(1..=MAX_BATCH_SIZE));
        if findings.count() > before {
            return None;
        }
        Some(Self {
            id,
            engine: engine?,
            database: database.filter(|name| !name.is_empty()),
            schema: schema.filter(|name| !name.is_empty()),
            statement: statement?,
            source_type: source_type.filter(|method| !matches!(method.as_str(), AUTO | JDBC | "")),
            upload_type: upload_type?,
            upload_path: upload_path?,
            suggested_batch_size,
        })
    }

    /// The same task in the nested form. `database` and `schema` are not part of it: the caller
    /// checks the one and notes the other.
    pub(super) fn into_nested(self) -> TaskRequest {
        let (path, stage) = task_request::place(self.upload_type, self.upload_path);
        TaskRequest {
            task_type: TaskType::DataExtraction,
            id: self.id,
            source_config: SourceRequest {
                database: self.engine,
                query: Some(self.statement),
                table: None,
                columns: None,
                slices: None,
                slice_column: None,
                batch_size: self.suggested_batch_size,
                method: self.source_type,
            },
            destination_config: DestinationRequest {
                kind: self.upload_type,
                path,
                stage,
                connection: None,
                format: None,
                compression: None,
                max_file_size: None,
                load: None,
            },
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            timeout: None,
            priority: 0,
            traceparent: None,
        }
    }
}

/// The field of the flat form that became `pointer` of the nested form.
pub(super) fn own_pointer(pointer: &str) -> &str {
    match pointer {
        "/source_config/database" => "/engine",
        "/source_config/query" => "/statement",
        "/source_config/batch_size" => "/suggested_batch_size",
        "/source_config/method" => "/source_type",
        "/destination_config/type" | "/destination_config/connection" => "/upload_type",
        "/destination_config/path" | "/destination_config/stage" => "/upload_path",
        other => other,
    }
}

/// A name that may be empty: callers of version 1.2.0 send all fields.
fn name(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| expected("a string", value))?;
    short_line(text, 128)?;
    Ok(text.to_owned())
}
