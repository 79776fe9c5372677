//! Loads that are refused or rolled back, and leave the table as it was.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::snowflake::put::StageLocation;
use data_exchange_agent::task::{FileFormat, LoadMode, LoadSpec};

use super::{Bench, layout, receipt_of, spec, texts, two_parts};

#[tokio::test]
async fn a_missing_table_that_may_not_be_made_is_a_clear_error() {
    let Some(bench) = Bench::start().await else { return };
    let fixed = || LoadSpec { create: false, ..spec(LoadMode::Append) };
    let staged = bench.stage("a", fixed(), &two_parts()).await;
    let fault = bench.load(&staged).await.expect_err("no control table");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.hint().unwrap().contains("setup.sql"), "{:?}", fault.hint());
    bench.run("CREATE TABLE PUBLIC.OTHER (ID INT)").await;
    let other = LoadSpec { table: "other".into(), ..spec(LoadMode::Append) };
    bench.load(&bench.stage("b", other, &two_parts()).await).await.unwrap();
    let fault = bench.load(&staged).await.expect_err("no table");
    assert!(fault.chain().contains("002003"), "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("`create`"), "{:?}", fault.hint());
}

#[tokio::test]
async fn a_load_that_does_not_add_up_is_rolled_back() {
    let Some(bench) = Bench::start().await else { return };
    let first = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
    bench.load(&first).await.unwrap();
    let before = bench.state().await[0].clone();

    for mode in [LoadMode::Append, LoadMode::Replace, LoadMode::Merge] {
        let task = format!("short-{}", mode.as_str());
        let mut short = bench.stage(&task, spec(mode), &two_parts()).await;
        short.files[0].rows += 1;
        let fault = bench.load(&short).await.expect_err("a row is missing");
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains("4 rows were written and 3 loaded"), "{}", fault.chain());
        assert_eq!(bench.state().await[0], before, "{mode:?}");
    }

    let foreign = bench.stage("foreign", spec(LoadMode::Append), &[vec![(5, "5.00", "by hand")]]).await;
    bench.run("COPY INTO PUBLIC.T FROM @STG/foreign/ FILE_FORMAT=(TYPE=PARQUET) MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE").await;
    let fault = bench.load(&foreign).await.expect_err("somebody else has loaded the file");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.chain().contains("has loaded 1 of 1 files into it before"), "{}", fault.chain());
    assert_eq!(bench.state().await[0].len(), before.len() + 1);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_and_changes_nothing() {
    let Some(bench) = Bench::start().await else { return };
    bench.run("CREATE TABLE PUBLIC.T (ID NUMBER(38,0), TOTAL NUMBER(15,2), BODY VARCHAR)").await;
    bench.run("INSERT INTO PUBLIC.T VALUES (0, 0, 'old')").await;
    let mut staged = bench.stage("a", spec(LoadMode::Replace), &[]).await;
    bench.put("a", "task_a_result_001.csv", b"id,total,body\nhunter2,1.25,x\n".to_vec()).await;
    staged.files = vec![receipt_of("a", "task_a_result_001.csv", 1)];
    staged.request.layout = layout(FileFormat::Csv);
    let fault = bench.load(&staged).await.expect_err("a text is no number");
    assert!(!fault.kind().is_retryable(), "{}", fault.chain());
    assert!(!fault.chain().contains("hunter2"), "{}", fault.chain());
    assert_eq!(bench.state().await[0], texts(&[["0", "0.00", "old"]]));
}

#[tokio::test]
async fn an_id_that_is_used_again_for_other_rows_is_refused() {
    let Some(bench) = Bench::start().await else { return };
    let staged = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
    bench.load(&staged).await.unwrap();
    let mut elsewhere = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
    elsewhere.stage = StageLocation::parse("@STG/elsewhere/").unwrap();
    let fault = bench.load(&elsewhere).await.expect_err("the id names another load");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.chain().contains("a task of this id was loaded into it before"), "{}", fault.chain());
}
