//! Rows and values, broken ones included.

use std::num::NonZeroUsize;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float64Type, Int32Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use proptest::prelude::*;

use super::*;
use crate::schema::Column;

fn schema(types: &[DataType]) -> TableSchema {
    let columns = types.iter().enumerate().map(|(position, data_type)| Column {
        name: format!("c{position}"),
        source_type: "t".into(),
        data_type: data_type.clone(),
        nullable: true,
    });
    TableSchema::new(columns.collect()).unwrap()
}

fn limits(rows: usize) -> BatchLimits {
    BatchLimits { rows: NonZeroUsize::new(rows).unwrap(), bytes: NonZeroUsize::new(1 << 20).unwrap() }
}

fn bcp() -> Layout {
    Layout::new("\x1f", "\x1e", Quoting::Nul)
}

/// Decodes `bytes`, given in pieces of `piece` bytes, into batches of `rows` rows.
fn decode_in(
    layout: &Layout,
    types: &[DataType],
    forms: TextForms,
    bytes: &[u8],
    piece: usize,
    rows: usize,
) -> Result<Vec<RecordBatch>, Fault> {
    let mut decoder = Decoder::new(layout.clone(), schema(types), forms, limits(rows), 1000);
    let mut batches = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let read = decoder.push(piece)?;
            piece = &piece[read..];
            if decoder.is_full() {
                batches.extend(decoder.take()?);
            }
        }
    }
    decoder.finish()?;
    batches.extend(decoder.take()?);
    let counted: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(decoder.row_count(), counted as u64);
    Ok(batches)
}

