//! The trace of what callers were refused, and of what they asked for.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::telemetry::Metrics;

/// Counts an answer that refuses its caller. Strangers could fill a log, but not a counter.
pub(super) async fn count_refusals(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    metrics.request_answered(response.status().as_u16());
    response
}

/// Writes down who asked for something that not everybody may do. Before it is done: whoever asks may be
/// gone before the answer.
pub(super) fn note(api_key: Option<&str>, peer: Option<IpAddr>, method: &Method, path: &str) {
    let peer = peer.map(tracing::field::display);
    tracing::info!(api_key, peer, %method, path, "asked for by a caller of the API");
}
