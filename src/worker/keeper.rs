//! Extends the lease of one attempt, and tells it when to stop.

use std::time::Duration;

use super::running::RunningTask;
use crate::fault::Fault;
use crate::task::{Extension, Lease};
use crate::task_source::{TaskSource, no_answer};
use crate::telemetry::{LeaseRefresh, Metrics};

/// Why an attempt must stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The lease belongs to somebody else.
    LeaseLost,
    /// A person cancelled the task.
    Cancelled,
}

/// Time between two beats: well inside the five minutes of a remote lease, and short enough that
/// a request to cancel which the hint missed is found soon.
pub(super) const BEAT: Duration = Duration::from_secs(20);

/// Beats until the lease must be given up. A beat that fails is repeated at the next one: as long
/// as the task source does not say `Lost`, the attempt may go on, and it asks again before it
/// commits.
pub(super) async fn watch(
    source: &dyn TaskSource,
    lease: &Lease,
    running: &RunningTask,
    metrics: &Metrics,
) -> StopReason {
    let mut hurried = false;
    loop {
        let looked = look(source, lease).await;
        metrics.lease_refreshed(match &looked {
            Ok(None) => LeaseRefresh::Held,
            Ok(Some(StopReason::LeaseLost)) => LeaseRefresh::Lost,
            Ok(Some(StopReason::Cancelled)) => LeaseRefresh::Cancelled,
            Err(_) => LeaseRefresh::Failed,
        });
        match looked {
            Ok(None) => {}
            Ok(Some(reason)) => return reason,
            Err(fault) => {
                tracing::warn!(error = fault.chain(), "lease could not be extended");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = running.asked_to_look(), if !hurried => hurried = true,
        }
    }
}

/// One beat: `None` while the lease is held.
async fn look(source: &dyn TaskSource, lease: &Lease) -> Result<Option<StopReason>, Fault> {
    let answers = source.extend(std::slice::from_ref(&lease.id)).await?;
    answers.first().copied().map(reason_to_stop).ok_or_else(no_answer)
}

/// The last look, right before the commit.
pub(super) async fn confirm(source: &dyn TaskSource, lease: &Lease) -> Result<Option<StopReason>, Fault> {
    source.confirm(&lease.id).await.map(reason_to_stop)
}

fn reason_to_stop(extension: Extension) -> Option<StopReason> {
    match extension {
        Extension::Held => None,
        Extension::Lost => Some(StopReason::LeaseLost),
        Extension::Cancelled => Some(StopReason::Cancelled),
    }
}
