//! An entry for the fuzzer: any bytes as a server's message, description of the columns and all.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::connection::decoder_of;
use super::protocol::token::{self, Token, Unfinished, WireColumn};
use super::rows::{Decoder, Step};
use super::types::{self, TypeOptions};
use crate::config::{OffsetPolicy, SeventhDigit, SpatialPolicy};
use crate::source::BatchLimits;

/// Rows of a batch: few, so that short inputs have several.
const BATCH_ROWS: usize = 3;

/// What came of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    /// The rows of all batches that were handed out; `None` when no columns were described.
    pub(super) rows: Option<RecordBatch>,
    /// The message ended as a result has to, with a count.
    pub(super) complete: bool,
}

const OPTIONS: TypeOptions = TypeOptions {
    offset: OffsetPolicy::Utc,
    seventh_digit: SeventhDigit::Nanoseconds,
    spatial: SpatialPolicy::Text,
};

/// A message that arrives in pieces.
struct Arriving<'a, I: Iterator<Item = &'a [u8]>> {
    pieces: std::iter::Peekable<I>,
    buffer: Vec<u8>,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Arriving<'a, I> {
    fn ended(&mut self) -> bool {
        self.pieces.peek().is_none()
    }

    /// False when nothing is left to arrive.
    fn fill(&mut self) -> bool {
        let piece = self.pieces.next();
        self.buffer.extend_from_slice(piece.unwrap_or_default());
        piece.is_some()
    }

    /// The next token; `None` when there is none.
    fn token(&mut self) -> Option<Token> {
        loop {
            match token::read(&self.buffer) {
                Ok((token, length)) => {
                    self.buffer.drain(..length);
                    return Some(token);
                }
                Err(Unfinished::Short) if self.fill() => {}
                Err(_) => return None,
            }
        }
    }
}

/// Decodes a message that arrives in `pieces`.
pub(super) fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut arriving = Arriving { pieces: pieces.peekable(), buffer: Vec::new() };
    let columns = loop {
        match arriving.token() {
            Some(Token::Columns(columns)) if !columns.is_empty() => break columns,
            Some(_) => {}
            None => return Decoded { rows: None, complete: false },
        }
    };
    let schema = schema_of(&columns);
    let limits = BatchLimits {
        rows: NonZeroUsize::new(BATCH_ROWS).expect("not zero"),
        // Never reached first: it is looked at between blocks, which depend on the pieces.
        bytes: NonZeroUsize::MAX,
    };
    // A scale that no server has, for example.
    let Ok(mut decoder) = decoder_of(&columns, Arc::clone(&schema), limits, usize::MAX - 1, "decode") else {
        return Decoded { rows: None, complete: false };
    };
    let mut batches = Vec::new();
    let complete = decode_all(&mut decoder, &mut arriving, &mut batches);
    let rows = concat_batches(&schema, &batches).expect("batches of one schema");
    Decoded { rows: Some(rows), complete }
}

fn schema_of(columns: &[WireColumn]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| Field::new(&column.name, types::data_type(column.type_info, OPTIONS), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn decode_all<'a>(
    decoder: &mut Decoder,
    arriving: &mut Arriving<'a, impl Iterator<Item = &'a [u8]>>,
    batches: &mut Vec<RecordBatch>,
) -> bool {
    loop {
        let ended = arriving.ended();
        match decoder.step(&arriving.buffer, ended) {
            Ok(Step::Batch(batch, consumed)) => {
                assert!(batch.num_rows() > 0, "a batch has a row");
                batches.push(batch);
                arriving.buffer.drain(..consumed);
            }
            Ok(Step::NeedBytes(consumed)) => {
                arriving.buffer.drain(..consumed);
                arriving.fill();
            }
            Ok(Step::OtherToken(consumed)) => {
                arriving.buffer.drain(..consumed);
                match arriving.token() {
                    Some(Token::Done(_)) => {
                        let Ok(rest) = decoder.rest() else { return false };
                        batches.extend(rest);
                        return true;
                    }
                    Some(Token::Error(_) | Token::Columns(_)) | None => return false,
                    Some(Token::Change(_) | Token::LoggedIn | Token::SecurityPackage(_) | Token::Other) => {}
                }
            }
            Err(_fault) => return false,
        }
    }
}

/// Decodes `input` as a server's message, at once and in pieces, which must not make a difference.
/// The first byte is the length of a piece.
pub fn decode(input: &[u8]) {
    let [piece, message @ ..] = input else { return };
    let at_once = run(std::iter::once(message));
    let in_pieces = run(message.chunks(usize::from(*piece).max(1)));
    assert_eq!(at_once, in_pieces);
}
