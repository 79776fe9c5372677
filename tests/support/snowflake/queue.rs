//! The queue of docs/snowflake/setup.sql as a state machine: the table in docs/snowflake/queue.md, and
//! nothing else. A test holds the two together.
//!
//! It can also play a server of version 1.2.0, which has the four old procedures only, completes a task
//! once, and opens a finished task again when it is failed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A lease lives this long.
pub(crate) const LEASE: Duration = Duration::from_secs(300);
/// Leases in a row that may run out; one more fails the task.
const INTERRUPTIONS: u32 = 5;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Leased,
    Completed,
    Failed,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Leased => "LEASED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A row of the table of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) payload: String,
    pub(crate) affinity: Option<String>,
    pub(crate) priority: i64,
    pub(crate) sequence: u64,
    pub(crate) state: State,
    pub(crate) eligible_at: Duration,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) max_attempts: u32,
    pub(crate) interruptions: u32,
    pub(crate) holder: Option<String>,
    pub(crate) expires_at: Duration,
    pub(crate) finished_by: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) receipt: Option<String>,
    /// How often the task went from LEASED to COMPLETED.
    pub(crate) completions: u32,
}

impl Row {
    /// True when an agent of this affinity could take it.
    fn is_suitable(&self, now: Duration, affinity: Option<&String>) -> bool {
        self.state == State::Queued
            && self.eligible_at <= now
            && (self.affinity.is_none() || self.affinity.as_ref() == affinity)
    }
}

/// What a procedure answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Names and types.
    pub(crate) columns: Vec<(&'static str, &'static str)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Answer {
    fn one(name: &'static str, kind: &'static str, value: impl Into<Value>) -> Self {
        Self { columns: vec![(name, kind)], rows: vec![vec![value.into()]] }
    }

    fn truth(name: &'static str, truth: bool) -> Self {
        // As JSON results write a boolean.
        Self::one(name, "boolean", if truth { "1" } else { "0" })
    }
}

/// Which server is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// docs/snowflake/setup.sql.
    #[default]
    Ours,
    /// The four procedures of 1.2.0 with their hazards.
    Old,
}

/// A queue; shared by reference.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    version: Version,
    state: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    tasks: BTreeMap<String, Row>,
    sequence: u64,
    calls: Vec<(String, Vec<Option<String>>)>,
    /// What the clock of the server is ahead.
    ahead: Duration,
    begun: Option<Instant>,
    numbers: bool,
}

impl Tables {
    fn now(&mut self) -> Duration {
        self.begun.get_or_insert_with(Instant::now).elapsed() + self.ahead
    }

    /// The row of a task that an agent holds.
    fn held(&mut self, id: &str, agent: &str) -> Option<&mut Row> {
        let row = self.tasks.get_mut(id)?;
        (row.state == State::Leased && row.holder.as_deref() == Some(agent)).then_some(row)
    }
}

impl Row {
    fn end_lease(&mut self, state: State) {
        self.state = state;
        self.holder = None;
    }
}

impl Queue {
    pub(crate) fn new(version: Version) -> Self {
        Self { version, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids of tasks come as NUMBER, as they do from some servers.
    pub(crate) fn use_numbers(&self) {
        self.lock().numbers = true;
    }

    /// Puts the clock of the server ahead.
    pub(crate) fn advance(&self, by: Duration) {
        self.lock().ahead += by;
    }

    /// A task with defaults.
    pub(crate) fn enqueue(&self, id: &str, payload: &Value) {
        self.enqueue_text(id, &payload.to_string());
    }

    /// A task whose payload is this text.
    pub(crate) fn enqueue_text(&self, id: &str, payload: &str) {
        let arguments = [Some(id), Some(payload), None, None, None].map(|text| text.map(str::to_owned));
        self.call("ENQUEUE_TASK", &arguments).expect("a procedure of ours");
    }

    pub(crate) fn row(&self, id: &str) -> Option<Row> {
        self.lock().tasks.get(id).cloned()
    }

    /// Changes a row as a person with SQL would.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Row)) {
        change(self.lock().tasks.get_mut(id).expect("the task is there"));
    }

    pub(crate) fn rows(&self) -> BTreeMap<String, Row> {
        self.lock().tasks.clone()
    }

    /// How many tasks are in a state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.lock().tasks.values().filter(|row| row.state == state).count()
    }

    /// How often a procedure was called.
    pub(crate) fn calls(&self, name: &str) -> usize {
        self.lock().calls.iter().filter(|(called, _)| called == name).count()
    }

    /// Arguments of every call of a procedure.
    pub(crate) fn arguments(&self, name: &str) -> Vec<Vec<Option<String>>> {
        let tables = self.lock();
        let calls = tables.calls.iter().filter(|(called, _)| called == name);
        calls.map(|(_, arguments)| arguments.clone()).collect()
    }

