//! The rows of one result, read and decoded on a thread of their own.
//!
//! The reasons are those of `docs/adr/0008`: decoding takes time, which async code must not take
//! from others, and a reader that sleeps for a millisecond when little has arrived is woken less
//! often, on both sides of the socket.

use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Buf;
use tokio::sync::mpsc;

use super::characters::Doubt;
use super::connection::Connection;
use super::error::{Stage, io_fault, malformed};
use super::packet::{MORE_RESULTS, end_status};
use super::rows::{Decoder, Step};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;
use crate::source::BatchStream;

/// A read of fewer bytes is not worth being woken for.
const LITTLE: usize = 64 << 10;
/// How long the reader pauses then.
const PAUSE: Duration = Duration::from_millis(1);

/// What the reader hands over.
enum Read {
    Batch(RecordBatch),
    /// The last rows, and the connection, which waits for another statement.
    End(Option<RecordBatch>, Box<Connection>),
}

/// The rows of one result, as they arrive. Dropping it ends the reader, which drops the connection,
/// which ends the statement.
pub(super) struct RowStream {
    reads: mpsc::Receiver<Result<Read, Fault>>,
    ended: bool,
}

impl RowStream {
    /// Takes over a connection on which a result was started.
    pub(super) fn new(connection: Connection, decoder: Decoder, doubt: Option<Doubt>) -> Self {
        let (sender, reads) = mpsc::channel(1);
        let reader = Reader { connection, decoder, doubt, sender };
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
            Some(Ok(Read::End(rest, mut connection))) => {
                self.ended = true;
                connection.attach()?;
                connection.close().await;
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
    /// What is asked after the rows.
    doubt: Option<Doubt>,
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
                Step::OtherPacket(consumed) => {
                    self.connection.buffer.advance(consumed);
                    return self.end().await;
                }
            }
        }
    }

    /// Takes the packet after the last row. `None` when the stream was dropped.
    async fn end(mut self) -> Result<Option<Read>, Fault> {
        let action = "read rows";
        self.connection.sequence = self.decoder.sequence();
        let packet = self.connection.packet().await?;
        if packet.first() == Some(&0xff) {
            return Err(self.connection.refusal(&packet, Stage::Run, action));
        }
        match end_status(&packet) {
            Some(status) if status & MORE_RESULTS == 0 => {}
            _ => return Err(malformed(action)),
        }
        self.connection.rows_ended();
        let rest = self.decoder.rest()?;
        if let Some(doubt) = &self.doubt {
            let seen = self.decoder.question_marks();
            tokio::select! {
                settled = doubt.settle(&mut self.connection, seen) => settled?,
                () = self.sender.closed() => return Ok(None),
            }
        }
        self.connection.detach()?;
        Ok(Some(Read::End(rest, Box::new(self.connection))))
    }
}