fn decode(layout: &Layout, types: &[DataType], bytes: &[u8]) -> Result<RecordBatch, Fault> {
    let batches = decode_in(layout, types, TextForms::default(), bytes, 3, 1000)?;
    let schema = schema(types).arrow();
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    batch.column(column).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Why a single field of one column is refused.
fn reason(data_type: DataType, field: &str) -> String {
    let bytes = format!("{field}\x1e");
    decode(&bcp(), &[data_type], bytes.as_bytes()).unwrap_err().chain()
}

#[test]
fn a_file_of_bcp_tells_an_empty_text_from_null() {
    let batch = decode(&bcp(), &[DataType::Utf8, DataType::Utf8], b"\0\x1f\x1ea\0\x1f\n\t\"\\N\x1e").unwrap();
    assert_eq!(texts(&batch, 0), [some(""), some("a\0")]);
    assert_eq!(texts(&batch, 1), [None, some("\n\t\"\\N")]);
}

#[test]
fn terminators_of_several_bytes_are_found_across_pieces() {
    let layout = Layout::new("|~|", "\r\n", Quoting::None(b"-".to_vec()));
    let batch = decode(&layout, &[DataType::Utf8, DataType::Utf8], b"a|b~|~|-\r\n\r|~|\n\r\n").unwrap();
    assert_eq!(texts(&batch, 0), [some("a|b~"), some("\r")]);
    assert_eq!(texts(&batch, 1), [None, some("\n")]);
}

#[test]
fn the_text_format_of_copy_is_read_with_its_escapes() {
    let layout = Layout::new("\t", "\n", Quoting::Copy);
    let bytes = b"\\N\t\\\\N\n\t\\b\\f\\n\\r\\t\\v\\\\\n";
    let batch = decode(&layout, &[DataType::Utf8, DataType::Utf8], bytes).unwrap();
    assert_eq!(texts(&batch, 0), [None, some("")]);
    assert_eq!(texts(&batch, 1), [some("\\N"), some("\x08\x0c\n\r\t\x0b\\")]);
    for broken in [&b"\\Na\tb\n"[..], b"a\\N\tb\n", b"\\x\tb\n", b"\\N\\N\ta\n"] {
        assert!(decode(&layout, &[DataType::Utf8, DataType::Utf8], broken).is_err(), "{broken:?}");
    }
}

#[test]
fn batch_mode_of_mysql_has_marked_texts_and_ends_with_the_count() {
    let mut layout = Layout::new("\t", "\n", Quoting::Batch);
    layout.announcement = Some("rows");
    let forms = TextForms { texts_are_marked: true, ..TextForms::default() };
    let types = [DataType::Int32, DataType::Utf8];
    let bytes = b"1\t=NULL\nNULL\tNULL\n3\t=\n4\t=a\\tb\\n\\0\\\\\nrows 4\n";
    let batches = decode_in(&layout, &types, forms, bytes, 5, 1000).unwrap();
    assert_eq!(texts(&batches[0], 1), [some("NULL"), None, some(""), some("a\tb\n\0\\")]);
    let mut decoder = Decoder::new(layout.clone(), schema(&types), forms, limits(9), 100);
    decoder.push(b"1\t=a\nrows 1\n").unwrap();
    assert_eq!(decoder.announced(), Some(1));
    assert!(decoder.push(b"2").is_err(), "nothing follows the count");
    // A result that breaks off at the end of a row has no count.
    let fault = decode_in(&layout, &types, forms, b"1\t=a\n", 9, 9).unwrap_err();
    assert!(fault.chain().contains("ends in the middle"), "{}", fault.chain());
    let fault = decode_in(&layout, &types, forms, b"1\ta\nrows 1\n", 9, 9).unwrap_err();
    assert_eq!(fault.chain(), "decode row 1, column `c1`: a text lacks its mark");
}

#[test]
fn csv_has_quotes_both_line_ends_and_a_header() {
    let mut layout = Layout::new(",", "\n", Quoting::Double);
    let types = [DataType::Utf8, DataType::Utf8];
    let bytes = b"a,\"b \"\"c\"\"\r\n,\"\r\n,\"\"\n\"x\",y\r\n\"\",\"z\"\r\n";
    let batch = decode(&layout, &types, bytes).unwrap();
    assert_eq!(texts(&batch, 0), [some("a"), None, some("x"), some("")]);
    assert_eq!(texts(&batch, 1), [some("b \"c\"\r\n,"), some(""), some("y"), some("z")]);
    for broken in [&b"a\"b,c\n"[..], b"\"a\"b,c\n", b"\"a\n", b"\"a\" ,b\n"] {
        assert!(decode(&layout, &types, broken).is_err(), "{broken:?}");
    }
    layout.header = Some(vec!["c0".into(), "c1".into()]);
    assert_eq!(decode(&layout, &types, b"c0,\"c1\"\r\n1,2\n").unwrap().num_rows(), 1);
    assert!(decode(&layout, &types, b"c1,c0\n1,2\n").is_err());
    assert!(decode(&layout, &types, b"").is_err(), "a header was announced");
}

#[test]
fn a_return_belongs_to_the_value_unless_its_row_ends_there() {
    let layout = Layout::new(",", "\n", Quoting::Double);
    let types = [DataType::Utf8, DataType::Utf8];
    let batch = decode(&layout, &types, b"x\r,1\r\n\r,\"y\"\r\n").unwrap();
    assert_eq!(texts(&batch, 0), [some("x\r"), some("\r")]);
    assert_eq!(texts(&batch, 1), [some("1"), some("y")]);
    assert!(decode(&layout, &types, b"\"x\"\r,1\n").is_err());
}

#[test]
fn one_byte_order_mark_at_the_very_beginning_is_no_part_of_a_value() {
    let csv = Layout::new(",", "\n", Quoting::Double);
    let delimited = Layout::new("|", "\n", Quoting::None(b"-".to_vec()));
    let types = [DataType::Utf8, DataType::Utf8];
    for piece in 1..6 {
        let first = |layout: &Layout, bytes: &[u8]| {
            let batches = decode_in(layout, &types, TextForms::default(), bytes, piece, 9)?;
            Ok::<_, Fault>(batches.first().map(|batch| texts(batch, 0)))
        };
        for (layout, bytes, expected) in [
            (&csv, &b"\xef\xbb\xbfa,b\n\xef\xbb\xbfc,d\n"[..], Some(vec![some("a"), some("\u{feff}c")])),
            (&csv, b"\xef\xbb\xbf\"a\",b\n", Some(vec![some("a")])),
            (&csv, b"\"\xef\xbb\xbfa\",b\n", Some(vec![some("\u{feff}a")])),
            (&csv, b"\xef\xbb\xbf\xef\xbb\xbfa,b\n", Some(vec![some("\u{feff}a")])),
            // Another letter that begins with the same bytes.
            (&csv, "\u{fec0},b\n".as_bytes(), Some(vec![some("\u{fec0}")])),
            (&delimited, b"\xef\xbb\xbfa|b\n", Some(vec![some("a")])),
            (&csv, b"\xef\xbb\xbf", None),
        ] {
            assert_eq!(first(layout, bytes).unwrap(), expected, "{piece}: {bytes:?}");
        }
        assert!(first(&csv, b"\xef\xbb").is_err(), "the output ends in the middle of a letter");
    }
    // Of bcp the bytes are the value's.
    let batch = decode(&bcp(), &[DataType::Utf8], b"\xef\xbb\xbfa\x1e").unwrap();
    assert_eq!(texts(&batch, 0), [some("\u{feff}a")]);
    let header = Layout { header: Some(vec!["c0".into(), "c1".into()]), ..csv };
    assert_eq!(decode(&header, &types, b"\xef\xbb\xbfc0,c1\n1,2\n").unwrap().num_rows(), 1);
}

#[test]
fn what_is_wrong_names_row_and_column_and_never_the_value() {
    let types = [DataType::Int32, DataType::Utf8];
    for (bytes, expected) in [
        (&b"1\x1fa\x1e2\x1fsecret"[..], "read row 2, column `c1`: the output ends in the middle of a row"),
        (b"1\x1fa\x1e2", "read row 2, column `c0`: the output ends in the middle of a row"),
        (b"1\x1e", "read row 1, column `c0`: the row ends after 1 of 2 fields"),
        (
            b"1\x1fa\x1fsecret\x1e",
            "read row 1 after its last column `c1`: the row has more fields than there are columns",
        ),
        (b"1\x1fa\x1esecret\x1fb\x1e", "decode row 2, column `c0`: an integer was expected"),
        (
            b"1\x1fa\x1e99999999999\x1fb\x1e",
            "decode row 2, column `c0`: the integer is too large for the column",
        ),
        (b"1\x1fa\x1e1\x1f\xff\xfe\x1e", "decode row 2, column `c1`: a text is not valid UTF-8"),
    ] {
        let fault = decode(&bcp(), &types, bytes).unwrap_err();
        assert_eq!(fault.chain(), expected);
        assert_eq!(fault.kind(), FaultKind::Data);
    }
    // Half of a character at the end of one text and the other half at the beginning of the next.
    let fault = decode(&bcp(), &[DataType::Utf8], b"a\xc3\x1e\xa4\x1e").unwrap_err();
    assert_eq!(fault.chain(), "decode row 1, column `c0`: a text is not valid UTF-8");
    let long = vec![b'x'; 5000];
    let fault = decode(&bcp(), &types, &long).unwrap_err();
    assert!(fault.chain().contains("the row is longer than 1000 bytes"), "{}", fault.chain());
}

#[test]
fn numbers_are_exact() {
    let types = [
        DataType::Decimal64(15, 2),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(76, 0),
        DataType::Float64,
    ];
    let most = "9".repeat(76);
    let bytes = format!("-.5\x1f{}.0123456789\x1f-{most}\x1f1.0000000000000002e+000\x1e", "9".repeat(28));
    let batch = decode(&bcp(), &types, bytes.as_bytes()).unwrap();
    assert_eq!(batch.column(0).as_primitive::<Decimal64Type>().value(0), -50);
    let expected: i128 = format!("{}0123456789", "9".repeat(28)).parse().unwrap();
    assert_eq!(batch.column(1).as_primitive::<Decimal128Type>().value(0), expected);
    assert_eq!(batch.column(2).as_primitive::<Decimal256Type>().value(0).to_string(), format!("-{most}"));
    assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0), 1.000_000_000_000_000_2);
    let decimal = || DataType::Decimal64(5, 2);
    assert!(reason(decimal(), "1.005").ends_with("more digits after the point than the column"));
    assert!(reason(decimal(), "1000.00").ends_with("does not fit the decimal type of the column"));
    assert!(reason(decimal(), "NaN").ends_with("has neither NaN nor infinity"));
    for text in ["1e2", "", " 1", "1,0", "--1", "+", "."] {
        if !text.is_empty() {
            assert!(reason(decimal(), text).ends_with("a decimal number was expected"), "{text}");
        }
    }
    let batch = decode(&bcp(), &[decimal()], b"1.5000\x1e00000001\x1e\x1e").unwrap();
    let column = batch.column(0).as_primitive::<Decimal64Type>();
    assert_eq!((column.value(0), column.value(1), column.is_null(2)), (150, 100, true));
}

