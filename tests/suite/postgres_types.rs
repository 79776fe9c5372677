//! Every type of PostgreSQL, value by value: server -> Arrow -> Parquet -> read back.
//!
//! The lists here are the table of `docs/TYPES.md`, in the same order.

use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{NumericPolicy, PostgresSource, SpecialValues};
use data_exchange_agent::fault::{Fault, FaultKind};
use parquet::basic::{LogicalType, TimeUnit as ParquetTimeUnit};

use crate::support::extraction::{
    Parquet, column, configuration, open, query, read, refused, source, table, transfer,
};
use crate::support::postgres::{self, Database};

/// Wraps a value as it was inserted and what the file has to say.
type Values<'a> = &'a [(&'a str, &'a str)];

/// The numbers of a float column have one notation only, whoever printed them.
fn canonical(data_type: &DataType, text: &str) -> String {
    match data_type {
        DataType::Float32 => format!("{:?}", text.parse::<f32>().expect("a number")),
        DataType::Float64 => format!("{:?}", text.parse::<f64>().expect("a number")),
        _ => text.to_owned(),
    }
}

/// Stores `values` (SQL expressions) and a NULL in a column of `sql_type`, transfers it, and
/// compares type and values in the file; and that a reader of Arrow sees the same.
async fn check_with(
    database: &Database,
    configuration: PostgresSource,
    sql_type: &str,
    data_type: DataType,
    values: Values<'_>,
) -> Parquet {
    let rows: Vec<String> = (1..).zip(values).map(|(row, (sql, _))| format!("({row}, {sql})")).collect();
    database
        .execute(&format!(
            "DROP TABLE IF EXISTS stored; CREATE TABLE stored (position integer, value {sql_type}); \
             INSERT INTO stored VALUES {}, (NULL, NULL)",
            rows.join(", ")
        ))
        .await;
    let source = open(configuration);
    let query = query("SELECT value FROM stored ORDER BY position");
    let found = transfer(&source, &query, 1)
        .await
        .unwrap_or_else(|fault| panic!("{sql_type}: {}: {:?}", fault.chain(), fault.hint()));

    assert_eq!(*found.rows.schema().field(0).data_type(), data_type, "{sql_type}");
    let expected = values.iter().map(|(_, text)| Some(canonical(&data_type, text)));
    let expected: Vec<Option<String>> = expected.chain([None]).collect();
    assert_eq!(column(&found.rows, "value"), expected, "{sql_type} in Parquet");
    let arrow = read(&source, &query, 1).await.expect("what was read before");
    assert_eq!(column(&arrow, "value"), expected, "{sql_type} in Arrow");
    found
}

async fn check(database: &Database, sql_type: &str, data_type: DataType, values: Values<'_>) -> Parquet {
    check_with(database, configuration(&database.url()), sql_type, data_type, values).await
}

/// The fault of reading one value of a column named `the column`.
async fn fault_of(database: &Database, configuration: PostgresSource, expression: &str) -> Fault {
    let query = query(format!("SELECT {expression} AS \"the column\""));
    let fault = transfer(&open(configuration), &query, 1).await.err();
    fault.unwrap_or_else(|| panic!("{expression} was not refused in {}", database.name()))
}

/// Reading `expression` is an error that names column, value and remedy; by option it is NULL.
async fn check_special(database: &Database, expression: &str, name: &str) {
    let fault = fault_of(database, configuration(&database.url()), expression).await;
    assert_eq!(fault.kind(), FaultKind::Data, "{expression}");
    let chain = fault.chain();
    assert!(chain.contains("`the column`") && chain.contains(name), "{expression}: {chain}");
    let hint = fault.hint().unwrap_or_default();
    assert!(hint.contains("special_values = \"null\"") && hint.contains("\"the column\"::text"), "{hint}");

    let configuration =
        PostgresSource { special_values: SpecialValues::Null, ..configuration(&database.url()) };
    let query = query(format!("SELECT {expression} AS value"));
    let found = transfer(&open(configuration), &query, 1).await.expect("NULL by option");
    assert_eq!(column(&found.rows, "value"), [None], "{expression}");
}

async fn version(database: &Database) -> u32 {
    let number: String = database.value("SHOW server_version_num").await;
    number.parse::<u32>().expect("a number") / 10_000
}

fn microseconds(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

#[tokio::test]
async fn booleans_and_integers() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    check(&database, "boolean", DataType::Boolean, &[("true", "true"), ("false", "false")]).await;
    let values = [("-32768", "-32768"), ("0", "0"), ("32767", "32767")];
    check(&database, "smallint", DataType::Int16, &values).await;
    let values = [("-2147483648", "-2147483648"), ("0", "0"), ("2147483647", "2147483647")];
    check(&database, "integer", DataType::Int32, &values).await;
    let values = [
        ("-9223372036854775808", "-9223372036854775808"),
        ("-1", "-1"),
        ("9223372036854775807", "9223372036854775807"),
    ];
    check(&database, "bigint", DataType::Int64, &values).await;
    check(&database, "oid", DataType::Int64, &[("0", "0"), ("4294967295", "4294967295")]).await;
}

