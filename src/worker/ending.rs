//! How an attempt ends, and what follows from it.

use std::borrow::Cow;
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

/// True when the task fails with this attempt, because no other one is left.
pub(super) fn is_last_failure(lease: &Lease, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(_) => true,
        Outcome::Retry { .. } => lease.failures_before.saturating_add(1) >= lease.task.spec.max_attempts,
        Outcome::Completed(_) | Outcome::Cancelled | Outcome::Released => false,
    }
}

/// The outcome as metrics, log and trace name it: the task source alone decides about a task, and makes a
/// failed one of a retry for which no attempt is left. Whoever is to be woken by failures sees those only.
pub(super) fn named<'o>(lease: &Lease, outcome: &'o Outcome) -> Cow<'o, Outcome> {
    match outcome {
        Outcome::Retry { report, .. } if is_last_failure(lease, outcome) => {
            Cow::Owned(Outcome::Failed(report.clone()))
        }
        other => Cow::Borrowed(other),
    }
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

/// Logs an outcome.
pub(super) fn tell(outcome: &Outcome, elapsed: Duration) {
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Outcome::Completed(receipt) => tracing::info!(
            duration_ms,
            rows = receipt.rows,
            bytes = receipt.bytes,
            files = receipt.files.len(),
            "task completed"
        ),
        Outcome::Retry { after, report } => tracing::warn!(
            duration_ms, kind = %report.kind, error = report.message, hint = report.hint,
            retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            "attempt failed; the task is tried again"
        ),
        Outcome::Failed(report) => tracing::error!(
            duration_ms, kind = %report.kind, error = report.message, hint = report.hint, "task failed"
        ),
        Outcome::Cancelled => tracing::info!(duration_ms, "task cancelled"),
        Outcome::Released => tracing::info!(duration_ms, "task released: the agent stops"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{LeaseId, Task, TaskId, TaskSpec};

    #[test]
    fn a_retry_without_an_attempt_left_is_named_failed() {
        let fault = Fault::new(FaultKind::Transient, "read the rows");
        // failures before, attempts that the task has -> is it failed?
        for (failures_before, max_attempts, expected) in
            [(0, 1, true), (0, 2, false), (1, 2, true), (1, 3, false), (5, 3, true)]
        {
            let spec = TaskSpec { max_attempts, ..TaskSpec::sample() };
            let task = Task { id: TaskId::generate(), spec };
            let lease = Lease { id: LeaseId("1".into()), task, attempt: 9, failures_before };
            let outcome = Outcome::Retry { after: Duration::ZERO, report: Report::of(&fault) };
            let is_failed = matches!(named(&lease, &outcome).as_ref(), Outcome::Failed(_));
            assert_eq!(is_failed, expected, "{failures_before} of {max_attempts}");
            assert!(matches!(named(&lease, &Outcome::Cancelled).as_ref(), Outcome::Cancelled));
        }
    }
}
