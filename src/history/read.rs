//! Reads of the history: pages of runs and of lines.

use jiff::Timestamp;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, query};

use super::record::{LinePage, LineRecord, RunFilter, RunPage, RunRecord, RunState};
use crate::task::TaskId;

/// Most rows of one page, whatever was asked for: bounds the memory of a listing.
const MAX_PAGE: u32 = 1_000;

pub(super) async fn runs(pool: &SqlitePool, filter: &RunFilter) -> Result<RunPage, sqlx::Error> {
    let limit = filter.limit.map_or(MAX_PAGE, |limit| limit.get().min(MAX_PAGE));
    let mut statement = QueryBuilder::new(
        "SELECT sequence, task_source, task, attempt, state, source, destination, started_at, finished_at, \
         rows, bytes, files, report FROM run WHERE sequence < ",
    );
    statement.push_bind(filter.before.unwrap_or(i64::MAX));
    if let Some(state) = filter.state {
        statement.push(" AND state = ").push_bind(state.as_str());
    }
    if let Some(task) = &filter.task {
        statement.push(" AND task = ").push_bind(task.as_str().to_owned());
    }
    // One more tells whether there is a next page.
    statement.push(" ORDER BY sequence DESC LIMIT ").push_bind(i64::from(limit) + 1);
    let rows = statement.build().fetch_all(pool).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let runs = rows.iter().take(shown).map(to_run).collect::<Result<Vec<_>, _>>()?;
    let next = if rows.len() > shown { runs.last().map(|run| run.sequence) } else { None };
    Ok(RunPage { runs, next })
}

pub(super) async fn lines(
    pool: &SqlitePool,
    task: &TaskId,
    attempt: Option<u32>,
    after: i64,
    limit: u32,
) -> Result<LinePage, sqlx::Error> {
    let limit = limit.min(MAX_PAGE);
    let rows = query(
        "SELECT line.sequence, time, level, attempt, target, message, fields FROM line \
         JOIN run ON run.sequence = line.run \
         WHERE run.task = ?1 AND line.sequence > ?2 AND (?3 IS NULL OR attempt = ?3) \
         ORDER BY line.sequence LIMIT ?4",
    )
    .bind(task.as_str())
    .bind(after)
    .bind(attempt)
    .bind(i64::from(limit) + 1)
    .fetch_all(pool)
    .await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let lines = rows.iter().take(shown).map(to_line).collect::<Result<_, _>>()?;
    Ok(LinePage { lines, has_more: rows.len() > shown })
}

fn to_run(row: &SqliteRow) -> Result<RunRecord, sqlx::Error> {
    let count = |name: &str| -> Result<Option<u64>, sqlx::Error> {
        let count: Option<i64> = row.try_get(name)?;
        count.map(|count| u64::try_from(count).map_err(undecodable)).transpose()
    };
    let state: &str = row.try_get("state")?;
    let report: Option<&str> = row.try_get("report")?;
    let finished_at: Option<i64> = row.try_get("finished_at")?;
    Ok(RunRecord {
        sequence: row.try_get("sequence")?,
        task_source: row.try_get("task_source")?,
        task: TaskId::parse(row.try_get::<String, _>("task")?).map_err(undecodable)?,
        attempt: row.try_get("attempt")?,
        state: RunState::from_name(state).ok_or_else(|| undecodable(UnknownState))?,
        source: row.try_get("source")?,
        destination: row.try_get("destination")?,
        started_at: to_timestamp(row.try_get("started_at")?)?,
        finished_at: finished_at.map(to_timestamp).transpose()?,
        rows: count("rows")?,
        bytes: count("bytes")?,
        files: count("files")?,
        report: report.map(serde_json::from_str).transpose().map_err(|_json| undecodable(BrokenJson))?,
    })
}

fn to_line(row: &SqliteRow) -> Result<LineRecord, sqlx::Error> {
    let fields: &str = row.try_get("fields")?;
    Ok(LineRecord {
        sequence: row.try_get("sequence")?,
        time: to_timestamp(row.try_get("time")?)?,
        level: row.try_get("level")?,
        attempt: row.try_get("attempt")?,
        target: row.try_get("target")?,
        message: row.try_get("message")?,
        fields: serde_json::from_str(fields).map_err(|_json| undecodable(BrokenJson))?,
    })
}

fn to_timestamp(milliseconds: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_millisecond(milliseconds).map_err(undecodable)
}

fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

#[derive(Debug, thiserror::Error)]
#[error("the state of a run has a name that this version does not know")]
struct UnknownState;

/// The text of serde's error can quote a value, so it is dropped.
#[derive(Debug, thiserror::Error)]
#[error("stored JSON cannot be read")]
struct BrokenJson;
