//! The one task that changes the queue file.
//!
//! It takes all requests that wait, does them in one transaction, commits once, and then answers
//! all of them: the price of a commit, one wait for the disk, is shared by whoever asks at the same
//! time. Requests of one batch were all unanswered when it began, so any order among them is right.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, query, query_scalar};
use tokio::sync::mpsc;

use super::change::{self, Effects, Finish};
use super::database;
use super::files::Files;
use super::read::LeaseKey;
use super::record::Submitted;
use super::request::{Request, Signals};
use super::retention::Retention;
use super::submit::{self, NewTask};
use crate::fault::Fault;

/// Requests that wait for the writer at most; more callers wait for a place.
pub(super) const WAITING_REQUESTS: usize = 512;
/// A transaction takes no further request once it holds about this many bytes.
const TRANSACTION_BYTES: usize = 4 << 20;
/// How often a transaction is tried when another program holds the file; each try waits itself.
const BUSY_TRIES: u32 = 3;

/// The writer; [`Writer::run`] is spawned once.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` after a failure: the next transaction opens a new connection.
    connection: Option<SqliteConnection>,
    /// Invariant: while there is a connection, higher than that of every task in the file.
    next_sequence: i64,
    requests: mpsc::Receiver<Request>,
    signals: Arc<Signals>,
    retention: Retention,
    /// Declared last, so that the lock goes after the connection.
    files: Files,
}

impl Writer {
    /// Opens the file, brings it up to date, and puts back what a dead agent left running.
    pub(super) async fn open(
        files: Files,
        requests: mpsc::Receiver<Request>,
        signals: Arc<Signals>,
        retention: Retention,
    ) -> Result<Self, Fault> {
        let action = || format!("open the queue file `{}`", files.database.display());
        let failed = |error| database::fault(error, action());
        let mut connection = database::connect_writer(&files.database).await.map_err(failed)?;
        database::migrate(&mut connection, &files.database).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let interrupted = change::recover(&mut transaction, now()).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        if interrupted > 0 {
            tracing::warn!(tasks = interrupted, "the agent died while tasks ran; they wait again");
        }
        let next_sequence = next_sequence(&mut connection).await.map_err(failed)?;
        Ok(Self { connection: Some(connection), next_sequence, requests, signals, retention, files })
    }

