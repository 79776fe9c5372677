//! `/preview`: the columns and the first rows of what a task would read.
//!
//! The same checks as for a task, the same sources, one slice. Bounded in every direction: rows,
//! characters of a value, bytes of a batch, time, and previews at the same time. When it ends, in
//! whatever way, the statement is cancelled on the server. Values go into the answer and nowhere else.

use std::fmt::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::authentication::Bounds;
use super::extract;
use super::fields::{Findings, Object, integer};
use super::problem::{Problem, ProblemKind};
use super::submission;
use super::task_request::SourceRequest;
use super::{Api, ApiState};
use crate::bounds::TaskBounds;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::source::{BatchLimits, Query};
use crate::task::Report;

/// Previews at the same time: each is a connection to a database.
pub(super) const MAX_PREVIEWS: usize = 4;
/// Bytes of a body: what is checked at once, without a thread of its own.
const MAX_BODY: usize = 64 << 10;
/// Rows when the request does not say.
const DEFAULT_ROWS: u16 = 20;
/// Rows at most.
const MAX_ROWS: u16 = 100;
/// Characters of a value; the rest is cut off.
const MAX_VALUE: usize = 200;
/// Bytes of the rows that are read together, within one row.
const BATCH_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");
/// Longest time, with the connection and the planning of the query.
const TIME_LIMIT: Duration = Duration::from_secs(20);

const FIELDS: [&str; 2] = ["source_config", "rows"];

/// What to look at.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(example = json!({"source_config": {"database": "sales", "query": "SELECT * FROM orders"}, "rows": 20}))]
pub(super) struct PreviewRequest {
    /// As in a task; `slices`, `slice_column` and `batch_size` change nothing here.
    #[schema(value_type = SourceRequest)]
    pub source_config: Value,
    /// Rows at most.
    #[schema(required = false, minimum = 1, maximum = 100, default = 20)]
    pub rows: u16,
}

/// The columns and the first rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "columns": [
        {"name": "id", "source_type": "bigint", "type": "Int64", "nullable": true},
        {"name": "customer", "source_type": "text", "type": "Utf8", "nullable": true}
    ],
    "rows": [["1", "Ada"], ["2", null]],
    "more": true
}))]
pub(super) struct Preview {
    /// The columns, in order.
    pub columns: Vec<ColumnView>,
    /// Values as text, cut after 200 characters; null is null.
    pub rows: Vec<Vec<Option<String>>>,
    /// Whether there are more rows.
    pub more: bool,
}

/// A column of the result.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ColumnView {
    /// The name, as in the files.
    pub name: String,
    /// The type in the source's own words.
    pub source_type: String,
    /// The Arrow type that it becomes.
    #[serde(rename = "type")]
    pub data_type: String,
    /// False only when the source guarantees it.
    pub nullable: bool,
}

/// Shows the columns and the first rows of what a task would read. The statement is cancelled once
/// they are there.
#[utoipa::path(
    post, path = "/preview", tag = "tasks", operation_id = "preview",
    request_body = PreviewRequest,
    responses(
        (status = 200, description = "Columns and rows", body = Preview),
        (status = 400, description = "The body is not JSON"),
        (status = 403, description = "The request comes from a page of another web site, or the source is out of \
            the bounds of the API key"),
        (status = 408, description = "The body did not arrive in time"),
        (status = 413, description = "The body is larger than 64 KiB"),
        (status = 415, description = "The content type is not `application/json`"),
        (status = 422, description = "Fields are wrong, or the source could not be read; `type` says which"),
        (status = 503, description = "Too many previews run"),
    )
)]
pub(super) async fn preview(State(api): State<Api>, request: Request) -> Result<Json<Preview>, Problem> {
    let bounds = Arc::clone(&request.extensions().get::<Bounds>().expect("the guard lets nobody else in").0);
    let body = extract::json_body(request, MAX_BODY.min(api.agent.max_body_bytes)).await?;
    let wanted = Wanted::read(&extract::parse(&body)?, &api.agent, &bounds)?;
    let Ok(_place) = Arc::clone(&api.previews).try_acquire_owned() else {
        let detail = format!("{MAX_PREVIEWS} previews run already; try again when one has ended");
        return Err(Problem::new(ProblemKind::Unavailable, detail));
    };
    let read = async {
        tokio::select! {
            preview = wanted.look(&api.agent) => preview,
            () = api.agent.shutdown.draining() => Err(Fault::new(FaultKind::Transient, "preview: the agent stops")),
        }
    };
    let preview = tokio::time::timeout(TIME_LIMIT, read).await.unwrap_or_else(|_elapsed| {
        let action = format!("preview: the first rows did not come within {} s", TIME_LIMIT.as_secs());
        Err(Fault::new(FaultKind::Transient, action).remedy(
            "A task has no such limit. To preview faster, leave out what has to read everything first, such as \
             ORDER BY.",
        ))
    });
    preview.map(Json).map_err(|fault| {
        // The same words as in the report of a failed task.
        let report = Report::of(&fault);
        let hint = report.hint.map(|hint| format!(". {hint}")).unwrap_or_default();
        Problem::new(ProblemKind::PreviewFailed, format!("{}{hint}", report.message))
    })
}

