//! Every type of MySQL and MariaDB, value by value: server -> Arrow -> Parquet -> read back.
//!
//! The lists here are the table of `docs/TYPES.md`, in the same order.

use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{MysqlSource, TimeMapping, TinyintMapping, ZeroDates};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::Query;

use crate::support::extraction::{Parquet, column, query, read, table, transfer};
use crate::support::mysql::{self, Database, Flavor, open};

/// Values as they are inserted and what the file has to say.
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
    database: &Database<'_>,
    configuration: MysqlSource,
    sql_type: &str,
    data_type: DataType,
    values: Values<'_>,
) -> Parquet {
    let rows: Vec<String> = (1..).zip(values).map(|(row, (sql, _))| format!("({row}, {sql})")).collect();
    database
        .run(&format!(
            "DROP TABLE IF EXISTS kept_values; CREATE TABLE kept_values (position integer, value {sql_type} NULL); \
             SET SESSION sql_mode = ''; SET time_zone = '+00:00'; \
             INSERT INTO kept_values VALUES {}, (1000, NULL)",
            rows.join(", ")
        ))
        .await;
    let source = open(configuration);
    let query = query("SELECT value FROM kept_values ORDER BY position");
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

async fn check(database: &Database<'_>, sql_type: &str, data_type: DataType, values: Values<'_>) -> Parquet {
    check_with(database, database.configuration(), sql_type, data_type, values).await
}

fn microseconds(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

#[tokio::test]
async fn integers_signed_and_unsigned() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        for (sql_type, data_type, values) in [
            ("tinyint", DataType::Int16, ["-128", "127"]),
            ("tinyint(1)", DataType::Int16, ["-1", "2"]),
            ("tinyint unsigned", DataType::Int16, ["0", "255"]),
            ("smallint", DataType::Int16, ["-32768", "32767"]),
            ("smallint unsigned", DataType::Int32, ["0", "65535"]),
            ("mediumint", DataType::Int32, ["-8388608", "8388607"]),
            ("mediumint unsigned", DataType::Int32, ["0", "16777215"]),
            ("int", DataType::Int32, ["-2147483648", "2147483647"]),
            ("int unsigned", DataType::Int64, ["0", "4294967295"]),
            ("int zerofill", DataType::Int64, ["7", "4294967295"]),
            ("bigint", DataType::Int64, ["-9223372036854775808", "9223372036854775807"]),
            ("bigint unsigned", DataType::Decimal128(20, 0), ["0", "18446744073709551615"]),
            ("year", DataType::Int32, ["1901", "2155"]),
        ] {
            check(&database, sql_type, data_type, &values.map(|value| (value, value))).await;
        }
        let booleans = MysqlSource { tinyint1: TinyintMapping::Boolean, ..database.configuration() };
        let values = [("TRUE", "true"), ("FALSE", "false"), ("-1", "true"), ("2", "true")];
        check_with(&database, booleans.clone(), "bool", DataType::Boolean, &values).await;
        check_with(&database, booleans, "tinyint", DataType::Int16, &[("1", "1")]).await;
    }
}

#[tokio::test]
async fn floats_are_the_same_bits() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let values = [("0.1", "0.1"), ("-3.4028235e38", "-3.4028235e38"), ("1.1754944e-38", "1.1754944e-38")];
        check(&database, "float", DataType::Float32, &values).await;
        let values = [
            ("0.1", "0.1"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
            ("-2.2250738585072014e-308", "-2.2250738585072014e-308"),
        ];
        check(&database, "double", DataType::Float64, &values).await;
    }
}

