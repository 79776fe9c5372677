//! Changes of single tasks, inside the writer's transaction.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query, query_scalar};

use super::read::{self, LeaseKey};
use super::record::{Cancelled, Retried, TaskState};
use super::standing::{Ending, Standing, moment_after};
use crate::retry::Backoff;
use crate::task::{Finished, Lease, Outcome, TaskId};

/// What a transaction did, to be told after its commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Tasks that changed.
    pub(super) changed: Vec<TaskId>,
    /// Whether a task waits for a worker, or for a back-off, that did not before.
    pub(super) new_work: bool,
}

/// The end of an attempt, ready to be stored.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    pub(super) lease: LeaseKey,
    ending: Ending,
    receipt: Option<String>,
    report: Option<String>,
}

impl Finish {
    pub(super) fn new(lease: LeaseKey, outcome: &Outcome) -> Result<Self, sqlx::Error> {
        let (receipt, report) = match outcome {
            Outcome::Completed(receipt) => (Some(read::to_json(receipt)?), None),
            Outcome::Retry { report, .. } | Outcome::Failed(report) => (None, Some(read::to_json(report)?)),
            Outcome::Cancelled | Outcome::Released => (None, None),
        };
        Ok(Self { lease, ending: Ending::of(outcome), receipt, report })
    }

    pub(super) fn release(lease: LeaseKey) -> Self {
        Self { lease, ending: Ending::Released, receipt: None, report: None }
    }
}

// `INDEXED BY`, because SQLite would walk all tasks of the state instead: it has no statistics, and
// counts an equality as better than the order that a partial index has already.

/// Makes tasks ready whose back-off has ended.
pub(super) const END_BACK_OFFS: &str = "UPDATE task INDEXED BY task_back_off SET eligible_at = NULL \
     WHERE state = 'queued' AND eligible_at <= ?1";

/// Makes tasks ready whose back-off ends later than any that begins now: it was written while the clock was
/// ahead, and would hold its task for as long.
pub(super) const END_IMPOSSIBLE_BACK_OFFS: &str = "UPDATE task INDEXED BY task_back_off SET eligible_at = NULL \
     WHERE state = 'queued' AND eligible_at > ?1";

/// Takes the next tasks that are ready.
pub(super) const START_ATTEMPTS: &str = "UPDATE task SET state = 'running', attempt = attempt + 1, \
     cancel_requested = cancel_waits, cancel_waits = 0, updated_at = ?1 WHERE sequence IN (SELECT sequence FROM task INDEXED BY task_ready \
     WHERE state = 'queued' AND eligible_at IS NULL ORDER BY priority DESC, sequence LIMIT ?2) \
     RETURNING sequence, id, spec, priority, attempt, failures";

/// Starts attempts of at most `limit` tasks that wait for nothing but a worker.
pub(super) async fn lease(
    connection: &mut SqliteConnection,
    limit: i64,
    now: i64,
    effects: &mut Effects,
) -> Result<Vec<Lease>, sqlx::Error> {
    query(END_BACK_OFFS).bind(now).execute(&mut *connection).await?;
    let latest = moment_after(now, Backoff::LONGEST_OF_A_TASK);
    query(END_IMPOSSIBLE_BACK_OFFS).bind(latest).execute(&mut *connection).await?;
    let mut rows = query(START_ATTEMPTS).bind(now).bind(limit).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // RETURNING promises no order.
    rows.sort_by_cached_key(|row| (-row.get::<i64, _>("priority"), row.get::<i64, _>("sequence")));
    let started: Vec<(i64, u32)> = rows.iter().map(|row| (row.get("sequence"), row.get("attempt"))).collect();
    query(
        "INSERT INTO attempt (task, number, state, started_at) \
         SELECT value ->> 0, value ->> 1, 'running', ?2 FROM json_each(?1)",
    )
    .bind(read::to_json(&started)?)
    .bind(now)
    .execute(connection)
    .await?;
    let leases = rows.iter().map(to_lease).collect::<Result<Vec<_>, _>>()?;
    effects.changed.extend(leases.iter().map(|lease| lease.task.id.clone()));
    Ok(leases)
}

fn to_lease(row: &SqliteRow) -> Result<Lease, sqlx::Error> {
    let task = read::to_task(row)?;
    let attempt = row.try_get("attempt")?;
    let id = LeaseKey { task: task.id.clone(), attempt }.id();
    Ok(Lease { id, task, attempt, failures_before: row.try_get("failures")? })
}

/// Ends an attempt, when it is the one that runs.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    finish: &Finish,
    now: i64,
    effects: &mut Effects,
) -> Result<Finished, sqlx::Error> {
    let Finish { lease, ending, receipt, report } = finish;
    let Some((sequence, mut standing)) = find(&mut *connection, &lease.task).await? else {
        return Ok(Finished::LeaseLost);
    };
    if standing.state != TaskState::Running || standing.attempt != lease.attempt {
        return repeated(connection, sequence, finish).await;
    }
    standing.finish(*ending, now);
    store(&mut *connection, sequence, &standing, receipt.as_deref(), now).await?;
    let state = ending.attempt_state().as_str();
    end_attempt(connection, sequence, lease.attempt, state, Some(ending.name()), report.as_deref(), now)
        .await?;
    effects.changed.push(lease.task.clone());
    effects.new_work |= standing.state == TaskState::Queued;
    Ok(Finished::Recorded)
}

