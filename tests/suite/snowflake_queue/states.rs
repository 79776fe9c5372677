//! The documented table of states and calls, and the double that does what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::snowflake::queue::{Answer, Queue, State, Version};

const QUEUE_PAGE: &str = include_str!("../../../docs/snowflake/queue.md");

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
