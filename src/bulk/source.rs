//! A bulk utility behind the trait of sources.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::{Buf, BytesMut};

use super::delimited::Decoder;
use super::process::{PrivateFolder, Running};
use super::{BulkUtility, Job};
use crate::config::SourceConnection;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::shutdown::Shutdown;
use crate::source::{BatchLimits, BatchStream, Extraction, Query, Source, TextExport};

/// A connection whose rows a program reads. The connection's own source describes the query.
pub struct BulkSource {
    native: Arc<dyn Source>,
    utility: Arc<dyn BulkUtility>,
    connection: Arc<SourceConnection>,
    shutdown: Shutdown,
}

impl BulkSource {
    /// A source that lets `native` describe and `utility` read.
    #[must_use]
    pub fn new(
        native: Arc<dyn Source>,
        utility: Arc<dyn BulkUtility>,
        connection: SourceConnection,
        shutdown: Shutdown,
    ) -> Self {
        Self { native, utility, connection: Arc::new(connection), shutdown }
    }
}

#[async_trait]
impl Source for BulkSource {
    async fn check(&self) -> Result<(), Fault> {
        super::find_program(&*self.utility)?;
        self.native.check().await
    }

    async fn prepare(&self, query: &Query, wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        self.utility.supports(&self.connection)?;
        if wanted.get() > 1 {
            tracing::info!(utility = self.utility.name(), "one slice: a bulk utility reads in one piece");
        }
        let mut export = self.native.export_as_text(query).await?;
        if query.as_texts && self.utility.writes_exact_texts() {
            export.schema = export.schema.as_texts();
        }
        Ok(Box::new(BulkExtraction {
            schema: export.schema.clone(),
            export: Mutex::new(Some(export)),
            utility: Arc::clone(&self.utility),
            connection: Arc::clone(&self.connection),
            shutdown: self.shutdown.clone(),
        }))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        self.native.export_as_text(query).await
    }
}

struct BulkExtraction {
    schema: TableSchema,
    /// Until it is opened.
    export: Mutex<Option<TextExport>>,
    utility: Arc<dyn BulkUtility>,
    connection: Arc<SourceConnection>,
    shutdown: Shutdown,
}

#[async_trait]
impl Extraction for BulkExtraction {
    fn schema(&self) -> &TableSchema {
        &self.schema
    }

    fn slice_count(&self) -> usize {
        1
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let taken = self.export.lock().expect("nothing panics while it holds this lock").take();
        let Some(export) = taken else {
            return Err(Fault::new(FaultKind::Bug, format!("open slice {slice} a second time")));
        };
        let folder = PrivateFolder::new()?;
        let job = Job { export: &export, connection: &self.connection, folder: &folder };
        let (mut program, layout) = self.utility.program(&job)?;
        let settings = self.utility.settings();
        program.inherited.add(settings.variables.iter().cloned());
        program.variables.push(folder.mark());
        let longest_row = settings.longest_row.get();
        let running = program.start(&self.shutdown)?;
        let decoder = Decoder::new(layout, export.schema, export.forms, limits, longest_row);
        Ok(Box::new(ProgramStream {
            running: Some(running),
            decoder,
            buffer: BytesMut::new(),
            utility: Arc::clone(&self.utility),
            _folder: folder,
        }))
    }
}

/// The rows that a program writes. Dropping it ends the program.
struct ProgramStream {
    /// Until it has ended.
    running: Option<Running>,
    decoder: Decoder,
    /// Read and not decoded.
    buffer: BytesMut,
    utility: Arc<dyn BulkUtility>,
    /// After the program: it may still write into it.
    _folder: PrivateFolder,
}

#[async_trait]
impl BatchStream for ProgramStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        let name = self.utility.name();
        let named = |fault: Fault| fault.while_doing(format!("read rows with {name}"));
        while let Some(running) = &mut self.running {
            if self.buffer.is_empty() && !running.read(&mut self.buffer).await? {
                let running = self.running.take().expect("it is being read");
                let exit = running.end().await?;
                // A program that failed has a better reason than the row that it did not end.
                let reported = self.utility.diagnose(&exit)?;
                self.decoder.finish().map_err(named)?;
                self.compare(reported)?;
                break;
            }
            let read = self.decoder.push(&self.buffer).map_err(named)?;
            self.buffer.advance(read);
            if self.decoder.is_full() {
                return self.decoder.take().map_err(named);
            }
        }
        self.decoder.take().map_err(named)
    }
}

impl ProgramStream {
    /// What the program says, what its output says and what was decoded have to be one number.
    fn compare(&self, reported: Option<u64>) -> Result<(), Fault> {
        let decoded = self.decoder.row_count();
        for said in [reported, self.decoder.announced()].into_iter().flatten() {
            if said != decoded {
                let name = self.utility.name();
                return Err(Fault::new(FaultKind::Data, format!("count the rows of {name}"))
                    .because(format!("it says that it wrote {said}, and {decoded} arrived"))
                    .remedy(
                        "A value may hold the terminator of rows; choose another one that no value has, or \
                         set `method` to `native`.",
                    ));
            }
        }
        Ok(())
    }
}
