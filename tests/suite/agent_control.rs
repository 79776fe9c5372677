//! Tasks are refused, cancelled, held back, ordered and tried again as the API says.

use std::fs;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Database, Options, Postgres};
use crate::support::s3::{Bucket, server_address};

fn task(id: &str, query: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "sales", "query": query, "batch_size": 100},
        "destination_config": {"type": "local", "path": id},
    })
}

fn attempts(task: &Value) -> Vec<&str> {
    task["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_str().unwrap()).collect()
}

fn first_error(problem: &Value) -> (&str, &str) {
    let error = &problem["errors"][0];
    (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap())
}

#[tokio::test]
async fn a_repeated_post_changes_nothing_and_another_body_is_a_conflict() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let agent = Place::new().database(&database).start().await;
    let task = task("same", "SELECT 1 AS one");
    agent.submit(task.clone()).await;
    agent.wait_until("same", "completed").await;

    let again = agent.post("/tasks", Some(&task)).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["status"], "completed");
    assert_eq!(again.json()["created"], false);

    let mut other = task.clone();
    other["priority"] = json!(7);
    let refused = agent
        .post(
            "/tasks",
            Some(&json!([{"source_config": {"database": "sales", "query": "SELECT 2"},
        "destination_config": {"type": "local", "path": ""}}, other])),
        )
        .await;
    let problem = refused.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("`same`"), "{problem}");
    let count = agent.get("/get_tasks_count").await;
    assert_eq!(count["tasks_by_status"]["completed"], 1, "no task of a refused array is accepted");
    assert_eq!(count["tasks_count"], 0);
    assert_eq!(attempts(&agent.task("same").await), ["completed"]);
}

#[tokio::test]
async fn a_request_that_cannot_be_served_gets_a_problem_document_that_helps() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let agent = Place::new().database(&database).server("max_body_bytes = \"2 KiB\"").start().await;

    let mut unknown = task("a", "SELECT 1");
    unknown["source_config"]["database"] = json!("sails");
    unknown["destination_config"]["type"] = json!("s3");
    let problem = agent.post("/tasks", Some(&unknown)).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "all at once: {problem}");
    let (pointer, detail) = first_error(&problem);
    assert_eq!(pointer, "/source_config/database");
    assert!(detail.contains("`sales`"), "it names what is there: {detail}");

    for sql in [
        "SELEC 1",
        "DELETE FROM lines",
        "SELECT 1; SELECT 2",
        "WITH gone AS (DELETE FROM t RETURNING 1) SELECT 1",
    ] {
        let problem = agent.post("/tasks", Some(&task("a", sql))).await.problem(422);
        assert_eq!(first_error(&problem).0, "/source_config/query", "{sql}: {problem}");
    }
    let large = task("a", &format!("SELECT '{}'", "x".repeat(3000)));
    agent.post("/tasks", Some(&large)).await.problem(413);

    let post = |content_type: &'static str, body: &'static str| {
        agent.http().post(agent.url("/tasks")).header("content-type", content_type).body(body).send()
    };
    agent.take(post("text/plain", "{}").await.unwrap()).await.unwrap().problem(415);
    agent.take(post("application/json", "{\"id\":").await.unwrap()).await.unwrap().problem(400);
    agent.take(post("application/json", "[]").await.unwrap()).await.unwrap().problem(422);
    agent.delete("/tasks").await.problem(405);
    agent.ask("/tasks/unknown").await.problem(404);
    agent.ask("/nowhere").await.problem(404);
    assert_eq!(agent.get("/tasks").await["tasks"], json!([]), "nothing was accepted");
}

/// True while a statement of the agent runs on the server.
async fn statements(database: &Database) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'COPY%' AND state = 'active'",
        database.name()
    );
    database.value(&sql).await
}

