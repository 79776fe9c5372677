//! The remote API as a task source, against a small server that plays it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpListener;

use crate::support::agent::{Agent, Place, eventually};
use crate::support::browser;
use crate::support::folder::{Folder, replace};

/// What the API remembers.
#[derive(Default)]
struct Seen {
    /// Answers to the next polls, without what is reported by then; afterwards there is nothing.
    polls: VecDeque<(StatusCode, Value)>,
    /// Parameters and key of every poll.
    asked: Vec<(HashMap<String, String>, Option<String>)>,
    /// Status of the next reports of a task; afterwards 200.
    report_answers: BTreeMap<String, VecDeque<StatusCode>>,
    /// The only key that is accepted, when there is one.
    key: Option<String>,
    /// The same after the next poll that hands something out.
    key_afterwards: Option<String>,
    /// Polls are not answered while this is true.
    holds_polls: bool,
    /// Polls that wait for that.
    held: usize,
    /// Calls that were refused for their key.
    refused: usize,
    /// Every report in order: task, verb, message.
    reports: Vec<(String, String, Option<String>)>,
}

impl Seen {
    fn refuses(&mut self, key: Option<&str>) -> bool {
        let is_refused = self.key.as_deref().is_some_and(|wanted| key != Some(&format!("Bearer {wanted}")));
        self.refused += usize::from(is_refused);
        is_refused
    }
}

