//! `/runs` and `/tasks/{id}/logs`.

use super::*;
use crate::telemetry::AttemptLog;

/// Runs a task until it is cancelled.
async fn run_and_cancel(agent: &Agent, id: &str) {
    agent.submit(&nested(id)).await;
    agent.wait_for(id, "running").await;
    // On record before its run has begun.
    let begun = async {
        while agent.get(&format!("/runs?task={id}&status=running")).await.body["runs"] == json!([]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("the run is listed");
    agent.delete(&format!("/tasks/{id}")).await;
    agent.wait_for(id, "cancelled").await;
}

fn tasks(page: &Value) -> Vec<&str> {
    page["runs"].as_array().unwrap().iter().map(|run| run["task"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_page_by_page() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    for id in ["1", "2", "3"] {
        run_and_cancel(&agent, id).await;
    }
    let page = agent.get("/runs?limit=2").await;
    assert_eq!(tasks(&page.body), ["3", "2"]);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let next = format!("/runs?limit=2&cursor={cursor}");
    assert_eq!(page.header("link"), format!("<{next}>; rel=\"next\""));
    let last = agent.get(&next).await;
    assert_eq!((tasks(&last.body), &last.body["next_cursor"]), (vec!["1"], &Value::Null));

    let run = &last.body["runs"][0];
    assert_eq!(
        [&run["status"], &run["attempt"], &run["task_source"], &run["source"], &run["destination"]],
        [&json!("cancelled"), &json!(1), &json!("local"), &json!("sales"), &json!("local")]
    );
    assert!(run["finished_at"].is_string() && run["duration_ms"].is_u64(), "{run}");
    assert_eq!([&run["rows"], &run["error"]], [&Value::Null, &Value::Null]);
    assert_eq!(tasks(&agent.get("/runs?task=2").await.body), ["2"]);
    assert_eq!(tasks(&agent.get("/runs?task=2&status=failed").await.body), [""; 0]);
    assert_eq!(tasks(&agent.get("/runs?status=cancelled").await.body), ["3", "2", "1"]);
}

#[tokio::test]
async fn a_run_shows_live_figures_while_it_runs() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    agent.submit(&nested("1")).await;
    let live = async {
        loop {
            let run = agent.get("/runs").await.body["runs"][0].clone();
            if run["rows"].is_u64() {
                return run;
            }
        }
    };
    let run = tokio::time::timeout(PATIENCE, live).await.expect("live figures");
    assert_eq!(
        [&run["status"], &run["rows"], &run["finished_at"]],
        [&json!("running"), &json!(0), &Value::Null]
    );
}

#[tokio::test]
async fn the_log_of_a_task_is_followed_to_its_end() {
    AttemptLog::keep_in_tests();
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let waiting = agent.get("/tasks/1/logs").await;
    assert_eq!(waiting.body, json!({"task": "1", "lines": [], "next": "0"}));

    agent.pool.start_handling();
    run_and_cancel(&agent, "2").await;
    let all = agent.get("/tasks/2/logs").await.body;
    let lines = all["lines"].as_array().unwrap();
    let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!((messages[0], messages[messages.len() - 1]), ("attempt begins", "task cancelled"));
    assert_eq!(all["next"], Value::Null);
    let line = &lines[0];
    assert_eq!(
        [&line["level"], &line["attempt"], &line["target"]],
        [&json!("info"), &json!(1), &json!("data_exchange_agent::worker::runner")]
    );
    let fields = json!({
        "source.name": "sales", "destination.name": "local", "method": "native", "reason": "it is the default",
    });
    assert_eq!(line["fields"], fields);

    let first = agent.get("/tasks/2/logs?limit=1").await.body;
    assert_eq!(first["lines"], json!([lines[0]]));
    let next = format!("/tasks/2/logs?limit=1&after={}", first["next"].as_str().unwrap());
    let rest = agent.get(&next).await.body;
    assert_eq!(rest["lines"], json!([lines[1]]));
    let last =
        agent.get(&format!("/tasks/2/logs?after={}", rest["next"].as_str().unwrap_or("ffff"))).await.body;
    assert_eq!(last["next"], Value::Null);
    assert_eq!(agent.get("/tasks/2/logs?attempt=2").await.body["lines"], json!([]));
    assert_eq!(agent.get("/tasks/2/logs?attempt=1").await.body["lines"], all["lines"]);
}

#[tokio::test]
async fn wrong_parameters_and_unknown_tasks_are_told() {
    let agent = Agent::start().await;
    agent.get("/tasks/nobody/logs").await.assert_problem(404, "unknown-task");
    for (query, name, text) in [
        ("/runs?status=queued", "status", "one of `running`, `completed`"),
        ("/runs?limit=501", "limit", "1 to 500"),
        ("/runs?task=a%20b", "task", "id of a task"),
        ("/runs?cursor=x", "cursor", "`next_cursor`"),
        ("/runs?state=x", "state", "did you mean `status`?"),
        ("/tasks/1/logs?after=-1", "after", "`next`"),
        ("/tasks/1/logs?limit=1001", "limit", "1 to 1000"),
        ("/tasks/1/logs?attempt=0", "attempt", "number of an attempt"),
        ("/tasks/1/logs?level=info", "level", "known here: `after`, `limit`, `attempt`"),
    ] {
        agent.get(query).await.assert_errors(&[(name, text)]);
    }
}
