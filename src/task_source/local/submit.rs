//! Accepting tasks: all calls of one batch in one look-up and one insert.

use std::collections::{HashMap, HashSet};

use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use super::read;
use super::record::{Submitted, TaskRecord, TaskState};
use crate::fault::Fault;
use crate::task::{Task, TaskId};

/// Why tasks were not accepted. None of the call was.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The name is taken by a task with another body.
    #[error("submit task `{id}`, whose id belongs to a task with another body")]
    Conflict {
        /// The name.
        id: TaskId,
    },
    /// The queue could not do it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A task and its spec as JSON, made by the caller so that the writer does not have to.
#[derive(Debug)]
pub(super) struct NewTask {
    pub(super) task: Task,
    pub(super) spec: String,
}

/// What became of one call: an answer for each task, or the id that is in the way.
pub(super) type Submission = Result<Vec<Submitted>, TaskId>;

/// Tasks accepted in this transaction, beside those that were there before.
struct Intake<'calls> {
    known: HashMap<TaskId, TaskRecord>,
    accepted: Vec<(&'calls NewTask, i64)>,
    /// Invariant: higher than that of every task in the file.
    next_sequence: i64,
    now: i64,
}

/// Accepts what `calls` ask for, each call as a whole or not at all; `next_sequence` moves on.
/// One call's conflict does not touch the others.
pub(super) async fn submit(
    connection: &mut SqliteConnection,
    calls: &[&[NewTask]],
    next_sequence: &mut i64,
    now: i64,
) -> Result<Vec<Submission>, sqlx::Error> {
    let ids: HashSet<&TaskId> = calls.iter().flat_map(|call| call.iter().map(|new| &new.task.id)).collect();
    let ids: Vec<&TaskId> = ids.into_iter().collect();
    let known = read::records(&mut *connection, &ids).await?;
    let known = known.into_iter().map(|record| (record.task.id.clone(), record)).collect();
    let mut intake = Intake { known, accepted: Vec::new(), next_sequence: *next_sequence, now };
    let answers = calls.iter().map(|call| intake.call(call)).collect::<Result<Vec<_>, _>>()?;
    insert(connection, &intake.accepted, now).await?;
    *next_sequence = intake.next_sequence;
    Ok(answers)
}

impl<'calls> Intake<'calls> {
    fn call(&mut self, call: &'calls [NewTask]) -> Result<Submission, sqlx::Error> {
        let mut first: HashMap<&TaskId, &Task> = HashMap::new();
        for NewTask { task, .. } in call {
            let taken = match self.known.get(&task.id) {
                Some(record) => Some(&record.task),
                None => first.insert(&task.id, task),
            };
            if taken.is_some_and(|taken| taken.spec != task.spec) {
                return Ok(Err(task.id.clone()));
            }
        }
        let mut answers = Vec::with_capacity(call.len());
        for new in call {
            let answer = match self.known.get(&new.task.id) {
                Some(record) => Submitted::Existing(record.clone()),
                None => Submitted::Created(self.accept(new)?),
            };
            answers.push(answer);
        }
        Ok(Ok(answers))
    }

    fn accept(&mut self, new: &'calls NewTask) -> Result<TaskRecord, sqlx::Error> {
        let record = TaskRecord {
            task: new.task.clone(),
            state: TaskState::Queued,
            created_at: read::to_timestamp(self.now)?,
            updated_at: read::to_timestamp(self.now)?,
            eligible_at: None,
            cancel_requested: false,
            attempts: Vec::new(),
            receipt: None,
            sequence: self.next_sequence,
        };
        self.accepted.push((new, self.next_sequence));
        self.next_sequence += 1;
        self.known.insert(new.task.id.clone(), record.clone());
        Ok(record)
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    accepted: &[(&NewTask, i64)],
    now: i64,
) -> Result<(), sqlx::Error> {
    if accepted.is_empty() {
        return Ok(());
    }
    let row = |(new, sequence): &(&NewTask, i64)| {
        // The spec stays a text inside the JSON, so that it is stored as it was written.
        serde_json::json!([
            sequence,
            new.task.id,
            new.spec,
            new.task.spec.priority,
            new.task.spec.max_attempts
        ])
    };
    let rows: Vec<_> = accepted.iter().map(row).collect();
    // One statement for all rows: each one costs two thread switches.
    query(
        "INSERT INTO task (sequence, id, spec, priority, max_attempts, state, created_at, updated_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 'queued', ?2, ?2 \
         FROM json_each(?1)",
    )
    .bind(read::to_json(&rows)?)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