#[test]
fn dates_and_times_are_read_to_the_last_digit() {
    use TimeUnit::{Microsecond, Nanosecond};
    let types = [
        DataType::Date32,
        DataType::Time64(Microsecond),
        DataType::Timestamp(Microsecond, None),
        DataType::Timestamp(Microsecond, Some("UTC".into())),
        DataType::Timestamp(Nanosecond, None),
    ];
    let bytes = "1969-12-31\x1f23:59:59.1234567\x1f0001-01-01 00:00:00\x1f2024-01-02 03:04:05.5 +02:00\x1f2024-02-29T01:02:03.123456789\x1e\
                 0001-12-31 BC\x1f00:00:00\x1f0002-01-01 00:00:00 BC\x1f2024-01-02 03:04:05-00:30\x1f\x1e";
    let batch = decode(&bcp(), &types, bytes.as_bytes()).unwrap();
    let dates = batch.column(0).as_primitive::<Date32Type>();
    assert_eq!((dates.value(0), dates.value(1)), (-1, -719_163));
    let times = batch.column(1).as_primitive::<Time64MicrosecondType>();
    assert_eq!((times.value(0), times.value(1)), (86_399_123_456, 0));
    let local = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(local.value(0), -62_135_596_800_000_000);
    assert_eq!(local.value(1), -62_135_596_800_000_000 - (365 + 366) * 86_400_000_000);
    let instants = batch.column(3).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((instants.value(0), instants.value(1)), (1_704_157_445_500_000, 1_704_166_445_000_000));
    assert_eq!(batch.column(4).as_primitive::<TimestampNanosecondType>().value(0), 1_709_168_523_123_456_789);
    for text in ["2023-02-29", "2024-13-01", "0000-00-00", "2024-00-10", "2024-01-00"] {
        assert!(reason(DataType::Date32, text).ends_with("no calendar has this date or time"), "{text}");
        let forms = TextForms { impossible_dates_are_null: true, ..TextForms::default() };
        let batches =
            decode_in(&bcp(), &[DataType::Date32], forms, format!("{text}\x1e").as_bytes(), 9, 9).unwrap();
        assert!(batches[0].column(0).is_null(0));
    }
    assert!(reason(DataType::Timestamp(Microsecond, None), "2024-01-02 03:04:05+01").contains("expected"));
    assert!(reason(DataType::Time64(Microsecond), "24:00:00").ends_with("no time of a day"));
    for text in ["23:59:60", "24:00:00.000001", "23:60:00"] {
        let message = reason(DataType::Time64(Microsecond), text);
        assert!(message.ends_with("no calendar has this date or time"), "{text}: {message}");
    }
    assert!(reason(DataType::Date32, "infinity").ends_with("has no infinity"));
}

