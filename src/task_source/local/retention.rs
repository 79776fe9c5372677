//! Tasks that have ended are cleared out in small steps, so that no caller waits for long.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, query, query_scalar};
use tokio::sync::watch;
use tokio::time::Instant;

use super::read;
use crate::clock::ClockWatch;
use crate::config::QueueSettings;

/// How often the queue is cleared out.
const CLEAR_EVERY: Duration = Duration::from_secs(60);
/// How long clearing out rests between two steps, so that callers are served in between.
const CLEAR_REST: Duration = Duration::from_millis(50);
/// Tasks that one step clears out at most: some milliseconds of work and one commit.
const CLEAR_STEP: i64 = 500;
/// Free pages that one step gives back to the file system at most, of usually 4 KiB.
const VACUUM: &str = "PRAGMA incremental_vacuum(500)";
/// A task that ended more recently stays, however many there are: whoever repeats a submission, or the
/// report of an outcome, still finds it.
const ALWAYS_KEPT: Duration = Duration::from_secs(60 * 60);
/// How often a queue that cannot be cleared out is warned about.
const WARN_EVERY: Duration = Duration::from_secs(300);

/// The tasks that ended before `?1`, `?2` of them at most, longest ago first. The newest task of all
/// stays, because the numbers of tasks go on from it.
///
/// `INDEXED BY` for the reason that the statements of leasing have.
pub(super) const ENDED_FIRST: &str = "SELECT sequence FROM task INDEXED BY task_ended \
     WHERE state IN ('completed', 'failed', 'cancelled') AND updated_at < ?1 \
     AND sequence < (SELECT max(sequence) FROM task) ORDER BY updated_at LIMIT ?2";

/// When tasks are cleared out, and which.
#[derive(Debug)]
pub(super) struct Retention {
    settings: watch::Receiver<QueueSettings>,
    next: Instant,
    clock: ClockWatch,
    warned: Option<Instant>,
}

impl Retention {
    /// The first step is due at once.
    pub(super) fn new(settings: watch::Receiver<QueueSettings>) -> Self {
        Self { settings, next: Instant::now(), clock: ClockWatch::default(), warned: None }
    }

    /// Waits until a step is due.
    pub(super) async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// Decides when the next step is due, from what the last one did.
    pub(super) fn rest(&mut self, cleared: &Result<i64, sqlx::Error>, file: &Path) {
        let has_more = cleared.as_ref().is_ok_and(|tasks| *tasks >= CLEAR_STEP);
        self.next = Instant::now() + if has_more { CLEAR_REST } else { CLEAR_EVERY };
        let Err(error) = cleared else { return };
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                file = %file.display(), %error,
                "tasks that have ended could not be cleared out of the queue; it is tried again"
            );
        }
    }

    /// Clears out a step, in one transaction, unless the clock has jumped. Returns how many tasks went.
    pub(super) async fn step(
        &mut self,
        connection: &mut SqliteConnection,
        now: i64,
    ) -> Result<i64, sqlx::Error> {
        let wall = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX);
        if !self.clock.believes(wall, Instant::now()) {
            return Ok(0);
        }
        let settings = *self.settings.borrow();
        let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut cleared = 0;
        if let Some(most) = settings.max_tasks {
            let ended: i64 = query_scalar(
                "SELECT sum(tasks) FROM task_count WHERE state IN ('completed', 'failed', 'cancelled')",
            )
            .fetch_one(&mut *transaction)
            .await?;
            let excess = ended.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX));
            let limit = excess.clamp(0, CLEAR_STEP);
            cleared += clear(&mut transaction, before(ALWAYS_KEPT), limit).await?;
        }
        if let Some(keep) = settings.keep {
            cleared += clear(&mut transaction, before(keep), CLEAR_STEP - cleared).await?;
        }
        if cleared > 0 {
            query(VACUUM).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(cleared)
    }
}

/// Removes tasks that ended before `before`, with their attempts.
async fn clear(connection: &mut SqliteConnection, before: i64, limit: i64) -> Result<i64, sqlx::Error> {
    if limit == 0 {
        return Ok(0);
    }
    let tasks: Vec<i64> =
        query_scalar(ENDED_FIRST).bind(before).bind(limit).fetch_all(&mut *connection).await?;
    if tasks.is_empty() {
        return Ok(0);
    }
    let these = read::to_json(&tasks)?;
    // The attempts first, because they refer to their task.
    for statement in [
        "DELETE FROM attempt WHERE task IN (SELECT value FROM json_each(?1))",
        "DELETE FROM task WHERE sequence IN (SELECT value FROM json_each(?1))",
    ] {
        query(statement).bind(&these).execute(&mut *connection).await?;
    }
    Ok(i64::try_from(tasks.len()).unwrap_or(i64::MAX))
}
