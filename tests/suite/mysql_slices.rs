//! Slices together are the result exactly once, of one moment, whatever happens meanwhile.

use std::pin::pin;

use arrow::array::RecordBatch;
use data_exchange_agent::config::{Consistency, MysqlSource, TimeMapping};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::mysql::Mysql;
use data_exchange_agent::source::{Extraction, Query, Source};
use data_exchange_agent::task::Read;
use futures::future::{Either, select, try_join_all};

use crate::support::extraction::{column, count, query, read, read_slice, table, transfer};
use crate::support::mysql::{self, Database, Flavor, READER, open};

/// Reads all slices at the same time.
async fn slices(source: &Mysql, query: &Query, wanted: usize) -> Vec<RecordBatch> {
    let extraction = source.prepare(query, count(wanted)).await;
    read_together(&*extraction.unwrap_or_else(|fault| panic!("{query:?}: {}", fault.chain()))).await
}

/// The same of a result that has to be divided.
async fn divided(source: &Mysql, query: &Query, wanted: usize) -> Vec<RecordBatch> {
    read_together(&*prepare_divided(source, query, wanted).await).await
}

/// The lock for it is waited for during five seconds at most, and other tests write on the same server: where it
/// was not to be had, a later attempt has it.
async fn prepare_divided(source: &Mysql, query: &Query, wanted: usize) -> Box<dyn Extraction> {
    for _attempt in 0..10 {
        let extraction = source.prepare(query, count(wanted)).await;
        let extraction = extraction.unwrap_or_else(|fault| panic!("{query:?}: {}", fault.chain()));
        if extraction.slice_count() > 1 {
            return extraction;
        }
    }
    panic!("never divided: {query:?}")
}

async fn read_together(extraction: &dyn Extraction) -> Vec<RecordBatch> {
    let reads = (0..extraction.slice_count()).map(|slice| read_slice(extraction, slice));
    try_join_all(reads).await.expect("read")
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let number = |text: Option<String>| text.expect("not NULL").parse().expect("a number");
    column(batch, name).into_iter().map(number).collect()
}

fn sorted(slices: &[RecordBatch], name: &str) -> Vec<i64> {
    let mut found: Vec<i64> = slices.iter().flat_map(|slice| numbers(slice, name)).collect();
    found.sort_unstable();
    found
}

/// A table by the ranges of its ids: as many slices as are wanted, whatever the server thinks of its size.
fn by_id(name: &str) -> Query {
    Query { slice_column: Some("id".into()), ..table(name) }
}

/// A table of ids from 1, with columns of other types that grow with them.
async fn fill(database: &Database<'_>, name: &str, key: &str, rows: i64) {
    let digits = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
                  UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    database
        .run(&format!(
            "CREATE TABLE {name} (id bigint NOT NULL, big bigint unsigned, amount decimal(20,4), day date, \
             moment datetime(6), stamp timestamp NULL, words varchar(20), {key}); \
             INSERT INTO {name} SELECT i, 18446744073709550000 - i, i - 5000.5, DATE'1999-12-31' + INTERVAL i DAY, \
             TIMESTAMP'1969-12-31 00:00:00' + INTERVAL i * 7 HOUR, TIMESTAMP'2000-01-01 00:00:00' + INTERVAL i MINUTE, i \
             FROM (SELECT a.d + b.d * 10 + c.d * 100 + e.d * 1000 + f.d * 10000 AS i FROM {digits} AS a, {digits} AS b, \
             {digits} AS c, {digits} AS e, {digits} AS f) AS numbers WHERE i BETWEEN 1 AND {rows}; \
             ANALYZE TABLE {name}"
        ))
        .await;
}

