//! Gathers decoded rows until they are a batch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use odbc_api::CursorRow;
use odbc_api::buffers::ColumnarDynBuffer;

use super::decode::{ColumnDecoder, Invalid, decoder};
use super::stream::Cells;
use super::types::Mapping;
use crate::config::OdbcLongValues;
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;

/// Each of the two buffers takes this part of a batch's bytes. What is in one takes at most half as
/// much again when it is decoded (UTF-16 as UTF-8), and a batch ends at half of its bytes, so that it
/// never has more than it may.
const BUFFER_SHARE: usize = 3;
/// A buffer of fewer rows than this does not pay for the calls that fill it.
const LEAST_ROWS: usize = 8;

/// Decoders of a result and what they have gathered.
pub(super) struct Gathering {
    schema: SchemaRef,
    mappings: Vec<Mapping>,
    decoders: Vec<Box<dyn ColumnDecoder>>,
    limits: BatchLimits,
    rows: usize,
    /// Rows of earlier batches.
    rows_before: u64,
}

impl Gathering {
    pub(super) fn new(schema: SchemaRef, mappings: Vec<Mapping>, limits: BatchLimits) -> Self {
        let decoders = mappings.iter().map(decoder).collect();
        Self { schema, mappings, decoders, limits, rows: 0, rows_before: 0 }
    }

    /// How many columns the result has to have.
    pub(super) fn width(&self) -> usize {
        self.mappings.len()
    }

    /// The buffers to fetch into, sized from the descriptions of the columns and the bytes of a batch;
    /// `None` when values have to come in pieces.
    pub(super) fn cells(&self, long_values: OdbcLongValues) -> Option<Cells> {
        if long_values == OdbcLongValues::Pieces {
            return None;
        }
        let descriptions: Option<Vec<_>> = self.mappings.iter().map(|mapping| mapping.cell).collect();
        let descriptions = descriptions?;
        let row_bytes: usize = descriptions.iter().map(|cell| cell.bytes_per_row()).sum();
        let most = self.limits.rows.get();
        let rows = (self.limits.bytes.get() / BUFFER_SHARE / row_bytes.max(1)).min(most);
        (rows >= LEAST_ROWS.min(most)).then_some(Cells { descriptions, rows })
    }

    /// Takes the rows of a buffer. Returns the batch before them when they would not fit any more.
    pub(super) fn append(&mut self, buffer: &ColumnarDynBuffer) -> Result<Option<RecordBatch>, Fault> {
        let full = if self.rows + buffer.num_rows() > self.limits.rows.get() { self.take()? } else { None };
        for (position, decoder) in self.decoders.iter_mut().enumerate() {
            if let Err(invalid) = decoder.append(buffer.column(position)) {
                return Err(self.invalid(position, invalid));
            }
        }
        self.rows += buffer.num_rows();
        Ok(full)
    }

    /// Takes one row, each value in as many pieces as it has.
    pub(super) fn append_row(&mut self, row: &mut CursorRow<'_>) -> Result<(), Fault> {
        for (position, decoder) in self.decoders.iter_mut().enumerate() {
            let number = u16::try_from(position + 1).unwrap_or(u16::MAX);
            if let Err(invalid) = decoder.append_from(row, number) {
                return Err(self.invalid(position, invalid));
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The batch, when it is full after rows of a buffer.
    pub(super) fn take_if_half_full(&mut self) -> Result<Option<RecordBatch>, Fault> {
        self.take_from(self.limits.bytes.get() / 2)
    }

    /// The batch, when it is full after a row.
    pub(super) fn take_if_full(&mut self) -> Result<Option<RecordBatch>, Fault> {
        self.take_from(self.limits.bytes.get())
    }

    fn take_from(&mut self, bytes: usize) -> Result<Option<RecordBatch>, Fault> {
        let gathered: usize = self.decoders.iter().map(|decoder| decoder.byte_size()).sum();
        if self.rows >= self.limits.rows.get() || gathered >= bytes { self.take() } else { Ok(None) }
    }

    /// Everything that is gathered; `None` when that is nothing.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(self.decoders.len());
        for position in 0..self.decoders.len() {
            match self.decoders[position].finish() {
                Ok(array) => arrays.push(array),
                Err(invalid) => return Err(self.invalid(position, invalid)),
            }
        }
        self.rows_before += self.rows as u64;
        self.rows = 0;
        let batch = RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays);
        batch.map(Some).map_err(|error| Fault::new(FaultKind::Bug, "decode rows").because(error))
    }

    /// A value that is longer than its cell.
    pub(super) fn truncated(&self, position: usize) -> Fault {
        self.invalid(position, Invalid::Truncated)
    }

    fn invalid(&self, position: usize, invalid: Invalid) -> Fault {
        let name = self.schema.field(position).name();
        let after = self.rows_before + self.rows as u64;
        let remedy = invalid.remedy();
        let kind = match invalid {
            Invalid::OtherBuffer => FaultKind::Bug,
            // A connection that broke between two pieces of a value may be there again next time.
            Invalid::Driver(_) => FaultKind::Transient,
            _ => FaultKind::Data,
        };
        let cause = match &invalid {
            Invalid::Driver(odbc_api::Error::Diagnostics { record, .. }) => {
                format!("the driver reports {} ({})", record.state.as_str(), record.native_error)
            }
            other => other.to_string(),
        };
        Fault::new(kind, format!("decode column `{name}`, after row {after}")).because(cause).remedy(remedy)
    }
}
