//! Every type of SQL Server, value by value: server -> Arrow -> Parquet -> read back.
//!
//! Each case says how the server sends a value. The test double sends it in every form that the
//! protocol has for it; a real server, when `SQLSERVER_URL` names one, is asked for the value by the
//! expression. Types are those that the reader of the file sees, which has one width of decimals up to
//! 38 digits. The lists are the table of `docs/TYPES.md`, in the same order.

use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{OffsetPolicy, SeventhDigit, SpatialPolicy, SqlServerSource};
use data_exchange_agent::fault::FaultKind;
use parquet::basic::LogicalType;

use crate::support::extraction::{Parquet, column, query, read, refused, table, transfer};
use crate::support::sqlserver::{RealServer, open};
use crate::support::tds::{Column, Framing, Script, TdsServer, utf16};

/// An expression of T-SQL, the bytes of its value, and what the file has to say.
type Value = (&'static str, Vec<u8>, &'static str);

struct Case {
    /// The type in T-SQL.
    sql_type: &'static str,
    type_info: Vec<u8>,
    framing: Framing,
    data_type: DataType,
    values: Vec<Value>,
    /// Whether Babelfish has the type, and sends it as SQL Server does.
    on_babelfish: bool,
}

const MICROSECONDS: TimeUnit = TimeUnit::Microsecond;
/// Latin1_General_CI_AS.
const LATIN: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x00];

fn case(
    sql_type: &'static str,
    type_info: &[u8],
    framing: Framing,
    data_type: DataType,
    values: Vec<Value>,
) -> Case {
    Case { sql_type, type_info: type_info.to_vec(), framing, data_type, values, on_babelfish: true }
}

impl Case {
    /// Babelfish lacks it, or sends it in another form.
    fn not_on_babelfish(self) -> Self {
        Self { on_babelfish: false, ..self }
    }
}

fn with_collation(head: &[u8], collation: [u8; 5]) -> Vec<u8> {
    [head, &collation].concat()
}

/// Asks the double in each form of the protocol.
async fn check_on_the_double(case: &Case, set: impl Fn(&mut SqlServerSource)) {
    for (null_bitmap, chunk_bytes) in [(false, 8000), (true, 3), (false, 1)] {
        let column = Column::new("value", case.sql_type, &case.type_info, case.framing);
        let mut rows: Vec<_> = case.values.iter().map(|(_, bytes, _)| vec![Some(bytes.clone())]).collect();
        if case.framing != Framing::Fixed {
            rows.push(vec![None]);
        }
        let script = Script { null_bitmap, chunk_bytes, ..Script::of(vec![column], rows) };
        let server = TdsServer::start(script).await;
        let mut configuration = server.configuration();
        set(&mut configuration);
        compare(case, configuration, "SELECT value FROM t", case.framing != Framing::Fixed).await;
    }
}

/// Asks the double in each form of the protocol, then the real server.
async fn check(case: &Case, set: impl Fn(&mut SqlServerSource)) {
    check_on_the_double(case, &set).await;
    let Some(server) = RealServer::if_named().await else { return };
    if server.is_babelfish && !case.on_babelfish {
        return;
    }
    let rows: Vec<String> = (1..)
        .zip(case.values.iter().map(|(sql, ..)| *sql).chain(["NULL"]))
        .map(|(position, sql)| format!("SELECT {position} AS p, CAST({sql} AS {}) AS value", case.sql_type))
        .collect();
    let sql = format!("SELECT value FROM ({}) AS t ORDER BY p", rows.join(" UNION ALL "));
    let mut configuration = server.configuration;
    set(&mut configuration);
    compare(case, configuration, &sql, true).await;
}

async fn compare(case: &Case, configuration: SqlServerSource, sql: &str, has_null: bool) -> Parquet {
    let found = transfer(&open(configuration), &query(sql), 1)
        .await
        .unwrap_or_else(|fault| panic!("{}: {}: {:?}", case.sql_type, fault.chain(), fault.hint()));
    assert_eq!(*found.rows.schema().field(0).data_type(), case.data_type, "{}", case.sql_type);
    let expected = case.values.iter().map(|(_, _, text)| Some((*text).to_owned()));
    let expected: Vec<Option<String>> = expected.chain(has_null.then_some(None)).collect();
    assert_eq!(column(&found.rows, "value"), expected, "{}: {sql}", case.sql_type);
    found
}

async fn check_all(cases: Vec<Case>) {
    for case in cases {
        check(&case, |_| {}).await;
    }
}

