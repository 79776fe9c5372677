//! Loads into tables: once for each task, whatever dies or is lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use data_exchange_agent::destination::{FileLayout, LoadRequest};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::schema::{Column, TableSchema};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::load::{self, LoadJob};
use data_exchange_agent::snowflake::put::StageLocation;
use data_exchange_agent::snowflake::{Client, Connection, Statement};
use data_exchange_agent::task::{
    Compression, FileFormat, FileReceipt, LoadMode, LoadReceipt, LoadSpec, TaskId,
};
use parquet::arrow::ArrowWriter;

use crate::support::emulator_relay::{Relay, Treatment};
use crate::support::fakesnow;

/// A relay in front of the emulator, a database with the stage `STG`, and a client.
struct Bench {
    relay: Relay,
    connection: Connection,
    client: Client,
}

/// Rows of the test tables: `id`, `total` and `body`.
type Rows = Vec<(i64, &'static str, &'static str)>;

/// A task with its files on the stage.
struct Staged {
    task: TaskId,
    request: LoadRequest,
    stage: StageLocation,
    files: Vec<FileReceipt>,
}

impl Bench {
    async fn start() -> Option<Self> {
        let relay = Relay::start(fakesnow::address_if_installed()?).await;
        let connection = fakesnow::connection(relay.address);
        let client = Client::new(connection.clone(), &Shutdown::new()).unwrap();
        let bench = Self { relay, connection, client };
        bench.run("CREATE STAGE STG").await;
        bench.relay.take_statements();
        Some(bench)
    }

    async fn run(&self, sql: &str) -> Vec<Vec<String>> {
        let table =
            self.client.run(&Statement::new(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "NULL".into());
        table.rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    /// The rows of table `T`, and of its control table.
    async fn state(&self) -> [Vec<Vec<String>>; 2] {
        let rows = self.run("SELECT ID, TOTAL, BODY FROM PUBLIC.T ORDER BY ID, TOTAL").await;
        let control = "SELECT TASK_ID, STATE, MODE, STAGE, FILES, ROWS_LOADED, ROWS_INSERTED, ROWS_UPDATED, \
                       ROWS_DELETED FROM PUBLIC.DATA_EXCHANGE_AGENT_LOADS ORDER BY TASK_ID, STATE";
        [rows, self.run(control).await]
    }

    /// Puts a Parquet file for each of `parts` on the stage.
    async fn stage(&self, task: &str, spec: LoadSpec, parts: &[Rows]) -> Staged {
        let mut files = Vec::new();
        for (number, rows) in (1..).zip(parts) {
            let name = format!("task_{task}_result_{number:03}.parquet");
            self.put(task, &name, parquet(rows)).await;
            files.push(receipt_of(task, &name, rows.len() as u64));
        }
        Staged {
            task: TaskId::parse(task).unwrap(),
            request: LoadRequest { spec, schema: schema(), layout: layout(FileFormat::Parquet) },
            stage: StageLocation::parse(&format!("@STG/{task}/")).unwrap(),
            files,
        }
    }

    async fn put(&self, directory: &str, name: &str, content: Vec<u8>) {
        let sql = format!("PUT 'file:///{name}' @STG/{directory}/ AUTO_COMPRESS=FALSE");
        let order = self.client.transfer(&Statement::new(sql)).await.unwrap();
        let url = order["stageInfo"]["presignedUrl"].as_str().expect("fakesnow gives a URL");
        let answer = reqwest::Client::new().put(url).body(content).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status} {url}: {}", answer.text().await.unwrap_or_default());
    }

    async fn load(&self, staged: &Staged) -> Result<LoadReceipt, Fault> {
        load::run(&self.client, &staged.job()).await
    }

    /// A client as an agent has it that was just started.
    fn new_client(&self) -> Client {
        Client::new(self.connection.clone(), &Shutdown::new()).unwrap()
    }
}

impl Staged {
    fn job(&self) -> LoadJob<'_> {
        LoadJob {
            task: &self.task,
            attempt: 1,
            request: &self.request,
            stage: &self.stage,
            files: &self.files,
            control_table: None,
        }
    }
}

fn receipt_of(task: &str, name: &str, rows: u64) -> FileReceipt {
    FileReceipt { location: format!("@STG/{task}/{name}"), rows, bytes: 7, sha256: "00".into() }
}

fn spec(mode: LoadMode) -> LoadSpec {
    let keys = match mode {
        LoadMode::Merge => vec!["id".to_owned()],
        LoadMode::Append | LoadMode::Replace => Vec::new(),
    };
    LoadSpec { table: "t".into(), mode, keys, create: true, evolve: true, purge: false }
}

fn layout(format: FileFormat) -> FileLayout {
    FileLayout {
        format,
        compression: Compression::None,
        csv_delimiter: b',',
        csv_line_end: "\n".into(),
        csv_header: true,
    }
}

fn schema() -> TableSchema {
    let column = |name: &str, source_type: &str, data_type| Column {
        name: name.into(),
        source_type: source_type.into(),
        data_type,
        nullable: true,
    };
    TableSchema::new(vec![
        column("id", "bigint", DataType::Int64),
        column("total", "numeric(15,2)", DataType::Decimal128(15, 2)),
        column("body", "jsonb", DataType::Utf8),
    ])
    .unwrap()
}

