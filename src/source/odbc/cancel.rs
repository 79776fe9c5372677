//! Stops a thread that waits inside a driver.
//!
//! Everything in ODBC blocks, so statements run on threads of their own. Whoever waits for such a
//! thread holds a [`StopOnDrop`]; when it is dropped early, the statement is cancelled on the server,
//! again and again until the thread has ended: a cancel that comes a moment before its statement has
//! no effect.
//!
//! Only a call that has lasted for a while is cancelled. Some drivers (MariaDB's) take a cancel between
//! two calls for an order to close the result, at once and on the wrong thread.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odbc_api::handles::{Record, Statement, StatementImpl};
use odbc_api::sys::{HStmt, SQLCancel};

use crate::shutdown::spawn_blocking;

/// Between two attempts to cancel.
const AGAIN: Duration = Duration::from_millis(200);

/// A call that lasts longer than this waits for the server.
const LASTING: Duration = Duration::from_millis(100);

/// What a thread does inside of ODBC, seen from others.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
    is_stopped: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Inside of a call since then; `None` between two calls.
    Running(Handle, Option<Instant>),
    Ended,
}

/// A statement that lives as long as the lock of the [`State`] around it is held.
#[derive(Debug)]
struct Handle(HStmt);

#[expect(unsafe_code, reason = "ODBC lets any thread cancel; nothing else is done with the handle")]
// SAFETY: the handle is only given to `SQLCancel`, which the standard allows from any thread.
unsafe impl Send for Handle {}

impl Handle {
    #[expect(unsafe_code, reason = "odbc-api has no safe call for SQLCancel")]
    fn cancel(&self) {
        // SAFETY: `RunningStatement` takes the handle out of the state, under its lock, before the
        // statement is freed; the lock is held here. What the driver answers changes nothing: the
        // thread that runs the statement sees how it ended.
        let _answer = unsafe { SQLCancel(self.0) };
    }
}

impl State {
    /// Cancels a call that lasts.
    fn cancel(&self) {
        if let Self::Running(handle, Some(since)) = self
            && since.elapsed() >= LASTING
        {
            handle.cancel();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stopper {
    /// Says that `statement` runs until the answer is dropped, which has to be before the statement.
    /// `None` when nobody wants it any more.
    pub(super) fn running(&self, statement: &impl Statement) -> Option<RunningStatement> {
        let mut state = self.0.state();
        if self.is_stopped() {
            return None;
        }
        *state = State::Running(Handle(statement.as_sys()), None);
        Some(RunningStatement(self.clone()))
    }

    /// True when nobody wants the result any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(SeqCst)
    }

    /// Cancels what runs now, if anything does.
    pub(super) fn cancel(&self) {
        self.0.state().cancel();
    }

    /// Says that nobody wants the result, and cancels until the thread has ended. Blocks.
    fn stop(&self) {
        self.0.is_stopped.store(true, SeqCst);
        let mut state = self.0.state();
        while !matches!(*state, State::Ended) {
            state.cancel();
            let waited = self.0.ended.wait_timeout(state, AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Held by the thread itself: dropped at its end.
    pub(super) fn until_end(&self) -> UntilEnd {
        UntilEnd(self.clone())
    }
}

/// A statement that can be cancelled.
pub(super) struct RunningStatement(Stopper);

impl RunningStatement {
    /// Runs a call that may wait for the server. It ends after a cancel of it has.
    pub(super) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        self.mark(Some(Instant::now()));
        let inside = Inside(self);
        let answer = call();
        drop(inside);
        answer
    }

    /// What the last call reports although it succeeded, if that means that rows are wrong: an error in one of
    /// them, or a value that was cut. A driver may also call a fetch a success in which the statement failed
    /// after some rows.
    pub(super) fn refusal(&self) -> Option<Record> {
        let state = self.0.0.state();
        let State::Running(handle, _) = &*state else { return None };
        #[expect(unsafe_code, reason = "odbc-api keeps to itself what a fetch that succeeds reports")]
        // SAFETY: the statement lives as long as `self`, its thread is this one, between two calls, and the copy
        // of its handle is never dropped, which would free it.
        let statement = ManuallyDrop::new(unsafe { StatementImpl::new(handle.0) });
        let mut found = None;
        for number in 1..i16::MAX {
            let mut record = Record::default();
            if !record.fill_from(&*statement, number) {
                break;
            }
            let state = record.state.as_str();
            if !["00", "01", "02"].iter().any(|class| state.starts_with(class)) {
                return Some(record);
            }
            // A text that was cut, an error in a row, a number that was cut.
            if found.is_none() && ["01004", "01S01", "01S07"].contains(&state) {
                found = Some(record);
            }
        }
        found
    }

    fn mark(&self, inside: Option<Instant>) {
        if let State::Running(_, since) = &mut *self.0.0.state() {
            *since = inside;
        }
    }
}

/// Marks the end of a call, also when it panics.
struct Inside<'r>(&'r RunningStatement);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.mark(None);
    }
}

impl Drop for RunningStatement {
    fn drop(&mut self) {
        let mut state = self.0.0.state();
        if matches!(*state, State::Running(..)) {
            *state = State::Idle;
        }
    }
}

/// The thread is inside of ODBC, or may go there again.
pub(super) struct UntilEnd(Stopper);

impl Drop for UntilEnd {
    fn drop(&mut self) {
        *self.0.0.state() = State::Ended;
        self.0.0.ended.notify_all();
    }
}

/// Held by whoever waits for the thread.
#[derive(Debug)]
pub(super) struct StopOnDrop(pub(super) Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.is_stopped.store(true, SeqCst);
        if matches!(*self.0.0.state(), State::Ended) || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let stopper = self.0.clone();
        // Cancelling can take a login of its own, so it has a thread as well. It ends with the other.
        drop(spawn_blocking(move || stopper.stop()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_ended_is_not_waited_for() {
        let stopper = Stopper::default();
        drop(stopper.until_end());
        stopper.stop();
        assert!(stopper.is_stopped());
    }

    #[test]
    fn stopping_waits_for_the_end_of_the_thread() {
        let stopper = Stopper::default();
        let end = stopper.until_end();
        let other = stopper.clone();
        let stopping = std::thread::spawn(move || other.stop());
        while !stopper.is_stopped() {
            std::thread::yield_now();
        }
        assert!(!stopping.is_finished());
        drop(end);
        stopping.join().expect("it does not panic");
    }
}
