//! The processes that a program and its children form.

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

/// Makes the program the leader of a new group.
pub(super) fn lead(command: &mut Command) {
    command.process_group(0);
}

/// A group of processes; its number is that of its leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that a child leads.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Asks all of them to end.
    pub(super) fn terminate(self) {
        self.send(Signal::TERM);
    }

    /// Ends all of them. A number is not given to a new process while a group has it, and numbers
    /// are given out in turn, so a group that had members a moment ago is not somebody else's yet.
    pub(super) fn kill(self) {
        self.send(Signal::KILL);
    }

    /// True when somebody of it is left.
    pub(super) fn has_members(self) -> bool {
        self.0.is_some_and(|leader| test_kill_process_group(leader).is_ok())
    }

    fn send(self, signal: Signal) {
        if let Some(leader) = self.0 {
            // An error means that there is nobody left.
            let _ = kill_process_group(leader, signal);
        }
    }
}
