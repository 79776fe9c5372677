//! Reads of the queue: records, pages, counts.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Row, query, query_as, query_scalar};

use super::record::{AttemptRecord, AttemptState, Counts, Page, TaskRecord, TaskState};
use crate::task::{Extension, LeaseId, Report, Task, TaskId};

/// Most tasks of one page, whatever was asked for: bounds the memory of a listing.
pub(super) const MAX_PAGE: u32 = 1_000;

/// Selects whole records in one statement, so that a record is one consistent picture.
macro_rules! select_records {
    ($rest:literal) => {
        concat!(
            "SELECT sequence, id, spec, state, created_at, updated_at, eligible_at, receipt, ",
            "cancel_requested OR cancel_waits AS cancel_requested, ",
            "(SELECT json_group_array(json_object('number', number, 'state', state, ",
            "'started_at', started_at, 'finished_at', finished_at, 'report', json(report)) ORDER BY number) ",
            "FROM attempt WHERE attempt.task = task.sequence) AS attempts FROM task ",
            $rest
        )
    };
}

/// The task of this name.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    id: &TaskId,
) -> Result<Option<TaskRecord>, sqlx::Error> {
    let row = query(select_records!("WHERE id = ?1")).bind(id.as_str()).fetch_optional(connection).await?;
    row.map(|row| to_record(&row)).transpose()
}

/// The tasks of these names, as far as there are any.
pub(super) async fn records(
    connection: &mut SqliteConnection,
    ids: &[&TaskId],
) -> Result<Vec<TaskRecord>, sqlx::Error> {
    let ids = to_json(ids)?;
    let rows = query(select_records!("WHERE id IN (SELECT value FROM json_each(?1))"))
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter().map(to_record).collect()
}

