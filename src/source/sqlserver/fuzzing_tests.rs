//! The decoder of rows against messages that are right, messages that are cut anywhere, and messages
//! that are broken.

use std::fs;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    Date32Type, Decimal64Type, Decimal128Type, Int64Type, TimestampMicrosecondType, UInt8Type,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzzing::{self, Decoded, run};

type Fields = Vec<Option<Vec<u8>>>;

/// How a column's values are framed.
#[derive(Clone, Copy, PartialEq)]
enum Length {
    Byte,
    Short,
    Long,
    Pointer,
    Chunks,
}

/// TYPE_INFO of one column of each kind and framing.
fn columns() -> Vec<(Vec<u8>, Length)> {
    const LATIN: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];
    let text = |head: &[u8]| [head, &LATIN].concat();
    vec![
        (vec![0x26, 1], Length::Byte),
        (vec![0x26, 8], Length::Byte),
        (vec![0x6a, 9, 18, 2], Length::Byte),
        (vec![0x6a, 17, 38, 10], Length::Byte),
        (vec![0x6e, 8], Length::Byte),
        (vec![0x28], Length::Byte),
        (vec![0x2a, 6], Length::Byte),
        (text(&[0xa7, 0x40, 0x1f]), Length::Short),
        (text(&[0xe7, 0xff, 0xff]), Length::Chunks),
        (text(&[0x63, 0xff, 0xff, 0xff, 0x7f]), Length::Pointer),
        (vec![0xa5, 0xff, 0xff], Length::Chunks),
        (vec![0x62, 0, 0, 0, 0], Length::Long),
    ]
}

fn metadata() -> Vec<u8> {
    let columns = columns();
    let mut token = vec![0x81, columns.len() as u8, 0];
    for (type_info, length) in columns {
        token.extend([0, 0, 0, 0, 9, 0]);
        token.extend(type_info);
        if length == Length::Pointer {
            token.push(0);
        }
        token.extend([1, b'c', 0]);
    }
    token
}

fn put(token: &mut Vec<u8>, length: Length, field: &[u8], chunk: usize) {
    match length {
        Length::Byte => token.push(field.len() as u8),
        Length::Short => token.extend((field.len() as u16).to_le_bytes()),
        Length::Long => token.extend((field.len() as u32).to_le_bytes()),
        Length::Pointer => {
            token.extend([2, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
            token.extend((field.len() as u32).to_le_bytes());
        }
        Length::Chunks => {
            token.extend((field.len() as u64).to_le_bytes());
            for chunk in field.chunks(chunk) {
                token.extend((chunk.len() as u32).to_le_bytes());
                token.extend(chunk);
            }
            token.extend([0; 4]);
            return;
        }
    }
    token.extend(field);
}

fn put_null(token: &mut Vec<u8>, length: Length) {
    match length {
        Length::Byte | Length::Pointer => token.push(0),
        Length::Short => token.extend([0xff; 2]),
        Length::Long => token.extend([0; 4]),
        Length::Chunks => token.extend([0xff; 8]),
    }
}

/// The message of a server: columns, rows with and without a bitmap in turn, and the count.
fn message(rows: &[Fields], chunk: usize) -> Vec<u8> {
    let mut message = metadata();
    for (number, fields) in rows.iter().enumerate() {
        let has_bitmap = number % 2 == 1;
        message.push(if has_bitmap { 0xd2 } else { 0xd1 });
        if has_bitmap {
            for eight in fields.chunks(8) {
                message.push(
                    (0..8).filter(|bit| matches!(eight.get(*bit), Some(None))).map(|bit| 1 << bit).sum(),
                );
            }
        }
        for (field, (_, length)) in fields.iter().zip(columns()) {
            match field {
                Some(field) => put(&mut message, length, field, chunk),
                None if has_bitmap => {}
                None => put_null(&mut message, length),
            }
        }
    }
    message.extend([0xfd, 0x10, 0, 0xc1, 0]);
    message.extend((rows.len() as u64).to_le_bytes());
    message
}

fn utf16(text: String) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn decimal(bytes: usize, digits: u32) -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), 0..10_u128.pow(digits)).prop_map(move |(positive, magnitude)| {
        [&[u8::from(positive)][..], &magnitude.to_le_bytes()[..bytes]].concat()
    })
}

fn day() -> impl Strategy<Value = Vec<u8>> {
    (0..3_652_059_u32).prop_map(|day| day.to_le_bytes()[..3].to_vec())
}

/// A row whose fields are right, in the order of [`columns`].
fn row() -> impl Strategy<Value = Fields> {
    let text = || ".{0,12}".prop_map(utf16);
    let time = (0..86_400_000_000_u64).prop_map(|time| time.to_le_bytes()[..5].to_vec());
    let fields: Vec<BoxedStrategy<Vec<u8>>> = vec![
        any::<[u8; 1]>().prop_map(Vec::from).boxed(),
        any::<[u8; 8]>().prop_map(Vec::from).boxed(),
        decimal(8, 18).boxed(),
        decimal(16, 38).boxed(),
        any::<[u8; 8]>().prop_map(Vec::from).boxed(),
        day().boxed(),
        (time, day()).prop_map(|(time, day)| [time, day].concat()).boxed(),
        vec(any::<u8>(), 0..12).boxed(),
        text().boxed(),
        text().boxed(),
        vec(any::<u8>(), 0..40).boxed(),
        any::<i32>().prop_map(|value| [&[0x38, 0][..], &value.to_le_bytes()].concat()).boxed(),
    ];
    assert_eq!(fields.len(), columns().len());
    fields.into_iter().map(|field| proptest::option::weighted(0.9, field)).collect::<Vec<_>>()
}

