//! Extractions through PgBouncer in transaction mode, where a session is the server's only for as long
//! as a transaction lasts.

use arrow::array::RecordBatch;
use data_exchange_agent::config::PostgresSource;
use data_exchange_agent::source::{Query, Source};

use crate::support::extraction::{column, configuration, count, limits, open, query, read_slice, table};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres;

/// The ids of all slices, sorted, and how many slices there were.
async fn ids(source: &impl Source, query: &Query, wanted: usize) -> (Vec<i64>, usize) {
    let extraction = source.prepare(query, count(wanted)).await.expect("prepare");
    let mut ids = Vec::new();
    for slice in 0..extraction.slice_count() {
        let rows: RecordBatch = read_slice(&*extraction, slice).await.expect("read");
        ids.extend(
            column(&rows, "id").into_iter().map(|id| id.expect("not NULL").parse::<i64>().expect("a number")),
        );
    }
    ids.sort_unstable();
    (ids, extraction.slice_count())
}

#[tokio::test]
async fn slices_of_one_snapshot_and_the_search_path_work_through_a_pooler() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE SCHEMA crm; CREATE TABLE crm.people AS \
             SELECT i AS id, repeat('x', 900) AS filler FROM generate_series(1, 3000) AS i; ANALYZE crm.people",
        )
        .await;
    let Some(pooler) = PgBouncer::in_front_of(&database) else { return };
    let source =
        open(PostgresSource { search_path: Some("crm, public".into()), ..configuration(pooler.url()) });
    let expected: Vec<i64> = (1..=3000).collect();
    let by_column = Query { slice_column: Some("id".into()), ..query("SELECT id FROM people") };
    for (query, slices) in [(table("people"), 1), (table("people"), 3), (by_column, 3)] {
        assert_eq!(ids(&source, &query, slices).await, (expected.clone(), slices), "{query:?}");
    }
    // What was set for a transaction does not stay with the pooler's session.
    let plain = open(configuration(pooler.url()));
    assert!(plain.prepare(&table("people"), count(1)).await.is_err(), "nobody else has this search path");
}

#[tokio::test]
async fn a_dropped_stream_cancels_its_statement_behind_a_pooler() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let Some(pooler) = PgBouncer::in_front_of(&database) else { return };
    let source = open(configuration(pooler.url()));
    let endless = query("SELECT generate_series(1, 1000000000000) AS i");
    let extraction = source.prepare(&endless, count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, limits()).await.expect("open");
    stream.next().await.expect("rows").expect("a batch");
    let running = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'";
    assert_eq!(database.value::<i64>(running).await, 1);

    drop(stream);

    while database.value::<i64>(running).await > 0 {
        tokio::task::yield_now().await;
    }
}
