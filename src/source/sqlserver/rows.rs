//! Rows: from tokens in the receive buffer to Arrow batches.
//!
//! A run of ROW and NBCROW tokens is indexed first: where each field lies, and how long it is. Then
//! each column takes its fields out of that block in one loop of its own. Only a value that came
//! in several chunks is copied before it is decoded.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::decode::{ColumnDecoder, Invalid};
use super::protocol::cursor::Cursor;
use super::protocol::token::{NULL_BITMAP_ROW, ROW};
use super::protocol::type_info::Framing;
use crate::fault::{Fault, FaultKind};
use crate::source::BatchLimits;

/// Fields of one block at most, a few more for one row of many columns. NULLs cost a bit on the wire
/// and a whole field here.
const MOST_FIELDS: usize = 128 << 10;
/// Set in the start of a field that lies in the block's own bytes, not in the receive buffer.
const ASSEMBLED: u32 = 1 << 31;
/// Total length of a value in chunks that is NULL, and one that the server does not know yet.
const CHUNKS_NULL: u64 = u64::MAX;
/// Two-byte length that is NULL.
const SHORT_NULL: u16 = u16::MAX;

/// Where one field lies. A negative length is NULL.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: u32,
    length: i32,
}

const NULL: Field = Field { start: 0, length: -1 };

/// The fields of a run of rows, row by row.
#[derive(Debug, Default)]
pub(super) struct Block {
    fields: Vec<Field>,
    columns: usize,
    rows: usize,
    /// Values that came in several chunks, put together.
    assembled: Vec<u8>,
}

impl Block {
    /// Rows in the block.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// One column's fields out of `bytes`, the buffer that was indexed.
    #[inline]
    pub(super) fn column<'a>(
        &'a self,
        bytes: &'a [u8],
        column: usize,
    ) -> impl Iterator<Item = Result<Option<&'a [u8]>, Invalid>> {
        let fields = self.fields.get(column..).unwrap_or_default();
        fields.iter().step_by(self.columns.max(1)).map(move |field| {
            let Ok(length) = usize::try_from(field.length) else { return Ok(None) };
            let (bytes, start) = match field.start & ASSEMBLED {
                0 => (bytes, field.start as usize),
                _ => (&self.assembled[..], (field.start & !ASSEMBLED) as usize),
            };
            bytes.get(start..start + length).map(Some).ok_or(Invalid::Malformed)
        })
    }
}

/// Why a row was not indexed.
enum Stopped {
    /// Its end has not arrived.
    Short,
    Invalid(Invalid),
}

impl From<Invalid> for Stopped {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// Finds rows in a buffer of tokens.
struct Indexer {
    block: Block,
    framings: Vec<Framing>,
    /// Bytes that must be there before a row that was too short is looked at again.
    worth_a_look: usize,
    /// Bytes of a row at most.
    longest_row: usize,
}

/// What an index over the buffer found.
struct Indexed {
    /// Bytes that belong to the indexed rows and can be dropped once these are decoded.
    consumed: usize,
    /// Why there are no more rows.
    end: BlockEnd,
}

/// Where a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockEnd {
    /// As many rows as were wanted.
    Full,
    /// The bytes are used up, or end in a row.
    Bytes,
    /// The next token is not a row.
    OtherToken,
}

impl Indexer {
    fn new(framings: Vec<Framing>, longest_row: usize) -> Self {
        let block = Block { columns: framings.len(), ..Block::default() };
        Self { block, framings, worth_a_look: 0, longest_row }
    }

    /// Indexes at most `most_rows` whole rows at the beginning of `buffer`.
    fn index(&mut self, buffer: &[u8], most_rows: usize) -> Result<Indexed, Invalid> {
        self.block.fields.clear();
        self.block.assembled.clear();
        self.block.rows = 0;
        let mut position = 0;
        if buffer.len() < self.worth_a_look {
            return Ok(Indexed { consumed: 0, end: BlockEnd::Bytes });
        }
        self.worth_a_look = 0;
        while self.block.rows < most_rows {
            let Some(token) = buffer.get(position) else {
                return Ok(Indexed { consumed: position, end: BlockEnd::Bytes });
            };
            if !matches!(*token, ROW | NULL_BITMAP_ROW) {
                return Ok(Indexed { consumed: position, end: BlockEnd::OtherToken });
            }
            let (fields, assembled) = (self.block.fields.len(), self.block.assembled.len());
            match self.row(buffer, position + 1, *token == NULL_BITMAP_ROW) {
                Ok(end) if end - position > self.longest_row => return Err(Invalid::LongRow),
                Ok(end) => {
                    position = end;
                    self.block.rows += 1;
                }
                Err(Stopped::Short) => {
                    self.block.fields.truncate(fields);
                    self.block.assembled.truncate(assembled);
                    // A long value arrives in many pieces; looking at all of it for each piece
                    // would cost the square of its length.
                    let present = buffer.len() - position;
                    if present > self.longest_row {
                        return Err(Invalid::LongRow);
                    }
                    self.worth_a_look = (present + present / 4).min(self.longest_row) + 1;
                    return Ok(Indexed { consumed: position, end: BlockEnd::Bytes });
                }
                Err(Stopped::Invalid(invalid)) => return Err(invalid),
            }
        }
        Ok(Indexed { consumed: position, end: BlockEnd::Full })
    }

