//! How an attempt ends, and what follows from it.

use std::time::Duration;

use tracing::Span;

use super::keeper::StopReason;
use crate::fault::{Advice, Fault, FaultKind};
use crate::retry::Backoff;
use crate::task::{Lease, Outcome, Receipt, Report};

/// How an attempt ended that did not fail.
pub(super) enum Ended {
    Completed(Receipt),
    Cut(Cut),
}

/// Why an attempt was ended before it was done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// The task source stopped it.
    Lease(StopReason),
    /// It took longer than its task allows.
    TimedOut(Duration),
    /// The agent stops.
    Released,
}

/// What follows from the end of an attempt. `None` when the lease is somebody else's: then there
/// is nothing to say to the task source.
pub(super) fn decide(lease: &Lease, ended: Result<Ended, Fault>) -> Option<Outcome> {
    let fault = match ended {
        Ok(Ended::Completed(receipt)) => return Some(Outcome::Completed(receipt)),
        Ok(Ended::Cut(Cut::Lease(StopReason::Cancelled))) => return Some(Outcome::Cancelled),
        Ok(Ended::Cut(Cut::Lease(StopReason::LeaseLost))) => return None,
        Ok(Ended::Cut(Cut::Released)) => return Some(Outcome::Released),
        Ok(Ended::Cut(Cut::TimedOut(limit))) => Fault::new(
            FaultKind::Transient,
            format!("run the attempt: it took longer than its timeout of {limit:?}"),
        )
        .remedy("Raise the task's `timeout`, or give it more `slices`."),
        Err(fault) => fault,
    };
    let report = Report::of(&fault);
    let failure = lease.failures_before.saturating_add(1);
    let after = match fault.kind().advice() {
        Advice::RetryLater => Backoff::TASK.wait(failure),
        Advice::SlowDown => Backoff::THROTTLED.wait(failure),
        Advice::AskOperator(_) | Advice::RejectTask | Advice::GiveUp => return Some(Outcome::Failed(report)),
    };
    Some(Outcome::Retry { after, report })
}

/// What the trace of an attempt says of its end.
pub(super) fn describe(span: &Span, outcome: &Outcome) {
    let name = match outcome {
        Outcome::Completed(receipt) => {
            // The protocol has signed numbers only.
            span.record("rows", i64::try_from(receipt.rows).unwrap_or(i64::MAX));
            "completed"
        }
        Outcome::Retry { report, .. } | Outcome::Failed(report) => {
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", report.message.as_str());
            if matches!(outcome, Outcome::Failed(_)) { "failed" } else { "retry" }
        }
        Outcome::Cancelled => "cancelled",
        Outcome::Released => "released",
    };
    span.record("outcome", name);
}
