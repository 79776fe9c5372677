//! The binary COPY format: from messages in the receive buffer to Arrow batches.
//!
//! The format is that of the chapter on `COPY` in the PostgreSQL manual ("Binary Format"): a header,
//! then for each row a 16-bit count of fields and for each field a 32-bit length (-1 is NULL) and
//! its bytes, then a count of -1. A server sends one row in one `CopyData` message; the header
//! comes with the first.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::decode::{ColumnDecoder, Invalid, decoder};
use super::types::Wire;
use crate::config::SpecialValues;
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;
use crate::source::block::{Block, Field};

/// The first 11 bytes of the header; flags and the length of an extension follow.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags and length of the extension.
const HEADER_BYTES: usize = 19;

/// What an index over the buffer found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Indexed {
    /// Bytes that belong to the indexed rows and can be dropped once these are decoded.
    consumed: usize,
    /// The next message is not row data.
    other_message: bool,
}

/// Reads rows off a buffer of messages.
#[derive(Debug)]
struct Indexer {
    block: Block,
    header_seen: bool,
    trailer_seen: bool,
}

impl Indexer {
    fn new(columns: usize) -> Self {
        Self { block: Block::new(columns), header_seen: false, trailer_seen: false }
    }

    /// Indexes at most `most_rows` rows of whole messages at the beginning of `buffer`.
    fn index(&mut self, buffer: &[u8], most_rows: usize) -> Result<Indexed, Invalid> {
        self.block.clear();
        let mut position = 0;
        while self.block.rows() < most_rows {
            let Some((head, rest)) = buffer[position..].split_first_chunk::<5>() else { break };
            if head[0] != b'd' {
                return Ok(Indexed { consumed: position, other_message: true });
            }
            // The length counts itself: 4 bytes.
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let payload_length = length.checked_sub(4).ok_or(Invalid::Malformed)?;
            if rest.len() < payload_length {
                break;
            }
            let start = position + head.len();
            let end = start + payload_length;
            self.message(buffer, start, end)?;
            position = end;
        }
        Ok(Indexed { consumed: position, other_message: false })
    }

    /// Indexes the rows of one `CopyData` payload.
    fn message(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), Invalid> {
        let payload = buffer.get(..end).ok_or(Invalid::Malformed)?;
        let mut position = start;
        if !self.header_seen {
            position += header(&payload[start..])?;
            self.header_seen = true;
        }
        while position < end {
            if self.trailer_seen {
                return Err(Invalid::Malformed);
            }
            let count = i16::from_be_bytes(take(payload, &mut position)?);
            if count == -1 {
                self.trailer_seen = true;
                continue;
            }
            if usize::try_from(count) != Ok(self.block.columns()) {
                return Err(Invalid::Malformed);
            }
            for _ in 0..count {
                let length = i32::from_be_bytes(take(payload, &mut position)?);
                let start = u32::try_from(position).map_err(|_too_long| Invalid::TooLong)?;
                match usize::try_from(length) {
                    Ok(bytes) => position = position.checked_add(bytes).ok_or(Invalid::Malformed)?,
                    Err(_negative) if length == -1 => {}
                    Err(_negative) => return Err(Invalid::Malformed),
                }
                if position > end {
                    return Err(Invalid::Malformed);
                }
                self.block.push(Field { start, length });
            }
            self.block.end_row();
        }
        Ok(())
    }
}

#[inline]
fn take<const N: usize>(bytes: &[u8], position: &mut usize) -> Result<[u8; N], Invalid> {
    let rest = bytes.get(*position..).ok_or(Invalid::Malformed)?;
    let taken = rest.first_chunk::<N>().ok_or(Invalid::Malformed)?;
    *position += N;
    Ok(*taken)
}

/// Checks the header and returns its length.
fn header(payload: &[u8]) -> Result<usize, Invalid> {
    let mut position = SIGNATURE.len();
    if !payload.starts_with(SIGNATURE) {
        return Err(Invalid::Malformed);
    }
    let flags = u32::from_be_bytes(take(payload, &mut position)?);
    // The upper half are critical flags, of which none is in use since row identifiers are gone.
    if flags >> 16 != 0 {
        return Err(Invalid::Malformed);
    }
    let extension = u32::from_be_bytes(take(payload, &mut position)?) as usize;
    let length = HEADER_BYTES.checked_add(extension).ok_or(Invalid::Malformed)?;
    if payload.len() < length { Err(Invalid::Malformed) } else { Ok(length) }
}