/// A request that was understood.
struct Wanted {
    connection: String,
    query: Query,
    rows: usize,
}

impl Wanted {
    fn read(body: &Value, agent: &ApiState, bounds: &TaskBounds) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let wanted = Self::fields(body, agent, bounds, &mut findings);
        match findings.or_problem(wanted)? {
            Some(wanted) => Ok(wanted),
            None => Err(Problem::new(ProblemKind::Internal, "a wrong body had no wrong field")),
        }
    }

    fn fields(body: &Value, agent: &ApiState, bounds: &TaskBounds, findings: &mut Findings) -> Option<Self> {
        let object = Object::open(body, "", &FIELDS, findings)?;
        let rows = object.optional("rows", findings, integer(1..=MAX_ROWS)).unwrap_or(DEFAULT_ROWS);
        let what = "an object with `database` and `query` or `table`";
        let source = object.required("source_config", what, findings, Ok)?;
        let before = findings.count();
        let source = SourceRequest::read(source, &object.pointer_to("source_config"), findings)?;
        if findings.count() > before {
            return None;
        }
        let spec = source.into_spec();
        submission::check_source(&spec, &agent.catalog, bounds, findings);
        let query = Query { read: spec.read, columns: spec.columns, slice_column: None, as_texts: false };
        Some(Self { connection: spec.connection, query, rows: usize::from(rows) })
    }

    async fn look(&self, agent: &ApiState) -> Result<Preview, Fault> {
        let source = agent.catalog.sources().find(|(name, _)| *name == self.connection);
        let (_, source) = source.expect("it was found when the request was read");
        let extraction = source.prepare(&self.query, NonZeroUsize::MIN).await?;
        // One more tells whether there are more.
        let limits = BatchLimits { rows: NonZeroUsize::MIN.saturating_add(self.rows), bytes: BATCH_BYTES };
        let mut stream = extraction.open(0, limits).await?;
        let mut rows = Vec::new();
        while rows.len() <= self.rows {
            let Some(batch) = stream.next().await? else { break };
            add_rows(&batch, &mut rows)?;
        }
        let more = rows.len() > self.rows;
        rows.truncate(self.rows);
        Ok(Preview { columns: columns(extraction.schema()), rows, more })
    }
}

fn columns(schema: &TableSchema) -> Vec<ColumnView> {
    let view = |column: &crate::schema::Column| ColumnView {
        name: column.name.clone(),
        source_type: column.source_type.clone(),
        data_type: column.data_type.to_string(),
        nullable: column.nullable,
    };
    schema.columns().iter().map(view).collect()
}

fn add_rows(batch: &RecordBatch, rows: &mut Vec<Vec<Option<String>>>) -> Result<(), Fault> {
    let failed = |error| Fault::new(FaultKind::Bug, "show a value as text").because(error);
    let options = FormatOptions::new();
    let formatters: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    for row in 0..batch.num_rows() {
        let value = |(column, formatter): (&Arc<dyn arrow::array::Array>, &ArrayFormatter<'_>)| {
            (!column.is_null(row)).then(|| Shortened::of(&formatter.value(row)))
        };
        rows.push(batch.columns().iter().zip(&formatters).map(value).collect());
    }
    Ok(())
}

/// Takes the beginning of a text and refuses the rest, so that a long value is not written whole.
#[derive(Default)]
struct Shortened {
    text: String,
    characters: usize,
}

impl Shortened {
    fn of(value: &impl fmt::Display) -> String {
        let mut shortened = Self::default();
        if write!(shortened, "{value}").is_err() {
            shortened.text.push('…');
        }
        shortened.text
    }
}

impl Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.characters == MAX_VALUE {
                return Err(fmt::Error);
            }
            self.text.push(character);
            self.characters += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, Int32Array, StringArray};

    use super::*;

    #[test]
    fn values_are_short_texts_and_null_is_null() {
        let long = "ä".repeat(MAX_VALUE + 1);
        let columns: [(&str, ArrayRef); 3] = [
            ("number", Arc::new(Int32Array::from(vec![Some(7), None]))),
            ("text", Arc::new(StringArray::from(vec![Some(long.as_str()), Some("")]))),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&[0, 255][..]), None]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut rows = Vec::new();
        add_rows(&batch, &mut rows).unwrap();
        let cut = format!("{}…", "ä".repeat(MAX_VALUE));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(rows, [vec![text("7"), Some(cut), text("00ff")], vec![None, text(""), None]]);
    }
}
