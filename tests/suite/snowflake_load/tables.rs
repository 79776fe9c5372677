//! What a load makes of a table: appended, replaced or merged rows, columns, values.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::task::{FileFormat, LoadMode, LoadReceipt, LoadSpec};

use super::{Bench, layout, receipt_of, spec, texts, two_parts};

/// The first two words of each statement.
fn verbs(statements: &[String]) -> Vec<String> {
    statements.iter().map(|sql| sql.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn a_table_is_made_and_a_repeated_attempt_loads_nothing() {
    let Some(bench) = Bench::start().await else { return };
    let staged = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
    let receipt = bench.load(&staged).await.unwrap();
    assert!(receipt.table.ends_with(".\"PUBLIC\".\"T\""), "{}", receipt.table);
    assert_eq!((receipt.rows_loaded, receipt.rows_inserted, receipt.already_loaded), (3, 3, false));
    let state = bench.state().await;
    let rows = texts(&[["1", "1.25", "{\"a\":1}"], ["2", "-0.50", "\\N"], ["3", "7.00", "x'y\"z"]]);
    assert_eq!(state[0], rows);
    assert_eq!(state[1], [["a", "LOADED", "append", "@STG/a/", "2", "3", "3", "0", "0"]]);

    bench.relay.take_statements();
    let again = bench.load(&staged).await.unwrap();
    assert_eq!(again, LoadReceipt { already_loaded: true, ..receipt });
    assert_eq!(bench.state().await, state);
    let statements = bench.relay.take_statements();
    assert!(!statements.iter().any(|sql| sql.starts_with("COPY")), "{statements:?}");

    // Other rows of another task are added.
    let other = bench.stage("b", spec(LoadMode::Append), &[vec![(3, "7.00", "again")]]).await;
    assert_eq!(bench.load(&other).await.unwrap().rows_inserted, 1);
    assert_eq!(bench.state().await[0].len(), 4);
}

#[tokio::test]
async fn replace_leaves_the_new_rows_only() {
    let Some(bench) = Bench::start().await else { return };
    let first = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
    bench.load(&first).await.unwrap();
    let second = bench.stage("b", spec(LoadMode::Replace), &[vec![(9, "9.00", "new")]]).await;
    let receipt = bench.load(&second).await.unwrap();
    assert_eq!((receipt.rows_inserted, receipt.rows_deleted), (1, 3));
    let rows = texts(&[["9", "9.00", "new"]]);
    assert_eq!(bench.state().await[0], rows);
    // The old task comes back, as a queue may give it again: its rows do not.
    assert!(bench.load(&first).await.unwrap().already_loaded);
    assert_eq!(bench.state().await[0], rows);
}

#[tokio::test]
async fn merge_updates_and_inserts_and_refuses_keys_that_leave_a_choice() {
    let Some(bench) = Bench::start().await else { return };
    let first = bench.stage("a", spec(LoadMode::Merge), &two_parts()).await;
    let receipt = bench.load(&first).await.unwrap();
    assert_eq!((receipt.rows_loaded, receipt.rows_inserted, receipt.rows_updated), (3, 3, 0));
    let second = bench.stage("b", spec(LoadMode::Merge), &[vec![(2, "2.00", "new"), (4, "4.00", "d")]]).await;
    let receipt = bench.load(&second).await.unwrap();
    assert_eq!((receipt.rows_loaded, receipt.rows_inserted, receipt.rows_updated), (2, 1, 1));
    let [rows, control] = bench.state().await;
    let expected = texts(&[
        ["1", "1.25", "{\"a\":1}"],
        ["2", "2.00", "new"],
        ["3", "7.00", "x'y\"z"],
        ["4", "4.00", "d"],
    ]);
    assert_eq!(rows, expected);
    assert_eq!(control[1], ["b", "LOADED", "merge", "@STG/b/", "1", "2", "1", "1", "0"]);

    let doubles = bench.stage("c", spec(LoadMode::Merge), &[vec![(1, "1.00", "x"), (1, "2.00", "y")]]).await;
    let fault = bench.load(&doubles).await.expect_err("two rows with one key");
    assert_eq!(fault.kind(), FaultKind::Data);
    assert!(fault.chain().contains("by `id`: 0 rows have NULL in a key, and 1 keys"), "{}", fault.chain());
    let [rows, control] = bench.state().await;
    assert_eq!(rows, expected);
    assert_eq!(control[2][..2], ["c", "OPEN"]);
}

#[tokio::test]
async fn a_table_follows_the_result_when_it_may() {
    let Some(bench) = Bench::start().await else { return };
    bench.run("CREATE TABLE PUBLIC.T (\"id\" NUMBER(38,0), TOTAL NUMBER(5,2))").await;
    let fixed = LoadSpec { evolve: false, ..spec(LoadMode::Append) };
    let refused = bench.stage("a", fixed, &two_parts()).await;
    let fault = bench.load(&refused).await.expect_err("a column is missing");
    assert!(fault.chain().ends_with("it has no column `body`"), "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("`evolve`"));

    let staged = bench.stage("b", spec(LoadMode::Append), &two_parts()).await;
    bench.load(&staged).await.unwrap();
    let described = bench.run("DESCRIBE TABLE PUBLIC.T").await;
    let columns: Vec<&[String]> = described.iter().map(|row| &row[..2]).collect();
    assert_eq!(columns, [["id", "NUMBER(38,0)"], ["TOTAL", "NUMBER(15,2)"], ["BODY", "VARCHAR(16777216)"]]);
    assert_eq!(bench.state().await[0].len(), 3);
}

#[tokio::test]
async fn json_is_parsed_into_a_variant_and_stays_text_elsewhere() {
    let Some(bench) = Bench::start().await else { return };
    bench.run("CREATE TABLE PUBLIC.T (ID NUMBER(38,0), TOTAL NUMBER(15,2), BODY VARIANT)").await;
    for (task, mode, rows) in [
        ("a", LoadMode::Append, vec![(1, "1.00", "{\"a\": [1, 2]}"), (2, "2.00", "null")]),
        ("b", LoadMode::Merge, vec![(2, "2.00", "{\"a\": [7, 8]}")]),
    ] {
        let staged = bench.stage(task, spec(mode), &[rows]).await;
        assert_eq!(bench.load(&staged).await.unwrap().mode, mode);
    }
    let values = bench.run("SELECT ID, BODY:a[1] AS X FROM PUBLIC.T ORDER BY ID").await;
    assert_eq!(values, [["1", "2"], ["2", "8"]]);
}

#[tokio::test]
async fn csv_is_loaded_by_place() {
    let Some(bench) = Bench::start().await else { return };
    let mut staged = bench.stage("a", spec(LoadMode::Append), &[]).await;
    let content = "id,total,body\n1,1.25,\"a \"\"q\"\", \\N\"\n2,,\\N\n";
    bench.put("a", "task_a_result_001.csv", content.into()).await;
    staged.files = vec![receipt_of("a", "task_a_result_001.csv", 2)];
    staged.request.layout = layout(FileFormat::Csv);
    bench.load(&staged).await.unwrap();
    let rows = texts(&[["1", "1.25", "a \"q\", \\N"], ["2", "NULL", "\\N"]]);
    assert_eq!(bench.state().await[0], rows);
}

#[tokio::test]
async fn ddl_comes_before_the_transaction_and_the_files_go_after_it() {
    let Some(bench) = Bench::start().await else { return };
    bench.run("CREATE TABLE PUBLIC.T (ID NUMBER(38,0))").await;
    let staged = bench.stage("a", LoadSpec { purge: true, ..spec(LoadMode::Merge) }, &two_parts()).await;
    bench.relay.take_statements();
    let receipt = bench.load(&staged).await.unwrap();
    assert!(receipt.purged);
    let statements = bench.relay.take_statements();
    let expected = [
        "SELECT CURRENT_DATABASE()",
        "SELECT MODE,",
        "CREATE TABLE",
        "DESCRIBE TABLE",
        "ALTER TABLE",
        "ALTER TABLE",
        "DESCRIBE TABLE",
        "INSERT INTO",
        "CREATE TEMPORARY",
        "COPY INTO",
        "SELECT (SELECT",
        "BEGIN TRANSACTION",
        "MERGE INTO",
        "UPDATE",
        "COMMIT",
        "REMOVE @STG/a/task_a_result_001.parquet",
        "REMOVE @STG/a/task_a_result_002.parquet",
    ];
    let found = verbs(&statements);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
}
