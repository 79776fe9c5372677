//! How a program ended.

use std::process::ExitStatus;

use tokio::time::Instant;

use super::report;
use crate::fault::{Fault, FaultKind};

/// How a program ended, and what it said last.
#[derive(Clone, Debug)]
pub struct Exit {
    /// `None` when it was ended by the runner.
    pub status: Option<ExitStatus>,
    /// Why the runner ended it.
    pub(super) cut: Option<Cut>,
    /// What it printed beside its output, secrets masked.
    pub said: String,
    /// When that was known.
    pub(super) at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    TimedOut,
    Stopped,
    /// It ended by itself, and somebody of its group did not.
    LeftBehind,
}

impl Exit {
    /// An end by itself, as a test has it.
    #[cfg(test)]
    pub(in crate::bulk) fn of(status: ExitStatus, said: &str) -> Self {
        Self { status: Some(status), cut: None, said: said.to_owned(), at: Instant::now() }
    }

    /// True when it ended by itself and called that a success.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The number of a last line `rows N`.
    #[must_use]
    pub fn reported_rows(&self) -> Option<u64> {
        let last = self.said.lines().rev().find(|line| !line.trim().is_empty())?;
        last.trim().strip_prefix("rows ")?.parse().ok()
    }

    /// The last lines, as part of a message.
    pub fn last_lines(&self) -> String {
        report::last_lines(&self.said)
    }

    /// What happened, with the last lines.
    pub fn describe(&self) -> String {
        self.describe_with(&self.said)
    }

    /// What happened, with the last lines of `said`: what is left of what the program said when everything
    /// is left out that could hold a value.
    pub fn describe_with(&self, said: &str) -> String {
        let ended = match self.status {
            Some(status) => format!("it ended with {status}"),
            None => "it was ended".to_owned(),
        };
        match report::last_lines(said) {
            _ if self.said.trim().is_empty() => format!("{ended} and said nothing"),
            lines if lines.is_empty() => format!("{ended} and said nothing that can be shown"),
            lines => format!("{ended} and said: {lines}"),
        }
    }
}

pub(super) fn left_behind(action: String) -> Fault {
    Fault::new(FaultKind::Transient, action)
        .because("it has ended, and a process that it left behind keeps its output open")
        .remedy("Let the program wait for everything that it starts.")
}
