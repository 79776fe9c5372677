//! How an agent of the queue ends: what a stop gives back, and when `--once` is through.

use serde_json::json;

use super::{ENDLESS, payload, place, three_rows, wait_for_busy};
use crate::support::agent::eventually;
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::{QueueServer, Trouble};

#[tokio::test]
async fn a_stop_gives_back_what_runs() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    server.queue.enqueue("2", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 2").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 2).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    for id in ["1", "2"] {
        let row = server.queue.row(id).unwrap();
        assert_eq!((row.state, row.failures, row.attempt), (State::Queued, 0, 1), "{}", agent.log());
    }
    assert_eq!(agent.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_leaves_leases_to_run_out_where_there_is_no_release_and_says_so() {
    let server = QueueServer::start(Version::Old).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 1").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 1).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.queue.row("1").unwrap().state, State::Leased);
    assert_eq!(server.queue.calls("FAIL_TASK"), 0);
    assert!(agent.log().contains("the queue has no RELEASE_TASK"), "{}", agent.log());
}

#[tokio::test]
async fn a_pull_that_nobody_answers_does_not_hold_up_a_stop() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("PULL_TASKS", [Trouble::Held]);
    let mut agent = place(&server, "").await.application("stop_grace = \"10m\"").start().await;
    eventually("a pull", async || (server.held() == 1).then_some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("the agent stops before Snowflake has said which tasks it leased"));
    assert!(!agent.log().contains("the agent aborts"), "{}", agent.log());
}

#[tokio::test]
async fn once_drains_the_queues_and_says_whether_a_task_failed() {
    for (tasks, code) in [
        (vec![("1", three_rows()), ("2", three_rows()), ("3", three_rows())], 0),
        (vec![("1", three_rows()), ("2", payload("SELECT * FROM missing"))], 1),
        (vec![("1", three_rows()), ("2", json!("nonsense"))], 1),
        (vec![], 0),
    ] {
        let server = QueueServer::start(Version::Ours).await;
        for (id, payload) in &tasks {
            server.queue.enqueue(id, payload);
        }
        let place = place(&server, "").await.application("workers = 1");
        let configuration = place.configuration();
        let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
        let finished = place.run(&arguments).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_eq!(server.queue.count(State::Queued) + server.queue.count(State::Leased), 0);
        assert_eq!(server.queue.calls("COMPLETE_TASK"), tasks.len() - usize::from(code == 1));
    }
}

#[tokio::test]
async fn once_gives_up_a_queue_that_refuses_it() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("PULL_TASKS", [Trouble::Refused]);
    let place = place(&server, "").await;
    let configuration = place.configuration();
    let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("docs/snowflake/setup.sql"), "{finished:?}");
}
