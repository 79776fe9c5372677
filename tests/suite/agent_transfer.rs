//! Posted tasks become files that foreign programs read as what the database holds.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Row};
use url::Url;

use crate::support::agent::{Agent, Place, eventually};
use crate::support::folder::Folder;
use crate::support::foreign_reader::{self, Found};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Database};
use crate::support::s3::{Bucket, server_address};

/// Rows of the table `lines`.
const ROWS: u64 = 20_000;

/// A table with the types that people have, NULL and empty texts in it.
async fn create_lines(database: &Database) {
    let sql = format!(
        "CREATE TABLE lines AS SELECT id, (id % 1000)::integer AS quantity, (id * 1.01)::numeric(18,2) AS price,
           CASE WHEN id % 7 = 0 THEN NULL WHEN id % 7 = 1 THEN '' WHEN id % 7 = 2 THEN 'a, \"b\"' || E'\\n' || id
                ELSE 'lïne ' || id END AS note,
           timestamptz '2026-01-01 00:00:00.000001+00' + id * interval '1 second' AS sold_at,
           date '1990-01-01' + (id % 20000)::integer AS day, id % 2 = 0 AS even,
           decode(md5(id::text), 'hex') AS hash, id::float8 / 3 AS ratio
         FROM generate_series(1::bigint, {ROWS}) AS id;
         ALTER TABLE lines ADD PRIMARY KEY (id); ANALYZE lines"
    );
    database.execute(&sql).await;
}

/// Counts, sums and bounds of every column. `HEX` is spelled differently by each program.
const TOTALS: &str = "SELECT CAST(count(*) AS varchar), CAST(count(DISTINCT id) AS varchar), CAST(sum(id) AS varchar), \
     CAST(sum(quantity) AS varchar), CAST(sum(price) AS varchar), CAST(min(price) AS varchar), CAST(max(price) AS varchar), \
     CAST(count(note) AS varchar), min(note), max(note), CAST(sum(length(note)) AS varchar), \
     CAST(min(day) AS varchar), CAST(max(day) AS varchar), CAST(count(CASE WHEN even THEN 1 END) AS varchar), \
     CAST(sum(octet_length(hash)) AS varchar), min(HEX(hash)), max(HEX(hash)), \
     CAST(CAST(min(ratio) * 1000000 AS bigint) AS varchar), CAST(CAST(max(ratio) * 1000000 AS bigint) AS varchar), \
     CAST(sum(CAST(extract(microseconds FROM sold_at) AS bigint)) AS varchar) FROM lines";

/// Whole rows.
const SAMPLE: &str = "SELECT CAST(id AS varchar), CAST(quantity AS varchar), CAST(price AS varchar), note, \
     CAST(CAST(floor(extract(epoch FROM sold_at)) AS bigint) AS varchar), CAST(day AS varchar), \
     CAST(even AS varchar), HEX(hash), \
     CAST(CAST(ratio * 1000000 AS bigint) AS varchar) FROM lines WHERE id % 997 < 7 ORDER BY id + 0";

async fn in_database(database: &Database, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut connection = database.connect().await;
    let sql = sql.replace("HEX(hash)", "encode(hash, 'hex')");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
}

fn in_files(files: &[PathBuf], sql: &str) -> Found {
    let sql = sql.replace("HEX(hash)", "lower(hex(hash))").replace("FROM lines", "FROM result");
    foreign_reader::query(files, &sql)
}

/// Proves that Parquet files have the rows of `lines`, by counts, sums, bounds and whole rows.
async fn assert_same_rows(database: &Database, files: &[PathBuf]) {
    for sql in [TOTALS, SAMPLE] {
        let (found, expected) = (in_files(files, sql).rows, in_database(database, sql).await);
        assert_eq!(found.len(), expected.len(), "{sql}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{sql}");
        }
    }
}

fn files_of(receipt: &Value) -> Vec<Value> {
    receipt["files"].as_array().expect("files").clone()
}

fn sum(files: &[Value], key: &str) -> u64 {
    files.iter().map(|file| file[key].as_u64().expect("a number")).sum()
}

