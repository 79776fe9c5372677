//! The decoder of rows against streams that are right, streams that are cut anywhere, and streams
//! that are broken.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal64Type, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzzing::{self, Decoded, columns, run};
use super::packet::{FULL_PACKET, put_string};
use super::rows::{Decoder, Step};
use super::types::{Width, Wire};
use crate::config::ZeroDates;
use crate::fault::FaultKind;
use crate::source::BatchLimits;

type Values = Vec<Option<Vec<u8>>>;

fn packets(sequence: &mut u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = payload;
    loop {
        let (now, later) = rest.split_at(rest.len().min(FULL_PACKET));
        bytes.extend_from_slice(&u32::try_from(now.len()).expect("short").to_le_bytes()[..3]);
        bytes.push(*sequence);
        *sequence = sequence.wrapping_add(1);
        bytes.extend_from_slice(now);
        rest = later;
        if now.len() < FULL_PACKET {
            return bytes;
        }
    }
}

/// The packets that a server sends, up to the end of the rows.
fn stream(widths: &[Width], rows: &[Values]) -> Vec<u8> {
    let mut sequence = 0;
    let mut stream = Vec::new();
    for values in rows {
        let mut payload = vec![0; 1 + (values.len() + 2).div_ceil(8)];
        for (column, (value, width)) in values.iter().zip(widths).enumerate() {
            let Some(value) = value else {
                payload[1 + (column + 2) / 8] |= 1 << ((column + 2) % 8);
                continue;
            };
            match width {
                Width::Fixed(_) => payload.extend_from_slice(value),
                Width::Byte => {
                    payload.push(u8::try_from(value.len()).expect("short"));
                    payload.extend_from_slice(value);
                }
                Width::Length => put_string(&mut payload, value),
                Width::Nothing => unreachable!("always NULL"),
            }
        }
        stream.extend(packets(&mut sequence, &payload));
    }
    stream.extend(packets(&mut sequence, &[0xfe, 0, 0, 2, 0]));
    stream
}

fn widths() -> Vec<Width> {
    columns().into_iter().map(|(_, width, _)| width).collect()
}

fn bytes<const N: usize>() -> BoxedStrategy<Vec<u8>> {
    any::<[u8; N]>().prop_map(Vec::from).boxed()
}

fn clock() -> impl Strategy<Value = Vec<u8>> {
    (0..24_u8, 0..60_u8, 0..60_u8, 0..1_000_000_u32)
        .prop_map(|(hour, minute, second, rest)| [&[hour, minute, second][..], &rest.to_le_bytes()].concat())
}

fn date() -> impl Strategy<Value = Vec<u8>> {
    (0..10_000_u16, 0..13_u8, 0..32_u8)
        .prop_map(|(year, month, day)| [&year.to_le_bytes()[..], &[month, day]].concat())
}

fn time(days: u32) -> BoxedStrategy<Vec<u8>> {
    (0..=days, clock())
        .prop_map(move |(day, clock)| {
            let sign = u8::from(day % 2 == 1);
            [&[sign][..], &day.to_le_bytes(), &clock].concat()
        })
        .boxed()
}

/// A row whose values are right, in the order of [`columns`].
fn row() -> impl Strategy<Value = Values> {
    let values: Vec<BoxedStrategy<Vec<u8>>> = columns()
        .into_iter()
        .map(|(wire, width, data_type)| match (wire, width) {
            (_, Width::Fixed(1)) => bytes::<1>(),
            (_, Width::Fixed(2)) => bytes::<2>(),
            (_, Width::Fixed(4)) => bytes::<4>(),
            (_, Width::Fixed(_)) => bytes::<8>(),
            (Wire::Date, _) => date().boxed(),
            (Wire::DateTime, _) => (date(), clock()).prop_map(|(date, clock)| [date, clock].concat()).boxed(),
            (Wire::Time, _) => time(0),
            (_, Width::Byte) => time(34),
            (Wire::Decimal, _) => "-?[0-9]{1,9}\\.[0-9]{2}".prop_map(String::into_bytes).boxed(),
            (Wire::Bit, _) => bytes::<1>(),
            (Wire::Bits, _) if data_type == arrow::datatypes::DataType::Int64 => bytes::<7>(),
            (Wire::Bits, _) => bytes::<8>(),
            (Wire::Text, _) => ".{0,300}".prop_map(String::into_bytes).boxed(),
            (Wire::Geometry, _) => vec(any::<u8>(), 4..30).boxed(),
            _ => vec(any::<u8>(), 0..300).boxed(),
        })
        .collect();
    let null = columns().iter().position(|(wire, ..)| *wire == Wire::Null).expect("a column of NULLs");
    let optional: Vec<_> = values.into_iter().map(|value| proptest::option::weighted(0.9, value)).collect();
    optional.prop_map(move |mut values| {
        values[null] = None;
        values
    })
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
    run(&columns(), ZeroDates::Null, std::iter::once(stream))
}