    /// Serves requests until the queue is closed or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::new();
        loop {
            let closing = self.signals.closing.is_cancelled();
            if closing {
                // From here on nothing is taken in, but what waits is still answered.
                self.requests.close();
            }
            tokio::select! {
                received = self.requests.recv_many(&mut waiting, WAITING_REQUESTS) => {
                    if received == 0 {
                        break;
                    }
                }
                () = self.signals.abandoned_leases.notified() => {}
                () = self.retention.due(), if !closing => {
                    self.clear_out().await;
                    continue;
                }
                () = self.signals.closing.cancelled(), if !closing => continue,
            }
            self.serve(&mut waiting).await;
        }
        self.commit(Vec::new()).await;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            // Every answer was durable before it was given; only tidying up has failed.
            tracing::warn!(file = %self.files.database.display(), %error, "could not close the queue file");
        }
    }

    /// Clears out a step of the tasks that have ended, between two transactions of callers.
    async fn clear_out(&mut self) {
        let connection = connected(&mut self.connection, &mut self.next_sequence, &self.files.database).await;
        let cleared = match connection {
            Ok(connection) => self.retention.step(connection, now()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &cleared
            && !database::is_busy(error)
        {
            self.connection = None;
        }
        self.retention.rest(&cleared, &self.files.database);
    }

    async fn serve(&mut self, waiting: &mut Vec<Request>) {
        loop {
            let mut bytes = 0;
            let fits = |request: &&Request| {
                let fits = bytes < TRANSACTION_BYTES;
                bytes += request.bytes();
                fits
            };
            let count = waiting.iter().take_while(fits).count();
            let batch = waiting.drain(..count).collect();
            self.commit(batch).await;
            if waiting.is_empty() {
                return;
            }
        }
    }

    /// Does a batch in one transaction and answers it.
    async fn commit(&mut self, mut batch: Vec<Request>) {
        let abandoned = self.signals.take_abandoned();
        if batch.is_empty() && abandoned.is_empty() {
            return;
        }
        let mut tries = 1;
        let result = loop {
            match self.transaction(&mut batch, &abandoned).await {
                Err(error) if database::is_busy(&error) && tries < BUSY_TRIES => tries += 1,
                result => break result,
            }
        };
        let failure = match result {
            Ok(effects) => {
                self.tell(effects);
                None
            }
            Err(error) => {
                if !database::is_busy(&error) {
                    // Whatever state the connection is in, the next transaction begins with a new one.
                    self.connection = None;
                }
                self.signals.abandon(abandoned);
                tracing::error!(file = %self.files.database.display(), requests = batch.len(), %error,
                    "a transaction of the queue failed");
                Some(Arc::new(error))
            }
        };
        for request in batch {
            request.deliver(failure.as_ref(), &self.signals);
        }
    }

    /// Changes are told before the answers are given, so that whoever has an answer has the change.
    fn tell(&self, effects: Effects) {
        for id in effects.changed {
            // Without a listener this is an error, and all right.
            drop(self.signals.changes.send(id));
        }
        if effects.new_work {
            self.signals.work.notify_waiters();
        }
    }

    async fn transaction(
        &mut self,
        batch: &mut [Request],
        abandoned: &[LeaseKey],
    ) -> Result<Effects, sqlx::Error> {
        let connection =
            connected(&mut self.connection, &mut self.next_sequence, &self.files.database).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut effects = Effects::default();
        let mut next_sequence = self.next_sequence;
        let now = now();
        // First of all: a lease below could give the number of an attempt that was rolled back out
        // again, and would then be taken for the abandoned one.
        for lease in abandoned {
            let release = Finish::release(lease.clone());
            change::finish(&mut transaction, &release, now, &mut effects).await?;
        }
        submit_all(&mut transaction, batch, &mut next_sequence, now, &mut effects).await?;
        for request in batch {
            match request {
                Request::Submit(_) => {}
                Request::Lease(ask) => {
                    ask.reply = Some(change::lease(&mut transaction, ask.question, now, &mut effects).await?);
                }
                Request::Finish(ask) => {
                    ask.reply =
                        Some(change::finish(&mut transaction, &ask.question, now, &mut effects).await?);
                }
                Request::Cancel(ask) => {
                    ask.reply =
                        Some(change::cancel(&mut transaction, &ask.question, now, &mut effects).await?);
                }
                Request::Retry(ask) => {
                    ask.reply =
                        Some(change::retry(&mut transaction, &ask.question, now, &mut effects).await?);
                }
                Request::Check(ask) => {
                    query("UPDATE health SET checked_at = ?1").bind(now).execute(&mut *transaction).await?;
                    ask.reply = Some(());
                }
            }
        }
        transaction.commit().await?;
        self.next_sequence = next_sequence;
        Ok(effects)
    }
}

/// Does the submissions of a batch together.
async fn submit_all(
    connection: &mut SqliteConnection,
    batch: &mut [Request],
    next_sequence: &mut i64,
    now: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let submission = |request: &Request| matches!(request, Request::Submit(_));
    if !batch.iter().any(submission) {
        return Ok(());
    }
    let calls: Vec<&[NewTask]> = batch
        .iter()
        .filter_map(|request| match request {
            Request::Submit(ask) => Some(ask.question.as_slice()),
            _ => None,
        })
        .collect();
    let replies = submit::submit(connection, &calls, next_sequence, now).await?;
    let asks = batch.iter_mut().filter_map(|request| match request {
        Request::Submit(ask) => Some(ask),
        _ => None,
    });
    for (ask, reply) in asks.zip(replies) {
        for submitted in reply.iter().flatten() {
            if let Submitted::Created(record) = submitted {
                effects.changed.push(record.task.id.clone());
                effects.new_work = true;
            }
        }
        ask.reply = Some(reply);
    }
    Ok(())
}

/// The connection, opened again where the last transaction has failed.
async fn connected<'connection>(
    connection: &'connection mut Option<SqliteConnection>,
    next: &mut i64,
    file: &Path,
) -> Result<&'connection mut SqliteConnection, sqlx::Error> {
    match connection {
        Some(connection) => Ok(connection),
        none => {
            let mut opened = database::connect_writer(file).await?;
            *next = next_sequence(&mut opened).await?;
            Ok(none.insert(opened))
        }
    }
}

async fn next_sequence(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let highest: i64 =
        query_scalar("SELECT coalesce(max(sequence), 0) FROM task").fetch_one(connection).await?;
    Ok(highest + 1)
}

/// Milliseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
