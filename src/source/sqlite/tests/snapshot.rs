//! One picture of the data, for as long as somebody reads.

use super::*;

#[tokio::test]
async fn rows_are_those_of_the_moment_of_prepare() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER, u)").await;
    let mut other = SqliteConnectOptions::new()
        .filename(scratch.file())
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await
        .expect("a database");
    run(&mut other, "INSERT INTO t VALUES (1, 1), (2, 2)").await;
    let extraction = prepare(&source, &table("t")).await.expect("a snapshot");
    run(&mut other, "INSERT INTO t VALUES (3, 'text'); ALTER TABLE t ADD COLUMN late TEXT").await;
    let mut stream = extraction.open(0, limits(10, 1 << 20)).await.expect("a stream");
    let batch = stream.next().await.expect("rows").expect("a batch");
    assert_eq!(integers(batch.column(1)), [Some(1), Some(2)]);
    assert!(stream.next().await.expect("the end").is_none());
    let after = rows(&source, &table("t")).await;
    assert_eq!((after.num_rows(), after.num_columns()), (3, 3));
    let again = extraction.open(0, limits(10, 10)).await.err().expect("opened before");
    assert_eq!(again.kind(), FaultKind::Bug);
}

/// Waits until nobody reads the database: a writer gets the exclusive lock only then.
async fn no_reader_is_left(scratch: &Scratch) {
    let mut other = writer(&scratch.file()).await;
    run(&mut other, "BEGIN EXCLUSIVE; ROLLBACK").await;
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_a_statement_that_gives_rows() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)").await;
    let extraction =
        prepare(&source, &query(&format!("{ENDLESS} SELECT t.id FROM t, n"))).await.expect("a plan");
    let mut stream = extraction.open(0, limits(1_000, 1 << 20)).await.expect("a stream");
    for _ in 0..3 {
        assert_eq!(stream.next().await.expect("rows").map(|batch| batch.num_rows()), Some(1_000));
    }
    drop(stream);
    no_reader_is_left(&scratch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_a_statement_that_never_gives_a_row() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)").await;
    let text = format!("{ENDLESS} SELECT t.id FROM t, n WHERE n.i < 0");
    let extraction = prepare(&source, &query(&text)).await.expect("a plan");
    let mut stream = extraction.open(0, limits(1_000, 1 << 20)).await.expect("a stream");
    let mut next = stream.next();
    assert!(futures::poll!(&mut next).is_pending());
    drop(next);
    drop(stream);
    no_reader_is_left(&scratch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_prepare_stops_looking_at_values() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)").await;
    let text = query(&format!("{ENDLESS} SELECT count(*) AS n FROM t, n"));
    let limit = Duration::from_millis(200);
    let prepared = tokio::time::timeout(limit, prepare(&source, &text)).await;
    assert!(prepared.is_err(), "an endless query was described");
    no_reader_is_left(&scratch).await;
}

#[tokio::test]
async fn an_extraction_that_is_never_opened_lets_go_of_the_file() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER)").await;
    drop(prepare(&source, &table("t")).await.expect("a plan"));
    no_reader_is_left(&scratch).await;
}
