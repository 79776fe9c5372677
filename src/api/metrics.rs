//! `/metrics`: the figures of the agent for Prometheus.

use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Api;
use super::problem::Problem;

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
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], api.agent.observer.text().await?))
}