#[tokio::test]
async fn ranges_of_every_kind_of_key_hold_each_row_once() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        for (name, key) in [
            ("by_id", "PRIMARY KEY (id)"),
            ("by_big", "PRIMARY KEY (big)"),
            ("by_amount", "PRIMARY KEY (amount, id)"),
            ("by_day", "PRIMARY KEY (day)"),
            ("by_moment", "PRIMARY KEY (moment)"),
            ("by_words", "PRIMARY KEY (words)"),
            ("without", "KEY (id)"),
        ] {
            fill(&database, name, key, 30_000).await;
            // How many depends on the server's estimate of the rows.
            let slices = match name {
                "without" => slices(&database.source(), &table(name), 3).await,
                _ => divided(&database.source(), &table(name), 3).await,
            };
            let sizes: Vec<usize> = slices.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(sizes.len() > 1, name != "without", "{name}: {sizes:?}");
            assert!(sizes.iter().all(|rows| *rows > 1000), "{name}: {sizes:?}");
            assert!(
                sorted(&slices, "id") == (1..=30_000).collect::<Vec<_>>(),
                "{name}: every row exactly once"
            );
        }
        // Too small to be worth a connection.
        fill(&database, "small", "PRIMARY KEY (id)", 10).await;
        assert_eq!(slices(&database.source(), &table("small"), 4).await.len(), 1);
    }
}

#[tokio::test]
async fn a_query_is_divided_by_any_column_that_can_be_counted() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "source", "PRIMARY KEY (id)", 5_000).await;
        database
            .run("INSERT INTO source (id, words) VALUES (5001, 'nulls'), (5002, 'nulls'); CREATE VIEW seen AS SELECT * FROM source")
            .await;
        for name in ["id", "big", "amount", "day", "moment", "stamp"] {
            for base in
                [query("SELECT * FROM source WHERE id > 0 OR id < -5"), table("seen"), table("source")]
            {
                let by_column = Query { slice_column: Some(name.into()), ..base };
                let slices = divided(&database.source(), &by_column, 3).await;
                assert_eq!(slices.len(), 3, "{name}");
                assert!(slices.iter().all(|slice| slice.num_rows() > 500), "{name}");
                assert!(sorted(&slices, "id") == (1..=5_002).collect::<Vec<_>>(), "{name}");
            }
        }
        // Zero dates lie below every range.
        database
            .run("SET SESSION sql_mode = ''; UPDATE source SET day = '0000-00-00' WHERE id IN (7, 4000)")
            .await;
        let nulls = MysqlSource {
            zero_dates: data_exchange_agent::config::ZeroDates::Null,
            ..database.configuration()
        };
        let by_day = Query { slice_column: Some("day".into()), ..query("SELECT id, day FROM source") };
        let slices = divided(&open(nulls), &by_day, 3).await;
        assert_eq!(slices.len(), 3);
        assert!(sorted(&slices, "id") == (1..=5_002).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn years_are_divided_at_years() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        // The year 0000 is a number far below the first one that can be compared with.
        database
            .run(
                "CREATE TABLE years (y year, id int NOT NULL, KEY (y, id)); INSERT INTO years VALUES (0, 1), (0, 2), \
                 (2019, 3), (2020, 4), (2021, 5), (2022, 6), (2023, 7), (2024, 8), (1901, 9), (2155, 10), (NULL, 11)",
            )
            .await;
        let by_year = |base: Query| Query { slice_column: Some("y".into()), ..base };
        for base in [
            table("years"),
            query("SELECT y, id FROM years"),
            query("SELECT y, id FROM years WHERE y > 2000"),
        ] {
            let expected: Vec<i64> = match &base.read {
                Read::Query(text) if text.contains("2000") => (3..=8).chain([10]).collect(),
                _ => (1..=11).collect(),
            };
            for wanted in [2, 3, 21] {
                let slices = divided(&database.source(), &by_year(base.clone()), wanted).await;
                assert_eq!(sorted(&slices, "id"), expected, "{:?}: {wanted} slices", server.flavor);
            }
        }
        database.run("DELETE FROM years WHERE y > 0").await;
        let slices = slices(&database.source(), &by_year(table("years")), 3).await;
        assert_eq!(sorted(&slices, "id"), [1, 2, 11]);
    }
}

