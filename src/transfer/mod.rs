//! The path of the data: batches of a source, encoded into parts, handed to an upload.
//!
//! ```text
//! slice 0: read + decode -> channel -> encode (own thread) -> channel -> store
//! slice 1: read + decode -> channel -> encode (own thread) -> channel -> store
//! ```
//!
//! Everything is pulled: bounded channels hold one batch and two chunks, and there is no other
//! back-pressure. What a batch or a chunk may weigh is decided before in [`plan`].

mod csv;
mod dictionary;
mod encode;
mod parquet;
pub mod plan;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::encode::{Encoding, FromSlice, PartNumbers, Piece};
pub use self::plan::Plan;
use crate::config::TransferSettings;
use crate::destination::{Destination, LoadRequest, StoredPart, Target, Upload};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::{TaskSet, spawn_blocking};
use crate::source::{Extraction, Query, Source};
use crate::task::{FileFormat, FileReceipt, MethodReceipt, Progress, Receipt, Task, TaskId};

/// Everything that one transfer needs; clones share it.
#[derive(Clone)]
pub struct Transfer {
    /// The rows.
    pub extraction: Arc<dyn Extraction>,
    /// The place of the files.
    pub upload: Arc<dyn Upload>,
    /// The decisions.
    pub plan: Arc<Plan>,
    /// Whose rows.
    pub task: TaskId,
    /// Live figures.
    pub progress: Arc<Progress>,
    /// How the rows are read; for the receipt.
    pub method: Option<MethodReceipt>,
}

/// The parts of a transfer, stored and not yet visible.
#[derive(Debug, Default)]
pub struct Written {
    /// The parts in order of their numbers; at least one.
    pub parts: Vec<StoredPart>,
    /// Rows that were read; equal to the rows in the parts.
    pub rows: u64,
}

impl Transfer {
    /// Opens the one attempt of a task that is tried once.
    pub async fn open(
        source: &dyn Source,
        destination: &dyn Destination,
        task: &Task,
        settings: &TransferSettings,
        progress: &Arc<Progress>,
    ) -> Result<Self, Fault> {
        Self::open_attempt(source, destination, task, 1, settings, progress).await
    }

    /// Plans an attempt of a task and opens both of its ends. Nothing is read or stored yet; dropping
    /// the transfer closes what was opened.
    pub async fn open_attempt(
        source: &dyn Source,
        destination: &dyn Destination,
        task: &Task,
        attempt: u32,
        settings: &TransferSettings,
        progress: &Arc<Progress>,
    ) -> Result<Self, Fault> {
        let spec = &task.spec;
        let plan = Plan::new(spec, settings)
            .with_files_of_at_most(destination.max_file_bytes())
            .within_memory(settings, destination.part_buffer_bytes());
        let query = Query {
            read: spec.source.read.clone(),
            columns: spec.source.columns.clone(),
            slice_column: spec.source.slice_column.clone(),
            // A load makes its table of the described types.
            as_texts: plan.format == FileFormat::Csv && spec.destination.load.is_none(),
        };
        let extraction = source.prepare(&query, plan.slices).await?;
        let load = spec.destination.load.clone().map(|spec| LoadRequest {
            spec,
            schema: extraction.schema().clone(),
            layout: plan.layout(),
        });
        let target = Target { task: task.id.clone(), attempt, path: spec.destination.path.clone(), load };
        let upload = destination.begin(&target).await?;
        Ok(Self {
            extraction: Arc::from(extraction),
            upload,
            plan: Arc::new(plan),
            task: task.id.clone(),
            progress: Arc::clone(progress),
            method: None,
        })
    }