#[tokio::test]
async fn decimals_are_exact_up_to_65_digits() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let most_scale = if server.flavor == Flavor::MariaDb { 38 } else { 30 };
        for (precision, scale) in [
            (1, 0),
            (1, 1),
            (15, 2),
            (18, 18),
            (18, 0),
            (19, 0),
            (19, 4),
            (38, 10),
            (39, 0),
            (65, 0),
            (65, 30),
            (65, 38),
        ] {
            if scale > most_scale {
                continue;
            }
            let data_type = match precision {
                ..=38 => DataType::Decimal128(precision, scale),
                _ => DataType::Decimal256(precision, scale),
            };
            let nines = |digits: i8| "9".repeat(usize::try_from(digits).expect("not negative"));
            let whole = if precision as i8 == scale { "0".into() } else { nines(precision as i8 - scale) };
            let largest = if scale == 0 { whole } else { format!("{whole}.{}", nines(scale)) };
            let smallest = match scale {
                0 => "1".to_owned(),
                _ => format!("0.{}1", "0".repeat(scale as usize - 1)),
            };
            let zero = if scale == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(scale as usize)) };
            let (below, above) = (format!("-{largest}"), format!("-{smallest}"));
            let texts = [&*largest, &*below, &*smallest, &*above, &*zero];
            let values = texts.map(|text| (text, text));
            let sql_type = format!("decimal({precision},{scale})");
            let found = check(&database, &sql_type, data_type, &values).await;
            assert_eq!(found.source_types["value"], sql_type);
        }
        let values = [("12.3", "12.30"), ("0", "0.00")];
        check(&database, "decimal(5,2) unsigned zerofill", DataType::Decimal128(5, 2), &values).await;
        // Expressions have a precision of their own.
        let sums = query("SELECT SUM(value) AS v, AVG(value) AS w FROM kept_values");
        let found = read(&database.source(), &sums, 1).await.expect("sums");
        assert_eq!(column(&found, "v"), [Some("12.30".into())]);
        assert_eq!(column(&found, "w"), [Some("6.150000".into())]);
    }
}

#[tokio::test]
async fn dates_and_times() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let dates = ["0001-01-01", "1000-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-31"];
        let quoted: Vec<String> = dates.iter().map(|date| format!("'{date}'")).collect();
        let values: Vec<(&str, &str)> = quoted.iter().map(String::as_str).zip(dates).collect();
        check(&database, "date", DataType::Date32, &values).await;
        let values = [
            ("'1000-01-01 00:00:00'", "1000-01-01 00:00:00"),
            ("'2024-02-29 12:34:56'", "2024-02-29 12:34:56"),
            ("'9999-12-31 23:59:59'", "9999-12-31 23:59:59"),
        ];
        check(&database, "datetime", microseconds(None), &values).await;
        let values = [
            ("'1000-01-01 00:00:00.000001'", "1000-01-01 00:00:00.000001"),
            ("'1969-12-31 23:59:59.999999'", "1969-12-31 23:59:59.999999"),
            ("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
        ];
        check(&database, "datetime(6)", microseconds(None), &values).await;
        check(
            &database,
            "datetime(3)",
            microseconds(None),
            &[("'2024-01-01 00:00:00.5'", "2024-01-01 00:00:00.5")],
        )
        .await;
        let values = [
            ("'1970-01-01 00:00:01'", "1970-01-01 00:00:01+00"),
            ("'2024-07-01 12:00:00.123456'", "2024-07-01 12:00:00.123456+00"),
            ("'2038-01-19 03:14:07.999999'", "2038-01-19 03:14:07.999999+00"),
        ];
        check(&database, "timestamp(6)", microseconds(Some("UTC")), &values).await;
        let values = [("'00:00:00'", "00:00:00"), ("'23:59:59.999999'", "23:59:59.999999")];
        check(&database, "time(6)", DataType::Time64(TimeUnit::Microsecond), &values).await;
    }
}

#[tokio::test]
async fn times_beyond_a_day_follow_the_option() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let with = |time| MysqlSource { time, ..database.configuration() };
        let values = [
            ("'-838:59:59'", "-838:59:59"),
            ("'-00:00:01'", "-00:00:01"),
            ("'24:00:00'", "24:00:00"),
            ("'838:59:59'", "838:59:59"),
            ("'01:02:03'", "01:02:03"),
        ];
        check_with(&database, with(TimeMapping::Text), "time", DataType::Utf8, &values).await;
        let values = [("'-30:00:00.25'", "-30:00:00.250"), ("'01:02:03'", "01:02:03.000")];
        check_with(&database, with(TimeMapping::Text), "time(3)", DataType::Utf8, &values).await;
        let values = [("'-30:00:00.25'", "-108000250000"), ("'00:00:00.000001'", "1")];
        check_with(&database, with(TimeMapping::Microseconds), "time(6)", DataType::Int64, &values).await;

        for value in ["-00:00:01", "24:00:00"] {
            database
                .run(&format!("DELETE FROM kept_values; INSERT INTO kept_values VALUES (1, '{value}')"))
                .await;
            let fault =
                read(&database.source(), &table("kept_values"), 1).await.expect_err("not a time of day");
            assert_eq!(fault.kind(), FaultKind::Data);
            assert!(fault.chain().contains("`value`"), "{}", fault.chain());
            assert!(fault.hint().unwrap_or_default().contains("time = \"text\""), "{:?}", fault.hint());
        }
    }
}

