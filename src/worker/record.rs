//! Records what became of an attempt.

use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::task::{Finished, Lease, Outcome};
use crate::task_source::TaskSource;

/// How often an outcome that could not be recorded is sent again.
const FINISH_TRIES: u32 = 8;

/// Records the outcome. A task source that does not answer is asked again for a while: an answer
/// that was lost must be repeated, and never be replaced by another outcome. Where leases do not run
/// out, it is asked for as long as the agent lives: a disk that is full for an hour would otherwise leave
/// the task running for ever, without anybody who runs it.
pub(super) async fn finish(
    lease: &Lease,
    outcome: &Outcome,
    source: &dyn TaskSource,
    shutdown: &Shutdown,
    backoff: Backoff,
) {
    let mut failures = 0_u32;
    loop {
        let fault = match source.finish(lease, outcome).await {
            Ok(Finished::Recorded) => return,
            Ok(Finished::LeaseLost) => {
                tracing::warn!("the lease was lost; the outcome was dropped");
                return;
            }
            Err(fault) => fault,
        };
        failures = failures.saturating_add(1);
        tracing::warn!(failures, error = fault.chain(), "outcome could not be recorded");
        if failures >= FINISH_TRIES && (source.leases_run_out() || shutdown.is_draining()) {
            break;
        }
        let wait = backoff.wait(failures);
        if failures < FINISH_TRIES {
            tokio::time::sleep(wait).await;
        } else {
            // Woken by a stop, it is tried once more.
            let _woken = tokio::time::timeout(wait, shutdown.draining()).await;
        }
    }
    tracing::error!("outcome is not on record; the task will come back");
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::fault::{Fault, FaultKind};
    use crate::task::{Extension, LeaseId, Task, TaskId, TaskSpec};

    const AT_ONCE: Backoff = Backoff { first: Duration::from_micros(1), longest: Duration::from_micros(1) };

    /// Fails to record an outcome this many times.
    struct Failing {
        leases_run_out: bool,
        failures: u32,
        asked: AtomicU32,
    }

    #[async_trait]
    impl TaskSource for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        async fn lease(&self, _limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
            Ok(Vec::new())
        }

        async fn wait_for_work(&self) {}

        async fn extend(&self, _leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
            Ok(Vec::new())
        }

        fn leases_run_out(&self) -> bool {
            self.leases_run_out
        }

        async fn finish(&self, _lease: &Lease, _outcome: &Outcome) -> Result<Finished, Fault> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if asked < self.failures {
                return Err(Fault::new(FaultKind::Transient, "write to the queue: the disk is full"));
            }
            Ok(Finished::Recorded)
        }
    }

    fn lease() -> Lease {
        let task = Task { id: TaskId::generate(), spec: TaskSpec::sample() };
        Lease { id: LeaseId("1".into()), task, attempt: 1, failures_before: 0 }
    }

    async fn tries(leases_run_out: bool, failures: u32, shutdown: &Shutdown) -> u32 {
        let source = Failing { leases_run_out, failures, asked: AtomicU32::new(0) };
        finish(&lease(), &Outcome::Cancelled, &source, shutdown, AT_ONCE).await;
        source.asked.into_inner()
    }

    #[tokio::test]
    async fn an_outcome_is_repeated_until_a_queue_whose_leases_do_not_run_out_has_it() {
        let shutdown = Shutdown::new();
        assert_eq!(tries(false, 100, &shutdown).await, 101);
        assert_eq!(tries(true, 100, &shutdown).await, FINISH_TRIES, "the lease runs out instead");
        assert_eq!(tries(true, 3, &shutdown).await, 4);
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_an_outcome_that_cannot_be_recorded() {
        let shutdown = Shutdown::new();
        shutdown.begin_drain();
        assert_eq!(tries(false, u32::MAX, &shutdown).await, FINISH_TRIES);
    }
}
