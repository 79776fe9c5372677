//! Every major version that the agent reads: a little of each type, slices, limits.
//!
//! The shared server has the whole of it; here is what differs between versions, and enough of the
//! rest to see that it does not.

use std::pin::pin;

use arrow::datatypes::{DataType, TimeUnit};
use data_exchange_agent::config::{PostgresSource, SpecialValues};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{Query, Source};
use futures::future::{Either, select};

use crate::support::extraction::{
    column, configuration, count, limits, open, query, read, source, table, transfer,
};
use crate::support::postgres::{self, Database, Options, Postgres};

#[tokio::test]
async fn every_version_is_read_in_types_slices_and_limits() {
    for (version, binaries) in postgres::matrix() {
        let server = Postgres::private(Options { binaries: Some(binaries), ..Options::default() }).await;
        let database = server.create_database().await;
        types(&database, version).await;
        special_values(&database, version).await;
        slices(&database, version).await;
        constraints(&database, version).await;
        limits_of_a_task(&database).await;
        logins(&database).await;
    }
}

async fn types(database: &Database, version: u32) {
    database.execute("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN price AS numeric(10,2)").await;
    let text = DataType::Utf8;
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let timestamptz = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let cases = [
        (0, "boolean", DataType::Boolean, "true", "true"),
        (0, "smallint", DataType::Int16, "-32768", "-32768"),
        (0, "integer", DataType::Int32, "2147483647", "2147483647"),
        (0, "bigint", DataType::Int64, "-9223372036854775808", "-9223372036854775808"),
        (0, "oid", DataType::Int64, "4294967295", "4294967295"),
        (0, "real", DataType::Float32, "0.1", "0.1"),
        (0, "double precision", DataType::Float64, "'5e-324'", "5e-324"),
        (0, "numeric(15,2)", DataType::Decimal128(15, 2), "-9999999999999.99", "-9999999999999.99"),
        (
            0,
            "numeric(38,38)",
            DataType::Decimal128(38, 38),
            "1e-38",
            "0.00000000000000000000000000000000000001",
        ),
        (
            0,
            "numeric(76,0)",
            DataType::Decimal256(76, 0),
            "-1e75",
            "-1000000000000000000000000000000000000000000000000000000000000000000000000000",
        ),
        (15, "numeric(3,-2)", DataType::Decimal128(5, 0), "12345", "12300"),
        (15, "numeric(2,5)", DataType::Decimal128(5, 5), "0.00099", "0.00099"),
        (0, "numeric", text.clone(), "1.10", "1.10"),
        (14, "numeric", text.clone(), "'-Infinity'", "-Infinity"),
        (0, "date", DataType::Date32, "'0044-03-15 BC'", "0044-03-15 BC"),
        (0, "time", DataType::Time64(TimeUnit::Microsecond), "'23:59:59.999999'", "23:59:59.999999"),
        (0, "timestamp", timestamp, "'1969-12-31 23:59:59.999999'", "1969-12-31 23:59:59.999999"),
        (0, "timestamptz", timestamptz, "'2024-03-31 02:30:00+02'", "2024-03-31 00:30:00+00"),
        (0, "interval", text.clone(), "'1 year -2 days 3 hours'", "P1Y-2DT3H"),
        (17, "interval", text.clone(), "'infinity'", "infinity"),
        (0, "timetz", text.clone(), "'12:00:00+05:30'", "12:00:00+05:30"),
        (0, "char(3)", text.clone(), "'ä'", "ä  "),
        (0, "text", text.clone(), "'日本 𝄞 \"'", "日本 𝄞 \""),
        (0, "\"char\"", text.clone(), "'x'", "x"),
        (0, "name", text.clone(), "'n'", "n"),
        (0, "mood", text.clone(), "'happy'", "happy"),
        (0, "price", DataType::Decimal128(10, 2), "1", "1.00"),
        (
            0,
            "uuid",
            text.clone(),
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (0, "bytea", DataType::Binary, "'\\x00ff'", "\\x00ff"),
        (0, "json", text.clone(), "'{\"b\":  1}'", "{\"b\":  1}"),
        (0, "jsonb", text.clone(), "'{\"b\":  1}'", "{\"b\": 1}"),
        (0, "inet", text.clone(), "'10.0.0.1'", "10.0.0.1/32"),
        (0, "integer[]", text.clone(), "'{{1,NULL},{2,3}}'", "[[1,null],[2,3]]"),
        (0, "text[]", text.clone(), "ARRAY['a\"b', NULL]", "[\"a\\\"b\",null]"),
        (0, "mood[]", text.clone(), "'{sad,NULL}'", "[\"sad\",null]"),
        (0, "price[]", text.clone(), "'{1.5}'", "[1.50]"),
        (0, "int4range", text.clone(), "'[1,5]'", "[1,6)"),
        (14, "int4multirange", text.clone(), "'{[1,2],[5,9)}'", "{[1,3),[5,9)}"),
        (12, "jsonpath", text.clone(), "'$.a'", "$.\"a\""),
        (13, "xid8", text.clone(), "'18446744073709551615'", "18446744073709551615"),
        (0, "point", text.clone(), "'(0.5,-2)'", "(0.5,-2)"),
        (0, "money", text.clone(), "1.5", "$1.50"),
        (0, "pg_lsn", text.clone(), "'16/B374D848'", "16/B374D848"),
        (0, "xid", text, "'7'", "7"),
    ];
    let cases: Vec<_> = cases.into_iter().filter(|(since, ..)| version >= *since).collect();
    let join = |parts: Vec<String>| parts.join(", ");
    let definitions = (0..).zip(&cases).map(|(number, (_, sql_type, ..))| format!("v{number} {sql_type}"));
    let values = cases.iter().map(|(_, _, _, sql, _)| (*sql).to_owned());
    let nulls = cases.iter().map(|_| "NULL".to_owned());
    database
        .execute(&format!(
            "CREATE TABLE stored ({}); INSERT INTO stored VALUES ({}), ({})",
            join(definitions.collect()),
            join(values.collect()),
            join(nulls.collect())
        ))
        .await;
    let found = transfer(&source(database), &table("stored"), 1).await.expect("a result");
    for (number, (_, sql_type, data_type, _, expected)) in cases.iter().enumerate() {
        let place = format!("{sql_type} of version {version}");
        assert_eq!(found.rows.schema().field(number).data_type(), data_type, "{place}");
        let values = column(&found.rows, &format!("v{number}"));
        assert_eq!(values, [Some((*expected).to_owned()), None], "{place}");
    }
}

async fn special_values(database: &Database, version: u32) {
    for expression in ["'NaN'::numeric(5,2)", "'infinity'::date", "'-infinity'::timestamptz", "'24:00'::time"]
    {
        let query = query(format!("SELECT {expression} AS value"));
        let fault = read(&source(database), &query, 1).await.expect_err("no form in the output");
        assert_eq!(fault.kind(), FaultKind::Data, "{version}: {expression}");
        let special_values = SpecialValues::Null;
        let lenient = open(PostgresSource { special_values, ..configuration(&database.url()) });
        let found = read(&lenient, &query, 1).await.expect("NULL by option");
        assert_eq!(column(&found, "value"), [None], "{version}: {expression}");
    }
}

async fn slices(database: &Database, version: u32) {
    database
        .execute(
            "CREATE TABLE plain AS SELECT i AS id, repeat('x', 900) AS filler FROM generate_series(1, 2000) AS i;\
             CREATE TABLE divided (id integer NOT NULL, filler text) PARTITION BY RANGE (id);\
             CREATE TABLE low PARTITION OF divided FOR VALUES FROM (1) TO (2001);\
             CREATE TABLE rest PARTITION OF divided DEFAULT;\
             INSERT INTO divided SELECT i, repeat('x', 900) FROM generate_series(1, 4000) AS i",
        )
        .await;
    let by_column = Query { slice_column: Some("id".into()), ..query("SELECT * FROM plain WHERE id > 0") };
    // Nothing tells an older server the sizes of all partitions at once.
    let of_partitions = if version >= 12 { 3 } else { 1 };
    for (query, expected, rows) in
        [(table("plain"), 3, 2000), (by_column, 3, 2000), (table("divided"), of_partitions, 4000)]
    {
        let extraction = source(database).prepare(&query, count(3)).await.expect("prepare");
        assert_eq!(extraction.slice_count(), expected, "{version}: {query:?}");
        drop(extraction);
        let found = transfer(&source(database), &query, 3).await.expect("a result");
        let numbers = column(&found.rows, "id").into_iter().flatten();
        let mut ids: Vec<i32> = numbers.map(|id| id.parse().expect("a number")).collect();
        ids.sort_unstable();
        assert!(ids == (1..=rows).collect::<Vec<_>>(), "{version}: {query:?}");
    }
}

async fn constraints(database: &Database, version: u32) {
    database.execute("CREATE TABLE guarded (a integer NOT NULL, b integer)").await;
    database.execute("INSERT INTO guarded VALUES (1, NULL)").await;
    if version >= 18 {
        // Older rows may break it: here one does.
        database.execute("ALTER TABLE guarded ADD CONSTRAINT late NOT NULL b NOT VALID").await;
    }
    let found = transfer(&source(database), &table("guarded"), 1).await.expect("a result");
    let nullable: Vec<bool> = found.rows.schema().fields().iter().map(|field| field.is_nullable()).collect();
    assert_eq!(nullable, [false, true], "{version}");
    assert_eq!(column(&found.rows, "b"), [None]);
}

async fn limits_of_a_task(database: &Database) {
    database.execute("CREATE SEQUENCE numbers").await;
    let source = source(database);
    let fault = read(&source, &query("SELECT nextval('numbers')"), 1).await.expect_err("it writes");
    assert!(fault.chain().contains("read-only transaction"), "{}", fault.chain());

    let extraction = source.prepare(&query("SELECT pg_sleep(600)"), count(1)).await.expect("prepare");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'data-exchange-agent tests'";
    let running = async {
        let sql = format!("{sessions} AND state = 'active' AND query LIKE 'COPY%'");
        while database.value::<i64>(&sql).await == 0 {}
    };
    {
        let opened = extraction.open(0, limits());
        match select(pin!(opened), pin!(running)).await {
            Either::Left(_) => panic!("it sleeps"),
            Either::Right(_) => {}
        }
    }
    while database.value::<i64>(sessions).await > 0 {}
}

async fn logins(database: &Database) {
    for user in [postgres::SCRAM_USER, postgres::MD5_USER, postgres::CLEAR_TEXT_USER] {
        open(configuration(&database.url_as(user))).check().await.expect("the right password");
        let fault = open(configuration(&database.url_as((user.0, "wrong")))).check().await;
        assert_eq!(fault.expect_err("a wrong password").kind(), FaultKind::Credentials);
    }
}
