//! Every type through real ODBC drivers, value by value: server -> driver -> Arrow -> Parquet -> read
//! back; and the same table through the native adapter where there is one.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{OdbcLongValues, OdbcSource, OdbcText, SeventhDigit};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::Source as _;

use super::odbc_faults::is_refused;
use crate::support::extraction::{self, column, query, read, refused, source, table, transfer};
use crate::support::folder::Folder;
use crate::support::odbc::{self, Driver, open};
use crate::support::sqlserver::RealServer;
use crate::support::tds::{Column, Framing, Script, TdsServer, utf16};
use crate::support::{mysql, postgres};

type Values<'a> = &'a [(&'a str, &'a str)];

fn microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The file has this type and these values, then a NULL; a reader of Arrow sees the same.
async fn check(configuration: &OdbcSource, sql: &str, what: &str, data_type: &DataType, values: Values<'_>) {
    let source = open(configuration.clone());
    let found = transfer(&source, &query(sql), 1)
        .await
        .unwrap_or_else(|fault| panic!("{what}: {}: {:?}", fault.chain(), fault.hint()));
    assert_eq!(found.rows.schema().field(0).data_type(), data_type, "{what}");
    let expected: Vec<Option<String>> =
        values.iter().map(|(_, text)| Some((*text).to_owned())).chain([None]).collect();
    assert_eq!(column(&found.rows, "value"), expected, "{what} in Parquet");
    let pieces = OdbcSource { long_values: OdbcLongValues::Pieces, ..configuration.clone() };
    let in_pieces =
        read(&open(pieces), &query(sql), 1).await.unwrap_or_else(|fault| panic!("{what}: {}", fault.chain()));
    assert_eq!(column(&in_pieces, "value"), expected, "{what} in pieces");
    let narrow = OdbcSource { text: OdbcText::Utf8, ..configuration.clone() };
    let narrow =
        read(&open(narrow), &query(sql), 1).await.unwrap_or_else(|fault| panic!("{what}: {}", fault.chain()));
    assert_eq!(column(&narrow, "value"), expected, "{what} as UTF-8");
}

#[tokio::test]
async fn every_type_of_postgresql() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    let long = "x".repeat(100_000) + "ä𝄞";
    let long_sql = "repeat('x', 100000) || 'ä𝄞'";
    for (sql_type, data_type, values) in [
        ("smallint", DataType::Int16, &[("-32768", "-32768"), ("32767", "32767")][..]),
        ("integer", DataType::Int32, &[("-2147483648", "-2147483648"), ("2147483647", "2147483647")]),
        (
            "bigint",
            DataType::Int64,
            &[
                ("-9223372036854775808", "-9223372036854775808"),
                ("9223372036854775807", "9223372036854775807"),
            ],
        ),
        ("real", DataType::Float32, &[("0.1", "0.1"), ("-3.4028235e38", "-3.4028235e38")]),
        (
            "double precision",
            DataType::Float64,
            &[
                ("0.30000000000000004", "0.30000000000000004"),
                ("1.7976931348623157e308", "1.7976931348623157e308"),
            ],
        ),
        (
            "numeric(15,2)",
            DataType::Decimal128(15, 2),
            &[("-1234567890123.45", "-1234567890123.45"), ("0", "0.00")],
        ),
        (
            "numeric(38,10)",
            DataType::Decimal128(38, 10),
            &[("1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456789")],
        ),
        (
            "numeric(38,0)",
            DataType::Decimal128(38, 0),
            &[("-99999999999999999999999999999999999999", "-99999999999999999999999999999999999999")],
        ),
        (
            "date",
            DataType::Date32,
            &[("'2024-02-29'", "2024-02-29"), ("'0001-01-01'", "0001-01-01"), ("'9999-12-31'", "9999-12-31")],
        ),
        (
            "timestamp",
            microseconds(),
            &[
                ("'2024-02-29 23:59:59.123456'", "2024-02-29 23:59:59.123456"),
                ("'1000-01-01 00:00:00'", "1000-01-01 00:00:00"),
            ],
        ),
        // Instants in UTC: the session's time zone is UTC.
        ("timestamptz", microseconds(), &[("'2024-02-29 23:59:59.5+02'", "2024-02-29 21:59:59.5")]),
        ("boolean", DataType::Boolean, &[("true", "true"), ("false", "false")]),
        (
            "varchar(20)",
            DataType::Utf8,
            &[("'größe 𝄞'", "größe 𝄞"), ("''", ""), ("' a '", " a "), ("'it''s'", "it's")],
        ),
        ("char(5)", DataType::Utf8, &[("'ab'", "ab   ")]),
        ("text", DataType::Utf8, &[("''", ""), (long_sql, &long), ("'日本語'", "日本語")]),
        ("bytea", DataType::Binary, &[("'\\x00ff10'", "\\x00ff10"), ("''", "\\x")]),
        (
            "uuid",
            DataType::Utf8,
            &[("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")],
        ),
        ("jsonb", DataType::Utf8, &[("'{\"a\": [1, \"ü\"]}'", "{\"a\": [1, \"ü\"]}")]),
        ("integer[]", DataType::Utf8, &[("'{1,2}'", "{1,2}")]),
        ("inet", DataType::Utf8, &[("'10.0.0.1/8'", "10.0.0.1/8")]),
    ] {
        let rows: Vec<String> = (1..).zip(values).map(|(row, (sql, _))| format!("({row}, {sql})")).collect();
        database
            .execute(&format!(
                "DROP TABLE IF EXISTS kept; CREATE TABLE kept (position integer, value {sql_type}); \
                 INSERT INTO kept VALUES {}, (1000, NULL)",
                rows.join(", ")
            ))
            .await;
        check(&configuration, "SELECT value FROM kept ORDER BY position", sql_type, &data_type, values).await;
    }
}

