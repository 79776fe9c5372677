//! Tasks whose files go over a stage: killed before the commit, and on into a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use data_exchange_agent::config::TransferSettings;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Statement};
use data_exchange_agent::task::{
    DestinationKind, DestinationSpec, FileFormat, Progress, Read, SourceSpec, Task, TaskId, TaskSpec,
};
use data_exchange_agent::transfer::Transfer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{destination, forward};
use crate::destinations::Reader;
use crate::support::agent::{Place, eventually};
use crate::support::snowflake::query::Answer;
use crate::support::snowflake::stage::{STAGE, Stage};
use crate::support::snowflake::stage_storage::Backend;
use crate::support::snowflake::{SnowflakeDouble, front};
use crate::support::{extraction, fakesnow, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn a_check_removes_its_file_from_a_stage_or_says_that_it_may_not() {
    for is_allowed in [true, false] {
        let double = SnowflakeDouble::start().await;
        if !is_allowed {
            let text = "SQL access control error: Insufficient privileges to operate on stage 'My Stage'";
            double.on(move |call| {
                call.sql.starts_with("REMOVE ").then(|| Answer::error("003001", "42501", text))
            });
        }
        let stage = Stage::on(&double, Backend::s3(forward).await, Some(16));
        let place = Place::new().connection("target.snowflake", &double.section());
        let configuration = place.configuration();
        let arguments =
            ["check", "--config", configuration.to_str().expect("plain"), "--json", "--stage", STAGE];
        let finished = place.run(&arguments).await;
        let findings: Vec<Value> = serde_json::from_str(&finished.stdout).expect("JSON");
        let mut findings = findings.iter();
        let finding = findings.find(|finding| finding["check"] == "target snowflake").expect("a finding");
        assert_eq!(finding["ok"], is_allowed, "{finding}");
        let detail = finding["detail"].as_str().expect("a text");
        let left: Vec<String> = stage.backend.list("").await.into_iter().map(|(name, ..)| name).collect();
        if is_allowed {
            assert_eq!(detail, "opened, wrote a file and deleted it");
            assert_eq!(left, Vec::<String>::new());
        } else {
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert_eq!(left.len(), 1, "{left:?}");
            assert!(detail.contains(&format!("{}` is left", left[0])), "{finding}: {left:?}");
            let remedy = finding["remedy"].as_str().expect("a remedy");
            assert!(remedy.contains("WRITE on the stage"), "{finding}");
        }
        assert_eq!(stage.hidden().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_between_upload_and_commit_leaves_nothing_visible() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, Backend::s3(forward).await, Some(16));
    // The commit begins with a look at what is there.
    double.hold("LIST ");
    let place = Place::new().database(&database).connection("target.snowflake", &double.section());
    let mut agent = place.start().await;
    let id = agent
        .submit(json!({
            "source_config": {"database": "sales", "query": "SELECT g AS id FROM generate_series(1, 1000) AS g"},
            "destination_config": {"type": "snowflake_stage", "stage": format!("{STAGE}/killed/"), "format": "csv"},
        }))
        .await;
    eventually("a commit", async || {
        double.executed().iter().any(|sql| sql.starts_with("LIST ")).then_some(())
    })
    .await;
    assert_eq!(stage.hidden().await.len(), 1, "the file is stored");
    agent.kill().await;
    assert_eq!(stage.visible("killed").await, BTreeMap::new(), "and not seen");

    double.release();
    agent.start_again().await;
    let task = agent.wait_until(&id, "completed").await;
    let files = stage.visible("killed").await;
    let lines: Vec<&str> = files.values().map(|file| std::str::from_utf8(file).unwrap()).collect();
    assert_eq!(lines.concat().lines().count(), 1001, "a header and each row once");
    assert_eq!(task["receipt"]["files"].as_array().unwrap().len(), files.len());
    assert_eq!(stage.hidden().await, Vec::<String>::new(), "the next attempt removed what was left");
    assert!(!agent.log().contains("secret-of-the-stage"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_get_from_postgresql_over_a_stage_into_a_table() {
    let (Some(emulator), Some(server)) =
        (fakesnow::address_if_installed(), postgres::server_if_installed().await)
    else {
        return;
    };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE orders AS SELECT g AS id, (g * 7 % 1000) / 100.0::numeric(12,2) AS price, \
             'name ' || g AS name, DATE '2026-01-01' + g % 300 AS day FROM generate_series(1, 20000) AS g",
        )
        .await;
    database.execute("ALTER TABLE orders ALTER price TYPE numeric(12,2)").await;
    let connection = fakesnow::connection(front::start(emulator).await);
    let client = Client::new(connection.clone(), &Shutdown::new()).unwrap();
    let run = async |sql: &str| client.run(&Statement::new(sql)).await.expect(sql);
    run("CREATE STAGE EXPORTS").await;
    run("CREATE TABLE ORDERS (ID INT, PRICE NUMBER(12,2), NAME TEXT, DAY DATE)").await;

    let destination = destination(connection);
    let source = extraction::source(&database);
    let task = Task {
        id: TaskId::generate(),
        spec: TaskSpec {
            source: SourceSpec {
                connection: "tests".into(),
                read: Read::Table("orders".into()),
                columns: None,
                slices: Some(2),
                slice_column: None,
                batch_size: None,
                method: None,
            },
            destination: DestinationSpec {
                kind: DestinationKind::SnowflakeStage,
                connection: None,
                path: "@EXPORTS/orders/dt=2026-11-20".into(),
                format: FileFormat::Parquet,
                compression: None,
                max_file_size: None,
                load: None,
            },
            max_attempts: 1,
            timeout: None,
            priority: 0,
            trace: Default::default(),
        },
    };
    let progress = Arc::new(Progress::default());
    let settings = TransferSettings::default();
    let transfer = Transfer::open(&source, &destination, &task, &settings, &progress).await.expect("open");
    let written = transfer.write(&CancellationToken::new()).await.expect("write").expect("nobody stops it");
    let receipt = transfer.commit(written, Instant::now()).await.expect("commit");
    assert_eq!(receipt.files.iter().map(|file| file.rows).sum::<u64>(), 20_000);

    run("COPY INTO ORDERS FROM @EXPORTS/orders/ FILE_FORMAT=(TYPE=PARQUET) MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE")
        .await;
    let sums = "SELECT count(*)::text AS a, sum(id)::bigint::text AS b, (sum(price) * 100)::bigint::text AS c, \
                count(DISTINCT name)::text AS d, min(day)::text || max(day)::text AS e FROM orders";
    let loaded = run(sums).await;
    let loaded: Vec<String> = loaded.rows[0].iter().map(|cell| cell.clone().unwrap()).collect();
    let mut read = Vec::new();
    for column in ["a", "b", "c", "d", "e"] {
        read.push(database.value::<String>(&format!("SELECT {column} FROM ({sums}) AS s")).await);
    }
    assert_eq!(loaded, read);
}
