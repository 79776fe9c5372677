//! Tasks that have ended go after a while, and nothing else does.

use std::num::NonZeroU32;

use tokio::sync::watch;
use tokio::time::timeout;

use super::super::retention::{ENDED_FIRST, Retention};
use super::super::{Cancelled, Counts, Retried, TaskState};
use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const A_MONTH: QueueSettings =
    QueueSettings { keep: Some(Duration::from_secs(30 * 24 * 60 * 60)), max_tasks: None };

impl Place {
    /// Makes the state of these tasks this much older. The queue is closed.
    async fn age(&self, names: &[&str], age: Duration) {
        let mut connection = self.connect().await;
        for name in names {
            sqlx::query("UPDATE task SET updated_at = updated_at - ?1 WHERE id = ?2")
                .bind(i64::try_from(age.as_millis()).unwrap())
                .bind(name)
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    async fn number(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&mut self.connect().await).await.unwrap()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The tasks that are there, first come first.
async fn names(queue: &LocalQueue) -> Vec<String> {
    let page = queue.list(None, None, NonZeroU32::new(1_000).unwrap()).await.unwrap();
    page.tasks.iter().rev().map(|record| record.task.id.to_string()).collect()
}

/// Submits tasks and ends the first ones, one in each way: `done`, `failed`, `cancelled`; `waits`,
/// `runs` and `young` follow.
async fn one_of_each(place: &Place) {
    let queue = place.open().await;
    for name in ["done", "failed", "runs", "cancelled", "waits", "young"] {
        submit(&queue, task(name)).await;
    }
    let leases = lease(&queue, 3).await;
    finish(&queue, &leases[0], Outcome::Completed(receipt())).await;
    finish(&queue, &leases[1], Outcome::Failed(report())).await;
    queue.cancel(&id("cancelled")).await.unwrap();
    queue.cancel(&id("young")).await.unwrap();
    queue.close().await;
}

#[tokio::test]
async fn what_ended_too_long_ago_goes_with_its_attempts_and_nothing_else_does() {
    let place = Place::new();
    one_of_each(&place).await;
    place.age(&["done", "failed", "runs", "cancelled", "waits"], 31 * DAY).await;
    place.age(&["young"], 29 * DAY).await;
    let queue = place.open_with(A_MONTH).await;
    until("the old ones go", async || names(&queue).await == ["runs", "waits", "young"]).await;

    let expected = Counts { queued: 2, cancelled: 1, ..Counts::default() };
    assert_eq!(queue.counts().await.unwrap(), expected);
    assert_eq!(queue.completed_ever().await.unwrap(), 1, "a total never goes back");
    // Nobody knows them any more.
    assert_eq!(queue.get(&id("done")).await.unwrap(), None);
    assert_eq!(queue.cancel(&id("failed")).await.unwrap(), Cancelled::Unknown);
    assert_eq!(queue.retry(&id("failed")).await.unwrap(), Retried::Unknown);
    // The name is free, also for another body.
    let again = submit(&queue, with_another_body("done")).await;
    assert_eq!((again.sequence, again.attempts.len()), (7, 0));
    queue.close().await;
    assert_eq!(place.number("SELECT count(*) FROM attempt").await, 1, "that of `runs`");
    assert_eq!(place.number("SELECT sum(tasks) FROM cleared_count").await, 3);
}

#[tokio::test]
async fn tasks_are_kept_for_ever_where_nobody_wants_them_to_go() {
    let place = Place::new();
    one_of_each(&place).await;
    place.age(&["done", "failed", "cancelled", "young"], 4_000 * DAY).await;
    let (settings, changed) = watch::channel(FOR_EVER);
    let mut retention = Retention::new(changed);
    let now = Timestamp::now().as_millisecond();
    let mut connection = place.connect().await;
    assert_eq!(retention.step(&mut connection, now).await.unwrap(), 0);
    // A new setting holds from the next step on.
    settings.send_replace(A_MONTH);
    assert_eq!(retention.step(&mut connection, now).await.unwrap(), 3);
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_for_a_moment_clears_out_nothing() {
    let place = Place::new();
    one_of_each(&place).await;
    let (_settings, changed) = watch::channel(A_MONTH);
    let mut retention = Retention::new(changed);
    let now = Timestamp::now().as_millisecond();
    let mut connection = place.connect().await;
    assert_eq!(retention.step(&mut connection, now).await.unwrap(), 0);
    assert_eq!(
        retention
            .step(&mut connection, now + i64::try_from((4_000 * DAY).as_millis()).unwrap())
            .await
            .unwrap(),
        0
    );
    drop(connection);
    assert_eq!(place.number("SELECT count(*) FROM task").await, 6);
}

#[tokio::test]
async fn of_too_many_the_first_that_ended_go_but_none_of_the_last_hour() {
    let place = Place::new();
    let queue = place.open().await;
    let all: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    for name in &all {
        submit(&queue, task(name)).await;
    }
    for lease in lease(&queue, 6).await {
        finish(&queue, &lease, Outcome::Completed(receipt())).await;
    }
    queue.close().await;
    // The order in which they ended is not that in which they came.
    place.age(&["3"], 5 * DAY).await;
    place.age(&["0"], 4 * DAY).await;
    place.age(&["1", "2"], 3 * DAY).await;
    let queue = place.open_with(QueueSettings { keep: None, max_tasks: Some(4) }).await;
    until("two go", async || names(&queue).await == ["1", "2", "4", "5"]).await;
    queue.close().await;
    let queue = place.open_with(QueueSettings { keep: None, max_tasks: Some(1) }).await;
    until("two more go", async || names(&queue).await == ["4", "5"]).await;
    assert_eq!(queue.completed_ever().await.unwrap(), 6);
    queue.close().await;
}

#[tokio::test]
async fn numbers_go_on_where_they_were_after_everything_went() {
    let place = Place::new();
    let queue = place.open().await;
    for name in ["1", "2", "3"] {
        submit(&queue, task(name)).await;
        queue.cancel(&id(name)).await.unwrap();
    }
    queue.close().await;
    place.age(&["1", "2", "3"], 31 * DAY).await;
    let queue = place.open_with(A_MONTH).await;
    until("the old ones go", async || names(&queue).await == ["3"]).await;
    queue.close().await;
    assert_eq!(submit(&place.open().await, task("4")).await.sequence, 4);
}

#[tokio::test]
async fn many_go_in_steps_while_others_come_and_the_file_gives_its_space_back() {
    const OLD: usize = 3_000;
    let place = Place::new();
    let queue = place.open().await;
    let old: Vec<Task> = (0..OLD).map(|number| task(&format!("old-{number}"))).collect();
    queue.submit(old).await.unwrap();
    assert_eq!(lease(&queue, OLD).await.len(), OLD);
    submit(&queue, task("waits")).await;
    queue.close().await;
    // Ended in one go: three thousand commits would only cost time.
    let mut connection = place.connect().await;
    for statement in [
        "UPDATE task SET state = 'completed', updated_at = updated_at - 31 * 86400000 WHERE state = 'running'",
        "UPDATE attempt SET state = 'completed', outcome = 'completed', finished_at = started_at",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    drop(connection);
    let size = || fs::metadata(place.path().join("queue.sqlite")).unwrap().len();
    let before = size();

    let queue = place.open_with(A_MONTH).await;
    let mut submitted = 0_u64;
    until("all of them go", async || {
        submit(&queue, task(&format!("new-{submitted}"))).await;
        submitted += 1;
        queue.counts().await.unwrap().completed == 0
    })
    .await;
    assert_eq!(queue.counts().await.unwrap().queued, submitted + 1);
    assert_eq!(queue.completed_ever().await.unwrap(), OLD as u64);
    queue.close().await;
    assert!(size() < before / 2, "{before} bytes became {}", size());
    assert_eq!(place.number("PRAGMA freelist_count").await, 0);
}

#[tokio::test]
async fn clearing_out_walks_the_tasks_that_ended_first_and_no_others() {
    let place = Place::new();
    place.open().await.close().await;
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {ENDED_FIRST}"));
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(explain).bind(0).bind(1).fetch_all(&mut place.connect().await).await.unwrap();
    let plan: Vec<_> = plan.into_iter().map(|(_, _, _, line)| line).collect();
    assert!(plan.iter().any(|line| line.contains("task_ended (updated_at<?)")), "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
}

#[tokio::test]
async fn a_file_of_the_first_format_opens_with_everything_in_it_and_is_cleared_out() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    let file = place.path().join("queue.sqlite");
    // As the version before wrote it, without automatic vacuum.
    let mut connection = sqlx::ConnectOptions::connect(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true),
    )
    .await
    .unwrap();
    sqlx::raw_sql(include_str!("../schema.sql")).execute(&mut connection).await.unwrap();
    for (name, state) in [("done", "completed"), ("waits", "queued")] {
        sqlx::query(
            "INSERT INTO task (id, spec, priority, max_attempts, state, created_at, updated_at, attempt) \
             VALUES (?1, ?2, 0, 3, ?3, 0, 0, 1)",
        )
        .bind(name)
        .bind(serde_json::to_string(&task(name).spec).unwrap())
        .bind(state)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    sqlx::query("INSERT INTO attempt (task, number, state, started_at) VALUES (1, 1, 'completed', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection);

    let queue = place.open().await;
    assert_eq!(names(&queue).await, ["done", "waits"]);
    assert_eq!(queue.completed_ever().await.unwrap(), 1);
    queue.close().await;
    let queue = place.open_with(A_MONTH).await;
    until("the old one goes", async || names(&queue).await == ["waits"]).await;
    assert_eq!(queue.completed_ever().await.unwrap(), 1);
    assert_eq!(record(&queue, "waits").await.state, TaskState::Queued);
    queue.close().await;
    assert_eq!(place.number("PRAGMA user_version").await, 2);
    assert_eq!(place.number("PRAGMA auto_vacuum").await, 0, "as it was made");
    // As the operations guide says, for files that were made before there was retention.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").execute(&mut connection).await.unwrap();
    drop(connection);
    assert_eq!(place.number("PRAGMA auto_vacuum").await, 2);
    assert_eq!(names(&place.open().await).await, ["waits"]);
}

#[tokio::test]
async fn a_step_that_fails_changes_nothing_and_is_not_tried_again_at_once() {
    let place = Place::new();
    one_of_each(&place).await;
    place.age(&["done", "failed"], 31 * DAY).await;
    let (_settings, changed) = watch::channel(A_MONTH);
    let mut retention = Retention::new(changed);
    let now = Timestamp::now().as_millisecond();
    let mut connection = place.connect().await;
    sqlx::raw_sql(
        "CREATE TRIGGER forbids BEFORE DELETE ON task WHEN OLD.id = 'failed' BEGIN \
         SELECT raise(ABORT, 'this one stays'); END",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let failed = retention.step(&mut connection, now).await;
    assert!(failed.as_ref().unwrap_err().to_string().contains("this one stays"), "{failed:?}");
    retention.rest(&failed, place.path());
    assert!(futures::poll!(std::pin::pin!(retention.due())).is_pending());
    assert_eq!(place.number("SELECT count(*) FROM task").await, 6);
    assert_eq!(place.number("SELECT count(*) FROM attempt").await, 3);
    sqlx::raw_sql("DROP TRIGGER forbids").execute(&mut connection).await.unwrap();
    assert_eq!(retention.step(&mut connection, now).await.unwrap(), 2);
}
