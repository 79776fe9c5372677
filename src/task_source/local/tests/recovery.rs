//! What a stop, a kill or another program leaves behind.

use super::super::{AttemptState, Cancelled, Counts, TaskState};
use super::*;
use crate::task::Extension;

#[tokio::test]
async fn everything_is_there_after_a_stop_and_a_start() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    submit(&queue, task("2")).await;
    let first = lease_one(&queue).await;
    finish(&queue, &first, Outcome::Completed(receipt())).await;
    let before = (record(&queue, "1").await, record(&queue, "2").await);
    queue.close().await;
    assert!(!place.path().join("queue.sqlite-wal").exists(), "the log is folded into the file");

    let queue = place.open().await;
    assert_eq!((record(&queue, "1").await, record(&queue, "2").await), before);
    assert_eq!(submit(&queue, task("3")).await.sequence, 3);
    assert_eq!(lease_one(&queue).await.task.id, id("2"));
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let place = Place::new();
    let queue = place.open().await;
    for number in 0..20 {
        let name = number.to_string();
        let accepted = submit(&queue, task(&name)).await;
        let after = place.as_after_a_kill().open_and(async |queue| record(queue, &name).await).await;
        assert_eq!(after, accepted);
    }
}

impl Place {
    async fn open_and<T>(&self, work: impl AsyncFnOnce(&LocalQueue) -> T) -> T {
        let queue = self.open().await;
        let result = work(&queue).await;
        queue.close().await;
        result
    }
}

#[tokio::test]
async fn running_tasks_wait_again_after_a_kill_and_it_costs_them_no_attempt() {
    let place = Place::new();
    let queue = place.open().await;
    let mut fragile = task("1");
    fragile.spec.max_attempts = 1;
    submit(&queue, fragile).await;
    submit(&queue, task("2")).await;
    submit(&queue, task("3")).await;
    let leases = lease(&queue, 2).await;
    queue.cancel(&id("2")).await.unwrap();

    let after = place.as_after_a_kill();
    let restarted = after.open().await;
    assert_eq!(restarted.counts().await.unwrap(), Counts { queued: 3, ..Counts::default() });
    let interrupted = record(&restarted, "1").await;
    assert_eq!((interrupted.state, interrupted.eligible_at), (TaskState::Queued, None));
    assert_eq!(interrupted.attempts[0].state, AttemptState::Interrupted);
    let cancelled = record(&restarted, "2").await;
    assert_eq!((cancelled.state, cancelled.cancel_requested), (TaskState::Queued, true));
    // The attempt of the dead agent has no say any more.
    assert_eq!(finish(&restarted, &leases[0], Outcome::Completed(receipt())).await, Finished::LeaseLost);
    let again = lease_one(&restarted).await;
    assert_eq!((again.id.0.as_str(), again.failures_before), ("1/2", 0));
    finish(&restarted, &again, retry_after(Duration::ZERO)).await;
    assert_eq!(record(&restarted, "1").await.state, TaskState::Failed, "its only attempt has failed");
}

#[tokio::test]
async fn a_task_that_was_interrupted_is_cancelled_by_an_attempt_that_can_remove_its_files() {
    let place = Place::new();
    let queue = place.open().await;
    for name in ["asked before the kill", "asked after it"] {
        submit(&queue, task(&name.replace(' ', "-"))).await;
    }
    lease(&queue, 2).await;
    queue.cancel(&id("asked-before-the-kill")).await.unwrap();
    let after = place.as_after_a_kill();
    let restarted = after.open().await;
    let answer = restarted.cancel(&id("asked-after-it")).await.unwrap();
    assert!(matches!(answer, Cancelled::Requested(task) if task.cancel_requested), "it only was asked to");
    for lease in lease(&restarted, 2).await {
        let asked = restarted.extend(std::slice::from_ref(&lease.id)).await.unwrap();
        assert_eq!((lease.attempt, asked), (2, vec![Extension::Cancelled]));
        finish(&restarted, &lease, Outcome::Cancelled).await;
        let ended = record(&restarted, lease.task.id.as_str()).await;
        assert_eq!((ended.state, ended.cancel_requested), (TaskState::Cancelled, false));
        // What no attempt has touched since is cancelled at once again.
        restarted.retry(&lease.task.id).await.unwrap();
        assert!(matches!(restarted.cancel(&lease.task.id).await.unwrap(), Cancelled::Now(_)));
    }
}

