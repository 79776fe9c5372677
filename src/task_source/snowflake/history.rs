//! Writes runs and their log lines to Snowflake, beside the queue there.
//!
//! In batches, and never in the way of the work: what cannot be written is dropped with a warning, and the
//! local history has it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::procedures::Procedures;
use crate::config::SnowflakeProcedures;
use crate::history::{RunRecord, Told};
use crate::shutdown::Shutdown;
use crate::snowflake::Client;

/// How long the first entry of a batch waits for others.
const GATHER: Duration = Duration::from_secs(5);
/// Entries of a batch at most.
const BATCH: usize = 500;
/// Bytes of a batch at most, about.
const BATCH_BYTES: usize = 1 << 20;
/// How long nothing is written after a failure.
const PAUSE: Duration = Duration::from_secs(60);
/// How often a failure is warned about.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// Writes what arrives until the history is closed, in a task of `shutdown`.
pub fn write_history(
    client: Client,
    settings: &SnowflakeProcedures,
    told: mpsc::Receiver<Told>,
    shutdown: &Shutdown,
) {
    let writer = Writer {
        procedures: Procedures::new(client, settings, None),
        agent: settings.agent_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        told,
        paused_until: None,
        warned: None,
    };
    shutdown.spawn(writer.run());
}

struct Writer {
    procedures: Procedures,
    agent: String,
    told: mpsc::Receiver<Told>,
    paused_until: Option<Instant>,
    warned: Option<Instant>,
}

/// What one call writes.
#[derive(Debug, Default)]
struct Batch {
    /// By task source, task and attempt: the last record of a run has everything.
    runs: HashMap<(String, String, u32), Value>,
    lines: Vec<Value>,
    bytes: usize,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.told.recv().await {
            let mut batch = Batch::default();
            batch.add(&first);
            let deadline = Instant::now() + GATHER;
            while batch.has_room() {
                match tokio::time::timeout_at(deadline, self.told.recv()).await {
                    Ok(Some(told)) => batch.add(&told),
                    Ok(None) | Err(_) => break,
                }
            }
            self.write(batch).await;
        }
    }

    async fn write(&mut self, batch: Batch) {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.paused_until = None;
        let entries = batch.runs.len() + batch.lines.len();
        match self.procedures.record(&self.agent, &batch.into_json()).await {
            Ok(true) => {}
            // An older server side: there is nothing to write to.
            Ok(false) => self.paused_until = Some(Instant::now() + WARN_EVERY),
            Err(fault) => {
                self.paused_until = Some(Instant::now() + PAUSE);
                if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    self.warned = Some(Instant::now());
                    tracing::warn!(
                        entries,
                        error = fault.chain(),
                        hint = fault.hint(),
                        "runs and log lines could not be written to Snowflake; the work goes on, and the local \
                         history has them"
                    );
                }
            }
        }
    }
}

impl Batch {
    fn has_room(&self) -> bool {
        self.runs.len() + self.lines.len() < BATCH && self.bytes < BATCH_BYTES
    }

    fn add(&mut self, told: &Told) {
        match told {
            Told::Run(run) => {
                let error = run.report.as_ref().map(|report| {
                    json!({"kind": report.kind, "message": report.message,
                    "hint": report.hint})
                });
                let entry = json!({
                    "task_source": run.task_source,
                    "task": run.task,
                    "attempt": run.attempt,
                    "status": run.state,
                    "source": run.source,
                    "destination": run.destination,
                    "started_at": run.started_at,
                    "finished_at": run.finished_at,
                    "rows": run.rows,
                    "bytes": run.bytes,
                    "files": run.files,
                    "error": error,
                });
                self.bytes += 512 + run.report.as_ref().map_or(0, |report| report.message.len());
                self.runs.insert(key(run), entry);
            }
            Told::Line { run, line } => {
                let entry = json!({
                    "task_source": run.task_source,
                    "task": run.task,
                    "attempt": run.attempt,
                    "time": line.time,
                    "level": line.level,
                    "target": line.target,
                    "message": line.message,
                    "fields": line.fields,
                });
                self.bytes += entry.to_string().len();
                self.lines.push(entry);
            }
        }
    }

    fn into_json(self) -> Value {
        json!({"runs": self.runs.into_values().collect::<Vec<_>>(), "lines": self.lines})
    }
}

fn key(run: &RunRecord) -> (String, String, u32) {
    (run.task_source.clone(), run.task.to_string(), run.attempt)
}
