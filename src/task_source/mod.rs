//! Where tasks come from, and where their outcomes are recorded.
//!
//! The local queue behind `POST /tasks` ([`local`]) is always there; a remote task source can run
//! beside it and shares the workers.

pub mod local;

use std::num::NonZeroUsize;

use async_trait::async_trait;

use crate::fault::Fault;
use crate::task::{Extension, Finished, Lease, LeaseId, Outcome};

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

    /// Ends the lease and records the outcome. Repeating it with the same outcome is safe. After
    /// an error the lease runs out and the task comes back.
    async fn finish(&self, lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault>;
}
