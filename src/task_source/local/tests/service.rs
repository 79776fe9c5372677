//! The queue under many callers, and when it cannot serve them.

use std::sync::Arc;

use futures::future::join_all;
use sqlx::Connection;
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::super::{Cancelled, Counts, SubmitError, TaskState};
use super::*;
use crate::retry::Backoff;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_at_once_are_all_served() {
    const CALLERS: u64 = 64;
    const TASKS: u64 = 10;
    let place = Place::new();
    let queue = place.open().await;
    let start = Arc::new(Barrier::new(usize::try_from(CALLERS).unwrap()));
    let shutdown = Shutdown::new();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (queue, start) = (queue.clone(), Arc::clone(&start));
            shutdown.spawn(async move {
                start.wait().await;
                for number in 0..TASKS {
                    let created = submit(&queue, task(&format!("{caller}-{number}"))).await;
                    assert_eq!(queue.get(&created.task.id).await.unwrap(), Some(created));
                    // Everybody also submits one and the same task.
                    queue.submit(vec![task("shared")]).await.unwrap();
                }
            })
        })
        .collect();
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let expected = CALLERS * TASKS + 1;
    assert_eq!(queue.counts().await.unwrap(), Counts { queued: expected, ..Counts::default() });
    let leases = lease(&queue, 10_000).await;
    assert_eq!(leases.len() as u64, expected);
    let ended = leases.iter().map(|lease| finish(&queue, lease, Outcome::Completed(receipt())));
    assert!(join_all(ended).await.into_iter().all(|finished| finished == Finished::Recorded));
    assert_eq!(queue.counts().await.unwrap(), Counts { completed: expected, ..Counts::default() });
}

#[tokio::test]
async fn a_large_call_is_accepted_as_a_whole() {
    let place = Place::new();
    let queue = place.open().await;
    let tasks: Vec<_> = (0..5_000).map(|number| task(&number.to_string())).collect();
    let answers = queue.submit(tasks.clone()).await.unwrap();
    assert_eq!(answers.len(), tasks.len());
    let again = queue.submit(tasks).await.unwrap();
    assert!(again.iter().all(|answer| matches!(answer, Submitted::Existing(_))));
    assert_eq!(queue.counts().await.unwrap().queued, 5_000);
}

#[tokio::test]
async fn leasing_costs_the_same_however_many_tasks_there_are() {
    use super::super::{change, read};
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = place.connect().await;
    for statement in
        [change::END_BACK_OFFS, change::END_IMPOSSIBLE_BACK_OFFS, change::START_ATTEMPTS, read::NEXT_ELIGIBLE]
    {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).bind(0).bind(1).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<_> = plan.into_iter().map(|(_, _, _, line)| line).collect();
        let indexes = ["task_ready", "task_back_off", "INTEGER PRIMARY KEY"];
        let walks = plan.iter().filter(|line| line.contains(" task "));
        assert!(walks.clone().count() > 0);
        for line in walks {
            assert!(indexes.iter().any(|index| line.contains(index)), "{plan:?}");
        }
        assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
    }
}

