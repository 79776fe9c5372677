//! The same values in both forms give the same texts, and no bytes end in a panic.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, StringArray, StructArray,
};
use arrow::datatypes::{Field, Fields, Schema};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Row, fuzzing};

/// A column in Arrow: logical type, scale, values.
struct Given(&'static str, u8, ArrayRef);

fn stream(columns: &[Given]) -> Vec<u8> {
    let field = |(place, Given(logical, scale, array)): (usize, &Given)| {
        let metadata = HashMap::from([
            ("logicalType".to_owned(), logical.to_ascii_uppercase()),
            ("scale".to_owned(), scale.to_string()),
        ]);
        Field::new(format!("C{place}"), array.data_type().clone(), true).with_metadata(metadata)
    };
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
    let arrays = columns.iter().map(|Given(_, _, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn structure(children: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields: Fields =
        children.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    Arc::new(StructArray::new(fields, children.into_iter().map(|(_, array)| array).collect(), None))
}

fn decoded(data: Value) -> Vec<Row> {
    let answer = Answer::parse(data).unwrap();
    answer.inline.decode(&answer.columns).unwrap()
}

fn types(columns: &[(&str, u8)]) -> Value {
    let columns = columns.iter().map(|(kind, scale)| json!({"name": "C", "type": kind, "scale": scale}));
    columns.collect()
}

#[test]
fn both_forms_give_the_same_texts() {
    let zone: ArrayRef = Arc::new(Int32Array::from(vec![1440 + 90, 1440]));
    let epochs: ArrayRef = Arc::new(Int64Array::from(vec![Some(1_709_251_199), None]));
    let fractions: ArrayRef = Arc::new(Int32Array::from(vec![Some(123_000_000), None]));
    let small: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), None]));
    let significand: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&[0xfe_u8, 0x0c][..]), None]));
    let columns = [
        Given("fixed", 2, Arc::new(Int8Array::from(vec![Some(-5), None]))),
        Given("fixed", 0, Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        Given(
            "fixed",
            3,
            Arc::new(
                Decimal128Array::from(vec![Some(-1_234_567), None]).with_precision_and_scale(38, 3).unwrap(),
            ),
        ),
        Given("real", 0, Arc::new(Float64Array::from(vec![Some(1e300), None]))),
        Given("text", 0, Arc::new(StringArray::from(vec![Some("it's é"), None]))),
        Given("boolean", 0, Arc::new(BooleanArray::from(vec![Some(true), None]))),
        Given("binary", 0, Arc::new(BinaryArray::from(vec![Some(&[0_u8, 0xab][..]), None]))),
        Given("date", 0, Arc::new(Date32Array::from(vec![Some(-1), None]))),
        Given("time", 3, Arc::new(Int32Array::from(vec![Some(86_399_123), None]))),
        Given("timestamp_ntz", 3, Arc::new(Int64Array::from(vec![Some(-1), None]))),
        Given(
            "timestamp_ntz",
            9,
            structure(vec![("epoch", Arc::clone(&epochs)), ("fraction", Arc::clone(&fractions))]),
        ),
        Given("timestamp_ltz", 0, Arc::new(Int64Array::from(vec![Some(0), None]))),
        Given(
            "timestamp_tz",
            3,
            structure(vec![("epoch", Arc::clone(&small)), ("timezone", Arc::clone(&zone))]),
        ),
        Given(
            "timestamp_tz",
            9,
            structure(vec![("epoch", epochs), ("fraction", fractions), ("timezone", zone)]),
        ),
        Given(
            "decfloat",
            0,
            structure(vec![
                ("exponent", Arc::new(Int16Array::from(vec![Some(-1), None]))),
                ("significand", significand),
            ]),
        ),
    ];
    let kinds: Vec<(&str, u8)> = columns.iter().map(|Given(kind, scale, _)| (*kind, *scale)).collect();
    let from_arrow = decoded(json!({
        "queryResultFormat": "arrow",
        "rowtype": types(&kinds),
        "rowsetBase64": STANDARD.encode(stream(&columns)),
    }));
    let nulls = vec![Value::Null; kinds.len()];
    let from_json = decoded(json!({
        "queryResultFormat": "json",
        "rowtype": types(&kinds),
        "rowset": [[
            "-0.05", "-9223372036854775808", "-1234.567", "1e300", "it's é", "1", "00ab", "-1", "86399.123",
            "-0.001", "1709251199.123000000", "0", "-0.001 1530", "1709251199.123000000 1530", "-50.0",
        ], nulls],
    }));
    let wanted = [
        "-0.05",
        "-9223372036854775808",
        "-1234.567",
        "1e300",
        "it's é",
        "true",
        "00AB",
        "1969-12-31",
        "23:59:59.123",
        "1969-12-31 23:59:59.999",
        "2024-02-29 23:59:59.123000000",
        "1970-01-01 00:00:00 +00:00",
        "1970-01-01 01:29:59.999 +01:30",
        "2024-03-01 01:29:59.123000000 +01:30",
        "-50.0",
    ];
    let texts: Vec<&str> = from_json[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
    assert_eq!(texts, wanted);
    assert_eq!(from_arrow, from_json);
    assert!(from_json[1].iter().all(Option::is_none));
}

#[test]
fn numbers_keep_every_digit() {
    let cases = [(vec![0x7f; 16], "170808409..."), (vec![0xff; 17], "-1"), (vec![], "0")];
    for (bytes, wanted) in cases {
        let significand: ArrayRef = Arc::new(BinaryArray::from(vec![bytes.as_slice()]));
        let column = Given(
            "decfloat",
            0,
            structure(vec![("exponent", Arc::new(Int16Array::from(vec![0]))), ("significand", significand)]),
        );
        let rows = super::arrow::rows(stream(&[column]), &[]).unwrap();
        let text = rows[0][0].clone().unwrap();
        match wanted.strip_suffix("...") {
            Some(_) => assert_eq!(text, i128::from_be_bytes([0x7f; 16]).to_string()),
            None => assert_eq!(text, wanted),
        }
    }
}

#[test]
fn a_text_that_is_not_what_its_type_says_is_kept() {
    let kinds =
        [("date", 0), ("time", 3), ("timestamp_ntz", 9), ("timestamp_tz", 9), ("real", 0), ("fixed", 0)];
    let raw = ["99999999999999999999", "é.5", "1.2.3", "1 99999999", "x", "1e5"];
    let rows = decoded(json!({"rowtype": types(&kinds), "rowset": [raw]}));
    let texts: Vec<&str> = rows[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
    assert_eq!(texts, raw);
}

#[test]
fn rows_of_another_width_are_refused() {
    let answer = Answer::parse(json!({"rowtype": types(&[("text", 0)]), "rowset": [["a", "b"]]})).unwrap();
    assert!(answer.inline.decode(&answer.columns).is_err());
    let column = Given("text", 0, Arc::new(StringArray::from(vec!["a"])));
    assert!(super::arrow::rows(stream(&[column]), &[]).is_ok());
    let answer = Answer::parse(json!({"queryResultFormat": "parquet"}));
    assert!(answer.is_err_and(|error| error.to_string().contains("parquet")));
}

/// What the fuzzer begins with. The first byte of each says what the rest is.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/snowflake_answer");
    let files = fs::read_dir(folder).expect("the seeds are part of the repository");
    files.map(|file| fs::read(file.expect("an entry").path()).expect("a seed")).collect()
}

#[test]
fn every_seed_of_the_fuzzer_is_decoded() {
    assert!(seeds().len() >= 10);
    for seed in seeds() {
        fuzzing::decode(&seed);
    }
}

/// Any JSON, with the names that answers have.
fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "success",
        "code",
        "message",
        "data",
        "rowtype",
        "rowset",
        "rowsetBase64",
        "queryResultFormat",
        "total",
        "chunks",
        "url",
        "rowCount",
        "queryId",
        "qrmk",
        "chunkHeaders",
        "name",
        "type",
        "scale",
        "precision",
        "queryContext",
        "entries",
        "id",
        "timestamp",
        "priority",
        "context",
        "queries",
        "status",
        "errorCode",
        "sqlState",
        "errorMessage",
    ];
    const WORDS: &[&str] = &[
        "arrow",
        "json",
        "true",
        "333334",
        "390112",
        "fixed",
        "date",
        "time",
        "timestamp_tz",
        "real",
        "boolean",
        "-1",
        "1.5",
        "-0.001 1500",
        "99999999999999999999",
        "",
        "é",
        "FAILED_WITH_ERROR",
        "AAAA",
        "42501",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(WORDS).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let owned: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    leaf.prop_recursive(6, 80, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(owned.clone()), inner, 0..10)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_answer_is_read_without_a_panic(answer in any_json(), data in any_json(), way in 0_u8..=255) {
        for body in [answer.clone(), json!({"success": true, "data": data}), json!({"success": false, "data": answer})] {
            fuzzing::decode(&[&[way & !3][..], body.to_string().as_bytes()].concat());
        }
        let rows = data.to_string();
        fuzzing::decode(&[&[way & !3 | 1][..], rows.trim_matches(['[', ']']).as_bytes()].concat());
    }

    #[test]
    fn a_broken_stream_is_read_without_a_panic(
        seed in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let seeds: Vec<_> = seeds().into_iter().filter(|seed| seed.len() > 1).collect();
        let mut body = seed.get(&seeds).clone();
        for (place, byte) in changes {
            let place = 1 + place.index(body.len() - 1);
            body[place] = byte;
        }
        fuzzing::decode(&body);
        fuzzing::decode(&body[..1 + end.index(body.len() - 1)]);
    }
}