/// Tasks that came before `before`, newest first.
pub(super) async fn page(
    pool: &SqlitePool,
    state: Option<TaskState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Page, sqlx::Error> {
    let limit = limit.min(MAX_PAGE);
    let statement = match state {
        Some(_) => {
            select_records!("WHERE state = ?3 AND sequence < ?1 ORDER BY sequence DESC LIMIT ?2")
        }
        None => select_records!("WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2"),
    };
    let rows = query(statement)
        .bind(before.unwrap_or(i64::MAX))
        // One more tells whether there is a next page.
        .bind(i64::from(limit) + 1)
        .bind(state.map(TaskState::as_str))
        .fetch_all(pool)
        .await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let tasks = rows.iter().take(shown).map(to_record).collect::<Result<Vec<_>, _>>()?;
    let next = if rows.len() > shown { tasks.last().map(|task| task.sequence) } else { None };
    Ok(Page { tasks, next })
}

/// The counters, which triggers keep up to date.
pub(super) async fn counts(pool: &SqlitePool) -> Result<Counts, sqlx::Error> {
    let rows: Vec<(String, i64)> = query_as("SELECT state, tasks FROM task_count").fetch_all(pool).await?;
    let mut counts = Counts::default();
    for (state, tasks) in rows {
        let counter = match to_state(&state)? {
            TaskState::Queued => &mut counts.queued,
            TaskState::Running => &mut counts.running,
            TaskState::Completed => &mut counts.completed,
            TaskState::Failed => &mut counts.failed,
            TaskState::Cancelled => &mut counts.cancelled,
        };
        *counter = u64::try_from(tasks).map_err(undecodable)?;
    }
    Ok(counts)
}

/// Completed tasks that are there, and those that were cleared out.
pub(super) async fn completed_ever(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    let tasks: i64 = query_scalar(
        "SELECT (SELECT tasks FROM task_count WHERE state = 'completed') \
         + (SELECT tasks FROM cleared_count WHERE state = 'completed')",
    )
    .fetch_one(pool)
    .await?;
    u64::try_from(tasks).map_err(undecodable)
}

/// When the first of the waiting tasks was accepted.
pub(super) async fn oldest_waiting(pool: &SqlitePool) -> Result<Option<Timestamp>, sqlx::Error> {
    let created: Option<i64> = query_scalar(
        "SELECT created_at FROM task INDEXED BY task_by_state WHERE state = 'queued' ORDER BY sequence LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    created.map(to_timestamp).transpose()
}

/// `INDEXED BY` for the reason that the statements of leasing have.
pub(super) const NEXT_ELIGIBLE: &str = "SELECT coalesce(\
     (SELECT 0 FROM task INDEXED BY task_ready WHERE state = 'queued' AND eligible_at IS NULL LIMIT 1), \
     (SELECT min(eligible_at) FROM task INDEXED BY task_back_off \
      WHERE state = 'queued' AND eligible_at IS NOT NULL))";

/// The end of the earliest back-off among the tasks that wait; a moment long past when one waits
/// for nothing but a worker.
pub(super) async fn next_eligible(pool: &SqlitePool) -> Result<Option<i64>, sqlx::Error> {
    query_scalar(NEXT_ELIGIBLE).fetch_one(pool).await
}

/// Which of these leases still run, in the same order.
pub(super) async fn extensions(pool: &SqlitePool, leases: &[LeaseId]) -> Result<Vec<Extension>, sqlx::Error> {
    let keys: Vec<_> = leases.iter().map(LeaseKey::parse).collect();
    let ids: Vec<_> = keys.iter().flatten().map(|key| &key.task).collect();
    let running: Vec<(String, u32, bool)> = query_as(
        "SELECT id, attempt, cancel_requested FROM task \
         WHERE state = 'running' AND id IN (SELECT value FROM json_each(?1))",
    )
    .bind(to_json(&ids)?)
    .fetch_all(pool)
    .await?;
    let extension = |key: &Option<LeaseKey>| {
        let Some(key) = key else { return Extension::Lost };
        let held =
            |(id, attempt, _): &&(String, u32, bool)| id == key.task.as_str() && *attempt == key.attempt;
        match running.iter().find(held) {
            None => Extension::Lost,
            Some((_, _, true)) => Extension::Cancelled,
            Some((_, _, false)) => Extension::Held,
        }
    };
    Ok(keys.iter().map(extension).collect())
}

/// What a lease id of this queue says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseKey {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
}

impl LeaseKey {
    /// `None` for an id that this queue never gave out.
    pub(super) fn parse(id: &LeaseId) -> Option<Self> {
        // A task id has no slash.
        let (task, attempt) = id.0.split_once('/')?;
        Some(Self { task: TaskId::parse(task).ok()?, attempt: attempt.parse().ok()? })
    }

    pub(super) fn id(&self) -> LeaseId {
        LeaseId(format!("{}/{}", self.task.as_str(), self.attempt))
    }
}

/// An attempt as the statement of [`select_records`] puts it together.
#[derive(Deserialize)]
struct AttemptRow {
    number: u32,
    state: AttemptState,
    started_at: i64,
    finished_at: Option<i64>,
    report: Option<Report>,
}

fn to_record(row: &SqliteRow) -> Result<TaskRecord, sqlx::Error> {
    let attempts: Vec<AttemptRow> = from_json(row.try_get("attempts")?)?;
    let receipt: Option<&str> = row.try_get("receipt")?;
    let eligible_at: Option<i64> = row.try_get("eligible_at")?;
    Ok(TaskRecord {
        task: to_task(row)?,
        state: to_state(row.try_get("state")?)?,
        created_at: to_timestamp(row.try_get("created_at")?)?,
        updated_at: to_timestamp(row.try_get("updated_at")?)?,
        eligible_at: eligible_at.map(to_timestamp).transpose()?,
        cancel_requested: row.try_get("cancel_requested")?,
        attempts: attempts.into_iter().map(to_attempt).collect::<Result<_, _>>()?,
        receipt: receipt.map(from_json).transpose()?,
        sequence: row.try_get("sequence")?,
    })
}

fn to_attempt(row: AttemptRow) -> Result<AttemptRecord, sqlx::Error> {
    Ok(AttemptRecord {
        number: row.number,
        state: row.state,
        started_at: to_timestamp(row.started_at)?,
        finished_at: row.finished_at.map(to_timestamp).transpose()?,
        report: row.report,
    })
}

/// The task of a row with the columns `id` and `spec`.
pub(super) fn to_task(row: &SqliteRow) -> Result<Task, sqlx::Error> {
    let id: String = row.try_get("id")?;
    Ok(Task { id: TaskId::parse(id).map_err(undecodable)?, spec: from_json(row.try_get("spec")?)? })
}

pub(super) fn to_state(name: &str) -> Result<TaskState, sqlx::Error> {
    TaskState::from_name(name).ok_or_else(|| undecodable(UnknownState))
}

pub(super) fn to_timestamp(milliseconds: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_millisecond(milliseconds).map_err(undecodable)
}

pub(super) fn to_json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(JsonFault::of(&error))))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| undecodable(JsonFault::of(&error)))
}

fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

#[derive(Debug, thiserror::Error)]
#[error("the state of a task has a name that this version does not know")]
struct UnknownState;

/// Where stored JSON is wrong. The text of serde's error can quote a value, so it is dropped.
#[derive(Debug, thiserror::Error)]
#[error("stored JSON has a {category:?} error at line {line}, column {column}")]
struct JsonFault {
    category: serde_json::error::Category,
    line: usize,
    column: usize,
}

impl JsonFault {
    fn of(error: &serde_json::Error) -> Self {
        Self { category: error.classify(), line: error.line(), column: error.column() }
    }
}
