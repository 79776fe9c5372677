//! Every type of PostgreSQL, value by value: server -> Arrow -> Parquet -> read back.
//!
//! The lists here are the table of `docs/TYPES.md`, in the same order.

mod columns;
mod numbers;

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