#[tokio::test]
async fn times_of_postgresql_keep_what_the_driver_hands_out() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    let sql = "SELECT '23:59:59'::time AS value UNION ALL SELECT NULL ORDER BY 1";
    check(&configuration, sql, "time", &DataType::Time64(TimeUnit::Microsecond), &[("", "23:59:59")]).await;
    // psqlODBC drops fractions of times; as text they are kept.
    let sql = "SELECT CAST('23:59:59.123456'::time AS varchar(20)) AS value UNION ALL SELECT NULL ORDER BY 1";
    check(&configuration, sql, "time as text", &DataType::Utf8, &[("", "23:59:59.123456")]).await;
}

/// Values, and types without the zone that ODBC has no word for.
fn compare(native: &RecordBatch, through_odbc: &RecordBatch) {
    assert_eq!(native.num_rows(), through_odbc.num_rows());
    for (position, field) in native.schema().fields().iter().enumerate() {
        let other = through_odbc.schema();
        let other = other.field(position);
        assert_eq!(field.name(), other.name());
        let without_zone = |text: Option<String>| text.map(|text| text.trim_end_matches("+00").to_owned());
        let values = |batch: &RecordBatch| -> Vec<Option<String>> {
            extraction::texts(batch.column(position)).into_iter().map(without_zone).collect()
        };
        assert_eq!(values(native), values(through_odbc), "{}", field.name());
        match (field.data_type(), other.data_type()) {
            (DataType::Timestamp(unit, _), DataType::Timestamp(other, _)) => {
                assert_eq!(unit, other)
            }
            (native, other) => assert_eq!(native, other, "{}", field.name()),
        }
    }
}

const COLUMNS: &str = "id bigint, small smallint, price numeric(15,2), wide numeric(38,10), ratio double precision, \
                       day date, moment timestamp, name varchar(40), note text";

#[tokio::test]
async fn a_table_of_postgresql_is_the_same_through_both_adapters() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    database
        .execute(&format!(
            "CREATE TABLE same ({COLUMNS}, truth boolean, bytes bytea, at timestamptz); \
             INSERT INTO same SELECT i, (i % 1000)::smallint, i / 7.0, i * 123456789.0123456789, i / 3.0, \
             date '1990-01-01' + i, timestamp '2000-01-01' + i * interval '1.000001 second', \
             CASE WHEN i % 5 = 0 THEN NULL ELSE 'name ö ' || i END, repeat('日', i % 300), i % 2 = 0, \
             decode(lpad(to_hex(i), 8, '0'), 'hex'), timestamptz '2000-01-01 00:00:00+00' + i * interval '1 minute' \
             FROM generate_series(1, 5000) AS i"
        ))
        .await;
    let native = read(&source(&database), &query("SELECT * FROM same ORDER BY id"), 1).await.expect("native");
    let through =
        read(&open(configuration), &query("SELECT * FROM same ORDER BY id"), 1).await.expect("ODBC");
    compare(&native, &through);
}