#[tokio::test]
async fn floats_are_the_same_bits() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let values = [
        ("'NaN'", "NaN"),
        ("'Infinity'", "Infinity"),
        ("'-Infinity'", "-Infinity"),
        ("0", "0"),
        ("'-0'", "-0"),
        ("0.1", "0.1"),
        ("'1e-45'", "1e-45"),
        ("'1.1754944e-38'", "1.1754944e-38"),
        ("'-3.4028235e38'", "-3.4028235e38"),
    ];
    check(&database, "real", DataType::Float32, &values).await;
    let values = [
        ("'NaN'", "NaN"),
        ("'Infinity'", "Infinity"),
        ("'-Infinity'", "-Infinity"),
        ("0", "0"),
        ("'-0'", "-0"),
        ("0.1", "0.1"),
        ("'5e-324'", "5e-324"),
        ("'0.30000000000000004'", "0.30000000000000004"),
        ("'1.7976931348623157e308'", "1.7976931348623157e308"),
    ];
    check(&database, "double precision", DataType::Float64, &values).await;
}

/// The largest number of `precision` digits with `scale` of them behind the point.
fn nines(precision: usize, scale: usize) -> String {
    let whole = if precision == scale { "0".to_owned() } else { "9".repeat(precision - scale) };
    if scale == 0 { whole } else { format!("{whole}.{}", "9".repeat(scale)) }
}

/// The smallest number above zero with `scale` digits behind the point.
fn smallest(scale: usize) -> String {
    if scale == 0 { "1".to_owned() } else { format!("0.{}1", "0".repeat(scale - 1)) }
}

#[tokio::test]
async fn numerics_with_a_precision_are_exact_at_every_width() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for (precision, scale) in [
        (1, 0),
        (4, 4),
        (9, 2),
        (15, 2),
        (18, 0),
        (18, 1),
        (18, 18),
        (19, 0),
        (19, 19),
        (37, 2),
        (38, 0),
        (38, 10),
        (38, 37),
        (38, 38),
        (39, 0),
        (39, 38),
        (50, 3),
        (75, 74),
        (76, 0),
        (76, 38),
        (76, 76),
    ] {
        let (p, s) = (u8::try_from(precision).unwrap(), i8::try_from(scale).unwrap());
        let (data_type, physical) = match precision {
            ..=38 => (DataType::Decimal128(p, s), "Decimal"),
            _ => (DataType::Decimal256(p, s), "Decimal"),
        };
        let (largest, smallest) = (nines(precision, scale), smallest(scale));
        let (least, negative) = (format!("-{largest}"), format!("-{smallest}"));
        let zero = if scale == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(scale)) };
        let texts = [&largest, &least, &smallest, &negative, &zero];
        let values: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_str(), text.as_str())).collect();
        let sql_type = format!("numeric({precision},{scale})");
        let found = check(&database, &sql_type, data_type, &values).await;
        let logical = LogicalType::decimal(i32::from(s), i32::from(p));
        assert_eq!(found.logical_types, [Some(logical)], "{physical} {sql_type}");
        assert_eq!(found.source_types["value"], sql_type);
    }
    // Groups of four digits that are zero at every place of the wire format.
    let values = [
        ("10000", "10000.0000"),
        ("100000000.0001", "100000000.0001"),
        ("0.0001", "0.0001"),
        ("-90000000000000", "-90000000000000.0000"),
        ("12340000.5678", "12340000.5678"),
        ("0.00001", "0.0000"),
        ("1.5", "1.5000"),
    ];
    check(&database, "numeric(18,4)", DataType::Decimal128(18, 4), &values).await;
}

#[tokio::test]
async fn numerics_that_no_decimal_holds_are_text() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let long = nines(77, 0);
    check(&database, "numeric(77,0)", DataType::Utf8, &[(&long, &long), ("-1", "-1"), ("'NaN'", "NaN")])
        .await;
    let long = nines(1000, 500);
    check(&database, "numeric(1000,500)", DataType::Utf8, &[(&long, &long)]).await;
}

#[tokio::test]
async fn a_scale_below_zero_or_beyond_the_precision_is_a_decimal_as_well() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    if version(&database).await < 15 {
        return;
    }
    let values = [("12345", "12300"), ("-99949", "-99900"), ("49", "0"), ("99900", "99900")];
    check(&database, "numeric(3,-2)", DataType::Decimal128(5, 0), &values).await;
    let values = [("0.00099", "0.00099"), ("-0.00001", "-0.00001"), ("0.000004", "0.00000")];
    check(&database, "numeric(2,5)", DataType::Decimal128(5, 5), &values).await;
    check(&database, "numeric(2,-1000)", DataType::Utf8, &[("0", "0")]).await;
    let text = format!("0.{}12", "0".repeat(998));
    check(&database, "numeric(2,1000)", DataType::Utf8, &[(&text, &text)]).await;
}

