//! Loads into tables: files on a stage, a load of them, and the state that it leaves.

mod once;
mod refusals;
mod tables;

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use data_exchange_agent::destination::{FileLayout, LoadRequest};
use data_exchange_agent::fault::Fault;
use data_exchange_agent::schema::{Column, TableSchema};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::load::{self, LoadJob};
use data_exchange_agent::snowflake::put::StageLocation;
use data_exchange_agent::snowflake::{Client, Connection, Statement};
use data_exchange_agent::task::{
    Compression, FileFormat, FileReceipt, LoadMode, LoadReceipt, LoadSpec, TaskId,
};
use parquet::arrow::ArrowWriter;

use crate::support::emulator_relay::Relay;
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
