//! The queue in Snowflake: every way in which a call, an answer, a lease or an agent can get lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::query::Answer as Answered;
use crate::support::snowflake::queue::{Answer, Queue, Row, State, Version};
use crate::support::snowflake::queue_server::{QueueServer, Trouble, mount, write_connection_file};

const QUEUE_PAGE: &str = include_str!("../../docs/snowflake/queue.md");
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
        (agent.get("/health").await["workers"]["busy"] == count).then_some(())
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

#[tokio::test]
async fn a_task_is_pulled_with_bound_values_and_completed_with_its_receipt() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("orders-1", &three_rows());
    let place = place(&server, "agent_id = \"agent '1'; --\"\n").await.application("affinity = \"blue\"");
    let mut agent = place.start().await;
    let row = row_when(&server, "orders-1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.attempt, row.failures), (1, 1, 0));
    let receipt: Value = serde_json::from_str(row.receipt.as_deref().unwrap()).unwrap();
    assert_eq!((&receipt["rows"], receipt["files"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(agent.visible_files(), ["out/task_orders-1_result_001.parquet"]);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        server.queue.arguments("PULL_TASKS")[0],
        [text("agent '1'; --"), text("data-exchange-agent"), text("blue"), text("4")]
    );
    let completed = &server.queue.arguments("COMPLETE_TASK")[0];
    assert_eq!(completed[..2], [text("agent '1'; --"), text("orders-1")]);
    assert!(agent.get("/tasks").await["tasks"].as_array().unwrap().is_empty(), "remote tasks are not listed");
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.logins(), 1, "no call logs in by itself");
    assert!(!agent.log().contains("hunter2"));
}

#[tokio::test]
async fn an_idle_agent_asks_once_an_interval_however_many_workers_it_has() {
    let server = QueueServer::start(Version::Ours).await;
    let place = place(&server, "").await.application("workers = 50").application("task_fetch_interval = 1");
    let mut agent = place.start().await;
    eventually("the first pull", async || (server.queue.calls("PULL_TASKS") >= 1).then_some(())).await;
    let (begun, first) = (std::time::Instant::now(), server.queue.calls("PULL_TASKS"));
    eventually("three more", async || (server.queue.calls("PULL_TASKS") >= first + 3).then_some(())).await;
    // The first of them may come at once; before each other one is a wait of at least four fifths of a second.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    // One statement that looks which procedures there are, and the pulls.
    assert_eq!(server.statements(), 1 + server.queue.calls("PULL_TASKS"), "{:?}", server.texts());
    let limits: BTreeSet<_> =
        server.queue.arguments("PULL_TASKS").into_iter().map(|arguments| arguments[3].clone()).collect();
    assert_eq!(limits, [Some("50".to_owned())].into());
}

#[tokio::test]
async fn an_agent_killed_between_upload_and_complete_leaves_one_set_of_files() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("COMPLETE_TASK", [Trouble::Held]);
    server.queue.enqueue("1", &three_rows());
    let mut agent = place(&server, "agent_id = \"a\"\n").await.start().await;
    eventually("COMPLETE to be held", async || (server.held() == 1).then_some(())).await;
    assert_eq!(agent.visible_files(), ["out/task_1_result_001.parquet"], "the upload is committed");
    agent.kill().await;
    // The call of the dead agent is not answered any more, and its lease runs out.
    server.queue.expire_leases_of("a");
    server.let_go();
    agent.start_again().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.failures), (1, 0));
    eventually("one file", async || (agent.files() == ["out/task_1_result_001.parquet"]).then_some(())).await;
    assert_eq!(server.queue.calls("FAIL_TASK") + server.queue.calls("REJECT_TASK"), 0);
}

