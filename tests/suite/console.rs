//! The console in a real browser, on a real agent with a real database.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::browser::{self, play, play_alone};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Database};

const READER_KEY: &str = "watcher-key-0123456789";
pub(super) const OPERATOR_KEY: &str = "operator-key-0123456789";
/// A source connection to a server that is not there.
pub(super) const DOWN: &str =
    "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = 1\nusername = \"reader\"\ndatabase = \"archive\"\n";

pub(super) fn task(id: &str, query: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "sales", "query": query, "batch_size": 100},
        "destination_config": {"type": "local", "path": id},
    })
}

/// A database with a table of orders; `None` where there is no server or no browser.
pub(super) async fn database() -> Option<Database> {
    if !browser::is_installed() {
        return None;
    }
    let database = postgres::server_if_installed().await?.create_database().await;
    database
        .execute(
            "CREATE TABLE orders AS SELECT i AS id, 'customer ' || i % 977 AS customer, \
             (ARRAY['new', 'paid', 'shipped'])[1 + i % 4] AS state, (i * 1.25)::numeric(12,2) AS total, \
             timestamp '2026-11-20' + i * interval '3 s' AS placed_at FROM generate_series(1, 50000) AS i",
        )
        .await;
    Some(database)
}

#[tokio::test]
async fn a_task_is_submitted_with_a_preview_and_watched_to_its_end() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let mut gate = Some(Gate::close(&database).await);
    let query = gated_query(900, 1000, 32);
    play("submit", &agent.url(""), &[("QUERY", &query)], async |word| {
        assert_eq!(word, "gate");
        gate.take().expect("it is opened once").open().await;
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_said_where_they_were_made() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    play_alone("mistakes", &agent, &[]).await;
}

#[tokio::test]
async fn a_failed_task_shows_its_remedy_and_is_retried() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    agent.submit(task("late", "SELECT * FROM late")).await;
    agent.wait_until("late", "failed").await;
    play("failure", &agent.url(""), &[], async |word| {
        assert_eq!(word, "table");
        database.execute("CREATE TABLE late AS SELECT 1 AS id").await;
    })
    .await;
}

#[tokio::test]
async fn a_running_task_is_cancelled_and_handling_is_stopped_and_started() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let _gate = endless(&agent, &database).await;
    play_alone("cancel", &agent, &[]).await;
}

#[tokio::test]
async fn people_sign_in_and_out_and_do_what_their_key_allows() {
    let Some(database) = database().await else { return };
    let agent = Place::new()
        .database(&database)
        .section("server.api_keys.watcher", &format!("key = {READER_KEY:?}\nscopes = \"read\""))
        .section(
            "server.api_keys.operator",
            &format!("key = {OPERATOR_KEY:?}\nscopes = \"read, submit, operate\""),
        )
        .start()
        .await;
    let submitted = agent
        .http()
        .post(agent.url("/tasks"))
        .bearer_auth(OPERATOR_KEY)
        .json(&task("one", "SELECT 1 AS one"));
    assert_eq!(submitted.send().await.unwrap().status(), 202);
    play_alone("scopes", &agent, &[("READER_KEY", READER_KEY), ("OPERATOR_KEY", OPERATOR_KEY)]).await;
    let log = eventually("the line about it", async || {
        let log = agent.log();
        log.contains("signed in").then_some(log)
    })
    .await;
    for key in [READER_KEY, OPERATOR_KEY] {
        assert!(!log.contains(key), "{log}");
    }
}