/// Rows into columns: an indexer and one decoder for each column.
pub(super) struct Decoder {
    indexer: Indexer,
    columns: Vec<Box<dyn ColumnDecoder>>,
    schema: SchemaRef,
    limits: BatchLimits,
    rows: usize,
}

/// What a step of decoding found.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch is full. `consumed` bytes can be dropped.
    Batch(RecordBatch, usize),
    /// All whole messages are decoded and `consumed` bytes can be dropped; more are needed.
    NeedBytes(usize),
    /// The message after `consumed` bytes is not row data.
    OtherMessage(usize),
}

impl Decoder {
    /// A decoder for columns that arrive as `wires` and become those of `schema`.
    pub(super) fn new(
        wires: &[Wire],
        schema: SchemaRef,
        special: SpecialValues,
        limits: BatchLimits,
    ) -> Self {
        let columns: Vec<_> = wires
            .iter()
            .zip(schema.fields())
            .map(|(wire, field)| decoder(*wire, field.data_type(), special))
            .collect();
        Self { indexer: Indexer::new(columns.len()), columns, schema, limits, rows: 0 }
    }

    /// Decodes messages at the beginning of `buffer`, until a batch is full or they end.
    pub(super) fn step(&mut self, buffer: &[u8]) -> Result<Step, Fault> {
        let wanted = self.limits.rows.get().saturating_sub(self.rows);
        let found = self.indexer.index(buffer, wanted).map_err(|invalid| self.broken(invalid, None))?;
        for index in 0..self.columns.len() {
            let appended = self.columns[index].append(&self.indexer.block, buffer, index);
            appended.map_err(|invalid| self.broken(invalid, Some(index)))?;
        }
        self.rows += self.indexer.block.rows();
        let bytes: usize = self.columns.iter().map(|column| column.byte_size()).sum();
        if self.rows >= self.limits.rows.get() || (self.rows > 0 && bytes >= self.limits.bytes.get()) {
            return Ok(Step::Batch(self.finish()?, found.consumed));
        }
        Ok(match found.other_message {
            true => Step::OtherMessage(found.consumed),
            false => Step::NeedBytes(found.consumed),
        })
    }

    /// The rows that are left after the last message; `None` when there are none.
    pub(super) fn rest(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if !self.indexer.trailer_seen {
            return Err(self.broken(Invalid::Malformed, None));
        }
        if self.rows == 0 { Ok(None) } else { self.finish().map(Some) }
    }

    fn finish(&mut self) -> Result<RecordBatch, Fault> {
        self.rows = 0;
        let mut arrays = Vec::with_capacity(self.columns.len());
        for index in 0..self.columns.len() {
            let array = self.columns[index].finish();
            arrays.push(array.map_err(|invalid| self.broken(invalid, Some(index)))?);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| {
            // A NULL in a column that the catalog calls NOT NULL, for example.
            Fault::new(FaultKind::Bug, "build a batch").because(error)
        })
    }

    fn broken(&self, invalid: Invalid, column: Option<usize>) -> Fault {
        let name = column.map(|index| self.schema.field(index).name().as_str());
        let action = match name {
            Some(name) => format!("decode column `{name}`"),
            None => "decode rows".to_owned(),
        };
        let quoted = name.unwrap_or("column");
        let (kind, remedy) = match invalid {
            Invalid::Malformed => (FaultKind::Bug, None),
            Invalid::Special(_) => (
                FaultKind::Data,
                Some(format!(
                    "Set `special_values = \"null\"` on the connection to write NULL for it, or select \"{quoted}\"::text."
                )),
            ),
            Invalid::Overflow => (
                FaultKind::Data,
                Some(format!(
                    "Choose a wider `numeric = \"decimal(p,s)\"` on the connection, or round or cast \"{quoted}\" in the query."
                )),
            ),
            Invalid::NotUtf8 => (
                FaultKind::Data,
                Some(format!(
                    "The database does not check encodings (SQL_ASCII); select convert_to(\"{quoted}\", 'SQL_ASCII') to get its bytes."
                )),
            ),
            Invalid::TooLong => (FaultKind::Data, Some("Lower `batch_rows`.".to_owned())),
        };
        let fault = Fault::new(kind, action).because(invalid);
        match remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        }
    }
}
