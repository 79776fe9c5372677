//! How long an attempt that ends takes care of what it has not made visible.

use std::future::Future;
use std::time::Duration;

use crate::shutdown::Shutdown;

/// Longer than most troubles of a store: no later attempt cleans up after a task that is cancelled.
const PATIENCE: Duration = Duration::from_secs(60);
/// Less than the agent waits for its tasks when it stops, so that a store that hangs does not keep a
/// lease from its release.
const HASTE: Duration = Duration::from_secs(10);

/// Waits for `work`, a minute at most, and ten seconds once the agent ends its tasks. False when time
/// is up.
pub(super) async fn in_time_to_clean_up(shutdown: &Shutdown, work: impl Future) -> bool {
    within(PATIENCE, HASTE, shutdown, work).await
}

/// Waits for `work`, and ten seconds at most once the agent ends its tasks. `None` when time is up.
pub(super) async fn in_time_to_stop<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    unhurried(HASTE, shutdown, work).await
}

async fn within(patience: Duration, haste: Duration, shutdown: &Shutdown, work: impl Future) -> bool {
    let done = tokio::time::timeout(patience, unhurried(haste, shutdown, work)).await;
    done.is_ok_and(|done| done.is_some())
}

async fn unhurried<T>(haste: Duration, shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    let hurry = async {
        shutdown.aborting().await;
        tokio::time::sleep(haste).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = hurry => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn time_ends_earlier_when_the_agent_ends_its_tasks() {
        let (none, ages) = (Duration::ZERO, Duration::from_secs(1 << 20));
        let shutdown = Shutdown::new();
        assert!(within(none, none, &shutdown, ready(())).await, "what is done at once is done");
        assert!(!within(none, ages, &shutdown, pending::<()>()).await);
        shutdown.begin_abort();
        assert!(!within(ages, none, &shutdown, pending::<()>()).await);
        assert!(HASTE < PATIENCE);
    }
}
