//! What became of every attempt, and what it logged: kept for a while, for people.
//!
//! One SQLite file beside that of the queue, with a writer of its own, so that neither a slow disk
//! nor clearing out ever delays a task: whoever has something to keep puts it into a bounded channel,
//! and what finds no place there is dropped and counted. Runs of every task source are kept, the
//! remote ones too. The log lines are those that the agent logs within the span of an attempt
//! (`telemetry::AttemptLog`), which have neither values of cells nor secrets.
//!
//! A history can be lost without harm: a damaged file is put aside, and the queue knows nothing of it.

mod database;
mod keeper;
mod mirror;
mod read;
mod record;
mod writer;

pub use keeper::{History, RunLog, RunOutcome};
pub use mirror::{Told, mirror};
pub use record::{LinePage, LineRecord, RunFilter, RunPage, RunRecord, RunState};

#[cfg(test)]
mod tests;
