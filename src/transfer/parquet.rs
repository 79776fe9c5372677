//! One Parquet file, row group by row group.

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::dictionary;
use super::encode::{ChunkSink, FileEncoder};
use super::plan::Plan;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::task::{Compression, TaskId};

/// Keys of the metadata that every file carries.
pub(crate) mod metadata_key {
    /// The task's id.
    pub(crate) const TASK: &str = "data_exchange_agent.task_id";
    /// The agent's version.
    pub(crate) const VERSION: &str = "data_exchange_agent.version";
    /// A JSON object: column name -> type in the source.
    pub(crate) const SOURCE_TYPES: &str = "data_exchange_agent.source_types";
}

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: ArrowWriter<ChunkSink>,
    row_group_rows: usize,
    row_group_bytes: usize,
}

impl ParquetFile {
    /// Opens a file. `first` is the batch that will be written first: it decides per column
    /// whether a dictionary pays.
    pub(super) fn create(
        sink: ChunkSink,
        schema: &TableSchema,
        plan: &Plan,
        task: &TaskId,
        first: &RecordBatch,
    ) -> Result<Self, Fault> {
        let properties = properties(schema, plan, task, first);
        // Readers take the types from Parquet's own logical types, which say everything; a second
        // copy as an Arrow schema could only disagree with them.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(sink, schema.arrow(), options)
            .map_err(fault("open a Parquet file"))?;
        Ok(Self {
            writer,
            row_group_rows: plan.row_group_rows.get(),
            row_group_bytes: plan.row_group_bytes.get(),
        })
    }
}

impl FileEncoder for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        self.writer.write(batch).map_err(fault("encode rows as Parquet"))?;
        let full = self.writer.in_progress_rows() >= self.row_group_rows
            || self.writer.in_progress_size() >= self.row_group_bytes;
        if full {
            self.writer.flush().map_err(fault("write a Parquet row group"))?;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn finish(mut self: Box<Self>) -> Result<u64, Fault> {
        let footer = self.writer.finish().map_err(fault("write a Parquet footer"))?;
        u64::try_from(footer.file_metadata().num_rows())
            .map_err(|error| Fault::new(FaultKind::Bug, "count the rows of a Parquet file").because(error))
    }
}

fn properties(schema: &TableSchema, plan: &Plan, task: &TaskId, first: &RecordBatch) -> WriterProperties {
    let source_types: serde_json::Map<String, serde_json::Value> = schema
        .columns()
        .iter()
        .map(|column| (column.name.clone(), column.source_type.clone().into()))
        .collect();
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("data-exchange-agent version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec(plan.compression))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // The file decides itself when a row group is full; see `write`.
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(vec![
            entry(metadata_key::TASK, task.to_string()),
            entry(metadata_key::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            entry(metadata_key::SOURCE_TYPES, serde_json::Value::Object(source_types).to_string()),
        ]));
    for (column, values) in schema.columns().iter().zip(first.columns()) {
        let path = ColumnPath::new(vec![column.name.clone()]);
        builder = builder.set_column_dictionary_enabled(path, dictionary::pays(values));
    }
    builder.build()
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Snappy => Codec::SNAPPY,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::None => Codec::UNCOMPRESSED,
    }
}

fn fault(action: &'static str) -> impl Fn(ParquetError) -> Fault {
    move |error| Fault::new(FaultKind::Bug, action).because(error)
}
