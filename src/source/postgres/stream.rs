//! The rows of one `COPY`, read and decoded on a thread of their own.
//!
//! Decoding takes time, which async code must not take from others. And a thread can pause: a
//! reader that keeps up with the server is woken for each of its 8 KiB writes, on both sides of the
//! socket. One that sleeps for a millisecond when little has arrived finds many of them at once.
//! That needs a runtime of its own as well, because the agent's would be woken all the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Buf;
use postgres_protocol::message::backend::Message;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::copy::{Decoder, Step};
use super::error::{ServerError, Stage, io_fault};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;
use crate::source::BatchStream;

/// A read of fewer bytes is not worth being woken for.
const LITTLE: usize = 64 << 10;
/// How long the reader pauses then. At 250 MB/s that many bytes arrive meanwhile as fit the buffer.
const PAUSE: Duration = Duration::from_millis(1);

/// Keeps the transaction that exported the snapshot open until every slice has been read: its
/// locks keep a TRUNCATE, or a rewrite that moves rows, away from slices that have not begun.
/// Empty while that transaction reads a slice itself.
pub(super) type Anchor = Arc<Mutex<Option<Connection>>>;

/// What the reader hands over.
enum Read {
    Batch(RecordBatch),
    /// The last rows, and the connection, which waits for another statement.
    End(Option<RecordBatch>, Box<Connection>),
}

/// The rows of one `COPY`, as they arrive. Dropping it ends the reader, which drops the connection,
/// which cancels the statement.
pub(super) struct CopyStream {
    reads: mpsc::Receiver<Result<Read, Fault>>,
    anchor: Option<Anchor>,
    /// This connection is the one that the anchor is for.
    exported: bool,
    ended: bool,
}

impl CopyStream {
    /// Takes over a connection on which a `COPY` was started. `exported` says that its
    /// transaction is the one to keep in the anchor.
    pub(super) fn new(
        connection: Connection,
        decoder: Decoder,
        anchor: Option<Anchor>,
        exported: bool,
    ) -> Self {
        let (sender, reads) = mpsc::channel(1);
        let reader = Reader { connection, decoder, rows: 0, sender };
        // It ends by itself when this stream is dropped.
        drop(spawn_blocking(move || reader.run()));
        Self { reads, anchor, exported, ended: false }
    }

    async fn put_away(&mut self, mut connection: Connection) -> Result<(), Fault> {
        connection.attach()?;
        match self.anchor.take() {
            Some(anchor) if self.exported => {
                *anchor.lock().expect("nothing panics while it holds this lock") = Some(connection);
            }
            _ => connection.close().await,
        }
        Ok(())
    }
}

#[async_trait]
impl BatchStream for CopyStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.ended {
            return Ok(None);
        }
        match self.reads.recv().await {
            Some(Ok(Read::Batch(batch))) => Ok(Some(batch)),
            Some(Ok(Read::End(rest, connection))) => {
                self.ended = true;
                self.put_away(*connection).await?;
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
}

impl Reader {
    fn run(self) {
        let sender = self.sender.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.read()),
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
            match self.decoder.step(&self.connection.buffer)? {
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
                    if count < LITTLE {
                        std::thread::sleep(PAUSE);
                    }
                }
                Step::OtherMessage(consumed) => {
                    self.connection.buffer.advance(consumed);
                    // Not a message more than the one that was seen: the next may be a row.
                    match self.connection.receive_any().await? {
                        Message::CopyDone => return self.end().await.map(Some),
                        Message::ErrorResponse(body) => {
                            return Err(ServerError::read(&body, Stage::Run).into_fault("read rows"));
                        }
                        // Notices, reports of changed settings and the like.
                        _ => {}
                    }
                }
            }
        }
    }

    /// Takes the messages after the last row, and compares the server's count with ours.
    async fn end(mut self) -> Result<Read, Fault> {
        let rest = self.decoder.rest()?;
        self.rows += rest.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let mut tag = None;
        self.connection
            .until_ready(Stage::Run, "read rows", |message| {
                if let Message::CommandComplete(body) = message {
                    tag = body.tag().ok().map(str::to_owned);
                }
                Ok(())
            })
            .await?;
        let reported = tag.as_deref().and_then(|tag| tag.strip_prefix("COPY ")?.parse::<u64>().ok());
        if reported != Some(self.rows) {
            let action =
                format!("count rows: {} were received and the server reports {reported:?}", self.rows);
            return Err(Fault::new(FaultKind::Bug, action));
        }
        self.connection.detach()?;
        Ok(Read::End(rest, Box::new(self.connection)))
    }
}