#[tokio::test]
async fn a_cancelled_task_ends_on_the_server_too_and_leaves_nothing() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let agent = Place::new().database(&database).bucket(&bucket, server_address()).start().await;
    // More than any test could wait for. In the list of columns, because FROM would store the series first.
    let endless =
        "SELECT id, md5(id::text) AS text FROM (SELECT generate_series(1::bigint, 1000000000000) AS id) AS n";
    for (kind, format) in [("local", "parquet"), ("local", "csv"), ("s3", "csv")] {
        let id = format!("endless-{kind}-{format}");
        let mut task = task(&id, endless);
        task["destination_config"]["type"] = json!(kind);
        task["destination_config"]["format"] = json!(format);
        agent.submit(task).await;
        // In the middle: something is written already.
        eventually("a part is under way", async || {
            let begun = match kind {
                "s3" => !bucket.unfinished_uploads().await.is_empty(),
                _ => !agent.files().is_empty(),
            };
            begun.then_some(())
        })
        .await;
        assert!(statements(&database).await > 0);

        let answer = agent.delete(&format!("/tasks/{id}")).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let cancelled = agent.wait_until(&id, "cancelled").await;
        assert_eq!(attempts(&cancelled), ["cancelled"]);
        assert!(cancelled["receipt"].is_null() && cancelled["progress"].is_null());
        eventually("the statement to be gone", async || (statements(&database).await == 0).then_some(()))
            .await;
        assert_eq!(agent.files(), Vec::<String>::new());
        assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
        assert!(bucket.objects("").await.is_empty());
        // Again, which is fine; and it can be taken back.
        assert_eq!(agent.delete(&format!("/tasks/{id}")).await.status, 200);
    }
    assert_eq!(agent.metric("data_exchange_agent_attempts_total{outcome=\"cancelled\"}").await, 3.0);

    agent.post("/stop", None).await;
    agent.submit(task("waiting", "SELECT 1 AS one")).await;
    assert_eq!(agent.delete("/tasks/waiting").await.json()["status"], "cancelled");
    assert_eq!(agent.post("/tasks/waiting/retry", None).await.status, 202);
    agent.post("/handle_tasks", None).await;
    agent.wait_until("waiting", "completed").await;
    agent.delete("/tasks/waiting").await.problem(409);
    agent.post("/tasks/waiting/retry", None).await.problem(409);
}

#[tokio::test]
async fn a_stop_lets_running_tasks_end_and_holds_the_others_back() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).application("workers = 1").start().await;
    agent.submit(task("runs", &gated_query(500, 600, 32))).await;
    gate.wait_for(1).await;
    agent.submit(task("waits", "SELECT 1 AS one")).await;

    assert_eq!(agent.post("/stop", None).await.json()["handling_tasks"], false);
    assert_eq!(agent.get("/ready").await["ready"], true, "tasks are accepted still");
    gate.open().await;
    agent.wait_until("runs", "completed").await;
    eventually("the worker to be free", async || {
        (agent.metric("data_exchange_agent_workers_busy").await == 0.0).then_some(())
    })
    .await;
    // A task that was started against the order would have begun while this one is accepted.
    agent.submit(task("waits-too", "SELECT 1 AS one")).await;
    let waiting = agent.task("waits").await;
    assert_eq!((&waiting["status"], attempts(&waiting).len()), (&json!("queued"), 0));

    agent.post("/handle_tasks", None).await;
    agent.wait_until("waits", "completed").await;
    agent.wait_until("waits-too", "completed").await;
}

#[tokio::test]
async fn higher_priorities_run_first_and_equal_ones_in_order() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let agent = Place::new().database(&database).application("workers = 1").start().await;
    agent.post("/stop", None).await;
    for (id, priority) in [("low", -5), ("first", 0), ("second", 0), ("high", 9), ("third", 0)] {
        let mut task = task(id, "SELECT 1 AS one");
        task["priority"] = json!(priority);
        agent.submit(task).await;
    }
    agent.post("/handle_tasks", None).await;
    agent.wait_until_idle().await;
    let mut order = Vec::new();
    for id in ["first", "second", "third", "low", "high"] {
        let task = agent.task(id).await;
        assert_eq!(attempts(&task), ["completed"]);
        // As a moment: its text leaves zeros at the end out.
        let started_at: Timestamp = task["attempts"][0]["started_at"].as_str().unwrap().parse().unwrap();
        order.push((started_at, id));
    }
    order.sort();
    let order: Vec<&str> = order.into_iter().map(|(_, id)| id).collect();
    assert_eq!(order, ["high", "first", "second", "third", "low"]);
}

