//! The level of the log while the agent runs.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

use super::level::LogLevel;
use super::lines::LineWriter;

/// The log of this process, once it was started.
static PROCESS: OnceLock<LogControl> = OnceLock::new();

/// Steers the log; clones share it.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` where this process logs nothing, as in tests.
    filter: Option<Handle<Targets, Registry>>,
    stderr: Option<LineWriter>,
    file: Option<LineWriter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    configured: LogLevel,
    changed: Option<Changed>,
    /// Counts changes, so that the end of an earlier one does not undo a later one.
    changes: u64,
}

#[derive(Clone, Debug)]
struct Changed {
    level: LogLevel,
    until: Option<Timestamp>,
}

/// The level now.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentLevel {
    /// What is logged.
    pub level: LogLevel,
    /// What the configuration says.
    pub configured: LogLevel,
    /// When it falls back to that, where it does.
    pub until: Option<Timestamp>,
}

/// A change that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change(u64);

impl LogControl {
    pub(super) fn new(
        filter: Option<Handle<Targets, Registry>>,
        stderr: Option<LineWriter>,
        file: Option<LineWriter>,
        configured: LogLevel,
    ) -> Self {
        let state = Mutex::new(State { configured, changed: None, changes: 0 });
        Self(Arc::new(Inner { filter, stderr, file, state }))
    }

    /// The log of this process; one without lines when none was started.
    #[must_use]
    pub fn of_process() -> Self {
        let silent = || Self::new(None, None, None, LogLevel::standard(false));
        PROCESS.get().cloned().unwrap_or_else(silent)
    }

    pub(super) fn set_as_process(&self) {
        // Only the first one is heard by anybody.
        drop(PROCESS.set(self.clone()));
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> CurrentLevel {
        let state = self.state();
        let configured = state.configured.clone();
        match &state.changed {
            None => CurrentLevel { level: configured.clone(), configured, until: None },
            Some(Changed { level, until }) => {
                CurrentLevel { level: level.clone(), configured, until: *until }
            }
        }
    }

    /// Changes the level until it is changed again, or at most for `limit`: whoever gets a [`Change`]
    /// back has to give it to [`Self::end`] then.
    pub fn set(&self, level: LogLevel, limit: Option<Duration>) -> Change {
        let mut state = self.state();
        let until = limit.map(|limit| {
            let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
            Timestamp::now().saturating_add(limit).unwrap_or(Timestamp::MAX)
        });
        state.changed = Some(Changed { level, until });
        state.changes += 1;
        self.apply(&state);
        Change(state.changes)
    }

    /// Falls back to the configured level, unless the level was changed after `change`. True when it
    /// did.
    pub fn end(&self, change: Change) -> bool {
        let mut state = self.state();
        if state.changes != change.0 {
            return false;
        }
        state.changed = None;
        self.apply(&state);
        true
    }

    /// Changes what the configuration says, and ends every other change.
    pub fn configure(&self, level: LogLevel) {
        let mut state = self.state();
        state.configured = level;
        state.changed = None;
        state.changes += 1;
        self.apply(&state);
    }

    /// Lets go of the log file, for a program that has moved it away.
    pub fn reopen(&self) {
        if let Some(file) = &self.0.file {
            file.reopen();
        }
    }

    /// Lines that stderr or the log file did not get.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        [&self.0.stderr, &self.0.file].into_iter().flatten().map(LineWriter::dropped).sum()
    }

    fn apply(&self, state: &State) {
        let level = state.changed.as_ref().map_or(&state.configured, |changed| &changed.level);
        if let Some(filter) = &self.0.filter {
            // An error means that the subscriber is gone, and with it whoever would see a line.
            drop(filter.reload(level.filter()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(text: &str) -> LogLevel {
        text.parse().unwrap()
    }

    #[test]
    fn an_earlier_change_does_not_undo_a_later_one() {
        let log = LogControl::new(None, None, None, level("info"));
        let first = log.set(level("debug"), Some(Duration::from_secs(60)));
        assert!(log.level().until.is_some_and(|until| until > Timestamp::now()));
        let second = log.set(level("trace"), None);
        assert!(!log.end(first));
        let expected = CurrentLevel { level: level("trace"), configured: level("info"), until: None };
        assert_eq!(log.level(), expected);
        assert!(log.end(second));
        assert_eq!(log.level().level, level("info"));
    }

    #[test]
    fn a_new_configuration_ends_a_change() {
        let log = LogControl::new(None, None, None, level("info"));
        let change = log.set(level("debug"), Some(Duration::MAX));
        log.configure(level("warn"));
        assert_eq!((log.level().level, log.end(change)), (level("warn"), false));
    }
}
