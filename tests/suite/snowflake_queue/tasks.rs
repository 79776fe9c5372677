//! What is pulled from the queue, and what becomes of it: a receipt, a failure, a refusal.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ENDLESS, payload, place, row_when, three_rows, wait_for_busy};
use crate::support::agent::eventually;
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::QueueServer;

#[tokio::test]
async fn a_task_is_pulled_with_bound_values_and_completed_with_its_receipt() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("orders-1", &three_rows());
    let place = place(&server, "agent_id = \"agent '1'; --\"\n").await.application("affinity = \"blue\"");
    let mut agent = place.start().await;
    let row = row_when(&server, "orders-1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.attempt, row.failures), (1, 1, 0));
    let receipt: Value = serde_json::from_str(row.receipt.as_deref().unwrap()).unwrap();
    assert_eq!((&receipt["rows"], receipt["files"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(agent.visible_files(), ["out/task_orders-1_result_001.parquet"]);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        server.queue.arguments("PULL_TASKS")[0],
        [text("agent '1'; --"), text("data-exchange-agent"), text("blue"), text("4")]
    );
    let completed = &server.queue.arguments("COMPLETE_TASK")[0];
    assert_eq!(completed[..2], [text("agent '1'; --"), text("orders-1")]);
    assert!(agent.get("/tasks").await["tasks"].as_array().unwrap().is_empty(), "remote tasks are not listed");
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.logins(), 1, "no call logs in by itself");
    assert!(!agent.log().contains("hunter2"));
}

#[tokio::test]
async fn an_idle_agent_asks_once_an_interval_however_many_workers_it_has() {
    let server = QueueServer::start(Version::Ours).await;
    let place = place(&server, "").await.application("workers = 50").application("task_fetch_interval = 1");
    let mut agent = place.start().await;
    eventually("the first pull", async || (server.queue.calls("PULL_TASKS") >= 1).then_some(())).await;
    let (begun, first) = (std::time::Instant::now(), server.queue.calls("PULL_TASKS"));
    eventually("three more", async || (server.queue.calls("PULL_TASKS") >= first + 3).then_some(())).await;
    // The first of them may come at once; before each other one is a wait of at least four fifths of a second.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    // One statement that looks which procedures there are, and the pulls.
    assert_eq!(server.statements(), 1 + server.queue.calls("PULL_TASKS"), "{:?}", server.texts());
    let limits: BTreeSet<_> =
        server.queue.arguments("PULL_TASKS").into_iter().map(|arguments| arguments[3].clone()).collect();
    assert_eq!(limits, [Some("50".to_owned())].into());
}

#[tokio::test]
async fn a_payload_that_nobody_understands_is_failed_at_once_with_all_that_is_wrong() {
    let server = QueueServer::start(Version::Ours).await;
    let wrong = json!({"source_type": "nobody", "statement_location_id": "DROP TABLE numbers", "target_type": "tape"});
    server.queue.enqueue("wrong", &wrong);
    server.queue.enqueue_text("no-json", "{\"password\": \"hunter3\",");
    server.queue.enqueue("good", &three_rows());
    server.queue.enqueue("no good id/..", &three_rows());
    let agent = place(&server, "").await.start().await;
    row_when(&server, "good", State::Completed, &agent).await;
    for (id, expected) in [
        ("wrong", &["`/target_type`", "`/target_id`: missing", "[request]"][..]),
        ("no-json", &["no JSON at line 1"]),
        ("no good id/..", &["1 to 128 characters"]),
    ] {
        let row = row_when(&server, id, State::Failed, &agent).await;
        let error = row.last_error.unwrap();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("hunter3"), "{error}");
    }
    assert_eq!(server.queue.calls("REJECT_TASK"), 3, "once each, without attempts");
}

#[tokio::test]
async fn a_failure_says_what_failed_and_what_to_do() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload("SELECT * FROM missing"));
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Failed, &agent).await;
    let error = row.last_error.unwrap();
    assert!(error.starts_with("[request] ") && error.contains("no such table"), "{error}");
    assert_eq!((row.failures, row.attempt), (1, 1), "another attempt would fail again");
}

#[tokio::test]
async fn a_server_of_version_1_2_0_is_served_with_its_four_calls() {
    let server = QueueServer::start(Version::Old).await;
    server.queue.use_numbers();
    server.queue.enqueue("17", &three_rows());
    server.queue.enqueue("18", &payload("SELECT * FROM missing"));
    server.queue.change("18", |row| row.max_attempts = 1);
    let agent = place(&server, "agent_id = \"steady\"\n").await.start().await;
    row_when(&server, "17", State::Completed, &agent).await;
    row_when(&server, "18", State::Failed, &agent).await;
    assert_eq!(server.queue.arguments("COMPLETE_TASK")[0].len(), 2);
    let fail = &server.queue.arguments("FAIL_TASK")[0];
    assert_eq!(fail[0].as_deref(), Some("18"), "the task comes first");
    let name = fail[1].clone().unwrap();
    assert!(
        name.starts_with("steady-") && name.len() > 30,
        "what an earlier process left is not kept: {name}"
    );
    // Right before the commit.
    assert!(server.queue.calls("REFRESH_LEASES") >= 1);
}

#[tokio::test]
async fn tasks_of_two_queues_may_have_the_same_id() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 2").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 1).await;
    let workers = agent.get("/health").await["workers"].clone();
    assert_eq!(workers["running"], json!({"snowflake_stored_procedure": 1}));
    let local = json!({"id": "1", "source_config": {"database": "numbers", "table": "numbers"},
        "destination_config": {"type": "local", "path": "other"}});
    assert_eq!(agent.submit(local).await, "1");
    let task = agent.wait_until("1", "completed").await;
    assert_eq!(task["receipt"]["rows"], 3);
    assert_eq!(server.queue.row("1").unwrap().state, State::Leased, "the remote one goes on");
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.queue.row("1").unwrap().state, State::Queued);
}
