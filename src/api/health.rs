//! `/health`, `/live`, `/ready`: what a person, a supervisor and a load balancer ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::authentication::{Bounds, Caller};
use super::checks::ConnectionFault;
use super::{Api, ApiState};
use crate::guards::{Hold, Short};

/// The state of the agent and of everything that it depends on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "status": "healthy",
    "service": "data_exchange_agent",
    "version": "0.1.0",
    "queue": "ok",
    "workers": {"total": 4, "busy": 1, "state": "ok", "running": {"local": 1}},
    "handling_tasks": true,
    "held": null,
    "database_connections": {
        "sales": "connected", "ledger": "connect to PostgreSQL at db:5432 (transient)",
        "teradata": "this version cannot read from it"
    },
    "database_faults": {"ledger": {
        "kind": "transient", "message": "connect to PostgreSQL at db:5432: open a TCP connection: Connection refused (os error 111)",
        "hint": "Check that the server runs and that the network between it and the agent is up.",
        "at": "2026-11-20T08:30:01.25Z"
    }},
    "destination_connections": {"local": "connected"}
}))]
pub(super) struct Health {
    /// `healthy`, or `unhealthy` when the queue or the worker pool is broken. A connection that is
    /// down does not make the agent unhealthy: its tasks are tried again.
    pub status: &'static str,
    /// Always `data_exchange_agent`.
    pub service: &'static str,
    /// Version of the agent.
    pub version: &'static str,
    /// `ok`, or why the queue cannot store tasks.
    pub queue: String,
    /// The worker pool.
    pub workers: WorkersHealth,
    /// Whether new tasks are started.
    pub handling_tasks: bool,
    /// Why no task is started although tasks are handled: a disk or the memory is short.
    pub held: Option<String>,
    /// Source connections: `connected`, or why not. Results are up to 10 s old.
    pub database_connections: BTreeMap<String, String>,
    /// Cause and remedy for each source connection whose check failed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub database_faults: BTreeMap<String, ConnectionFault>,
    /// Target connections: `connected`, or why not. Results are up to 10 s old.
    pub destination_connections: BTreeMap<String, String>,
    /// Cause and remedy for each target connection whose check failed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub destination_faults: BTreeMap<String, ConnectionFault>,
    /// Other configured sections that this version cannot serve, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub unavailable: BTreeMap<String, String>,
}

/// The worker pool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkersHealth {
    /// Attempts that can run at the same time.
    pub total: usize,
    /// Attempts that run.
    pub busy: usize,
    /// `ok`, `stopping`, or what is broken.
    pub state: &'static str,
    /// Attempts that run, by task source; `/tasks` lists those of `local` only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub running: BTreeMap<&'static str, usize>,
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    /// Always true.
    pub live: bool,
}

