//! The COPY decoder against streams that are right, streams that are cut anywhere, and streams
//! that are broken.

use std::fs;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Decimal64Type, Float64Type, Int32Type};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzzing::{self, Decoded, columns, run};
use crate::config::SpecialValues;

type Fields = Vec<Option<Vec<u8>>>;

fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), payload].concat()
}

/// The messages that a server sends: the header with the first row, one row in each message.
fn stream(rows: &[Fields]) -> Vec<u8> {
    let mut payload = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let mut stream = Vec::new();
    for fields in rows {
        payload.extend_from_slice(&i16::try_from(fields.len()).expect("few columns").to_be_bytes());
        for field in fields {
            let length = field.as_ref().map_or(-1, |field| i32::try_from(field.len()).expect("short"));
            payload.extend_from_slice(&length.to_be_bytes());
            payload.extend_from_slice(field.as_deref().unwrap_or_default());
        }
        stream.extend(message(b'd', &payload));
        payload.clear();
    }
    payload.extend_from_slice(&[0xff, 0xff]);
    stream.extend(message(b'd', &payload));
    stream.extend(message(b'c', &[]));
    stream
}

/// A number of at most two groups of digits on each side of the point, as every decimal here holds.
fn numeric() -> impl Strategy<Value = Vec<u8>> {
    let sign = prop_oneof![Just(0_u16), Just(0x4000), Just(0xC000)];
    (sign, vec(0..10_000_u16, 0..=2)).prop_map(|(sign, digits)| {
        let digits = if sign == 0xC000 { Vec::new() } else { digits };
        let count = u16::try_from(digits.len()).expect("two");
        let weight = count.wrapping_sub(1);
        let words = [count, weight, sign, 0].into_iter().chain(digits);
        words.flat_map(u16::to_be_bytes).collect()
    })
}

fn bytes<const N: usize>() -> impl Strategy<Value = Vec<u8>> {
    any::<[u8; N]>().prop_map(Vec::from)
}

/// A row whose fields are right, in the order of [`columns`].
fn row() -> impl Strategy<Value = Fields> {
    let text = || ".{0,9}".prop_map(String::into_bytes);
    let fields: Vec<BoxedStrategy<Vec<u8>>> = vec![
        any::<bool>().prop_map(|value| vec![u8::from(value)]).boxed(),
        bytes::<2>().boxed(),
        bytes::<4>().boxed(),
        bytes::<8>().boxed(),
        bytes::<4>().boxed(),
        bytes::<4>().boxed(),
        bytes::<8>().boxed(),
        bytes::<4>().boxed(),
        (0..86_400_000_000_i64).prop_map(|time| time.to_be_bytes().to_vec()).boxed(),
        bytes::<8>().boxed(),
        numeric().boxed(),
        numeric().boxed(),
        numeric().boxed(),
        text().boxed(),
        text().prop_map(|text| [&[1][..], &text].concat()).boxed(),
        bytes::<16>().boxed(),
        vec(any::<u8>(), 0..9).boxed(),
    ];
    assert_eq!(fields.len(), columns().len());
    fields.into_iter().map(|field| proptest::option::weighted(0.9, field)).collect::<Vec<_>>()
}

/// `stream` in pieces that end at the given places.
fn cut<'a>(stream: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|place| place.index(stream.len())).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut begin = 0;
    ends.into_iter().map(|end| &stream[std::mem::replace(&mut begin, end)..end]).collect()
}

fn whole(stream: &[u8]) -> Decoded {
    run(&columns(), SpecialValues::Null, std::iter::once(stream))
}

