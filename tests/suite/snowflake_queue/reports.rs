//! What is told about the queue: its depth, and the history of runs that goes to Snowflake.

use serde_json::{Value, json};

use super::{numbers, place, row_when, three_rows};
use crate::support::agent::{Place, eventually};
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::{QueueServer, Trouble};

#[tokio::test]
async fn the_depth_of_the_queue_is_shown_when_it_is_asked_for() {
    const METRIC: &str = "data_exchange_agent_shared_queue_depth{affinity=\"blue\"}";

    let server = QueueServer::start(Version::Ours).await;
    server.trouble("PULL_TASKS", [Trouble::Held]);
    for id in 0..5 {
        server.queue.enqueue(&id.to_string(), &three_rows());
    }
    server.queue.change("4", |row| row.affinity = Some("green".to_owned()));
    let place = place(&server, "depth_interval = \"10s\"\n").await.application("affinity = \"blue\"");
    let mut agent = place.start().await;
    let shows = async |depth: usize| {
        let line = format!("{METRIC} {depth}\n");
        agent.ask("/metrics").await.text.contains(&line).then_some(())
    };
    eventually("the depth", async || shows(4).await).await;
    server.let_go();
    eventually("a later depth", async || shows(0).await).await;
    eventually("the four tasks", async || (server.queue.count(State::Completed) == 4).then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
}

#[tokio::test]
async fn a_queue_that_cannot_tell_its_depth_works_all_the_same() {
    let server = QueueServer::start(Version::Old).await;
    server.queue.enqueue("1", &three_rows());
    let agent = place(&server, "depth_interval = \"10s\"\n").await.start().await;
    row_when(&server, "1", State::Completed, &agent).await;
    eventually("the warning", async || agent.log().contains("depth of the queue").then_some(())).await;
    assert!(!agent.ask("/metrics").await.text.contains("shared_queue_depth{"));
}

#[tokio::test]
async fn runs_and_their_lines_are_written_to_snowflake_and_a_failure_stops_nothing() {
    let server = QueueServer::start(Version::Ours).await;
    // The first batch is lost, with a warning.
    server.trouble("RECORD_HISTORY", [Trouble::Refused]);
    server.queue.enqueue("lost", &three_rows());
    let mut agent = place(&server, "agent_id = \"agent-1\"\n").await.start().await;
    eventually("the first batch", async || {
        agent.log().contains("could not be written to Snowflake").then_some(())
    })
    .await;
    eventually("the task to end", async || (server.queue.count(State::Completed) == 1).then_some(())).await;
    eventually("it to be kept here", async || {
        (agent.get("/runs?task=lost").await["runs"][0]["status"] == "completed").then_some(())
    })
    .await;
    // What waits is written when the agent stops.
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    agent.start_again().await;
    server.queue.enqueue("told", &three_rows());
    eventually("the task to end", async || (server.queue.count(State::Completed) == 2).then_some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert_completed(&server, "told", "snowflake_stored_procedure");
}

#[tokio::test]
async fn an_agent_that_takes_no_task_from_snowflake_can_write_its_history_there() {
    let server = QueueServer::start(Version::Ours).await;
    let lines = "connection_name = \"queue\"\nagent_id = \"agent-1\"\nrecord_history = true\n";
    let place = numbers(Place::new()).await.section("task_source.snowflake_stored_procedure", lines);
    server.write_connection_file(place.path());
    let configuration = place.configuration();
    let check = place.run(&["check", "--config", configuration.to_str().unwrap()]).await;
    check.assert_ends(0, &["RECORD_HISTORY of SNOWCONVERT_AI.DATA_MIGRATION is there"]);
    let mut agent = place.start().await;
    let task = json!({
        "source_config": {"database": "numbers", "query": "SELECT * FROM numbers"},
        "destination_config": {"type": "local", "path": "out"},
    });
    let id = agent.submit(task).await;
    agent.wait_until(&id, "completed").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert_completed(&server, &id, "local");
    assert_eq!(server.queue.calls("PULL_TASKS"), 0);
}

/// That the run of a task, of three rows and this task source, and its lines were written to `server`.
fn assert_completed(server: &QueueServer, task: &str, task_source: &str) {
    let told: Vec<Value> = server
        .queue
        .arguments("RECORD_HISTORY")
        .iter()
        .map(|arguments| {
            assert_eq!(arguments[0].as_deref(), Some("agent-1"));
            serde_json::from_str(arguments[1].as_deref().unwrap()).unwrap()
        })
        .collect();
    let all = |list: &str| -> Vec<Value> {
        told.iter().flat_map(|told| told[list].as_array().unwrap().clone()).collect()
    };
    let runs = all("runs");
    let run = runs.iter().rfind(|run| run["task"] == task).expect("the run is told");
    assert_eq!(
        [&run["status"], &run["rows"], &run["task_source"], &run["attempt"]],
        [&json!("completed"), &json!(3), &json!(task_source), &json!(1)]
    );
    let lines = all("lines");
    let messages: Vec<&str> = lines
        .iter()
        .filter(|line| line["task"] == task)
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!((messages[0], messages[messages.len() - 1]), ("attempt begins", "task completed"));
}