    /// Reads every slice and stores its rows as parts. `None` when `stop` came first.
    ///
    /// When this returns, nothing of the transfer touches the source or the upload any more,
    /// whatever the result, so the caller can commit or abort.
    pub async fn write(&self, stop: &CancellationToken) -> Result<Option<Written>, Fault> {
        let numbers = Arc::new(PartNumbers::default());
        let mut slices = TaskSet::new();
        for slice in 0..self.extraction.slice_count() {
            let transfer = self.clone();
            let numbers = Arc::clone(&numbers);
            slices.spawn(async move { transfer.write_slice(Some(slice), numbers).await });
        }
        let mut written = Written::default();
        let result = loop {
            let joined = tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(None),
                joined = slices.join_next() => joined,
            };
            match joined {
                None => break Ok(Some(())),
                Some(Ok(Ok(slice))) => {
                    written.rows += slice.rows;
                    written.parts.extend(slice.parts);
                }
                Some(Ok(Err(fault))) => break Err(fault),
                Some(Err(panic)) => break Err(bug("extract a slice", panic)),
            }
        };
        slices.shutdown().await;
        if result?.is_none() {
            return Ok(None);
        }
        if written.parts.is_empty() {
            // "No file" would read as "no rows yet" downstream: zero rows are a file as well.
            written = self.write_slice(None, numbers).await?;
        }
        written.parts.sort_by_key(|part| part.name.number());
        Ok(Some(written))
    }

    /// The same with this in the receipt.
    #[must_use]
    pub fn read_by(mut self, method: MethodReceipt) -> Self {
        self.method = Some(method);
        self
    }

    /// Makes the parts visible, and loads them where the task asks for it. `begun` is when the attempt began.
    pub async fn commit(&self, written: Written, begun: Instant) -> Result<Receipt, Fault> {
        let files = self.publish(written).await?;
        self.load(files, begun).await
    }

    /// Makes the parts visible. After an error some of them may be.
    pub async fn publish(&self, written: Written) -> Result<Vec<FileReceipt>, Fault> {
        let rows = written.rows;
        let files = self.upload.commit(written.parts).await.map_err(|fault| fault.while_doing("commit"))?;
        let committed: u64 = files.iter().map(|file| file.rows).sum();
        if committed != rows {
            let action = format!("count rows: {rows} were read and {committed} committed");
            return Err(Fault::new(FaultKind::Bug, action));
        }
        Ok(files)
    }

    /// Loads visible files where the task asks for it. `begun` is when the attempt began.
    pub async fn load(&self, files: Vec<FileReceipt>, begun: Instant) -> Result<Receipt, Fault> {
        let load = self.upload.load(&files).await.map_err(|fault| fault.while_doing("load"))?;
        Ok(Receipt {
            load,
            method: self.method.clone(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            rows: files.iter().map(|file| file.rows).sum(),
            files,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            slices: u32::try_from(self.extraction.slice_count()).unwrap_or(u32::MAX),
        })
    }

    /// Reads one slice, or none at all to make the file of an empty result.
    ///
    /// Three activities run at the same time. One that notices only that another has stopped waits
    /// for the error of that one, so that the caller learns the cause and not its consequence.
    async fn write_slice(&self, slice: Option<usize>, numbers: Arc<PartNumbers>) -> Result<Written, Fault> {
        let (batches, to_encode) = mpsc::channel(plan::QUEUED_BATCHES);
        let (pieces, to_store) = mpsc::channel(plan::QUEUED_CHUNKS);
        let encoding = Encoding {
            plan: Arc::clone(&self.plan),
            schema: self.extraction.schema().clone(),
            task: self.task.clone(),
            numbers,
            write_empty: slice.is_none(),
        };
        let encoder = spawn_blocking(move || encoding.run(to_encode, pieces));
        let encode = async {
            match encoder.await {
                Ok(Ok(Some(rows))) => Ok(rows),
                Ok(Ok(None)) => std::future::pending().await,
                Ok(Err(fault)) => Err(fault),
                Err(panic) => Err(bug("encode a part", panic)),
            }
        };
        let (read, encoded, parts) =
            tokio::try_join!(self.read(slice, batches), encode, self.store(to_store))?;
        let stored: u64 = parts.iter().map(|part| part.rows).sum();
        if read != encoded || encoded != stored {
            let action =
                format!("count rows: {read} were read, {encoded} encoded and {stored} stored in parts");
            return Err(Fault::new(FaultKind::Bug, action));
        }
        Ok(Written { parts, rows: stored })
    }

    /// Pulls batches out of the source into the channel. Returns the number of rows.
    async fn read(
        &self,
        slice: Option<usize>,
        batches: mpsc::Sender<FromSlice<RecordBatch>>,
    ) -> Result<u64, Fault> {
        let mut rows = 0;
        if let Some(slice) = slice {
            let mut stream = self.extraction.open(slice, self.plan.batch).await?;
            loop {
                let asked = Instant::now();
                let next = stream.next().await?;
                self.progress.add_source_wait(asked.elapsed());
                let Some(batch) = next else { break };
                let count = batch.num_rows() as u64;
                rows += count;
                self.progress.add_rows_read(count);
                if batches.send(FromSlice::Item(batch)).await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
        if batches.send(FromSlice::End).await.is_err() {
            return std::future::pending().await;
        }
        Ok(rows)
    }

    /// Hands encoded pieces to the upload, file by file.
    async fn store(&self, mut pieces: mpsc::Receiver<FromSlice<Piece>>) -> Result<Vec<StoredPart>, Fault> {
        let mut parts = Vec::new();
        let mut writer = None;
        while let Some(message) = pieces.recv().await {
            match message {
                FromSlice::Item(Piece::Open(name)) => {
                    writer = Some(self.upload.create(&name).await?);
                    self.progress.add_part();
                }
                FromSlice::Item(Piece::Chunk(chunk)) => {
                    let writer = writer.as_mut().expect("a part is opened before its first chunk");
                    self.progress.add_bytes_written(chunk.len() as u64);
                    let asked = Instant::now();
                    writer.write(chunk).await?;
                    self.progress.add_destination_wait(asked.elapsed());
                }
                FromSlice::Item(Piece::Close { rows }) => {
                    let writer = writer.take().expect("a part is opened before it is closed");
                    let asked = Instant::now();
                    parts.push(writer.finish(rows).await?);
                    self.progress.add_destination_wait(asked.elapsed());
                    self.progress.add_rows_encoded(rows);
                }
                FromSlice::End => return Ok(parts),
            }
        }
        // The encoder stopped without saying so: its own error is the one to report.
        std::future::pending().await
    }
}

fn bug(action: &'static str, error: tokio::task::JoinError) -> Fault {
    Fault::new(FaultKind::Bug, action).because(error)
}