proptest! {
    #[test]
    fn a_right_stream_gives_the_same_rows_wherever_it_is_cut(
        rows in vec(row(), 0..12),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = stream(&rows);
        let at_once = whole(&stream);
        prop_assert!(at_once.complete);
        prop_assert_eq!(at_once.rows.num_rows(), rows.len());
        let in_pieces = run(&columns(), SpecialValues::Null, cut(&stream, &places).into_iter());
        prop_assert_eq!(&in_pieces, &at_once);
        let byte_by_byte = run(&columns(), SpecialValues::Null, stream.chunks(1));
        prop_assert_eq!(&byte_by_byte, &at_once);
        check_values(&rows, &at_once.rows);
    }

    #[test]
    fn a_stream_that_ends_early_is_never_complete(rows in vec(row(), 0..5), end in any::<prop::sample::Index>()) {
        let stream = stream(&rows);
        let decoded = whole(&stream[..end.index(stream.len())]);
        prop_assert!(!decoded.complete);
        prop_assert!(decoded.rows.num_rows() <= rows.len());
    }

    #[test]
    fn a_broken_stream_never_panics(
        rows in vec(row(), 0..5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        choice in any::<u8>(),
        piece in any::<u8>(),
    ) {
        let mut stream = stream(&rows);
        for (place, byte, kind) in changes {
            let place = place.index(stream.len());
            match kind {
                0 => stream[place] = byte,
                1 => stream[place] ^= 1 << (byte % 8),
                2 => stream.insert(place, byte),
                _ => stream.truncate(place.max(1)),
            }
        }
        // All columns, which the rows are made for, and one of them, which they are not.
        for choice in [u8::MAX, choice] {
            fuzzing::decode(&[&[choice, piece][..], &stream].concat());
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        fuzzing::decode(&bytes);
    }
}

/// Some columns, read in another way.
fn check_values(rows: &[Fields], batch: &RecordBatch) {
    for (row, fields) in rows.iter().enumerate() {
        let field = |column: usize| fields[column].as_deref();
        let word = |column| field(column).map(|field| i32::from_be_bytes(field.try_into().expect("4 bytes")));
        let valid = |column: usize| batch.column(column).is_valid(row);
        assert_eq!(word(2), valid(2).then(|| batch.column(2).as_primitive::<Int32Type>().value(row)));
        let float = field(6).map(|field| u64::from_be_bytes(field.try_into().expect("8 bytes")));
        let found = valid(6).then(|| batch.column(6).as_primitive::<Float64Type>().value(row).to_bits());
        assert_eq!(float, found);
        // What is beyond Arrow, or infinite, is NULL here.
        let days = word(7).filter(|days| *days != i32::MIN).and_then(|days| days.checked_add(10_957));
        assert_eq!(days, valid(7).then(|| batch.column(7).as_primitive::<Date32Type>().value(row)));
        let number = field(10).and_then(|field| {
            let words: Vec<u16> =
                field.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect();
            let value = words[4..].iter().fold(0, |value, digit| value * 10_000 + i64::from(*digit));
            match words[2] {
                0 => Some(value * 100),
                0x4000 => Some(-value * 100),
                _ => None,
            }
        });
        let found = valid(10).then(|| batch.column(10).as_primitive::<Decimal64Type>().value(row));
        assert_eq!(number, found);
        let text = valid(13).then(|| batch.column(13).as_string::<i32>().value(row).as_bytes());
        assert_eq!(field(13), text);
        let text = valid(14).then(|| batch.column(14).as_string::<i32>().value(row).as_bytes());
        assert_eq!(field(14).map(|field| &field[1..]), text);
        let uuid = valid(15).then(|| batch.column(15).as_string::<i32>().value(row).replace('-', ""));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(field(15).map(hex), uuid);
        let bytes = valid(16).then(|| batch.column(16).as_binary::<i32>().value(row));
        assert_eq!(field(16), bytes);
    }
}

#[test]
fn every_seed_of_the_fuzzer_is_decoded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/copy_decoder");
    let mut seeds = 0;
    for file in fs::read_dir(folder).expect("the seeds are part of the repository") {
        fuzzing::decode(&fs::read(file.expect("an entry").path()).expect("a seed"));
        seeds += 1;
    }
    assert!(seeds > 10, "{seeds} seeds");
}

#[test]
fn seeds_that_are_right_are_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/copy_decoder");
    for (name, rows) in
        [("empty", 0), ("one_row_of_all_columns", 1), ("rows_in_one_message", 2), ("extended_header", 0)]
    {
        let seed = fs::read(folder.join(name)).expect("a seed");
        let decoded = whole(&seed[2..]);
        assert!(decoded.complete, "{name}");
        assert_eq!(decoded.rows.num_rows(), rows, "{name}");
    }
}
