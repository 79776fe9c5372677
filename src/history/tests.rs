//! The history on real files.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::HistorySettings;
use crate::fault::FaultKind;
use crate::shutdown::Shutdown;
use crate::task::{Lease, LeaseId, Outcome, Receipt, Report, Task, TaskId, TaskSpec};
use crate::telemetry::{AttemptLine, LineSink};

/// Longer than anything here takes; only a defect reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("history-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    async fn open(&self) -> History {
        self.open_with(HistorySettings::default()).await
    }

    async fn open_with(&self, settings: HistorySettings) -> History {
        History::open(&self.0, settings, &Shutdown::new()).await.expect("the history opens")
    }

    fn file(&self) -> PathBuf {
        self.0.join("history.sqlite")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn lease(id: &str, attempt: u32) -> Lease {
    let spec = TaskSpec { max_attempts: 3, ..TaskSpec::sample() };
    let task = Task { id: TaskId::parse(id).unwrap(), spec };
    Lease { id: LeaseId(format!("{id}/{attempt}")), task, attempt, failures_before: 0 }
}

fn line(message: &str) -> AttemptLine {
    let mut fields = Map::new();
    fields.insert("rows".into(), Value::from(7));
    AttemptLine {
        time: Timestamp::now(),
        level: "info",
        target: "data_exchange_agent::x".into(),
        message: message.into(),
        fields,
    }
}

async fn states(history: &History) -> Vec<(String, u32, RunState)> {
    let page = history.runs(&RunFilter::default()).await.unwrap();
    page.runs.into_iter().map(|run| (run.task.to_string(), run.attempt, run.state)).collect()
}

async fn messages(history: &History, task: &str) -> Vec<String> {
    let page = history.lines(&TaskId::parse(task).unwrap(), None, 0, 1_000).await.unwrap();
    page.lines.into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn every_ending_is_kept_with_its_papers() {
    let place = Place::new();
    let history = place.open().await;
    let report = Report {
        kind: FaultKind::Transient,
        message: "read \"rows\"".into(),
        hint: Some("wait".into()),
        files_left: true,
        method: None,
        at: Timestamp::from_millisecond(1_000).unwrap(),
    };
    let receipt = Receipt { rows: 42, bytes: 1_000, ..Receipt::default() };
    let retry = Outcome::Retry { after: Duration::ZERO, report: report.clone() };
    for (id, outcome) in [
        ("a", &Outcome::Completed(receipt)),
        ("b", &retry),
        ("c", &Outcome::Failed(report.clone())),
        ("d", &Outcome::Cancelled),
        ("e", &Outcome::Released),
    ] {
        history.begin("local", &lease(id, 1)).end(RunOutcome::Ended(outcome));
    }
    history.begin("snowflake", &lease("f", 2)).end(RunOutcome::Lost);
    let running = history.begin("local", &lease("g", 1));
    let runs = history.runs(&RunFilter::default()).await.unwrap().runs;
    let states: Vec<_> = runs.iter().map(|run| (run.task.as_str(), run.state)).collect();
    assert_eq!(
        states,
        [
            ("g", RunState::Running),
            ("f", RunState::Lost),
            ("e", RunState::Released),
            ("d", RunState::Cancelled),
            ("c", RunState::Failed),
            ("b", RunState::Failed),
            ("a", RunState::Completed),
        ]
    );
    assert_eq!((runs[1].task_source.as_str(), runs[1].attempt), ("snowflake", 2));
    assert_eq!((runs[6].rows, runs[6].bytes, runs[6].files), (Some(42), Some(1_000), Some(0)));
    assert_eq!(runs[5].report, Some(report));
    assert!(runs[0].finished_at.is_none() && runs[1].finished_at.is_some());
    drop(running);
    history.close().await;
}

#[tokio::test]
async fn what_an_agent_left_running_is_interrupted_and_numbers_go_on() {
    let place = Place::new();
    let history = place.open().await;
    let log = history.begin("local", &lease("a", 1));
    log.line(line("begun"));
    history.close().await;
    let history = place.open().await;
    assert_eq!(states(&history).await, [("a".to_owned(), 1, RunState::Interrupted)]);
    history.begin("local", &lease("a", 2)).line(line("again"));
    assert_eq!(states(&history).await.len(), 2);
    assert_eq!(messages(&history, "a").await, ["begun", "again"]);
    let second = history.lines(&TaskId::parse("a").unwrap(), Some(2), 0, 10).await.unwrap().lines;
    assert_eq!(second[0].fields, *json!({"rows": 7}).as_object().unwrap());
    history.close().await;
}

#[tokio::test]
async fn lines_come_in_pages_behind_their_cursor() {
    let place = Place::new();
    let history = place.open().await;
    let log = history.begin("local", &lease("a", 1));
    for number in 0..7 {
        log.line(line(&number.to_string()));
    }
    let id = TaskId::parse("a").unwrap();
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = history.lines(&id, None, after, 3).await.unwrap();
        seen.extend(page.lines.iter().map(|line| line.message.clone()));
        after = page.lines.last().unwrap().sequence;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6"]);
    history.close().await;
}

#[tokio::test]
async fn what_is_too_much_goes_and_the_newest_stays() {
    let place = Place::new();
    let settings = HistorySettings { max_runs: 2, max_lines: 3, ..HistorySettings::default() };
    let history = place.open().await;
    for id in ["a", "b", "c"] {
        let log = history.begin("local", &lease(id, 1));
        log.line(line("first"));
        log.line(line("second"));
        log.end(RunOutcome::Ended(&Outcome::Cancelled));
    }
    history.close().await;
    // Cleared out when it is opened, and then once a minute.
    let history = place.open_with(settings).await;
    let cleared = async {
        while states(&history).await.len() > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, cleared).await.expect("the oldest run goes");
    let left: Vec<String> = states(&history).await.into_iter().map(|(task, ..)| task).collect();
    assert_eq!(left, ["c", "b"]);
    assert_eq!(messages(&history, "a").await, [""; 0]);
    assert_eq!(messages(&history, "b").await, ["second"]);
    assert_eq!(messages(&history, "c").await, ["first", "second"]);
    history.close().await;
}

#[tokio::test]
async fn what_is_too_old_goes_but_never_a_run_that_runs() {
    let place = Place::new();
    let history = place.open().await;
    let running = history.begin("local", &lease("running", 1));
    history.begin("local", &lease("old", 1)).end(RunOutcome::Ended(&Outcome::Cancelled));
    running.line(line("old"));
    history.close().await;
    // Everything that has ended is older than no time at all.
    let history =
        place.open_with(HistorySettings { keep: Duration::ZERO, ..HistorySettings::default() }).await;
    let young = history.begin("local", &lease("young", 1));
    let cleared = async {
        while states(&history).await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, cleared).await.expect("the old runs go");
    assert_eq!(states(&history).await, [("young".to_owned(), 1, RunState::Running)]);
    assert_eq!(messages(&history, "running").await, [""; 0]);
    drop(young);
    history.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_a_new_history_begins() {
    let place = Place::new();
    std::fs::write(place.file(), "this is no database, and it is long enough to be taken for one").unwrap();
    let history = place.open().await;
    history.begin("local", &lease("a", 1)).end(RunOutcome::Ended(&Outcome::Cancelled));
    assert_eq!(states(&history).await.len(), 1);
    assert!(place.0.join("history.sqlite.unreadable").exists());
    history.close().await;
    // A second time, and what was put aside before stays.
    std::fs::write(place.file(), "this is no database either, and long enough to be taken for one").unwrap();
    place.open().await.close().await;
    let aside = |name: &str| std::fs::read_to_string(place.0.join(name)).unwrap();
    assert!(aside("history.sqlite.unreadable").starts_with("this is no database, "));
    assert!(aside("history.sqlite.unreadable.2").starts_with("this is no database either"));
}

#[tokio::test]
async fn an_attempt_that_logs_without_end_is_cut_short_and_counted() {
    let place = Place::new();
    let history = place.open().await;
    let log = history.begin("local", &lease("a", 1));
    for _ in 0..20_000 {
        log.line(line("again"));
    }
    log.end(RunOutcome::Ended(&Outcome::Cancelled));
    let limit = NonZeroU32::new(1);
    let page = history.runs(&RunFilter { limit, ..RunFilter::default() }).await.unwrap();
    assert_eq!(page.runs[0].state, RunState::Cancelled, "runs have places that lines cannot take");
    history.close().await;
    assert!(history.dropped() >= 10_000, "{}", history.dropped());
    let mut connection = super::database::open_writer(&place.file()).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM line").fetch_one(&mut connection).await.unwrap();
    assert_eq!(u64::try_from(kept).unwrap() + history.dropped(), 20_000);
    assert!(kept > 0);
}

#[tokio::test]
async fn a_file_that_is_in_use_elsewhere_costs_entries_and_never_time() {
    let place = Place::new();
    let history = place.open().await;
    let mut other = super::database::open_writer(&place.file()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let log = history.begin("local", &lease("a", 1));
    log.line(line("nobody will read this"));
    until_dropped(&history, 1).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    log.end(RunOutcome::Ended(&Outcome::Cancelled));
    assert_eq!(states(&history).await, [("a".to_owned(), 1, RunState::Cancelled)]);
    history.close().await;
}

async fn until_dropped(history: &History, count: u64) {
    let dropped = async {
        while history.dropped() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("lines are dropped and counted");
}

#[tokio::test]
async fn the_end_of_a_run_is_written_when_the_file_is_free_again() {
    let place = Place::new();
    let history = place.open().await;
    let log = history.begin("local", &lease("a", 1));
    assert_eq!(states(&history).await, [("a".to_owned(), 1, RunState::Running)]);
    let mut other = super::database::open_writer(&place.file()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    log.line(line("nobody will read this"));
    log.end(RunOutcome::Ended(&Outcome::Cancelled));
    until_dropped(&history, 1).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let written = async {
        while states(&history).await != [("a".to_owned(), 1, RunState::Cancelled)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the run ends");
    assert_eq!(history.dropped(), 1, "the line");
    history.close().await;
}

#[tokio::test]
async fn an_agent_begins_without_a_history_that_another_program_holds_and_gets_it_later() {
    let place = Place::new();
    let history = place.open().await;
    history.begin("local", &lease("before", 1)).end(RunOutcome::Ended(&Outcome::Cancelled));
    history.close().await;
    let mut other = super::database::open_writer(&place.file()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let history = place.open().await;
    assert!(!place.0.join("history.sqlite.unreadable").exists(), "a good file stays where it is");
    let log = history.begin("local", &lease("now", 1));
    log.line(line("lost"));
    until_dropped(&history, 1).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    log.line(line("kept"));
    log.end(RunOutcome::Ended(&Outcome::Cancelled));
    let cancelled = |task: &str| (task.to_owned(), 1, RunState::Cancelled);
    let written = async {
        while states(&history).await != [cancelled("now"), cancelled("before")] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the run is written");
    assert_eq!(messages(&history, "now").await, ["kept"]);
    history.close().await;
}

#[tokio::test]
async fn a_file_of_a_newer_version_stays_where_it_is() {
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = super::database::open_writer(&place.file()).await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    super::database::close(connection).await;
    let history = place.open().await;
    history.begin("local", &lease("a", 1)).end(RunOutcome::Ended(&Outcome::Cancelled));
    history.close().await;
    assert!(!place.0.join("history.sqlite.unreadable").exists());
    assert_eq!(history.dropped(), 1, "the run has no place");
}

#[cfg(unix)]
#[tokio::test]
async fn only_this_user_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let history = place.open().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.file()), 0o600);
    history.close().await;
}