#[tokio::test]
async fn bits_and_integers_are_kept_and_tinyint_is_unsigned() {
    use Framing::{Byte, Fixed};
    let bits = || vec![("0", vec![0], "false"), ("1", vec![1], "true")];
    let tiny = || vec![("0", vec![0], "0"), ("128", vec![128], "128"), ("255", vec![255], "255")];
    let small = || {
        vec![
            ("-32768", i16::MIN.to_le_bytes().to_vec(), "-32768"),
            ("32767", i16::MAX.to_le_bytes().to_vec(), "32767"),
        ]
    };
    let int = || {
        vec![
            ("-2147483648", i32::MIN.to_le_bytes().to_vec(), "-2147483648"),
            ("2147483647", i32::MAX.to_le_bytes().to_vec(), "2147483647"),
        ]
    };
    let big = || {
        vec![
            ("-9223372036854775808", i64::MIN.to_le_bytes().to_vec(), "-9223372036854775808"),
            ("9223372036854775807", i64::MAX.to_le_bytes().to_vec(), "9223372036854775807"),
        ]
    };
    check_all(vec![
        case("bit", &[0x68, 1], Byte, DataType::Boolean, bits()),
        case("bit", &[0x32], Fixed, DataType::Boolean, bits()),
        case("tinyint", &[0x26, 1], Byte, DataType::UInt8, tiny()),
        case("tinyint", &[0x30], Fixed, DataType::UInt8, tiny()),
        case("smallint", &[0x26, 2], Byte, DataType::Int16, small()),
        case("smallint", &[0x34], Fixed, DataType::Int16, small()),
        case("int", &[0x26, 4], Byte, DataType::Int32, int()),
        case("int", &[0x38], Fixed, DataType::Int32, int()),
        case("bigint", &[0x26, 8], Byte, DataType::Int64, big()),
        case("bigint", &[0x7f], Fixed, DataType::Int64, big()),
    ])
    .await;
}

fn decimal(negative: bool, magnitude: u128, bytes: usize) -> Vec<u8> {
    [&[u8::from(!negative)][..], &magnitude.to_le_bytes()[..bytes]].concat()
}

#[tokio::test]
async fn decimals_are_exact_up_to_38_digits() {
    let most = 10_u128.pow(38) - 1;
    let cases = vec![
        case(
            "decimal(5,2)",
            &[0x6a, 5, 5, 2],
            Framing::Byte,
            DataType::Decimal128(5, 2),
            vec![
                ("'-999.99'", decimal(true, 99_999, 4), "-999.99"),
                ("'0.01'", decimal(false, 1, 4), "0.01"),
                ("'0'", decimal(false, 0, 4), "0.00"),
            ],
        ),
        case(
            "numeric(18,18)",
            &[0x6c, 9, 18, 18],
            Framing::Byte,
            DataType::Decimal128(18, 18),
            vec![("'0.999999999999999999'", decimal(false, 10_u128.pow(18) - 1, 8), "0.999999999999999999")],
        ),
        case(
            "decimal(28,3)",
            &[0x6a, 13, 28, 3],
            Framing::Byte,
            DataType::Decimal128(28, 3),
            vec![(
                "'1234567890123456789012345.678'",
                decimal(false, 1_234_567_890_123_456_789_012_345_678, 12),
                "1234567890123456789012345.678",
            )],
        ),
        case(
            "decimal(38,0)",
            &[0x6a, 17, 38, 0],
            Framing::Byte,
            DataType::Decimal128(38, 0),
            vec![
                (
                    "'-99999999999999999999999999999999999999'",
                    decimal(true, most, 16),
                    "-99999999999999999999999999999999999999",
                ),
                ("'1'", decimal(false, 1, 16), "1"),
            ],
        ),
    ];
    for case in cases {
        let DataType::Decimal128(precision, scale) = case.data_type else { panic!("{:?}", case.data_type) };
        check(&case, |_| {}).await;
        let column = Column::new("value", case.sql_type, &case.type_info, case.framing);
        let server = TdsServer::start(Script::of(vec![column], Vec::new())).await;
        let found = transfer(&open(server.configuration()), &query("SELECT value FROM t"), 1).await.unwrap();
        let expected = LogicalType::decimal(scale.into(), precision.into());
        assert_eq!(found.logical_types, [Some(expected)]);
        assert_eq!(found.source_types["value"], case.sql_type);
    }
}

