//! Logins of the queue: a session that expires, a secret that is replaced, a login without an answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{place_without_server, private_key, three_rows};
use crate::support::agent::{Place, eventually};
use crate::support::folder::replace;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::query::Answer as Answered;
use crate::support::snowflake::queue::{Queue, State, Version};
use crate::support::snowflake::queue_server::{mount, write_connection_file};

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
    replace(&file, "planted-second");
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
    let is_told = told.iter().any(|told| told.contains("after-2"));
    // A batch that was to be written while the old password was refused is lost, with a warning, and so is the
    // minute after it.
    assert!(is_told || agent.log().contains("could not be written to Snowflake"), "{told:?}");
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
    replace(&file, &private_key());
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
