//! The life of a task as pure decisions: what it was, what happened, what it is now.

use std::time::Duration;

use jiff::Timestamp;

use super::record::{AttemptState, TaskState};
use crate::fault::FaultKind;
use crate::task::{Outcome, Report};

/// A task during whose attempts the agent died this often in a row is not tried again.
pub(super) const MAX_INTERRUPTIONS: u32 = 5;

/// What decides the next state of a task.
///
/// Invariant: `cancel_requested` only while running, or queued and unclean; `eligible_at` only while queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: TaskState,
    /// Number of the last attempt; 0 before the first.
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    /// Attempts that failed since the task was submitted or retried by a person.
    pub(super) failures: u32,
    /// Attempts in a row during which the agent died.
    pub(super) interruptions: u32,
    pub(super) cancel_requested: bool,
    /// The agent died during an attempt, perhaps between its commit and its outcome: files may be visible. Only
    /// an attempt can remove them.
    pub(super) unclean: bool,
    /// End of a back-off, in milliseconds since 1970.
    pub(super) eligible_at: Option<i64>,
}

/// An outcome without its papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    /// With the time to wait, and whether files may be visible that have to go before the task can end.
    Retry {
        after: Duration,
        files_left: bool,
    },
    Failed {
        files_left: bool,
    },
    Cancelled,
    Released,
}

impl Ending {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => Self::Completed,
            Outcome::Retry { after, report } => Self::Retry { after: *after, files_left: report.files_left },
            Outcome::Failed(report) => Self::Failed { files_left: report.files_left },
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Released => Self::Released,
        }
    }

    /// Tells a repeated report from a different one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retry { .. } => "retry",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
        }
    }

    /// What the attempt is afterwards. It tells what happened; what was made of it, and of a
    /// request to cancel, is in the state of the task.
    pub(super) fn attempt_state(self) -> AttemptState {
        match self {
            Self::Completed => AttemptState::Completed,
            Self::Retry { .. } | Self::Failed { .. } => AttemptState::Failed,
            Self::Cancelled => AttemptState::Cancelled,
            Self::Released => AttemptState::Released,
        }
    }
}

impl Standing {
    /// The running attempt ended.
    pub(super) fn finish(&mut self, ending: Ending, now: i64) {
        let cancelled = std::mem::take(&mut self.cancel_requested);
        self.interruptions = 0;
        self.eligible_at = None;
        self.state = match ending {
            // The files are there for everybody to see: the request to cancel came too late.
            Ending::Completed => {
                self.unclean = false;
                TaskState::Completed
            }
            Ending::Failed { files_left } => {
                self.failures += 1;
                self.unclean |= files_left;
                TaskState::Failed
            }
            Ending::Cancelled => {
                self.unclean = false;
                TaskState::Cancelled
            }
            Ending::Retry { after, files_left } => {
                self.failures += 1;
                self.unclean |= files_left;
                if cancelled {
                    self.cancelled()
                } else if self.failures >= self.max_attempts {
                    TaskState::Failed
                } else {
                    self.eligible_at = Some(moment_after(now, after));
                    TaskState::Queued
                }
            }
            Ending::Released if cancelled => self.cancelled(),
            Ending::Released => TaskState::Queued,
        };
    }

    /// What a task is that is to be cancelled and does not run.
    fn cancelled(&mut self) -> TaskState {
        self.cancel_requested = self.unclean;
        if self.unclean { TaskState::Queued } else { TaskState::Cancelled }
    }

    /// The agent died while an attempt ran. Not a failure of the task, unless it always happens.
    pub(super) fn interrupt(&mut self) -> Option<Report> {
        self.interruptions += 1;
        self.unclean = true;
        if self.interruptions < MAX_INTERRUPTIONS {
            self.state = TaskState::Queued;
            return None;
        }
        if std::mem::take(&mut self.cancel_requested) {
            self.state = TaskState::Cancelled;
            return None;
        }
        self.state = TaskState::Failed;
        Some(Report {
            kind: FaultKind::Bug,
            message: format!("run the task: the agent died {MAX_INTERRUPTIONS} times in a row while it ran"),
            hint: Some(
                "Look in the log of the agent and of the system for what ended the process, for example \
                 a lack of memory; then retry the task."
                    .to_owned(),
            ),
            files_left: true,
            method: None,
            at: Timestamp::now(),
        })
    }

    /// A person asked to end the task. False when it had ended before.
    pub(super) fn cancel(&mut self) -> bool {
        match self.state {
            TaskState::Queued => {
                self.state = self.cancelled();
                self.eligible_at = None;
                true
            }
            TaskState::Running => {
                self.cancel_requested = true;
                true
            }
            TaskState::Completed | TaskState::Failed | TaskState::Cancelled => false,
        }
    }

    /// A person asked to try again, with all attempts. False when the state does not allow it.
    pub(super) fn retry(&mut self) -> bool {
        match self.state {
            TaskState::Failed | TaskState::Cancelled => {
                self.state = TaskState::Queued;
                self.failures = 0;
                self.interruptions = 0;
                true
            }
            TaskState::Queued | TaskState::Running | TaskState::Completed => false,
        }
    }
}

