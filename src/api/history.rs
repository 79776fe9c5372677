//! `/runs` and `/tasks/{id}/logs`: what became of attempts, and what they logged.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{self, PathId};
use super::fields::{Findings, list as names};
use super::problem::Problem;
use super::{Api, ApiState};
use crate::history::{LineRecord, RunFilter, RunRecord, RunState};
use crate::task::{Report, TaskId};
use crate::task_source::local::TaskState;

/// Runs of a page when the request does not say.
const DEFAULT_RUNS: u32 = 50;
/// Runs of a page at most.
const MAX_RUNS: u32 = 500;
/// Lines of a page when the request does not say.
const DEFAULT_LINES: u32 = 200;
/// Lines of a page at most.
const MAX_LINES: u32 = 1_000;

/// One page of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunPage {
    /// The runs.
    pub runs: Vec<RunView>,
    /// The `cursor` of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// One attempt of one task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "task": "orders-2026-11",
    "task_source": "local",
    "attempt": 1,
    "status": "completed",
    "source": "sales",
    "destination": "s3",
    "started_at": "2026-11-20T08:30:01.25Z",
    "finished_at": "2026-11-20T08:30:09.75Z",
    "duration_ms": 8500,
    "rows": 1200000,
    "bytes": 48000000,
    "files": 4,
    "error": null
}))]
pub(super) struct RunView {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// Where the task came from: `local`, or the name of a remote task source.
    pub task_source: String,
    /// 1 for the first one, as the task source counts.
    pub attempt: u32,
    /// How it ended.
    pub status: RunState,
    /// Name of the source connection.
    pub source: String,
    /// Name of the target connection.
    pub destination: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How long it took, or takes so far, in milliseconds; null when nobody knows when it ended.
    pub duration_ms: Option<u64>,
    /// Rows in its files; while it runs, rows read so far.
    pub rows: Option<u64>,
    /// Bytes in its files; while it runs, bytes written so far.
    pub bytes: Option<u64>,
    /// Its files; while it runs, those begun.
    pub files: Option<u64>,
    /// Why it failed.
    pub error: Option<Report>,
}

/// What a task logged, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "task": "orders-2026-11",
    "lines": [{
        "time": "2026-11-20T08:30:09.75Z",
        "level": "info",
        "attempt": 1,
        "target": "data_exchange_agent::worker::ending",
        "message": "task completed",
        "fields": {"rows": 1200000, "bytes": 48000000, "files": 4, "duration_ms": 8500}
    }],
    "next": null
}))]
pub(super) struct LogPage {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// The lines.
    pub lines: Vec<LineView>,
    /// Give this as `after` to get what follows, at once or later; null when the task has ended and
    /// nothing follows.
    pub next: Option<String>,
}

/// One line of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Which attempt.
    pub attempt: u32,
    /// Which part of the agent.
    pub target: String,
    /// In words.
    pub message: String,
    /// In figures.
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

impl RunView {
    /// The view of a record, with live figures when it runs here.
    fn new(record: RunRecord, agent: &ApiState) -> Self {
        let live = (record.state == RunState::Running)
            .then(|| agent.pool.running().all())
            .into_iter()
            .flatten()
            .find(|(source, id, task)| {
                *source == record.task_source && *id == record.task && task.attempt == record.attempt
            })
            .map(|(_, _, task)| task.progress.snapshot());
        let ended = record.finished_at.or((record.state == RunState::Running).then(Timestamp::now));
        let duration_ms = ended.map(|ended| {
            let milliseconds = ended.as_millisecond().saturating_sub(record.started_at.as_millisecond());
            // A clock that was set back meanwhile.
            u64::try_from(milliseconds).unwrap_or(0)
        });
        Self {
            task: record.task,
            task_source: record.task_source,
            attempt: record.attempt,
            status: record.state,
            source: record.source,
            destination: record.destination,
            started_at: record.started_at,
            finished_at: record.finished_at,
            duration_ms,
            rows: record.rows.or(live.as_ref().map(|live| live.rows)),
            bytes: record.bytes.or(live.as_ref().map(|live| live.bytes)),
            files: record.files.or(live.as_ref().map(|live| live.parts)),
            error: record.report,
        }
    }
}

impl From<LineRecord> for LineView {
    fn from(line: LineRecord) -> Self {
        let LineRecord { time, level, attempt, target, message, fields, sequence: _ } = line;
        Self { time, level, attempt, target, message, fields }
    }
}