#[tokio::test]
async fn money_keeps_every_digit() {
    let money = |value: i64| {
        let bytes = value.to_le_bytes();
        [&bytes[4..], &bytes[..4]].concat()
    };
    let large = || {
        vec![
            ("'922337203685477.5807'", money(i64::MAX), "922337203685477.5807"),
            ("'-922337203685477.5808'", money(i64::MIN), "-922337203685477.5808"),
            ("'0.0001'", money(1), "0.0001"),
            ("'-0.0001'", money(-1), "-0.0001"),
        ]
    };
    let small = || {
        vec![
            ("'214748.3647'", i32::MAX.to_le_bytes().to_vec(), "214748.3647"),
            ("'-214748.3648'", i32::MIN.to_le_bytes().to_vec(), "-214748.3648"),
        ]
    };
    check_all(vec![
        case("money", &[0x6e, 8], Framing::Byte, DataType::Decimal128(19, 4), large()),
        case("money", &[0x3c], Framing::Fixed, DataType::Decimal128(19, 4), large()),
        case("smallmoney", &[0x6e, 4], Framing::Byte, DataType::Decimal128(10, 4), small()),
        case("smallmoney", &[0x7a], Framing::Fixed, DataType::Decimal128(10, 4), small()),
    ])
    .await;
}

