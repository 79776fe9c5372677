//! The durable queue behind `POST /tasks`.
//!
//! One SQLite file in the data directory, opened by one agent at a time. One `writer` makes all
//! changes, many requests per commit; reads have connections of their own. What was answered is on
//! the disk.
//!
//! A task is `queued`, `running`, and then `completed`, `failed` or `cancelled`; `standing` has
//! every way from one to the next. A lease has no deadline: it is held as long as its agent lives,
//! and when the agent has died, opening the file puts its tasks back.
//!
//! Tasks that have ended are kept for a while, as `[queue]` says, and then cleared out by `retention`.
//! The queue does not know what a task does.

mod change;
mod database;
mod files;
mod queue;
mod read;
mod record;
mod request;
mod retention;
mod standing;
mod submit;
mod writer;

pub use queue::LocalQueue;
pub use record::{
    AttemptRecord, AttemptState, Cancelled, Counts, Page, Retried, Submitted, TaskRecord, TaskState,
};
pub use submit::SubmitError;

#[cfg(test)]
mod tests;