#[tokio::test]
async fn zero_dates_are_errors_or_nulls() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        for (sql_type, value) in [
            ("date", "0000-00-00"),
            ("date", "2024-00-00"),
            ("date", "2024-05-00"),
            ("date", "0000-01-01"),
            ("date", "2024-02-31"),
            ("datetime", "0000-00-00 00:00:00"),
            ("datetime(6)", "2024-00-01 12:00:00.5"),
            ("timestamp", "0000-00-00 00:00:00"),
        ] {
            database
                .run(&format!(
                    "DROP TABLE IF EXISTS zero; SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; \
                     CREATE TABLE zero (value {sql_type} NOT NULL); INSERT INTO zero VALUES ('{value}')"
                ))
                .await;
            let fault = read(&database.source(), &table("zero"), 1).await.expect_err(value);
            assert_eq!(fault.kind(), FaultKind::Data, "{value}");
            assert!(fault.chain().contains("`value`"), "{}", fault.chain());
            let hint = fault.hint().unwrap_or_default();
            assert!(hint.contains("zero_dates = \"null\""), "{hint}");

            let nulls = MysqlSource { zero_dates: ZeroDates::Null, ..database.configuration() };
            let found = transfer(&open(nulls), &table("zero"), 1).await.expect("NULL by option");
            assert_eq!(column(&found.rows, "value"), [None], "{value}");
        }
    }
}

#[tokio::test]
async fn bits_are_truths_or_numbers() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        check(&database, "bit", DataType::Boolean, &[("b'1'", "true"), ("b'0'", "false")]).await;
        check(&database, "bit(9)", DataType::Int64, &[("b'100000001'", "257"), ("0", "0")]).await;
        let values = [("0x7fffffffffffffff", "9223372036854775807")];
        check(&database, "bit(63)", DataType::Int64, &values).await;
        let values = [("0xffffffffffffffff", "18446744073709551615"), ("1", "1")];
        check(&database, "bit(64)", DataType::Decimal128(20, 0), &values).await;
    }
}

#[tokio::test]
async fn texts_of_every_character_set_and_bytes_of_none() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        for (sql_type, value) in [
            ("char(20)", "Grüße €"),
            ("varchar(200)", "日本語 𝄞 e\u{301}"),
            ("varchar(200) COLLATE utf8mb4_bin", "ä"),
            ("varchar(20) CHARACTER SET latin1", "Grüße €"),
            ("varchar(20) CHARACTER SET ucs2", "Grüße"),
            ("varchar(20) CHARACTER SET utf16", "𝄞"),
            ("varchar(20) CHARACTER SET cp1251", "Привет"),
            ("varchar(20) CHARACTER SET sjis", "日本"),
            ("varchar(20) CHARACTER SET gbk", "中文"),
            ("tinytext", "ä"),
            ("text", "line\nbreak\\ and 'quotes'"),
            ("mediumtext", ""),
            ("longtext", " leading and trailing "),
            ("enum('klein','groß') CHARACTER SET latin1", "groß"),
            ("set('a','b','c')", "a,c"),
        ] {
            let escaped = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
            let values = [(&*format!("'{escaped}'"), value)];
            check(&database, sql_type, DataType::Utf8, &values).await;
        }
        for (sql_type, value, expected) in [
            ("binary(4)", "x'00ff'", "\\x00ff0000"),
            ("varbinary(9)", "x'00ff80'", "\\x00ff80"),
            ("tinyblob", "'abc'", "\\x616263"),
            ("blob", "x''", "\\x"),
            ("mediumblob", "x'0a'", "\\x0a"),
            ("longblob", "x'fffe'", "\\xfffe"),
        ] {
            check(&database, sql_type, DataType::Binary, &[(value, expected)]).await;
        }
    }
}

