//! Looks after every lease of the queue: refreshes them, repeats ends that did not arrive, gives back
//! what no worker got, until nothing is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Inner;
use super::holdings::Moment;
use crate::retry::Backoff;

/// Between two refreshes of which the first one failed; four minutes have room for many.
const REFRESH: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(30) };
/// Time for what did not arrive, when the agent aborts.
const LAST_CHANCE: Duration = Duration::from_secs(10);
/// Longest sleep without leases.
const IDLE: Duration = Duration::from_secs(60);

/// Runs until the agent drains and no lease is left.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut failures = 0;
    let mut refresh_from = Instant::now();
    loop {
        let is_draining = inner.shutdown.is_draining();
        if is_draining {
            give_back_spare(&inner).await;
            if has_ended(&inner).await {
                break;
            }
        }
        let is_aborting = inner.shutdown.is_aborting();
        let beat = inner.holdings().next_beat(&Moment::now()).unwrap_or(IDLE);
        let wait = beat.max(refresh_from.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = inner.changed.notified() => {}
            () = inner.shutdown.draining(), if !is_draining => {}
            () = inner.shutdown.aborting(), if is_draining && !is_aborting => {}
        }
        if Instant::now() >= refresh_from {
            let is_complete = tokio::select! {
                is_complete = refresh(&inner) => is_complete,
                // Leases live for minutes, and this agent does not any more.
                () = inner.shutdown.aborting(), if !is_aborting => false,
            };
            failures = if is_complete { 0 } else { failures + 1 };
            let pause = if failures == 0 { Duration::ZERO } else { REFRESH.wait(failures) };
            refresh_from = Instant::now() + pause;
        }
        settle_overdue(&inner).await;
    }
}

/// Refreshes the leases that are due. False when an answer is missing.
async fn refresh(inner: &Inner) -> bool {
    let due = inner.holdings().due(&Moment::now());
    let mut is_complete = true;
    for (agent, leases) in due {
        if let Err(fault) = inner.refresh(&agent, &leases).await {
            is_complete = false;
            tracing::warn!(
                agent_id = agent,
                leases = leases.len(),
                error = fault.chain(),
                hint = fault.hint(),
                "leases could not be refreshed"
            );
        }
    }
    is_complete
}

async fn settle_overdue(inner: &Inner) {
    let overdue = inner.holdings().overdue(&Moment::now(), false);
    for (lease, report) in overdue {
        inner.settle_and_log(&lease, &report).await;
    }
}

async fn give_back_spare(inner: &Inner) {
    loop {
        let Some(lease) = inner.holdings().spare.pop_front() else { return };
        if let Err(fault) = inner.release(&lease.id, &lease.task.id).await {
            tracing::warn!(task.id = %lease.task.id, error = fault.chain(), "a task could not be given back");
            inner.holdings().remove(&lease.id);
        }
    }
}

/// True when nothing has to be looked after any more; then nothing is leased from here on.
async fn has_ended(inner: &Inner) -> bool {
    {
        let mut holdings = inner.holdings();
        if holdings.pulls == 0 && holdings.is_empty() {
            holdings.is_closed = true;
            return true;
        }
    }
    let is_aborting = inner.shutdown.is_aborting();
    let is_over = is_aborting && {
        let holdings = inner.holdings();
        holdings.pulls == 0 && holdings.spare.is_empty() && holdings.has_no_running()
    };
    if !is_over {
        return false;
    }
    let unsettled = inner.holdings().overdue(&Moment::now(), true);
    let last_chance = async {
        for (lease, report) in &unsettled {
            inner.settle_and_log(lease, report).await;
        }
    };
    drop(tokio::time::timeout(LAST_CHANCE, last_chance).await);
    let mut holdings = inner.holdings();
    let left = holdings.unsettled_count();
    if left > 0 {
        tracing::error!(
            outcomes = left,
            "outcomes are not on record; their leases run out and the tasks come back"
        );
    }
    holdings.is_closed = true;
    true
}