#[tokio::test]
async fn an_agent_that_takes_few_requests_locks_out_neither_people_nor_programs() {
    let Some(database) = database().await else { return };
    let agent = Place::new()
        .database(&database)
        .server("requests_per_minute = 60")
        .section(
            "server.api_keys.operator",
            &format!("key = {OPERATOR_KEY:?}\nscopes = \"read, submit, operate\""),
        )
        .start()
        .await;
    let with_key = |request: reqwest::RequestBuilder| request.bearer_auth(OPERATOR_KEY);
    let submitted = with_key(agent.http().post(agent.url("/tasks"))).json(&task("one", "SELECT 1 AS one"));
    assert_eq!(submitted.send().await.unwrap().status(), 202);
    // Not as often as the tests usually look: this program has a bucket of ten.
    while agent.ask_with_key(OPERATOR_KEY, "/tasks/one").await["status"] != "completed" {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    play("limited", &agent.url(""), &[("OPERATOR_KEY", OPERATOR_KEY)], async |word| {
        assert_eq!(word, "program");
        let answer = with_key(agent.http().get(agent.url("/tasks"))).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    })
    .await;
}

#[tokio::test]
async fn texts_of_others_stay_texts() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let hit = "<img src=x onerror=window.wasHit=1>";
    let mut hostile = task("hostile", &format!("SELECT \"{hit}\" FROM orders -- </script>"));
    hostile["destination_config"]["path"] = json!(hit);
    agent.submit(hostile).await;
    agent.wait_until("hostile", "failed").await;
    play_alone("hostile", &agent, &[]).await;
}

#[tokio::test]
async fn everything_can_be_done_with_the_keyboard() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let _gate = endless(&agent, &database).await;
    play_alone("keyboard", &agent, &[]).await;
}

#[tokio::test]
async fn no_page_breaks_a_rule_of_accessibility() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let _gate = endless(&agent, &database).await;
    agent.submit(task("done", "SELECT * FROM orders")).await;
    agent.submit(task("broken", "SELECT * FROM nowhere")).await;
    agent.wait_until("done", "completed").await;
    agent.wait_until("broken", "failed").await;
    play_alone("accessible", &agent, &[]).await;
}

/// Makes the pictures of docs/CONSOLE.md, which has the command. Without the variable
/// `CONSOLE_SCREENSHOTS` they go to a folder that is removed afterwards.
#[tokio::test]
async fn the_pictures_of_the_documentation_can_be_made() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).connection("source.archive", DOWN).start().await;
    let slow = "SELECT id, customer, total, repeat(md5(id::text), 4) AS payload, pg_sleep(0.0005)::text AS waited FROM orders CROSS JOIN generate_series(1, 20)";
    for day in 17..=20 {
        let mut orders = task(&format!("orders-2026-11-{day}"), "SELECT * FROM orders");
        orders["source_config"]["batch_size"] = json!(20_000);
        agent.submit(orders).await;
    }
    agent.submit(task("customers-by-state", "SELECT state, count(*) FROM order_states GROUP BY state")).await;
    let mut archive = task("orders-archive", "SELECT * FROM archive.orders WHERE year = 2025");
    archive["source_config"]["database"] = json!("archive");
    archive["max_attempts"] = json!(1);
    agent.submit(archive).await;
    agent.wait_until("orders-archive", "failed").await;
    agent.wait_until("orders-2026-11-20", "completed").await;
    let mut backfill = task("events-backfill", slow);
    backfill["destination_config"]["format"] = json!("csv");
    backfill["destination_config"]["compression"] = json!("none");
    backfill["destination_config"]["max_file_size"] = json!("256KiB");
    agent.submit(backfill).await;
    let wanted = postgres::setting("CONSOLE_SCREENSHOTS").map(PathBuf::from);
    let folder = wanted.clone().unwrap_or_else(|| agent.place.path().join("pictures"));
    fs::create_dir_all(&folder).unwrap();
    play_alone("screenshots", &agent, &[("SCREENSHOTS", folder.to_str().unwrap())]).await;
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let guide = fs::read_to_string(documentation.join("CONSOLE.md")).unwrap();
    for name in ["tasks", "running", "failed", "new", "narrow"] {
        assert!(folder.join(format!("{name}.png")).is_file(), "{name}");
        assert!(documentation.join(format!("console/{name}.png")).is_file(), "{name}");
        assert!(guide.contains(&format!("(console/{name}.png)")), "{name}");
    }
}

/// Submits a task that runs until its gate is opened or it is cancelled.
pub(super) async fn endless(agent: &Agent, database: &Database) -> Gate {
    let mut gate = Gate::close(database).await;
    agent.submit(task("endless", &gated_query(150, 200, 32))).await;
    gate.wait_for(1).await;
    gate
}