#[tokio::test]
async fn a_character_that_unicode_does_not_have_is_an_error_and_no_question_mark() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        for (set, bytes) in
            [("sjis", "8740"), ("gbk", "AAA1"), ("euckr", "C9A1"), ("hp8", "FF"), ("cp1257", "81")]
        {
            database
                .run(&format!(
                    "DROP TABLE IF EXISTS legacy; CREATE TABLE legacy (id int PRIMARY KEY, note text, \
                     value varchar(20) CHARACTER SET {set}); INSERT INTO legacy VALUES (1, '?', 'what?'), \
                     (2, 'what?', NULL), (3, NULL, '??'), (4, 'x', 'y')"
                ))
                .await;
            // A question mark of the text itself is one, in that set and in any other.
            let sql = "SELECT * FROM legacy ORDER BY id";
            let found = read(&database.source(), &query(sql), 1).await;
            let found = found.unwrap_or_else(|fault| panic!("{set}: {}", fault.chain()));
            let texts = |texts: [Option<&str>; 4]| texts.map(|text| text.map(str::to_owned));
            assert_eq!(column(&found, "value"), texts([Some("what?"), None, Some("??"), Some("y")]), "{set}");
            assert_eq!(column(&found, "note"), texts([Some("?"), Some("what?"), None, Some("x")]), "{set}");

            database.run(&format!("INSERT INTO legacy VALUES (5, 'x', x'61{bytes}3f62')")).await;
            let by_id = Query { slice_column: Some("id".into()), ..table("legacy") };
            let chosen = Query { columns: Some(vec!["value".into()]), ..table("legacy") };
            for (asked, slices) in [(query(sql), 1), (by_id, 3), (chosen, 1)] {
                let fault = read(&database.source(), &asked, slices).await.expect_err(set);
                assert_eq!(fault.kind(), FaultKind::Data, "{set}: {}", fault.chain());
                assert!(fault.chain().contains("`value`"), "{}", fault.chain());
                assert!(fault.hint().unwrap_or_default().contains("AS BINARY"), "{:?}", fault.hint());
            }
            let raw = query("SELECT CAST(value AS BINARY) AS v FROM legacy WHERE id = 5");
            let found = read(&database.source(), &raw, 1).await.expect("the remedy");
            let expected = format!("\\x61{}3f62", bytes.to_lowercase());
            assert_eq!(column(&found, "v"), [Some(expected)], "{set}");
            // Rows that are not asked for do not matter.
            let others = query("SELECT * FROM legacy WHERE id < 5");
            assert_eq!(read(&database.source(), &others, 1).await.expect("no such row").num_rows(), 4);
        }
    }
}

#[tokio::test]
async fn a_row_that_is_longer_than_the_connection_takes_is_refused() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database
            .run(
                "CREATE TABLE documents (id int, body longblob); \
                 INSERT INTO documents VALUES (1, REPEAT('x', 1000000)), (2, REPEAT('x', 40000000))",
            )
            .await;
        for (longest, refused) in [(900_000, 1), (30_000_000, 2), (41_000_000, 3)] {
            let longest_row = crate::support::extraction::count(longest);
            let source = open(MysqlSource { longest_row, ..database.configuration() });
            for id in 1..=2 {
                let found =
                    read(&source, &query(format!("SELECT * FROM documents WHERE id = {id}")), 1).await;
                assert_eq!(found.is_err(), id >= refused, "{longest}, {id}");
                if let Err(fault) = found {
                    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
                    assert!(fault.chain().contains(&longest.to_string()), "{}", fault.chain());
                    assert!(fault.hint().unwrap_or_default().contains("longest_row"), "{:?}", fault.hint());
                }
            }
        }
    }
}

#[tokio::test]
async fn json_geometry_and_types_of_one_server_alone() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let (written, printed) = match server.flavor {
            Flavor::MariaDb => ("'{\"a\":[1,null]}'", "{\"a\":[1,null]}"),
            Flavor::MySql => ("'{\"a\":[1,null]}'", "{\"a\": [1, null]}"),
        };
        let found = check(&database, "json", DataType::Utf8, &[(written, printed)]).await;
        assert_eq!(found.source_types["value"], "json");
        // Well-known binary: byte order, kind, two doubles.
        let point = "\\x0101000000000000000000f03f0000000000000040";
        let values = [("ST_GeomFromText('POINT(1 2)')", point), ("ST_GeomFromText('POINT(1 2)', 0)", point)];
        check(&database, "geometry", DataType::Binary, &values).await;
        check(&database, "point", DataType::Binary, &values[..1]).await;
        match server.flavor {
            Flavor::MariaDb => {
                let uuid = "123e4567-e89b-12d3-a456-426614174000";
                let found = check(&database, "uuid", DataType::Utf8, &[(&*format!("'{uuid}'"), uuid)]).await;
                assert_eq!(found.source_types["value"], "uuid");
                check(&database, "inet6", DataType::Utf8, &[("'2001:db8::1'", "2001:db8::1")]).await;
                check(&database, "inet4", DataType::Utf8, &[("'10.0.0.1'", "10.0.0.1")]).await;
            }
            Flavor::MySql => {
                let values = [("STRING_TO_VECTOR('[1,2]')", "\\x0000803f00000040")];
                check(&database, "vector(2)", DataType::Binary, &values).await;
            }
        }
    }
}