#[tokio::test]
async fn floats_are_the_same_bits() {
    let double = |value: f64| value.to_le_bytes().to_vec();
    let single = |value: f32| value.to_le_bytes().to_vec();
    let doubles = || {
        vec![
            ("0.1", double(0.1), "0.1"),
            ("-1.7976931348623157E308", double(f64::MIN), "-1.7976931348623157e308"),
            ("2.2250738585072014E-308", double(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
        ]
    };
    let singles = || vec![("0.1", single(0.1), "0.1"), ("-3.4E38", single(-3.4e38), "-3.4e38")];
    check_all(vec![
        case("real", &[0x6d, 4], Framing::Byte, DataType::Float32, singles()),
        case("real", &[0x3b], Framing::Fixed, DataType::Float32, singles()),
        case("float", &[0x6d, 8], Framing::Byte, DataType::Float64, doubles()),
        case("float", &[0x3e], Framing::Fixed, DataType::Float64, doubles()),
    ])
    .await;
}

/// Days since 0001-01-01.
fn day(days: u32) -> Vec<u8> {
    days.to_le_bytes()[..3].to_vec()
}

fn clock(units: u64, bytes: usize) -> Vec<u8> {
    units.to_le_bytes()[..bytes].to_vec()
}

const LAST_DAY: u32 = 3_652_058;
/// 2024-02-29.
const LEAP_DAY: u32 = 738_944;

#[tokio::test]
async fn dates_and_times_are_exact_to_the_microsecond() {
    let datetime = |days: i32, ticks: u32| [days.to_le_bytes(), ticks.to_le_bytes()].concat();
    let small = |days: u16, minutes: u16| [days.to_le_bytes(), minutes.to_le_bytes()].concat();
    let timestamp = || DataType::Timestamp(MICROSECONDS, None);
    let datetimes = || {
        vec![
            ("'1753-01-01T00:00:00'", datetime(-53_690, 0), "1753-01-01 00:00:00"),
            // A third of a hundredth is printed as .003, two as .007; so are the values here.
            ("'2024-02-29T12:34:56.003'", datetime(45_349, 13_588_801), "2024-02-29 12:34:56.003"),
            ("'2024-02-29T12:34:56.007'", datetime(45_349, 13_588_802), "2024-02-29 12:34:56.007"),
            ("'2024-02-29T12:34:56.010'", datetime(45_349, 13_588_803), "2024-02-29 12:34:56.01"),
            ("'9999-12-31T23:59:59.997'", datetime(2_958_463, 25_919_999), "9999-12-31 23:59:59.997"),
        ]
    };
    check_all(vec![
        case(
            "date",
            &[0x28],
            Framing::Byte,
            DataType::Date32,
            vec![
                ("'0001-01-01'", day(0), "0001-01-01"),
                ("'2024-02-29'", day(LEAP_DAY), "2024-02-29"),
                ("'9999-12-31'", day(LAST_DAY), "9999-12-31"),
            ],
        ),
        case(
            "time(0)",
            &[0x29, 0],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59'", clock(86_399, 3), "23:59:59"), ("'00:00:00'", clock(0, 3), "00:00:00")],
        ),
        case(
            "time(3)",
            &[0x29, 3],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'12:34:56.789'", clock(45_296_789, 4), "12:34:56.789")],
        ),
        case(
            "time(1)",
            &[0x29, 1],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9'", clock(863_999, 3), "23:59:59.9")],
        ),
        case(
            "time(2)",
            &[0x29, 2],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.99'", clock(8_639_999, 3), "23:59:59.99")],
        ),
        case(
            "time(4)",
            &[0x29, 4],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9999'", clock(863_999_999, 4), "23:59:59.9999")],
        ),
        case(
            "time(5)",
            &[0x29, 5],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.99999'", clock(8_639_999_999, 5), "23:59:59.99999")],
        ),
        case(
            "time(6)",
            &[0x29, 6],
            Framing::Byte,
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.999999'", clock(86_399_999_999, 5), "23:59:59.999999")],
        ),
        case("datetime", &[0x6f, 8], Framing::Byte, timestamp(), datetimes()),
        case("datetime", &[0x3d], Framing::Fixed, timestamp(), datetimes()),
        case(
            "smalldatetime",
            &[0x6f, 4],
            Framing::Byte,
            timestamp(),
            vec![
                ("'1900-01-01T00:00:00'", small(0, 0), "1900-01-01 00:00:00"),
                ("'2079-06-06T23:59:00'", small(65_535, 1439), "2079-06-06 23:59:00"),
            ],
        ),
        case(
            "datetime2(0)",
            &[0x2a, 0],
            Framing::Byte,
            timestamp(),
            vec![("'0001-01-01T00:00:01'", [clock(1, 3), day(0)].concat(), "0001-01-01 00:00:01")],
        ),
        case(
            "datetime2(1)",
            &[0x2a, 1],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.9'",
                [clock(863_999, 3), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.9",
            )],
        ),
        case(
            "datetime2(2)",
            &[0x2a, 2],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.99'",
                [clock(8_639_999, 3), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.99",
            )],
        ),
        case(
            "datetime2(4)",
            &[0x2a, 4],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.9999'",
                [clock(863_999_999, 4), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.9999",
            )],
        ),
        case(
            "datetime2(5)",
            &[0x2a, 5],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T23:59:59.99999'",
                [clock(8_639_999_999, 5), day(LEAP_DAY)].concat(),
                "2024-02-29 23:59:59.99999",
            )],
        ),
        case(
            "datetime2(3)",
            &[0x2a, 3],
            Framing::Byte,
            timestamp(),
            vec![(
                "'2024-02-29T12:34:56.789'",
                [clock(45_296_789, 4), day(LEAP_DAY)].concat(),
                "2024-02-29 12:34:56.789",
            )],
        ),
        case(
            "datetime2(6)",
            &[0x2a, 6],
            Framing::Byte,
            timestamp(),
            vec![(
                "'9999-12-31T23:59:59.999999'",
                [clock(86_399_999_999, 5), day(LAST_DAY)].concat(),
                "9999-12-31 23:59:59.999999",
            )],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_seventh_digit_is_cut_or_kept_as_nanoseconds() {
    let last = 863_999_999_999_u64;
    let moment = 452_967_891_234_u64;
    let cut = |sql_type, type_info: &[u8], data_type, values| {
        case(sql_type, type_info, Framing::Byte, data_type, values).not_on_babelfish()
    };
    check_all(vec![
        cut(
            "time(7)",
            &[0x29, 7],
            DataType::Time64(MICROSECONDS),
            vec![("'23:59:59.9999999'", clock(last, 5), "23:59:59.999999")],
        ),
        cut(
            "datetime2(7)",
            &[0x2a, 7],
            DataType::Timestamp(MICROSECONDS, None),
            vec![
                // The end of a period of a temporal table stays in its year.
                (
                    "'9999-12-31T23:59:59.9999999'",
                    [clock(last, 5), day(LAST_DAY)].concat(),
                    "9999-12-31 23:59:59.999999",
                ),
                ("'0001-01-01'", [clock(0, 5), day(0)].concat(), "0001-01-01 00:00:00"),
            ],
        ),
    ])
    .await;
    let nanoseconds = |configuration: &mut SqlServerSource| {
        configuration.seventh_digit = SeventhDigit::Nanoseconds;
    };
    let time = cut(
        "time(7)",
        &[0x29, 7],
        DataType::Time64(TimeUnit::Nanosecond),
        vec![("'12:34:56.7891234'", clock(moment, 5), "12:34:56.789123+400ns")],
    );
    check(&time, nanoseconds).await;
    let instant = cut(
        "datetime2(7)",
        &[0x2a, 7],
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        vec![(
            "'2024-02-29T12:34:56.7891234'",
            [clock(moment, 5), day(LEAP_DAY)].concat(),
            "2024-02-29 12:34:56.789123+400ns",
        )],
    );
    check(&instant, nanoseconds).await;

    let column = Column::new("value", "datetime2(7)", &[0x2a, 7], Framing::Byte);
    let rows = vec![vec![Some([clock(last, 5), day(LAST_DAY)].concat())]];
    let server = TdsServer::start(Script::of(vec![column], rows)).await;
    let mut configuration = server.configuration();
    configuration.seventh_digit = SeventhDigit::Nanoseconds;
    let fault = read(&open(configuration), &query("SELECT value FROM t"), 1).await.expect_err("too late");
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(fault.chain().contains("`value`"), "{}", fault.chain());
    assert!(fault.hint().unwrap_or_default().contains("seventh_digit"), "{:?}", fault.hint());
}

#[tokio::test]
async fn a_datetimeoffset_is_an_instant_or_text_with_its_offset() {
    let offset = |units: u64, bytes, days, minutes: i16| {
        [clock(units, bytes), day(days), minutes.to_le_bytes().to_vec()].concat()
    };
    let values = |first, second, third| {
        vec![
            ("'2024-02-29T14:34:56.789+02:00'", offset(45_296_789, 4, LEAP_DAY, 120), first),
            ("'2024-02-29T19:34:56.789-05:00'", offset(2_096_789, 4, LEAP_DAY + 1, -300), second),
            ("'2024-02-29T12:34:56.789+00:00'", offset(45_296_789, 4, LEAP_DAY, 0), third),
        ]
    };
    let instants =
        values("2024-02-29 12:34:56.789+00", "2024-03-01 00:34:56.789+00", "2024-02-29 12:34:56.789+00");
    let utc = DataType::Timestamp(MICROSECONDS, Some("UTC".into()));
    check(&case("datetimeoffset(3)", &[0x2b, 3], Framing::Byte, utc, instants), |_| {}).await;
    // The other widths of the time.
    for (sql_type, scale, units, bytes, value, text) in [
        ("datetimeoffset(0)", 0, 45_296, 3, "'2024-02-29T14:34:56+02:00'", "2024-02-29 12:34:56+00"),
        (
            "datetimeoffset(6)",
            6,
            45_296_789_123,
            5,
            "'2024-02-29T14:34:56.789123+02:00'",
            "2024-02-29 12:34:56.789123+00",
        ),
    ] {
        let utc = DataType::Timestamp(MICROSECONDS, Some("UTC".into()));
        let values = vec![(value, offset(units, bytes, LEAP_DAY, 120), text)];
        check(&case(sql_type, &[0x2b, scale], Framing::Byte, utc, values), |_| {}).await;
    }
    let texts = values(
        "2024-02-29 14:34:56.789 +02:00",
        "2024-02-29 19:34:56.789 -05:00",
        "2024-02-29 12:34:56.789 +00:00",
    );
    check(&case("datetimeoffset(3)", &[0x2b, 3], Framing::Byte, DataType::Utf8, texts), |configuration| {
        configuration.datetimeoffset = OffsetPolicy::Text;
    })
    .await;
}

#[tokio::test]
async fn texts_of_every_length_and_encoding_are_utf_8() {
    use Framing::{Chunks, Pointer, Short};
    let utf8 = [0x09, 0x04, 0xd0, 0x04, 0x00];
    let text = || DataType::Utf8;
    let latin = || vec![("'Zür€'", b"Z\xfcr\x80".to_vec(), "Zür€"), ("''", Vec::new(), "")];
    let unicode = || {
        vec![
            ("N'Zür𝄞日'", utf16("Zür𝄞日"), "Zür𝄞日"),
            ("N''", Vec::new(), ""),
            (
                "N'plain text, longer than eight'",
                utf16("plain text, longer than eight"),
                "plain text, longer than eight",
            ),
        ]
    };
    check_all(vec![
        case(
            "char(6)",
            &with_collation(&[0xaf, 6, 0], LATIN),
            Short,
            text(),
            vec![("'ab'", b"ab    ".to_vec(), "ab    ")],
        ),
        case("varchar(100)", &with_collation(&[0xa7, 100, 0], LATIN), Short, text(), latin()),
        case("varchar(max)", &with_collation(&[0xa7, 0xff, 0xff], LATIN), Chunks, text(), latin()),
        case("text", &with_collation(&[0x23, 0xff, 0xff, 0xff, 0x7f], LATIN), Pointer, text(), latin()),
        case(
            "nchar(4)",
            &with_collation(&[0xef, 8, 0], LATIN),
            Short,
            text(),
            vec![("N'ä'", utf16("ä   "), "ä   ")],
        ),
        case("nvarchar(100)", &with_collation(&[0xe7, 200, 0], LATIN), Short, text(), unicode()),
        case("nvarchar(max)", &with_collation(&[0xe7, 0xff, 0xff], LATIN), Chunks, text(), unicode()),
        case("ntext", &with_collation(&[0x63, 0xff, 0xff, 0xff, 0x7f], LATIN), Pointer, text(), unicode()),
    ])
    .await;
    let values =
        vec![("N'Zür𝄞日' COLLATE Latin1_General_100_CI_AS_SC_UTF8", "Zür𝄞日".as_bytes().to_vec(), "Zür𝄞日")];
    let case = case("varchar(100)", &with_collation(&[0xa7, 100, 0], utf8), Short, text(), values);
    check(&case.not_on_babelfish(), |_| {}).await;
}

#[tokio::test]
async fn a_text_that_has_no_characters_is_an_error_and_never_a_replacement() {
    let japanese = with_collation(&[0xa7, 100, 0], [0x11, 0x04, 0, 0, 0]);
    // Chinese_Taiwan_Stroke_CI_AS, and a character of a user's own.
    let taiwan = with_collation(&[0xa7, 100, 0], [0x04, 0x04, 0, 0, 0]);
    let nvarchar = with_collation(&[0xe7, 200, 0], LATIN);
    for (type_info, bytes, expected) in [
        (japanese, b"a\x81".to_vec(), "code page"),
        (taiwan, b"\xa4\xa4\xfa\x40".to_vec(), "code page"),
        (nvarchar, vec![0x3d, 0xd8, b'a', 0], "UTF-16"),
    ] {
        let column = Column::new("note", "varchar(100)", &type_info, Framing::Short);
        let server = TdsServer::start(Script::of(vec![column], vec![vec![Some(bytes)]])).await;
        let fault =
            read(&open(server.configuration()), &query("SELECT note FROM t"), 1).await.expect_err("no text");
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains("`note`") && fault.chain().contains(expected), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("[note]"), "{:?}", fault.hint());
    }
}

