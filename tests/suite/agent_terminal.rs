//! What people see and do at a terminal, and programs do not: progress bars, colours, broken lines, Ctrl-C.

use std::fs;

use serde_json::{Value, json};
use url::Url;

use super::agent_commands::shop;
use crate::support::agent::{Drawn, Finished, Place, drawn, eventually, files_below, is_styled};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Database};
use crate::support::server::free_address;

/// Rows of the queries that stop in their middle, at the row `STOP`.
const ROWS: u64 = 30_000;
const STOP: u64 = 20_000;
/// Columns of a terminal on which no bar is cut.
const WIDE: usize = 120;

/// An extraction of what [`gated_extraction`] says.
const EXTRACT: &str = "data-exchange-agent extract --source \"$SOURCE\" --query \"$QUERY\" --to \"$TO\"";

/// A database with a closed gate, a place, and variables that name a query which stops at the gate, and the
/// place's folder for its rows. `None` where there is no PostgreSQL.
async fn gated_extraction() -> Option<(Database, Gate, Place, [(&'static str, String); 3])> {
    let database = postgres::server_if_installed().await?.create_database().await;
    let gate = Gate::close(&database).await;
    let place = Place::new();
    let to = Url::from_file_path(place.output()).unwrap().to_string();
    let variables = [("SOURCE", database.url()), ("QUERY", gated_query(STOP, ROWS, 32)), ("TO", to)];
    Some((database, gate, place, variables))
}

/// Waits until the bar has shown rows, and another rate for the same rows: time goes on at the closed gate.
/// Then lets the query go on.
async fn let_go_on_when_a_bar_moves(place: &Place, gate: Gate) {
    eventually("a bar with rows and a rate that moves", async || {
        let drawn = place.drawn();
        let last = drawn.last().filter(|last| last.rows > 0)?;
        drawn.iter().any(|other| other.rows == last.rows && other.rate != last.rate).then_some(())
    })
    .await;
    gate.open().await;
}

#[track_caller]
fn assert_never_backwards(drawn: &[Drawn]) {
    assert!(drawn.windows(2).all(|two| two[0].rows <= two[1].rows), "{drawn:?}");
}

#[tokio::test]
async fn extract_shows_rows_and_rate_on_a_terminal_and_nothing_in_a_pipe() {
    let Some((_database, mut gate, place, variables)) = gated_extraction().await else { return };
    let environment = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (finished, ()) = tokio::join!(place.on_terminal(WIDE, EXTRACT, &environment), async {
        gate.wait_for(1).await;
        let_go_on_when_a_bar_moves(&place, gate).await;
    });
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let bars = drawn(&finished.stdout);
    assert_never_backwards(&bars);
    assert_eq!(bars.last().map(|last| last.rows), Some(ROWS), "{bars:?}");
    let last_line = finished.stdout.lines().last().unwrap_or_default();
    assert!(last_line.starts_with("1 file, 30,000 rows, "), "{finished:?}");

    let finished = place.shell(EXTRACT, &environment).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "", "no bar where there is no terminal");
    assert_eq!((drawn(&finished.stdout), finished.stdout.contains('\r')), (vec![], false), "{finished:?}");
}

#[tokio::test]
async fn watch_shows_rows_and_rate_on_a_terminal_and_only_changes_in_a_pipe() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).start().await;
    agent
        .submit(json!({
            "id": "orders",
            "source_config": {"database": "sales", "query": gated_query(STOP, ROWS, 32)},
            "destination_config": {"type": "local", "path": "orders"},
        }))
        .await;
    gate.wait_for(1).await;
    let url = agent.url("");
    let environment = [("DATA_EXCHANGE_AGENT_URL", url.as_str())];
    let command = "data-exchange-agent tasks watch orders";
    let (finished, ()) = tokio::join!(
        agent.place.on_terminal(WIDE, command, &environment),
        let_go_on_when_a_bar_moves(&agent.place, gate)
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let bars = drawn(&finished.stdout);
    assert_never_backwards(&bars);
    assert!(finished.stdout.contains("orders  running "), "{finished:?}");
    let last_line = finished.stdout.lines().last().unwrap_or_default();
    assert!(last_line.contains("completed") && last_line.contains("  30,000 rows  "), "{finished:?}");

    let finished = agent.place.shell(command, &environment).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stdout.starts_with("orders  completed  30,000 rows  "), "{finished:?}");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
    assert!(!finished.stdout.contains(['\r', '\u{1b}']), "{finished:?}");
}

