//! The whole way: a task of the queue in Snowflake, rows of PostgreSQL, an encrypted stage, a table, and
//! the end of the task in the queue; also when the agent dies right before that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection, Statement};
use serde_json::{Value, json};

use crate::agent_snowflake_load::{ROWS, TOTALS, create_lines, in_database};
use crate::support::agent::{Agent, Place, eventually};
use crate::support::browser;
use crate::support::emulator_relay::Relay;
use crate::support::fakesnow;
use crate::support::postgres::{self, Database};
use crate::support::proxy::Treatment;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::query::Answer;
use crate::support::snowflake::queue::{Queue, Row, State, Version};
use crate::support::snowflake::queue_server::mount;
use crate::support::snowflake::stage::{STAGE, Stage};
use crate::support::snowflake::stage_storage::Backend;
use crate::support::snowflake::warehouse::Warehouse;

/// Snowflake as one agent sees it, with its database on the other side.
struct Way {
    double: SnowflakeDouble,
    queue: Arc<Queue>,
    stage: Arc<Stage>,
    /// The emulator that has the tables.
    tables: Connection,
    database: Database,
    agent: Agent,
}

impl Way {
    /// `before` is asked about every statement before anybody else.
    async fn start(before: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Option<Self> {
        Self::start_with(before, |place| {
            let section = "connection_name = \"lake\"\nagent_id = \"agent\"\n";
            place
                .top("selected_task_source = \"snowflake_stored_procedure\"")
                .application("task_fetch_interval = 1")
                .section("task_source.snowflake_stored_procedure", section)
        })
        .await
    }

    /// The same for an agent that is configured otherwise.
    async fn start_with(
        before: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
        configured: impl FnOnce(Place) -> Place,
    ) -> Option<Self> {
        let emulator = fakesnow::address_if_installed()?;
        let server = postgres::server_if_installed().await?;
        let relay = Relay::start(emulator).await;
        let tables = fakesnow::connection(relay.address);
        let name = tables.database.clone().expect("each test has a database");

        let double = SnowflakeDouble::start().await;
        double.on(move |call| before(call.sql));
        let queue = Arc::new(Queue::new(Version::Ours));
        mount(&queue, &double);
        let stage = Stage::unmounted(Backend::s3(|_| Treatment::Forward).await, Some(16));
        Warehouse::behind(&double, relay, &name, &stage);
        stage.mount(&double);

        let database = server.create_database().await;
        create_lines(&database).await;
        let connection = format!("{}database = {name:?}\nschema = \"PUBLIC\"\n", double.section());
        let place = Place::new().connection("target.lake", &connection).database(&database);
        let place = configured(place);
        let way = Self { double, queue, stage, tables, database, agent: place.start().await };
        way.ask("CREATE STAGE STG").await;
        Some(way)
    }

    /// Rows of the emulator.
    async fn ask(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let client = Client::new(self.tables.clone(), &Shutdown::new()).unwrap();
        let table = client.run(&Statement::new(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        client.close().await;
        table.rows
    }

    async fn in_table(&self) -> Vec<String> {
        let totals: Vec<String> = (0..)
            .zip(TOTALS)
            .map(|(number, (_, sql))| format!("CAST(CAST({sql} AS NUMBER(38,2)) AS VARCHAR) AS X{number}"))
            .collect();
        let rows = self.ask(&format!("SELECT {} FROM LINES", totals.join(", "))).await;
        rows.into_iter().flatten().map(|cell| cell.expect("no total is NULL")).collect()
    }

    async fn completed(&self, id: &str) -> (Row, Value) {
        let row = eventually("the task to be completed", async || {
            let row = self.queue.row(id).expect("the task is there");
            assert_ne!(row.state, State::Failed, "{row:?}\n{}", self.agent.log());
            (row.state == State::Completed).then_some(row)
        });
        let row = row.await;
        let receipt = serde_json::from_str(row.receipt.as_deref().expect("with a receipt")).unwrap();
        (row, receipt)
    }
}

fn task(id: &str, load: Value) -> Value {
    json!({
        "source_config": {"database": "sales", "table": "lines", "batch_size": 500},
        "destination_config": {"type": "snowflake_stage", "stage": format!("{STAGE}/{id}/"),
            "max_file_size": "16KiB", "load": load},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_queue_travels_over_an_encrypted_stage_into_a_table() {
    let Some(mut way) = Way::start(|_| None).await else { return };
    let expected = in_database(&way.database).await;
    way.queue.enqueue("whole", &task("whole", json!({"table": "lines", "mode": "replace"})));
    let (row, receipt) = way.completed("whole").await;
    assert_eq!((row.completions, row.attempt, row.failures), (1, 1, 0));
    assert_eq!(receipt["rows"], ROWS, "{receipt}");
    assert_eq!(receipt["load"]["rows_inserted"], ROWS, "{receipt}");
    assert_eq!(receipt["load"]["already_loaded"], false);
    assert_eq!(way.in_table().await, expected);

    // What is stored is not what is read, and both are what the receipt says.
    let files = receipt["files"].as_array().unwrap();
    assert!(files.len() > 1, "{receipt}");
    for file in files {
        let name = file["location"].as_str().unwrap().strip_prefix(&format!("{STAGE}/")).unwrap();
        let object = way.stage.backend.get(name).await.expect("the file is on the stage");
        assert!(object.key.is_some() && !object.content.starts_with(b"PAR1"), "{name} is not encrypted");
        let content = way.stage.read(name).await;
        assert!(content.starts_with(b"PAR1") && content.ends_with(b"PAR1"), "{name}");
        assert_eq!(file["bytes"], content.len());
    }

    // Every statement says who asks, about what, and for which attempt; but for those about no task.
    for request in way.double.seen("/queries/v1/query-request") {
        let sql = request.body["sqlText"].as_str().unwrap().to_owned();
        let tag = request.body["parameters"]["QUERY_TAG"].as_str().unwrap_or_else(|| panic!("no tag: {sql}"));
        let tag: Value = serde_json::from_str(tag).unwrap();
        assert_eq!((&tag["agent"], tag["version"].is_string()), (&json!("agent"), true), "{sql}: {tag}");
        let is_about_all = ["PULL_TASKS", "EXTEND_LEASES", "INFORMATION_SCHEMA", "RECORD_HISTORY"]
            .iter()
            .any(|name| sql.contains(name));
        let of_task = if is_about_all { (&Value::Null, &Value::Null) } else { (&json!("whole"), &json!(1)) };
        assert_eq!((&tag["task"], &tag["attempt"]), of_task, "{sql}: {tag}");
    }

    way.agent.signal("TERM");
    assert!(way.agent.exit().await.success(), "{}", way.agent.log());
    // Queue and stage share a session; the load has one of its own, for its transaction.
    assert_eq!(way.double.logins(), 2);
    assert_eq!(way.double.open_sessions(), 0, "every session is closed at the stop");
    assert_eq!(way.double.closed_sessions().last(), Some(&1), "the shared one comes last");
    assert!(!way.agent.log().contains("hunter2") && !way.agent.log().contains("secret-of-the-stage"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_between_load_and_completion_reads_and_loads_nothing_again() {
    // The first COMPLETE waits for ever, and is never carried out.
    let completions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&completions);
    let before = move |sql: &str| {
        let is_first = sql.contains(".COMPLETE_TASK(") && counted.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| Answer::value("never").after_polls(usize::MAX))
    };
    let Some(mut way) = Way::start(before).await else { return };
    let expected = in_database(&way.database).await;
    way.queue.enqueue("once", &task("once", json!({"table": "lines", "mode": "append", "purge": true})));
    eventually("the completion", async || (completions.load(Ordering::SeqCst) > 0).then_some(())).await;
    way.agent.kill().await;
    assert_eq!(way.in_table().await, expected, "the load was committed");
    assert_eq!(way.queue.row("once").unwrap().state, State::Leased);
    way.database.execute("DROP TABLE lines").await;
    let asked = way.double.executed().len();

    way.queue.expire_leases_of("agent");
    way.agent.start_again().await;
    let (row, receipt) = way.completed("once").await;
    assert_eq!((row.completions, row.attempt, row.failures), (1, 2, 0));
    let load = &receipt["load"];
    assert_eq!((&load["already_loaded"], &load["rows_loaded"]), (&json!(true), &json!(ROWS)), "{receipt}");
    assert_eq!((&load["purged"], &receipt["slices"]), (&json!(true), &json!(0)), "{receipt}");
    let files = receipt["files"].as_array().unwrap();
    let rows: u64 = files.iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert!(files.len() > 1 && rows == ROWS && receipt["rows"] == ROWS, "{receipt}");
    assert_eq!(way.in_table().await, expected);
    let again = &way.double.executed()[asked..];
    let writes =
        again.iter().filter(|sql| ["PUT", "LIST", "COPY", "BEGIN"].iter().any(|verb| sql.starts_with(verb)));
    assert_eq!(writes.collect::<Vec<_>>(), Vec::<&String>::new(), "nothing is done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_loads_a_table_by_the_form_of_the_console() {
    if !browser::is_installed() {
        return;
    }
    let Some(way) = Way::start_with(|_| None, |place| place).await else { return };
    let expected = in_database(&way.database).await;
    browser::play_alone("stage", &way.agent, &[("STAGE", STAGE)]).await;
    assert_eq!(way.in_table().await, expected);
}