    /// Indexes the row behind its token, and returns where it ends.
    #[inline]
    fn row(&mut self, buffer: &[u8], start: usize, has_bitmap: bool) -> Result<usize, Stopped> {
        let mut cursor = Cursor::new(buffer.get(start..).ok_or(Stopped::Short)?);
        let bitmap = match has_bitmap {
            true => cursor.bytes(self.framings.len().div_ceil(8)).ok_or(Stopped::Short)?,
            false => &[],
        };
        for (index, framing) in self.framings.iter().enumerate() {
            let field = match bitmap.get(index / 8) {
                Some(byte) if byte >> (index % 8) & 1 == 1 => NULL,
                Some(_) | None => field(&mut cursor, buffer.len(), *framing, &mut self.block.assembled)?,
            };
            self.block.fields.push(field);
        }
        Ok(buffer.len() - cursor.remaining())
    }
}

/// Reads the length of one field and passes over its bytes. `end` is the length of the buffer, of
/// which the cursor reads the rest.
#[inline]
fn field(
    cursor: &mut Cursor<'_>,
    end: usize,
    framing: Framing,
    assembled: &mut Vec<u8>,
) -> Result<Field, Stopped> {
    let length = match framing {
        Framing::Fixed(0) => return Ok(NULL),
        Framing::Fixed(length) => usize::from(length),
        Framing::Byte => match cursor.u8().ok_or(Stopped::Short)? {
            0 => return Ok(NULL),
            length => usize::from(length),
        },
        Framing::Short => match cursor.u16().ok_or(Stopped::Short)? {
            SHORT_NULL => return Ok(NULL),
            length => usize::from(length),
        },
        Framing::Long => match cursor.u32().ok_or(Stopped::Short)? {
            0 => return Ok(NULL),
            length => length as usize,
        },
        Framing::Pointer => {
            let pointer = cursor.u8().ok_or(Stopped::Short)?;
            if pointer == 0 {
                return Ok(NULL);
            }
            // The pointer itself and a timestamp.
            cursor.bytes(usize::from(pointer) + 8).ok_or(Stopped::Short)?;
            cursor.u32().ok_or(Stopped::Short)? as usize
        }
        Framing::Chunks => return chunks(cursor, end, assembled),
    };
    lying(cursor, end, length)
}

/// The field of `length` bytes where the cursor stands.
#[inline]
fn lying(cursor: &mut Cursor<'_>, end: usize, length: usize) -> Result<Field, Stopped> {
    let start = u32::try_from(end - cursor.remaining()).ok().filter(|start| start & ASSEMBLED == 0);
    let start = start.ok_or(Invalid::TooLong)?;
    let signed = i32::try_from(length).map_err(|_too_long| Invalid::TooLong)?;
    cursor.bytes(length).ok_or(Stopped::Short)?;
    Ok(Field { start, length: signed })
}

/// A value in chunks: its total length, which nobody needs, chunks after their lengths, and a
/// length of 0.
fn chunks(cursor: &mut Cursor<'_>, end: usize, assembled: &mut Vec<u8>) -> Result<Field, Stopped> {
    if cursor.u64().ok_or(Stopped::Short)? == CHUNKS_NULL {
        return Ok(NULL);
    }
    let mut found: Option<Field> = None;
    let mut first: &[u8] = &[];
    loop {
        let length = cursor.u32().ok_or(Stopped::Short)? as usize;
        if length == 0 {
            return Ok(found.unwrap_or(Field { start: 0, length: 0 }));
        }
        let mut ahead = *cursor;
        let lying = lying(cursor, end, length)?;
        let piece = ahead.bytes(length).ok_or(Stopped::Short)?;
        found = Some(match found {
            None => {
                first = piece;
                lying
            }
            Some(before) => {
                let start = match before.start & ASSEMBLED {
                    0 => {
                        let start = assembled.len();
                        assembled.extend_from_slice(first);
                        start
                    }
                    _ => (before.start & !ASSEMBLED) as usize,
                };
                assembled.extend_from_slice(piece);
                let length = i32::try_from(assembled.len() - start).map_err(|_too_long| Invalid::TooLong)?;
                let start = u32::try_from(start).ok().filter(|start| start & ASSEMBLED == 0);
                Field { start: start.ok_or(Invalid::TooLong)? | ASSEMBLED, length }
            }
        });
    }
}

