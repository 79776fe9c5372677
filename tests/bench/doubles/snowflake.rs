//! The double of Snowflake: sessions, the queue with its state machine, and one encrypted stage on an
//! S3-compatible store that is there already.
//!
//! It prints `listening on <address>`, obeys the lines of its standard input, answers each with one line
//! of JSON, and ends with its input:
//!
//! ```text
//! enqueue <count> <payload>     tasks bench-0 ... with this payload
//! report                        what was asked of it since the last report, and the states of the queue
//! span                          seconds from the first pull to the last completion
//! decrypt <path> <folder>       the files below <path> of the stage, as their readers get them
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::queue::{Queue, State, Version};
use crate::support::snowflake::queue_server::mount;
use crate::support::snowflake::stage::Stage;
use crate::support::snowflake::stage_storage::Backend;

/// Bytes of the master key, as Snowflake's default has it.
const KEY_BYTES: usize = 16;

/// When tasks were handed out first, and when the last one was ended.
#[derive(Default)]
struct Span {
    first_pull: Option<Instant>,
    last_end: Option<Instant>,
}

/// Serves until standard input ends.
pub(crate) async fn serve(endpoint: &str, bucket: &str, credentials: [&str; 2]) {
    let double = SnowflakeDouble::start().await;
    let queue = Arc::new(Queue::new(Version::Ours));
    let span = Arc::new(Mutex::new(Span::default()));
    watch(&double, &queue, &span);
    mount(&queue, &double);
    let stage = Stage::on(&double, Backend::store(endpoint, bucket, credentials), Some(KEY_BYTES));
    println!("listening on {}", double.address());

    let mut reported = Reported::default();
    let mut lines = std::io::stdin().lines();
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        let line = line.expect("standard input is text");
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let answer = match word() {
            "enqueue" => {
                let count: usize = word().parse().expect("a number of tasks");
                let payload: Value = serde_json::from_str(word()).expect("a payload is JSON");
                for number in 0..count {
                    queue.enqueue(&format!("bench-{number}"), &payload);
                }
                json!({"enqueued": count})
            }
            "report" => reported.report(&double, &queue),
            "span" => {
                let span = span.lock().expect("no holder panics");
                let seconds =
                    span.first_pull.zip(span.last_end).map(|(first, last)| (last - first).as_secs_f64());
                json!({"span_seconds": seconds})
            }
            "decrypt" => {
                let (path, folder) = (word(), word());
                let names = stage.backend.names(path).await;
                for name in &names {
                    let content = stage.read(&format!("{path}/{name}")).await;
                    std::fs::write(Path::new(folder).join(name), content).expect("write a file");
                }
                json!({"files": names.len()})
            }
            other => json!({"unknown": other}),
        };
        println!("{answer}");
    }
}

/// Notes when the queue begins and ends. A pull that gives nothing is neither.
fn watch(double: &SnowflakeDouble, queue: &Arc<Queue>, span: &Arc<Mutex<Span>>) {
    let (queue, span) = (Arc::clone(queue), Arc::clone(span));
    double.on(move |call| {
        let mut span = span.lock().expect("no holder panics");
        if call.sql.contains(".PULL_TASKS(") && queue.count(State::Queued) > 0 {
            span.first_pull.get_or_insert_with(Instant::now);
        } else if call.sql.contains(".COMPLETE_TASK(") {
            span.last_end = Some(Instant::now());
        }
        None
    });
}

/// What earlier reports have told.
#[derive(Default)]
struct Reported {
    statements: usize,
    requests: usize,
    busy: Duration,
}

impl Reported {
    fn report(&mut self, double: &SnowflakeDouble, queue: &Queue) -> Value {
        let executed = double.executed();
        let mut statements: BTreeMap<String, usize> = BTreeMap::new();
        for sql in &executed[self.statements..] {
            *statements.entry(kind(sql)).or_default() += 1;
        }
        let (requests, busy) = (double.requests(), double.busy());
        let states: BTreeMap<&str, usize> = [State::Queued, State::Leased, State::Completed, State::Failed]
            .map(|state| (state.as_str(), queue.count(state)))
            .into();
        let answer = json!({
            "statements": statements, "requests": requests - self.requests,
            "busy_seconds": (busy - self.busy).as_secs_f64(),
            "states": states, "logins": double.logins(),
        });
        *self = Self { statements: executed.len(), requests, busy };
        answer
    }
}

/// The procedure that is called, or the first word.
fn kind(sql: &str) -> String {
    let first = sql.split([' ', '(']).next().unwrap_or_default();
    match sql.strip_prefix("CALL ").and_then(|call| call.split('(').next()) {
        Some(name) => name.rsplit('.').next().unwrap_or(name).to_owned(),
        None => first.to_owned(),
    }
}
