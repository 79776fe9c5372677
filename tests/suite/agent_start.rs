//! Starts that fail say why, and nothing that the agent says has a secret in it.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::agent::s3_section;
use crate::support::agent::{Place, files_below};
use crate::support::postgres::{self, SCRAM_USER};
use crate::support::s3::{Bucket, server_address};

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once() {
    let place = Place::new()
        .application("workers = 0")
        .application("stop_grace = \"soon\"")
        .application("colour = \"blue\"")
        .connection(
            "source.sales",
            "kind = \"postgresql\"\nport = 70000\nusername = \"u\"\ndatabase = \"d\"\n",
        )
        .connection("target.lake", "kind = \"s3\"\n");
    let file = place.configuration();
    let finished = place.run(&["run", "--config", file.to_str().unwrap()]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for key in [
        "application.workers",
        "application.stop_grace",
        "application.colour",
        "connections.source.sales.port",
        "connections.target.lake.bucket_name",
    ] {
        assert!(finished.stderr.contains(key), "{key} is missing in {}", finished.stderr);
    }
    assert_eq!(finished.stdout, "");

    let finished = place.run(&["run", "--config", "not-there.toml"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("not-there.toml"), "{finished:?}");
    let finished = place.run(&["run", "--wrokers", "3"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("--workers"), "{finished:?}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    let file = place.configuration();
    let port = address.port().to_string();
    let finished = place.run(&["run", "--config", file.to_str().unwrap(), "--port", &port]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(&address.to_string()), "{finished:?}");
    assert!(finished.stderr.contains("--port"), "{finished:?}");
    assert!(!place.path().join("data").exists(), "nothing was touched");
}

#[tokio::test]
async fn a_second_agent_on_the_same_queue_is_told_who_holds_it() {
    let mut agent = Place::new().start().await;
    let file = agent.place.configuration();
    let arguments = ["run", "--port", "0", "--config", file.to_str().unwrap()];
    let finished = agent.place.run(&arguments).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(&format!("process {}", agent.pid())), "{finished:?}");
    assert!(finished.stderr.contains("data_directory"), "{finished:?}");
    assert_eq!(agent.ask("/live").await.status, 200, "the first one goes on");
    agent.kill().await;
    // The lock of a killed agent is nobody's.
    agent.start_again().await;
    assert_eq!(agent.ask("/live").await.status, 200);
}

/// Texts that may be nowhere; the second one as it looks in a URL.
const SECRETS: [&str; 6] = [
    SCRAM_USER.1,
    "w%C3%B6rd%401",
    "planted-wrong-password",
    "planted-store-secret",
    "planted-refused-secret",
    "planted-session-token",
];

fn assert_has_no_secret(text: &str, place: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{place} has {secret:?}");
    }
}

#[tokio::test]
async fn no_secret_and_no_value_of_a_cell_leaves_the_agent_but_in_files() {
    const CELL: &str = "cell-4711";
    const LITERAL: &str = "literal-4712";
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute(&format!("CREATE TABLE cells AS SELECT '{CELL}'::text AS cell")).await;
    let bucket = Bucket::new().await;
    let (user, password) = SCRAM_USER;
    let source = |password: &str| {
        format!(
            "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = {user:?}\npassword = {password:?}\n\
             database = {:?}\n",
            server.port(),
            database.name()
        )
    };
    let refused = format!(
        "{}session_token = \"planted-session-token\"\n",
        s3_section(&bucket, server_address(), "planted-refused-secret")
            .replace(&bucket.name, "no-such-bucket")
    );
    let mut agent = Place::new()
        .connection("source.sales", &source(password))
        .connection("source.locked", &source("planted-wrong-password"))
        .connection("target.s3", &s3_section(&bucket, server_address(), "planted-store-secret"))
        .connection("target.missing", &refused)
        .argument("--debug")
        .start()
        .await;

    let task = |id: &str, source: &str, query: &str, target: &str| {
        let kind = if target == "local" { "local" } else { "s3" };
        json!({
            "id": id,
            "source_config": {"database": source, "query": query},
            "destination_config": {"type": kind, "connection": target, "path": id},
        })
    };
    let cast = format!("SELECT cell::integer FROM cells WHERE cell <> '{LITERAL}'");
    let literal =
        format!("SELECT CASE WHEN cell IS NOT NULL THEN ('{LITERAL}' || '')::integer END AS n FROM cells");
    for (id, source, query, target, state) in [
        ("good-local", "sales", "SELECT cell FROM cells", "local", "completed"),
        ("good-s3", "sales", "SELECT cell FROM cells", "s3", "completed"),
        ("cast", "sales", &cast, "local", "failed"),
        ("literal", "sales", &literal, "local", "failed"),
        ("column", "sales", "SELECT not_there FROM cells", "local", "failed"),
        ("locked", "locked", "SELECT 1", "local", "failed"),
        ("missing", "sales", "SELECT 1", "missing", "failed"),
    ] {
        agent.submit(task(id, source, query, target)).await;
        let ended = agent.wait_until(id, state).await;
        // The task itself is shown to those who ask for it; what went wrong has nothing of it.
        let attempts = ended["attempts"].to_string();
        assert!(!attempts.contains(CELL) && !attempts.contains(LITERAL), "{attempts}");
    }
    agent.post("/tasks", Some(&task("x", "sales", "SELECT 'literal-4712", "local"))).await.problem(422);
    for path in ["/health", "/ready", "/metrics", "/openapi.json", "/tasks", "/get_tasks_count"] {
        agent.ask(path).await;
    }
    let health: Value = agent.get("/health").await;
    assert_ne!(health["database_connections"]["locked"], "connected");
    assert_ne!(health["destination_connections"]["missing"], "connected");

    assert_has_no_secret(&agent.command_line(), "the command line");
    agent.signal("TERM");
    agent.exit().await;
    assert_has_no_secret(&agent.answers_seen(), "an answer");
    let log = agent.log();
    assert_has_no_secret(&log, "the log");
    assert!(log.contains(" DEBUG "), "the log has its details: {log}");
    assert!(!log.contains(CELL) && !log.contains(LITERAL), "{log}");
    for file in files_below(agent.place.path()) {
        if file != "configuration.toml" {
            let content = fs::read(agent.place.path().join(&file)).unwrap();
            assert_has_no_secret(&String::from_utf8_lossy(&content), &file);
        }
    }
}