#[tokio::test]
async fn a_query_whose_runs_find_different_rows_is_read_in_one_slice() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "n", "PRIMARY KEY (id)", 9_000).await;
        for (sql, rows) in [
            ("SELECT id FROM n ORDER BY RAND() LIMIT 100", Some(100)),
            ("SELECT id FROM (SELECT id FROM n LIMIT 50) AS q", Some(50)),
            ("SELECT id FROM n WHERE RAND() < 0.5", None),
            ("SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM n", Some(9_000)),
        ] {
            let asked = Query { slice_column: Some("id".into()), ..query(sql) };
            let found = slices(&database.source(), &asked, 4).await;
            assert_eq!(found.len(), 1, "{sql}");
            assert!(rows.is_none_or(|rows| found[0].num_rows() == rows), "{sql}: {}", found[0].num_rows());
        }
    }
}

/// A table of 9,000 rows with an id and a key of the type, which `value` makes of the id.
async fn keyed(database: &Database<'_>, name: &str, sql_type: &str, value: &str) {
    database
        .run(&format!(
            "CREATE TABLE {name} (k {sql_type} NOT NULL PRIMARY KEY, id int NOT NULL); \
             INSERT INTO {name} SELECT {value}, id FROM origin; ANALYZE TABLE {name}"
        ))
        .await;
}

#[tokio::test]
async fn texts_and_bytes_are_divided_in_the_order_of_the_server() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "origin", "PRIMARY KEY (id)", 9_000).await;
        let mut collations =
            vec!["latin1_swedish_ci", "utf8mb4_bin", "utf8mb4_spanish2_ci", "utf16_danish_ci"];
        collations.push(match server.flavor {
            Flavor::MariaDb => "utf8mb3_uca1400_ai_ci",
            Flavor::MySql => "utf8mb4_0900_as_cs",
        });
        let texts: Vec<String> = collations
            .iter()
            .map(|collation| {
                let character_set = collation.split('_').next().unwrap_or_default();
                format!("varchar(60) CHARACTER SET {character_set} COLLATE {collation}")
            })
            .collect();
        let mut keys = vec![
            ("binary(16)", "LEFT(UNHEX(SHA2(id, 256)), 16)"),
            ("varbinary(80)", "UNHEX(SHA2(id, 256))"),
            (
                "char(36)",
                "CONCAT(LEFT(SHA2(id, 256), 8), '-', MID(SHA2(id, 256), 9, 4), '-4000-8000-', RIGHT(SHA2(id, 256), 12))",
            ),
            ("char(64)", "UPPER(SHA2(id, 256))"),
        ];
        for text in &texts {
            keys.push((text, "LPAD(id, 8, '0')"));
            keys.push((text, "CONCAT(CHAR(97 + id % 26 USING utf8mb4), \"'\\\\ \", SHA2(id, 224))"));
            keys.push((text, "CONCAT(IF(id % 2, 'ch', 'C_'), SHA2(id, 224))"));
        }
        for (index, (sql_type, value)) in keys.into_iter().enumerate() {
            let name = format!("t{index}");
            keyed(&database, &name, sql_type, value).await;
            // In some collations the line comes behind the letters, and nothing is between the two.
            let found = match value.contains("C_") {
                true => slices(&database.source(), &table(&name), 4).await,
                false => divided(&database.source(), &table(&name), 4).await,
            };
            assert_eq!(sorted(&found, "id"), (1..=9_000).collect::<Vec<_>>(), "{sql_type}: {value}");
            let sql = format!("SELECT * FROM {name}");
            let by_key = Query { slice_column: Some("k".into()), ..query(&sql) };
            let found = slices(&database.source(), &by_key, 7).await;
            assert_eq!(sorted(&found, "id"), (1..=9_000).collect::<Vec<_>>(), "{sql_type}: {value}");
        }
    }
}

#[tokio::test]
async fn an_order_that_was_not_expected_is_one_slice() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        // Between a digit and a letter: in this collation letters come first.
        database
            .run(
                "CREATE TABLE odd (k varchar(9) CHARACTER SET cp1250 COLLATE cp1250_czech_cs NOT NULL, id int); \
                 INSERT INTO odd VALUES ('a', 1), ('h', 2), ('ch', 3), ('i', 4), ('1', 5), ('9', 6)",
            )
            .await;
        for wanted in [2, 5, 40] {
            let divided = Query { slice_column: Some("k".into()), ..table("odd") };
            let found = slices(&database.source(), &divided, wanted).await;
            assert_eq!(sorted(&found, "id"), (1..=6).collect::<Vec<_>>(), "{wanted} slices");
        }
    }
}