#[tokio::test]
async fn bytes_are_bytes() {
    use Framing::{Chunks, Pointer, Short};
    let bytes = || vec![("0x00FF10", vec![0, 0xff, 0x10], "\\x00ff10"), ("0x", Vec::new(), "\\x")];
    check_all(vec![
        case(
            "binary(3)",
            &[0xad, 3, 0],
            Short,
            DataType::Binary,
            vec![("0x00FF10", vec![0, 0xff, 0x10], "\\x00ff10")],
        ),
        case("varbinary(100)", &[0xa5, 100, 0], Short, DataType::Binary, bytes()),
        case("varbinary(max)", &[0xa5, 0xff, 0xff], Chunks, DataType::Binary, bytes()),
        case("image", &[0x22, 0xff, 0xff, 0xff, 0x7f], Pointer, DataType::Binary, bytes()),
        case(
            "rowversion",
            &[0xad, 8, 0],
            Short,
            DataType::Binary,
            vec![("0x00000000000007D1", vec![0, 0, 0, 0, 0, 0, 7, 0xd1], "\\x00000000000007d1")],
        )
        .not_on_babelfish(),
    ])
    .await;
}

#[tokio::test]
async fn identifiers_and_documents_are_text() {
    let guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
    let bytes =
        vec![0xff, 0x19, 0x96, 0x6f, 0x86, 0x8b, 0x11, 0xd0, 0xb4, 0x2d, 0, 0xc0, 0x4f, 0xc9, 0x64, 0xff];
    let guid = case(
        "uniqueidentifier",
        &[0x24, 16],
        Framing::Byte,
        DataType::Utf8,
        vec![("'6F9619FF-8B86-D011-B42D-00C04FC964FF'", bytes, guid)],
    );
    let xml = vec![("N'<a b=\"1\">ü</a>'", utf16("<a b=\"1\">ü</a>"), "<a b=\"1\">ü</a>")];
    let marked = vec![("N'<a/>'", [vec![0xff, 0xfe], utf16("<a/>")].concat(), "<a/>")];
    let json = vec![("'{\"a\": [1]}'", b"{\"a\": [1]}".to_vec(), "{\"a\": [1]}")];
    let vector = vec![("'[1.0, 2.5]'", b"[1.0, 2.5]".to_vec(), "[1.0, 2.5]")];
    let long_varchar = with_collation(&[0xa7, 0xff, 0xff], LATIN);
    check(&guid, |_| {}).await;
    check(&case("xml", &[0xf1, 0], Framing::Chunks, DataType::Utf8, xml), |_| {}).await;
    // Only the double can be made to send a byte order mark, a JSON and a vector of later versions.
    for case in [
        case("xml", &[0xf1, 0], Framing::Chunks, DataType::Utf8, marked),
        case("json", &long_varchar, Framing::Chunks, DataType::Utf8, json),
        case("vector(2)", &long_varchar, Framing::Chunks, DataType::Utf8, vector),
    ] {
        check_on_the_double(&case, |_| {}).await;
    }
}