#[tokio::test]
async fn a_completion_whose_answer_is_lost_is_repeated_and_never_failed() {
    for version in [Version::Ours, Version::Old] {
        for trouble in [Trouble::AnswerLost, Trouble::AnswerLostAndForgotten] {
            let server = QueueServer::start(version).await;
            server.trouble("COMPLETE_TASK", [trouble, trouble]);
            server.queue.enqueue("1", &three_rows());
            let mut agent = place(&server, "").await.start().await;
            row_when(&server, "1", State::Completed, &agent).await;
            eventually("the troubles to pass", async || {
                (server.troubles_left("COMPLETE_TASK") == 0 || trouble == Trouble::AnswerLost).then_some(())
            })
            .await;
            agent.signal("TERM");
            assert!(agent.exit().await.success(), "{}", agent.log());
            let row = server.queue.row("1").unwrap();
            assert_eq!((row.state, row.completions), (State::Completed, 1), "{version:?} {trouble:?}");
            assert_eq!(server.queue.calls("FAIL_TASK") + server.queue.calls("REJECT_TASK"), 0);
        }
    }
}

#[tokio::test]
async fn a_completion_that_is_refused_is_kept_and_repeated() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("COMPLETE_TASK", [Trouble::Refused; 3]);
    server.queue.enqueue("1", &three_rows());
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.attempt), (1, 1));
    assert!(agent.log().contains("outcome could not be recorded"), "{}", agent.log());
}

#[tokio::test]
async fn a_lease_lost_during_the_upload_never_commits() {
    let server = QueueServer::start(Version::Ours).await;
    // The first question about the lease comes right before the commit.
    server.trouble("EXTEND_LEASES", [Trouble::Held]);
    server.queue.enqueue("1", &three_rows());
    let mut agent = place(&server, "").await.start().await;
    eventually("the question before the commit", async || (server.held() == 1).then_some(())).await;
    server.queue.change("1", |row| row.holder = Some("another agent".to_owned()));
    server.let_go();
    eventually("nothing to be left of the upload", async || agent.files().is_empty().then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(agent.files(), Vec::<String>::new());
    for call in ["COMPLETE_TASK", "FAIL_TASK", "REJECT_TASK", "RELEASE_TASK"] {
        assert_eq!(server.queue.calls(call), 0, "nothing is said about a task of somebody else: {call}");
    }
}

#[tokio::test]
async fn a_stop_gives_back_what_runs() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    server.queue.enqueue("2", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 2").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 2).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    for id in ["1", "2"] {
        let row = server.queue.row(id).unwrap();
        assert_eq!((row.state, row.failures, row.attempt), (State::Queued, 0, 1), "{}", agent.log());
    }
    assert_eq!(agent.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_leaves_leases_to_run_out_where_there_is_no_release_and_says_so() {
    let server = QueueServer::start(Version::Old).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 1").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 1).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.queue.row("1").unwrap().state, State::Leased);
    assert_eq!(server.queue.calls("FAIL_TASK"), 0);
    assert!(agent.log().contains("the queue has no RELEASE_TASK"), "{}", agent.log());
}

#[tokio::test]
async fn a_payload_that_nobody_understands_is_failed_at_once_with_all_that_is_wrong() {
    let server = QueueServer::start(Version::Ours).await;
    let wrong = json!({"source_type": "nobody", "statement_location_id": "DROP TABLE numbers", "target_type": "tape"});
    server.queue.enqueue("wrong", &wrong);
    server.queue.enqueue_text("no-json", "{\"password\": \"hunter3\",");
    server.queue.enqueue("good", &three_rows());
    server.queue.enqueue("no good id/..", &three_rows());
    let agent = place(&server, "").await.start().await;
    row_when(&server, "good", State::Completed, &agent).await;
    for (id, expected) in [
        ("wrong", &["`/target_type`", "`/target_id`: missing", "[request]"][..]),
        ("no-json", &["no JSON at line 1"]),
        ("no good id/..", &["1 to 128 characters"]),
    ] {
        let row = row_when(&server, id, State::Failed, &agent).await;
        let error = row.last_error.unwrap();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("hunter3"), "{error}");
    }
    assert_eq!(server.queue.calls("REJECT_TASK"), 3, "once each, without attempts");
}

#[tokio::test]
async fn a_failure_says_what_failed_and_what_to_do() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload("SELECT * FROM missing"));
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Failed, &agent).await;
    let error = row.last_error.unwrap();
    assert!(error.starts_with("[request] ") && error.contains("no such table"), "{error}");
    assert_eq!((row.failures, row.attempt), (1, 1), "another attempt would fail again");
}

