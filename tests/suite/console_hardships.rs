//! The console in a real browser where things do not go smoothly: the scenarios of `hardships.mjs`.

use serde_json::{Value, json};

use super::console::{DOWN, OPERATOR_KEY, database, endless, task};
use crate::support::agent::{Agent, Place};
use crate::support::browser::{play, play_alone};
use crate::support::postgres::Database;

/// Longest id that a task may have.
const LONGEST_ID: usize = 128;
/// Tasks of one request.
const TOGETHER: usize = 50;

/// An agent whose only key may do everything; the client of the test sends it.
async fn with_key(database: &Database) -> Agent {
    let section = format!("key = {OPERATOR_KEY:?}\nscopes = \"read, submit, operate\"");
    let place = Place::new().database(database).section("server.api_keys.operator", &section);
    place.key(OPERATOR_KEY).start().await
}

#[tokio::test]
async fn the_keyboard_keeps_its_place_after_what_it_has_done() {
    let Some(database) = database().await else { return };
    let agent = with_key(&database).await;
    let _gate = endless(&agent, &database).await;
    play_alone("focus", &agent, &[("OPERATOR_KEY", OPERATOR_KEY)]).await;
}

#[tokio::test]
async fn a_sign_out_that_fails_says_so_and_nobody_is_signed_out() {
    let Some(database) = database().await else { return };
    let agent = with_key(&database).await;
    play_alone("signing_out", &agent, &[("OPERATOR_KEY", OPERATOR_KEY)]).await;
}

#[tokio::test]
async fn another_task_like_one_with_unusual_columns_is_that_task() {
    let Some(database) = database().await else { return };
    database
        .execute("CREATE TABLE odd AS SELECT 1 AS id, 2 AS \"a, b\", 3 AS \"say \"\"hi\"\"\", 4 AS other")
        .await;
    let agent = Place::new().database(&database).start().await;
    let mut odd = task("odd", "SELECT * FROM odd");
    odd["source_config"]["columns"] = json!(["id", "a, b", "say \"hi\""]);
    odd["source_config"]["method"] = json!("native");
    agent.submit(odd).await;
    agent.wait_until("odd", "completed").await;
    play_alone("like", &agent, &[]).await;
}

#[tokio::test]
async fn a_connection_that_is_down_shows_cause_and_remedy() {
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).connection("source.archive", DOWN).start().await;
    play_alone("broken", &agent, &[]).await;
}

#[tokio::test]
async fn an_agent_that_goes_away_is_missed_and_found_again() {
    let Some(database) = database().await else { return };
    let mut agent = Place::new().database(&database).at_one_address().start().await;
    let mut gate = Some(endless(&agent, &database).await);
    let address = agent.url("");
    play("lost", &address, &[], async |word| match word {
        "hang" => agent.signal("STOP"),
        "go on" => agent.signal("CONT"),
        "kill" => agent.kill().await,
        "start" => agent.start_again().await,
        _ => gate.take().expect("it is opened once").open().await,
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_tasks_with_long_names_are_all_on_some_page_and_fit_into_their_cells() {
    const WAITING: usize = 260;
    /// More than a page of runs.
    const DONE: usize = 60;
    let Some(database) = database().await else { return };
    let agent = Place::new().database(&database).start().await;
    let wide = format!("SELECT 1 AS one, '{}' AS wide", "x".repeat(3000));
    let done: Vec<String> = (1..DONE).map(|number| long_id("done", number)).collect();
    submit_all(&agent, &done, &wide).await;
    let broken = long_id("broken", 0);
    let mut failing = task(&broken, &format!("SELECT * FROM {}", "y".repeat(60)));
    failing["destination_config"]["path"] = json!("z".repeat(200));
    agent.submit(failing).await;
    for id in &done {
        agent.wait_until(id, "completed").await;
    }
    agent.wait_until(&broken, "failed").await;
    assert_eq!(agent.post("/stop", None).await.status, 200);
    let waiting: Vec<String> = (0..WAITING).map(|number| long_id("waits", number)).collect();
    submit_all(&agent, &waiting, &wide).await;
    let (waiting, done_count) = (WAITING.to_string(), DONE.to_string());
    let variables = [
        ("WAITING", waiting.as_str()),
        ("DONE", done_count.as_str()),
        ("LONG", done[0].as_str()),
        ("BROKEN", broken.as_str()),
    ];
    play_alone("many", &agent, &variables).await;
}

/// The longest id that begins like this.
fn long_id(beginning: &str, number: usize) -> String {
    let mut id = format!("{beginning}{number:03}{}", "-long.name_of-a-task".repeat(7));
    id.truncate(LONGEST_ID);
    id
}

/// Submits a task with this query for each id, several at a time.
async fn submit_all(agent: &Agent, ids: &[String], query: &str) {
    for some in ids.chunks(TOGETHER) {
        let tasks: Vec<Value> = some.iter().map(|id| task(id, query)).collect();
        let answer = agent.post("/tasks", Some(&json!(tasks))).await;
        assert!(answer.status < 300, "{answer:?}");
    }
}
