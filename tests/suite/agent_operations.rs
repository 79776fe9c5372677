//! What watches over the running program: log files, history, level, reload, guards, systemd, idleness.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::support::agent::{Agent, PATIENCE, Place, eventually};
use crate::support::otlp::{Collector, number, text};

/// A place with the source `shop`, a database of a few rows.
pub(super) async fn place() -> Place {
    let place = Place::new();
    let file = place.path().join("shop.sqlite");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows =
        "CREATE TABLE item (id INTEGER NOT NULL, name TEXT); INSERT INTO item VALUES (1, 'a'), (2, 'b')";
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    place.connection("source.shop", &format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string()))
}

pub(super) fn task(id: &str, query: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "shop", "query": query},
        "destination_config": {"type": "local", "path": id},
        "max_attempts": 1,
    })
}

pub(super) const ITEMS: &str = "SELECT id, name FROM item";
/// Rows for as long as anybody reads them.
const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";

fn log_files(place: &Place) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.path().join("data/logs")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn put_level(agent: &Agent, body: &Value) -> Value {
    let answer = agent.try_request(Method::PUT, "/log_level", Some(body)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn every_line_of_a_task_has_its_task_and_attempt() {
    let mut agent = place().await.section("log", "format = \"json\"").start().await;
    agent.submit(task("good", ITEMS)).await;
    agent.submit(task("bad", "SELECT nothing FROM item")).await;
    agent.wait_until("good", "completed").await;
    agent.wait_until("bad", "failed").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0));
    let file = agent.place.path().join("data/logs/data_exchange_agent.log");
    // The files have what stderr has, and both are JSON.
    for text in [fs::read_to_string(file).unwrap(), agent.log()] {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (message, id) in [("task completed", "good"), ("task failed", "bad")] {
            let line = lines.iter().find(|line| line["message"] == message).expect(message);
            assert_eq!(
                (&line["span"]["task.id"], &line["span"]["attempt"]),
                (&json!(id), &json!(1)),
                "{line}"
            );
            assert_eq!(line["span"]["task_source"], "local");
        }
        assert!(lines.iter().any(|line| line["message"] == "the agent has stopped"));
    }
}

#[tokio::test]
async fn runs_and_logs_outlive_the_agent() {
    let mut agent = place().await.start().await;
    agent.submit(task("good", ITEMS)).await;
    agent.submit(task("bad", "SELECT nothing FROM item")).await;
    agent.wait_until("good", "completed").await;
    agent.wait_until("bad", "failed").await;
    agent.submit(task("long", ENDLESS)).await;
    eventually("a run", async || {
        let runs = agent.get("/runs?task=long&status=running").await;
        (runs["runs"][0]["rows"].is_u64()).then_some(())
    })
    .await;
    agent.kill().await;
    agent.start_again().await;
    let good = agent.get("/runs?task=good").await["runs"][0].clone();
    assert_eq!((&good["status"], &good["rows"], &good["files"]), (&json!("completed"), &json!(2), &json!(1)));
    let bad = agent.get("/runs?status=failed").await["runs"][0].clone();
    assert_eq!((&bad["task"], &bad["error"]["kind"]), (&json!("bad"), &json!("request")));
    let long = agent.get("/runs?task=long&status=interrupted").await["runs"].clone();
    assert_eq!(long.as_array().unwrap().len(), 1, "{long}");
    agent.delete("/tasks/long").await;
    let log = agent.get("/tasks/bad/logs").await;
    let messages: Vec<&str> =
        log["lines"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!((messages[0], messages[messages.len() - 1]), ("attempt begins", "task failed"));
    assert_eq!(log["next"], Value::Null);
}

#[tokio::test]
async fn log_files_follow_each_other_and_the_oldest_goes() {
    let place = place().await.section("log", "max_file_size = \"2 KB\"\nmax_files = 2");
    let mut agent = place.start().await;
    let expected = ["data_exchange_agent.log", "data_exchange_agent.log.1", "data_exchange_agent.log.2"];
    let mut number = 0;
    eventually("three files", async || {
        agent.submit(task(&format!("t{number}"), ITEMS)).await;
        number += 1;
        (log_files(&agent.place) == expected).then_some(())
    })
    .await;
    for _ in 0..20 {
        agent.submit(task(&format!("t{number}"), ITEMS)).await;
        number += 1;
    }
    agent.wait_until_idle().await;
    // Lines are written by a thread of their own: nothing moves any more after the end.
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0));
    assert_eq!(log_files(&agent.place), expected);
    for name in expected {
        let bytes = fs::metadata(agent.place.path().join("data/logs").join(name)).unwrap().len();
        assert!(bytes <= 2_000, "{name} has {bytes}");
    }
}

