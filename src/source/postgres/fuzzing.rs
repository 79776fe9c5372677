//! An entry for the fuzzer: any bytes as the messages of a COPY.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::copy::{Decoder, Step};
use super::types::Wire;
use crate::config::SpecialValues;
use crate::source::BatchLimits;

/// Decodes `input` as the receive buffer of a COPY with one column of each kind. Must not panic,
/// and must not go on without taking bytes.
pub fn decode(input: &[u8]) {
    let microseconds = TimeUnit::Microsecond;
    let columns = [
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
    ];
    // The first byte chooses one column or all: a single column is found sooner by chance.
    let Some((choice, buffer)) = input.split_first() else { return };
    let chosen = columns.get(usize::from(*choice)).map_or(&columns[..], std::slice::from_ref);
    let wires: Vec<Wire> = chosen.iter().map(|(wire, _)| *wire).collect();
    let fields: Vec<Field> = chosen
        .iter()
        .enumerate()
        .map(|(index, (_, data_type))| Field::new(format!("c{index}"), data_type.clone(), true))
        .collect();
    let limits = BatchLimits {
        rows: NonZeroUsize::new(3).expect("not zero"),
        bytes: NonZeroUsize::new(1 << 16).expect("not zero"),
    };
    let mut decoder = Decoder::new(&wires, Arc::new(Schema::new(fields)), SpecialValues::Null, limits);
    let mut rest = buffer;
    loop {
        match decoder.step(rest) {
            Ok(Step::Batch(batch, consumed)) => {
                assert!(batch.num_rows() > 0 && batch.num_rows() <= 3);
                rest = &rest[consumed..];
            }
            Ok(Step::NeedBytes(_) | Step::OtherMessage(_)) => {
                let _rows_or_fault = decoder.rest();
                return;
            }
            Err(_fault) => return,
        }
    }
}