#[tokio::test]
async fn a_key_without_ranges_is_read_whole_and_once() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let mut keys = vec![
            ("by_time", "time", "SEC_TO_TIME(id)"),
            ("by_float", "double", "id / 7e0"),
            ("by_bits", "bit(20)", "id"),
        ];
        if server.flavor == Flavor::MariaDb {
            keys.push(("by_uuid", "uuid", "UUID()"));
            keys.push(("by_address", "inet6", "CONCAT('2001:db8::', HEX(id))"));
        }
        fill(&database, "origin", "PRIMARY KEY (id)", 9_000).await;
        for (name, sql_type, value) in keys {
            keyed(&database, name, sql_type, value).await;
            let long_times = MysqlSource { time: TimeMapping::Text, ..database.configuration() };
            let slices = slices(&open(long_times), &table(name), 3).await;
            assert_eq!(slices.len(), 1, "{name}");
            assert!(sorted(&slices, "id") == (1..=9_000).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[tokio::test]
async fn an_empty_table_is_one_empty_slice_and_one_file() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database.run("CREATE TABLE without_rows (id int PRIMARY KEY, name text)").await;
        let divided = Query { slice_column: Some("id".into()), ..table("without_rows") };
        let found = transfer(&database.source(), &divided, 4).await.expect("a file");
        assert_eq!((found.rows.num_rows(), found.rows.num_columns()), (0, 2));
    }
}

#[tokio::test]
async fn rows_that_arrive_after_the_snapshot_are_in_no_slice() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "growing", "PRIMARY KEY (id)", 9_000).await;
        let source = database.source();
        for wanted in [1, 2] {
            let extraction = match wanted {
                1 => source.prepare(&by_id("growing"), count(1)).await.expect("prepare"),
                _ => prepare_divided(&source, &by_id("growing"), wanted).await,
            };
            assert_eq!(extraction.slice_count(), wanted);

            database
                .run(
                    "INSERT INTO growing (id) VALUES (-5), (4500000), (900000); \
                     UPDATE growing SET id = id + 10000 WHERE id % 2 = 0; DELETE FROM growing WHERE id < 500",
                )
                .await;

            let mut found = Vec::new();
            for slice in 0..wanted {
                found.push(read_slice(&*extraction, slice).await.expect("read"));
            }
            assert_eq!(sorted(&found, "id"), (1..=9_000).collect::<Vec<_>>());
            database.run("DROP TABLE growing").await;
            fill(&database, "growing", "PRIMARY KEY (id)", 9_000).await;
        }
    }
}

#[tokio::test]
async fn slices_that_have_not_begun_are_safe_from_truncate() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "kept", "PRIMARY KEY (id)", 9_000).await;
        let extraction = prepare_divided(&database.source(), &by_id("kept"), 2).await;
        let first = read_slice(&*extraction, 0).await.expect("read");

        let mut other = database.session().await;
        other.run("SET SESSION lock_wait_timeout = 1").await;
        assert_eq!(other.try_run("TRUNCATE kept").await, None, "the extraction holds a lock");

        let second = read_slice(&*extraction, 1).await.expect("read");
        assert_eq!(sorted(&[first, second], "id"), (1..=9_000).collect::<Vec<_>>());
        // Nothing is held any more, although the extraction still exists.
        database.run("TRUNCATE kept").await;
        drop(extraction);
    }
}

