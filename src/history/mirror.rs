//! The history, told to somebody else as well.

use tokio::sync::mpsc;

use super::record::RunRecord;
use crate::telemetry::AttemptLine;

/// Entries that wait for the other side at most.
const WAITING: usize = 4_096;

/// What the other side is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A run that begins, or ends.
    Run(Box<RunRecord>),
    /// A line of an attempt.
    Line {
        /// The run, as it began.
        run: Box<RunRecord>,
        /// The line.
        line: Box<AttemptLine>,
    },
}

/// Both ends of the way to the other side. What finds no place is dropped and counted.
#[must_use]
pub fn mirror() -> (mpsc::Sender<Told>, mpsc::Receiver<Told>) {
    mpsc::channel(WAITING)
}