#[tokio::test]
async fn a_task_that_kills_the_agent_five_times_in_a_row_fails() {
    let mut place = Place::new();
    let mut queue = place.open().await;
    submit(&queue, task("1")).await;
    for deaths in 1..=5 {
        assert_eq!(lease_one(&queue).await.attempt, deaths);
        let after = place.as_after_a_kill();
        queue.close().await;
        place = after;
        queue = place.open().await;
        let expected = if deaths < 5 { TaskState::Queued } else { TaskState::Failed };
        assert_eq!(record(&queue, "1").await.state, expected, "after {deaths} deaths");
    }
    let failed = record(&queue, "1").await;
    assert!(failed.attempts.iter().all(|attempt| attempt.state == AttemptState::Interrupted));
    let report = failed.attempts[4].report.as_ref().unwrap();
    assert!(report.message.contains("died 5 times in a row"), "{}", report.message);
    queue.retry(&id("1")).await.unwrap();
    assert_eq!(lease_one(&queue).await.attempt, 6);
}

#[tokio::test]
async fn a_second_agent_is_told_who_has_the_queue() {
    let place = Place::new();
    let queue = place.open().await;
    let fault = place.try_open().await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Request);
    let text = fault.to_string();
    assert!(text.contains(&format!("process {} on host ", std::process::id())), "{text}");
    assert!(text.contains(&place.path().display().to_string()), "{text}");
    assert!(text.contains(" since 2"), "{text}");
    assert!(fault.hint().unwrap().contains("data_directory"), "{fault:?}");
    queue.close().await;
    place.open().await;
}

#[tokio::test]
async fn a_queue_that_nobody_holds_any_more_frees_its_files() {
    let place = Place::new();
    let shutdown = Shutdown::new();
    let queue = LocalQueue::open(place.path(), FOR_EVER, &shutdown).await.unwrap();
    submit(&queue, task("1")).await;
    drop(queue);
    assert!(shutdown.finished(PATIENCE).await);
    assert_eq!(place.open().await.counts().await.unwrap().queued, 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_with_both_versions() {
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = place.connect().await;
    sqlx::query("PRAGMA user_version = 7").execute(&mut connection).await.unwrap();
    drop(connection);
    let fault = place.try_open().await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.to_string().contains("format 7"), "{fault}");
    assert!(fault.to_string().contains("up to 2"), "{fault}");
}

#[tokio::test]
async fn a_damaged_file_is_said_to_be_damaged() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    fs::write(place.path().join("queue.sqlite"), [b'x'; 8192]).unwrap();
    let fault = place.try_open().await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("damaged"));
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_named() {
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    let fault = LocalQueue::open(&place.path().join("below"), FOR_EVER, &Shutdown::new()).await.unwrap_err();
    fs::remove_file(place.path()).unwrap();
    assert!(fault.to_string().contains(&place.path().display().to_string()), "{fault}");
}

#[cfg(unix)]
#[tokio::test]
async fn directory_and_files_are_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = Place::new();
    let directory = parent.path().join("a").join("b");
    let queue = LocalQueue::open(&directory, FOR_EVER, &Shutdown::new()).await.unwrap();
    submit(&queue, task("1")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(parent.path()), mode(&directory)), (0o700, 0o700));
    for name in ["queue.lock", "queue.sqlite", "queue.sqlite-wal", "queue.sqlite-shm"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}