/// Proves that a receipt says what its files are. Returns the files.
fn assert_receipt(receipt: &Value, rows: u64, read: impl Fn(&str) -> Vec<u8>) -> Vec<Value> {
    let files = files_of(receipt);
    for file in &files {
        let location = file["location"].as_str().expect("a location");
        let content = read(location);
        assert_eq!(file["bytes"], content.len(), "{location}");
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file["sha256"], digest, "{location}");
    }
    assert_eq!(receipt["rows"], rows);
    assert_eq!(sum(&files, "rows"), rows);
    assert_eq!(receipt["bytes"], sum(&files, "bytes"));
    files
}

fn path_of(location: &str) -> PathBuf {
    Url::parse(location).unwrap().to_file_path().unwrap()
}

fn read_file(location: &str) -> Vec<u8> {
    fs::read(path_of(location)).expect(location)
}

fn local_paths(files: &[Value]) -> Vec<PathBuf> {
    files.iter().map(|file| path_of(file["location"].as_str().unwrap())).collect()
}

fn assert_one_attempt(task: &Value) {
    let attempts = task["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{task:#}");
    assert_eq!(attempts[0]["status"], "completed");
    assert_eq!(attempts[0]["error"], Value::Null);
    assert!(task["progress"].is_null());
}

#[tokio::test]
async fn every_form_of_a_posted_task_becomes_the_same_rows_in_local_files() {
    let Some(server) = postgres::server_if_installed().await else { return };
    if !foreign_reader::is_installed() {
        return;
    }
    let database = server.create_database().await;
    create_lines(&database).await;
    let agent = Place::new().database(&database).start().await;

    let nested = json!({
        "task_type": "data_extraction",
        "id": "nested",
        "source_config": {"database": "sales", "table": "public.lines", "slices": 3, "batch_size": 1000},
        "destination_config": {"type": "local", "path": "nested/parts", "max_file_size": "64KiB"},
    });
    let flat = json!({
        "id": 42, "engine": "sales", "database": database.name(), "schema": "public",
        "statement": "SELECT * FROM lines", "source_type": "jdbc", "upload_type": "local",
        "upload_path": "flat/", "suggested_batch_size": 500,
    });
    let in_array = json!([
        {"id": "ranges",
         "source_config": {"database": "sales", "query": "SELECT * FROM lines", "slices": 2, "slice_column": "id"},
         "destination_config": {"type": "local", "path": "ranges", "compression": "snappy"}},
        {"id": "columns",
         "source_config": {"database": "sales", "table": "lines", "columns": ["note", "id"]},
         "destination_config": {"type": "local", "path": "columns", "compression": "none"}},
        {"id": "empty",
         "source_config": {"database": "sales", "query": "SELECT * FROM lines WHERE false"},
         "destination_config": {"type": "local", "path": "empty"}},
    ]);
    assert_eq!(agent.submit(nested).await, "nested");
    let answer = agent.post("/tasks", Some(&flat)).await;
    assert_eq!((answer.status, &answer.json()["message"]), (202, &json!("Task added successfully")));
    assert_eq!(answer.headers["location"], "/tasks/42");
    let answer = agent.post("/tasks", Some(&in_array)).await;
    assert_eq!((answer.status, answer.json()["tasks"].as_array().unwrap().len()), (202, 3));

    let mut rows_written = 0;
    let mut bytes_written = 0;
    let mut visible = Vec::new();
    for (id, rows, slices) in
        [("nested", ROWS, 3), ("42", ROWS, 1), ("ranges", ROWS, 2), ("columns", ROWS, 1), ("empty", 0, 1)]
    {
        let task = agent.wait_until(id, "completed").await;
        assert_one_attempt(&task);
        let receipt = &task["receipt"];
        let files = assert_receipt(receipt, rows, read_file);
        let paths = local_paths(&files);
        if rows > 0 {
            assert_eq!(receipt["slices"], slices, "{id}");
        }
        match id {
            "columns" => {
                let found = in_files(&paths, "SELECT count(*), count(note), sum(id) FROM lines");
                let names: Vec<&str> = found.columns.iter().map(|(name, ..)| name.as_str()).collect();
                assert_eq!(names, ["note", "id"]);
                let expected = "SELECT count(*)::text, count(note)::text, sum(id)::text FROM lines";
                assert_eq!(found.rows, in_database(&database, expected).await);
            }
            "empty" => {
                let found = in_files(&paths, "SELECT count(*) FROM lines");
                assert_eq!((found.rows, found.columns.len()), (vec![vec![Some("0".to_owned())]], 9));
            }
            _ => assert_same_rows(&database, &paths).await,
        }
        rows_written += receipt["rows"].as_u64().unwrap();
        bytes_written += receipt["bytes"].as_u64().unwrap();
        let root = agent.place.output();
        visible
            .extend(paths.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()));
    }
    visible.sort();
    assert_eq!(agent.files(), visible, "nothing else is there");
    assert!(visible.contains(&"nested/parts/task_nested_result_001.parquet".to_owned()), "{visible:?}");
    assert!(visible.iter().filter(|name| name.starts_with("nested/")).count() > 3, "{visible:?}");

    let found = in_files(
        &[agent.place.output().join("flat/task_42_result_001.parquet")],
        "SELECT 1 FROM lines LIMIT 1",
    );
    let types: Vec<(&str, &str)> =
        found.columns.iter().map(|(name, kind, _)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(
        types,
        [
            ("id", "int64"),
            ("quantity", "int32"),
            ("price", "decimal128(18, 2)"),
            ("note", "string"),
            ("sold_at", "timestamp[us, tz=UTC]"),
            ("day", "date32[day]"),
            ("even", "bool"),
            ("hash", "binary"),
            ("ratio", "double"),
        ]
    );
    assert_eq!(found.file_rows, [ROWS]);
    assert!(found.metadata.values().any(|value| value == "42"), "the task's id: {:?}", found.metadata);

    assert_eq!(agent.metric("data_exchange_agent_rows_extracted_total").await, rows_written as f64);
    assert_eq!(agent.metric("data_exchange_agent_written_bytes_total").await, bytes_written as f64);
    let completed = agent.metric("data_exchange_agent_attempts_total{outcome=\"completed\"}").await;
    assert_eq!(completed, 5.0);
    assert_eq!(agent.metric("data_exchange_agent_tasks{state=\"completed\"}").await, 5.0);
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": 5}));
}