#[tokio::test]
async fn a_table_of_mariadb_is_the_same_through_both_adapters() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let Some(configuration) = odbc::mariadb(&database) else {
            return;
        };
        database
            .run(
                "CREATE TABLE same (id bigint, tiny tinyint, utiny tinyint unsigned, usmall smallint unsigned, \
                 uint int unsigned, ubig bigint unsigned, price decimal(15,2), wide decimal(38,10), f float, d double, \
                 day date, moment datetime(6), name varchar(40), fixed char(5), note longtext, bytes varbinary(20), \
                 b longblob, truth bit(1)); \
                 INSERT INTO same VALUES (1, -128, 255, 65535, 4294967295, 18446744073709551615, -1234567890123.45, \
                 1234567890123456789012345678.0123456789, 0.5, 0.30000000000000004, '2024-02-29', \
                 '2024-02-29 23:59:59.123456', 'größe 𝄞', 'ab', REPEAT('日', 30000), x'00ff10', REPEAT('x', 70000), b'1'), \
                 (2, 127, 0, 0, 0, 0, 0, 0, -0.25, -2.5e-300, '1000-01-01', '1000-01-01', '', '', '', '', '', b'0'), \
                 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
            )
            .await;
        for columns in [
            "id, tiny, utiny, usmall, uint, ubig, price, wide, f, d, day, moment, name, fixed, bytes, truth",
            "id, note, b, price, name, truth, day, moment",
        ] {
            let sql = format!("SELECT {columns} FROM same ORDER BY id");
            let native = read(&database.source(), &query(&*sql), 1).await.expect("native");
            let through = read(&open(configuration.clone()), &query(&*sql), 1).await;
            compare(&native, &through.unwrap_or_else(|fault| panic!("{}", fault.chain())));
        }
    }
}

#[tokio::test]
async fn a_file_of_sqlite_through_its_driver() {
    let folder = Folder::new();
    let file = folder.path().join("shop.db");
    let Some(configuration) = odbc::sqlite(&file) else {
        return;
    };
    sqlite_file(
        &file,
        "CREATE TABLE kept (id integer, big bigint, ratio double, name varchar(20), note text, day date, \
         moment timestamp, bytes blob); \
         INSERT INTO kept VALUES (1, 9223372036854775807, 0.25, 'größe 𝄞', 'it''s', '2024-02-29', \
         '2024-02-29 23:59:59.123', x'00ff10'), (2, NULL, NULL, '', '', NULL, NULL, NULL)",
    )
    .await;
    let found = read(&open(configuration.clone()), &query("SELECT * FROM kept ORDER BY id"), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(column(&found, "id"), [some("1"), some("2")]);
    assert_eq!(column(&found, "big"), [some("9223372036854775807"), None]);
    // Its driver prints a double with fifteen digits before it hands it out.
    assert_eq!(column(&found, "ratio"), [some("0.25"), None]);
    assert_eq!(column(&found, "name"), [some("größe 𝄞"), some("")]);
    assert_eq!(column(&found, "note"), [some("it's"), some("")]);
    assert_eq!(column(&found, "day"), [some("2024-02-29"), None]);
    assert_eq!(column(&found, "moment"), [some("2024-02-29 23:59:59.123"), None]);
    assert_eq!(column(&found, "bytes"), [some("\\x00ff10"), None]);

    // The session can only read, whatever gets past the check of the text.
    let fault = refused(&open(configuration), &query("DELETE FROM kept"), 1).await;
    assert_eq!(fault.kind(), FaultKind::Request);
}

pub(super) async fn sqlite_file(file: &std::path::Path, sql: &str) {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = options.connect().await.expect("a new file");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("right SQL");
    sqlx::Connection::close(connection).await.expect("close the file");
}

#[tokio::test]
async fn no_rows_and_no_lengths_are_no_problem() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    database.execute("CREATE TABLE nothing (id integer, name varchar(10), note text)").await;
    for (sql, columns) in [("SELECT * FROM nothing", 3), ("SELECT id, name FROM nothing", 2)] {
        let found = transfer(&open(configuration.clone()), &query(sql), 1).await.expect("no rows");
        assert_eq!((found.rows.num_rows(), found.rows.num_columns()), (0, columns));
    }
    let found = read(&open(configuration), &table("nothing"), 1).await.expect("no rows");
    assert_eq!(found.num_rows(), 0);
}