/// `now + after`, at most the last moment that a timestamp can hold.
pub(super) fn moment_after(now: i64, after: Duration) -> i64 {
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    now.saturating_add(after).min(Timestamp::MAX.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;
    const LATER: Ending = Ending::Retry { after: Duration::from_secs(1), files_left: false };
    const FAILED: Ending = Ending::Failed { files_left: false };

    fn standing(state: TaskState) -> Standing {
        Standing {
            state,
            attempt: 1,
            max_attempts: 3,
            failures: 0,
            interruptions: 0,
            cancel_requested: false,
            unclean: false,
            eligible_at: None,
        }
    }

    #[test]
    fn every_ending_leads_to_its_state() {
        use TaskState::{Cancelled, Completed, Failed, Queued};
        // ending, failures before, cancel requested -> state, failures, end of the back-off
        let table = [
            (Ending::Completed, 0, false, Completed, 0, None),
            (Ending::Completed, 0, true, Completed, 0, None),
            (FAILED, 0, false, Failed, 1, None),
            (FAILED, 0, true, Failed, 1, None),
            (Ending::Cancelled, 0, false, Cancelled, 0, None),
            (Ending::Cancelled, 2, true, Cancelled, 2, None),
            (LATER, 0, false, Queued, 1, Some(2_000)),
            (LATER, 1, false, Queued, 2, Some(2_000)),
            (LATER, 2, false, Failed, 3, None),
            (LATER, 0, true, Cancelled, 1, None),
            (LATER, 2, true, Cancelled, 3, None),
            (Ending::Released, 2, false, Queued, 2, None),
            (Ending::Released, 0, true, Cancelled, 0, None),
        ];
        for (ending, failures, cancel_requested, state, failures_after, eligible_at) in table {
            let before =
                Standing { failures, cancel_requested, interruptions: 4, ..standing(TaskState::Running) };
            let mut after = before;
            after.finish(ending, NOW);
            let expected = Standing { failures: failures_after, eligible_at, ..standing(state) };
            assert_eq!(after, expected, "{ending:?} after {before:?}");
        }
    }

    #[test]
    fn a_task_that_the_agent_does_not_survive_fails_at_the_fifth_time_in_a_row() {
        let mut task = standing(TaskState::Running);
        for _ in 1..MAX_INTERRUPTIONS {
            assert_eq!(task.interrupt(), None);
            assert_eq!((task.state, task.failures), (TaskState::Queued, 0));
            task.state = TaskState::Running;
        }
        let report = task.interrupt().expect("the fifth time has a report");
        assert_eq!(task.state, TaskState::Failed);
        assert!(report.message.contains("died 5 times"), "{}", report.message);
    }

    #[test]
    fn any_other_ending_breaks_the_row_of_interruptions() {
        let mut task = Standing { interruptions: 4, ..standing(TaskState::Running) };
        task.finish(Ending::Released, NOW);
        task.state = TaskState::Running;
        assert_eq!(task.interrupt(), None);
        assert_eq!((task.state, task.interruptions), (TaskState::Queued, 1));
    }

    #[test]
    fn a_request_to_cancel_outlives_the_death_of_the_agent() {
        let mut task = Standing { cancel_requested: true, ..standing(TaskState::Running) };
        assert_eq!(task.interrupt(), None);
        // The dead attempt may have committed: another one has to look.
        assert_eq!((task.state, task.cancel_requested), (TaskState::Queued, true));
        task.state = TaskState::Running;
        task.finish(Ending::Cancelled, NOW);
        assert_eq!((task.state, task.cancel_requested, task.unclean), (TaskState::Cancelled, false, false));
    }

    #[test]
    fn a_task_that_may_have_left_files_is_cancelled_by_an_attempt_only() {
        let unclean = |state| Standing { unclean: true, ..standing(state) };
        let mut waits = Standing { eligible_at: Some(NOW), ..unclean(TaskState::Queued) };
        assert!(waits.cancel());
        let asked = Standing { cancel_requested: true, ..unclean(TaskState::Queued) };
        assert_eq!(waits, asked);
        for ending in [Ending::Released, LATER] {
            let mut runs = Standing { cancel_requested: true, ..unclean(TaskState::Running) };
            runs.finish(ending, NOW);
            assert_eq!(Standing { failures: 0, ..runs }, asked, "{ending:?}");
        }
        let mut completed = unclean(TaskState::Running);
        completed.finish(Ending::Completed, NOW);
        assert!(!completed.unclean);
    }

    #[test]
    fn files_that_an_attempt_could_not_remove_are_looked_for_by_the_next_one() {
        let mut waits = standing(TaskState::Running);
        waits.finish(Ending::Retry { after: Duration::from_secs(1), files_left: true }, NOW);
        assert!(waits.cancel());
        assert_eq!((waits.state, waits.cancel_requested), (TaskState::Queued, true), "an attempt cancels it");

        let mut failed = standing(TaskState::Running);
        failed.finish(Ending::Failed { files_left: true }, NOW);
        assert!(failed.retry() && failed.cancel());
        assert_eq!((failed.state, failed.cancel_requested), (TaskState::Queued, true));
    }

    #[test]
    fn cancel_and_retry_act_in_their_states_only() {
        use TaskState::{Cancelled, Completed, Failed, Queued, Running};
        // state -> (accepted, state) of a cancel and of a retry
        let table = [
            (Queued, (true, Cancelled), (false, Queued)),
            (Running, (true, Running), (false, Running)),
            (Completed, (false, Completed), (false, Completed)),
            (Failed, (false, Failed), (true, Queued)),
            (Cancelled, (false, Cancelled), (true, Queued)),
        ];
        for (state, cancel, retry) in table {
            let mut cancelled = standing(state);
            assert_eq!((cancelled.cancel(), cancelled.state), cancel, "cancel {state:?}");
            assert_eq!(cancelled.cancel_requested, state == Running);
            let mut retried = Standing { failures: 3, interruptions: 5, ..standing(state) };
            assert_eq!((retried.retry(), retried.state), retry, "retry {state:?}");
            assert_eq!((retried.failures, retried.interruptions), if retry.0 { (0, 0) } else { (3, 5) });
        }
    }

    #[test]
    fn an_endless_back_off_ends_with_the_calendar() {
        assert_eq!(moment_after(NOW, Duration::MAX), Timestamp::MAX.as_millisecond());
    }
}