#[tokio::test]
async fn a_posted_task_becomes_the_same_rows_in_s3() {
    let Some(server) = postgres::server_if_installed().await else { return };
    if !foreign_reader::is_installed() {
        return;
    }
    let database = server.create_database().await;
    create_lines(&database).await;
    let bucket = Bucket::new().await;
    let agent = Place::new().database(&database).bucket(&bucket, server_address()).start().await;
    for (id, format) in [("parquet", "parquet"), ("csv", "csv")] {
        agent
            .submit(json!({
                "id": id,
                "source_config": {"database": "sales", "table": "lines", "slices": 2, "batch_size": 1000},
                "destination_config": {"type": "s3", "path": id, "format": format, "max_file_size": 200_000},
            }))
            .await;
    }
    let download = Folder::new();
    for id in ["parquet", "csv"] {
        let task = agent.wait_until(id, "completed").await;
        assert_one_attempt(&task);
        let objects = bucket.objects(&format!("exports/{id}/")).await;
        let key =
            |location: &str| location.strip_prefix(&format!("s3://{}/", bucket.name)).unwrap().to_owned();
        let files = assert_receipt(&task["receipt"], ROWS, |location| objects[&key(location)].clone());
        assert_eq!(files.len(), objects.len(), "nothing else is there");
        assert!(files.len() > 2, "{files:?}");
        let mut paths = Vec::new();
        for (key, content) in &objects {
            let path = download.path().join(key.rsplit('/').next().unwrap());
            fs::write(&path, content).unwrap();
            paths.push(path);
        }
        if id == "parquet" {
            assert_same_rows(&database, &paths).await;
        } else {
            assert_same_texts(&database, &paths).await;
        }
    }
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    assert_eq!(bucket.objects("").await.len(), bucket.objects("exports/").await.len());
}

/// CSV has texts only; what matters is that NULL and the empty text stay different.
async fn assert_same_texts(database: &Database, files: &[PathBuf]) {
    let sql = "SELECT CAST(count(*) AS varchar), CAST(sum(CAST(id AS bigint)) AS varchar), \
               CAST(sum(CAST(price AS decimal(18,2))) AS varchar), CAST(count(note) AS varchar), \
               CAST(count(CASE WHEN note = '' THEN 1 END) AS varchar), max(note), \
               CAST(sum(length(note)) AS varchar) FROM lines";
    assert_eq!(in_files(files, sql).rows, in_database(database, sql).await);
}