    /// The leases of one agent run out, as they do when it died five minutes ago.
    pub(crate) fn expire_leases_of(&self, agent: &str) {
        let mut tables = self.lock();
        let now = tables.now();
        for row in tables.tasks.values_mut() {
            if row.state == State::Leased && row.holder.as_deref() == Some(agent) {
                row.expires_at = now.saturating_sub(Duration::from_millis(1));
            }
        }
        drop(tables);
        self.call("EXPIRE_LEASES", &[]).expect("a procedure of ours");
    }

    /// Five minutes pass at once, without anybody refreshing a lease.
    pub(crate) fn expire_unrefreshed_leases(&self) {
        self.advance(LEASE + Duration::from_millis(1));
        self.call("EXPIRE_LEASES", &[]).expect("a procedure of ours");
    }

    /// The names that `INFORMATION_SCHEMA.PROCEDURES` lists.
    pub(crate) fn procedures(&self) -> &'static [&'static str] {
        match self.version {
            Version::Ours => &[
                "PULL_TASKS",
                "COMPLETE_TASK",
                "FAIL_TASK",
                "REFRESH_LEASES",
                "EXTEND_LEASES",
                "RELEASE_TASK",
                "REJECT_TASK",
                "RECORD_HISTORY",
                "ENQUEUE_TASK",
                "RETRY_TASK",
                "QUEUE_DEPTH",
                "EXPIRE_LEASES",
            ],
            Version::Old => &["PULL_TASKS", "COMPLETE_TASK", "FAIL_TASK", "REFRESH_LEASES"],
        }
    }

    /// Calls a procedure. `None` when there is none of this name and number of arguments.
    pub(crate) fn call(&self, name: &str, arguments: &[Option<String>]) -> Option<Answer> {
        let mut tables = self.lock();
        let now = tables.now();
        let text = |place: usize| arguments.get(place).cloned().flatten().unwrap_or_default();
        let is_ours = self.version == Version::Ours;
        let answer = match (name, arguments.len()) {
            ("PULL_TASKS", 4) => pull(&mut tables, now, arguments),
            ("COMPLETE_TASK", 2 | 3) if is_ours || arguments.len() == 2 => {
                let (agent, id) = (text(0), text(1));
                let receipt = arguments.get(2).cloned().flatten();
                Answer::truth("COMPLETE_TASK", complete(&mut tables, &agent, &id, receipt, is_ours))
            }
            ("FAIL_TASK", 3) => {
                let (id, agent, message) = (text(0), text(1), text(2));
                Answer::truth("FAIL_TASK", fail(&mut tables, now, &id, &agent, &message, is_ours))
            }
            ("REFRESH_LEASES", 1) => {
                let agent = text(0);
                let mut found = false;
                for row in tables.tasks.values_mut() {
                    if row.state == State::Leased && row.holder.as_deref() == Some(&agent) {
                        row.expires_at = now + LEASE;
                        found = true;
                    }
                }
                Answer::truth("REFRESH_LEASES", found)
            }
            ("EXTEND_LEASES", 2) if is_ours => {
                let (agent, ids) = (text(0), text(1));
                let ids: Vec<String> = serde_json::from_str(&ids).expect("a JSON array of texts");
                let mut held = Vec::new();
                for id in ids {
                    if let Some(row) = tables.held(&id, &agent) {
                        row.expires_at = now + LEASE;
                        held.push(vec![json!(id)]);
                    }
                }
                Answer { columns: vec![("ID", "text")], rows: held }
            }
            ("RELEASE_TASK", 2) if is_ours => {
                let (id, agent) = (text(0), text(1));
                let released = tables.held(&id, &agent).map(|row| {
                    row.end_lease(State::Queued);
                    row.eligible_at = now;
                    row.interruptions = 0;
                });
                Answer::truth("RELEASE_TASK", released.is_some())
            }
            ("REJECT_TASK", 3) if is_ours => {
                let (id, agent, message) = (text(0), text(1), text(2));
                let rejected = tables.held(&id, &agent).map(|row| {
                    row.end_lease(State::Failed);
                    row.failures += 1;
                    row.interruptions = 0;
                    row.last_error = Some(message);
                    row.finished_by = Some(agent.clone());
                });
                Answer::truth("REJECT_TASK", rejected.is_some())
            }
            ("RECORD_HISTORY", 2) if is_ours => Answer::truth("RECORD_HISTORY", true),
            ("ENQUEUE_TASK", 5) => enqueue(&mut tables, now, arguments),
            ("RETRY_TASK", 1) if is_ours => {
                let row = tables.tasks.get_mut(&text(0)).filter(|row| row.state == State::Failed);
                let retried = row.map(|row| {
                    row.state = State::Queued;
                    row.eligible_at = now;
                    row.failures = 0;
                    row.interruptions = 0;
                    row.finished_by = None;
                });
                Answer::truth("RETRY_TASK", retried.is_some())
            }
            ("QUEUE_DEPTH", 1) if is_ours => {
                let affinity = arguments[0].clone();
                let depth =
                    tables.tasks.values().filter(|row| row.is_suitable(now, affinity.as_ref())).count();
                Answer::one("QUEUE_DEPTH", "fixed", depth.to_string())
            }
            ("EXPIRE_LEASES", 0) => {
                Answer::one("EXPIRE_LEASES", "fixed", expire(&mut tables, now).to_string())
            }
            _ => return None,
        };
        tables.calls.push((name.to_owned(), arguments.to_vec()));
        Some(answer)
    }
}