#[tokio::test]
async fn a_server_of_version_1_2_0_is_served_with_its_four_calls() {
    let server = QueueServer::start(Version::Old).await;
    server.queue.use_numbers();
    server.queue.enqueue("17", &three_rows());
    server.queue.enqueue("18", &payload("SELECT * FROM missing"));
    server.queue.change("18", |row| row.max_attempts = 1);
    let agent = place(&server, "agent_id = \"steady\"\n").await.start().await;
    row_when(&server, "17", State::Completed, &agent).await;
    row_when(&server, "18", State::Failed, &agent).await;
    assert_eq!(server.queue.arguments("COMPLETE_TASK")[0].len(), 2);
    let fail = &server.queue.arguments("FAIL_TASK")[0];
    assert_eq!(fail[0].as_deref(), Some("18"), "the task comes first");
    let name = fail[1].clone().unwrap();
    assert!(
        name.starts_with("steady-") && name.len() > 30,
        "what an earlier process left is not kept: {name}"
    );
    // Right before the commit.
    assert!(server.queue.calls("REFRESH_LEASES") >= 1);
}

#[tokio::test]
async fn a_pull_whose_answer_is_lost_leases_once() {
    for version in [Version::Ours, Version::Old] {
        let server = QueueServer::start(version).await;
        server.queue.enqueue("1", &three_rows());
        server.trouble("PULL_TASKS", [Trouble::AnswerLost]);
        let agent = place(&server, "").await.start().await;
        let row = row_when(&server, "1", State::Completed, &agent).await;
        assert_eq!((row.attempt, row.completions), (1, 1), "the answer came with the repetition");
    }
}

#[tokio::test]
async fn a_queue_that_cannot_be_reached_for_a_while_loses_nothing() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &three_rows());
    server.trouble("COMPLETE_TASK", [Trouble::Held]);
    let agent = place(&server, "").await.start().await;
    eventually("COMPLETE to be held", async || (server.held() == 1).then_some(())).await;
    server.set_down(true);
    server.queue.enqueue("2", &three_rows());
    server.let_go();
    row_when(&server, "1", State::Completed, &agent).await;
    server.set_down(false);
    let row = row_when(&server, "2", State::Completed, &agent).await;
    assert_eq!(row.completions, 1);
}

#[tokio::test]
async fn the_clock_of_the_server_does_not_matter() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.advance(Duration::from_secs(10 * 365 * 86_400));
    server.queue.enqueue("1", &three_rows());
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!(row.attempt, 1);
}

#[tokio::test]
async fn tasks_of_two_queues_may_have_the_same_id() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &payload(ENDLESS));
    let place = place(&server, "").await.application("workers = 2").application("stop_grace = 0");
    let mut agent = place.start().await;
    wait_for_busy(&agent, 1).await;
    let workers = agent.get("/health").await["workers"].clone();
    assert_eq!(workers["running"], json!({"snowflake_stored_procedure": 1}));
    let local = json!({"id": "1", "source_config": {"database": "numbers", "table": "numbers"},
        "destination_config": {"type": "local", "path": "other"}});
    assert_eq!(agent.submit(local).await, "1");
    let task = agent.wait_until("1", "completed").await;
    assert_eq!(task["receipt"]["rows"], 3);
    assert_eq!(server.queue.row("1").unwrap().state, State::Leased, "the remote one goes on");
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(server.queue.row("1").unwrap().state, State::Queued);
}