#[tokio::test]
async fn a_running_task_can_be_watched_to_its_end() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).start().await;
    let id = agent
        .submit(json!({
            "source_config": {"database": "sales", "query": gated_query(5_000, 6_000, 32), "batch_size": 500},
            "destination_config": {"type": "local", "path": "watched"},
        }))
        .await;
    gate.wait_for(1).await;

    let task = agent.wait_until(&id, "running").await;
    assert_eq!(task["attempts"][0]["status"], "running");
    let health = agent.get("/health").await;
    assert_eq!(health["workers"]["busy"], 1);
    assert_eq!(agent.metric("data_exchange_agent_workers_busy").await, 1.0);
    assert_eq!(agent.metric("data_exchange_agent_tasks{state=\"running\"}").await, 1.0);
    assert_eq!(agent.get("/get_tasks_count").await["tasks_count"], 1);
    assert_eq!(agent.visible_files(), Vec::<String>::new(), "nothing is visible before the commit");

    let mut gate = Some(gate);
    let events = agent
        .watch(&id, async |event| {
            let rows = event["progress"]["rows"].as_u64().unwrap_or_default();
            if rows >= 4_000
                && let Some(gate) = gate.take()
            {
                gate.open().await;
            }
        })
        .await;
    assert!(gate.is_none(), "progress was seen while the task ran: {events:#?}");
    let last = events.last().unwrap();
    assert_eq!((&last["status"], &last["receipt"]["rows"]), (&json!("completed"), &json!(6_000)));
    assert_eq!(*last, agent.task(&id).await);
    assert_one_attempt(last);
    assert_eq!(agent.visible_files(), [format!("watched/task_{id}_result_001.parquet")]);
    // The worker is free a moment after its outcome is on record.
    eventually("the worker to be free", async || {
        (agent.metric("data_exchange_agent_workers_busy").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_agent_shows_itself_and_pages_through_its_tasks() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let broken =
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = 1\nusername = \"u\"\ndatabase = \"d\"\n";
    let agent = Place::new().database(&database).connection("source.broken", broken).start().await;

    let health = agent.health_when("database_connections", "sales").await;
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_ne!(health["database_connections"]["broken"], "connected");
    assert_eq!(health["destination_connections"]["local"], "connected");
    assert_eq!(agent.get("/live").await, json!({"live": true}));
    assert_eq!(agent.get("/ready").await, json!({"ready": true}));
    let document = agent.get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/tasks/{id}/events"].is_object());

    // While nothing is handled, the tasks stay as they are.
    for path in ["/stop", "/handle_tasks", "/stop"] {
        let handling = path == "/handle_tasks";
        assert_eq!(agent.get(path).await["handling_tasks"], handling);
        assert_eq!(agent.post(path, None).await.json()["handling_tasks"], handling);
        assert_eq!(agent.get("/get_handling_tasks_status").await, json!({"handling_tasks": handling}));
    }
    let mut posted = Vec::new();
    for _ in 0..7 {
        posted.push(agent.submit(one_row_task()).await);
    }
    assert_eq!(agent.get("/get_tasks_count").await["tasks_count"], 7);
    assert_eq!(agent.metric("data_exchange_agent_queue_depth").await, 7.0);
    posted.reverse();
    assert_eq!(all_pages(&agent, "/tasks?limit=3").await, posted, "newest first");
    assert_eq!(all_pages(&agent, "/tasks?limit=2&status=completed").await, Vec::<String>::new());

    assert_eq!(agent.get("/handle_tasks").await["handling_tasks"], true);
    agent.wait_until_idle().await;
    assert_eq!(all_pages(&agent, "/tasks?limit=2&status=completed").await, posted);
    assert_eq!(agent.get("/tasks_processed").await, json!({"tasks_processed": 7}));
}

fn one_row_task() -> Value {
    json!({
        "source_config": {"database": "sales", "query": "SELECT 1 AS one"},
        "destination_config": {"type": "local", "path": "ones"},
    })
}

/// Ids on all pages of a listing.
async fn all_pages(agent: &Agent, path: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = agent.get(&next).await;
        let tasks = page["tasks"].as_array().unwrap();
        ids.extend(tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { return ids };
        next = format!("{path}&cursor={cursor}");
    }
}