fn enqueue(tables: &mut Tables, now: Duration, arguments: &[Option<String>]) -> Answer {
    let id = arguments[0].clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    tables.sequence += 1;
    let number = |place: usize| arguments[place].as_ref().and_then(|text| text.parse::<u32>().ok());
    let row = Row {
        payload: arguments[1].clone().expect("a payload"),
        affinity: arguments[2].clone(),
        priority: number(3).unwrap_or(0).into(),
        sequence: tables.sequence,
        state: State::Queued,
        eligible_at: now,
        attempt: 0,
        failures: 0,
        max_attempts: number(4).unwrap_or(3),
        interruptions: 0,
        holder: None,
        expires_at: Duration::ZERO,
        finished_by: None,
        last_error: None,
        receipt: None,
        completions: 0,
    };
    tables.tasks.entry(id.clone()).or_insert(row);
    Answer::one("ENQUEUE_TASK", "text", id)
}

fn pull(tables: &mut Tables, now: Duration, arguments: &[Option<String>]) -> Answer {
    let agent = arguments[0].clone().expect("an agent has an id");
    assert_eq!(arguments[1].as_deref(), Some("data-exchange-agent"));
    let affinity = arguments[2].clone();
    let limit: usize = arguments[3].as_deref().and_then(|limit| limit.parse().ok()).expect("a number");
    let numbers = tables.numbers;
    let mut suitable: Vec<(&String, &mut Row)> =
        tables.tasks.iter_mut().filter(|(_, row)| row.is_suitable(now, affinity.as_ref())).collect();
    suitable.sort_by_key(|(_, row)| (-row.priority, row.sequence));
    let lease = |(id, row): (&String, &mut Row)| {
        row.state = State::Leased;
        row.attempt += 1;
        row.holder = Some(agent.clone());
        row.expires_at = now + LEASE;
        vec![json!(id), json!(row.payload), json!(row.attempt.to_string())]
    };
    let rows = suitable.into_iter().take(limit).map(lease).collect();
    let kind = if numbers { "fixed" } else { "text" };
    Answer { columns: vec![("ID", kind), ("PAYLOAD", "variant"), ("ATTEMPT", "fixed")], rows }
}

fn complete(tables: &mut Tables, agent: &str, id: &str, receipt: Option<String>, is_ours: bool) -> bool {
    if let Some(row) = tables.held(id, agent) {
        row.end_lease(State::Completed);
        row.completions += 1;
        row.receipt = receipt;
        row.finished_by = Some(agent.to_owned());
        return true;
    }
    let Some(row) = tables.tasks.get(id) else { return false };
    is_ours && row.state == State::Completed && row.finished_by.as_deref() == Some(agent)
}

fn fail(tables: &mut Tables, now: Duration, id: &str, agent: &str, message: &str, is_ours: bool) -> bool {
    let is_hazard = !is_ours && tables.tasks.get(id).is_some_and(|row| row.state == State::Completed);
    if is_hazard {
        // What version 1.2.0 has to live with.
        tables.tasks.get_mut(id).expect("it was just there").state = State::Queued;
        return true;
    }
    let Some(row) = tables.held(id, agent) else { return false };
    let back_off = Duration::from_secs(900.min(10 * 2_u64.pow(row.failures.min(20))));
    row.failures += 1;
    row.interruptions = 0;
    row.last_error = Some(message.to_owned());
    row.eligible_at = now + back_off;
    if row.failures >= row.max_attempts {
        row.end_lease(State::Failed);
        row.finished_by = Some(agent.to_owned());
    } else {
        row.end_lease(State::Queued);
    }
    true
}

fn expire(tables: &mut Tables, now: Duration) -> usize {
    let over = tables.tasks.values_mut().filter(|row| row.state == State::Leased && row.expires_at < now);
    let expire = |row: &mut Row| {
        row.interruptions += 1;
        row.eligible_at = now;
        row.end_lease(if row.interruptions >= INTERRUPTIONS { State::Failed } else { State::Queued });
    };
    over.map(expire).count()
}
