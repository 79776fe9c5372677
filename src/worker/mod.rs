//! Workers: from a task source through a bounded channel to attempts.
//!
//! ```text
//! task source -> poller -> async channel -> N workers -> runner (one attempt) -> outcome
//! ```
//!
//! The poller leases no more tasks than workers are free, so nothing leased waits in the channel.

mod ending;
mod keeper;
mod poller;
mod pool;
mod record;
mod runner;
mod running;

pub use pool::{Pool, PoolSettings};
pub use runner::Runner;
pub use running::{Moved, Running, RunningTask};
