//! Rows of the binary protocol: from packets in the receive buffer to Arrow batches.
//!
//! A row is one packet: a zero, a bitmap of NULLs, and the values that are not NULL, one after the
//! other. What has a fixed width lies there as it is; the rest begins with its length. A packet of
//! 16 MiB less one byte is continued by the next one.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};

use super::decode::{ColumnDecoder, Invalid, decoder};
use super::packet::{FULL_PACKET, HEADER_BYTES, Malformed, Reader};
use super::types::{Width, Wire};
use crate::config::ZeroDates;
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;
use crate::source::block::{Block, Field};

/// Bits before the first column's in the bitmap of NULLs.
const BITMAP_OFFSET: usize = 2;
/// Bytes of the index of a block, beside one row: far more than the rows of one read have, unless they are
/// all NULLs.
const BLOCK_BYTES: usize = 512 << 10;

/// Takes the row in `bytes[start..end]` into a block.
#[inline]
fn push_row(
    block: &mut Block,
    bytes: &[u8],
    start: usize,
    end: usize,
    widths: &[Width],
) -> Result<(), Invalid> {
    let row = bytes.get(..end).ok_or(Invalid::Malformed)?;
    let bitmap_bytes = (widths.len() + BITMAP_OFFSET).div_ceil(8);
    let mut position = start + 1 + bitmap_bytes;
    let bitmap = row.get(start + 1..position).ok_or(Invalid::Malformed)?;
    for (column, width) in widths.iter().enumerate() {
        let bit = column + BITMAP_OFFSET;
        if bitmap[bit / 8] & (1 << (bit % 8)) != 0 {
            block.push(Field { start: 0, length: -1 });
            continue;
        }
        let length = match width {
            Width::Fixed(bytes) => usize::from(*bytes),
            Width::Byte => {
                let length = *row.get(position).ok_or(Invalid::Malformed)?;
                position += 1;
                usize::from(length)
            }
            Width::Length => match row.get(position) {
                // By far the most, so without a detour.
                Some(short @ 0..=250) => {
                    position += 1;
                    usize::from(*short)
                }
                Some(_) => {
                    let mut reader = Reader(&row[position..]);
                    let before = reader.0.len();
                    let length = reader.length()?.ok_or(Invalid::Malformed)?;
                    position += before - reader.0.len();
                    usize::try_from(length).map_err(|_too_long| Invalid::Malformed)?
                }
                None => return Err(Invalid::Malformed),
            },
            Width::Nothing => return Err(Invalid::Malformed),
        };
        let after = position.checked_add(length).filter(|after| *after <= end);
        let after = after.ok_or(Invalid::Malformed)?;
        let start = u32::try_from(position).map_err(|_too_long| Invalid::TooLong)?;
        let length = i32::try_from(length).map_err(|_too_long| Invalid::TooLong)?;
        block.push(Field { start, length });
        position = after;
    }
    if position != end {
        return Err(Invalid::Malformed);
    }
    block.end_row();
    Ok(())
}

/// What an index over the buffer found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Indexed {
    /// Bytes that belong to the indexed rows and can be dropped once these are decoded.
    consumed: usize,
    /// The next packet is no row.
    other_packet: bool,
    /// The index ended at, or with, a row of several packets, or with as many rows as were wanted; there
    /// may be whole rows behind.
    unfinished: bool,
}

/// Reads rows off a buffer of packets.
#[derive(Debug)]
struct Indexer {
    widths: Vec<Width>,
    block: Block,
    /// Number of the next packet.
    sequence: u8,
    /// A row of several packets, put together; empty when the block lies in the buffer.
    joined: Vec<u8>,
    /// Bytes of the longest row that is waited for.
    longest_row: usize,
}

impl Indexer {
    fn allow(&self, length: usize) -> Result<(), Invalid> {
        match length > self.longest_row {
            true => Err(Invalid::LongRow(self.longest_row)),
            false => Ok(()),
        }
    }