fn error_of(attempt: &Value) -> (&str, &str) {
    (attempt["error"]["kind"].as_str().unwrap(), attempt["error"]["message"].as_str().unwrap())
}

#[tokio::test]
async fn what_cannot_succeed_fails_at_once_with_a_hint() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let agent = Place::new().database(&database).start().await;
    agent.submit(task("missing", "SELECT * FROM not_there")).await;
    agent.submit(task("value", "SELECT 1 / (id - 50) AS x FROM generate_series(1, 1000) AS id")).await;

    let failed = agent.wait_until("missing", "failed").await;
    assert_eq!(attempts(&failed), ["failed"], "it is not tried again");
    let error = &failed["attempts"][0]["error"];
    assert_eq!(error["kind"], "request");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    let failed = agent.wait_until("value", "failed").await;
    assert_eq!(attempts(&failed), ["failed"]);
    assert_eq!(agent.files(), Vec::<String>::new());

    database.execute("CREATE TABLE not_there AS SELECT 1 AS one").await;
    let answer = agent.post("/tasks/missing/retry", None).await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("queued")));
    let task = agent.wait_until("missing", "completed").await;
    assert_eq!(attempts(&task), ["failed", "completed"]);
    assert_eq!(agent.visible_files(), ["missing/task_missing_result_001.parquet"]);
}

#[tokio::test]
async fn a_task_is_tried_again_until_its_database_is_back_or_its_attempts_are_used_up() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let agent = Place::new().database(&database).start().await;
    server.stop_immediately().await;
    let mut impatient = task("impatient", "SELECT 1 AS one");
    impatient["max_attempts"] = json!(2);
    let mut patient = task("patient", "SELECT 1 AS one");
    patient["max_attempts"] = json!(50);
    agent.submit(impatient).await;
    agent.submit(patient).await;

    let failed = agent.wait_until("impatient", "failed").await;
    assert_eq!(attempts(&failed), ["failed", "failed"]);
    let (kind, message) = error_of(&failed["attempts"][1]);
    assert_eq!(kind, "transient", "{message}");
    assert!(wait_between(&failed) >= 500, "a back-off of at least half a second: {failed:#}");
    let waiting = agent.task("patient").await;
    assert!(!attempts(&waiting).is_empty() && attempts(&waiting).iter().all(|state| *state != "completed"));

    server.restart().await;
    let task = agent.wait_until("patient", "completed").await;
    let states = attempts(&task);
    let (last, before) = states.split_last().unwrap();
    assert_eq!(*last, "completed");
    assert!(!before.is_empty() && before.iter().all(|state| *state == "failed"), "{states:?}");
    agent.post("/tasks/impatient/retry", None).await;
    assert_eq!(
        attempts(&agent.wait_until("impatient", "completed").await),
        ["failed", "failed", "completed"]
    );
    assert_eq!(agent.visible_files().len(), 2);
    assert_has_no_temporary_files(&agent);
}

/// Milliseconds between the end of the first attempt and the start of the second.
fn wait_between(task: &Value) -> i64 {
    let moment = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    moment(&task["attempts"][1]["started_at"]) - moment(&task["attempts"][0]["finished_at"])
}

fn assert_has_no_temporary_files(agent: &Agent) {
    assert_eq!(agent.files(), agent.visible_files());
    for file in agent.files() {
        assert!(fs::metadata(agent.place.output().join(file)).unwrap().len() > 0);
    }
}

#[tokio::test]
async fn an_attempt_that_takes_longer_than_its_task_allows_is_ended() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).start().await;
    let mut slow = task("slow", &gated_query(500, 600, 32));
    slow["timeout"] = json!("300ms");
    slow["max_attempts"] = json!(1);
    agent.submit(slow).await;
    let failed = agent.wait_until("slow", "failed").await;
    let (kind, message) = error_of(&failed["attempts"][0]);
    assert_eq!(kind, "transient");
    assert!(message.contains("timeout"), "{message}");
    gate.wait_for(0).await;
    assert_eq!(agent.files(), Vec::<String>::new());
}