/// Whether the agent wants tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// Whether tasks can be submitted.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Shows the state of the agent, its queue, its workers and its connections; those only to callers
/// with an API key, where there are keys.
#[utoipa::path(
    get, path = "/health", tag = "operation", operation_id = "health",
    responses(
        (status = 200, description = "Queue and workers are whole", body = Health),
        (status = 503, description = "The queue or the worker pool is broken", body = Health),
    )
)]
pub(super) async fn health(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(Bounds(bounds)): Extension<Bounds>,
) -> (StatusCode, Json<Health>) {
    let agent = &api.agent;
    let connections = async {
        match caller {
            Caller::Known => api.connections.get(&agent.catalog).await,
            // The names of databases, and what is wrong with them, are nothing for strangers.
            Caller::Stranger => Arc::default(),
        }
    };
    let (queue, connections) = tokio::join!(api.queue_check.get(&agent.queue), connections);
    let (workers_state, workers_whole) = match (agent.pool.is_whole(), agent.shutdown.is_draining()) {
        (_, true) => ("stopping", true),
        (true, false) => ("ok", true),
        (false, false) => ("a worker or poller has ended; restart the agent", false),
    };
    let is_healthy = queue.is_ok() && workers_whole;
    let reader = Reader::of(caller, bounds.is_unbounded());
    let health = Health {
        status: if is_healthy { "healthy" } else { "unhealthy" },
        service: "data_exchange_agent",
        version: env!("CARGO_PKG_VERSION"),
        queue: queue.err().map_or_else(|| "ok".to_owned(), |reason| reader.of_queue(reason)),
        workers: WorkersHealth {
            total: agent.pool.workers().get(),
            busy: agent.pool.running().count(),
            state: workers_state,
            running: running_by_source(agent),
        },
        handling_tasks: agent.pool.is_handling(),
        held: agent.guards.hold().map(|hold| reader.of_hold(hold)),
        database_connections: only(&connections.sources, |name| bounds.allows_source(name)),
        database_faults: only(&connections.source_faults, |name| bounds.allows_source(name)),
        destination_connections: only(&connections.destinations, |name| bounds.allows_destination(name)),
        destination_faults: only(&connections.destination_faults, |name| bounds.allows_destination(name)),
        // They have no name that a task could be allowed to use.
        unavailable: only(&connections.others, |_| bounds.is_unbounded()),
    };
    (if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

/// The entries that a caller may know.
fn only<T: Clone>(entries: &BTreeMap<String, T>, may_know: impl Fn(&str) -> bool) -> BTreeMap<String, T> {
    let entries = entries.iter().filter(|(name, _)| may_know(name));
    entries.map(|(name, found)| (name.clone(), found.clone())).collect()
}

/// Who reads the reason of something.
#[derive(Clone, Copy)]
enum Reader {
    /// Somebody who may know every name.
    Operator,
    /// Somebody to whom names of connections and places say more than they should know.
    Other,
}

impl Reader {
    fn of(caller: Caller, is_unbounded: bool) -> Self {
        match caller {
            Caller::Known if is_unbounded => Self::Operator,
            Caller::Known | Caller::Stranger => Self::Other,
        }
    }

    fn of_hold(self, hold: Hold) -> String {
        match (self, hold.short) {
            (Self::Operator, _) => hold.reason,
            (Self::Other, Short::Disk) => "no new task is started: a disk is short".to_owned(),
            (Self::Other, Short::Memory) => "no new task is started: memory is short".to_owned(),
        }
    }

    fn of_queue(self, reason: String) -> String {
        match self {
            Self::Operator => reason,
            Self::Other => "the queue cannot store tasks".to_owned(),
        }
    }
}

/// Answers as long as the process does.
#[utoipa::path(
    get, path = "/live", tag = "operation", operation_id = "live",
    responses((status = 200, description = "The process answers", body = Live))
)]
pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Tells whether tasks should be submitted here. Says no as soon as the agent begins to stop, and while
/// a disk or the memory is short; a pause by `/stop` does not count, because submitted tasks wait.
#[utoipa::path(
    get, path = "/ready", tag = "operation", operation_id = "ready",
    responses(
        (status = 200, description = "Tasks can be submitted", body = Ready),
        (status = 503, description = "The agent stops, its queue cannot store tasks, or a disk or the memory is short", body = Ready),
    )
)]
pub(super) async fn ready(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(Bounds(bounds)): Extension<Bounds>,
) -> (StatusCode, Json<Ready>) {
    let reader = Reader::of(caller, bounds.is_unbounded());
    let reason = if api.agent.shutdown.is_draining() {
        Some("the agent is stopping".to_owned())
    } else {
        let hold = api.agent.guards.hold().map(|hold| reader.of_hold(hold));
        let queue = api.queue_check.get(&api.agent.queue).await.err();
        hold.or(queue.map(|reason| reader.of_queue(reason)))
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready: reason.is_none(), reason }))
}

fn running_by_source(agent: &ApiState) -> BTreeMap<&'static str, usize> {
    let mut running = BTreeMap::new();
    for (source, _, _) in agent.pool.running().all() {
        *running.entry(source).or_default() += 1;
    }
    running
}