#[tokio::test]
async fn the_level_of_the_log_changes_while_the_agent_runs() {
    let agent = place().await.start().await;
    let answer = put_level(&agent, &json!({"level": "warn"})).await;
    assert_eq!((&answer["level"], &answer["configured"]), (&json!("warn"), &json!("info")));
    agent.submit(task("silent", ITEMS)).await;
    agent.wait_until("silent", "completed").await;
    put_level(&agent, &json!({"level": "info", "for": 1})).await;
    agent.submit(task("heard", ITEMS)).await;
    agent.wait_until("heard", "completed").await;
    let log = eventually("the second task in the log", async || {
        let log = agent.log();
        log.contains("task completed").then_some(log)
    })
    .await;
    assert!(!log.contains("silent") && log.contains("heard"), "{log}");
    assert_eq!(agent.get("/tasks/silent/logs").await["lines"], json!([]), "the history has what the log has");
}

#[tokio::test]
async fn a_new_configuration_changes_what_can_change_and_names_the_rest() {
    let mut agent = place().await.start().await;
    agent.place.set_application("workers = 9");
    agent.place.replace_sections(&[
        ("log", "level = \"debug\""),
        ("server.api_keys.operator", "key = \"0123456789abcdef\""),
    ]);
    agent.place.configuration();
    agent.signal("HUP");
    let log = eventually("the configuration to be read", async || {
        let log = agent.log();
        log.contains("the configuration was read again").then_some(log)
    })
    .await;
    assert!(log.contains("changed=\"server.api_keys, log.level\""), "{log}");
    assert!(log.contains("needs_restart=\"application.workers\""), "{log}");
    assert_eq!(agent.ask("/tasks").await.status, 401, "there is an API key now");

    // A file with problems changes nothing, and every problem is told.
    agent.place.set_application("workers = 0");
    agent.place.replace_sections(&[("log", "level = \"loud\"")]);
    agent.place.configuration();
    agent.signal("HUP");
    let log = eventually("the problems", async || {
        let log = agent.log();
        log.contains("the new configuration has problems").then_some(log)
    })
    .await;
    assert!(log.contains("application.workers is 0"), "{log}");
    assert!(log.contains("log.level is the string"), "{log}");
    assert_eq!(agent.ask("/tasks").await.status, 401, "the key is still there");
}

