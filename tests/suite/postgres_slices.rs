//! Slices together are the result exactly once, of one moment, whatever happens meanwhile.

use std::cell::Cell;
use std::pin::pin;

use arrow::array::RecordBatch;
use data_exchange_agent::config::{PostgresSource, SpecialValues};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::postgres::Postgres as PostgresDatabase;
use data_exchange_agent::source::{Query, Source};
use futures::future::{Either, select, try_join_all};

use crate::support::extraction::{
    column, configuration, count, open, query, read_slice, refused, source, table, transfer,
};
use crate::support::postgres::{self, Database};

/// Reads all slices at the same time.
async fn slices(source: &PostgresDatabase, query: &Query, wanted: usize) -> Vec<RecordBatch> {
    let extraction = source.prepare(query, count(wanted)).await.expect("prepare");
    let extraction = &*extraction;
    let reads = (0..extraction.slice_count()).map(|slice| read_slice(extraction, slice));
    try_join_all(reads).await.expect("read")
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let number = |text: Option<String>| text.expect("not NULL").parse().expect("a number");
    column(batch, name).into_iter().map(number).collect()
}

/// The ids of all slices, sorted; each slice is announced by its number of rows.
fn ids(slices: &[RecordBatch]) -> (Vec<i64>, Vec<usize>) {
    let mut ids: Vec<i64> = slices.iter().flat_map(|slice| numbers(slice, "id")).collect();
    ids.sort_unstable();
    (ids, slices.iter().map(RecordBatch::num_rows).collect())
}

/// Rows that take about `rows / 8` blocks.
fn fill(name: &str, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO {name} (id, filler) SELECT i, repeat('x', 900) FROM generate_series({from}, {to}) AS i"
    )
}

async fn check_table(database: &Database, name: &str, wanted: usize, expected_slices: usize, rows: i64) {
    let slices = slices(&source(database), &table(name), wanted).await;
    let (ids, sizes) = ids(&slices);
    assert_eq!(sizes.len(), expected_slices, "{name}: {sizes:?}");
    assert!(sizes.iter().all(|rows| *rows > 0), "{name}: {sizes:?}");
    assert!(ids == (1..=rows).collect::<Vec<_>>(), "{name}: every row exactly once");
}

#[tokio::test]
async fn block_ranges_of_every_kind_of_table_hold_each_row_once() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let columns = "id integer, filler text";
    let setup = [
        format!("CREATE TABLE plain ({columns})"),
        fill("plain", 1, 3000),
        // Rows moved to other blocks, and blocks with room in them.
        "UPDATE plain SET filler = filler || 'y' WHERE id % 3 = 0".into(),
        format!("CREATE UNLOGGED TABLE dropped (gone text DEFAULT 'z', {columns}, also_gone integer)"),
        fill("dropped", 1, 3000),
        "ALTER TABLE dropped DROP gone, DROP also_gone".into(),
        "CREATE MATERIALIZED VIEW materialized AS SELECT * FROM plain".into(),
        "CREATE VIEW seen AS SELECT * FROM plain".into(),
        format!("CREATE TABLE partitioned ({columns}) PARTITION BY RANGE (id)"),
        "CREATE TABLE low PARTITION OF partitioned FOR VALUES FROM (1) TO (1000)".into(),
        "CREATE TABLE high PARTITION OF partitioned FOR VALUES FROM (1000) TO (9999) PARTITION BY RANGE (id)"
            .into(),
        "CREATE TABLE higher PARTITION OF high DEFAULT".into(),
        fill("partitioned", 1, 4000),
        format!("CREATE TABLE parent ({columns}); CREATE TABLE child () INHERITS (parent)"),
        fill("parent", 1, 2000),
        fill("child", 2001, 4000),
        format!("CREATE TABLE small ({columns})"),
        fill("small", 1, 10),
        "CREATE SCHEMA \"Other one\"; CREATE TABLE \"Other one\".\"T\" AS SELECT * FROM plain".into(),
    ];
    for sql in setup {
        database.execute(&sql).await;
    }
    for (name, wanted, expected, rows) in [
        ("plain", 4, 4, 3000),
        ("plain", 1, 1, 3000),
        ("dropped", 4, 4, 3000),
        ("materialized", 3, 3, 3000),
        ("partitioned", 4, 4, 4000),
        ("low", 1, 1, 999),
        // No range of blocks is known to hold their rows.
        ("parent", 4, 1, 4000),
        ("seen", 4, 1, 3000),
        // Too small to be worth a connection.
        ("small", 4, 1, 10),
        ("\"Other one\".\"T\"", 2, 2, 3000),
    ] {
        check_table(&database, name, wanted, expected, rows).await;
    }
    // No slice is smaller than 64 blocks, however many are wanted.
    let blocks: i64 = database.value("SELECT pg_relation_size('plain') / 8192").await;
    let most = usize::try_from(blocks / 64).expect("not negative");
    assert!((2..64).contains(&most), "{blocks}");
    check_table(&database, "plain", 64, most, 3000).await;
}

