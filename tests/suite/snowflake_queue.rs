//! The queue in Snowflake: agents that take their tasks from it, and what their tests set up.

mod endings;
mod logins;
mod losses;
mod reports;
mod states;
mod tasks;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::snowflake::queue::{Row, State};
use crate::support::snowflake::queue_server::QueueServer;

/// Rows that come until somebody ends the attempt.
const ENDLESS: &str =
    "WITH RECURSIVE numbers(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM numbers) SELECT id FROM numbers";

/// An agent that takes its tasks from `server`, with `lines` for the section of the task source.
pub(crate) async fn place(server: &QueueServer, lines: &str) -> Place {
    let place = place_without_server(lines).await;
    server.write_connection_file(place.path());
    place
}

/// The same without its connection file.
async fn place_without_server(lines: &str) -> Place {
    numbers(Place::new())
        .await
        .top("selected_task_source = \"snowflake_stored_procedure\"")
        .application("task_fetch_interval = 1")
        .section("task_source.snowflake_stored_procedure", &format!("connection_name = \"queue\"\n{lines}"))
}

/// With the source `numbers`: a table of that name with three rows.
pub(crate) async fn numbers(place: Place) -> Place {
    let file = place.path().join("source.sqlite");
    let mut database: SqliteConnection =
        SqliteConnectOptions::new().filename(&file).create_if_missing(true).connect().await.unwrap();
    let sql = "CREATE TABLE numbers (id INTEGER PRIMARY KEY, text TEXT); \
               INSERT INTO numbers VALUES (1, 'one'), (2, 'two'), (3, 'three')";
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut database).await.unwrap();
    sqlx::Connection::close(database).await.unwrap();
    let source = format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string());
    place.connection("source.numbers", &source)
}

/// A payload of version 1.2.0.
pub(crate) fn payload(sql: &str) -> Value {
    json!({"source_type": "numbers", "statement_location_id": sql, "target_type": "local", "target_id": "out"})
}

fn three_rows() -> Value {
    payload("SELECT * FROM numbers")
}

/// Waits until this many attempts run.
async fn wait_for_busy(agent: &Agent, count: u64) {
    eventually("attempts to run", async || {
        (agent.ask("/health").await.json()["workers"]["busy"] == count).then_some(())
    })
    .await;
}

async fn row_when(server: &QueueServer, id: &str, state: State, agent: &Agent) -> Row {
    let what = format!("task {id} to be {state:?}");
    let found = eventually(&what, async || {
        let row = server.queue.row(id).expect("the task is there");
        let is_final = matches!(row.state, State::Completed | State::Failed);
        assert!(row.state == state || !is_final, "{row:?}\n{}", agent.log());
        (row.state == state).then_some(row)
    });
    found.await
}

/// A new private key, as PEM.
#[expect(clippy::disallowed_methods, reason = "a test may start openssl")]
pub(crate) fn private_key() -> String {
    let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output();
    String::from_utf8(made.expect("openssl is installed").stdout).unwrap()
}
