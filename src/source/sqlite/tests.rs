//! Reading a file of SQLite.

mod any_value;
mod snapshot;
mod types;

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::*;
use crate::cli::demo::sample;
use crate::fault::FaultKind;
use crate::schema::SOURCE_TYPE_KEY;
use crate::schema::TableSchema;
use crate::source::BatchLimits;

/// A directory of one test, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("exchange-sqlite-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("source.db")
    }

    fn source(&self) -> SqliteDatabase {
        SqliteDatabase::new(&SqliteSource { path: self.file() })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection that may write.
async fn writer(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(60))
        .connect()
        .await
        .expect("a database")
}

async fn run(connection: &mut SqliteConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.expect("statements");
}

/// A database made by `statements`.
async fn database(statements: &str) -> (Scratch, SqliteDatabase) {
    let scratch = Scratch::new();
    let mut connection = writer(&scratch.file()).await;
    run(&mut connection, statements).await;
    connection.close().await.expect("closed");
    let source = scratch.source();
    (scratch, source)
}

fn read(read: Read) -> Query {
    Query { read, columns: None, slice_column: None, as_texts: false }
}

fn query(text: &str) -> Query {
    read(Read::Query(text.to_owned()))
}

fn table(text: &str) -> Query {
    read(Read::Table(text.to_owned()))
}

fn limits(rows: usize, bytes: usize) -> BatchLimits {
    BatchLimits {
        rows: NonZeroUsize::new(rows).expect("not zero"),
        bytes: NonZeroUsize::new(bytes).expect("not zero"),
    }
}

async fn prepare(source: &SqliteDatabase, query: &Query) -> Result<Box<dyn Extraction>, Fault> {
    let extraction = source.prepare(query, NonZeroUsize::new(4).expect("not zero")).await?;
    assert_eq!(extraction.slice_count(), 1);
    Ok(extraction)
}

async fn batches(
    source: &SqliteDatabase,
    query: &Query,
    limits: BatchLimits,
) -> Result<(TableSchema, Vec<RecordBatch>), Fault> {
    let extraction = prepare(source, query).await?;
    let mut stream = extraction.open(0, limits).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await? {
        assert_eq!(batch.schema(), extraction.schema().arrow());
        batches.push(batch);
    }
    Ok((extraction.schema().clone(), batches))
}

/// All rows as one batch.
async fn try_rows(source: &SqliteDatabase, query: &Query) -> Result<RecordBatch, Fault> {
    let (schema, batches) = batches(source, query, limits(3, 1 << 20)).await?;
    Ok(concat_batches(&schema.arrow(), &batches).expect("batches of one schema"))
}

async fn rows(source: &SqliteDatabase, query: &Query) -> RecordBatch {
    match try_rows(source, query).await {
        Ok(batch) => batch,
        Err(fault) => panic!("{query:?}: {}", fault.chain()),
    }
}

async fn refused(source: &SqliteDatabase, query: &Query) -> Fault {
    match try_rows(source, query).await {
        Ok(batch) => panic!("{query:?} gave {batch:?}"),
        Err(fault) => fault,
    }
}

fn integers(array: &ArrayRef) -> Vec<Option<i64>> {
    array.as_primitive::<Int64Type>().iter().collect()
}

fn reals(array: &ArrayRef) -> Vec<Option<f64>> {
    array.as_primitive::<Float64Type>().iter().collect()
}

fn decimals(array: &ArrayRef) -> Vec<Option<i128>> {
    array.as_primitive::<Decimal128Type>().iter().collect()
}

fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    array.as_string::<i32>().iter().collect()
}

fn source_type(batch: &RecordBatch, column: usize) -> String {
    batch.schema().field(column).metadata()[SOURCE_TYPE_KEY].clone()
}

