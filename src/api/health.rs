//! `/health`, `/live`, `/ready`: what a person, a supervisor and a load balancer ask.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use futures::future::join_all;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::authentication::{Bounds, Caller};
use super::{Api, ApiState};
use crate::catalog::Catalog;
use crate::fault::Fault;

/// Longest time for one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Results of connection checks are shown this long, so that probes do not load databases.
const CHECK_LIFETIME: Duration = Duration::from_secs(10);

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
    "database_connections": {"sales": "connected", "teradata": "this version cannot read from it"},
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
    /// Target connections: `connected`, or why not. Results are up to 10 s old.
    pub destination_connections: BTreeMap<String, String>,
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
            // The names of databases are nothing for strangers.
            Caller::Stranger => Arc::default(),
        }
    };
    let (queue, connections) = tokio::join!(queue_state(agent), connections);
    let (workers_state, workers_whole) = match (agent.pool.is_whole(), agent.shutdown.is_draining()) {
        (_, true) => ("stopping", true),
        (true, false) => ("ok", true),
        (false, false) => ("a worker or poller has ended; restart the agent", false),
    };
    let is_healthy = queue.is_ok() && workers_whole;
    let health = Health {
        status: if is_healthy { "healthy" } else { "unhealthy" },
        service: "data_exchange_agent",
        version: env!("CARGO_PKG_VERSION"),
        queue: queue.err().unwrap_or_else(|| "ok".to_owned()),
        workers: WorkersHealth {
            total: agent.pool.workers().get(),
            busy: agent.pool.running().count(),
            state: workers_state,
            running: running_by_source(agent),
        },
        handling_tasks: agent.pool.is_handling(),
        held: agent.guards.hold().map(|hold| hold.reason),
        database_connections: only(&connections.sources, |name| bounds.allows_source(name)),
        destination_connections: only(&connections.destinations, |name| bounds.allows_destination(name)),
        // They have no name that a task could be allowed to use.
        unavailable: only(&connections.others, |_| bounds.is_unbounded()),
    };
    (if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

/// The entries that a caller may know.
fn only(entries: &BTreeMap<String, String>, may_know: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let entries = entries.iter().filter(|(name, _)| may_know(name));
    entries.map(|(name, state)| (name.clone(), state.clone())).collect()
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
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Ready>) {
    let reason = if api.agent.shutdown.is_draining() {
        Some("the agent is stopping".to_owned())
    } else {
        let hold = api.agent.guards.hold().map(|hold| hold.reason);
        hold.or(queue_state(&api.agent).await.err())
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

async fn queue_state(agent: &ApiState) -> Result<(), String> {
    check(agent.queue.check()).await
}

/// Runs one check within its time. The reason is kind and action of the fault: its causes can have
/// words of a server, which stay in the log.
async fn check(check: impl Future<Output = Result<(), Fault>>) -> Result<(), String> {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => {
            tracing::warn!(error = fault.chain(), kind = %fault.kind(), "a health check failed");
            Err(format!("{fault} ({})", fault.kind()))
        }
        Err(_elapsed) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
    }
}

/// What the connection checks found, by name.
#[derive(Debug, Default)]
pub(super) struct Connections {
    sources: BTreeMap<String, String>,
    destinations: BTreeMap<String, String>,
    others: BTreeMap<String, String>,
}

/// The last connection checks. Requests that come while checks run wait for their results, so that
/// there is at most one check of a connection at any time.
#[derive(Debug, Default)]
pub(super) struct ConnectionChecks(Mutex<Option<(Instant, Arc<Connections>)>>);

impl ConnectionChecks {
    async fn get(&self, catalog: &Catalog) -> Arc<Connections> {
        let mut last = self.0.lock().await;
        if let Some((checked_at, connections)) = last.as_ref()
            && checked_at.elapsed() < CHECK_LIFETIME
        {
            return Arc::clone(connections);
        }
        let connections = Arc::new(run(catalog).await);
        *last = Some((Instant::now(), Arc::clone(&connections)));
        connections
    }
}

/// Checks all connections at the same time.
async fn run(catalog: &Catalog) -> Connections {
    let sources = join_all(catalog.sources().map(async |(name, source)| named(name, source.check()).await));
    let destinations = join_all(
        catalog.destinations().map(async |(name, _, destination)| named(name, destination.check()).await),
    );
    let (sources, destinations) = tokio::join!(sources, destinations);
    let mut connections = Connections {
        sources: sources.into_iter().collect(),
        destinations: destinations.into_iter().collect(),
        others: BTreeMap::new(),
    };
    for (section, reason) in catalog.unavailable() {
        let (map, name) = if let Some(name) = section.strip_prefix("connections.source.") {
            (&mut connections.sources, name)
        } else if let Some(name) = section.strip_prefix("connections.target.") {
            (&mut connections.destinations, name)
        } else {
            (&mut connections.others, section)
        };
        map.insert(name.to_owned(), reason.to_owned());
    }
    connections
}

async fn named(name: &str, future: impl Future<Output = Result<(), Fault>>) -> (String, String) {
    let state = match check(future).await {
        Ok(()) => "connected".to_owned(),
        Err(reason) => reason,
    };
    (name.to_owned(), state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_does_not_answer_is_given_up() {
        let expected = ("slow".to_owned(), "no answer within 3 s".to_owned());
        assert_eq!(named("slow", std::future::pending()).await, expected);
    }
}