/// `message` in pieces that end at the given places.
fn cut<'a>(message: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|place| place.index(message.len())).collect();
    ends.push(message.len());
    ends.sort_unstable();
    let mut begin = 0;
    ends.into_iter().map(|end| &message[std::mem::replace(&mut begin, end)..end]).collect()
}

fn whole(message: &[u8]) -> Decoded {
    run(std::iter::once(message))
}

proptest! {
    #[test]
    fn a_right_message_gives_the_same_rows_wherever_it_is_cut(
        rows in vec(row(), 0..10),
        chunk in 1_usize..30,
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let message = message(&rows, chunk);
        let at_once = whole(&message);
        prop_assert!(at_once.complete);
        prop_assert_eq!(&run(cut(&message, &places).into_iter()), &at_once);
        prop_assert_eq!(&run(message.chunks(1)), &at_once);
        let found = at_once.rows.expect("columns");
        prop_assert_eq!(found.num_rows(), rows.len());
        check_values(&rows, &found);
    }

    #[test]
    fn a_message_that_ends_early_is_never_complete(rows in vec(row(), 0..5), end in any::<prop::sample::Index>()) {
        let message = message(&rows, 7);
        prop_assert!(!whole(&message[..end.index(message.len())]).complete);
    }

    #[test]
    fn no_message_makes_it_panic(rows in vec(row(), 0..4), place in any::<prop::sample::Index>(), byte in any::<u8>(), piece in any::<u8>()) {
        let mut message = message(&rows, 5);
        let place = place.index(message.len());
        message[place] = byte;
        message.insert(0, piece);
        fuzzing::decode(&message);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        fuzzing::decode(&bytes);
        let mut described = vec![3];
        described.extend(metadata());
        described.extend(bytes);
        fuzzing::decode(&described);
    }
}

/// Compares the columns whose values can be computed here in another way.
fn check_values(rows: &[Fields], found: &RecordBatch) {
    for (index, fields) in rows.iter().enumerate() {
        for (column, field) in fields.iter().enumerate() {
            let array = found.column(column);
            let Some(field) = field else {
                assert!(array.is_null(index), "column {column} of row {index}");
                continue;
            };
            assert!(array.is_valid(index), "column {column} of row {index}");
            let number = |bytes: &[u8]| {
                let mut all = [0; 16];
                all[..bytes.len()].copy_from_slice(bytes);
                i128::from_le_bytes(all)
            };
            let signed = |field: &[u8]| number(&field[1..]) * if field[0] == 0 { -1 } else { 1 };
            const EPOCH: i64 = 719_162;
            match column {
                0 => assert_eq!(array.as_primitive::<UInt8Type>().value(index), field[0]),
                1 => {
                    let value = array.as_primitive::<Int64Type>().value(index);
                    assert_eq!(value.to_le_bytes()[..], field[..]);
                }
                2 => {
                    assert_eq!(i128::from(array.as_primitive::<Decimal64Type>().value(index)), signed(field))
                }
                3 => assert_eq!(array.as_primitive::<Decimal128Type>().value(index), signed(field)),
                4 => {
                    let value = array.as_primitive::<Decimal128Type>().value(index);
                    let swapped = [&field[4..], &field[..4]].concat();
                    assert_eq!(value, i128::from(number(&swapped) as i64));
                }
                5 => {
                    let value = array.as_primitive::<Date32Type>().value(index);
                    assert_eq!(i128::from(i64::from(value) + EPOCH), number(field));
                }
                6 => {
                    let value = array.as_primitive::<TimestampMicrosecondType>().value(index);
                    let expected =
                        (number(&field[5..]) - i128::from(EPOCH)) * 86_400_000_000 + number(&field[..5]);
                    assert_eq!(i128::from(value), expected);
                }
                7 => {
                    let expected = encoding_rs::WINDOWS_1252.decode_without_bom_handling(field).0;
                    assert_eq!(array.as_string::<i32>().value(index), expected);
                }
                8 | 9 => {
                    let units: Vec<u16> =
                        field.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
                    assert_eq!(
                        array.as_string::<i32>().value(index),
                        String::from_utf16(&units).expect("UTF-16")
                    );
                }
                10 => assert_eq!(array.as_binary::<i32>().value(index), &field[..]),
                _ => assert_eq!(
                    array.as_string::<i32>().value(index),
                    (number(&field[2..]) as i32).to_string()
                ),
            }
        }
    }
}

#[test]
fn every_seed_of_the_fuzzer_is_decoded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/row_decoder");
    let mut seeds = 0;
    for file in fs::read_dir(folder).expect("the seeds are part of the repository") {
        fuzzing::decode(&fs::read(file.expect("an entry").path()).expect("a seed"));
        seeds += 1;
    }
    assert!(seeds > 5);
}