#[test]
fn bytes_are_hexadecimal_with_or_without_a_prefix() {
    let batch = decode(&bcp(), &[DataType::Binary], b"00fF\x1e\\x0a\x1e\0\x1e\x1e").unwrap();
    let column = batch.column(0).as_binary::<i32>();
    assert_eq!((column.value(0), column.value(1), column.value(2)), (&[0, 0xff][..], &[10][..], &[][..]));
    assert!(column.is_null(3));
    assert!(reason(DataType::Binary, "0").ends_with("half of a byte is missing"));
    assert!(reason(DataType::Binary, "0g").ends_with("not in hexadecimal"));
}

#[test]
fn a_quote_behind_a_closed_one_is_refused_wherever_the_pieces_end() {
    let layout = Layout::new(",", "\n", Quoting::Double);
    for piece in 1..9 {
        let decoded = decode_in(&layout, &[DataType::Utf8], TextForms::default(), b"\"a\"x\"b\"\n", piece, 9);
        let message = decoded.unwrap_err().chain();
        assert!(message.contains("a double quote stands where it means nothing"), "{piece}: {message}");
    }
}

#[test]
fn batches_end_where_they_are_told_to() {
    let bytes: String = (0..10).map(|number| format!("{number}\x1e")).collect();
    let batches =
        decode_in(&bcp(), &[DataType::Int32], TextForms::default(), bytes.as_bytes(), 100, 3).unwrap();
    let numbers: Vec<Vec<i32>> =
        batches.iter().map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
    assert_eq!(numbers, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8], vec![9]]);
}