/// The answer to a report about an attempt that does not run: it may be here for the second time.
async fn repeated(
    connection: &mut SqliteConnection,
    sequence: i64,
    finish: &Finish,
) -> Result<Finished, sqlx::Error> {
    let recorded: Option<Option<String>> =
        query_scalar("SELECT outcome FROM attempt WHERE task = ?1 AND number = ?2")
            .bind(sequence)
            .bind(finish.lease.attempt)
            .fetch_optional(connection)
            .await?;
    if recorded.flatten().as_deref() == Some(finish.ending.name()) {
        Ok(Finished::Recorded)
    } else {
        Ok(Finished::LeaseLost)
    }
}

/// Cancels a task that waits, asks a running one to end. One that was interrupted waits for an attempt that
/// ends at once, because files of it may have to be removed.
pub(super) async fn cancel(
    connection: &mut SqliteConnection,
    id: &TaskId,
    now: i64,
    effects: &mut Effects,
) -> Result<Cancelled, sqlx::Error> {
    let Some((sequence, before)) = find(&mut *connection, id).await? else {
        return Ok(Cancelled::Unknown);
    };
    let mut after = before;
    let accepted = after.cancel();
    if after != before {
        store(&mut *connection, sequence, &after, None, now).await?;
        effects.changed.push(id.clone());
        effects.new_work |= after.state == TaskState::Queued;
    }
    let Some(record) = read::record(connection, id).await? else { return Ok(Cancelled::Unknown) };
    Ok(match (accepted, after.state) {
        (false, _) => Cancelled::AlreadyEnded(record),
        (true, TaskState::Running | TaskState::Queued) => Cancelled::Requested(record),
        (true, _) => Cancelled::Now(record),
    })
}

/// Puts a failed or cancelled task back, with all attempts.
pub(super) async fn retry(
    connection: &mut SqliteConnection,
    id: &TaskId,
    now: i64,
    effects: &mut Effects,
) -> Result<Retried, sqlx::Error> {
    let Some((sequence, mut standing)) = find(&mut *connection, id).await? else {
        return Ok(Retried::Unknown);
    };
    let accepted = standing.retry();
    if accepted {
        store(&mut *connection, sequence, &standing, None, now).await?;
        effects.changed.push(id.clone());
        effects.new_work = true;
    }
    let Some(record) = read::record(connection, id).await? else { return Ok(Retried::Unknown) };
    Ok(if accepted { Retried::Queued(record) } else { Retried::Refused(record) })
}

/// Puts back what an agent left running when it died. Returns how many tasks there were.
pub(super) async fn recover(connection: &mut SqliteConnection, now: i64) -> Result<usize, sqlx::Error> {
    let rows = query(
        "SELECT sequence, state, attempt, max_attempts, failures, interruptions, unclean, \
         cancel_requested OR cancel_waits AS cancel_requested, eligible_at FROM task WHERE state = 'running'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let (sequence, mut standing) = to_standing(row)?;
        let report = standing.interrupt().map(|report| read::to_json(&report)).transpose()?;
        store(&mut *connection, sequence, &standing, None, now).await?;
        let (number, report) = (standing.attempt, report.as_deref());
        end_attempt(&mut *connection, sequence, number, "interrupted", None, report, now).await?;
    }
    Ok(rows.len())
}

async fn find(
    connection: &mut SqliteConnection,
    id: &TaskId,
) -> Result<Option<(i64, Standing)>, sqlx::Error> {
    let row = query(
        "SELECT sequence, state, attempt, max_attempts, failures, interruptions, unclean, \
         cancel_requested OR cancel_waits AS cancel_requested, eligible_at FROM task WHERE id = ?1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(|row| to_standing(&row)).transpose()
}

fn to_standing(row: &SqliteRow) -> Result<(i64, Standing), sqlx::Error> {
    let standing = Standing {
        state: read::to_state(row.try_get("state")?)?,
        attempt: row.try_get("attempt")?,
        max_attempts: row.try_get("max_attempts")?,
        failures: row.try_get("failures")?,
        interruptions: row.try_get("interruptions")?,
        cancel_requested: row.try_get("cancel_requested")?,
        unclean: row.try_get("unclean")?,
        eligible_at: row.try_get("eligible_at")?,
    };
    Ok((row.try_get("sequence")?, standing))
}

async fn store(
    connection: &mut SqliteConnection,
    sequence: i64,
    standing: &Standing,
    receipt: Option<&str>,
    now: i64,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE task SET state = ?2, failures = ?3, interruptions = ?4, cancel_requested = ?5, \
         eligible_at = ?6, receipt = ?7, updated_at = ?8, unclean = ?9, cancel_waits = ?10 \
         WHERE sequence = ?1",
    )
    .bind(sequence)
    .bind(standing.state.as_str())
    .bind(standing.failures)
    .bind(standing.interruptions)
    .bind(standing.cancel_requested && standing.state == TaskState::Running)
    .bind(standing.eligible_at)
    .bind(receipt)
    .bind(now)
    .bind(standing.unclean)
    .bind(standing.cancel_requested && standing.state == TaskState::Queued)
    .execute(connection)
    .await?;
    Ok(())
}

async fn end_attempt(
    connection: &mut SqliteConnection,
    sequence: i64,
    number: u32,
    state: &str,
    outcome: Option<&str>,
    report: Option<&str>,
    now: i64,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE attempt SET state = ?3, outcome = ?4, report = ?5, finished_at = ?6 \
         WHERE task = ?1 AND number = ?2",
    )
    .bind(sequence)
    .bind(number)
    .bind(state)
    .bind(outcome)
    .bind(report)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
