//! `/tasks`: submit, list, show, cancel, retry.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::authentication::Bounds;
use super::extract::{self, PathId};
use super::problem::{Problem, ProblemKind};
use super::submission::{self, Submission, TaskSubmission};
use super::task_page::{ListRequest, page};
use super::view::TaskView;
use super::{Api, ApiState};
use crate::bounds::TaskBounds;
use crate::shutdown::spawn_blocking;
use crate::task::{Task, TaskId, Traceparent};
use crate::task_source::local::{Cancelled, LocalQueue, Retried, SubmitError, Submitted, TaskState};

/// The answer to a submitted task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Task added successfully",
    "id_task": "orders-2026-11",
    "status": "queued",
    "location": "/tasks/orders-2026-11",
    "created": true
}))]
pub(super) struct SubmittedTask {
    /// For people.
    pub message: &'static str,
    /// Names the task.
    #[schema(value_type = String)]
    pub id_task: TaskId,
    /// Where the task is in its life.
    pub status: TaskState,
    /// Where the task can be seen.
    pub location: String,
    /// False when the same task was accepted before.
    pub created: bool,
    /// What there is to know about the way the task was understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub notes: Vec<String>,
}

/// The answer to an array of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubmittedTasks {
    /// For people.
    pub message: &'static str,
    /// One answer for each task, in the order of the request.
    pub tasks: Vec<SubmittedTask>,
}

/// One page of tasks, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskPage {
    /// The tasks. A page can be shorter than asked for and still not be the last one.
    pub tasks: Vec<TaskView>,
    /// The `cursor` of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

const ADDED: &str = "Task added successfully";
const EXISTS: &str = "Task already exists";

/// Submits a task, or an array of 1 to 1000 tasks that are accepted all or none.
///
/// The answer is sent when the tasks are on the disk. Submitting the same task with the same id
/// again changes nothing, so a request whose answer was lost can be repeated.
#[utoipa::path(
    post, path = "/tasks", tag = "tasks", operation_id = "submit_tasks",
    request_body(content = TaskSubmission, content_type = "application/json"),
    responses(
        (status = 202, description = "Accepted and durable; for an array, at least one of the tasks is new. \
            `SubmittedTask` for one task, `SubmittedTasks` for an array",
            body = SubmissionAnswer, headers(("location" = String, description = "The task; for one task only"))),
        (status = 200, description = "All tasks were accepted before; nothing changed", body = SubmissionAnswer,
            headers(("location" = String, description = "The task; for one task only"))),
        (status = 400, description = "The body is not JSON, or has a name twice in one object"),
        (status = 403, description = "The request comes from a page of another web site, or a task leads out \
            of the bounds of the API key; `errors` then says where"),
        (status = 408, description = "The body did not arrive in time"),
        (status = 409, description = "An id belongs to a task with another body; no task was accepted"),
        (status = 413, description = "The body is larger than the configured limit"),
        (status = 415, description = "The content type is not `application/json`"),
        (status = 422, description = "Fields are wrong, unknown, or name connections that are not configured; \
            `errors` has all of them"),
        (status = 503, description = "The queue could not store the tasks, or too many large bodies are there"),
    )
)]
pub(super) async fn submit(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let bounds = Arc::clone(&request.extensions().get::<Bounds>().expect("the guard lets nobody else in").0);
    let trace = extract::traceparent(request.headers());
    let body = extract::roomy_json_body(request, api.agent.max_body_bytes, &api.body_room).await?;
    let submission = match body {
        (body, Some(room)) => understand_large(&api, body, room, bounds).await?,
        (body, None) => understand(&api.agent, &body, &bounds)?,
    };
    let (tasks, notes): (Vec<Task>, Vec<Vec<String>>) =
        submission.tasks.into_iter().map(|wanted| (traced(wanted.task, &trace), wanted.notes)).unzip();
    let submitted = api.agent.queue.submit(tasks).await.map_err(|error| match error {
        SubmitError::Conflict { id } => {
            let detail = format!(
                "the id `{id}` belongs to a task with another body; choose another id, or leave it out"
            );
            Problem::new(ProblemKind::IdConflict, detail)
        }
        SubmitError::Fault(fault) => Problem::from(fault),
    })?;
    let mut answers: Vec<SubmittedTask> =
        submitted.into_iter().zip(notes).map(|(submitted, notes)| answer(submitted, notes)).collect();
    let status =
        if answers.iter().any(|answer| answer.created) { StatusCode::ACCEPTED } else { StatusCode::OK };
    if submission.is_list {
        let message =
            if status == StatusCode::ACCEPTED { "Tasks added successfully" } else { "Tasks already exist" };
        return Ok((status, Json(SubmittedTasks { message, tasks: answers })).into_response());
    }
    let answer = answers.pop().expect("the queue answers every task");
    Ok((status, [(header::LOCATION, header_value(&answer.location))], Json(answer)).into_response())
}

