//! An entry for the fuzzer: any bytes as the messages of a COPY.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::copy::{Decoder, Step};
use super::types::Wire;
use crate::config::SpecialValues;
use crate::source::BatchLimits;

/// Rows of a batch: few, so that short inputs have several.
const BATCH_ROWS: usize = 3;

/// One column of every kind.
pub(super) fn columns() -> Vec<(Wire, DataType)> {
    let microseconds = TimeUnit::Microsecond;
    vec![
        (Wire::Bool, DataType::Boolean),
        (Wire::Int2, DataType::Int16),
        (Wire::Int4, DataType::Int32),
        (Wire::Int8, DataType::Int64),
        (Wire::Oid, DataType::Int64),
        (Wire::Float4, DataType::Float32),
        (Wire::Float8, DataType::Float64),
        (Wire::Date, DataType::Date32),
        (Wire::Time, DataType::Time64(microseconds)),
        (Wire::Timestamp, DataType::Timestamp(microseconds, None)),
        (Wire::Numeric, DataType::Decimal64(15, 2)),
        (Wire::Numeric, DataType::Decimal128(38, 10)),
        (Wire::Numeric, DataType::Decimal256(76, 30)),
        (Wire::Text, DataType::Utf8),
        (Wire::Jsonb, DataType::Utf8),
        (Wire::Uuid, DataType::Utf8),
        (Wire::Bytea, DataType::Binary),
    ]
}

/// What came of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    /// The rows of all batches that were handed out.
    pub(super) rows: RecordBatch,
    /// The stream ended as a COPY has to.
    pub(super) complete: bool,
}

/// Decodes a stream that arrives in `pieces`, as the receive buffer of a connection gets it.
pub(super) fn run<'a>(
    columns: &[(Wire, DataType)],
    special: SpecialValues,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Decoded {
    let wires: Vec<Wire> = columns.iter().map(|(wire, _)| *wire).collect();
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(index, (_, data_type))| Field::new(format!("c{index}"), data_type.clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let limits = BatchLimits {
        rows: NonZeroUsize::new(BATCH_ROWS).expect("not zero"),
        // Never reached first: it is looked at between blocks, which depend on the pieces.
        bytes: NonZeroUsize::MAX,
    };
    let mut decoder = Decoder::new(&wires, Arc::clone(&schema), special, limits);
    let mut batches = Vec::new();
    let complete = decode_all(&mut decoder, pieces, &mut batches);
    let rows = concat_batches(&schema, &batches).expect("batches of one schema");
    Decoded { rows, complete }
}

fn decode_all<'a>(
    decoder: &mut Decoder,
    mut pieces: impl Iterator<Item = &'a [u8]>,
    batches: &mut Vec<RecordBatch>,
) -> bool {
    let mut buffer = Vec::new();
    loop {
        match decoder.step(&buffer) {
            Ok(Step::Batch(batch, consumed)) => {
                assert!(batch.num_rows() > 0, "a batch has a row");
                batches.push(batch);
                buffer.drain(..consumed);
            }
            Ok(Step::NeedBytes(consumed)) => {
                buffer.drain(..consumed);
                let Some(piece) = pieces.next() else { return false };
                buffer.extend_from_slice(piece);
            }
            Ok(Step::OtherMessage(_)) => {
                let Ok(rest) = decoder.rest() else { return false };
                batches.extend(rest);
                return true;
            }
            Err(_fault) => return false,
        }
    }
}

/// Decodes `input` as the stream of a COPY, at once and in pieces, which must not make a
/// difference. The first byte chooses a column, the second one the length of a piece.
pub fn decode(input: &[u8]) {
    let [choice, piece, stream @ ..] = input else { return };
    let columns = columns();
    // One column is found sooner by chance than all of them together.
    let chosen = columns.get(usize::from(*choice)).map_or(&columns[..], std::slice::from_ref);
    let at_once = run(chosen, SpecialValues::Null, std::iter::once(stream));
    let in_pieces = run(chosen, SpecialValues::Null, stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(at_once, in_pieces);
}
