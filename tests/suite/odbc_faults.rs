//! What drivers get wrong and do not say: dates that their structure does not hold, numbers that wrap, rows
//! after which the statement failed; and statements that wait before their first row.

use std::fs;
use std::pin::pin;
use std::time::Duration;

use data_exchange_agent::config::{OdbcLongValues, OdbcSource};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{BatchLimits, Source as _};
use futures::future::{Either, select};
use serde_json::json;

use super::odbc_types::sqlite_file;
use crate::support::agent::Place;
use crate::support::extraction::{self, column, count, limits, query, read, table};
use crate::support::folder::Folder;
use crate::support::odbc::{self, open};
use crate::support::postgres::Database;
use crate::support::tds::{Column, End, Script, Seen, TdsServer};
use crate::support::{mysql, postgres};

/// Both ways to fetch answer with an error of the data that has a remedy.
pub(crate) async fn is_refused(configuration: &OdbcSource, sql: &str) {
    for long_values in [OdbcLongValues::Automatic, OdbcLongValues::Pieces] {
        let source = open(OdbcSource { long_values, ..configuration.clone() });
        match read(&source, &query(sql), 1).await {
            Ok(found) => panic!("{sql}: {:?}", column(&found, "value")),
            Err(fault) => {
                assert_eq!(fault.kind(), FaultKind::Data, "{sql}: {}", fault.chain());
                assert!(fault.chain().contains("`value`") && fault.hint().is_some(), "{}", fault.chain());
            }
        }
    }
}

/// psqlODBC 13.02 makes today of some of them, and other dates of others.
#[tokio::test]
async fn dates_of_postgresql_that_odbc_cannot_say_are_errors() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    for value in [
        "date 'infinity'",
        "date '-infinity'",
        "date '12024-01-02'",
        "timestamp '-infinity'",
        "timestamp '12024-01-02 00:00:00'",
        "timestamp '294276-12-31 23:59:59'",
        "timestamp '0044-03-15 00:00:00 BC'",
        "timestamptz '0044-03-15 00:00:00 BC'",
    ] {
        is_refused(&configuration, &format!("SELECT {value} AS value")).await;
    }
}

/// Its driver says that it is a float, and has seventeen digits of it.
#[tokio::test]
async fn money_of_postgresql_is_the_text_that_the_server_prints() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    let sql =
        "SELECT m AS value FROM (VALUES ('92233720368547758.07'::money), ('-0.01'::money), (NULL)) AS t(m)";
    let native = read(&extraction::source(&database), &query(sql), 1).await.expect("native");
    let through = read(&open(configuration), &query(sql), 1).await.expect("ODBC");
    assert_eq!(column(&native, "value"), column(&through, "value"));
    let first = column(&through, "value")[0].clone().expect("not NULL");
    let digits: String = first.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits, "9223372036854775807");
}

/// Its driver makes NULL of them.
#[tokio::test]
async fn zero_dates_of_mariadb_are_errors_as_they_are_natively() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let Some(configuration) = odbc::mariadb(&database) else {
            return;
        };
        database
            .run(
                "SET SESSION sql_mode = ''; CREATE TABLE z (d date, m date, t datetime(6)); \
                 INSERT INTO z VALUES ('0000-00-00', '2024-00-10', '0000-00-00')",
            )
            .await;
        for name in ["d", "m", "t"] {
            let sql = format!("SELECT {name} AS value FROM z");
            is_refused(&configuration, &sql).await;
            read(&database.source(), &query(&*sql), 1).await.expect_err("a zero date");
        }
    }
}

/// Its driver wraps integers to 32 bits, reads as many digits of a text as there are, and makes NULL of the rest.
#[tokio::test]
async fn values_of_sqlite_are_those_of_the_file_or_errors() {
    let folder = Folder::new();
    let file = folder.path().join("mixed.db");
    let Some(configuration) = odbc::sqlite(&file) else {
        return;
    };
    sqlite_file(
        &file,
        "CREATE TABLE mixed (id integer, n integer, big bigint, price numeric(10,2), ratio double, day date, moment timestamp); \
         INSERT INTO mixed VALUES (1, 99999999999, -9223372036854775808, 12.5, 1e300, '2024-02-29', '2024-02-29T01:02:03Z'), \
         (2, 'abc', 'x', '12,5', 'abc', 'x', '2024-13-01'), (3, 1.5, 1.7, 'abc', '', '2024-02-29 00:00:00', '1709164800')",
    )
    .await;
    let sql = "SELECT n, big, price, ratio, day, moment FROM mixed WHERE id = 1";
    let found = read(&open(configuration.clone()), &query(sql), 1).await;
    let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
    for (name, expected) in [
        ("n", "99999999999"),
        ("big", "-9223372036854775808"),
        ("price", "12.5"),
        ("day", "2024-02-29"),
        ("moment", "2024-02-29 01:02:03"),
    ] {
        assert_eq!(column(&found, name), [Some(expected.to_owned())], "{name}");
    }
    for id in [2, 3] {
        for name in ["n", "big", "price", "ratio", "day", "moment"] {
            let sql = format!("SELECT {name} AS value FROM mixed WHERE id = {id}");
            is_refused(&configuration, &sql).await;
        }
    }
}