/// Puts a task that says nothing of a trace into that of its request.
fn traced(mut task: Task, trace: &Traceparent) -> Task {
    if task.spec.trace.is_none() {
        task.spec.trace = trace.clone();
    }
    task
}

fn understand(agent: &ApiState, body: &[u8], bounds: &TaskBounds) -> Result<Submission, Problem> {
    let value = extract::parse(body)?;
    submission::read(&value, &agent.catalog, agent.default_format, bounds)
}

/// A megabyte of SQL can take a second and hundreds of megabytes to check: on a thread of its own,
/// so that other requests go on, and one at a time.
async fn understand_large(
    api: &Api,
    body: Vec<u8>,
    room: OwnedSemaphorePermit,
    bounds: Arc<TaskBounds>,
) -> Result<Submission, Problem> {
    let turn = Arc::clone(&api.large_bodies).acquire_owned().await.expect("the semaphore is never closed");
    let api = Arc::clone(api);
    let understood = spawn_blocking(move || {
        // Until the work is done, also when nobody waits for it any more.
        let (_turn, _room) = (turn, room);
        understand(&api.agent, &body, &bounds)
    });
    // A panic goes on here, to the layer that answers it.
    understood.await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}

fn answer(submitted: Submitted, notes: Vec<String>) -> SubmittedTask {
    let (record, created) = match submitted {
        Submitted::Created(record) => (record, true),
        Submitted::Existing(record) => (record, false),
    };
    let location = location(&record.task.id);
    let message = if created { ADDED } else { EXISTS };
    SubmittedTask { message, id_task: record.task.id, status: record.state, location, created, notes }
}

/// Lists tasks, newest first, page by page.
///
/// The next page begins behind the last task of this one, so that tasks which arrive meanwhile
/// move nothing.
#[utoipa::path(
    get, path = "/tasks", tag = "tasks", operation_id = "list_tasks",
    params(
        ("status" = Option<TaskState>, Query, description = "Only tasks with this status"),
        ("limit" = Option<u32>, Query, description = "Tasks of a page; 50 when missing", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before",
            pattern = "^[0-7]?[0-9a-f]{1,15}$"),
    ),
    responses(
        (status = 200, description = "A page of tasks", body = TaskPage,
            headers(("link" = String, description = "The next page, with `rel=\"next\"`, when there is one"))),
        (status = 422, description = "A query parameter is wrong or unknown"),
        (status = 503, description = "The queue could not be read"),
    )
)]
pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let request = ListRequest::read(query.as_deref())?;
    let (records, next) = page(&api, &request).await?;
    let running = api.agent.pool.running();
    let tasks = records.into_iter().map(|record| TaskView::new(record, running)).collect();
    let next_cursor = next.map(|sequence| format!("{sequence:x}"));
    let link = next_cursor.as_deref().map(|cursor| request.link(cursor));
    let mut response = Json(TaskPage { tasks, next_cursor }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, header_value(&link));
    }
    Ok(response)
}

/// Shows a task: status, attempts with their errors, live progress, receipt.
#[utoipa::path(
    get, path = "/tasks/{id}", tag = "tasks", operation_id = "show_task",
    params(("id" = String, Path, description = "Names the task")),
    responses(
        (status = 200, description = "The task", body = TaskView),
        (status = 404, description = "No task has this id"),
        (status = 503, description = "The queue could not be read"),
    )
)]
pub(super) async fn show(State(api): State<Api>, PathId(id): PathId) -> Result<Json<TaskView>, Problem> {
    let record = api.agent.queue.get(&id).await?.ok_or_else(|| Problem::unknown_task(id.as_str()))?;
    Ok(Json(TaskView::new(record, api.agent.pool.running())))
}