/// A variant: type, properties, value.
fn variant(kind: u8, properties: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kind, properties.len() as u8], properties, value].concat()
}

#[tokio::test]
async fn a_sql_variant_is_the_text_of_the_value_in_it() {
    let collation_and_length = [&LATIN[..], &[100, 0]].concat();
    let values = vec![
        ("CAST(-7 AS int)", variant(0x38, &[], &(-7_i32).to_le_bytes()), "-7"),
        ("CAST(255 AS tinyint)", variant(0x30, &[], &[255]), "255"),
        ("CAST(1 AS bit)", variant(0x32, &[], &[1]), "1"),
        ("CAST(0.1 AS float)", variant(0x3e, &[], &0.1_f64.to_le_bytes()), "0.1"),
        ("CAST('-0.05' AS decimal(5,2))", variant(0x6c, &[5, 2], &decimal(true, 5, 4)), "-0.05"),
        ("CAST('1.2345' AS money)", variant(0x3c, &[], &[0, 0, 0, 0, 0x39, 0x30, 0, 0]), "1.2345"),
        ("CAST('2024-02-29' AS date)", variant(0x28, &[], &day(LEAP_DAY)), "2024-02-29"),
        ("CAST('Zür' AS varchar(100))", variant(0xa7, &collation_and_length, b"Z\xfcr"), "Zür"),
        ("CAST(N'日' AS nvarchar(50))", variant(0xe7, &collation_and_length, &utf16("日")), "日"),
        ("CAST(-32768 AS smallint)", variant(0x34, &[], &i16::MIN.to_le_bytes()), "-32768"),
        (
            "CAST(9223372036854775807 AS bigint)",
            variant(0x7f, &[], &i64::MAX.to_le_bytes()),
            "9223372036854775807",
        ),
        ("CAST(0.5 AS real)", variant(0x3b, &[], &0.5_f32.to_le_bytes()), "0.5"),
        ("CAST('-1.5' AS smallmoney)", variant(0x7a, &[], &(-15_000_i32).to_le_bytes()), "-1.5000"),
        ("CAST('12' AS decimal(2,0))", variant(0x6a, &[2, 0], &decimal(false, 12, 4)), "12"),
        (
            "CAST('2024-02-29T12:34:56.003' AS datetime)",
            variant(0x3d, &[], &[45_349_u32.to_le_bytes(), 13_588_801_u32.to_le_bytes()].concat()),
            "2024-02-29 12:34:56.003",
        ),
        (
            "CAST('2079-06-06T23:59:00' AS smalldatetime)",
            variant(0x3a, &[], &[65_535_u16.to_le_bytes(), 1439_u16.to_le_bytes()].concat()),
            "2079-06-06 23:59:00",
        ),
        (
            "CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier)",
            variant(
                0x24,
                &[],
                &[
                    0xff, 0x19, 0x96, 0x6f, 0x86, 0x8b, 0x11, 0xd0, 0xb4, 0x2d, 0, 0xc0, 0x4f, 0xc9, 0x64,
                    0xff,
                ],
            ),
            "6F9619FF-8B86-D011-B42D-00C04FC964FF",
        ),
        ("CAST('Zür' AS char(4))", variant(0xaf, &collation_and_length, b"Z\xfcr "), "Zür "),
        ("CAST(0x0AFF AS binary(3))", variant(0xad, &[3, 0], &[0x0a, 0xff, 0]), "0x0AFF00"),
        ("CAST(0x0AFF AS varbinary(10))", variant(0xa5, &[10, 0], &[0x0a, 0xff]), "0x0AFF"),
    ];
    let times = vec![
        (
            "CAST('2024-02-29T12:34:56.789' AS datetime2(3))",
            variant(0x2a, &[3], &[clock(45_296_789, 4), day(LEAP_DAY)].concat()),
            "2024-02-29 12:34:56.789",
        ),
        (
            "CAST('2024-02-29T14:34:56+02:00' AS datetimeoffset(0))",
            variant(0x2b, &[0], &[clock(45_296, 3), day(LEAP_DAY), vec![120, 0]].concat()),
            "2024-02-29 14:34:56 +02:00",
        ),
        ("CAST('12:34:56' AS time(0))", variant(0x29, &[0], &clock(45_296, 3)), "12:34:56"),
    ];
    let variants =
        |values| case("sql_variant", &[0x62, 0x49, 0x1f, 0, 0], Framing::Long, DataType::Utf8, values);
    check(&variants(values), |_| {}).await;
    // Babelfish forgets the scale of the value.
    check(&variants(times).not_on_babelfish(), |_| {}).await;
}

