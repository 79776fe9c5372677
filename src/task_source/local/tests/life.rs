//! What happens to tasks between submission and their end.

use std::num::NonZeroU32;

use super::super::{AttemptState, Cancelled, Counts, Retried, SubmitError, TaskState};
use super::*;
use crate::retry::Backoff;
use crate::task::{Extension, LeaseId};

#[tokio::test]
async fn a_task_is_stored_as_it_was_given() {
    let place = Place::new();
    let queue = place.open().await;
    let created = submit(&queue, task("1")).await;
    assert_eq!(created.task, task("1"));
    assert_eq!((created.state, created.sequence), (TaskState::Queued, 1));
    assert_eq!(record(&queue, "1").await, created);
    assert_eq!(queue.get(&id("2")).await.unwrap(), None);
}

#[tokio::test]
async fn a_completed_task_has_its_receipt_and_its_attempt() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let lease = lease_one(&queue).await;
    assert_eq!((lease.id.0.as_str(), lease.attempt, lease.failures_before), ("1/1", 1, 0));
    assert_eq!(lease.task, task("1"));
    assert_eq!(record(&queue, "1").await.attempts[0].state, AttemptState::Running);
    assert_eq!(finish(&queue, &lease, Outcome::Completed(receipt())).await, Finished::Recorded);
    let ended = record(&queue, "1").await;
    assert_eq!((ended.state, ended.receipt), (TaskState::Completed, Some(receipt())));
    assert_eq!(ended.attempts[0].state, AttemptState::Completed);
    assert_eq!(ended.attempts[0].finished_at, Some(ended.updated_at));
    assert!(lease_nothing(&queue).await);
}

async fn lease_nothing(queue: &LocalQueue) -> bool {
    lease(queue, 10).await.is_empty()
}

#[tokio::test]
async fn every_outcome_leads_to_its_state_with_and_without_a_request_to_cancel() {
    let long = Backoff::LONGEST_OF_A_TASK;
    let outcomes = [
        (Outcome::Completed(receipt()), AttemptState::Completed, TaskState::Completed, TaskState::Completed),
        (retry_after(long), AttemptState::Failed, TaskState::Queued, TaskState::Cancelled),
        (Outcome::Failed(report()), AttemptState::Failed, TaskState::Failed, TaskState::Failed),
        (Outcome::Cancelled, AttemptState::Cancelled, TaskState::Cancelled, TaskState::Cancelled),
        (Outcome::Released, AttemptState::Released, TaskState::Queued, TaskState::Cancelled),
    ];
    let place = Place::new();
    let queue = place.open().await;
    for (number, (outcome, attempt, plain, cancelled)) in outcomes.into_iter().enumerate() {
        for (cancel, expected) in [(false, plain), (true, cancelled)] {
            let name = format!("{number}-{cancel}");
            // The highest priority yet, so that it is leased before what waits from earlier turns.
            submit(&queue, with_priority(&name, i32::try_from(number).unwrap() * 2 + i32::from(cancel)))
                .await;
            let lease = lease_one(&queue).await;
            assert_eq!(lease.task.id, id(&name));
            if cancel {
                assert!(matches!(queue.cancel(&lease.task.id).await.unwrap(), Cancelled::Requested(_)));
            }
            let extension = if cancel { Extension::Cancelled } else { Extension::Held };
            assert_eq!(queue.extend(std::slice::from_ref(&lease.id)).await.unwrap(), [extension]);
            assert_eq!(finish(&queue, &lease, outcome.clone()).await, Finished::Recorded);
            assert_eq!(queue.extend(std::slice::from_ref(&lease.id)).await.unwrap(), [Extension::Lost]);
            let ended = record(&queue, &name).await;
            assert_eq!((ended.state, ended.attempts[0].state), (expected, attempt), "{name}");
            assert!(!ended.cancel_requested);
            let waits_for_back_off = matches!(outcome, Outcome::Retry { .. }) && !cancel;
            assert_eq!(ended.eligible_at.is_some(), waits_for_back_off);
        }
    }
}

#[tokio::test]
async fn higher_priorities_run_first_and_equal_ones_in_order_of_arrival() {
    let place = Place::new();
    let queue = place.open().await;
    for (name, priority) in [("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", i32::MAX), ("f", i32::MIN)] {
        submit(&queue, with_priority(name, priority)).await;
    }
    let names = |leases: Vec<Lease>| -> Vec<String> {
        leases.into_iter().map(|lease| lease.task.id.to_string()).collect()
    };
    assert_eq!(names(lease(&queue, 3).await), ["e", "b", "d"]);
    assert_eq!(names(lease(&queue, 10).await), ["a", "c", "f"]);
}

