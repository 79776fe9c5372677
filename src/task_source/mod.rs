//! Where tasks come from, and where their outcomes are recorded.
//!
//! The local queue behind `POST /tasks` ([`local`]) is always there; a remote task source can run
//! beside it and shares the workers.

mod failure_text;
pub mod local;
mod payload;
pub mod remote_api;
pub mod snowflake;

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;

use crate::fault::{Fault, FaultKind};
use serde_json::Value;

use crate::task::{Extension, Finished, Lease, LeaseId, Outcome, Task};

/// Understands a task in one of the forms of `POST /tasks`, and checks it against the configured
/// connections. What is wrong comes as JSON pointer and detail. Made where API and catalog are known, so
/// that task sources know neither.
pub type ReadTask = Arc<dyn Fn(&Value) -> Result<Task, Vec<(String, String)>> + Send + Sync>;

/// Hands out work and records what became of it.
///
/// Delivery is at least once: a lease that is not finished is handed out again, so every attempt
/// must be safe to repeat. One poller calls `lease`; workers call `extend` and `finish` at the same
/// time as it and as each other.
#[async_trait]
pub trait TaskSource: Send + Sync {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Leases at most `limit` tasks, by priority and then in order of arrival. Returns what is
    /// there; never waits for work to appear. After an error nothing is leased, or the lease ends
    /// by itself.
    async fn lease(&self, limit: NonZeroUsize) -> Result<Vec<Lease>, Fault>;

    /// Resolves when there may be new work. Called between two calls of `lease`; a wake-up without
    /// work is harmless, a missed one costs one poll interval.
    async fn wait_for_work(&self);

    /// Pushes the deadlines of running leases back and says which of them still run: one answer
    /// for each lease, in the same order. Called at the start of an attempt and then well inside
    /// the lease time.
    async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault>;

    /// Asks once more whether one lease is held, right before its attempt commits. Never answered
    /// from memory.
    async fn confirm(&self, lease: &LeaseId) -> Result<Extension, Fault> {
        let answers = self.extend(std::slice::from_ref(lease)).await?;
        answers.first().copied().ok_or_else(no_answer)
    }

    /// Called when `lease` gave nothing and no attempt of this source runs: true when nothing is left
    /// that would become available by itself, such as a task in its back-off. Decides when
    /// `run --once` ends.
    async fn is_drained(&self) -> Result<bool, Fault> {
        Ok(true)
    }

    /// Tasks that this source has failed by itself since it was made, because nobody could understand
    /// them. They count as failed for `run --once`.
    fn refused_tasks(&self) -> usize {
        0
    }

    /// True when a lease that nobody finishes runs out by itself, so that its task comes back. Where it
    /// does not, an outcome is repeated until it is on record or the agent stops.
    fn leases_run_out(&self) -> bool {
        true
    }

    /// True when [`Lease::attempt`] counts every attempt there was, also those of agents that died. Where it
    /// does not, an attempt that ends the task looks for what one before it may have left.
    fn counts_attempts(&self) -> bool {
        true
    }

    /// Ends the lease and records the outcome. Repeating it with the same outcome is safe. After
    /// an error the lease runs out and the task comes back, where leases do.
    async fn finish(&self, lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault>;
}

/// A broken task source: it answers every lease that it is asked about.
pub(crate) fn no_answer() -> Fault {
    Fault::new(FaultKind::Bug, "extend a lease: the task source gave no answer for it")
}
