//! The encoding thread of one slice: batches in, pieces of files out.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::csv::CsvFile;
use super::parquet::ParquetFile;
use super::plan::{CHUNK_BYTES, Plan};
use crate::destination::PartName;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::task::{FileFormat, TaskId};

/// What travels through a channel: items, then a proof that there are no more. A channel that
/// closes without [`FromSlice::End`] means that its sender was stopped.
pub(super) enum FromSlice<T> {
    Item(T),
    End,
}

/// A step in writing files one after the other.
pub(super) enum Piece {
    Open(PartName),
    Chunk(Bytes),
    Close { rows: u64 },
}

/// Hands out the file numbers of a task to its slices.
#[derive(Debug, Default)]
pub(super) struct PartNumbers(AtomicU32);

impl PartNumbers {
    fn next(&self) -> NonZeroU32 {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        before.checked_add(1).and_then(NonZeroU32::new).expect("a task has less than 2^32 files")
    }
}

/// A file that is being encoded.
pub(super) trait FileEncoder {
    /// Adds the rows of a batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Fault>;

    /// The file's size if it ended now, about.
    fn size(&self) -> u64;

    /// Ends the file and returns the number of rows in it, from its own footer where it has one.
    fn finish(self: Box<Self>) -> Result<u64, Fault>;
}

/// One slice's encoder.
pub(super) struct Encoding {
    pub(super) plan: Arc<Plan>,
    pub(super) schema: TableSchema,
    pub(super) task: TaskId,
    pub(super) numbers: Arc<PartNumbers>,
    /// Write one file even when there are no rows.
    pub(super) write_empty: bool,
}

impl Encoding {
    /// Encodes until the end of the slice. `None` when a neighbour stopped first.
    pub(super) fn run(
        self,
        mut batches: mpsc::Receiver<FromSlice<RecordBatch>>,
        pieces: mpsc::Sender<FromSlice<Piece>>,
    ) -> Result<Option<u64>, Fault> {
        match self.encode(&mut batches, &pieces) {
            // Writing into a closed channel is an I/O error for the encoder; it is not its fault.
            // After success the channel says nothing: who has read the end closes it.
            Err(_) if pieces.is_closed() => Ok(None),
            result => result,
        }
    }

    fn encode(
        &self,
        batches: &mut mpsc::Receiver<FromSlice<RecordBatch>>,
        pieces: &mpsc::Sender<FromSlice<Piece>>,
    ) -> Result<Option<u64>, Fault> {
        let send = |piece| pieces.blocking_send(FromSlice::Item(piece)).map_err(|_closed| stopped());
        let mut rows = 0;
        let mut close = |file: Box<dyn FileEncoder>| {
            let count = file.finish()?;
            rows += count;
            send(Piece::Close { rows: count })
        };
        let mut open: Option<Box<dyn FileEncoder>> = None;
        if self.write_empty {
            let first = RecordBatch::new_empty(self.schema.arrow());
            open = Some(self.open(&first, pieces)?);
        }
        loop {
            match batches.blocking_recv() {
                Some(FromSlice::Item(batch)) => {
                    let mut file = match open.take() {
                        Some(file) => file,
                        None => self.open(&batch, pieces)?,
                    };
                    file.write(&batch)?;
                    if file.size() >= self.plan.max_file_size.get() {
                        close(file)?;
                    } else {
                        open = Some(file);
                    }
                }
                Some(FromSlice::End) => break,
                None => return Ok(None),
            }
        }
        if let Some(file) = open {
            close(file)?;
        }
        pieces.blocking_send(FromSlice::End).map_err(|_closed| stopped())?;
        Ok(Some(rows))
    }

    fn open(
        &self,
        first: &RecordBatch,
        pieces: &mpsc::Sender<FromSlice<Piece>>,
    ) -> Result<Box<dyn FileEncoder>, Fault> {
        let plan = &self.plan;
        let name = PartName::new(&self.task, self.numbers.next(), plan.format, plan.compression);
        pieces.blocking_send(FromSlice::Item(Piece::Open(name))).map_err(|_closed| stopped())?;
        let sink = ChunkSink::new(pieces.clone());
        Ok(match plan.format {
            FileFormat::Parquet => {
                Box::new(ParquetFile::create(sink, &self.schema, plan, &self.task, first)?)
            }
            FileFormat::Csv => Box::new(CsvFile::create(sink, &self.schema, plan)?),
        })
    }
}

fn stopped() -> Fault {
    Fault::new(FaultKind::Transient, "hand over an encoded chunk: the upload has stopped")
}

/// Gathers what an encoder writes into chunks of [`CHUNK_BYTES`] and sends them.
pub(super) struct ChunkSink {
    pieces: mpsc::Sender<FromSlice<Piece>>,
    buffer: Vec<u8>,
}

impl ChunkSink {
    fn new(pieces: mpsc::Sender<FromSlice<Piece>>) -> Self {
        Self { pieces, buffer: Vec::new() }
    }

    fn send(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.pieces
            .blocking_send(FromSlice::Item(Piece::Chunk(chunk)))
            .map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(CHUNK_BYTES);
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    /// Sends what is gathered. Encoders call it at the end of a file only.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::config::TransferSettings;
    use crate::schema::Column;
    use crate::shutdown::spawn_blocking;
    use crate::task::TaskSpec;

    fn encoding() -> Encoding {
        let mut spec = TaskSpec::sample();
        spec.destination.format = FileFormat::Csv;
        let column = Column {
            name: "id".into(),
            source_type: "int4".into(),
            data_type: DataType::Int32,
            nullable: true,
        };
        Encoding {
            plan: Arc::new(Plan::new(&spec, &TransferSettings::default())),
            schema: TableSchema::new(vec![column]).expect("one column"),
            task: TaskId::parse("a").expect("valid id"),
            numbers: Arc::default(),
            write_empty: true,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_has_read_the_end_may_leave_before_the_encoder() {
        // The window is small: many rounds, each with its own chance to hit it.
        for _ in 0..2_000 {
            let (batches, to_encode) = mpsc::channel(1);
            let (pieces, mut to_store) = mpsc::channel(2);
            let encoder = spawn_blocking(move || encoding().run(to_encode, pieces));
            batches.send(FromSlice::End).await.expect("the encoder listens");
            while !matches!(to_store.recv().await, Some(FromSlice::End)) {}
            drop(to_store);
            assert_eq!(encoder.await.expect("no panic").expect("no fault"), Some(0));
        }
    }
}
