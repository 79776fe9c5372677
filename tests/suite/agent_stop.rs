//! SIGTERM: the agent drains, and after its grace gives back what still runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres;
use crate::support::s3::{Bucket, server_address};

fn task(kind: &str) -> Value {
    json!({
        "id": kind,
        "source_config": {"database": "sales", "query": gated_query(5_000, 6_000, 32), "batch_size": 250},
        "destination_config": {"type": kind, "path": "stopped"},
        // A stop may not use up the only attempt.
        "max_attempts": 1,
    })
}

fn states(task: &Value) -> Vec<&str> {
    task["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_str().unwrap()).collect()
}

async fn wait_until_draining(agent: &Agent) {
    eventually("the agent to drain", async || (agent.ask("/ready").await.status == 503).then_some(())).await;
    let answer = agent.ask("/ready").await;
    assert_eq!(answer.json()["ready"], false);
    assert_eq!(agent.ask("/live").await.status, 200);
}

#[tokio::test]
async fn a_stop_waits_for_running_tasks_within_its_grace() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let mut agent = Place::new().database(&database).application("stop_grace = \"10m\"").start().await;
    agent.submit(task("local")).await;
    gate.wait_for(1).await;
    agent.signal("TERM");
    wait_until_draining(&agent).await;
    // Accepted still, and left for the next start.
    let mut late = task("local");
    late["id"] = json!("late");
    late["source_config"]["query"] = json!("SELECT 1 AS one");
    agent.submit(late).await;
    assert_eq!(agent.task("local").await["status"], "running");
    gate.open().await;
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert_eq!(agent.files(), ["stopped/task_local_result_001.parquet"]);

    agent.start_again().await;
    assert_eq!(states(&agent.wait_until("local", "completed").await), ["completed"]);
    assert_eq!(states(&agent.wait_until("late", "completed").await), ["completed"]);
}

#[tokio::test]
async fn after_the_grace_tasks_are_given_back_and_the_next_start_completes_them() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let mut gate = Gate::close(&database).await;
    let place = Place::new().database(&database).bucket(&bucket, server_address());
    let mut agent = place.application("stop_grace = \"1s\"").start().await;
    agent.submit(task("local")).await;
    agent.submit(task("s3")).await;
    gate.wait_for(2).await;
    eventually("parts under way", async || {
        (!agent.files().is_empty() && !bucket.unfinished_uploads().await.is_empty()).then_some(())
    })
    .await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert_eq!(agent.files(), Vec::<String>::new());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    assert!(bucket.objects("").await.is_empty());
    gate.wait_for(0).await;

    agent.start_again().await;
    gate.wait_for(2).await;
    assert_eq!(states(&agent.task("local").await), ["released", "running"]);
    gate.open().await;
    for id in ["local", "s3"] {
        let task = agent.wait_until(id, "completed").await;
        assert_eq!(states(&task), ["released", "completed"], "it did not count as an attempt");
        assert_eq!(task["receipt"]["rows"], 6_000);
    }
    assert_eq!(agent.files(), ["stopped/task_local_result_001.parquet"]);
    assert_eq!(bucket.objects("").await.len(), 1);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_grace() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let mut agent = Place::new().database(&database).application("stop_grace = \"10m\"").start().await;
    agent.submit(task("local")).await;
    gate.wait_for(1).await;
    agent.signal("TERM");
    wait_until_draining(&agent).await;
    assert_eq!(agent.task("local").await["status"], "running");
    let begun = Instant::now();
    agent.signal("INT");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(agent.files(), Vec::<String>::new());
    gate.wait_for(0).await;

    agent.start_again().await;
    gate.open().await;
    assert_eq!(states(&agent.wait_until("local", "completed").await), ["released", "completed"]);
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_agent() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let gate = Gate::close(&database).await;
    let mut agent = Place::new().database(&database).application("stop_grace = \"1s\"").start().await;
    agent.post("/stop", None).await;
    agent.submit(task("local")).await;
    let pid = agent.pid().to_string();
    // Nothing happens to the task; only the stop can end the stream.
    let events = agent.watch("local", async |_| terminate(&pid)).await;
    assert_eq!(events[0]["status"], "queued");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    gate.open().await;
}

#[expect(clippy::disallowed_methods, reason = "there is no safe call for it in the standard library")]
fn terminate(pid: &str) {
    let kill = std::process::Command::new("kill").args(["-s", "TERM", pid]).status();
    assert!(kill.unwrap().success());
}