#[tokio::test]
async fn changes_and_refusals_leave_a_trace() {
    const KEY: &str = "0123456789abcdef";
    let place = place().await.section("server.api_keys.operator", &format!("key = {KEY:?}")).key(KEY);
    let agent = place.start().await;
    agent.submit(task("good", ITEMS)).await;
    agent.wait_until("good", "completed").await;
    assert_eq!(agent.post("/stop", None).await.status, 200);
    assert_eq!(agent.delete("/tasks/good").await.status, 409);
    let wrong = agent.http().get(agent.url("/tasks")).header("x-api-key", "fedcba9876543210");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let foreign = agent.http().post(agent.url("/stop")).header("origin", "http://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let lines = ["POST path=\"/tasks\"", "POST path=\"/stop\"", "DELETE path=\"/tasks/good\""].map(|end| {
        format!("asked for by a caller of the API api_key=\"operator\" peer=127.0.0.1 method={end}")
    });
    let log = eventually("a line for each change", async || {
        let log = agent.log();
        lines.iter().all(|line| log.contains(line)).then_some(log)
    })
    .await;
    assert!(!log.contains("method=GET"), "whoever only looks is not written down\n{log}");
    let metrics = agent.ask("/metrics").await.text;
    for (status, count) in [(401, 1), (403, 1), (421, 0), (429, 0)] {
        let line = format!("data_exchange_agent_api_refusals_total{{status=\"{status}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn a_log_file_that_was_moved_away_is_made_again_after_a_hangup() {
    let mut agent = place().await.start().await;
    let logs = agent.place.path().join("data/logs");
    let file = logs.join("data_exchange_agent.log");
    eventually("a log file", async || file.exists().then_some(())).await;
    fs::rename(&file, logs.join("moved")).unwrap();
    agent.signal("HUP");
    eventually("a new log file", async || file.exists().then_some(())).await;
}

#[tokio::test]
async fn no_task_is_started_while_disk_or_memory_is_short_and_then_they_go_on() {
    for (key, short) in [("min_free_disk", "disk"), ("min_available_memory", "memory")] {
        let mut agent = place().await.section("guards", &format!("{key} = \"1000 TiB\"")).start().await;
        let ready = agent.ask("/ready").await;
        assert_eq!(ready.status, 503, "{key}");
        let reason = ready.json()["reason"].as_str().unwrap().to_owned();
        let names_the_bound = reason.contains(&format!("guards.{key}"));
        assert!(reason.contains("no new task is started") && names_the_bound, "{reason}");
        let health = agent.get("/health").await;
        // How much is free may have changed since.
        let held = health["held"].as_str().unwrap();
        assert_eq!(health["status"], "healthy");
        assert!(held.contains(&format!("guards.{key}")), "{health}");
        agent.submit(task("held", ITEMS)).await;
        let metrics = agent.ask("/metrics").await.text;
        for line in [
            &*format!("data_exchange_agent_tasks_held{{short=\"{short}\"}} 1"),
            "data_exchange_agent_disk_free_bytes{place=\"the target local\"}",
            "data_exchange_agent_queue_depth 1",
        ] {
            assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
        assert_eq!(agent.task("held").await["status"], "queued");
        agent.place.replace_sections(&[("guards", &format!("{key} = 0"))]);
        agent.place.configuration();
        agent.signal("HUP");
        agent.wait_until("held", "completed").await;
        assert_eq!(agent.ask("/ready").await.status, 200, "{key}");
    }
}

#[tokio::test]
async fn a_stranger_is_told_what_is_short_and_not_where() {
    const KEY: &str = "0123456789abcdef";
    let place = place()
        .await
        .section("guards", "min_free_disk = \"1000 TiB\"")
        .section("server.api_keys.operator", &format!("key = {KEY:?}"))
        .section("server.api_keys.bounded", "key = \"fedcba9876543210\"\nsources = \"shop\"")
        .key(KEY);
    let agent = place.start().await;
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = async |path: &str, key: Option<&str>| {
        let mut request = stranger.get(agent.url(path)).timeout(PATIENCE);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer[if path == "/ready" { "reason" } else { "held" }].as_str().unwrap().to_owned()
    };
    for path in ["/ready", "/health"] {
        for key in [None, Some("fedcba9876543210")] {
            assert_eq!(told(path, key).await, "no new task is started: a disk is short", "{path} {key:?}");
        }
        let reason = told(path, Some(KEY)).await;
        assert!(reason.contains("guards.min_free_disk"), "{path}: {reason}");
    }
}

/// What systemd heard, until it hears `expected`.
pub(super) fn listen(socket: &UnixDatagram, expected: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 1_024];
    loop {
        let length =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {expected} in {heard:?}"));
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let is_expected = message.lines().any(|line| line == expected);
        heard.push(message);
        if is_expected {
            return heard;
        }
    }
}

pub(super) fn systemd(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_the_agent_is_ready_alive_reloads_and_stops() {
    let place = place().await;
    let path = place.path().join("notify");
    let socket = systemd(&path);
    let place =
        place.environment("NOTIFY_SOCKET", path.to_str().unwrap()).environment("WATCHDOG_USEC", "1000000");
    let mut agent = place.start().await;
    assert!(listen(&socket, "READY=1")[0].contains("STATUS=Listening on 127.0.0.1:"));
    for _ in 0..3 {
        listen(&socket, "WATCHDOG=1");
    }
    agent.signal("HUP");
    listen(&socket, "RELOADING=1");
    listen(&socket, "READY=1");
    agent.signal("TERM");
    listen(&socket, "STOPPING=1");
    assert_eq!(agent.exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_agent_with_nothing_to_do_ends_when_it_may() {
    let mut agent = place().await.section("idle_shutdown", "minutes = 1").start().await;
    agent.submit(task("first", ITEMS)).await;
    agent.wait_until("first", "completed").await;
    // A minute without a task; every look at the agent is no work.
    let ended = tokio::time::timeout(PATIENCE + Duration::from_secs(60), async {
        loop {
            if agent.try_request(Method::GET, "/live", None).await.is_err() {
                return agent.exit().await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await
    .expect("it ends by itself");
    assert_eq!(ended.code(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("there was nothing to do for so long"), "{}", agent.log());
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_collector_gets_the_trace_of_a_task_and_the_metrics() {
    let collector = Collector::start().await;
    let lines = format!(
        "endpoint = {:?}\nheaders = \"authorization=Bearer collect-secret\"\nservice_name = \"agent-7\"\n\
         metrics_interval = \"1s\"",
        collector.url()
    );
    let mut agent = place().await.section("otlp", &lines).start().await;
    // One trace by the header, another by the task itself, which wins.
    let other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut own = task("own", "SELECT nothing FROM item");
    own["traceparent"] = json!(other);
    let tasks = json!([task("traced", ITEMS), own]);
    let request = agent.http().post(agent.url("/tasks"));
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).json(&tasks);
    assert_eq!(request.send().await.unwrap().status(), 202);
    agent.wait_until("traced", "completed").await;
    let shown = agent.wait_until("own", "failed").await;
    assert_eq!(shown["request"]["traceparent"], other);
    // Which trace watches a task does not make it another one.
    let again = agent.post("/tasks", Some(&task("traced", ITEMS))).await;
    assert_eq!(again.status, 200, "{again:?}");

    let attempts = eventually("metrics", async || collector.metric("data_exchange_agent_attempts")).await;
    assert!(matches!(attempts.data, Some(metric::Data::Sum(_))), "{attempts:?}");
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());

    // The last spans were sent before the agent ended.
    let spans = collector.spans();
    let attempt = |id: &str| {
        let is_wanted =
            |span: &&Span| span.name == "attempt" && text(&span.attributes, "task.id") == Some(id);
        spans.iter().find(is_wanted).unwrap_or_else(|| panic!("{id} in {spans:#?}"))
    };
    let traced = attempt("traced");
    assert_eq!(
        (hexadecimal(&traced.trace_id), hexadecimal(&traced.parent_span_id)),
        (TRACE.into(), PARENT.into())
    );
    assert_eq!(text(&traced.attributes, "outcome"), Some("completed"));
    assert_eq!(number(&traced.attributes, "rows"), Some(2));
    for stage in ["plan", "extract", "commit", "finish"] {
        let is_below = |span: &&Span| span.name == stage && span.parent_span_id == traced.span_id;
        let span = spans.iter().find(is_below).unwrap_or_else(|| panic!("{stage} in {spans:#?}"));
        assert_eq!(span.trace_id, traced.trace_id);
    }
    let failed = attempt("own");
    assert_eq!(hexadecimal(&failed.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(failed.status.as_ref().unwrap().code, 2, "an error");
    assert!(spans.iter().all(|span| !format!("{span:?}").contains("SELECT")), "no span has a statement");
    assert!(collector.services().iter().all(|name| name == "agent-7"));
    assert!(collector.authorizations().iter().all(|header| header == "Bearer collect-secret"));
    assert!(!collector.authorizations().is_empty());
    assert!(!agent.log().contains("collect-secret"), "{}", agent.log());
}

#[tokio::test]
async fn a_collector_that_is_away_delays_nothing() {
    let section = "endpoint = \"http://127.0.0.1:9\"\nmetrics_interval = \"1s\"\ntimeout = \"1s\"";
    let mut agent = place().await.section("otlp", section).start().await;
    agent.submit(task("done", ITEMS)).await;
    agent.wait_until("done", "completed").await;
    eventually("a warning", async || {
        agent.log().contains("could not be sent to the collector").then_some(())
    })
    .await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
}