/// FreeTDS calls a fetch a success that got some rows before the statement failed, and the next one the end.
#[tokio::test]
async fn an_error_after_rows_is_never_the_end_of_a_result() {
    if odbc::Driver::FreeTds.library().is_none() {
        return;
    }
    let division =
        End::Error { number: 8134, state: 1, class: 16, text: "Divide by zero error encountered.", line: 1 };
    for end in [division, End::Cut] {
        let rows = (0..3_i32).map(|number| vec![Some(number.to_le_bytes().to_vec())]).collect();
        let script = Script { end: end.clone(), ..Script::of(vec![Column::int("id")], rows) };
        let server = TdsServer::start(script).await;
        let configuration = odbc::tds(&server).expect("the driver is there");
        for long_values in [OdbcLongValues::Automatic, OdbcLongValues::Pieces] {
            let source = open(OdbcSource { long_values, ..configuration.clone() });
            let found = read(&source, &query("SELECT id FROM t"), 1).await;
            let fault = found.err().unwrap_or_else(|| panic!("{end:?} is an end, with {long_values:?}"));
            assert!(fault.chain().contains("the driver reports"), "{}", fault.chain());
        }
    }
}

#[tokio::test]
async fn a_description_that_nobody_waits_for_is_ended_on_the_server() {
    if odbc::Driver::FreeTds.library().is_none() {
        return;
    }
    let script = Script { end: End::Hang, ..Script::of(vec![Column::int("id")], Vec::new()) };
    let server = TdsServer::start(script).await;
    let source = open(odbc::tds(&server).expect("the driver is there"));
    let is_prepared = async {
        while !server.seen().contains(&Seen::Call) {
            tokio::task::yield_now().await;
        }
    };
    let asked = query("SELECT id FROM t");
    match select(pin!(source.prepare(&asked, count(1))), pin!(is_prepared)).await {
        Either::Left(_) => panic!("the server does not answer"),
        Either::Right(_) => {}
    }
    while !server.seen().contains(&Seen::Attention) {
        tokio::task::yield_now().await;
    }
}

async fn sessions(connection: &mut sqlx::PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'data-exchange-agent tests'";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("the server's activity")
}

/// psqlODBC does not cancel what it asks for a description, so that the server is told the limit as well.
#[tokio::test]
async fn a_description_that_waits_for_a_lock_ends_with_the_statement_timeout() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else {
        return;
    };
    database.execute("CREATE TABLE locked (id integer)").await;
    let mut holder = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE locked").execute(&mut holder).await.expect("nobody else has it");
    let source = open(OdbcSource { statement_timeout: Some(Duration::from_secs(2)), ..configuration });
    let fault = source.prepare(&table("locked"), count(1)).await.err().expect("it is locked");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    let mut observer = database.connect().await;
    while sessions(&mut observer).await != 0 {}
    drop(holder);
}

/// Rows that the view of [`every_row_takes_a_lock`] was asked for.
async fn rows_taken(connection: &mut sqlx::PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("the server's locks")
}

/// A view whose rows can be counted while they are read.
async fn every_row_takes_a_lock(database: &Database) {
    let sql = "CREATE VIEW counted AS SELECT i AS id, pg_try_advisory_lock(i) AS is_locked \
               FROM generate_series(1, 1000) AS i";
    database.execute(sql).await;
}

/// While nobody takes the batches, two of them wait decoded and both buffers are filled behind them. With one
/// buffer it would be three times its rows.
#[tokio::test]
async fn the_driver_fills_a_buffer_while_another_is_decoded() {
    let database = postgres::server().await.create_database().await;
    let Some(mut configuration) = odbc::postgres(&database) else {
        return;
    };
    every_row_takes_a_lock(&database).await;
    configuration.connection.add("Fetch", "10");
    let source = open(configuration);
    let extraction = source.prepare(&table("counted"), count(1)).await.expect("prepare");
    let small = BatchLimits { rows: count(10), ..limits() };
    let mut stream = extraction.open(0, small).await.expect("open");
    let mut observer = database.connect().await;
    while rows_taken(&mut observer).await < 40 {}
    let mut rows = 0;
    while let Some(batch) = stream.next().await.expect("rows") {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 1000);
}

/// What the loader of the system finds for the program before it starts.
#[tokio::test]
async fn the_program_does_not_need_the_library_to_start() {
    let needed = Place::new().run_with(&["--version"], &[("LD_TRACE_LOADED_OBJECTS", "1")]).await;
    assert!(needed.stdout.contains("libc.so"), "{needed:?}");
    assert!(!needed.stdout.contains("libodbc"), "{needed:?}");
}

#[tokio::test]
async fn a_library_that_is_missing_is_a_finding_of_check_and_an_error_of_the_task() {
    let place = Place::new();
    for name in ["libodbc.so.2", "libodbc.so"] {
        fs::write(place.path().join(name), "no library").unwrap();
    }
    let folder = place.path().display().to_string();
    let place = place.environment("LD_LIBRARY_PATH", &folder).connection(
        "source.dwh",
        "kind = \"odbc\"\nconnection_string = \"Driver=/nowhere/driver.so\"\npassword = \"p\"\n",
    );
    let configuration = place.configuration().display().to_string();
    let checked = place
        .run_with(&["check", "--config", &configuration], &[("LD_LIBRARY_PATH", &folder)])
        .await
        .assert_ends(1, &["load unixODBC", "libodbc.so.2", "Debian: libodbc2"]);
    assert!(checked.contains("source dwh"), "{checked}");

    let agent = place.start().await;
    agent
        .submit(json!({
            "id": "one",
            "source_config": {"database": "dwh", "query": "SELECT 1 AS one"},
            "destination_config": {"type": "local", "path": "p"},
        }))
        .await;
    let task = agent.wait_until("one", "failed").await;
    let error = &task["attempts"][0]["error"];
    assert!(error["hint"].as_str().unwrap().contains("libodbc2"), "{task}");
}