/// Rows into columns: an indexer and one decoder for each column.
pub(super) struct Decoder {
    indexer: Indexer,
    columns: Vec<Box<dyn ColumnDecoder>>,
    schema: SchemaRef,
    limits: BatchLimits,
    rows: usize,
    /// Bits that a row takes in a batch, whatever its values are.
    row_bits: usize,
}

/// What a step of decoding found.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch is full. `consumed` bytes can be dropped.
    Batch(RecordBatch, usize),
    /// All whole rows are decoded and `consumed` bytes can be dropped; more are needed.
    NeedBytes(usize),
    /// The token after `consumed` bytes is not a row.
    OtherToken(usize),
}

impl Decoder {
    /// A decoder for columns that arrive as `framings` say and become those of `schema`. A row of
    /// more than `longest_row` bytes is an error.
    pub(super) fn new(
        framings: Vec<Framing>,
        columns: Vec<Box<dyn ColumnDecoder>>,
        schema: SchemaRef,
        limits: BatchLimits,
        longest_row: usize,
    ) -> Self {
        let row_bits = columns.iter().map(|column| column.value_bits()).sum::<usize>().max(1);
        Self { indexer: Indexer::new(framings, longest_row), columns, schema, limits, rows: 0, row_bits }
    }

    /// Decodes rows at the beginning of `buffer`, until a batch is full or they end. `ended` says
    /// that no more bytes follow.
    pub(super) fn step(&mut self, buffer: &[u8], ended: bool) -> Result<Step, Fault> {
        if ended {
            self.indexer.worth_a_look = 0;
        }
        let mut consumed = 0;
        loop {
            let rest = &buffer[consumed..];
            let most_rows = self.most_rows();
            let found = self.indexer.index(rest, most_rows).map_err(|invalid| self.broken(invalid, None))?;
            for index in 0..self.columns.len() {
                let appended = self.columns[index].append(&self.indexer.block, rest, index);
                appended.map_err(|invalid| self.broken(invalid, Some(index)))?;
            }
            self.rows += self.indexer.block.rows;
            consumed += found.consumed;
            let is_full = self.rows >= self.limits.rows.get() || self.byte_size() >= self.limits.bytes.get();
            if is_full && self.rows > 0 {
                return Ok(Step::Batch(self.finish()?, consumed));
            }
            match found.end {
                BlockEnd::Full => {}
                BlockEnd::OtherToken => return Ok(Step::OtherToken(consumed)),
                // In the middle of a row, or without the token that ends a result.
                BlockEnd::Bytes if ended => return Err(self.broken(Invalid::Malformed, None)),
                BlockEnd::Bytes => return Ok(Step::NeedBytes(consumed)),
            }
        }
    }

    /// Rows that may be decoded before the size of the batch is looked at again: as many as fit when
    /// all their values are NULL or empty, and one more.
    fn most_rows(&self) -> usize {
        let bits_left = self.limits.bytes.get().saturating_sub(self.byte_size()).saturating_mul(8);
        let rows_left = self.limits.rows.get().saturating_sub(self.rows);
        rows_left.min(1 + bits_left / self.row_bits).min(1 + MOST_FIELDS / self.columns.len().max(1))
    }

    fn byte_size(&self) -> usize {
        self.columns.iter().map(|column| column.byte_size()).sum()
    }

    /// The rows that are left after the last token; `None` when there are none.
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
        let name = column.map(|index| self.schema.field(index).name().as_str());
        let action = match name {
            Some(name) => format!("decode column `{name}`"),
            None => "decode rows".to_owned(),
        };
        let fault = Fault::new(invalid.kind(), action);
        let fault = match invalid {
            Invalid::LongRow => {
                fault.because(format!("a row is longer than {} bytes", self.indexer.longest_row))
            }
            _ => fault.because(invalid),
        };
        fault.remedy(invalid.remedy(name.unwrap_or("column")))
    }
}