#[tokio::test]
async fn a_value_that_is_longer_than_the_driver_says_is_an_error_with_a_remedy_and_never_cut() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    // Of a varchar without a length the driver says that it has 255 characters; versions of it hand out all there
    // is nevertheless.
    let sql = "SELECT repeat('x', i)::varchar AS value FROM generate_series(1000, 1000) AS i";
    for text in [OdbcText::Utf16, OdbcText::Utf8] {
        let source = open(OdbcSource { text, ..configuration.clone() });
        match read(&source, &query(sql), 1).await {
            Ok(found) => assert_eq!(column(&found, "value"), [Some("x".repeat(1000))]),
            Err(fault) => {
                assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
                assert!(fault.chain().contains("`value`"), "{}", fault.chain());
                assert!(fault.hint().is_some_and(|hint| hint.contains("long_values")), "{fault:?}");
            }
        }
    }
    let pieces = OdbcSource { long_values: OdbcLongValues::Pieces, ..configuration };
    let found = read(&open(pieces), &query(sql), 1).await.expect("in pieces");
    assert_eq!(column(&found, "value"), [Some("x".repeat(1000))]);

    // Digits are not cut either: the driver says numeric(28,6) of a number without a precision.
    let database = postgres::server().await.create_database().await;
    let configuration = odbc::postgres(&database).expect("the driver is there");
    is_refused(&configuration, "SELECT 1.23456789::numeric AS value").await;
}

#[tokio::test]
async fn sql_and_names_of_any_letters_reach_the_server() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    database
        .execute("CREATE TABLE \"Größe\" (\"naïve 名\" varchar(10)); INSERT INTO \"Größe\" VALUES ('ä')")
        .await;
    let sql = "SELECT \"naïve 名\", 'x日' || 'ß' AS \"ü\" FROM \"Größe\" WHERE \"naïve 名\" = 'ä'";
    let found = read(&open(configuration.clone()), &query(sql), 1).await.expect("one row");
    assert_eq!(column(&found, "naïve 名"), [Some("ä".to_owned())]);
    assert_eq!(column(&found, "ü"), [Some("x日ß".to_owned())]);
    let found = read(&open(configuration), &table("\"Größe\""), 1).await.expect("one row");
    assert_eq!(found.num_rows(), 1);
}