/// Cancels a task. One that runs stops at its next safe point, on the server of the database too,
/// and leaves no visible file.
#[utoipa::path(
    delete, path = "/tasks/{id}", tag = "tasks", operation_id = "cancel_task",
    params(("id" = String, Path, description = "Names the task")),
    responses(
        (status = 200, description = "The task is cancelled, now or since an earlier request", body = TaskView),
        (status = 202, description = "The task runs and was asked to stop", body = TaskView,
            headers(("location" = String, description = "The task"))),
        (status = 403, description = "The request comes from a page of another web site"),
        (status = 404, description = "No task has this id"),
        (status = 409, description = "The task has completed or failed"),
        (status = 503, description = "The queue could not store it"),
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(bounds): Extension<Bounds>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    check_bounds(&api, &bounds, &id).await?;
    let running = api.agent.pool.running();
    match api.agent.queue.cancel(&id).await? {
        Cancelled::Unknown => Err(Problem::unknown_task(id.as_str())),
        Cancelled::Now(record) => Ok(Json(TaskView::new(record, running)).into_response()),
        Cancelled::AlreadyEnded(record) if record.state == TaskState::Cancelled => {
            Ok(Json(TaskView::new(record, running)).into_response())
        }
        Cancelled::Requested(record) => {
            running.hurry(LocalQueue::NAME, &id);
            Ok(accepted(TaskView::new(record, running), &id))
        }
        Cancelled::AlreadyEnded(record) => {
            let detail = format!("the task is {}, so that there is nothing to cancel", record.state.as_str());
            Err(Problem::new(ProblemKind::TaskState, detail))
        }
    }
}

/// Puts a failed or cancelled task back into the queue, with all its attempts.
#[utoipa::path(
    post, path = "/tasks/{id}/retry", tag = "tasks", operation_id = "retry_task",
    params(("id" = String, Path, description = "Names the task")),
    responses(
        (status = 202, description = "The task waits again", body = TaskView,
            headers(("location" = String, description = "The task"))),
        (status = 403, description = "The request comes from a page of another web site"),
        (status = 404, description = "No task has this id"),
        (status = 409, description = "The task has neither failed nor been cancelled"),
        (status = 503, description = "The queue could not store it"),
    )
)]
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(bounds): Extension<Bounds>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    check_bounds(&api, &bounds, &id).await?;
    match api.agent.queue.retry(&id).await? {
        Retried::Unknown => Err(Problem::unknown_task(id.as_str())),
        Retried::Queued(record) => Ok(accepted(TaskView::new(record, api.agent.pool.running()), &id)),
        Retried::Refused(record) => {
            let state = record.state.as_str();
            let detail = format!("the task is {state}; only a failed or cancelled task can be retried");
            Err(Problem::new(ProblemKind::TaskState, detail))
        }
    }
}

/// Refuses to touch a task that the caller could not have submitted: a retry runs it once more. A task of
/// this id that is not there yet is nothing to protect.
async fn check_bounds(api: &Api, Bounds(bounds): &Bounds, id: &TaskId) -> Result<(), Problem> {
    if bounds.is_unbounded() {
        return Ok(());
    }
    let Some(record) = api.agent.queue.get(id).await? else { return Ok(()) };
    if api.agent.catalog.breaches(&record.task.spec, bounds).is_empty() {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::OutOfBounds, "the bounds of the API key do not allow what this task does"))
}

/// The answer to a request that changes what becomes of a task, and where that can be seen.
fn accepted(view: TaskView, id: &TaskId) -> Response {
    (StatusCode::ACCEPTED, [(header::LOCATION, header_value(&location(id)))], Json(view)).into_response()
}

fn location(id: &TaskId) -> String {
    format!("/tasks/{id}")
}

/// Ids, cursors and states are letters, digits and a few signs.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the alphabet of ids is allowed in headers")
}

/// For the OpenAPI document: the answer to one task or to an array.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum SubmissionAnswer {
    One(SubmittedTask),
    Many(SubmittedTasks),
}