#[tokio::test]
async fn an_empty_table_is_one_empty_slice_and_one_file() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE empty (id integer NOT NULL, name text)").await;
    let found = transfer(&source(&database), &table("empty"), 4).await.expect("a file");
    assert_eq!((found.rows.num_rows(), found.rows.num_columns()), (0, 2));
}

#[tokio::test]
async fn rows_that_arrive_after_the_snapshot_are_in_no_slice() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE growing (id integer, filler text)").await;
    database.execute(&fill("growing", 1, 2000)).await;
    let source = source(&database);
    let extraction = source.prepare(&table("growing"), count(3)).await.expect("prepare");
    assert_eq!(extraction.slice_count(), 3);

    // The table grows beyond the blocks that were divided, and rows leave their blocks.
    database.execute(&fill("growing", 2001, 6000)).await;
    database
        .execute("UPDATE growing SET id = id + 10000 WHERE id % 2 = 0; DELETE FROM growing WHERE id < 500")
        .await;

    let mut found = Vec::new();
    for slice in 0..3 {
        found.push(read_slice(&*extraction, slice).await.expect("read"));
    }
    assert_eq!(ids(&found).0, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn slices_that_have_not_begun_are_safe_from_truncate() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE plain (id integer, filler text);\
             CREATE TABLE partitioned (id integer, filler text) PARTITION BY RANGE (id);\
             CREATE TABLE only_one PARTITION OF partitioned DEFAULT",
        )
        .await;
    database.execute(&fill("plain", 1, 2000)).await;
    database.execute(&fill("partitioned", 1, 2000)).await;
    let source = source(&database);
    let by_column = Query { slice_column: Some("id".into()), ..query("SELECT * FROM partitioned") };
    for (query, truncated) in
        [(table("plain"), "plain"), (table("partitioned"), "only_one"), (by_column, "only_one")]
    {
        let extraction = source.prepare(&query, count(2)).await.expect("prepare");
        let first = read_slice(&*extraction, 0).await.expect("read");

        for statement in [format!("TRUNCATE {truncated}"), format!("VACUUM FULL {truncated}")] {
            let mut other = database.connect().await;
            sqlx::raw_sql("SET lock_timeout = '20ms'").execute(&mut other).await.expect("a setting");
            let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut other).await;
            let refused = refused.expect_err("the extraction holds a lock");
            assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("55P03"));
        }

        let second = read_slice(&*extraction, 1).await.expect("read");
        assert_eq!(ids(&[first, second]).0, (1..=2000).collect::<Vec<_>>());
        // Nothing is held any more, although the extraction still exists.
        database.execute(&format!("VACUUM FULL {truncated}")).await;
        drop(extraction);
    }
}

#[tokio::test]
async fn all_slices_see_one_moment_while_a_writer_moves_money_around() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE accounts (id bigint, amount bigint, filler text)").await;
    database
        .execute("INSERT INTO accounts SELECT i, 1000, repeat('x', 400) FROM generate_series(1, 8000) AS i")
        .await;
    let written = Cell::new(0_i64);
    // Each statement keeps the sum and the number of rows, and moves rows to other blocks.
    let writer = async {
        let mut connection = database.connect().await;
        for turn in 1_i64.. {
            let (from, to) = (turn * 7919 % 8000, turn * 104_729 % 8000);
            let sql = format!(
                "WITH moved AS (DELETE FROM accounts WHERE id IN (SELECT id FROM accounts WHERE amount > 10 \
                 ORDER BY ctid OFFSET {from} LIMIT 1) RETURNING amount) \
                 INSERT INTO accounts SELECT 100000 + {turn}, amount, repeat('y', 400) FROM moved; \
                 WITH pair AS (SELECT (SELECT min(id) FROM accounts WHERE id > {from}) AS a, \
                 (SELECT max(id) FROM accounts WHERE id <= {to} + 1) AS b) \
                 UPDATE accounts SET amount = amount + CASE id WHEN a THEN 5 ELSE -5 END \
                 FROM pair WHERE id IN (a, b) AND a <> b AND a IS NOT NULL AND b IS NOT NULL"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("write");
            written.set(turn);
        }
    };
    let source = source(&database);
    let reader = async {
        let by_column = Query { slice_column: Some("id".into()), ..query("SELECT * FROM accounts") };
        let mut pictures = Vec::new();
        for query in [table("accounts"), by_column] {
            for _ in 0..4 {
                let slices = slices(&source, &query, 4).await;
                assert_eq!(slices.len(), 4);
                let (ids, _) = ids(&slices);
                assert_eq!(ids.len(), 8000);
                assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "no row twice");
                let sum: i64 = slices.iter().flat_map(|slice| numbers(slice, "amount")).sum();
                assert_eq!(sum, 8_000_000, "of one moment");
                pictures.push(ids);
                // The turn that is under way may be in this picture; the one after it is not.
                let seen = written.get();
                while written.get() < seen + 2 {
                    tokio::task::yield_now().await;
                }
            }
        }
        pictures
    };
    match select(pin!(reader), pin!(writer)).await {
        Either::Left((pictures, _)) => {
            assert!(pictures.windows(2).all(|pair| pair[0] != pair[1]), "the writer has written meanwhile");
        }
        Either::Right(_) => panic!("the writer never ends"),
    }
}

