//! The routes of version 1.2.0 that start, stop and count, with its names and keys.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use crate::task_source::local::Counts;

/// The answer to a switch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SwitchAnswer {
    /// For people.
    #[schema(example = "Task manager started")]
    pub message: &'static str,
    /// Whether new tasks are started now.
    pub handling_tasks: bool,
}

/// Whether tasks are handled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HandlingStatus {
    /// Whether new tasks are started.
    pub handling_tasks: bool,
}

/// How many tasks there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TasksCount {
    /// Tasks that wait or run.
    pub tasks_count: u64,
    /// Process id of the agent.
    pub worker_pid: u32,
    /// All tasks that the queue keeps, by status.
    pub tasks_by_status: Counts,
}

/// How many tasks were completed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TasksProcessed {
    /// Tasks whose files are committed, in the life of the queue: those that it no longer keeps count too.
    pub tasks_processed: u64,
}

/// Starts to handle tasks, as the agent does by itself when it starts.
#[utoipa::path(
    method(get, post), path = "/handle_tasks", tag = "control", operation_id = "handle_tasks",
    responses(
        (status = 200, description = "Tasks are handled", body = SwitchAnswer),
        (status = 403, description = "The request comes from a page of another web site"),
    )
)]
pub(super) async fn handle_tasks(State(api): State<Api>) -> Json<SwitchAnswer> {
    if api.agent.pool.start_handling() {
        tracing::info!("tasks are handled again, by request");
    }
    Json(SwitchAnswer { message: "Task manager started", handling_tasks: api.agent.pool.is_handling() })
}

/// Stops to handle tasks: running ones end, no other is started, submitted ones wait. The agent
/// itself stays.
#[utoipa::path(
    method(get, post), path = "/stop", tag = "control", operation_id = "stop_handling_tasks",
    responses(
        (status = 200, description = "No other task is started", body = SwitchAnswer),
        (status = 403, description = "The request comes from a page of another web site"),
    )
)]
pub(super) async fn stop(State(api): State<Api>) -> Json<SwitchAnswer> {
    if api.agent.pool.stop_handling() {
        tracing::info!("no other task is started, by request");
    }
    Json(SwitchAnswer { message: "Task manager stopped", handling_tasks: api.agent.pool.is_handling() })
}

/// Tells whether tasks are handled.
#[utoipa::path(
    get, path = "/get_handling_tasks_status", tag = "control", operation_id = "handling_tasks_status",
    responses((status = 200, description = "Whether tasks are handled", body = HandlingStatus))
)]
pub(super) async fn handling_status(State(api): State<Api>) -> Json<HandlingStatus> {
    Json(HandlingStatus { handling_tasks: api.agent.pool.is_handling() })
}

/// Counts the tasks of the queue.
#[utoipa::path(
    get, path = "/get_tasks_count", tag = "control", operation_id = "tasks_count",
    responses(
        (status = 200, description = "How many tasks there are", body = TasksCount),
        (status = 503, description = "The queue could not be read"),
    )
)]
pub(super) async fn tasks_count(State(api): State<Api>) -> Result<Json<TasksCount>, Problem> {
    let counts = api.agent.queue.counts().await?;
    Ok(Json(TasksCount {
        tasks_count: counts.queued + counts.running,
        worker_pid: std::process::id(),
        tasks_by_status: counts,
    }))
}

/// Counts the tasks that were completed.
#[utoipa::path(
    get, path = "/tasks_processed", tag = "control", operation_id = "tasks_processed",
    responses(
        (status = 200, description = "How many tasks were completed", body = TasksProcessed),
        (status = 503, description = "The queue could not be read"),
    )
)]
pub(super) async fn tasks_processed(State(api): State<Api>) -> Result<Json<TasksProcessed>, Problem> {
    Ok(Json(TasksProcessed { tasks_processed: api.agent.queue.completed_ever().await? }))
}
