//! What callers ask of the writer, and how they get their answers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::change::Finish;
use super::database;
use super::read::LeaseKey;
use super::record::{Cancelled, Retried};
use super::submit::{NewTask, Submission};
use crate::fault::Fault;
use crate::task::{Finished, Lease, TaskId};

/// A question to the writer. The answer leaves only after the commit.
#[derive(Debug)]
pub(super) struct Ask<Q, R, A = R> {
    pub(super) question: Q,
    /// Set inside the transaction; set again when the transaction is tried again.
    pub(super) reply: Option<R>,
    answer: oneshot::Sender<Result<A, Fault>>,
}

/// Everything that changes the queue.
#[derive(Debug)]
pub(super) enum Request {
    Submit(Ask<Vec<NewTask>, Submission>),
    Lease(Ask<i64, Vec<Lease>, Grant>),
    Finish(Ask<Finish, Finished>),
    Cancel(Ask<TaskId, Cancelled>),
    Retry(Ask<TaskId, Retried>),
    /// Writes a row that nobody reads.
    Check(Ask<(), ()>),
}

impl<Q, R, A> Ask<Q, R, A> {
    /// A question, and where its answer arrives.
    pub(super) fn new(question: Q) -> (Self, oneshot::Receiver<Result<A, Fault>>) {
        let (answer, answered) = oneshot::channel();
        (Self { question, reply: None, answer }, answered)
    }

    fn deliver(self, failure: Option<&Arc<sqlx::Error>>, finish: impl FnOnce(R) -> A) {
        let result = match failure {
            Some(error) => Err(database::shared_fault(error, "write to the queue file")),
            None => {
                Ok(finish(self.reply.expect("a committed transaction has a reply for each of its requests")))
            }
        };
        // Nobody waits any more: the change stays, and a lease goes back when its grant is dropped.
        drop(self.answer.send(result));
    }
}

impl Request {
    /// About the memory that this request adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Submit(ask) => ask.question.iter().map(|new| new.spec.len()).sum(),
            Self::Lease(_) | Self::Finish(_) | Self::Cancel(_) | Self::Retry(_) | Self::Check(_) => 0,
        }
    }

    /// Answers, after the commit or after its failure.
    pub(super) fn deliver(self, failure: Option<&Arc<sqlx::Error>>, signals: &Arc<Signals>) {
        match self {
            Self::Submit(ask) => ask.deliver(failure, |reply| reply),
            Self::Finish(ask) => ask.deliver(failure, |reply| reply),
            Self::Cancel(ask) => ask.deliver(failure, |reply| reply),
            Self::Retry(ask) => ask.deliver(failure, |reply| reply),
            Self::Check(ask) => ask.deliver(failure, |reply| reply),
            Self::Lease(mut ask) => {
                if failure.is_some() {
                    // A commit that failed late may have reached the file all the same.
                    drop(Grant::new(ask.reply.take().unwrap_or_default(), signals));
                }
                ask.deliver(failure, |leases| Grant::new(leases, signals));
            }
        }
    }
}

/// Leases on their way to whoever asked. Dropped before they arrived, they go back to the queue:
/// otherwise a poller that stops waiting would leave tasks running that nobody runs.
#[derive(Debug)]
pub(super) struct Grant {
    leases: Vec<Lease>,
    signals: Arc<Signals>,
}

impl Grant {
    fn new(leases: Vec<Lease>, signals: &Arc<Signals>) -> Self {
        Self { leases, signals: Arc::clone(signals) }
    }

    /// The leases have arrived.
    pub(super) fn take(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let keys = self.leases.iter().filter_map(|lease| LeaseKey::parse(&lease.id)).collect::<Vec<_>>();
        if !keys.is_empty() {
            self.signals.abandon(keys);
            self.signals.abandoned_leases.notify_one();
        }
    }
}

/// What the writer and its callers tell each other outside of requests.
#[derive(Debug)]
pub(super) struct Signals {
    /// A task changed, durably.
    pub(super) changes: broadcast::Sender<TaskId>,
    /// There may be new work.
    pub(super) work: Notify,
    /// Asks the writer to answer what is waiting and to end.
    pub(super) closing: CancellationToken,
    /// The writer has ended and the files are free.
    pub(super) ended: CancellationToken,
    /// There are leases to give back.
    pub(super) abandoned_leases: Notify,
    abandoned: Mutex<Vec<LeaseKey>>,
}

impl Signals {
    /// Changes that a slow listener may be behind before it misses some.
    const CHANGE_BACKLOG: usize = 1024;

    pub(super) fn new() -> Self {
        Self {
            changes: broadcast::Sender::new(Self::CHANGE_BACKLOG),
            work: Notify::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            abandoned_leases: Notify::new(),
            abandoned: Mutex::default(),
        }
    }

    /// Puts leases down that nobody runs, for the next transaction to give back.
    pub(super) fn abandon(&self, mut keys: Vec<LeaseKey>) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).append(&mut keys);
    }

    /// Takes what was abandoned up to now.
    pub(super) fn take_abandoned(&self) -> Vec<LeaseKey> {
        std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