#[tokio::test]
async fn ranges_of_every_type_hold_each_row_once() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let version: String = database.value("SHOW server_version_num").await;
    let has_infinite_numeric = version.parse::<u32>().expect("a number") >= 140_000;
    let mut cases: Vec<(&str, String, usize)> = vec![
        ("smallint", "SELECT (i * 60 - 30000)::smallint FROM generate_series(1, 1000) AS i".into(), 5),
        ("smallint", "SELECT i::smallint FROM (VALUES (-32768), (32767), (0)) AS v (i)".into(), 5),
        ("integer", "SELECT i FROM (VALUES (-2147483648), (2147483647), (0), (1)) AS v (i)".into(), 5),
        ("bigint", "SELECT i FROM (VALUES (-9223372036854775808), (9223372036854775807), (0)) AS v (i)".into(), 5),
        ("bigint", "SELECT 9223372036854775807".into(), 1),
        ("integer", "SELECT i FROM generate_series(1, 3) AS i".into(), 3),
        ("integer", "SELECT i % 2 FROM generate_series(1, 100) AS i".into(), 2),
        ("integer", "SELECT -7 FROM generate_series(1, 100)".into(), 1),
        ("integer", "SELECT NULL::integer FROM generate_series(1, 100)".into(), 1),
        ("integer", "SELECT 1 WHERE false".into(), 1),
        ("numeric", "SELECT i / 7.0 FROM generate_series(-500, 500) AS i".into(), 5),
        ("numeric", "SELECT i::numeric FROM (VALUES ('NaN'), ('1'), ('2'), ('1e200'), ('-1e200')) AS v (i)".into(), 5),
        ("numeric", "SELECT i::numeric FROM (VALUES ('NaN'), ('NaN')) AS v (i)".into(), 1),
        ("numeric", "SELECT i * 1e-30 FROM generate_series(1, 100) AS i".into(), 1),
        ("numeric(10,2)", "SELECT i / 100.0 FROM generate_series(1, 1000) AS i".into(), 5),
        ("date", "SELECT DATE '2000-01-01' + i FROM generate_series(1, 1000) AS i".into(), 5),
        ("date", "SELECT i::date FROM (VALUES ('infinity'), ('-infinity'), ('2024-01-01'), ('2025-01-01')) AS v (i)".into(), 5),
        ("date", "SELECT i::date FROM (VALUES ('infinity'), ('-infinity')) AS v (i)".into(), 1),
        ("date", "SELECT i::date FROM (VALUES ('4714-11-24 BC'), ('5874897-12-31'), ('2024-01-01')) AS v (i)".into(), 5),
    ];
    for zone in ["timestamp", "timestamptz"] {
        let values = |list: &str| format!("SELECT i::{zone} FROM (VALUES {list}) AS v (i)");
        cases.extend([
            (zone, format!("SELECT {zone} '2024-01-01 00:00:00' + i * interval '1 minute' FROM generate_series(1, 1000) AS i"), 5),
            (zone, values("('infinity'), ('-infinity'), ('2024-01-01'), ('2025-01-01')"), 5),
            (zone, values("('infinity'), ('-infinity')"), 1),
            (zone, values("('4714-11-24 00:00:00 BC'), ('294276-12-31 23:59:59.999999'), ('2024-01-01')"), 5),
            (zone, values("('294276-12-31 23:59:59.999999'), ('294276-12-31 23:59:59.999999')"), 1),
            (zone, values("('2024-01-01 00:00:00'), ('2024-01-01 00:00:00.000001')"), 0),
        ]);
    }
    if has_infinite_numeric {
        let values =
            "SELECT i::numeric FROM (VALUES ('Infinity'), ('-Infinity'), ('NaN'), ('1'), ('9')) AS v (i)";
        cases.push(("numeric", values.into(), 5));
    }
    // What lies beyond Arrow's range or has no form there is not what this is about.
    let special_values = SpecialValues::Null;
    let source = open(PostgresSource { special_values, ..configuration(&database.url()) });
    for (sql_type, rows, expected) in cases {
        database
            .execute(&format!(
                "DROP TABLE IF EXISTS stored; CREATE TABLE stored (id integer GENERATED ALWAYS AS IDENTITY, value {sql_type});\
                 INSERT INTO stored (value) {rows}; INSERT INTO stored (value) VALUES (NULL), (NULL)"
            ))
            .await;
        let total: i64 = database.value("SELECT count(*) FROM stored").await;
        let query = Query {
            slice_column: Some("value".into()),
            columns: Some(vec!["id".into()]),
            ..query("SELECT * FROM stored")
        };
        let slices = slices(&source, &query, 5).await;
        let (ids, sizes) = ids(&slices);
        assert_eq!(ids, (1..=total).collect::<Vec<_>>(), "{sql_type}: {rows}: {sizes:?}");
        if expected > 0 {
            assert_eq!(sizes.len(), expected, "{sql_type}: {rows}: {sizes:?}");
        }
        if total > 900 {
            let (least, most) = (sizes.iter().min().copied(), sizes.iter().max().copied());
            assert!(least >= Some(190) && most <= Some(215), "{sql_type}: evenly: {sizes:?}");
        }
    }
}

