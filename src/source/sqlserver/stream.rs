//! The rows of one statement, read and decoded on a thread of their own.
//!
//! Why a thread, with a runtime of its own, and why it pauses: ADR 0008. The server sends packets of
//! a few kilobytes; a reader that sleeps for a millisecond when little has arrived finds many of
//! them at once.

use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Buf;
use tokio::sync::mpsc;

use super::connection::{Connection, counted};
use super::deadline::Deadline;
use super::error::{ServerError, io_fault};
use super::protocol::token::{Done, Token};
use super::rows::{Decoder, Step};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;
use crate::source::BatchStream;

/// A read of fewer bytes is not worth being woken for.
const LITTLE: usize = 64 << 10;
/// How long the reader pauses then.
const PAUSE: Duration = Duration::from_millis(1);

const READING: &str = "read rows";

/// What the reader hands over.
enum Read {
    Batch(RecordBatch),
    /// The last rows, and the connection, which waits for another statement.
    End(Option<RecordBatch>, Box<Connection>),
}

/// The rows of one statement, as they arrive. Dropping it ends the reader, which drops the
/// connection, which cancels the statement.
pub(super) struct RowStream {
    reads: mpsc::Receiver<Result<Read, Fault>>,
    ended: bool,
}

impl RowStream {
    /// Takes over a connection on which a statement was started.
    pub(super) fn new(connection: Connection, decoder: Decoder, deadline: Deadline) -> Self {
        let (sender, reads) = mpsc::channel(1);
        let reader = Reader { connection, decoder, rows: 0, sender, deadline };
        // It ends by itself when this stream is dropped.
        drop(spawn_blocking(move || reader.run()));
        Self { reads, ended: false }
    }
}

#[async_trait]
impl BatchStream for RowStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.ended {
            return Ok(None);
        }
        match self.reads.recv().await {
            Some(Ok(Read::Batch(batch))) => Ok(Some(batch)),
            Some(Ok(Read::End(rest, connection))) => {
                self.ended = true;
                connection.close();
                Ok(rest)
            }
            Some(Err(fault)) => Err(fault),
            None => Err(Fault::new(FaultKind::Bug, "read rows: the reader has stopped without a reason")),
        }
    }
}

/// The thread's side.
struct Reader {
    connection: Connection,
    decoder: Decoder,
    rows: u64,
    sender: mpsc::Sender<Result<Read, Fault>>,
    deadline: Deadline,
}

impl Reader {
    fn run(self) {
        let sender = self.sender.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => {
                let deadline = self.deadline;
                runtime.block_on(async { deadline.hold(READING, self.read()).await })
            }
            Err(error) => Err(io_fault("start a reader", error)),
        };
        if let Some(last) = result.transpose() {
            // Nobody waits for it when the stream was dropped.
            drop(sender.blocking_send(last));
        }
    }

    /// Reads to the end. `None` when the stream was dropped.
    async fn read(mut self) -> Result<Option<Read>, Fault> {
        self.connection.attach()?;
        loop {
            match self.decoder.step(&self.connection.buffer, self.connection.message_ended())? {
                Step::Batch(batch, consumed) => {
                    self.connection.buffer.advance(consumed);
                    self.rows += batch.num_rows() as u64;
                    if self.sender.send(Ok(Read::Batch(batch))).await.is_err() {
                        return Ok(None);
                    }
                }
                Step::NeedBytes(consumed) => {
                    self.connection.buffer.advance(consumed);
                    let count = tokio::select! {
                        count = self.connection.fill() => count?,
                        () = self.sender.closed() => return Ok(None),
                    };
                    if count < LITTLE && !self.connection.message_ended() {
                        std::thread::sleep(PAUSE);
                    }
                }
                Step::OtherToken(consumed) => {
                    self.connection.buffer.advance(consumed);
                    if let Some(done) = self.other_token().await? {
                        return self.end(done).map(Some);
                    }
                }
            }
        }
    }

    /// Takes one token that is not a row; `Some` at the end of the result.
    async fn other_token(&mut self) -> Result<Option<Done>, Fault> {
        match self.connection.token(READING).await? {
            Token::Error(message) => Err(ServerError::new(message).into_fault(READING)),
            Token::Done(done) if done.failed() || done.attention() => {
                Err(Fault::new(FaultKind::Transient, READING).because("the server has ended the statement"))
            }
            Token::Done(done) if done.more() => Err(two_results()),
            Token::Done(done) => Ok(Some(done)),
            Token::Columns(_) => Err(two_results()),
            Token::Change(_) | Token::LoggedIn | Token::SecurityPackage(_) | Token::Other => Ok(None),
        }
    }

    /// Hands over the last rows, and compares the server's count with ours.
    fn end(mut self, done: Done) -> Result<Read, Fault> {
        let rest = self.decoder.rest()?;
        self.rows += rest.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        counted(done, self.rows)?;
        self.connection.detach()?;
        Ok(Read::End(rest, Box::new(self.connection)))
    }
}

fn two_results() -> Fault {
    Fault::new(FaultKind::Request, "read rows: the query gives more than one result")
        .remedy("Send one SELECT for each task.")
}