#[tokio::test]
async fn a_numeric_without_precision_follows_the_policy() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut values = vec![
        ("1.10", "1.10"),
        ("-0.00", "0.00"),
        ("1e-20", "0.00000000000000000001"),
        ("1e25", "10000000000000000000000000"),
        ("'NaN'", "NaN"),
    ];
    if version(&database).await >= 14 {
        values.extend([("'Infinity'", "Infinity"), ("'-Infinity'", "-Infinity")]);
    }
    let found = check(&database, "numeric", DataType::Utf8, &values).await;
    assert_eq!(found.source_types["value"], "numeric");

    let with = |numeric| PostgresSource { numeric, ..configuration(&database.url()) };
    let double = with(NumericPolicy::Double);
    let doubles = [("0.1", "0.1"), ("-12345678901234567890", "-12345678901234567000"), ("'NaN'", "NaN")];
    check_with(&database, double.clone(), "numeric", DataType::Float64, &doubles).await;
    let too_large = fault_of(&database, double, "'1e400'::numeric").await;
    assert_eq!(too_large.kind(), FaultKind::Request, "{}", too_large.chain());

    let decimal = |precision, scale| with(NumericPolicy::Decimal { precision, scale });
    let (small, medium, large) = (decimal(10, 2), decimal(38, 9), decimal(76, 0));
    let decimals = [("1.5", "1.50"), ("-99999999.99", "-99999999.99"), ("1.100000", "1.10")];
    check_with(&database, small.clone(), "numeric", DataType::Decimal128(10, 2), &decimals).await;
    let decimals = [
        ("1e-9", "0.000000001"),
        ("-12345678901234567890123456789", "-12345678901234567890123456789.000000000"),
    ];
    check_with(&database, medium, "numeric", DataType::Decimal128(38, 9), &decimals).await;
    let long = nines(76, 0);
    check_with(&database, large, "numeric", DataType::Decimal256(76, 0), &[(&long, &long)]).await;
    for expression in ["100000000", "-100000000.00", "0.001", "1.005", "1e-300", "'1e300'", "1e131071"] {
        let fault = fault_of(&database, small.clone(), &format!("{expression}::numeric")).await;
        assert_eq!(fault.kind(), FaultKind::Data, "{expression}");
        assert!(fault.chain().contains("`the column`"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("decimal(p,s)"), "{:?}", fault.hint());
    }
}

#[tokio::test]
async fn what_has_no_form_in_the_output_is_an_error_with_a_remedy_or_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for precision in [10, 30, 60] {
        check_special(&database, &format!("'NaN'::numeric({precision},2)"), "NaN").await;
    }
    for name in ["infinity", "-infinity"] {
        for sql_type in ["date", "timestamp", "timestamptz"] {
            check_special(&database, &format!("'{name}'::{sql_type}"), name).await;
        }
    }
    check_special(&database, "'24:00:00'::time", "24:00:00").await;
    check_special(&database, "'294276-12-31 23:59:59'::timestamp", "294,246").await;
}

#[tokio::test]
async fn an_infinity_in_an_undeclared_decimal_is_an_error_or_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    if version(&database).await < 14 {
        return;
    }
    let numeric = NumericPolicy::Decimal { precision: 20, scale: 2 };
    let with = PostgresSource { numeric, ..configuration(&database.url()) };
    for name in ["Infinity", "-Infinity"] {
        let fault = fault_of(&database, with.clone(), &format!("'{name}'::numeric")).await;
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains(name), "{}", fault.chain());
    }
    let with = PostgresSource { special_values: SpecialValues::Null, ..with };
    let query = query("SELECT 'Infinity'::numeric AS value UNION ALL SELECT 1");
    let found = transfer(&open(with), &query, 1).await.expect("NULL by option");
    assert_eq!(column(&found.rows, "value"), [None, Some("1.00".to_owned())]);
}

