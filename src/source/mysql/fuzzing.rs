//! An entry for the fuzzer: any bytes as the packets of a result.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::error::{ServerError, Stage};
use super::packet::{self, Greeting, Prepared};
use super::rows::{Decoder, Step};
use super::types::{Width, Wire};
use crate::config::ZeroDates;
use crate::source::BatchLimits;

/// Rows of a batch: few, so that short inputs have several.
const BATCH_ROWS: usize = 3;

/// One column of every kind.
pub(super) fn columns() -> Vec<(Wire, Width, DataType)> {
    let microseconds = TimeUnit::Microsecond;
    let fixed = |bytes, wire, data_type| (wire, Width::Fixed(bytes), data_type);
    vec![
        fixed(1, Wire::Int1, DataType::Int16),
        fixed(1, Wire::UInt1, DataType::Int16),
        fixed(1, Wire::Bool1, DataType::Boolean),
        fixed(2, Wire::Int2, DataType::Int16),
        fixed(2, Wire::UInt2, DataType::Int32),
        fixed(4, Wire::Int4, DataType::Int32),
        fixed(4, Wire::UInt4, DataType::Int64),
        fixed(8, Wire::Int8, DataType::Int64),
        fixed(8, Wire::UInt8, DataType::Decimal128(20, 0)),
        fixed(4, Wire::Float4, DataType::Float32),
        fixed(8, Wire::Float8, DataType::Float64),
        (Wire::Date, Width::Byte, DataType::Date32),
        (Wire::DateTime, Width::Byte, DataType::Timestamp(microseconds, None)),
        (Wire::Time, Width::Byte, DataType::Time64(microseconds)),
        (Wire::TimeMicroseconds, Width::Byte, DataType::Int64),
        (Wire::TimeText(6), Width::Byte, DataType::Utf8),
        (Wire::Decimal, Width::Length, DataType::Decimal64(15, 2)),
        (Wire::Decimal, Width::Length, DataType::Decimal128(38, 10)),
        (Wire::Decimal, Width::Length, DataType::Decimal256(65, 30)),
        (Wire::Bit, Width::Length, DataType::Boolean),
        (Wire::Bits, Width::Length, DataType::Int64),
        (Wire::Bits, Width::Length, DataType::Decimal128(20, 0)),
        (Wire::Text, Width::Length, DataType::Utf8),
        (Wire::Bytes, Width::Length, DataType::Binary),
        (Wire::Geometry, Width::Length, DataType::Binary),
        (Wire::Null, Width::Nothing, DataType::Utf8),
    ]
}

/// What came of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    /// The rows of all batches that were handed out.
    pub(super) rows: RecordBatch,
    /// The stream ended as a result has to: with a packet that is no row.
    pub(super) complete: bool,
}

/// Decodes a stream that arrives in `pieces`, as the receive buffer of a connection gets it.
pub(super) fn run<'a>(
    columns: &[(Wire, Width, DataType)],
    zero_dates: ZeroDates,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Decoded {
    let wires: Vec<(Wire, Width)> = columns.iter().map(|(wire, width, _)| (*wire, *width)).collect();
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(index, (_, _, data_type))| Field::new(format!("c{index}"), data_type.clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let limits = BatchLimits {
        rows: NonZeroUsize::new(BATCH_ROWS).expect("not zero"),
        // Never reached first: it is looked at between blocks, which depend on the pieces.
        bytes: NonZeroUsize::MAX,
    };
    let longest_row = NonZeroUsize::MAX;
    let mut decoder = Decoder::new(&wires, Arc::clone(&schema), zero_dates, limits, 0, longest_row);
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
            Ok(Step::OtherPacket(_)) => {
                let Ok(rest) = decoder.rest() else { return false };
                batches.extend(rest);
                return true;
            }
            Err(_fault) => return false,
        }
    }
}

/// Decodes `input` as the rows of a result, at once and in pieces, which must not make a
/// difference, and as each packet around them. The first byte chooses a column, the second one the
/// length of a piece.
pub fn decode(input: &[u8]) {
    let [choice, piece, stream @ ..] = input else { return };
    let columns = columns();
    // One column is found sooner by chance than all of them together.
    let chosen = columns.get(usize::from(*choice)).map_or(&columns[..], std::slice::from_ref);
    let at_once = run(chosen, ZeroDates::Null, std::iter::once(stream));
    let in_pieces = run(chosen, ZeroDates::Null, stream.chunks(usize::from(*piece).max(1)));
    assert_eq!(at_once, in_pieces);

    let _greeting = Greeting::read(stream);
    let _prepared = Prepared::read(stream);
    let _columns = (packet::column(stream, true), packet::column(stream, false));
    let _ends = (packet::end_status(stream), packet::ok_status(stream));
    let _error = ServerError::read(stream, Stage::Own).into_fault("decode");
}