/// Each value from the double, and by its expression from a real server when `SQLSERVER_URL` names one.
#[tokio::test]
async fn sql_server_through_freetds() {
    if Driver::FreeTds.library().is_none() {
        return;
    }
    let nanoseconds = || DataType::Timestamp(TimeUnit::Nanosecond, None);
    let day = &738_944_u32.to_le_bytes()[..3];
    // The last tick before midnight but some: 23:59:59.1234567.
    let ticks = 86_399 * 10_000_000 + 1_234_567_u64;
    let clock = &ticks.to_le_bytes()[..5];
    let with_collation = |head: [u8; 3]| [&head[..], &[0x09, 0x04, 0xd0, 0x00, 0x00]].concat();
    let price = [&[0][..], &123_456_789_012_345_u64.to_le_bytes()].concat();
    let cases = [
        ("int", "-7", vec![0x26, 4], Framing::Byte, (-7_i32).to_le_bytes().to_vec(), DataType::Int32, "-7"),
        ("tinyint", "255", vec![0x26, 1], Framing::Byte, vec![255], DataType::Int16, "255"),
        (
            "bigint",
            "-9223372036854775808",
            vec![0x26, 8],
            Framing::Byte,
            i64::MIN.to_le_bytes().to_vec(),
            DataType::Int64,
            "-9223372036854775808",
        ),
        ("bit", "1", vec![0x68, 1], Framing::Byte, vec![1], DataType::Boolean, "true"),
        (
            "decimal(15,2)",
            "'-1234567890123.45'",
            vec![0x6a, 9, 15, 2],
            Framing::Byte,
            price,
            DataType::Decimal128(15, 2),
            "-1234567890123.45",
        ),
        (
            "real",
            "0.1",
            vec![0x6d, 4],
            Framing::Byte,
            0.1_f32.to_le_bytes().to_vec(),
            DataType::Float32,
            "0.1",
        ),
        (
            "float",
            "0.30000000000000004E0",
            vec![0x6d, 8],
            Framing::Byte,
            0.300_000_000_000_000_04_f64.to_le_bytes().to_vec(),
            DataType::Float64,
            "0.30000000000000004",
        ),
        (
            "nvarchar(20)",
            "N'größe 𝄞'",
            with_collation([0xe7, 40, 0]),
            Framing::Short,
            utf16("größe 𝄞"),
            DataType::Utf8,
            "größe 𝄞",
        ),
        (
            "nvarchar(max)",
            "N'größe 𝄞'",
            with_collation([0xe7, 0xff, 0xff]),
            Framing::Chunks,
            utf16("größe 𝄞"),
            DataType::Utf8,
            "größe 𝄞",
        ),
        (
            "varchar(20)",
            "N'größe' COLLATE Latin1_General_CI_AS",
            with_collation([0xa7, 20, 0]),
            Framing::Short,
            b"gr\xf6\xdfe".to_vec(),
            DataType::Utf8,
            "größe",
        ),
        (
            "varbinary(10)",
            "0x00FF10",
            vec![0xa5, 10, 0],
            Framing::Short,
            vec![0, 255, 16],
            DataType::Binary,
            "\\x00ff10",
        ),
        ("date", "'2024-02-29'", vec![0x28], Framing::Byte, day.to_vec(), DataType::Date32, "2024-02-29"),
        // Seven digits, of which `seventh_digit = "nanoseconds"` keeps the last.
        (
            "datetime2(7)",
            "'2024-02-29T23:59:59.1234567'",
            vec![0x2a, 7],
            Framing::Byte,
            [clock, day].concat(),
            nanoseconds(),
            "2024-02-29 23:59:59.123456+700ns",
        ),
        (
            "time(7)",
            "'23:59:59.1234567'",
            vec![0x29, 7],
            Framing::Byte,
            clock.to_vec(),
            DataType::Time64(TimeUnit::Nanosecond),
            "23:59:59.123456+700ns",
        ),
    ];
    // Babelfish has other types than these, and nobody has asked it through FreeTDS.
    let server = RealServer::if_named().await.filter(|server| !server.is_babelfish);
    // Encrypted where the server can.
    let real = server.and_then(|server| odbc::freetds(&server.configuration, "request"));
    for (sql_type, sql, type_info, framing, bytes, data_type, expected) in cases {
        let columns = vec![Column::new("value", sql_type, &type_info, framing)];
        let server = TdsServer::start(Script::of(columns, vec![vec![Some(bytes)], vec![None]])).await;
        let double = odbc::tds(&server).expect("the driver is there");
        let selects = format!(
            "SELECT value FROM (SELECT 1 AS p, CAST({sql} AS {sql_type}) AS value \
             UNION ALL SELECT 2 AS p, CAST(NULL AS {sql_type}) AS value) AS t ORDER BY p"
        );
        for (configuration, sql) in [(Some(double), "SELECT value FROM t"), (real.clone(), selects.as_str())]
        {
            let Some(configuration) = configuration else { continue };
            open(configuration.clone()).check().await.unwrap_or_else(|fault| panic!("{}", fault.chain()));
            let fine = OdbcSource { seventh_digit: SeventhDigit::Nanoseconds, ..configuration.clone() };
            check(&fine, sql, sql_type, &data_type, &[("", expected)]).await;
            if let Some(cut) = expected.strip_suffix("+700ns").map(str::to_owned) {
                let found = read(&open(configuration), &query(sql), 1).await.expect(sql_type);
                assert_eq!(column(&found, "value"), [Some(cut), None], "{sql_type} with six digits");
            }
        }
    }
}

#[tokio::test]
async fn nanoseconds_by_choice() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    let fine = OdbcSource { seventh_digit: SeventhDigit::Nanoseconds, ..configuration };
    let found = read(&open(fine), &query("SELECT timestamp '2024-02-29 01:02:03.123456' AS value"), 1).await;
    // PostgreSQL has six digits, so nothing changes.
    assert_eq!(column(&found.expect("one row"), "value"), [Some("2024-02-29 01:02:03.123456".to_owned())]);
}