/// Lists runs, newest first, page by page: every attempt of every task, also of those that came from
/// a remote task source.
///
/// Runs are kept for a while only, as `[history]` says.
#[utoipa::path(
    get, path = "/runs", tag = "tasks", operation_id = "list_runs",
    params(
        ("status" = Option<RunState>, Query, description = "Only runs with this status"),
        ("task" = Option<String>, Query, description = "Only runs of this task",
            pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"),
        ("limit" = Option<u32>, Query, description = "Runs of a page; 50 when missing", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before",
            pattern = "^[0-7]?[0-9a-f]{1,15}$"),
    ),
    responses(
        (status = 200, description = "A page of runs", body = RunPage,
            headers(("link" = String, description = "The next page, with `rel=\"next\"`, when there is one"))),
        (status = 422, description = "A query parameter is wrong or unknown"),
        (status = 503, description = "The history could not be read"),
    )
)]
pub(super) async fn runs(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let filter = read_filter(query.as_deref())?;
    let page = api.agent.history.runs(&filter).await?;
    let runs = page.runs.into_iter().map(|run| RunView::new(run, &api.agent)).collect();
    let next_cursor = page.next.map(|sequence| format!("{sequence:x}"));
    let link = next_cursor.as_deref().map(|cursor| link(&filter, cursor));
    let mut response = Json(RunPage { runs, next_cursor }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn read_filter(query: Option<&str>) -> Result<RunFilter, Problem> {
    let mut findings = Findings::default();
    let mut filter = RunFilter { limit: NonZeroU32::new(DEFAULT_RUNS), ..RunFilter::default() };
    for (name, value) in extract::parameters(query, &["status", "task", "limit", "cursor"], &mut findings) {
        match name {
            "status" => match RunState::from_name(&value) {
                Some(state) => filter.state = Some(state),
                None => {
                    let known = RunState::ALL.map(RunState::as_str);
                    findings.add_parameter(name, format!("expected one of {}", names(&known)));
                }
            },
            "task" => match TaskId::parse(value) {
                Ok(task) => filter.task = Some(task),
                Err(_invalid) => findings.add_parameter(name, "expected the id of a task"),
            },
            "limit" => match value.parse::<NonZeroU32>() {
                Ok(limit) if limit.get() <= MAX_RUNS => filter.limit = Some(limit),
                Ok(_) | Err(_) => {
                    findings.add_parameter(name, format!("expected a whole number from 1 to {MAX_RUNS}"));
                }
            },
            _ => match cursor(&value) {
                Some(before) => filter.before = Some(before),
                None => findings.add_parameter(name, "expected the `next_cursor` of an earlier page"),
            },
        }
    }
    findings.or_problem(filter)
}

fn cursor(text: &str) -> Option<i64> {
    i64::try_from(u64::from_str_radix(text, 16).ok()?).ok()
}

fn link(filter: &RunFilter, cursor: &str) -> HeaderValue {
    let status = filter.state.map(|state| format!("status={}&", state.as_str())).unwrap_or_default();
    let task = filter.task.as_ref().map(|task| format!("task={task}&")).unwrap_or_default();
    let limit = filter.limit.map_or(DEFAULT_RUNS, NonZeroU32::get);
    HeaderValue::from_str(&format!("</runs?{status}{task}limit={limit}&cursor={cursor}>; rel=\"next\""))
        .expect("the alphabet of ids is allowed in headers")
}

/// Shows what the attempts of a task logged, oldest first.
///
/// To follow a task that runs, ask again with `after` set to the last `next`, until `next` is null.
#[utoipa::path(
    get, path = "/tasks/{id}/logs", tag = "tasks", operation_id = "task_logs",
    params(
        ("id" = String, Path, description = "Names the task"),
        ("after" = Option<String>, Query, description = "`next` of the page before",
            pattern = "^[0-7]?[0-9a-f]{1,15}$"),
        ("limit" = Option<u32>, Query, description = "Lines of a page; 200 when missing", minimum = 1, maximum = 1000),
        ("attempt" = Option<u32>, Query, description = "Only lines of this attempt", minimum = 1, maximum = 2147483647),
    ),
    responses(
        (status = 200, description = "A page of lines", body = LogPage),
        (status = 404, description = "No task has this id, and no run of such a task is kept"),
        (status = 422, description = "A query parameter is wrong or unknown"),
        (status = 503, description = "The history or the queue could not be read"),
    )
)]
pub(super) async fn logs(
    State(api): State<Api>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<LogPage>, Problem> {
    let request = LogRequest::read(query.as_deref())?;
    // Looked at before the lines are read: an attempt that ends meanwhile has its last lines there.
    let has_ended = has_ended(&api.agent, &id).await?;
    let page = api.agent.history.lines(&id, request.attempt, request.after, request.limit.get()).await?;
    let last = page.lines.last().map_or(request.after, |line| line.sequence);
    let next = (page.has_more || !has_ended).then(|| format!("{last:x}"));
    Ok(Json(LogPage { task: id, lines: page.lines.into_iter().map(LineView::from).collect(), next }))
}

/// Whether nothing more happens to a task by itself.
async fn has_ended(agent: &ApiState, id: &TaskId) -> Result<bool, Problem> {
    if let Some(record) = agent.queue.get(id).await? {
        return Ok(match record.state {
            TaskState::Queued | TaskState::Running => false,
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => true,
        });
    }
    let newest = RunFilter { task: Some(id.clone()), limit: NonZeroU32::new(1), ..RunFilter::default() };
    match agent.history.runs(&newest).await?.runs.first() {
        Some(run) => Ok(run.state != RunState::Running),
        None => Err(Problem::unknown_task(id.as_str())),
    }
}

/// The query parameters of a log.
struct LogRequest {
    after: i64,
    limit: NonZeroU32,
    attempt: Option<u32>,
}

impl LogRequest {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut request =
            Self { after: 0, limit: NonZeroU32::new(DEFAULT_LINES).expect("not zero"), attempt: None };
        for (name, value) in extract::parameters(query, &["after", "limit", "attempt"], &mut findings) {
            match name {
                "after" => match cursor(&value) {
                    Some(after) => request.after = after,
                    None => findings.add_parameter(name, "expected the `next` of an earlier page"),
                },
                "limit" => match value.parse::<NonZeroU32>() {
                    Ok(limit) if limit.get() <= MAX_LINES => request.limit = limit,
                    Ok(_) | Err(_) => {
                        findings
                            .add_parameter(name, format!("expected a whole number from 1 to {MAX_LINES}"));
                    }
                },
                _ => match value.parse::<NonZeroU32>() {
                    // The document has the type of 31 bits and a sign.
                    Ok(attempt) if attempt.get() <= i32::MAX.unsigned_abs() => {
                        request.attempt = Some(attempt.get());
                    }
                    Ok(_) | Err(_) => findings.add_parameter(name, "expected the number of an attempt"),
                },
            }
        }
        findings.or_problem(request)
    }
}