#[tokio::test]
async fn expressions_have_types_too() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let sql = "SELECT NULL AS nothing, 1 AS one, -1.50 AS d, 1e0 AS f, 'x' AS t, x'00' AS b, 1 = 1 AS c, \
                   DATE'2024-01-01' AS day, CONCAT('a', 1) AS j, COUNT(*) AS n FROM (SELECT 1 AS a) AS q";
        let found = transfer(&database.source(), &query(sql), 1).await.expect("expressions");
        for (name, expected) in [
            ("nothing", None),
            ("one", Some("1")),
            ("d", Some("-1.50")),
            ("f", Some("1.0")),
            ("t", Some("x")),
            ("b", Some("\\x00")),
            ("c", Some("1")),
            ("day", Some("2024-01-01")),
            ("j", Some("a1")),
            ("n", Some("1")),
        ] {
            assert_eq!(column(&found.rows, name), [expected.map(str::to_owned)], "{name}");
        }
    }
}

#[tokio::test]
async fn names_and_guarantees_come_from_the_table() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database
            .run(
                "CREATE TABLE `a table` (`a``b` int NOT NULL, `C ü` varchar(44), s smallint unsigned NOT NULL, \
                 day date NOT NULL); INSERT INTO `a table` VALUES (1, 'x', 2, '2024-01-01'); \
                 CREATE VIEW seen AS SELECT * FROM `a table`",
            )
            .await;
        let found = transfer(&database.source(), &table("`a table`"), 1).await.expect("a table");
        let schema = found.rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a`b", "C ü", "s", "day"]);
        let nullable: Vec<bool> = schema.fields().iter().map(|field| field.is_nullable()).collect();
        assert_eq!(nullable, [false, true, false, false]);
        assert_eq!(found.source_types["C ü"], "varchar(44)");
        assert_eq!(found.source_types["s"], "smallint unsigned");
        let chosen = data_exchange_agent::source::Query {
            columns: Some(vec!["C ü".into(), "a`b".into()]),
            ..table(format!("{}.seen", database.name()))
        };
        let found = read(&database.source(), &chosen, 1).await.expect("a view");
        assert_eq!((found.num_columns(), column(&found, "a`b")), (2, vec![Some("1".into())]));
        let nulls = MysqlSource { zero_dates: ZeroDates::Null, ..database.configuration() };
        let found = read(&open(nulls), &table("\"a table\""), 1).await.expect("a table");
        assert!(found.schema().field(3).is_nullable(), "a zero date would be NULL");
    }
}

#[tokio::test]
async fn rows_of_more_than_one_packet_are_whole() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        // Around the border of a packet, 2^24 - 1 bytes, and with more than two of them.
        database.run("CREATE TABLE long_ones (id int, value longblob, after int)").await;
        for (id, bytes) in [(1, 16_777_190), (2, 16_777_215), (3, 3), (4, 40_000_000), (5, 0)] {
            database
                .run(&format!("INSERT INTO long_ones VALUES ({id}, REPEAT(CHAR(64 + {id}), {bytes}), -{id})"))
                .await;
        }
        // Rows whose packets end exactly at the border.
        for id in 6..20 {
            let bytes = 16_777_215 - 8 - 4 - 2 - (id - 6);
            database.run(&format!("INSERT INTO long_ones VALUES ({id}, REPEAT('x', {bytes}), -{id})")).await;
        }
        let query = query("SELECT * FROM long_ones ORDER BY id");
        let found = read(&database.source(), &query, 1).await.expect("long rows");
        let sizes = database.run("SELECT id, LENGTH(value), after FROM long_ones ORDER BY id").await;
        let values = arrow::array::AsArray::as_binary::<i32>(found.column(1));
        for (row, expected) in sizes.iter().enumerate() {
            assert_eq!(values.value(row).len().to_string(), expected[1]);
            assert_eq!(column(&found, "after")[row].as_deref(), Some(&*expected[2]));
        }
        assert_eq!(found.num_rows(), sizes.len());
        assert!(values.value(3).iter().all(|byte| *byte == b'D'));
    }
}
