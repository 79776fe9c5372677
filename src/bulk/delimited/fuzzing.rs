//! An entry for the fuzzer: any bytes as the output of a program.

use std::num::NonZeroUsize;

use arrow::datatypes::{DataType, TimeUnit};

use super::{Decoder, Layout, Quoting};
use crate::schema::{Column, TableSchema};
use crate::source::{BatchLimits, TextForms};

/// Rows that were decoded, or why not.
type Outcome = Result<usize, String>;

/// Decodes the bytes in every layout, as a whole and byte by byte, which has to make no difference.
///
/// # Panics
///
/// When it does.
pub fn decode(input: &[u8]) {
    for quoting in
        [Quoting::Nul, Quoting::None(b"-".to_vec()), Quoting::Copy, Quoting::Batch, Quoting::Double]
    {
        let (field, row) = match quoting {
            Quoting::Nul => ("\x1f", "\x1e"),
            Quoting::None(_) => ("||", "\r\n"),
            Quoting::Copy | Quoting::Batch => ("\t", "\n"),
            Quoting::Double => (",", "\n"),
        };
        let layout = Layout::new(field, row, quoting);
        assert_eq!(run(&layout, input, input.len().max(1)), run(&layout, input, 1), "{layout:?}");
    }
}

fn run(layout: &Layout, input: &[u8], piece: usize) -> Outcome {
    let types = [
        DataType::Int64,
        DataType::Utf8,
        DataType::Decimal128(20, 4),
        DataType::Decimal256(60, 10),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::Date32,
        DataType::Binary,
        DataType::Float64,
    ];
    let columns = types.into_iter().enumerate().map(|(position, data_type)| Column {
        name: format!("c{position}"),
        source_type: String::new(),
        data_type,
        nullable: true,
    });
    let schema = TableSchema::new(columns.collect()).expect("eight columns with names of their own");
    let limits = BatchLimits {
        rows: NonZeroUsize::new(3).expect("not zero"),
        bytes: NonZeroUsize::new(1 << 20).expect("not zero"),
    };
    let mut decoder = Decoder::new(layout.clone(), schema, TextForms::default(), limits, 4096);
    let mut rows = 0;
    let mut decode = || {
        for mut piece in input.chunks(piece) {
            while !piece.is_empty() {
                let read = decoder.push(piece)?;
                piece = &piece[read..];
                if decoder.is_full() {
                    rows += decoder.take()?.map_or(0, |batch| batch.num_rows());
                }
            }
        }
        decoder.finish()?;
        rows += decoder.take()?.map_or(0, |batch| batch.num_rows());
        Ok::<usize, crate::fault::Fault>(rows)
    };
    decode().map_err(|fault| fault.chain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_the_fuzzer_is_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/delimited_text");
        let files: Vec<_> =
            std::fs::read_dir(folder).expect("the seeds are part of the repository").collect();
        assert!(files.len() >= 4);
        for file in files {
            decode(&std::fs::read(file.expect("an entry").path()).expect("a seed"));
        }
    }
}