    /// Indexes at most `most_rows` rows of whole packets at the beginning of `buffer`.
    fn index(&mut self, buffer: &[u8], most_rows: usize) -> Result<Indexed, Invalid> {
        self.block.clear();
        self.joined.clear();
        let mut position = 0;
        while self.block.rows() < most_rows {
            let Some((header, rest)) = buffer[position..].split_first_chunk::<HEADER_BYTES>() else { break };
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            // Before it has arrived: the buffer would grow until it has.
            self.allow(length)?;
            if length == FULL_PACKET {
                if self.block.rows() > 0 {
                    return Ok(Indexed { consumed: position, unfinished: true, ..Indexed::default() });
                }
                return self.long_row(buffer);
            }
            if rest.len() < length {
                break;
            }
            match rest.first() {
                Some(0) if length > 0 => {}
                _ => return Ok(Indexed { consumed: position, other_packet: true, unfinished: false }),
            }
            if header[3] != self.sequence {
                return Err(Invalid::OutOfOrder);
            }
            self.sequence = self.sequence.wrapping_add(1);
            let start = position + HEADER_BYTES;
            push_row(&mut self.block, buffer, start, start + length, &self.widths)?;
            position = start + length;
        }
        let unfinished = self.block.rows() >= most_rows;
        Ok(Indexed { consumed: position, unfinished, ..Indexed::default() })
    }

    /// Puts a row of several packets together, once all of them have arrived.
    fn long_row(&mut self, buffer: &[u8]) -> Result<Indexed, Invalid> {
        let mut position = 0;
        let mut sequence = self.sequence;
        let mut payload = 0;
        loop {
            let Some((header, rest)) = buffer[position..].split_first_chunk::<HEADER_BYTES>() else {
                return Ok(Indexed::default());
            };
            if header[3] != sequence {
                return Err(Invalid::OutOfOrder);
            }
            sequence = sequence.wrapping_add(1);
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            payload += length;
            self.allow(payload)?;
            if rest.len() < length {
                return Ok(Indexed::default());
            }
            position += HEADER_BYTES + length;
            if length < FULL_PACKET {
                break;
            }
        }
        // Only now, so that a row that arrives in a thousand pieces is copied once.
        let mut rest = &buffer[..position];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let (payload, after) = after.split_at_checked(length).ok_or(Invalid::Malformed)?;
            self.joined.extend_from_slice(payload);
            rest = after;
        }
        if self.joined.first() != Some(&0) {
            return Err(Invalid::Malformed);
        }
        self.sequence = sequence;
        push_row(&mut self.block, &self.joined, 0, self.joined.len(), &self.widths)?;
        Ok(Indexed { consumed: position, unfinished: true, ..Indexed::default() })
    }
}

/// Rows into columns: an indexer and one decoder for each column.
pub(super) struct Decoder {
    indexer: Indexer,
    columns: Vec<Box<dyn ColumnDecoder>>,
    schema: SchemaRef,
    limits: BatchLimits,
    rows: usize,
    /// Bytes that each row takes at least, whatever is in it.
    row_bytes: usize,
    /// Columns in which a `?` is looked for.
    watched: Vec<usize>,
    /// Those of them in which one has come.
    seen: Vec<usize>,
}

/// What a step of decoding found.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch is full. `consumed` bytes can be dropped.
    Batch(RecordBatch, usize),
    /// All whole packets are decoded and `consumed` bytes can be dropped; more are needed.
    NeedBytes(usize),
    /// The packet after `consumed` bytes is no row.
    OtherPacket(usize),
}

impl Decoder {
    /// A decoder for columns that arrive as `wires`, each as wide as `widths` say, and become
    /// those of `schema`. `sequence` is the number of the first packet; a row has at most `longest_row`
    /// bytes.
    pub(super) fn new(
        columns: &[(Wire, Width)],
        schema: SchemaRef,
        zero_dates: ZeroDates,
        limits: BatchLimits,
        sequence: u8,
        longest_row: NonZeroUsize,
    ) -> Self {
        let widths: Vec<Width> = columns.iter().map(|(_, width)| *width).collect();
        let columns: Vec<_> = columns
            .iter()
            .zip(schema.fields())
            .map(|((wire, _), field)| decoder(*wire, field.data_type(), zero_dates))
            .collect();
        let block = Block::new(columns.len());
        let longest_row = longest_row.get();
        let indexer = Indexer { widths, block, sequence, joined: Vec::new(), longest_row };
        let row_bytes = schema.fields().iter().map(|field| least_bytes(field.data_type())).sum();
        Self { indexer, columns, schema, limits, rows: 0, row_bytes, watched: Vec::new(), seen: Vec::new() }
    }

    /// Looks for a `?` in these columns from now on.
    pub(super) fn watch(&mut self, columns: impl Iterator<Item = usize>) {
        self.watched = columns.collect();
    }

    /// The columns in which one has come.
    pub(super) fn question_marks(&self) -> &[usize] {
        &self.seen
    }

    /// Number of the packet after the rows that were taken.
    pub(super) fn sequence(&self) -> u8 {
        self.indexer.sequence
    }