#[tokio::test]
async fn clr_types_are_turned_into_text_by_the_server() {
    let udt = |name: &str| {
        let mut type_info = vec![0xf0, 0xff, 0xff];
        for text in ["", "sys", name] {
            type_info.push(text.len() as u8);
            type_info.extend(utf16(text));
        }
        type_info.extend([0, 0]);
        type_info
    };
    for (name, null_bitmap) in
        [("hierarchyid", false), ("geography", true), ("geometry", false), ("Point", true)]
    {
        let columns = vec![Column::int("id"), Column::new("place", name, &udt(name), Framing::Chunks)];
        let rows = vec![
            vec![Some(vec![1, 0, 0, 0]), Some(utf16("POINT (1 2)"))],
            vec![Some(vec![2, 0, 0, 0]), None],
        ];
        let server = TdsServer::start(Script { null_bitmap, ..Script::of(columns, rows) }).await;
        let found = read(&open(server.configuration()), &query("SELECT id, place FROM t ORDER BY id"), 1)
            .await
            .unwrap();
        assert_eq!(column(&found, "place"), [Some("POINT (1 2)".to_owned()), None]);
        let batches = server.batches();
        let sent = batches.last().unwrap();
        assert!(
            sent.starts_with(
                "SELECT q.[c1] AS [id], CAST(q.[c2].ToString() AS nvarchar(max)) AS [place] \
                 FROM (SELECT id, place FROM t ORDER BY id OFFSET 0 ROWS"
            ),
            "{sent}"
        );
    }
    // A type of a later version.
    let columns = vec![Column::new(
        "value",
        "brandnew(3)",
        &with_collation(&[0xe7, 0xff, 0xff], LATIN),
        Framing::Chunks,
    )];
    let server = TdsServer::start(Script::of(columns, vec![vec![Some(utf16("x"))]])).await;
    let found = read(&open(server.configuration()), &query("SELECT value FROM t"), 1).await.unwrap();
    assert_eq!(column(&found, "value"), [Some("x".to_owned())]);
    assert!(server.batches().last().unwrap().contains("CAST(q.[c1] AS nvarchar(max)) AS [value]"));
}