struct Api {
    seen: Arc<Mutex<Seen>>,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

type Shared = Arc<Mutex<Seen>>;

fn locked(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn tasks(
    State(seen): State<Shared>,
    Query(parameters): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let key = headers.get("authorization").and_then(|key| key.to_str().ok()).map(str::to_owned);
    locked(&seen).held += 1;
    while locked(&seen).holds_polls {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut seen = locked(&seen);
    seen.held -= 1;
    if seen.refuses(key.as_deref()) {
        return (StatusCode::UNAUTHORIZED, Json(Value::Null));
    }
    seen.asked.push((parameters, key));
    let Some((status, mut body)) = seen.polls.pop_front() else {
        return (StatusCode::OK, Json(json!({"tasks": []})));
    };
    if let Some(tasks) = body.get_mut("tasks").and_then(Value::as_array_mut) {
        let is_reported = |id: &Value| {
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            seen.reports.iter().any(|(reported, ..)| *reported == id)
        };
        tasks.retain(|task| !is_reported(&task["id"]));
    }
    if let Some(key) = seen.key_afterwards.take() {
        seen.key = Some(key);
    }
    (status, Json(body))
}

/// Nothing is at the address itself, and who asks has to have a key there too.
async fn base(State(seen): State<Shared>, headers: HeaderMap) -> StatusCode {
    let key = headers.get("authorization").and_then(|key| key.to_str().ok());
    if locked(&seen).refuses(key) { StatusCode::UNAUTHORIZED } else { StatusCode::NOT_FOUND }
}

async fn report(
    State(seen): State<Shared>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    body: Option<Json<Value>>,
) -> StatusCode {
    let message = body.and_then(|Json(body)| body["error_message"].as_str().map(str::to_owned));
    let mut seen = locked(&seen);
    let key = headers.get("authorization").and_then(|key| key.to_str().ok());
    if seen.refuses(key) {
        return StatusCode::UNAUTHORIZED;
    }
    let answer = seen.report_answers.get_mut(&id).and_then(VecDeque::pop_front);
    seen.reports.push((id, verb, message));
    answer.unwrap_or(StatusCode::OK)
}

impl Api {
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
    async fn start() -> Self {
        let seen = Shared::default();
        let router = Router::new()
            .route("/base", get(base))
            .route("/base/tasks", get(tasks))
            .route("/base/tasks/{id}/{verb}", put(report))
            .with_state(Arc::clone(&seen));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { seen, address, server }
    }

    fn hand_out(&self, tasks: Value) {
        locked(&self.seen).polls.push_back((StatusCode::OK, json!({"tasks": tasks})));
    }

    /// Reports of a task, without their messages.
    fn reports(&self, id: &str) -> Vec<String> {
        let seen = locked(&self.seen);
        seen.reports.iter().filter(|report| report.0 == id).map(|report| report.1.clone()).collect()
    }

    fn message(&self, id: &str) -> String {
        let seen = locked(&self.seen);
        seen.reports.iter().find(|report| report.0 == id).unwrap().2.clone().unwrap()
    }

    /// An agent that asks this API, and has a source `numbers` of three rows.
    async fn place(&self) -> Place {
        self.place_with_key("top-secret-key").await
    }

    async fn place_with_key(&self, key: &str) -> Place {
        let place = Place::new();
        let file = place.path().join("source.sqlite");
        let mut database: SqliteConnection =
            SqliteConnectOptions::new().filename(&file).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE numbers (id INTEGER); INSERT INTO numbers VALUES (1), (2), (3)")
            .execute(&mut database)
            .await
            .unwrap();
        database.close().await.unwrap();
        let base =
            format!("base_url = \"http://{}/base/\"\nkey = {key:?}\nagent_id = \"agent 1\"\n", self.address);
        place.application("task_fetch_interval = 1").section("task_source.api", &base).connection(
            "source.numbers",
            &format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string()),
        )
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn flat(id: Value, sql: &str) -> Value {
    json!({"id": id, "engine": "numbers", "database": null, "schema": "", "statement": sql, "source_type": "jdbc",
        "upload_type": "local", "upload_path": "out", "suggested_batch_size": 50_000})
}

async fn until_reported(api: &Api, id: &str, reports: &[&str], agent: &Agent) {
    let what = format!("task {id} to be reported as {reports:?}");
    eventually(&what, async || {
        let found = api.reports(id);
        assert!(found.len() <= reports.len(), "{found:?}\n{}", agent.log());
        (found == reports).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tasks_of_the_remote_api_run_beside_those_of_the_local_queue() {
    let api = Api::start().await;
    api.hand_out(json!([
        flat(json!(42), "SELECT * FROM numbers"),
        flat(json!("x-1"), "SELECT * FROM numbers")
    ]));
    let mut agent = api.place().await.application("affinity = \"blue & green\"").start().await;
    until_reported(&api, "42", &["complete"], &agent).await;
    until_reported(&api, "x-1", &["complete"], &agent).await;
    let local = json!({"id": "42", "source_config": {"database": "numbers", "table": "numbers"},
        "destination_config": {"type": "local", "path": "local"}});
    agent.submit(local).await;
    agent.wait_until("42", "completed").await;
    assert_eq!(
        agent.visible_files(),
        [
            "local/task_42_result_001.parquet",
            "out/task_42_result_001.parquet",
            "out/task_x-1_result_001.parquet"
        ]
    );
    let (parameters, key) = locked(&api.seen).asked[0].clone();
    assert_eq!(parameters["agent_id"], "agent 1");
    assert_eq!(parameters["group_id"], "blue & green");
    assert_eq!(key.as_deref(), Some("Bearer top-secret-key"));
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert!(!agent.log().contains("top-secret-key"));
}

#[tokio::test]
async fn people_see_runs_and_log_of_tasks_of_the_remote_api_in_the_console() {
    if !browser::is_installed() {
        return;
    }
    let api = Api::start().await;
    api.hand_out(json!([
        flat(json!(42), "SELECT * FROM numbers"),
        flat(json!("2"), "SELECT * FROM missing")
    ]));
    let agent = api.place().await.start().await;
    until_reported(&api, "42", &["complete"], &agent).await;
    until_reported(&api, "2", &["fail"], &agent).await;
    browser::play_alone("foreign", &agent, &[]).await;
}

#[tokio::test]
async fn more_tasks_than_were_asked_for_wait_and_come_only_once() {
    let api = Api::start().await;
    let tasks: Vec<Value> = (0..20).map(|id| flat(json!(id), "SELECT * FROM numbers")).collect();
    // The API hands out what is unfinished, again and again.
    for _ in 0..3 {
        api.hand_out(json!(tasks));
    }
    let agent = api.place().await.application("workers = 2").start().await;
    for id in 0..20 {
        eventually("every task to be complete", async || {
            (!api.reports(&id.to_string()).is_empty()).then_some(())
        })
        .await;
    }
    assert_eq!(agent.visible_files().len(), 20);
    for id in 0..20 {
        assert_eq!(api.reports(&id.to_string()), ["complete"], "{id}");
    }
}

#[tokio::test]
async fn a_task_that_nobody_understands_and_one_that_fails_are_failed_with_the_reason() {
    let api = Api::start().await;
    api.hand_out(json!([
        {"id": 1, "engine": "nobody", "upload_type": "tape"},
        flat(json!("2"), "SELECT * FROM missing"),
        {"engine": "numbers"},
        flat(json!("3/../4"), "SELECT * FROM numbers"),
    ]));
    let agent = api.place().await.start().await;
    until_reported(&api, "1", &["fail"], &agent).await;
    until_reported(&api, "2", &["fail"], &agent).await;
    until_reported(&api, "3/../4", &["fail"], &agent).await;
    let message = api.message("1");
    assert!(
        ["`/statement`: missing", "`/upload_type`", "`/upload_path`"]
            .iter()
            .all(|part| message.contains(part))
    );
    assert!(api.message("2").contains("no such table"), "{}", api.message("2"));
    assert!(api.message("3/../4").contains("1 to 128 characters"));
    eventually("the one without id to be logged", async || {
        agent.log().contains("without an id").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_completion_is_repeated_until_the_api_takes_it_and_never_failed() {
    let api = Api::start().await;
    let trouble = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS];
    locked(&api.seen).report_answers.insert("1".to_owned(), trouble.into());
    api.hand_out(json!([flat(json!(1), "SELECT * FROM numbers")]));
    let agent = api.place().await.start().await;
    until_reported(&api, "1", &["complete"; 4], &agent).await;
}

#[tokio::test]
async fn a_task_that_is_not_ours_any_more_is_dropped() {
    let api = Api::start().await;
    locked(&api.seen).report_answers.insert("1".to_owned(), [StatusCode::CONFLICT].into());
    api.hand_out(json!([flat(json!(1), "SELECT * FROM numbers")]));
    let agent = api.place().await.start().await;
    until_reported(&api, "1", &["complete"], &agent).await;
    eventually("it to be logged", async || agent.log().contains("the lease was lost").then_some(())).await;
}

#[tokio::test]
async fn once_drains_the_api_and_gives_up_one_that_refuses_the_key() {
    for (answer, code) in [
        ((StatusCode::OK, json!({"tasks": [flat(json!(1), "SELECT * FROM numbers")]})), 0),
        ((StatusCode::UNAUTHORIZED, json!({})), 1),
    ] {
        let api = Api::start().await;
        locked(&api.seen).polls.push_back(answer);
        let place = api.place().await;
        let configuration = place.configuration();
        let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
        let finished = place.run(&arguments).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_eq!(finished.stderr.contains("Check task_source.api.key."), code == 1, "{finished:?}");
        assert_eq!(api.reports("1").len(), usize::from(code == 0));
    }
}

#[tokio::test]
async fn once_tries_local_tasks_to_their_end_and_counts_those_that_failed() {
    let place = Place::new();
    let configuration = place.configuration();
    let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // Tasks that wait from an earlier life are run, and one that fails makes the exit code.
    let connection = "kind = \"sqlite\"\npath = \"/nowhere/at/all\"\n";
    let mut agent = place.connection("source.gone", connection).start().await;
    agent.post("/stop", None).await;
    agent
        .submit(json!({"source_config": {"database": "gone", "table": "numbers"},
            "destination_config": {"type": "local", "path": "out"}, "max_attempts": 1}))
        .await;
    agent.kill().await;
    let finished = agent.place.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[tokio::test]
async fn a_key_that_is_replaced_while_a_task_runs_is_taken_up_and_nothing_is_lost() {
    let api = Api::start().await;
    let folder = Folder::new();
    let file = folder.path().join("key");
    std::fs::write(&file, "planted-first").unwrap();
    locked(&api.seen).key = Some("planted-first".to_owned());
    let place = api.place_with_key(&format!("${{file:{}}}", file.display())).await;
    let mut agent = place.start().await;
    api.hand_out(json!([flat(json!("before"), "SELECT * FROM numbers")]));
    until_reported(&api, "before", &["complete"], &agent).await;
    // From the moment on in which the task is handed out the old key is worth nothing.
    {
        let mut seen = locked(&api.seen);
        seen.polls
            .push_back((StatusCode::OK, json!({"tasks": [flat(json!("during"), "SELECT * FROM numbers")]})));
        seen.key_afterwards = Some("planted-second".to_owned());
    }
    eventually("the report to be refused", async || {
        let is_refused = locked(&api.seen).refused > 0;
        (is_refused && agent.log().contains("outcome could not be recorded")).then_some(())
    })
    .await;
    assert_eq!(api.reports("during"), [""; 0]);
    replace(&file, "planted-second");
    until_reported(&api, "during", &["complete"], &agent).await;
    api.hand_out(json!([flat(json!("after"), "SELECT * FROM numbers")]));
    until_reported(&api, "after", &["complete"], &agent).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    for id in ["before", "during", "after"] {
        assert_eq!(api.reports(id), ["complete"]);
    }
    let names: Vec<String> =
        locked(&api.seen).asked.iter().map(|(asked, _)| asked["agent_id"].clone()).collect();
    assert!(names.iter().all(|name| name == "agent 1"), "{names:?}");
    assert!(!agent.log().contains("planted"), "{}", agent.log());
}

#[tokio::test]
async fn a_check_sees_whether_the_api_takes_the_key_and_takes_no_task() {
    let api = Api::start().await;
    locked(&api.seen).key = Some("good-key".to_owned());
    api.hand_out(json!([flat(json!(1), "SELECT * FROM numbers")]));
    for (key, is_ok) in [("good-key", true), ("bad-key", false)] {
        let place = api.place_with_key(key).await;
        let configuration = place.configuration();
        let arguments = ["check", "--config", configuration.to_str().unwrap(), "--json"];
        let finished = place.run(&arguments).await;
        let findings: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
        let named = |name: &str| findings.iter().find(|finding| finding["check"] == name).expect(name);
        let reached = named("remote API");
        assert_eq!(reached["ok"], is_ok, "{reached}");
        if !is_ok {
            assert!(reached["remedy"].as_str().is_some_and(|text| text.contains("task_source.api.key")));
        }
        assert_eq!(named("clock")["ok"], true, "{findings:?}");
        assert!(!finished.stdout.contains(key), "{finished:?}");
    }
    assert!(locked(&api.seen).asked.is_empty(), "nobody has asked for tasks");
}

#[tokio::test]
async fn an_agent_that_ends_with_its_queues_is_healthy_while_the_last_of_them_is_busy() {
    let endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n";
    let api = Api::start().await;
    api.hand_out(json!([flat(json!(1), endless)]));
    // The local queue has nothing, so that its poller ends at once.
    let mut agent = api.place().await.argument("--once").start().await;
    eventually("the remote task to run", async || {
        (agent.ask("/health").await.json()["workers"]["running"]["remote_api"] == 1).then_some(())
    })
    .await;
    for _ in 0..20 {
        let health = agent.ask("/health").await;
        // A queue on a slow disk is another matter.
        assert!(health.status == 200 || health.json()["queue"] != "ok", "{health:?}");
    }
    agent.signal("TERM");
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(1), "what it had was not drained: {}", agent.log());
}

#[tokio::test]
async fn a_task_that_comes_after_a_stop_of_handling_waits_here_and_runs_once_later() {
    let api = Api::start().await;
    locked(&api.seen).holds_polls = true;
    let agent = api.place().await.start().await;
    eventually("a poll", async || (locked(&api.seen).held == 1).then_some(())).await;
    assert_eq!(agent.post("/stop", None).await.status, 200);
    api.hand_out(json!([flat(json!("late"), "SELECT * FROM numbers")]));
    locked(&api.seen).holds_polls = false;
    eventually("the task to be released", async || {
        agent.log().contains("task released: it came when no task was to be started any more").then_some(())
    })
    .await;
    // The API knows no release, so that it hears nothing, and nothing was begun.
    assert_eq!(api.reports("late"), [""; 0]);
    assert_eq!(agent.get("/runs").await["runs"], json!([]));
    // It may hand the task out again, because it has heard nothing: it is the same one.
    api.hand_out(json!([
        flat(json!("late"), "SELECT * FROM numbers"),
        flat(json!("next"), "SELECT * FROM numbers")
    ]));
    assert_eq!(agent.post("/handle_tasks", None).await.status, 200);
    until_reported(&api, "late", &["complete"], &agent).await;
    until_reported(&api, "next", &["complete"], &agent).await;
    eventually("both runs", async || {
        let runs = agent.get("/runs?status=completed").await["runs"].clone();
        (runs.as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    assert_eq!(agent.get("/runs?task=late").await["runs"].as_array().unwrap().len(), 1);
    assert_eq!(api.reports("late"), ["complete"]);
}

#[tokio::test]
async fn a_task_that_a_stop_has_cut_is_told_as_unfinished_and_runs_when_it_is_handed_out_again() {
    let endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n";
    let api = Api::start().await;
    api.hand_out(json!([flat(json!("cut"), endless)]));
    let mut agent = api.place().await.start().await;
    eventually("the task to run", async || {
        (agent.ask("/health").await.json()["workers"]["running"]["remote_api"] == 1).then_some(())
    })
    .await;
    agent.signal("TERM");
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    let log = agent.log();
    assert!(log.contains("task released: the agent stops"), "{log}");
    assert!(log.contains("tasks of the remote API are unfinished there"), "{log}");
    assert_eq!(api.reports("cut"), [""; 0], "neither complete nor failed");
    assert_eq!(agent.files(), [""; 0], "nothing of it is left");

    api.hand_out(json!([flat(json!("cut"), "SELECT * FROM numbers")]));
    agent.start_again().await;
    until_reported(&api, "cut", &["complete"], &agent).await;
    assert_eq!(agent.visible_files(), ["out/task_cut_result_001.parquet"]);
}