#[tokio::test]
async fn chosen_columns_come_in_their_order() {
    let (_scratch, source) = database(
        "CREATE TABLE t (id INTEGER, \"Odd \"\"name\" TEXT, u); INSERT INTO t VALUES (1, 'x', 2), (2, 'y', 3)",
    )
    .await;
    for mut read in [table("t"), query("SELECT 5 AS other, u, id, \"Odd \"\"name\" FROM t")] {
        read.columns = Some(vec!["Odd \"name".into(), "u".into()]);
        let batch = rows(&source, &read).await;
        assert_eq!(texts(batch.column(0)), [Some("x"), Some("y")]);
        assert_eq!(integers(batch.column(1)), [Some(2), Some(3)]);
        assert_eq!(batch.num_columns(), 2);
        for wrong in [vec!["missing"], vec!["ID"], vec!["id", "id"], vec!["rowid"]] {
            read.columns = Some(wrong.iter().map(|name| (*name).to_owned()).collect());
            let fault = refused(&source, &read).await;
            assert_eq!(fault.kind(), FaultKind::Request, "{wrong:?}");
            assert!(fault.hint().is_some());
        }
    }
    let mut ambiguous = query("SELECT id, u AS id, 3 AS three FROM t");
    ambiguous.columns = Some(vec!["three".into()]);
    assert_eq!(rows(&source, &ambiguous).await.num_rows(), 2);
    ambiguous.columns = Some(vec!["id".into()]);
    assert!(refused(&source, &ambiguous).await.chain().contains("several columns"));
}

#[tokio::test]
async fn two_columns_of_one_name_are_refused_without_quoting_literals() {
    let (_scratch, source) = database("CREATE TABLE t (id INTEGER)").await;
    let fault = refused(&source, &query("SELECT id, id FROM t")).await;
    assert!(fault.chain().contains("`id`"));
    let fault = refused(&source, &query("SELECT 'secret', 'secret' FROM t")).await;
    assert!(
        fault.chain().contains("column number 2") && !fault.chain().contains("secret"),
        "{}",
        fault.chain()
    );
}

#[tokio::test]
async fn a_batch_ends_at_the_first_limit() {
    let (_scratch, source) = database(
        "CREATE TABLE t (id INTEGER, x TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO t SELECT i, printf('%.*c', 100, 'x') FROM n",
    )
    .await;
    let sizes =
        |batches: &[RecordBatch]| -> Vec<usize> { batches.iter().map(RecordBatch::num_rows).collect() };
    let (_, by_rows) = batches(&source, &table("t"), limits(30, 1 << 20)).await.expect("rows");
    assert_eq!(sizes(&by_rows), [30, 30, 30, 10]);
    let (_, exact) = batches(&source, &table("t"), limits(50, 1 << 20)).await.expect("rows");
    assert_eq!(sizes(&exact), [50, 50]);
    let (_, by_bytes) = batches(&source, &table("t"), limits(1_000, 1_100)).await.expect("rows");
    assert_eq!(sizes(&by_bytes), [10; 10]);
    let (schema, single) = batches(&source, &table("t"), limits(1_000, 1)).await.expect("rows");
    assert_eq!(sizes(&single), [1; 100]);
    let all = concat_batches(&schema.arrow(), &single).expect("one schema");
    let expected: Vec<Option<i64>> = (1..=100).map(Some).collect();
    assert_eq!(integers(all.column(0)), expected);
}

#[tokio::test]
async fn large_blobs_and_odd_texts_arrive_whole() {
    let (_scratch, source) = database(
        "CREATE TABLE t (x BLOB, s TEXT);
         INSERT INTO t VALUES (randomblob(20000000), printf('%.*c', 5000000, 'y')), (NULL, 'a' || char(0) || 'b')",
    )
    .await;
    let batch = rows(&source, &table("t")).await;
    assert_eq!(batch.column(0).as_binary::<i32>().value(0).len(), 20_000_000);
    assert_eq!(batch.column(1).as_string::<i32>().value(0).len(), 5_000_000);
    assert_eq!(batch.column(1).as_string::<i32>().value(1), "a\0b");
}

