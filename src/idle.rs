//! Notices that there was nothing to do for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::task_source::local::LocalQueue;
use crate::worker::Running;

/// How often is looked at most.
const EVERY: Duration = Duration::from_secs(5);

/// Resolves when nothing ran, waited or was submitted for as long as `limit` says; never while that is
/// `None`. A task that waits for the end of a back-off waits.
pub async fn idle(
    mut limit: watch::Receiver<Option<Duration>>,
    queue: &LocalQueue,
    running: &Arc<Running>,
) -> Duration {
    let mut changes = queue.changes();
    let mut entered = running.entered();
    let mut since = Instant::now();
    loop {
        let Some(longest) = *limit.borrow_and_update() else {
            if limit.changed().await.is_err() {
                return std::future::pending().await;
            }
            since = Instant::now();
            continue;
        };
        let has_changed = !matches!(changes.try_recv(), Err(TryRecvError::Empty));
        if has_changed {
            // All of them are older than now.
            changes = queue.changes();
        }
        let has_started = std::mem::replace(&mut entered, running.entered()) != running.entered();
        if has_changed || has_started || running.count() > 0 || has_tasks(queue).await {
            since = Instant::now();
        }
        let left = longest.saturating_sub(since.elapsed());
        if left.is_zero() {
            return longest;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(EVERY)) => {}
            changed = limit.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// A queue that cannot be read may have some.
async fn has_tasks(queue: &LocalQueue) -> bool {
    queue.counts().await.map_or(true, |counts| counts.queued + counts.running > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueSettings;
    use crate::shutdown::Shutdown;
    use crate::task::TaskId;
    use crate::task_source::local::LocalQueue;

    /// Longer than anything here takes; only a defect reaches it.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Place(std::path::PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    async fn queue() -> (Place, LocalQueue) {
        let place = Place(std::env::temp_dir().join(format!("idle-test-{}", uuid::Uuid::new_v4())));
        let queue = LocalQueue::open(&place.0, QueueSettings::default(), &Shutdown::new()).await.unwrap();
        (place, queue)
    }

    #[tokio::test]
    async fn an_agent_with_nothing_to_do_is_idle_and_one_that_runs_is_not() {
        let (_place, queue) = queue().await;
        let running: Arc<Running> = Arc::default();
        let limit = Duration::from_millis(300);
        let (_sender, receiver) = watch::channel(Some(limit));
        let guard = running.enter("local", &TaskId::parse("1").unwrap(), 1);
        {
            let idle = idle(receiver.clone(), &queue, &running);
            tokio::pin!(idle);
            tokio::select! {
                _ = &mut idle => panic!("a task runs"),
                () = tokio::time::sleep(limit * 3) => {}
            }
            drop(guard);
            assert_eq!(tokio::time::timeout(PATIENCE, idle).await.expect("in time"), limit);
        }
        queue.close().await;
    }

    #[tokio::test]
    async fn the_limit_can_be_given_later_and_counts_from_then() {
        let (_place, queue) = queue().await;
        let (sender, receiver) = watch::channel(None);
        let running: Arc<Running> = Arc::default();
        let idle = idle(receiver, &queue, &running);
        tokio::pin!(idle);
        tokio::select! {
            _ = &mut idle => panic!("there is no limit"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        sender.send_replace(Some(Duration::from_millis(1)));
        tokio::time::timeout(PATIENCE, idle).await.expect("in time");
        queue.close().await;
    }
}