#[tokio::test]
async fn the_demo_shows_how_much_of_it_is_done_on_a_terminal_and_nothing_in_a_pipe() {
    let place = Place::new();
    let finished =
        place.on_terminal(WIDE, "data-exchange-agent demo --rows 40000 --directory first", &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let bars = drawn(&finished.stdout);
    assert_never_backwards(&bars);
    assert_eq!(bars.last().map(|last| last.rows), Some(40_000), "{bars:?}");
    assert!(finished.stdout.contains("] 0%"), "it begins at nothing: {finished:?}");
    assert!(finished.stdout.contains("[==============================] 100% 40,000 rows, "), "{finished:?}");

    let finished = place.run(&["demo", "--rows", "1000", "--directory", "second"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(!finished.stdout.contains(['\r', '\u{1b}']) && !finished.stdout.contains("0%"), "{finished:?}");
}

#[tokio::test]
async fn no_command_has_colours_where_they_are_refused() {
    let agent = shop().await.start().await;
    let task = json!({
        "id": "orders",
        "source_config": {"database": "shop", "table": "orders"},
        "destination_config": {"type": "local", "path": "orders"},
    });
    fs::write(agent.place.path().join("task.json"), task.to_string()).unwrap();
    let url = agent.url("");
    for command in [
        "submit task.json --wait",
        "tasks list",
        "tasks show orders",
        "tasks watch orders",
        "logs orders",
        "check",
        "extract",
    ] {
        let on_terminal = async |variables: &[(&str, &str)]| {
            let environment = [&[("DATA_EXCHANGE_AGENT_URL", url.as_str())][..], variables].concat();
            let command = format!("data-exchange-agent {command}");
            agent.place.on_terminal(WIDE, &command, &environment).await.stdout
        };
        let shown = on_terminal(&[]).await;
        assert!(is_styled(&shown), "{command} has colours on a terminal: {shown:?}");
        let shown = on_terminal(&[("NO_COLOR", "1")]).await;
        assert!(!is_styled(&shown) && !shown.is_empty(), "{command}: {shown:?}");
    }
}

#[tokio::test]
async fn a_long_id_leaves_room_for_everything_else_on_a_terminal() {
    let agent = shop().await.start().await;
    let task = json!({
        "id": "i".repeat(128),
        "source_config": {"database": "shop", "table": "orders"},
        "destination_config": {"type": "local", "path": "orders"},
    });
    fs::write(agent.place.path().join("task.json"), task.to_string()).unwrap();
    let url = agent.url("");
    let environment = [("DATA_EXCHANGE_AGENT_URL", url.as_str()), ("NO_COLOR", "1")];
    for (command, expected) in [("submit task.json", "queued"), ("tasks list", " AGE ")] {
        let shown =
            agent.place.on_terminal(80, &format!("data-exchange-agent {command}"), &environment).await;
        assert!(shown.stdout.contains("i…  ") && shown.stdout.contains(expected), "{shown:?}");
        for line in shown.stdout.lines() {
            assert!(line.trim_end().chars().count() <= 80, "{line:?}");
        }
    }
}

#[tokio::test]
async fn check_is_as_wide_as_the_terminal_and_says_in_colours_what_is_wrong() {
    let section = format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"u\"\ndatabase = \"d\"\n",
        free_address().port()
    );
    let place = Place::new().connection("source.sales", &section);
    place.configuration();
    let remedy = "Check that the server runs and that the network between it and the agent is up.";
    for columns in [60, 80, 100] {
        let finished = place.on_terminal(columns, "data-exchange-agent check", &[("NO_COLOR", "1")]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        for line in finished.stdout.lines() {
            assert!(line.trim_end().chars().count() <= columns, "{columns}: {line:?}");
        }
        let words = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(remedy) && words.contains("source sales FAILED"), "{finished:?}");
    }
    let shown = place.on_terminal(WIDE, "data-exchange-agent check", &[]).await.stdout;
    assert!(shown.contains("\u{1b}[31mFAILED") && shown.contains("\u{1b}[32mok"), "{shown:?}");

    let finished = place.run(&["check"]).await;
    assert!(!finished.stdout.contains('\u{1b}'), "{finished:?}");
    let is_whole = |line: &str| line.trim_start() == remedy;
    assert!(finished.stdout.lines().any(is_whole), "a text is one line in a pipe: {finished:?}");
    let shown = place.on_terminal(60, "data-exchange-agent check --json", &[]).await.stdout;
    let findings: Value = serde_json::from_str(&shown).expect("JSON, on a terminal too");
    let failed = findings.as_array().expect("a list").iter().find(|finding| finding["ok"] == false);
    assert_eq!(failed.map(|finding| &finding["remedy"]), Some(&json!(remedy)), "{findings:#}");
}

/// Runs the script to its end, and presses Ctrl-C in it once `moment` has come. The script writes its process
/// into the file `pid`.
async fn interrupted(
    place: &Place,
    script: &str,
    environment: &[(&str, &str)],
    moment: impl Future<Output = ()>,
) -> Finished {
    let (finished, _signal) = tokio::join!(place.shell(script, environment), async {
        moment.await;
        place.shell("kill -INT $(cat pid)", &[]).await
    });
    finished
}

#[tokio::test]
async fn an_extraction_that_is_interrupted_ends_with_130_and_leaves_nothing() {
    let Some((_database, mut gate, place, variables)) = gated_extraction().await else { return };
    let environment = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let script = format!("echo $$ > pid; exec {EXTRACT}");
    let finished = interrupted(&place, &script, &environment, gate.wait_for(1)).await;
    assert_eq!(finished.code, Some(130), "{finished:?}");
    assert!(finished.stderr.contains("interrupted: nothing was written"), "{finished:?}");
    assert_eq!(files_below(&place.output()), Vec::<String>::new());
    gate.open().await;
}

#[tokio::test]
async fn a_demo_that_is_interrupted_ends_with_130_and_says_what_stays() {
    // One that ends before the signal comes is begun again with more to do.
    for rows in [200_000, 800_000, 3_200_000] {
        let place = Place::new();
        let script =
            format!("echo $$ > pid; exec data-exchange-agent demo --rows {rows} --directory demo > said");
        let is_posted = async {
            let said = place.path().join("said");
            let posted = async || fs::read_to_string(&said).ok()?.contains("posted ").then_some(());
            eventually("a task of the demo", posted).await;
        };
        let finished = interrupted(&place, &script, &[], is_posted).await;
        if finished.code == Some(0) {
            continue;
        }
        assert_eq!(finished.code, Some(130), "{finished:?}");
        assert!(finished.stderr.contains("interrupted: the sample stays where it is"), "{finished:?}");
        assert!(place.path().join("demo/sample.sqlite").exists());
        return;
    }
    panic!("it always ended before the signal came");
}