#[tokio::test]
async fn dates_and_times_of_every_age() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let same = |values: &[&'static str]| -> Vec<(String, &'static str)> {
        values.iter().map(|value| (format!("'{value}'"), *value)).collect()
    };
    let borrowed = |values: &[(String, &'static str)]| -> Vec<(&'static str, &'static str)> {
        values.iter().map(|(sql, text)| (&*sql.clone().leak(), *text)).collect()
    };
    let dates = same(&[
        "4714-11-24 BC",
        "0044-03-15 BC",
        "0001-12-31 BC",
        "0001-01-01",
        "1582-10-10",
        "1900-02-28",
        "1969-12-31",
        "1970-01-01",
        "2000-02-29",
        "9999-12-31",
        "10000-01-01",
        "5874897-12-31",
    ]);
    check(&database, "date", DataType::Date32, &borrowed(&dates)).await;
    let times = same(&["00:00:00", "00:00:00.000001", "12:34:56.7", "23:59:59.999999"]);
    let data_type = DataType::Time64(TimeUnit::Microsecond);
    let found = check(&database, "time", data_type.clone(), &borrowed(&times)).await;
    assert_eq!(found.logical_types, [Some(LogicalType::time(false, ParquetTimeUnit::MICROS))]);
    check(&database, "time(0)", data_type, &[("'12:34:56.7'", "12:34:57")]).await;
    let values = [("'12:34:56.789+05:30'", "12:34:56.789+05:30"), ("'24:00:00-12'", "24:00:00-12")];
    check(&database, "timetz", DataType::Utf8, &values).await;
    let timestamps = same(&[
        "4714-11-24 00:00:00 BC",
        "0001-12-31 23:59:59.999999 BC",
        "0001-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "1970-01-01 00:00:00",
        "1999-12-31 23:59:59.5",
        "2024-02-29 12:34:56.000001",
        "9999-12-31 23:59:59.999999",
        "294247-01-10 04:00:54.775807",
    ]);
    let found = check(&database, "timestamp", microseconds(None), &borrowed(&timestamps)).await;
    assert_eq!(found.logical_types, [Some(LogicalType::timestamp(false, ParquetTimeUnit::MICROS))]);
    check(
        &database,
        "timestamp(3)",
        microseconds(None),
        &[("'2024-01-01 00:00:00.12345'", "2024-01-01 00:00:00.123")],
    )
    .await;
    let values = [
        ("'2024-03-31 02:30:00+02'", "2024-03-31 00:30:00+00"),
        ("'2024-03-31 02:30:00 Asia/Kathmandu'", "2024-03-30 20:45:00+00"),
        ("'0044-03-15 12:00:00+00 BC'", "0044-03-15 12:00:00+00 BC"),
        ("'294247-01-10 04:00:54.775807+00'", "294247-01-10 04:00:54.775807+00"),
    ];
    let found = check(&database, "timestamptz", microseconds(Some("UTC")), &values).await;
    assert_eq!(found.logical_types, [Some(LogicalType::timestamp(true, ParquetTimeUnit::MICROS))]);
    let values = [
        ("'1 year 2 months 3 days 04:05:06.789'", "P1Y2M3DT4H5M6.789S"),
        ("'-1 year -2 months +3 days -04:05:06'", "P-1Y-2M3DT-4H-5M-6S"),
        ("'-0.000001 seconds'", "PT-0.000001S"),
        ("'0'", "PT0S"),
        ("'100000 hours'", "PT100000H"),
        ("'14 months'", "P1Y2M"),
    ];
    check(&database, "interval", DataType::Utf8, &values).await;
}

#[tokio::test]
async fn the_zone_and_styles_of_a_database_change_nothing() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let name = database.name();
    let settings = [
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'postgres_verbose'",
        "bytea_output = 'escape'",
        "extra_float_digits = -10",
        "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'",
    ];
    for setting in settings {
        database.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let sql = "SELECT '2024-01-02 03:04:05+00'::timestamptz AS instant, \
               ARRAY['2024-01-02 03:04:05+00'::timestamptz] AS instants, \
               '1 day -2 hours'::interval AS length, tstzrange('2024-01-02 03:04:05+00', NULL) AS range, \
               ARRAY[0.1::float8 + 0.2::float8] AS floats, point(0.1::float8 + 0.2::float8, 1) AS place, \
               'a\\b' AS backslash, ROW('\\x01ff'::bytea) AS bytes";
    let found = transfer(&source(&database), &query(sql), 1).await.expect("a result");
    let one = |name: &str| column(&found.rows, name)[0].clone().expect("not NULL");
    assert_eq!(one("instant"), "2024-01-02 03:04:05+00");
    assert_eq!(one("instants"), "[\"2024-01-02T03:04:05+00:00\"]");
    assert_eq!(one("length"), "P1DT-2H");
    assert_eq!(one("range"), "[\"2024-01-02 03:04:05+00\",)");
    assert_eq!(one("floats"), "[0.30000000000000004]");
    assert_eq!(one("place"), "(0.30000000000000004,1)");
    assert_eq!(one("backslash"), "a\\b");
    assert_eq!(one("bytes"), "(\"\\\\x01ff\")");
}