/// A text as each layout writes it.
fn written(layout: &Layout, text: Option<&str>) -> String {
    let escape = |text: &str| text.replace('\\', r"\\").replace('\n', r"\n").replace('\t', r"\t");
    match (&layout.quoting, text) {
        (Quoting::Nul, None) => String::new(),
        (Quoting::Nul, Some("")) => "\0".into(),
        (Quoting::Nul | Quoting::None(_), Some(text)) => text.into(),
        (Quoting::None(null), None) => String::from_utf8(null.clone()).unwrap(),
        (Quoting::Copy, None) => r"\N".into(),
        (Quoting::Copy, Some(text)) => escape(text).replace('\r', r"\r"),
        (Quoting::Batch, None) => "NULL".into(),
        (Quoting::Batch, Some(text)) => format!("={}", escape(text).replace('\0', r"\0")),
        (Quoting::Double, None) => String::new(),
        (Quoting::Double, Some(text)) => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any texts, in any layout, cut into any pieces and batches.
    #[test]
    fn any_text_survives(
        rows in prop::collection::vec(prop::collection::vec(prop::option::of("[\\PC\n\r\t\"\\\\,N]{0,12}"), 2), 0..20),
        piece in 1_usize..40,
        batch in 1_usize..8,
    ) {
        for layout in [
            bcp(),
            Layout::new("\x1f\x1f", "\x1e", Quoting::None(b"\x01".to_vec())),
            Layout::new("\t", "\n", Quoting::Copy),
            Layout::new("\t", "\n", Quoting::Batch),
            Layout::new(",", "\n", Quoting::Double),
        ] {
            let mut bytes = String::new();
            for row in &rows {
                let fields: Vec<String> = row.iter().map(|text| written(&layout, text.as_deref())).collect();
                bytes += &fields.join(std::str::from_utf8(&layout.field).unwrap());
                bytes += std::str::from_utf8(&layout.row).unwrap();
            }
            let forms = TextForms { texts_are_marked: layout.quoting == Quoting::Batch, ..TextForms::default() };
            let types = [DataType::Utf8, DataType::Utf8];
            let batches = decode_in(&layout, &types, forms, bytes.as_bytes(), piece, batch).unwrap();
            let found: Vec<Vec<Option<String>>> = batches
                .iter()
                .flat_map(|batch| {
                    texts(batch, 0).into_iter().zip(texts(batch, 1)).map(|(left, right)| vec![left, right])
                })
                .collect();
            prop_assert_eq!(&found, &rows, "{:?}", layout);
        }
    }

    /// Any bytes end in rows or in a fault, whatever the pieces, and the pieces change nothing.
    #[test]
    fn any_bytes_end(
        bytes in prop::collection::vec(
            prop_oneof![Just(b'\t'), Just(b'\n'), Just(b'\\'), Just(b'"'), Just(b','), Just(0x1f), Just(0x1e), any::<u8>()], 0..200),
        piece in 1_usize..50,
    ) {
        let types = [DataType::Int32, DataType::Utf8, DataType::Timestamp(TimeUnit::Microsecond, None)];
        for quoting in [Quoting::Nul, Quoting::None(Vec::new()), Quoting::Copy, Quoting::Batch, Quoting::Double] {
            let (field, row) = match quoting {
                Quoting::Nul | Quoting::None(_) => ("\x1f", "\x1e"),
                Quoting::Copy | Quoting::Batch => ("\t", "\n"),
                Quoting::Double => (",", "\n"),
            };
            let layout = Layout::new(field, row, quoting);
            let whole = decode_in(&layout, &types, TextForms::default(), &bytes, 1000, 1000);
            let cut = decode_in(&layout, &types, TextForms::default(), &bytes, piece, 1000);
            prop_assert_eq!(
                whole.map_err(|fault| fault.chain()).map(|batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>()),
                cut.map_err(|fault| fault.chain()).map(|batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>())
            );
        }
    }

    /// Every decimal of a width, printed and read.
    #[test]
    fn any_decimal_survives(number in -99_999_999_999_999_999_i64..=99_999_999_999_999_999, scale in 0_i8..=17) {
        let sign = if number < 0 { "-" } else { "" };
        let digits = format!("{:018}", number.unsigned_abs());
        let (whole, fraction) = digits.split_at(18 - scale as usize);
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{sign}{whole}{point}{fraction}\x1e");
        let batch = decode(&bcp(), &[DataType::Decimal64(18, scale)], text.as_bytes()).unwrap();
        prop_assert_eq!(batch.column(0).as_primitive::<Decimal64Type>().value(0), number);
    }
}
