//! `/metrics`: the figures of the agent for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};
use jiff::Timestamp;

use super::Api;
use super::problem::Problem;
use crate::telemetry::Gauges;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Shows the figures of the agent in the text format of OpenMetrics.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses(
        (status = 200, description = "Tasks by status, rows, bytes, durations, queue depth, worker use, memory",
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8", body = String),
        (status = 503, description = "The queue could not be read"),
    )
)]
pub(super) async fn metrics(
    State(api): State<Api>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let agent = &api.agent;
    let mut gauges = Gauges {
        tasks: agent.queue.counts().await?,
        oldest_waits: agent.queue.oldest_waiting().await?.map(since),
        workers: agent.pool.workers().get(),
        is_handling: agent.pool.is_handling(),
        short: agent.guards.hold().map(|hold| hold.short),
        memory_planned: agent.memory_planned,
        memory_limit: agent.memory_limit,
        disk_free: agent.guards.free(),
        log_drops: agent.log.dropped(),
        history_drops: agent.history.dropped(),
        ..Gauges::default()
    };
    for (task_source, _, task) in agent.pool.running().all() {
        let progress = task.progress.snapshot();
        *gauges.running.entry(task_source).or_default() += 1;
        gauges.rows_in_flight += progress.rows;
        gauges.bytes_in_flight += progress.bytes;
    }
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], agent.metrics.render(&gauges)))
}

/// The time since a moment; none when the clock was set back.
fn since(moment: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(moment)).unwrap_or_default()
}