#[tokio::test]
async fn texts_of_every_kind_are_kept_as_they_are() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let unicode = [
        "",
        " ",
        "plain",
        "tab\tnewline\ncarriage\rreturn",
        "quote ' double \" back\\slash , ; {}",
        "ä ö ü ß é e\u{301}",
        "Ελληνικά кириллица עברית العربية",
        "日本語 한국어 ไทย",
        "𝄞 👩‍👩‍👧‍👦 🏳️‍🌈",
        "\u{feff}bom \u{200b}\u{200f}\u{2028}\u{fffd}\u{10ffff}\u{1}\u{7f}",
        "NULL",
        "\\N",
    ];
    let literals: Vec<String> =
        unicode.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect();
    let long = "x".repeat(3_000_000);
    let long_literal = format!("'{long}'");
    let values: Vec<(&str, &str)> = literals.iter().map(String::as_str).zip(unicode).collect();
    let found = check(&database, "text", DataType::Utf8, &values).await;
    assert_eq!(found.logical_types, [Some(LogicalType::String)]);
    check(&database, "varchar", DataType::Utf8, &values).await;
    let found = check(&database, "varchar(4)", DataType::Utf8, &[("'abcd'", "abcd"), ("''", "")]).await;
    assert_eq!(found.source_types["value"], "character varying(4)");
    check(&database, "text", DataType::Utf8, &[(&long_literal, &long)]).await;
    let values = [("'ab'", "ab   "), ("''", "     "), ("'äöü'", "äöü  ")];
    check(&database, "char(5)", DataType::Utf8, &values).await;
    check(&database, "\"char\"", DataType::Utf8, &[("'x'", "x"), ("''", "")]).await;
    check(&database, "name", DataType::Utf8, &[("'a name'", "a name")]).await;
    check(
        &database,
        "uuid",
        DataType::Utf8,
        &[("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
    )
    .await;
    let values = [("'\\x'", "\\x"), ("'\\x00ff5c27'", "\\x00ff5c27")];
    let found = check(&database, "bytea", DataType::Binary, &values).await;
    assert_eq!(found.logical_types, [None]);
}

#[tokio::test]
async fn documents_are_text() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let kept = "{\"b\": 1,  \"a\":2.50, \"a\":\"\\u00e4 ä\"}\n";
    let literal = format!("'{kept}'");
    check(&database, "json", DataType::Utf8, &[(&literal, kept), ("'null'", "null"), ("'\"\"'", "\"\"")])
        .await;
    let values = [
        (literal.as_str(), "{\"a\": \"ä ä\", \"b\": 1}"),
        ("'[1.10, null]'", "[1.10, null]"),
        ("'1e3'", "1000"),
    ];
    check(&database, "jsonb", DataType::Utf8, &values).await;
    let xml = database
        .value::<bool>("SELECT EXISTS (SELECT FROM pg_config WHERE setting LIKE '%--with-libxml%')")
        .await;
    if xml {
        let values = [
            ("'<a b=\"1\">ä &amp; </a>'", "<a b=\"1\">ä &amp; </a>"),
            ("'two <b/> parts'", "two <b/> parts"),
        ];
        check(&database, "xml", DataType::Utf8, &values).await;
    }
}