#[tokio::test]
async fn a_query_whose_runs_find_different_rows_is_read_in_one_slice() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE n AS SELECT generate_series(1, 5000) AS id").await;
    for (sql, rows) in [
        ("SELECT id FROM n ORDER BY random() LIMIT 100", 100),
        ("SELECT id FROM n TABLESAMPLE SYSTEM (100)", 5000),
        ("SELECT DISTINCT ON (id % 10) id FROM n", 10),
    ] {
        let asked = Query { slice_column: Some("id".into()), ..query(sql) };
        let slices = slices(&source(&database), &asked, 4).await;
        let (ids, sizes) = ids(&slices);
        assert_eq!((sizes.len(), ids.len()), (1, rows), "{sql}");
    }
}

#[tokio::test]
async fn an_index_finds_the_ranges_of_a_slice_column() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let version: String = database.value("SHOW server_version_num").await;
    if version.parse::<u32>().expect("a number") < 150_000 {
        // Their statistics arrive when they please.
        return;
    }
    database
        .execute(
            "CREATE TABLE indexed AS SELECT i AS id, DATE '2000-01-01' + i AS day FROM generate_series(1, 1000) AS i;\
             CREATE INDEX ON indexed (id); CREATE INDEX ON indexed (day); INSERT INTO indexed VALUES (0, 'infinity'); \
             SELECT pg_stat_force_next_flush()",
        )
        .await;
    // What has built the indexes, which read the whole table, is counted by now.
    let seen = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'indexed'";
    let source = source(&database);
    for name in ["id", "day"] {
        let before: i64 = database.value(seen).await;
        let query = Query { slice_column: Some(name.into()), ..query("SELECT * FROM indexed") };
        let extraction = source.prepare(&query, count(4)).await.expect("prepare");
        assert_eq!(extraction.slice_count(), 4);
        drop(extraction);
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'data-ex%'";
        // Statistics are reported when a session ends, at the latest.
        while database.value::<i64>(count).await > 0 {}
        assert_eq!(database.value::<i64>(seen).await, before, "{name}: no scan of the whole table");
    }
}

#[tokio::test]
async fn a_slice_column_that_cannot_divide_is_refused_with_a_remedy() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let source = source(&database);
    let sql =
        "SELECT 1 AS id, 'x' AS name, 1.5::float8 AS float, now()::time AS time, 2 AS twice, 3 AS twice";
    for (name, expected) in [
        ("nothing", "Choose among `id`, `name`"),
        ("Id", "Choose among"),
        ("name", "integer, numeric, date or timestamp"),
        ("float", "integer, numeric, date or timestamp"),
        ("time", "integer, numeric, date or timestamp"),
        ("twice", "with AS"),
    ] {
        for wanted in [1, 4] {
            let columns = Some(vec!["id".into()]);
            let query = Query { slice_column: Some(name.into()), columns: columns.clone(), ..query(sql) };
            let fault = refused(&source, &query, wanted).await;
            assert_eq!(fault.kind(), FaultKind::Request);
            assert!(fault.to_string().contains(&format!("`{name}`")), "{fault}");
            assert!(fault.hint().unwrap_or_default().contains(expected), "{name}: {:?}", fault.hint());
        }
    }
}
