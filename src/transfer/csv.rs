//! One CSV file, RFC 4180: NULL is an empty field, an empty text is `""`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, make_array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flate2::write::GzEncoder;

use super::encode::{ChunkSink, FileEncoder};
use super::plan::Plan;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::task::Compression;

/// Text that is gathered before it goes to the compressor.
const BUFFER_BYTES: usize = 64 << 10;

/// A CSV file that is being written.
pub(super) struct CsvFile {
    output: Counted<Compressor>,
    buffer: String,
    rows: u64,
    dialect: Dialect,
}

#[derive(Clone, Debug)]
struct Dialect {
    delimiter: char,
    line_end: String,
}

impl CsvFile {
    /// Opens a file and writes the column names, when the plan wants them.
    pub(super) fn create(sink: ChunkSink, schema: &TableSchema, plan: &Plan) -> Result<Self, Fault> {
        let compressor =
            Compressor::new(sink, plan.compression).map_err(|error| broken(error, "open a CSV file"))?;
        let dialect =
            Dialect { delimiter: char::from(plan.csv_delimiter), line_end: plan.csv_line_end.clone() };
        let mut buffer = String::with_capacity(BUFFER_BYTES);
        if plan.csv_header {
            for (index, column) in schema.columns().iter().enumerate() {
                dialect.separate(&mut buffer, index);
                dialect.text(&mut buffer, &column.name);
            }
            buffer.push_str(&dialect.line_end);
        }
        Ok(Self { output: Counted { inner: compressor, bytes: 0 }, buffer, rows: 0, dialect })
    }

    fn spill(&mut self) -> Result<(), Fault> {
        self.output.write_all(self.buffer.as_bytes()).map_err(|error| broken(error, "write CSV rows"))?;
        self.buffer.clear();
        Ok(())
    }
}

impl FileEncoder for CsvFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        let options = FormatOptions::default();
        let unprintable = |error| broken(error, "format a column as CSV");
        let arrays: Vec<ArrayRef> =
            batch.columns().iter().map(printable).collect::<Result<_, _>>().map_err(unprintable)?;
        let columns: Vec<Column<'_>> = arrays
            .iter()
            .map(|array| Column::new(array, &options))
            .collect::<Result<_, _>>()
            .map_err(unprintable)?;
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                self.dialect.separate(&mut self.buffer, index);
                column
                    .append(row, &self.dialect, &mut self.buffer)
                    .map_err(|error| broken(error, "format a value as CSV"))?;
            }
            self.buffer.push_str(&self.dialect.line_end);
            if self.buffer.len() >= BUFFER_BYTES {
                self.spill()?;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn size(&self) -> u64 {
        // Before compression: an upper bound, close enough to end a file by.
        self.output.bytes + self.buffer.len() as u64
    }

    fn finish(mut self: Box<Self>) -> Result<u64, Fault> {
        self.spill()?;
        let rows = self.rows;
        self.output.inner.finish().map_err(|error| broken(error, "end a CSV file"))?;
        Ok(rows)
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static, action: &'static str) -> Fault {
    Fault::new(FaultKind::Bug, action).because(error)
}

impl Dialect {
    fn separate(&self, line: &mut String, index: usize) {
        if index > 0 {
            line.push(self.delimiter);
        }
    }

    /// Appends a text, in quotes where it needs them. An empty one needs them, to differ from NULL.
    fn text(&self, line: &mut String, text: &str) {
        let needs_quotes = text.is_empty()
            || text.contains([self.delimiter, '"', '\r', '\n'])
            || (self.line_end.len() == 1 && text.contains(self.line_end.as_str()));
        if !needs_quotes {
            line.push_str(text);
            return;
        }
        line.push('"');
        for (index, piece) in text.split('"').enumerate() {
            if index > 0 {
                line.push_str("\"\"");
            }
            line.push_str(piece);
        }
        line.push('"');
    }
}

/// The array as Arrow prints it: of time zones it knows offsets, and not the name that schemas have.
fn printable(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "UTC" => {
            let data_type = DataType::Timestamp(*unit, Some("+00:00".into()));
            Ok(make_array(array.to_data().into_builder().data_type(data_type).build()?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// One column of a batch, with its way of being printed.
enum Column<'a> {
    Text(&'a StringArray),
    Other { array: &'a ArrayRef, formatter: ArrayFormatter<'a> },
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef, options: &'a FormatOptions<'a>) -> Result<Self, ArrowError> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Text(array.as_string())),
            _ => Ok(Self::Other { array, formatter: ArrayFormatter::try_new(array, options)? }),
        }
    }

    fn append(&self, row: usize, dialect: &Dialect, line: &mut String) -> Result<(), ArrowError> {
        match self {
            Self::Text(array) if array.is_valid(row) => dialect.text(line, array.value(row)),
            Self::Other { array, formatter } if array.is_valid(row) => {
                // Numbers, times and hex need quotes only where the delimiter is one of their own
                // characters.
                let start = line.len();
                write!(line, "{}", formatter.value(row))
                    .map_err(|fmt::Error| ArrowError::CsvError("a value has no text form".to_owned()))?;
                if line[start..].contains(dialect.delimiter) || line.len() == start {
                    let text = line.split_off(start);
                    dialect.text(line, &text);
                }
            }
            Self::Text(_) | Self::Other { .. } => {}
        }
        Ok(())
    }
}

/// The compression around a CSV file.
enum Compressor {
    None(ChunkSink),
    Gzip(GzEncoder<ChunkSink>),
    Zstd(zstd::stream::write::Encoder<'static, ChunkSink>),
}

impl Compressor {
    fn new(sink: ChunkSink, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            // A task with snappy is refused before it gets here.
            Compression::None | Compression::Snappy => Self::None(sink),
            Compression::Gzip => Self::Gzip(GzEncoder::new(sink, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(sink, 1)?),
        })
    }

    fn finish(self) -> io::Result<()> {
        let mut sink = match self {
            Self::None(sink) => sink,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        sink.flush()
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(sink) => sink.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    #[test]
    fn a_moment_is_printed_in_utc_whatever_its_column_calls_that() {
        let moments = TimestampMicrosecondArray::from(vec![Some(1_767_225_601_000_001), None]);
        for zone in ["UTC", "+00:00"] {
            let array: ArrayRef = Arc::new(moments.clone().with_timezone(zone));
            let array = printable(&array).unwrap();
            let options = FormatOptions::default();
            let column = Column::new(&array, &options).unwrap();
            let dialect = Dialect { delimiter: ',', line_end: "\n".to_owned() };
            let mut line = String::new();
            column.append(0, &dialect, &mut line).unwrap();
            line.push('|');
            column.append(1, &dialect, &mut line).unwrap();
            assert_eq!(line, "2026-01-01T00:00:01.000001Z|", "{zone}");
        }
    }
}