proptest! {
    #[test]
    fn a_right_stream_gives_the_same_rows_wherever_it_is_cut(
        rows in vec(row(), 0..12),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = stream(&widths(), &rows);
        let at_once = whole(&stream);
        prop_assert!(at_once.complete);
        prop_assert_eq!(at_once.rows.num_rows(), rows.len());
        let in_pieces = run(&columns(), ZeroDates::Null, cut(&stream, &places).into_iter());
        prop_assert_eq!(&in_pieces, &at_once);
        check_values(&rows, &at_once.rows);
    }

    #[test]
    fn a_stream_that_ends_early_is_never_complete(rows in vec(row(), 0..4), end in any::<prop::sample::Index>()) {
        let stream = stream(&widths(), &rows);
        let decoded = whole(&stream[..end.index(stream.len())]);
        prop_assert!(!decoded.complete);
        prop_assert!(decoded.rows.num_rows() <= rows.len());
    }

    #[test]
    fn a_broken_stream_never_panics(
        rows in vec(row(), 0..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        choice in any::<u8>(),
        piece in any::<u8>(),
    ) {
        let mut stream = stream(&widths(), &rows);
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
fn check_values(rows: &[Values], batch: &RecordBatch) {
    let place = |wanted| columns().iter().position(|(wire, ..)| *wire == wanted).expect("such a column");
    for (row, values) in rows.iter().enumerate() {
        let value = |column: usize| values[column].as_deref();
        let valid = |column: usize| batch.column(column).is_valid(row);
        let int = place(Wire::Int4);
        let number = value(int).map(|value| i32::from_le_bytes(value.try_into().expect("4 bytes")));
        assert_eq!(number, valid(int).then(|| batch.column(int).as_primitive::<Int32Type>().value(row)));
        let float = place(Wire::Float8);
        let number = value(float).map(|value| u64::from_le_bytes(value.try_into().expect("8 bytes")));
        let found =
            valid(float).then(|| batch.column(float).as_primitive::<Float64Type>().value(row).to_bits());
        assert_eq!(number, found);
        let moment = place(Wire::DateTime);
        let expected = value(moment).and_then(instant);
        let found =
            valid(moment).then(|| batch.column(moment).as_primitive::<TimestampMicrosecondType>().value(row));
        assert_eq!(expected, found);
        let long = place(Wire::TimeMicroseconds);
        let found = valid(long).then(|| batch.column(long).as_primitive::<Int64Type>().value(row));
        assert_eq!(value(long).map(|value| value[0] == 1), found.map(|time| time < 0));
        let decimal = place(Wire::Decimal);
        let number = value(decimal).map(|value| {
            let text = std::str::from_utf8(value).expect("ASCII").replace('.', "");
            text.parse::<i64>().expect("a number")
        });
        let found = valid(decimal).then(|| batch.column(decimal).as_primitive::<Decimal64Type>().value(row));
        assert_eq!(number, found);
        let text = place(Wire::Text);
        assert_eq!(
            value(text),
            valid(text).then(|| batch.column(text).as_string::<i32>().value(row).as_bytes())
        );
        let shape = place(Wire::Geometry);
        let found = valid(shape).then(|| batch.column(shape).as_binary::<i32>().value(row));
        assert_eq!(value(shape).map(|value| &value[4..]), found);
    }
}

/// Microseconds since 1970, by a calendar that somebody else wrote.
fn instant(value: &[u8]) -> Option<i64> {
    let [a, b, month, day, hour, minute, second, rest @ ..] = value else { return None };
    let (year, rest) = (u16::from_le_bytes([*a, *b]), u32::from_le_bytes(rest.try_into().expect("4 bytes")));
    let date = jiff::civil::Date::new(year as i16, *month as i8, *day as i8).ok().filter(|_| year > 0)?;
    let moment = date.at(*hour as i8, *minute as i8, *second as i8, rest as i32 * 1000);
    let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC).ok();
    // Its last year has a few hours less than a whole one.
    zoned.map(|zoned| zoned.timestamp().as_microsecond())
}

#[test]
fn a_row_of_several_packets_is_put_together() {
    let columns = &columns()[23..24];
    for length in [FULL_PACKET - 6, FULL_PACKET - 5, FULL_PACKET, 2 * FULL_PACKET + 5] {
        let rows: Vec<Values> = vec![
            vec![Some(b"before".to_vec())],
            vec![Some(vec![7; length])],
            vec![None],
            vec![Some(vec![8])],
        ];
        let stream = stream(&[Width::Length], &rows);
        let decoded = run(columns, ZeroDates::Error, stream.chunks(1 << 20));
        assert!(decoded.complete, "{length}");
        let values = decoded.rows.column(0).as_binary::<i32>();
        assert_eq!((values.value(0), values.value(1).len()), (&b"before"[..], length));
        assert!(values.is_null(2) && values.value(3) == [8]);
        assert!(values.value(1).iter().all(|byte| *byte == 7));
    }
}

#[test]
fn a_packet_that_is_missing_is_noticed() {
    let rows: Vec<Values> = (0..3_u8).map(|byte| vec![Some(vec![byte])]).collect();
    let mut stream = stream(&[Width::Length], &rows);
    let packet = stream.len() / 4;
    // The second of three rows: headers, zero, bitmap, length and value have eight bytes each.
    stream.drain(8..16);
    let decoded = run(&columns()[23..24], ZeroDates::Error, std::iter::once(&stream[..]));
    assert!(!decoded.complete && packet > 0);
}

/// A decoder of so many small numbers a row.
fn numbers(columns: usize, limits: BatchLimits, longest_row: usize) -> Decoder {
    let wires = vec![(Wire::Int2, Width::Fixed(2)); columns];
    let fields = (0..columns).map(|index| Field::new(format!("c{index}"), DataType::Int16, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let longest_row = NonZeroUsize::new(longest_row).expect("not zero");
    Decoder::new(&wires, schema, ZeroDates::Error, limits, 0, longest_row)
}

fn no_limits() -> BatchLimits {
    BatchLimits { rows: NonZeroUsize::MAX, bytes: NonZeroUsize::MAX }
}

#[test]
fn rows_of_nulls_end_a_batch_when_its_bytes_are_full() {
    // A bit for each value: a read of the buffer has far more values than a batch may.
    let (columns, rows, bytes) = (1024, 1500, 1 << 20);
    let stream = stream(&vec![Width::Fixed(2); columns], &vec![vec![None; columns]; rows]);
    let limits = BatchLimits { bytes: NonZeroUsize::new(bytes).expect("not zero"), ..no_limits() };
    let mut decoder = numbers(columns, limits, 1 << 20);
    let row_bytes = columns * size_of::<i16>();
    let (mut rest, mut found) = (&stream[..], 0);
    while let Step::Batch(batch, consumed) = decoder.step(rest).expect("a right stream") {
        assert!(batch.num_rows() * row_bytes <= bytes + row_bytes, "{} rows", batch.num_rows());
        found += batch.num_rows();
        rest = &rest[consumed..];
    }
    found += decoder.rest().expect("the last ones").map_or(0, |batch| batch.num_rows());
    assert_eq!(found, rows);
}

#[test]
fn a_row_that_breaks_the_protocol_is_worth_another_try() {
    // A packet that ends in the middle of its row, and one that goes on behind it.
    for payload in [&[0, 0, 7][..], &[0, 0, 7, 7, 7], &[0]] {
        let mut decoder = numbers(1, no_limits(), 1 << 20);
        let fault = decoder.step(&packets(&mut 0, payload)).expect_err("it is no row");
        assert_eq!(fault.kind(), FaultKind::Transient, "{payload:?}: {}", fault.chain());
    }
}

#[test]
fn a_row_that_is_too_long_is_refused_before_it_has_arrived() {
    for (header, longest) in [(&[100, 0, 0, 0, 0][..], 99), (&[0xff, 0xff, 0xff, 0, 0], FULL_PACKET - 1)] {
        let mut decoder = numbers(1, no_limits(), longest);
        let fault = decoder.step(header).expect_err("it announces more");
        assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("longest_row"), "{:?}", fault.hint());
    }
    // The second packet of a row.
    let mut start = packets(&mut 0, &vec![0; FULL_PACKET]);
    start.truncate(4 + FULL_PACKET);
    start.extend_from_slice(&[10, 0, 0, 1]);
    let fault = numbers(1, no_limits(), FULL_PACKET + 9).step(&start).expect_err("it announces more");
    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
    let step = numbers(1, no_limits(), FULL_PACKET + 10).step(&start).expect("just long enough");
    assert!(matches!(step, Step::NeedBytes(0)), "{step:?}");
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/mysql_rows");
    let files = fs::read_dir(folder).expect("the seeds are part of the repository");
    files
        .map(|file| {
            let file = file.expect("an entry");
            (file.file_name().into_string().expect("a name"), fs::read(file.path()).expect("a seed"))
        })
        .collect()
}

#[test]
fn every_seed_of_the_fuzzer_is_decoded() {
    assert!(seeds().len() > 10);
    for (_, seed) in seeds() {
        fuzzing::decode(&seed);
    }
}

#[test]
fn seeds_that_are_right_are_complete() {
    for (name, seed) in seeds().into_iter().filter(|(name, _)| name.starts_with("right_")) {
        let columns = columns();
        let chosen = columns.get(usize::from(seed[0])).map_or(&columns[..], std::slice::from_ref);
        let decoded = run(chosen, ZeroDates::Null, std::iter::once(&seed[2..]));
        assert!(decoded.complete && decoded.rows.num_rows() > 0, "{name}");
    }
}