#[tokio::test]
async fn once_drains_the_queues_and_says_whether_a_task_failed() {
    for (tasks, code) in [
        (vec![("1", three_rows()), ("2", three_rows()), ("3", three_rows())], 0),
        (vec![("1", three_rows()), ("2", payload("SELECT * FROM missing"))], 1),
        (vec![("1", three_rows()), ("2", json!("nonsense"))], 1),
        (vec![], 0),
    ] {
        let server = QueueServer::start(Version::Ours).await;
        for (id, payload) in &tasks {
            server.queue.enqueue(id, payload);
        }
        let place = place(&server, "").await.application("workers = 1");
        let configuration = place.configuration();
        let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
        let finished = place.run(&arguments).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_eq!(server.queue.count(State::Queued) + server.queue.count(State::Leased), 0);
        assert_eq!(server.queue.calls("COMPLETE_TASK"), tasks.len() - usize::from(code == 1));
    }
}

#[tokio::test]
async fn once_gives_up_a_queue_that_refuses_it() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("PULL_TASKS", [Trouble::Refused]);
    let place = place(&server, "").await;
    let configuration = place.configuration();
    let arguments = ["run", "--once", "--port", "0", "--config", configuration.to_str().unwrap()];
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("docs/snowflake/setup.sql"), "{finished:?}");
}

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
    assert_eq!(server.queue.count(State::Completed), 4);
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
async fn a_session_that_expires_does_not_disturb_the_queue() {
    let double = SnowflakeDouble::start().await;
    double.expire_after_uses(2);
    let queue = Arc::new(Queue::new(Version::Ours));
    mount(&queue, &double);
    for id in 0..10 {
        queue.enqueue(&id.to_string(), &three_rows());
    }
    let place = place_without_server("").await.application("workers = 2");
    write_connection_file(double.address(), place.path());
    let mut agent = place.start().await;
    eventually("every task", async || (queue.count(State::Completed) == 10).then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert!(queue.rows().values().all(|row| (row.completions, row.attempt) == (1, 1)));
    assert_eq!(double.logins(), 1);
    assert!(double.renewals() > 2);
    assert_eq!(double.open_sessions(), 0, "the session is closed at the stop");
}

// ---- Logins ---------------------------------------------------------------------------------------

/// A target whose secret `key` comes from `file`, and which is the connection of the queue too.
fn secret_target(double: &SnowflakeDouble, key: &str, file: &Path) -> String {
    format!(
        "kind = \"snowflake\"\naccount = \"test\"\nhost = \"127.0.0.1\"\nport = {}\nprotocol = \"http\"\n\
         user = \"agent\"\n{key} = \"${{file:{}}}\"\nclient_session_keep_alive = false\n",
        double.address().port(),
        file.display()
    )
}

/// An agent whose queue is behind `double`, with such a connection.
async fn renewed_place(
    double: &SnowflakeDouble,
    queue: &Arc<Queue>,
    key: &str,
    secret: &str,
) -> (Place, PathBuf) {
    mount(queue, double);
    let place = place_without_server("agent_id = \"agent-1\"\n").await;
    let file = place.path().join("secret");
    fs::write(&file, secret).unwrap();
    let target = secret_target(double, key, &file);
    (place.connection("target.queue", &target), file)
}

#[tokio::test]
async fn a_password_that_is_replaced_while_a_task_runs_is_taken_up_and_nothing_is_lost() {
    let double = SnowflakeDouble::start().await;
    let queue = Arc::new(Queue::new(Version::Ours));
    let is_changed = Arc::new(AtomicBool::new(false));
    // Once the task is handed out, the old password and its session are worth nothing any more.
    let (changed, server) = (Arc::clone(&is_changed), double.clone());
    let waiting = Arc::clone(&queue);
    double.on(move |call| {
        let is_over = call.sql.contains("EXTEND_LEASES") && waiting.count(State::Completed) == 1;
        if is_over && !changed.swap(true, Ordering::SeqCst) {
            server.admit(|data| data["PASSWORD"] == "planted-second");
            server.expire_masters();
            return Some(Answered::error("390112", "08001", "Your session has expired."));
        }
        None
    });
    let (place, file) = renewed_place(&double, &queue, "password", "planted-first").await;
    queue.enqueue("before", &three_rows());
    let mut agent = place.start().await;
    eventually("the first task", async || (queue.count(State::Completed) == 1).then_some(())).await;
    queue.enqueue("during", &three_rows());
    eventually("a refused login", async || {
        agent.log().contains("no answer about the lease, before the commit").then_some(())
    })
    .await;
    assert_eq!(queue.row("during").unwrap().state, State::Leased);
    assert!(!agent.visible_files().iter().any(|file| file.contains("during")), "it may not commit yet");
    fs::write(&file, "planted-second").unwrap();
    for id in ["after-1", "after-2"] {
        queue.enqueue(id, &three_rows());
    }
    eventually("every task", async || (queue.count(State::Completed) == 4).then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    for (id, row) in queue.rows() {
        assert_eq!((row.completions, row.attempt, row.failures), (1, 1, 0), "{id}: {row:?}");
    }
    assert_eq!(queue.calls("FAIL_TASK") + queue.calls("REJECT_TASK"), 0);
    // What waited for the mirror of the history was written with the new password.
    let told: Vec<_> =
        queue.arguments("RECORD_HISTORY").into_iter().filter_map(|call| call[1].clone()).collect();
    assert!(told.iter().any(|told| told.contains("after-2")), "{told:?}");
    let passwords: Vec<_> = double
        .seen("/session/v1/login-request")
        .iter()
        .map(|seen| seen.body["data"]["PASSWORD"].clone())
        .collect();
    assert_eq!(
        passwords,
        ["planted-first", "planted-first", "planted-second"],
        "none is tried in vain twice"
    );
    assert!(!agent.log().contains("planted"), "{}", agent.log());
}

/// A new private key, as PEM.
#[expect(clippy::disallowed_methods, reason = "a test may start openssl")]
pub(crate) fn private_key() -> String {
    let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output();
    String::from_utf8(made.expect("openssl is installed").stdout).unwrap()
}

/// Who has signed the token of a login: account, user and fingerprint of the key.
fn issuer(data: &Value) -> String {
    let payload = data["TOKEN"].as_str().expect("a signed token").split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["iss"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_that_was_replaced_before_the_old_one_is_refused_costs_an_idle_agent_nothing() {
    let double = SnowflakeDouble::start().await;
    let queue = Arc::new(Queue::new(Version::Ours));
    let (place, file) = renewed_place(&double, &queue, "private_key", &private_key()).await;
    let mut agent = place.start().await;
    eventually("the first pull", async || (queue.calls("PULL_TASKS") > 0).then_some(())).await;
    let old = issuer(&double.seen("/session/v1/login-request")[0].body["data"]);
    fs::write(&file, private_key()).unwrap();
    double.admit(move |data| issuer(data) != old);
    double.expire_masters();
    queue.enqueue("after", &three_rows());
    eventually("the task", async || (queue.count(State::Completed) == 1).then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    let row = queue.row("after").unwrap();
    assert_eq!((row.completions, row.attempt), (1, 1));
    assert_eq!(double.seen("/session/v1/login-request").len(), 3, "the old one, the old one, the new one");
    assert!(!agent.log().contains("tasks could not be leased"), "{}", agent.log());
}

#[tokio::test]
async fn a_login_that_nobody_answers_holds_up_neither_a_cancel_nor_a_stop() {
    let double = SnowflakeDouble::start().await;
    double.hold_requests("/session/v1/login-request");
    let queue = Arc::new(Queue::new(Version::Ours));
    let (place, _) = renewed_place(&double, &queue, "password", "p").await;
    // Of its own, so that the task waits for a login and not for that of the queue.
    let stage = secret_target(&double, "password", &place.path().join("secret"));
    let place = place.connection("target.stage", &format!("{stage}role = \"LOADER\"\n"));
    let mut agent = place.application("stop_grace = \"10m\"").start().await;
    let task = |id: &str| {
        json!({
            "id": id,
            "source_config": {"database": "numbers", "query": "SELECT * FROM numbers"},
            "destination_config": {"type": "snowflake_stage", "connection": "stage", "stage": "@s/"},
        })
    };
    for id in ["cancelled", "stopped"] {
        agent.submit(task(id)).await;
        agent.wait_until(id, "running").await;
    }
    let logins = || double.seen("/session/v1/login-request").len();
    eventually("the queue and a task to log in", async || (logins() >= 2).then_some(())).await;
    assert_eq!(agent.delete("/tasks/cancelled").await.status, 202);
    agent.wait_until("cancelled", "cancelled").await;
    agent.signal("TERM");
    eventually("the drain", async || (agent.ask("/ready").await.status == 503).then_some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    // This would be said after twenty seconds.
    assert!(!agent.log().contains("did not stop in time"), "{}", agent.log());
    double.release_requests();
    agent.start_again().await;
    assert_eq!(agent.task("stopped").await["attempts"][0]["status"], "released", "{}", agent.log());
    assert_eq!(agent.task("cancelled").await["status"], "cancelled");
}

#[tokio::test]
async fn a_pull_that_nobody_answers_does_not_hold_up_a_stop() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("PULL_TASKS", [Trouble::Held]);
    let mut agent = place(&server, "").await.application("stop_grace = \"10m\"").start().await;
    eventually("a pull", async || (server.held() == 1).then_some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("the agent stops before Snowflake has said which tasks it leased"));
    assert!(!agent.log().contains("the agent aborts"), "{}", agent.log());
}

// ---- The documented table -------------------------------------------------------------------------

/// A row of the table of states.
#[derive(Debug)]
struct Documented {
    states: Vec<Option<State>>,
    call: String,
    when: String,
    afterwards: Option<State>,
    answer: String,
}

fn documented() -> Vec<Documented> {
    let (_, table) = QUEUE_PAGE.split_once("| State | Call | When | State afterwards | Answer |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let state = |name: &str| match name {
        "none" | "the same" => None,
        "QUEUED" => Some(State::Queued),
        "LEASED" => Some(State::Leased),
        "COMPLETED" => Some(State::Completed),
        "FAILED" => Some(State::Failed),
        other => panic!("no state: {other}"),
    };
    let read = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [states, call, when, afterwards, answer] = cells[..] else { panic!("{line}") };
        Documented {
            states: states.split(", ").map(state).collect(),
            call: call.trim_matches('`').to_owned(),
            when: when.to_owned(),
            afterwards: state(afterwards),
            answer: answer.to_owned(),
        }
    };
    rows.map(read).collect()
}

/// A queue whose only task is in `state`; its agent is `holder`.
fn queue_in(state: Option<State>) -> Queue {
    let queue = Queue::new(Version::Ours);
    let call = |name: &str, arguments: &[&str]| {
        let arguments: Vec<Option<String>> = arguments.iter().map(|text| Some((*text).to_owned())).collect();
        queue.call(name, &arguments).unwrap();
    };
    let Some(state) = state else { return queue };
    queue.enqueue("t", &json!({}));
    if state != State::Queued {
        call("PULL_TASKS", &["holder", "data-exchange-agent", "blue", "1"]);
    }
    match state {
        State::Queued | State::Leased => {}
        State::Completed => call("COMPLETE_TASK", &["holder", "t"]),
        State::Failed => call("REJECT_TASK", &["t", "holder", "why"]),
    }
    queue
}

/// Makes the condition of a row true, and says which agent calls.
fn arrange(queue: &Queue, when: &str) -> &'static str {
    let has_task = queue.row("t").is_some();
    match when {
        "always" if !has_task => {}
        "always" => queue.change("t", |row| row.max_attempts = 1),
        "eligible, of this affinity or none" => {
            queue.change("t", |row| row.affinity = Some("blue".to_owned()))
        }
        "of another affinity" => queue.change("t", |row| row.affinity = Some("green".to_owned())),
        "in its back-off" => queue.change("t", |row| row.eligible_at += Duration::from_secs(60)),
        "by the holder" | "by who completed it" | "by the holder, attempts left" => {}
        "by the holder, the last attempt" => queue.change("t", |row| row.failures = row.max_attempts - 1),
        "by another agent" => return "other",
        "its lease is over" => {
            queue.change("t", |row| row.interruptions = 3);
            queue.advance(Duration::from_secs(301));
        }
        "its lease is over for the fifth time in a row" => {
            queue.change("t", |row| row.interruptions = 4);
            queue.advance(Duration::from_secs(301));
        }
        "its lease is not over" => queue.advance(Duration::from_secs(299)),
        other => panic!("a condition that this test does not know: {other}"),
    }
    "holder"
}

fn call(queue: &Queue, name: &str, agent: &str) -> Answer {
    let arguments: &[&str] = match name {
        "ENQUEUE_TASK" => &["t", "{}", "", "0", "3"],
        "PULL_TASKS" => &[agent, "data-exchange-agent", "blue", "1"],
        "REFRESH_LEASES" => &[agent],
        "EXTEND_LEASES" => &[agent, "[\"t\"]"],
        "COMPLETE_TASK" => &[agent, "t"],
        "FAIL_TASK" | "REJECT_TASK" => &["t", agent, "why"],
        "RELEASE_TASK" => &["t", agent],
        "QUEUE_DEPTH" => &["blue"],
        "EXPIRE_LEASES" => &[],
        "RETRY_TASK" => &["t"],
        other => panic!("no procedure: {other}"),
    };
    let arguments: Vec<Option<String>> = arguments.iter().map(|text| Some((*text).to_owned())).collect();
    queue.call(name, &arguments).unwrap_or_else(|| panic!("no procedure: {name}"))
}

#[test]
fn the_double_does_what_the_documented_table_says_and_the_table_is_complete() {
    let mut seen = BTreeSet::new();
    for row in documented() {
        for state in &row.states {
            let queue = queue_in(*state);
            assert_eq!(queue.row("t").map(|row| row.state), *state);
            let agent = arrange(&queue, &row.when);
            let answer = call(&queue, &row.call, agent);
            let expected: Vec<Vec<Value>> = match row.answer.as_str() {
                "true" => vec![vec![json!("1")]],
                "false" => vec![vec![json!("0")]],
                "the id" => vec![vec![json!("t")]],
                "the task" => vec![vec![json!("t"), json!("{}"), json!("1")]],
                "nothing" => vec![],
                number => vec![vec![json!(number)]],
            };
            assert_eq!(answer.rows, expected, "{state:?} {row:?}");
            assert_eq!(queue.row("t").map(|row| row.state), row.afterwards.or(*state), "{state:?} {row:?}");
            seen.insert((state.map(State::as_str), row.call.clone()));
        }
    }
    let calls: BTreeSet<&String> = seen.iter().map(|(_, call)| call).collect();
    // History is no part of a task: nothing depends on it, and it changes no state.
    let queue = Queue::new(Version::Ours);
    let of_tasks = queue.procedures().iter().filter(|name| **name != "RECORD_HISTORY");
    assert_eq!(calls.len(), of_tasks.count());
    assert_eq!(seen.len(), 5 * calls.len(), "every call in every state");
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
    assert_eq!(agent.get("/runs?task=lost").await["runs"][0]["status"], "completed", "here it is kept");
    // What waits is written when the agent stops.
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    agent.start_again().await;
    server.queue.enqueue("told", &three_rows());
    eventually("the task to end", async || (server.queue.count(State::Completed) == 2).then_some(())).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
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
    let run = runs.iter().rfind(|run| run["task"] == "told").expect("the run is told");
    assert_eq!(
        [&run["status"], &run["rows"], &run["task_source"], &run["attempt"]],
        [&json!("completed"), &json!(3), &json!("snowflake_stored_procedure"), &json!(1)]
    );
    let lines = all("lines");
    let messages: Vec<&str> = lines
        .iter()
        .filter(|line| line["task"] == "told")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!((messages[0], messages[messages.len() - 1]), ("attempt begins", "task completed"));
}