#[tokio::test]
async fn all_slices_see_one_moment_while_a_writer_moves_money_around() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "accounts", "PRIMARY KEY (id)", 9_000).await;
        database.run("UPDATE accounts SET amount = 1000").await;
        let mut connection = database.session().await;
        // Each transaction keeps the sum and the number of rows, and moves a row to another range.
        let writer = async {
            for turn in 1_i64.. {
                let (from, to) = (turn * 7919 % 8999 + 1, turn * 104_729 % 8999 + 1);
                let moved = 20_000 + turn;
                connection
                    .run(&format!(
                        "START TRANSACTION; UPDATE accounts SET amount = amount - 5 WHERE id = {from}; \
                         SELECT ROW_COUNT() INTO @taken; \
                         UPDATE accounts SET amount = amount + 5 * @taken WHERE id = \
                         (SELECT id FROM (SELECT MAX(id) AS id FROM accounts) AS newest); \
                         UPDATE accounts SET id = {moved} WHERE id = {to}; COMMIT"
                    ))
                    .await;
            }
        };
        let source = database.source();
        let by_query = Query { slice_column: Some("id".into()), ..query("SELECT id, amount FROM accounts") };
        let reader = async {
            for round in 0..12 {
                let query = if round % 2 == 0 { by_id("accounts") } else { by_query.clone() };
                let slices = divided(&source, &query, 3).await;
                assert_eq!(slices.len(), 3);
                let rows: usize = slices.iter().map(RecordBatch::num_rows).sum();
                let amount = |text: Option<String>| text.expect("an amount").replace('.', "").parse::<i64>();
                let sum: i64 = slices
                    .iter()
                    .flat_map(|slice| column(slice, "amount"))
                    .map(|text| amount(text).expect("a number"))
                    .sum();
                assert_eq!((rows, sum), (9_000, 9_000 * 10_000_000), "round {round}");
            }
        };
        match select(pin!(reader), pin!(writer)).await {
            Either::Left(_) => {}
            Either::Right(_) => panic!("the writer does not end"),
        }
    }
}

#[tokio::test]
async fn one_connection_reads_what_cannot_be_locked() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "t", "PRIMARY KEY (id)", 9_000).await;
        fill(&database, "old", "PRIMARY KEY (id)", 9_000).await;
        database.run("ALTER TABLE old ENGINE = MyISAM").await;
        let by_query = Query { slice_column: Some("id".into()), ..query("SELECT id FROM t") };
        let serial = MysqlSource { consistency: Consistency::Serial, ..database.configuration() };
        let reader = database.configuration_as(READER);
        for (configuration, query) in [
            (&serial, table("t")),
            (&serial, by_query.clone()),
            (&reader, table("t")),
            (&reader, by_query),
            (&database.configuration(), table("old")),
        ] {
            let slices = slices(&open(configuration.clone()), &query, 4).await;
            assert_eq!(slices.len(), 1, "{query:?}");
            assert_eq!(slices[0].num_rows(), 9_000);
        }
        // Somebody writes for longer than the agent waits.
        let mut writer = database.session().await;
        writer.run("START TRANSACTION; UPDATE t SET words = 'x' WHERE id = 5").await;
        let found = slices(&database.source(), &by_id("t"), 2).await;
        assert_eq!(found.len(), 1);
        writer.run("ROLLBACK").await;
        assert_eq!(divided(&database.source(), &by_id("t"), 2).await.len(), 2);
    }
}

#[tokio::test]
async fn a_table_that_changes_between_two_looks_is_worth_another_try() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        fill(&database, "changing", "PRIMARY KEY (id)", 100).await;
        let source = database.source();
        let extraction = source.prepare(&query("SELECT * FROM changing"), count(1)).await.expect("prepare");
        // A look at the table holds its definition; this one looked before the other connection altered it,
        // unless the server let it go after describing.
        let mut other = database.session().await;
        other.run("SET SESSION lock_wait_timeout = 1").await;
        let altered = other.try_run("ALTER TABLE changing MODIFY words int, ADD COLUMN further int").await;
        let outcome = read_slice(&*extraction, 0).await;
        match (altered, outcome) {
            (None, Ok(found)) => assert_eq!(found.num_rows(), 100),
            (_, Err(fault)) => assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain()),
            (Some(_), Ok(_)) => panic!("rows of another table were read"),
        }
        drop(extraction);
        let _again = read(&source, &query("SELECT * FROM changing"), 1).await.expect("the next attempt");
    }
}
