//! How many tasks wait in the queue, for whoever decides how many agents there should be.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::telemetry::Metrics;

/// Asks once an interval, until the agent drains. What is not known is not shown: an old figure would
/// start agents, or stop them.
pub(super) async fn watch(
    inner: Arc<Inner>,
    metrics: Arc<Metrics>,
    affinity: Option<String>,
    interval: Duration,
) {
    let affinity = affinity.unwrap_or_default();
    loop {
        let depth = tokio::select! {
            depth = inner.procedures.depth() => depth,
            () = inner.shutdown.draining() => break,
        };
        if let Err(fault) = &depth {
            tracing::warn!(
                error = fault.chain(),
                hint = fault.hint(),
                "the depth of the queue in Snowflake is not known"
            );
        }
        metrics.shared_queue_depth(&affinity, depth.ok());
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = inner.shutdown.draining() => break,
        }
    }
    metrics.shared_queue_depth(&affinity, None);
}