#[tokio::test]
async fn arrays_are_json() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute("CREATE TYPE mood AS ENUM ('so so', 'good'); CREATE TYPE pair AS (a integer, b text)")
        .await;
    let cases: &[(&str, Values<'_>)] = &[
        (
            "integer[]",
            &[
                ("'{1,NULL,-3}'", "[1,null,-3]"),
                ("'{}'", "[]"),
                ("'{{1,2},{3,NULL}}'", "[[1,2],[3,null]]"),
                ("'{{{1}}}'", "[[[1]]]"),
                ("'[0:1]={7,8}'", "[7,8]"),
            ],
        ),
        (
            "text[]",
            &[
                (
                    "ARRAY['a\"b', 'c\\d', NULL, '', 'NULL', 'ä,{}']",
                    "[\"a\\\"b\",\"c\\\\d\",null,\"\",\"NULL\",\"ä,{}\"]",
                ),
                ("ARRAY[E'line\\nend']", "[\"line\\nend\"]"),
            ],
        ),
        ("boolean[]", &[("'{t,f,NULL}'", "[true,false,null]")]),
        ("numeric(10,2)[]", &[("'{1.10,NaN,-0.01}'", "[1.10,\"NaN\",-0.01]")]),
        (
            "numeric[]",
            &[("'{123456789012345678901234567890.123456789}'", "[123456789012345678901234567890.123456789]")],
        ),
        ("float8[]", &[("'{0.1,NaN,-Infinity}'", "[0.1,\"NaN\",\"-Infinity\"]")]),
        (
            "timestamp[]",
            &[("'{2024-01-02 03:04:05.123456,infinity}'", "[\"2024-01-02T03:04:05.123456\",\"infinity\"]")],
        ),
        ("timestamptz[]", &[("'{2024-01-02 03:04:05+02}'", "[\"2024-01-02T01:04:05+00:00\"]")]),
        ("date[]", &[("'{0044-03-15 BC,-infinity}'", "[\"0044-03-15 BC\",\"-infinity\"]")]),
        ("time[]", &[("'{24:00:00}'", "[\"24:00:00\"]")]),
        ("interval[]", &[("'{1 day -2 hours}'", "[\"P1DT-2H\"]")]),
        (
            "uuid[]",
            &[("'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", "[\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"]")],
        ),
        ("bytea[]", &[("ARRAY['\\x00ff'::bytea]", "[\"\\\\x00ff\"]")]),
        ("json[]", &[("ARRAY['{\"a\":  1}'::json]", "[{\"a\":  1}]")]),
        ("jsonb[]", &[("ARRAY['{\"a\":  1}'::jsonb]", "[{\"a\": 1}]")]),
        ("inet[]", &[("'{10.0.0.1,10.0.0.1/8}'", "[\"10.0.0.1\",\"10.0.0.1/8\"]")]),
        ("mood[]", &[("'{so so,good}'", "[\"so so\",\"good\"]")]),
        (
            "pair[]",
            &[(
                "ARRAY[(1,'x')::pair, NULL, (NULL,'y\"')::pair]",
                "[{\"a\":1,\"b\":\"x\"},null,{\"a\":null,\"b\":\"y\\\"\"}]",
            )],
        ),
        ("int2vector", &[("'1 2'", "[1,2]")]),
        ("oidvector", &[("'1 4294967295'", "[\"1\",\"4294967295\"]")]),
    ];
    for (sql_type, values) in cases {
        let found = check(&database, sql_type, DataType::Utf8, values).await;
        assert!(!found.source_types["value"].as_str().unwrap_or_default().is_empty());
        for text in column(&found.rows, "value").into_iter().flatten() {
            serde_json::from_str::<serde_json::Value>(&text)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}

#[tokio::test]
async fn types_that_users_make() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('so so', 'gut ä', ''); CREATE DOMAIN money_amount AS numeric(10,2) CHECK (VALUE > 0);\
             CREATE DOMAIN nice AS mood; CREATE DOMAIN list AS integer[]; CREATE DOMAIN small AS money_amount CHECK (VALUE < 10);\
             CREATE DOMAIN label AS varchar(5); CREATE TYPE pair AS (a integer, \"b c\" text);\
             CREATE TYPE span AS RANGE (subtype = float8)",
        )
        .await;
    let found =
        check(&database, "mood", DataType::Utf8, &[("'so so'", "so so"), ("'gut ä'", "gut ä"), ("''", "")])
            .await;
    assert_eq!(found.source_types["value"], "mood");
    let found = check(&database, "money_amount", DataType::Decimal128(10, 2), &[("1.5", "1.50")]).await;
    assert_eq!(found.source_types["value"], "numeric(10,2)");
    check(&database, "small", DataType::Decimal128(10, 2), &[("9.99", "9.99")]).await;
    check(&database, "nice", DataType::Utf8, &[("'so so'", "so so")]).await;
    check(&database, "list", DataType::Utf8, &[("'{1,NULL}'", "[1,null]")]).await;
    check(&database, "label", DataType::Utf8, &[("'abc'", "abc")]).await;
    check(&database, "small[]", DataType::Utf8, &[("'{9.99,NULL}'", "[9.99,null]")]).await;
    let values = [("(1, 'x y')", "(1,\"x y\")"), ("(NULL, NULL)", "(,)"), ("(NULL, '')", "(,\"\")")];
    check(&database, "pair", DataType::Utf8, &values).await;
    check(&database, "span", DataType::Utf8, &[("'[0.1,2.5)'", "[0.1,2.5)"), ("'empty'", "empty")]).await;
}

#[tokio::test]
async fn everything_else_is_the_text_of_the_server() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let version = version(&database).await;
    let cases: &[(&str, u32, Values<'_>)] = &[
        (
            "inet",
            0,
            &[
                ("'10.0.0.1'", "10.0.0.1/32"),
                ("'10.0.0.1/8'", "10.0.0.1/8"),
                ("'2001:db8::1'", "2001:db8::1/128"),
            ],
        ),
        ("cidr", 0, &[("'10.0.0.0/8'", "10.0.0.0/8"), ("'::/0'", "::/0")]),
        ("macaddr", 0, &[("'08:00:2b:01:02:03'", "08:00:2b:01:02:03")]),
        ("macaddr8", 0, &[("'08:00:2b:01:02:03:04:05'", "08:00:2b:01:02:03:04:05")]),
        ("money", 0, &[("1234.5", "$1,234.50"), ("-0.01", "-$0.01")]),
        ("bit(3)", 0, &[("B'101'", "101")]),
        ("bit varying", 0, &[("B''", ""), ("B'00010'", "00010")]),
        ("int4range", 0, &[("'[1,5]'", "[1,6)"), ("'(,)'", "(,)")]),
        ("numrange", 0, &[("'(1.10,2.50]'", "(1.10,2.50]")]),
        ("daterange", 0, &[("'[2024-01-01,infinity)'", "[2024-01-01,infinity)")]),
        ("tsrange", 0, &[("'[2024-01-01 00:00:00,)'", "[\"2024-01-01 00:00:00\",)")]),
        ("int4multirange", 14, &[("'{[1,2],[5,9)}'", "{[1,3),[5,9)}"), ("'{}'", "{}")]),
        ("tsvector", 0, &[("'fat:2 cat:3A'", "'cat':3A 'fat':2")]),
        ("tsquery", 0, &[("'fat & !cat'", "'fat' & !'cat'")]),
        ("point", 0, &[("'(0.1,-2)'", "(0.1,-2)")]),
        ("lseg", 0, &[("'[(0,0),(1,1)]'", "[(0,0),(1,1)]")]),
        ("box", 0, &[("'(2,2),(0,0)'", "(2,2),(0,0)")]),
        ("path", 0, &[("'[(0,0),(1,1)]'", "[(0,0),(1,1)]")]),
        ("polygon", 0, &[("'((0,0),(1,1))'", "((0,0),(1,1))")]),
        ("circle", 0, &[("'<(1,2),3>'", "<(1,2),3>")]),
        ("xid", 0, &[("'4294967295'", "4294967295")]),
        ("xid8", 13, &[("'18446744073709551615'", "18446744073709551615")]),
        ("cid", 0, &[("'7'", "7")]),
        ("tid", 0, &[("'(1,2)'", "(1,2)")]),
        ("pg_lsn", 0, &[("'16/B374D848'", "16/B374D848")]),
        ("txid_snapshot", 0, &[("'10:20:10,14'", "10:20:10,14")]),
        ("jsonpath", 12, &[("'$.a[*] ? (@ > 1)'", "$.\"a\"[*]?(@ > 1)")]),
        ("regclass", 0, &[("'pg_class'", "pg_class")]),
        ("regtype", 0, &[("'integer'", "integer")]),
        ("regprocedure", 0, &[("'length(text)'", "length(text)")]),
        ("aclitem", 0, &[("'tester=r/tester'", "tester=r/tester")]),
        ("refcursor", 0, &[("'c'", "c")]),
    ];
    for (sql_type, since, values) in cases {
        if version >= *since {
            check(&database, sql_type, DataType::Utf8, values).await;
        }
    }
}

#[tokio::test]
async fn types_of_extensions_are_the_text_of_the_server() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let cases: &[(&str, Values<'_>)] = &[
        ("hstore", &[("'a=>1, \"b c\"=>NULL'", "\"a\"=>\"1\", \"b c\"=>NULL"), ("''", "")]),
        ("citext", &[("'AbC ä'", "AbC ä")]),
        ("ltree", &[("'top.science'", "top.science")]),
        ("cube", &[("'(1,2),(3,4)'", "(1, 2),(3, 4)")]),
        ("isbn", &[("'978-0-393-04002-9'", "0-393-04002-X")]),
    ];
    for (sql_type, values) in cases {
        let extension = if *sql_type == "isbn" { "isn" } else { sql_type };
        let available =
            format!("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = '{extension}')");
        if database.value::<bool>(&available).await {
            database.execute(&format!("CREATE EXTENSION {extension}")).await;
            check(&database, sql_type, DataType::Utf8, values).await;
        }
    }
}

#[tokio::test]
async fn pseudo_types_of_queries_are_text() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE sampled AS SELECT 'same'::text AS word FROM generate_series(1, 100); ANALYZE sampled").await;
    let sql = "SELECT pg_sleep(0) AS nothing, ROW(1, 'a b', NULL) AS record, 'untyped' AS literal, NULL AS empty, \
               (SELECT most_common_vals FROM pg_stats WHERE tablename = 'sampled') AS any_array";
    let found = transfer(&source(&database), &query(sql), 1).await.expect("a result");
    let one = |name: &str| column(&found.rows, name)[0].clone();
    assert_eq!(one("nothing").as_deref(), Some(""));
    assert_eq!(one("record").as_deref(), Some("(1,\"a b\",)"));
    assert_eq!(one("literal").as_deref(), Some("untyped"));
    assert_eq!(one("empty"), None);
    assert_eq!(one("any_array").as_deref(), Some("{same}"));
}

#[tokio::test]
async fn an_empty_string_is_not_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let sql = "SELECT * FROM (VALUES ('', ''::bytea, '{}'::text[]), (NULL, NULL, NULL)) AS v (t, b, a)";
    let found = transfer(&source(&database), &query(sql), 1).await.expect("a result");
    for (name, empty) in [("t", ""), ("b", "\\x"), ("a", "[]")] {
        assert_eq!(column(&found.rows, name), [Some(empty.to_owned()), None]);
    }
}