#[tokio::test]
async fn a_database_in_utf16_is_read_as_utf8() {
    let (_scratch, source) = database(
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (s TEXT, u); INSERT INTO t VALUES ('ß日🚚', 'é'), ('', 1)",
    )
    .await;
    let batch = rows(&source, &table("t")).await;
    assert_eq!(texts(batch.column(0)), [Some("ß日🚚"), Some("")]);
    assert_eq!(texts(batch.column(1)), [Some("é"), Some("1")]);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_fault_of_the_right_kind() {
    let (scratch, source) = database("CREATE TABLE t (id INTEGER)").await;
    for (read, reason) in [
        (table("missing"), "no such table: missing"),
        (query("SELECT * FROM missing"), "no such table: missing"),
        (query("SELECT wrong FROM t"), "no such column: wrong"),
        (query("SELECT wrong(1) FROM t"), "no such function: wrong"),
        (query("SELECT ?1 FROM t"), "parameter"),
        (query("DELETE FROM t"), "DELETE"),
        (query("SELECT 1; SELECT 2"), "second statement"),
        (query("SELECT json('secret')"), "code 1"),
        (table("a.b.c"), "schema.name"),
    ] {
        let fault = refused(&source, &read).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{read:?}");
        let message = fault.chain();
        assert!(message.contains(reason) && !message.contains("secret"), "{read:?}: {message}");
        let has_hint = fault.hint().is_some();
        assert!(has_hint || !message.contains("no such "), "{read:?}: {message}");
    }
    let missing = SqliteDatabase::new(&SqliteSource { path: scratch.0.join("other.db") });
    let directory = SqliteDatabase::new(&SqliteSource { path: scratch.0.clone() });
    std::fs::write(scratch.0.join("text.db"), "no database, but long enough to have a header".repeat(50))
        .expect("a file");
    let no_database = SqliteDatabase::new(&SqliteSource { path: scratch.0.join("text.db") });
    for broken in [missing, directory, no_database] {
        for fault in [broken.check().await.expect_err("broken"), refused(&broken, &table("t")).await] {
            assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
            assert!(fault.hint().is_some(), "{}", fault.chain());
        }
    }
    assert!(!scratch.0.join("other.db").exists(), "a missing file is not created");
    source.check().await.expect("a good database");
}

#[tokio::test]
async fn a_locked_database_is_a_transient_fault() {
    let (scratch, mut source) = database("CREATE TABLE t (id INTEGER)").await;
    source.busy_timeout = Duration::from_millis(10);
    let mut other = writer(&scratch.file()).await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    for fault in [refused(&source, &table("t")).await, source.check().await.expect_err("locked")] {
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    }
    run(&mut other, "ROLLBACK").await;
    source.check().await.expect("not locked any more");
}

#[tokio::test]
async fn the_sample_arrives_with_its_exact_totals() {
    let scratch = Scratch::new();
    let totals = sample::create(&scratch.file(), 20_000).await.expect("a sample");
    let batch = rows(&scratch.source(), &table(sample::TABLE)).await;
    assert_eq!(batch.num_rows() as u64, totals.rows);
    let sum = |column: usize| integers(batch.column(column)).into_iter().flatten().sum::<i64>();
    assert_eq!((sum(0), sum(3)), (totals.id_sum, totals.quantity_sum));
    let cents: i128 = decimals(batch.column(4)).into_iter().flatten().sum();
    assert_eq!(cents, i128::from(totals.unit_price_cents));
    let discount: f64 = reals(batch.column(5)).into_iter().flatten().sum();
    assert_eq!(discount, totals.discount_sum);
    let ordered: Vec<&str> = texts(batch.column(6)).into_iter().flatten().collect();
    assert_eq!(ordered.iter().min().copied(), totals.first_order.as_deref());
    assert_eq!(ordered.iter().max().copied(), totals.last_order.as_deref());
    assert_eq!(batch.column(7).null_count() as u64, totals.not_shipped);
    let paid = batch.column(8).as_boolean().true_count();
    assert_eq!(paid as u64, totals.paid);
    let notes = texts(batch.column(9));
    assert_eq!(notes.iter().filter(|note| note.is_none()).count() as u64, totals.without_note);
    let bytes: usize = notes.iter().flatten().map(|note| note.len()).sum();
    assert_eq!(bytes as u64, totals.note_bytes);
}