#[tokio::test]
async fn spatial_values_are_well_known_binary_by_option() {
    let type_info =
        [vec![0xf0, 0xff, 0xff, 0, 3], utf16("sys"), vec![8], utf16("geometry"), vec![0, 0]].concat();
    let column = Column::new("place", "geometry", &type_info, Framing::Chunks);
    let point = vec![1, 1, 0, 0, 0];
    let server = TdsServer::start(Script::of(vec![column], vec![vec![Some(point)], vec![None]])).await;
    let configuration = SqlServerSource { spatial: SpatialPolicy::Wkb, ..server.configuration() };
    let found = transfer(&open(configuration), &query("SELECT place FROM t"), 1).await.unwrap();
    assert_eq!(*found.rows.schema().field(0).data_type(), DataType::Binary);
    assert_eq!(column_of(&found), [Some("\\x0101000000".to_owned()), None]);
    assert!(server.batches().last().unwrap().contains("q.[c1].STAsBinary() AS [place]"));
}

fn column_of(found: &Parquet) -> Vec<Option<String>> {
    column(&found.rows, found.rows.schema().field(0).name())
}

#[tokio::test]
async fn alias_types_and_computed_columns_are_what_is_behind_them() {
    let mut phone = Column::nvarchar("phone");
    phone.user_type = Some("Phone".into());
    let mut total = Column::int("total");
    total.is_computed = true;
    let rows = vec![vec![Some(utf16("+41 44")), Some(vec![7, 0, 0, 0])]];
    let server = TdsServer::start(Script::of(vec![phone, total], rows)).await;
    let found = transfer(&open(server.configuration()), &table("t"), 1).await.unwrap();
    assert_eq!(column(&found.rows, "phone"), [Some("+41 44".to_owned())]);
    assert_eq!(column(&found.rows, "total"), [Some("7".to_owned())]);
    assert_eq!(found.source_types["phone"], "nvarchar(4000)");
    assert!(!server.batches().iter().any(|sql| sql.contains("CAST(")), "nothing is converted");
}

#[tokio::test]
async fn columns_need_names_of_their_own() {
    for (columns, expected) in [
        (vec![Column::int("a"), Column::int("a")], "two columns have the name `a`"),
        (vec![Column::int("")], ""),
    ] {
        let server = TdsServer::start(Script::of(columns, Vec::new())).await;
        let source = open(server.configuration());
        if expected.is_empty() {
            read(&source, &query("SELECT id + 1 FROM t"), 1).await.unwrap();
            continue;
        }
        let fault = refused(&source, &query("SELECT a, a FROM t"), 1).await;
        assert!(fault.chain().contains(expected), "{}", fault.chain());
    }
}