#[tokio::test]
async fn a_result_needs_columns_with_names_of_their_own() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES").await;
    let source = source(&database);
    for (query, expected) in [
        (query("SELECT FROM pg_class"), "no columns"),
        (table("nothing"), "no columns"),
        (query("SELECT 1, 2"), "`?column?`"),
        (query("SELECT 1 AS a, 2 AS b, 3 AS a"), "`a`"),
        (query("SELECT * FROM (SELECT 1 AS a) AS x, (SELECT 2 AS a) AS y"), "`a`"),
    ] {
        let fault = refused(&source, &query, 1).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{query:?}");
        assert!(fault.to_string().contains(expected), "{query:?}: {fault}");
        assert!(fault.hint().is_some(), "{query:?}");
    }
    let one =
        transfer(&source, &query("SELECT 1"), 1).await.expect("one column without a name is no trouble");
    assert_eq!(column(&one.rows, "?column?"), [Some("1".to_owned())]);
}

#[tokio::test]
async fn column_names_are_kept_whatever_they_are() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let names = [
        "Upper",
        "with space",
        "quote\"d",
        "it's",
        "a.b",
        "back\\slash",
        "ä 日本 👍",
        "select",
        "c1",
        "$1",
        "%s",
        "a\nb",
        ";--",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    // Half of them are cast to text on the server.
    let columns: Vec<String> = (0..)
        .zip(names)
        .map(|(number, name)| {
            format!("{} {}", quoted(name), if number % 2 == 0 { "integer" } else { "inet" })
        })
        .collect();
    let values: Vec<&str> =
        (0..names.len()).map(|number| if number % 2 == 0 { "7" } else { "'::1'" }).collect();
    database
        .execute(&format!(
            "CREATE TABLE \"odd \"\"table\" ({}); INSERT INTO \"odd \"\"table\" VALUES ({})",
            columns.join(", "),
            values.join(", ")
        ))
        .await;
    let source = source(&database);
    for query in [table("\"odd \"\"table\""), query("SELECT * FROM \"odd \"\"table\"")] {
        let found = transfer(&source, &query, 1).await.expect("a result");
        let schema = found.rows.schema();
        let found_names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(found_names, names);
        assert_eq!(column(&found.rows, "quote\"d"), [Some("7".to_owned())]);
        assert_eq!(column(&found.rows, "it's"), [Some("::1/128".to_owned())]);
    }
}

