//! What the operations guide says that an agent in trouble shows: the agent shows it.

use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::{document, place};
use crate::support::agent::{Place, eventually};
use crate::support::document::is_line;

/// The first cells of the table under a heading, without what marks code.
fn first_cells(document: &str, heading: &str) -> Vec<String> {
    let section = document.split(&format!("\n{heading}\n")).nth(1).expect("the heading is there");
    let lines =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines.skip(2).map(|line| line.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

/// The one of the table that this is, with what the document leaves out around it.
fn assert_says(table: &mut Vec<String>, beginning: &str, said: &str) {
    let place = table.iter().position(|line| line.contains(beginning));
    let expected = table.remove(place.unwrap_or_else(|| panic!("the document does not have: {beginning}")));
    let line = format!("...{expected}...");
    assert!(
        said.lines().any(|found| is_line(&line, found)),
        "the document says\n{expected}\nand the agent\n{said}"
    );
}

#[tokio::test]
async fn an_agent_that_does_not_start_says_what_the_operations_guide_lists() {
    let document = document("docs/OPERATIONS.md");
    let mut table = first_cells(&document, "### The agent does not start");
    let wrong = async |place: &Place, arguments: &[&str]| {
        let file = place.configuration();
        let mut all = vec!["run", "--config", file.to_str().unwrap()];
        all.extend(arguments);
        let finished = place.run(&all).await;
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        finished.stderr
    };
    let said = wrong(&Place::new().application("workers = 0"), &[]).await;
    assert_says(&mut table, "application.workers is 0", &said);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_says(&mut table, "choose another --port", &wrong(&Place::new(), &["--port", &port]).await);

    let mut agent = Place::new().start().await;
    assert_says(&mut table, "has open", &wrong(&agent.place, &["--port", "0"]).await);
    agent.signal("TERM");
    agent.exit().await;

    let file = agent.place.path().join("data/queue.sqlite");
    let mut queue =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut queue).await.unwrap();
    queue.close().await.unwrap();
    let said = wrong(&agent.place, &["--port", "0"]).await;
    assert_says(&mut table, "of a newer version", &said);

    let small = Place::new().application("workers = 4").application("memory_limit = \"64 MiB\"");
    assert_says(&mut table, "application.memory_limit", &wrong(&small, &["--port", "0"]).await);
    assert_eq!(table, [""; 0], "nobody has seen an agent say this");
}

#[tokio::test]
async fn what_the_operations_guide_looks_at_is_there() {
    let document = document("docs/OPERATIONS.md");
    let section = document.split("\n### Tasks wait and no worker takes them\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let says = |look: &str, word: &str| {
        let row = rows.iter().find(|row| row[1] == look && row[2].contains(word));
        row.unwrap_or_else(|| panic!("no row for {look}: {word}"))[2].trim_matches('`').to_owned()
    };
    let held = place().await.section("guards", "min_free_disk = \"1000 TiB\"").start().await;
    let ready = held.ask("/ready").await.json();
    let expected = says("`GET /ready`", "no new task").replace("MiB", "...");
    let reason = ready["reason"].as_str().unwrap().to_owned();
    assert!(is_line(&format!("{expected}..."), &reason), "the document says {expected}, the agent {reason}");
    assert_eq!(held.post("/stop", None).await.status, 200);
    let health = held.get("/health").await;
    let shown = health.to_string().replace(':', ": ");
    assert!(shown.contains(&says("`GET /health`", "handling_tasks")), "{shown}");
    assert!(says("`GET /health`", "busy").contains("\"total\""), "the document compares the two");
    assert!(health["workers"]["busy"].is_u64() && health["workers"]["total"].is_u64(), "{health}");
    let task = json!({
        "id": "t",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "t"},
    });
    held.submit(task).await;
    assert!(held.task("t").await.as_object().unwrap().contains_key("next_attempt_at"));
    assert_eq!(held.get("/runs?task=t").await["runs"], json!([]));
    assert_eq!(held.get("/runs?status=interrupted").await["runs"], json!([]));
    assert_eq!(held.ask("/tasks/t/logs").await.status, 200);

    let message = says("the log", "leased");
    let away = place()
        .await
        .section("task_source.api", "base_url = \"http://127.0.0.1:9\"\nkey = \"a-key-of-the-other-side\"\n")
        .application("task_fetch_interval = 1")
        .start()
        .await;
    eventually(&format!("{message} in the log"), async || away.log().contains(&message).then_some(())).await;
}
