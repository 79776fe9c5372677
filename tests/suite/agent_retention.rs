//! Tasks that ended long ago are cleared out of the queue of a running agent.

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::snowflake_queue::numbers;
use crate::support::agent::{Agent, Place, eventually};

fn task(id: &str, path: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "numbers", "query": "SELECT id FROM numbers"},
        "destination_config": {"type": "local", "path": path},
    })
}

/// Makes everything in the queue of an agent that is stopped a month older.
async fn age(agent: &Agent) {
    let file = agent.place.path().join("data/queue.sqlite");
    let mut queue: SqliteConnection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query("UPDATE task SET updated_at = updated_at - 31 * 24 * 3600 * 1000")
        .execute(&mut queue)
        .await
        .unwrap();
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_task_that_ended_a_month_ago_is_unknown_and_its_id_is_free_again() {
    let mut agent = numbers(Place::new()).await.start().await;
    agent.submit(task("old", "first")).await;
    agent.submit(task("last", "first")).await;
    agent.wait_until("old", "completed").await;
    agent.wait_until("last", "completed").await;
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": 2}));
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    age(&agent).await;

    agent.start_again().await;
    eventually("the old task to go", async || (agent.ask("/tasks/old").await.status == 404).then_some(()))
        .await;
    agent.ask("/tasks/old").await.problem(404);
    agent.post("/tasks/old/retry", None).await.problem(404);
    assert_eq!(agent.delete("/tasks/old").await.status, 404);
    let counts = agent.get("/get_tasks_count").await;
    assert_eq!(counts["tasks_by_status"]["completed"], 1, "the newest task of all stays");
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": 2}), "it never goes back");
    assert_eq!(agent.metric("data_exchange_agent_tasks{state=\"completed\"}").await, 1.0);
    // What it has written stays, and its id is free for another task.
    assert!(agent.visible_files().contains(&"first/task_old_result_001.parquet".to_owned()));
    agent.submit(task("old", "second")).await;
    agent.wait_until("old", "completed").await;
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": 3}));
}