#[tokio::test]
async fn attempts_are_used_up_by_failures_only_and_a_retry_gives_fresh_ones() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let endings = [
        (Outcome::Released, 0, TaskState::Queued),
        (retry_after(Duration::ZERO), 0, TaskState::Queued),
        (Outcome::Released, 1, TaskState::Queued),
        (retry_after(Duration::ZERO), 1, TaskState::Queued),
        (retry_after(Duration::ZERO), 2, TaskState::Failed),
    ];
    for (number, (outcome, failures_before, state)) in (1..).zip(endings) {
        let lease = lease_one(&queue).await;
        assert_eq!((lease.attempt, lease.failures_before), (number, failures_before));
        finish(&queue, &lease, outcome).await;
        assert_eq!(record(&queue, "1").await.state, state, "after attempt {number}");
    }
    let Retried::Queued(retried) = queue.retry(&id("1")).await.unwrap() else { panic!("it was failed") };
    assert_eq!((retried.state, retried.attempts.len()), (TaskState::Queued, 5));
    let lease = lease_one(&queue).await;
    assert_eq!((lease.attempt, lease.failures_before), (6, 0));
    finish(&queue, &lease, retry_after(Duration::ZERO)).await;
    let record = record(&queue, "1").await;
    let numbers: Vec<_> = record.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!((record.state, numbers), (TaskState::Queued, vec![1, 2, 3, 4, 5, 6]));
    let report = record.attempts[5].report.as_ref().unwrap();
    assert_eq!(
        (report.kind, report.message.as_str()),
        (FaultKind::Transient, "read rows: \"connection\" reset")
    );
}

#[tokio::test]
async fn reporting_an_outcome_again_is_safe_and_a_different_one_finds_the_lease_gone() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let first = lease_one(&queue).await;
    for _ in 0..2 {
        assert_eq!(finish(&queue, &first, retry_after(Duration::ZERO)).await, Finished::Recorded);
    }
    assert_eq!(finish(&queue, &first, Outcome::Completed(receipt())).await, Finished::LeaseLost);
    let second = lease_one(&queue).await;
    // The first attempt neither ends nor repeats itself into the second one.
    assert_eq!(finish(&queue, &first, Outcome::Completed(receipt())).await, Finished::LeaseLost);
    assert_eq!(finish(&queue, &first, retry_after(Duration::ZERO)).await, Finished::Recorded);
    let leases = [first.id.clone(), second.id.clone(), LeaseId("nonsense".into()), LeaseId("2/1".into())];
    let expected = [Extension::Lost, Extension::Held, Extension::Lost, Extension::Lost];
    assert_eq!(queue.extend(&leases).await.unwrap(), expected);
    assert_eq!(queue.extend(&[]).await.unwrap(), []);
    for _ in 0..2 {
        assert_eq!(finish(&queue, &second, Outcome::Completed(receipt())).await, Finished::Recorded);
    }
    let ended = record(&queue, "1").await;
    assert_eq!((ended.state, ended.attempts.len()), (TaskState::Completed, 2));
    for foreign in ["nonsense", "2/1", "1/7", "1/x"] {
        let lease = Lease { id: LeaseId(foreign.into()), ..second.clone() };
        assert_eq!(finish(&queue, &lease, Outcome::Released).await, Finished::LeaseLost, "{foreign}");
    }
}

#[tokio::test]
async fn the_same_id_is_the_same_task_or_a_conflict() {
    let place = Place::new();
    let queue = place.open().await;
    let created = submit(&queue, task("1")).await;
    assert_eq!(queue.submit(vec![task("1")]).await.unwrap(), [Submitted::Existing(created.clone())]);
    let answers = queue.submit(vec![task("2"), task("1"), task("2")]).await.unwrap();
    let second = record(&queue, "2").await;
    let expected =
        [Submitted::Created(second.clone()), Submitted::Existing(created), Submitted::Existing(second)];
    assert_eq!(answers, expected);
    // A conflict anywhere, with what is there or within the call: nothing of the call is accepted.
    for call in [[task("3"), with_another_body("1")], [task("3"), with_another_body("3")]] {
        let taken = call[1].id.clone();
        let result = queue.submit(call.to_vec()).await;
        assert!(matches!(&result, Err(SubmitError::Conflict { id }) if *id == taken), "{result:?}");
        assert_eq!(queue.get(&id("3")).await.unwrap(), None);
    }
    assert_eq!(queue.submit(Vec::new()).await.unwrap(), []);
    submit(&queue, task("3")).await;
}