#[tokio::test]
async fn a_table_of_1600_columns_is_read() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let columns: Vec<String> = (1..=1600)
        .map(|number| format!("column_{number} {}", ["smallint", "boolean", "inet"][number % 3]))
        .collect();
    let values: Vec<&str> = (1..=1600).map(|number| ["7", "true", "NULL"][number % 3]).collect();
    database
        .execute(&format!(
            "CREATE TABLE wide ({}); INSERT INTO wide VALUES ({values}), ({values})",
            columns.join(", "),
            values = values.join(", ")
        ))
        .await;
    let found = transfer(&source(&database), &table("wide"), 1).await.expect("a result");
    assert_eq!((found.rows.num_columns(), found.rows.num_rows()), (1600, 2));
    assert_eq!(column(&found.rows, "column_1600"), [Some("true".to_owned()), Some("true".to_owned())]);
    assert_eq!(column(&found.rows, "column_1598"), [None, None]);
}

#[tokio::test]
async fn nullability_is_that_of_the_table() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE guarded (id integer PRIMARY KEY, network inet NOT NULL, remark text);\
             INSERT INTO guarded VALUES (1, '::1', NULL);\
             CREATE VIEW seen AS SELECT * FROM guarded; CREATE TABLE parent (id integer NOT NULL);\
             CREATE TABLE child () INHERITS (parent); ALTER TABLE child ALTER id DROP NOT NULL",
        )
        .await;
    let nullable = async |configuration: PostgresSource, query| {
        let found = transfer(&open(configuration), &query, 1).await.expect("a result");
        found.rows.schema().fields().iter().map(|field| field.is_nullable()).collect::<Vec<_>>()
    };
    let default = configuration(&database.url());
    assert_eq!(nullable(default.clone(), table("guarded")).await, [false, false, true]);
    assert_eq!(nullable(default.clone(), table("seen")).await, [true, true, true]);
    assert_eq!(nullable(default.clone(), query("SELECT * FROM guarded")).await, [true, true, true]);
    let with_null = PostgresSource { special_values: SpecialValues::Null, ..default };
    assert_eq!(nullable(with_null, table("guarded")).await, [true, true, true]);
}