fn parquet(rows: &Rows) -> Vec<u8> {
    let totals = rows.iter().map(|(_, total, _)| total.replace('.', "").parse::<i128>().unwrap());
    let columns: [ArrayRef; 3] = [
        Arc::new(rows.iter().map(|(id, _, _)| Some(*id)).collect::<Int64Array>()),
        Arc::new(totals.map(Some).collect::<Decimal128Array>().with_precision_and_scale(15, 2).unwrap()),
        Arc::new(rows.iter().map(|(_, _, body)| Some(*body)).collect::<StringArray>()),
    ];
    let fields: Vec<Field> = ["id", "total", "body"]
        .into_iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn two_parts() -> Vec<Rows> {
    vec![vec![(1, "1.25", "{\"a\":1}"), (2, "-0.50", "\\N")], vec![(3, "7.00", "x'y\"z")]]
}

fn texts(rows: &[[&str; 3]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

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

/// Loads after a first load of another task, with an agent that dies at statement `number`. Returns
/// the end state, and whether the agent died at all.
async fn die_at(
    mode: LoadMode,
    number: usize,
    treatment: Treatment,
) -> Option<([Vec<Vec<String>>; 2], bool)> {
    let bench = Bench::start().await?;
    let first =
        bench.stage("first", spec(LoadMode::Append), &[vec![(2, "0.00", "old"), (8, "8.00", "old")]]).await;
    if number.is_multiple_of(2) {
        // Every other time the table and the control table are there already.
        bench.load(&first).await.unwrap();
    } else {
        bench.run("CREATE TABLE PUBLIC.T (ID NUMBER(38,0), TOTAL NUMBER(15,2))").await;
        bench.run("INSERT INTO PUBLIC.T VALUES (2, 0), (8, 8)").await;
    }
    let staged = bench.stage("a", spec(mode), &two_parts()).await;
    let seen = AtomicUsize::new(0);
    bench.relay.treat(move |_sql| {
        if seen.fetch_add(1, Ordering::Relaxed) == number { treatment } else { Treatment::Forward }
    });
    let dying = bench.new_client();
    let job = staged.job();
    let died = tokio::select! {
        receipt = load::run(&dying, &job) => {
            receipt.unwrap();
            false
        }
        () = bench.relay.held() => true,
    };
    bench.relay.forward();
    bench.relay.end_held_sessions().await;
    let receipt = load::run(&bench.new_client(), &job).await.unwrap();
    assert_eq!(receipt.rows_loaded, 3);
    let mut state = bench.state().await;
    state[1].retain(|row| row[0] == "a");
    Some((state, died))
}

async fn die_everywhere(mode: LoadMode, rows: &[&str]) {
    for treatment in [Treatment::HoldBefore, Treatment::HoldAfter] {
        let mut number = 0;
        let mut survived = 0;
        // The longer of the two sequences ends later.
        while survived < 2 {
            let Some(([found, control], died)) = die_at(mode, number, treatment).await else { return };
            let ids: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
            assert_eq!(ids, rows, "{mode:?} dies at statement {number}, {treatment:?}");
            assert_eq!(control.len(), 1, "{control:?}");
            assert_eq!(control[0][1..3], ["LOADED", mode.as_str()]);
            survived = if died { 0 } else { survived + 1 };
            number += 1;
        }
        assert!(number > 8, "{number} statements");
    }
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_an_append_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Append, &["1", "2", "2", "3", "8"]).await;
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_a_replace_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Replace, &["1", "2", "3"]).await;
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_in_a_merge_has_loaded_once_in_the_end() {
    die_everywhere(LoadMode::Merge, &["1", "2", "3", "8"]).await;
}

#[tokio::test]
async fn a_lost_session_or_answer_is_made_good_within_one_attempt() {
    for (beginning, treatment, found_again) in [
        ("COPY INTO", Treatment::LoseAfter, false),
        ("COMMIT", Treatment::LoseBefore, false),
        ("COMMIT", Treatment::LoseAfter, true),
        ("COMMIT", Treatment::CutAnswer, false),
        ("INSERT INTO", Treatment::CutAnswer, false),
    ] {
        let Some(bench) = Bench::start().await else { return };
        let staged = bench.stage("a", spec(LoadMode::Append), &two_parts()).await;
        let seen = AtomicUsize::new(0);
        bench.relay.treat(move |sql| {
            let is_first = sql.starts_with(beginning) && seen.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first { treatment } else { Treatment::Forward }
        });
        let receipt =
            bench.load(&staged).await.unwrap_or_else(|fault| panic!("{beginning}: {}", fault.chain()));
        assert_eq!(
            (receipt.rows_loaded, receipt.already_loaded),
            (3, found_again),
            "{beginning} {treatment:?}"
        );
        let [rows, control] = bench.state().await;
        assert_eq!((rows.len(), control.len()), (3, 1), "{beginning} {treatment:?}");
    }
}

#[tokio::test]
async fn two_agents_with_one_task_load_it_once() {
    let Some(bench) = Bench::start().await else { return };
    for round in 0..5 {
        let task = format!("round-{round}");
        let staged = bench.stage(&task, spec(LoadMode::Append), &two_parts()).await;
        let job = staged.job();
        let clients = [bench.new_client(), bench.new_client()];
        let both = tokio::join!(load::run(&clients[0], &job), load::run(&clients[1], &job));
        // Where Snowflake lets the second one wait, the emulator lets it fail: it comes back.
        for result in [both.0, both.1] {
            if result.is_err() {
                assert_eq!(load::run(&bench.new_client(), &job).await.unwrap().rows_loaded, 3);
            }
        }
        let [rows, control] = bench.state().await;
        assert_eq!(rows.len(), 3 * (round + 1), "{control:?}");
    }
}