#[tokio::test]
async fn waiting_for_work_ends_when_a_task_is_submitted_or_retried() {
    let place = Place::new();
    let queue = place.open().await;
    let (_, waited) = timeout(PATIENCE, async {
        tokio::join!(
            async {
                // Let the other branch wait first.
                tokio::task::yield_now().await;
                submit(&queue, task("1")).await
            },
            async {
                queue.wait_for_work().await;
                true
            }
        )
    })
    .await
    .unwrap();
    assert!(waited);
    // Work that is there already needs no signal.
    timeout(PATIENCE, queue.wait_for_work()).await.unwrap();
    let running = lease_one(&queue).await;
    finish(&queue, &running, Outcome::Failed(report())).await;
    let (_, ()) =
        timeout(PATIENCE, async { tokio::join!(queue.retry(&running.task.id), queue.wait_for_work()) })
            .await
            .unwrap();
    assert_eq!(lease_one(&queue).await.attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_whenever_the_task_arrives() {
    let place = Place::new();
    let queue = place.open().await;
    let shutdown = Shutdown::new();
    for number in 0..100 {
        let submitter = queue.clone();
        let submitted = shutdown.spawn(async move { submit(&submitter, task(&number.to_string())).await });
        // Shorter than the sleep after which the queue looks again by itself.
        timeout(PATIENCE / 2, queue.wait_for_work()).await.unwrap();
        assert_eq!(lease_one(&queue).await.task.id, submitted.await.unwrap().task.id);
    }
}

#[tokio::test]
async fn a_back_off_that_was_written_while_the_clock_was_ahead_holds_no_task() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let first = lease_one(&queue).await;
    finish(&queue, &first, retry_after(Backoff::LONGEST_OF_A_TASK)).await;
    assert!(lease(&queue, 1).await.is_empty(), "a back-off that can be holds its task");
    // As if it had been written by a clock that is a day ahead.
    let mut connection = place.connect().await;
    let day = "UPDATE task SET eligible_at = eligible_at + 86400000";
    sqlx::query(day).execute(&mut connection).await.unwrap();
    assert_eq!(lease_one(&queue).await.attempt, 2);
}

#[tokio::test]
async fn waiting_for_work_ends_when_the_next_back_off_does() {
    let place = Place::new();
    let queue = place.open().await;
    queue.submit(vec![task("1"), task("2")]).await.unwrap();
    let leases = lease(&queue, 2).await;
    finish(&queue, &leases[0], retry_after(Backoff::LONGEST_OF_A_TASK)).await;
    finish(&queue, &leases[1], retry_after(Duration::from_millis(200))).await;
    let eligible_at = record(&queue, "2").await.eligible_at.unwrap();
    timeout(PATIENCE, queue.wait_for_work()).await.unwrap();
    assert!(Timestamp::now() >= eligible_at);
    assert_eq!(lease_one(&queue).await.task.id, id("2"));
    assert!(lease(&queue, 1).await.is_empty(), "the other one has not been eligible yet");
}

#[tokio::test]
async fn listeners_hear_of_every_durable_change() {
    let place = Place::new();
    let queue = place.open().await;
    let mut changes = queue.changes();
    queue.submit(vec![task("1"), task("2")]).await.unwrap();
    queue.submit(vec![task("1")]).await.unwrap();
    let first = lease_one(&queue).await;
    queue.cancel(&id("1")).await.unwrap();
    queue.cancel(&id("1")).await.unwrap();
    finish(&queue, &first, Outcome::Cancelled).await;
    finish(&queue, &first, Outcome::Cancelled).await;
    queue.retry(&id("1")).await.unwrap();
    queue.cancel(&id("2")).await.unwrap();
    let mut heard = Vec::new();
    while let Ok(id) = changes.try_recv() {
        heard.push(id.to_string());
    }
    assert_eq!(heard, ["1", "2", "1", "1", "1", "1", "2"]);
}

#[tokio::test]
async fn leases_that_nobody_waits_for_any_more_go_back() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let mut changes = queue.changes();
    {
        let mut lease = std::pin::pin!(queue.lease(NonZeroUsize::MIN));
        // The request is on its way; then its caller goes away.
        assert!(futures::poll!(lease.as_mut()).is_pending());
    }
    for _ in ["leased", "given back"] {
        timeout(PATIENCE, changes.recv()).await.unwrap().unwrap();
    }
    let given_back = record(&queue, "1").await;
    assert_eq!(given_back.state, TaskState::Queued);
    let again = lease_one(&queue).await;
    assert_eq!((again.attempt, again.failures_before), (2, 0));
}

#[tokio::test]
async fn another_program_that_writes_only_delays_the_queue() {
    let place = Place::new();
    let queue = place.open().await;
    let mut other = place.connect().await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let (record, ()) = tokio::join!(submit(&queue, task("1")), async {
        // The request has left by now: `join` polls its branches in order.
        held.rollback().await.unwrap();
    });
    assert_eq!(queue.get(&id("1")).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_failed_transaction_fails_its_requests_and_not_the_queue() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let mut other = place.connect().await;
    sqlx::query("ALTER TABLE task RENAME TO hidden").execute(&mut other).await.unwrap();
    let (submitted, cancelled, leased) = tokio::join!(
        queue.submit(vec![task("2")]),
        async { queue.cancel(&id("1")).await },
        queue.lease(NonZeroUsize::MIN)
    );
    let Err(SubmitError::Fault(fault)) = submitted else { panic!("{submitted:?}") };
    assert!(fault.chain().starts_with("submit tasks: write to the queue file: "), "{}", fault.chain());
    assert!(cancelled.is_err() && leased.is_err());
    sqlx::query("ALTER TABLE hidden RENAME TO task").execute(&mut other).await.unwrap();
    queue.check().await.unwrap();
    assert_eq!(submit(&queue, task("2")).await.sequence, 2);
    assert!(matches!(queue.cancel(&id("1")).await.unwrap(), Cancelled::Now(_)));
}

#[tokio::test]
async fn closing_answers_what_waits_and_refuses_what_comes_later() {
    let place = Place::new();
    let queue = place.open().await;
    queue.check().await.unwrap();
    let calls = (0..100).map(|number| queue.submit(vec![task(&number.to_string())]));
    let (answers, ()) = tokio::join!(join_all(calls), queue.close());
    assert!(answers.iter().all(Result::is_ok));
    let fault = queue.check().await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Transient);
    assert!(fault.chain().contains("closed"), "{}", fault.chain());
    assert!(queue.submit(vec![task("late")]).await.is_err());
    assert!(queue.get(&id("1")).await.is_err());
    queue.close().await;
    assert_eq!(place.open().await.counts().await.unwrap().queued, 100);
}