    /// Decodes packets at the beginning of `buffer`, until a batch is full or they end.
    pub(super) fn step(&mut self, buffer: &[u8]) -> Result<Step, Fault> {
        let mut consumed = 0;
        loop {
            let rest = &buffer[consumed..];
            let wanted = self.limits.rows.get().saturating_sub(self.rows).min(self.most_rows());
            let found = self.indexer.index(rest, wanted).map_err(|invalid| self.broken(invalid, None))?;
            consumed += found.consumed;
            self.append(rest)?;
            let bytes = self.byte_size();
            if self.rows >= self.limits.rows.get() || (self.rows > 0 && bytes >= self.limits.bytes.get()) {
                return Ok(Step::Batch(self.finish()?, consumed));
            }
            if found.other_packet {
                return Ok(Step::OtherPacket(consumed));
            }
            if !found.unfinished {
                return Ok(Step::NeedBytes(consumed));
            }
        }
    }

    fn byte_size(&self) -> usize {
        self.columns.iter().map(|column| column.byte_size()).sum()
    }

    /// Rows that may be indexed before bytes are counted again. A NULL takes one bit of the buffer, but
    /// a field of the block and a whole value of the column.
    fn most_rows(&self) -> usize {
        let left = self.limits.bytes.get().saturating_sub(self.byte_size());
        let fields = self.columns.len().max(1) * size_of::<Field>();
        1 + (left / self.row_bytes.max(1)).min(BLOCK_BYTES / fields)
    }

    /// Takes the rows that were indexed in `buffer`.
    fn append(&mut self, buffer: &[u8]) -> Result<(), Fault> {
        let Indexer { block, joined, .. } = &self.indexer;
        let bytes = if joined.is_empty() { buffer } else { joined };
        for (index, column) in self.columns.iter_mut().enumerate() {
            let appended = column.append(block, bytes, index);
            appended.map_err(|invalid| broken(&self.schema, invalid, Some(index)))?;
        }
        let has_come = |column: &usize| {
            block
                .column(bytes, *column)
                .any(|value| matches!(value, Ok(Some(value)) if value.contains(&b'?')))
        };
        self.seen.extend(self.watched.extract_if(.., |column| has_come(column)));
        self.rows += block.rows();
        Ok(())
    }

    /// The rows that are left after the last packet; `None` when there are none.
    pub(super) fn rest(&mut self) -> Result<Option<RecordBatch>, Fault> {
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
        broken(&self.schema, invalid, column)
    }
}

impl From<Malformed> for Invalid {
    fn from(_malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Bytes that a value of this type takes in its column, NULL or not.
fn least_bytes(data_type: &DataType) -> usize {
    // Texts and bytes have an offset; truths are counted as a byte each.
    data_type.primitive_width().unwrap_or(match data_type {
        DataType::Boolean => 1,
        _ => size_of::<i32>(),
    })
}

fn broken(schema: &SchemaRef, invalid: Invalid, column: Option<usize>) -> Fault {
    let name = column.map(|index| schema.field(index).name().as_str());
    let action = match name {
        Some(name) => format!("decode column `{name}`"),
        None => "decode rows".to_owned(),
    };
    let quoted = name.unwrap_or("column");
    let (kind, remedy) = match invalid {
        // Whoever breaks the protocol stands outside of this program: a proxy, a network, a server. A new
        // connection may not meet it again.
        Invalid::Malformed | Invalid::OutOfOrder => (FaultKind::Transient, None),
        Invalid::ZeroDate => (
            FaultKind::Data,
            Some(format!(
                "Set `zero_dates = \"null\"` on the connection to write NULL for it, or select CAST(`{quoted}` AS CHAR)."
            )),
        ),
        Invalid::LongTime => (
            FaultKind::Data,
            Some("Set `time = \"text\"` or `time = \"microseconds\"` on the connection.".to_owned()),
        ),
        Invalid::Overflow => {
            (FaultKind::Data, Some(format!("Cast `{quoted}` to a wider DECIMAL in the query.")))
        }
        Invalid::NotUtf8 => (
            FaultKind::Data,
            Some(format!("Select CAST(`{quoted}` AS BINARY) in the query to get its bytes.")),
        ),
        Invalid::LongRow(_) => (
            FaultKind::Data,
            Some("Raise `longest_row` of the connection, or leave the long column out.".to_owned()),
        ),
        Invalid::TooLong => (FaultKind::Data, Some("Lower `batch_rows`.".to_owned())),
    };
    let fault = Fault::new(kind, action).because(invalid);
    match remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}