#[tokio::test]
async fn a_conflict_does_not_touch_other_calls_of_the_same_transaction() {
    use super::super::submit::{NewTask, submit};
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = place.connect().await;
    let new = |task: Task| NewTask { spec: serde_json::to_string(&task.spec).unwrap(), task };
    let calls = [
        vec![new(task("1"))],
        vec![new(task("2")), new(with_another_body("1"))],
        vec![new(task("1")), new(task("3"))],
        vec![new(with_another_body("2"))],
    ];
    let calls: Vec<_> = calls.iter().map(Vec::as_slice).collect();
    let mut next_sequence = 1;
    let answers = submit(&mut connection, &calls, &mut next_sequence, 0).await.unwrap();
    assert!(matches!(&answers[0].as_deref(), Ok([Submitted::Created(_)])));
    assert_eq!(answers[1], Err(id("1")));
    assert!(matches!(&answers[2].as_deref(), Ok([Submitted::Existing(_), Submitted::Created(_)])));
    // The refused call left nothing behind, so its other id is free.
    assert!(matches!(&answers[3].as_deref(), Ok([Submitted::Created(_)])));
    assert_eq!(next_sequence, 4);
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT id FROM task ORDER BY sequence").fetch_all(&mut connection).await.unwrap();
    assert_eq!(stored, ["1", "3", "2"]);
}

#[tokio::test]
async fn people_cancel_and_retry_and_are_told_what_became_of_it() {
    let place = Place::new();
    let queue = place.open().await;
    let one = id("1");
    assert_eq!(queue.cancel(&one).await.unwrap(), Cancelled::Unknown);
    assert_eq!(queue.retry(&one).await.unwrap(), Retried::Unknown);
    submit(&queue, task("1")).await;
    assert!(
        matches!(queue.retry(&one).await.unwrap(), Retried::Refused(task) if task.state == TaskState::Queued)
    );
    let Cancelled::Now(cancelled) = queue.cancel(&one).await.unwrap() else { panic!("it waited") };
    assert_eq!(cancelled, record(&queue, "1").await);
    assert_eq!(cancelled.state, TaskState::Cancelled);
    assert_eq!(queue.cancel(&one).await.unwrap(), Cancelled::AlreadyEnded(cancelled));
    assert!(lease_nothing(&queue).await);
    assert!(
        matches!(queue.retry(&one).await.unwrap(), Retried::Queued(task) if task.state == TaskState::Queued)
    );
    let running = lease_one(&queue).await;
    for _ in 0..2 {
        let answer = queue.cancel(&one).await.unwrap();
        assert!(matches!(answer, Cancelled::Requested(task) if task.cancel_requested));
    }
    assert!(
        matches!(queue.retry(&one).await.unwrap(), Retried::Refused(task) if task.state == TaskState::Running)
    );
    finish(&queue, &running, Outcome::Completed(receipt())).await;
    assert!(
        matches!(queue.retry(&one).await.unwrap(), Retried::Refused(task) if task.state == TaskState::Completed)
    );
    assert!(matches!(queue.cancel(&one).await.unwrap(), Cancelled::AlreadyEnded(_)));
}

#[tokio::test]
async fn a_task_in_its_back_off_can_be_cancelled_and_retried_at_once() {
    let place = Place::new();
    let queue = place.open().await;
    submit(&queue, task("1")).await;
    let running = lease_one(&queue).await;
    finish(&queue, &running, retry_after(Backoff::LONGEST_OF_A_TASK)).await;
    assert!(lease_nothing(&queue).await);
    assert!(
        matches!(queue.cancel(&id("1")).await.unwrap(), Cancelled::Now(task) if task.eligible_at.is_none())
    );
    queue.retry(&id("1")).await.unwrap();
    assert_eq!(lease_one(&queue).await.attempt, 2);
}

#[tokio::test]
async fn a_listing_goes_from_new_to_old_page_by_page() {
    let place = Place::new();
    let queue = place.open().await;
    let names: Vec<String> = (1..=7).map(|number| number.to_string()).collect();
    queue.submit(names.iter().map(|name| task(name)).collect()).await.unwrap();
    for name in ["2", "4", "6"] {
        queue.cancel(&id(name)).await.unwrap();
    }
    let pages = async |state, limit| {
        let (mut before, mut pages) = (None, Vec::new());
        loop {
            let page = queue.list(state, before, NonZeroU32::new(limit).unwrap()).await.unwrap();
            let ids: Vec<_> = page.tasks.iter().map(|task| task.task.id.to_string()).collect();
            pages.push(ids.join(" "));
            before = page.next;
            if before.is_none() {
                return pages;
            }
        }
    };
    assert_eq!(pages(None, 3).await, ["7 6 5", "4 3 2", "1"]);
    assert_eq!(pages(None, 7).await, ["7 6 5 4 3 2 1"]);
    assert_eq!(pages(None, u32::MAX).await, ["7 6 5 4 3 2 1"]);
    assert_eq!(pages(Some(TaskState::Queued), 2).await, ["7 5", "3 1"]);
    assert_eq!(pages(Some(TaskState::Cancelled), 2).await, ["6 4", "2"]);
    assert_eq!(pages(Some(TaskState::Failed), 2).await, [""]);
    let expected = Counts { queued: 4, cancelled: 3, ..Counts::default() };
    assert_eq!(queue.counts().await.unwrap(), expected);
}
