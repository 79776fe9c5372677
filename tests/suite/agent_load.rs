//! Many clients and many small tasks at the same time.

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::support::agent::{Agent, Place, eventually};

const CLIENTS: usize = 32;
const TASKS: usize = 2_000;

#[tokio::test]
async fn two_thousand_tasks_of_many_clients_end_exactly_once() {
    let place = Place::new();
    let file = place.path().join("source.sqlite");
    let mut connection: SqliteConnection =
        SqliteConnectOptions::new().filename(&file).create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE numbers (id INTEGER NOT NULL); INSERT INTO numbers VALUES (1), (2), (3)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let lines = format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string());
    let agent = Place::connection(place, "source.small", &lines).application("workers = 4").start().await;

    let client = async |client: usize, agent: &Agent| {
        for number in (0..TASKS).filter(|number| number % CLIENTS == client) {
            let task = json!({
                "id": format!("task-{number}"),
                "source_config": {"database": "small", "table": "numbers"},
                "destination_config": {"type": "local", "path": format!("{client}"), "format": "csv"},
            });
            // Every other task is posted twice, as a client does whose answer was lost.
            let first = agent.post("/tasks", Some(&task)).await;
            assert_eq!(first.status, 202, "{first:?}");
            if number % 2 == 0 {
                let again = agent.post("/tasks", Some(&task)).await;
                assert_eq!(again.status, 200, "{again:?}");
            }
        }
    };
    futures::future::join_all((0..CLIENTS).map(|number| client(number, &agent))).await;
    // In steps, so that only a standstill uses up the patience of one.
    for enough in (200..=TASKS).step_by(200) {
        eventually(&format!("{enough} tasks"), async || {
            let processed = agent.get("/tasks_processed").await["tasks_processed"].as_u64();
            (processed >= Some(enough as u64)).then_some(())
        })
        .await;
    }
    agent.wait_until_idle().await;

    let counts = agent.get("/get_tasks_count").await["tasks_by_status"].clone();
    assert_eq!(counts["completed"], TASKS, "{counts}");
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": TASKS}));
    let completed = agent.metric("data_exchange_agent_attempts_total{outcome=\"completed\"}").await;
    assert_eq!(completed, TASKS as f64);
    assert_eq!(agent.metric("data_exchange_agent_rows_extracted_total").await, (3 * TASKS) as f64);
    assert_eq!(agent.files().len(), TASKS);
    assert_eq!(agent.files(), agent.visible_files());

    let mut seen = 0;
    let mut next = "/tasks?limit=500".to_owned();
    loop {
        let page = agent.get(&next).await;
        for task in page["tasks"].as_array().unwrap() {
            let attempts: &Vec<Value> = task["attempts"].as_array().unwrap();
            assert_eq!((attempts.len(), &task["receipt"]["rows"]), (1, &json!(3)), "{task:#}");
            seen += 1;
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("/tasks?limit=500&cursor={cursor}");
    }
    assert_eq!(seen, TASKS);
}
