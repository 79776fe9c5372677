//! kill -9: what was accepted survives, what was not committed is not seen, nothing is there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Place, eventually};
use crate::support::folder::Folder;
use crate::support::foreign_reader;
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Database};
use crate::support::proxy::{Operation, Proxy, Treatment, in_turn};
use crate::support::s3::{Bucket, server_address};

fn states(task: &Value) -> Vec<&str> {
    task["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_str().unwrap()).collect()
}

/// Ends of the locations in a receipt.
fn receipt_names(task: &Value, prefix: &str) -> Vec<String> {
    let files = task["receipt"]["files"].as_array().unwrap();
    let name = |file: &Value| file["location"].as_str().unwrap().strip_prefix(prefix).unwrap().to_owned();
    files.iter().map(name).collect()
}

/// Proves that files hold the rows 1 to `rows` of a gated query, each once.
fn assert_numbered_rows(files: &[PathBuf], rows: u64) {
    if !foreign_reader::is_installed() {
        return;
    }
    let sql = "SELECT count(*), count(DISTINCT id), min(CAST(id AS bigint)), max(CAST(id AS bigint)), \
               count(CASE WHEN text LIKE md5(id || '0') || '%' THEN 1 END) FROM result";
    let found = foreign_reader::query(files, sql);
    let expected = [rows, rows, 1, rows, rows].map(|number| Some(number.to_string()));
    assert_eq!(found.rows, [expected]);
}

#[tokio::test]
async fn an_agent_killed_in_the_middle_of_an_extraction_leaves_one_set_of_local_files() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let mut agent = Place::new().database(&database).start().await;
    let id = agent
        .submit(json!({
            "id": "killed",
            "source_config": {"database": "sales", "query": gated_query(5_000, 6_000, 64), "batch_size": 250},
            "destination_config": {"type": "local", "path": "killed", "max_file_size": "32KiB", "format": "csv"},
            // Nothing but the work itself may use up the only attempt.
            "max_attempts": 1,
        }))
        .await;
    gate.wait_for(1).await;
    eventually("several parts", async || (agent.files().len() > 3).then_some(())).await;
    agent.kill().await;
    let left = agent.files();
    assert!(left.len() > 3);
    assert_eq!(agent.visible_files(), Vec::<String>::new(), "rows that are not committed are not seen");

    agent.start_again().await;
    // The statement of the dead agent waits at the gate as well.
    gate.wait_for(2).await;
    let task = agent.task(&id).await;
    assert_eq!((&task["status"], states(&task)), (&json!("running"), vec!["interrupted", "running"]));
    gate.open().await;
    let task = agent.wait_until(&id, "completed").await;
    assert_eq!(states(&task), ["interrupted", "completed"]);
    let names = receipt_names(&task, &format!("file://{}/", agent.place.output().display()));
    assert_eq!(agent.files(), names, "one set of files, and nothing beside it");
    assert_numbered_rows(&foreign_reader::paths(&agent.place.output(), &names), 6_000);
}

async fn download(bucket: &Bucket, folder: &Folder) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (key, content) in bucket.objects("").await {
        let path = folder.path().join(key.rsplit('/').next().unwrap());
        fs::write(&path, content).unwrap();
        paths.push(path);
    }
    paths
}

#[tokio::test]
async fn an_agent_killed_in_the_middle_of_an_extraction_leaves_one_set_of_objects() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let mut gate = Gate::close(&database).await;
    let mut agent = Place::new().database(&database).bucket(&bucket, server_address()).start().await;
    // 12 MiB before the gate: two files, of which one is complete and one is in its first part.
    let id = agent
        .submit(json!({
            "source_config": {"database": "sales", "query": gated_query(11_500, 12_000, 1024), "batch_size": 500},
            "destination_config": {"type": "s3", "path": "killed", "max_file_size": "7MiB", "format": "csv"},
        }))
        .await;
    gate.wait_for(1).await;
    eventually("two uploads", async || (bucket.unfinished_uploads().await.len() == 2).then_some(())).await;
    agent.kill().await;
    assert!(bucket.objects("").await.is_empty(), "rows that are not committed are not seen");
    assert_eq!(bucket.unfinished_uploads().await.len(), 2, "a killed agent cannot clean up");

    agent.start_again().await;
    gate.wait_for(2).await;
    gate.open().await;
    let task = agent.wait_until(&id, "completed").await;
    assert_eq!(states(&task), ["interrupted", "completed"]);
    let names = receipt_names(&task, &format!("s3://{}/", bucket.name));
    let keys: Vec<String> = bucket.objects("").await.into_keys().collect();
    assert_eq!(keys, names);
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    let folder = Folder::new();
    assert_numbered_rows(&download(&bucket, &folder).await, 12_000);
}

/// An agent in the middle of a commit: the store has made the first file visible, and the agent does not learn
/// it before it dies. `None` where there is no database.
struct Committing {
    agent: Agent,
    bucket: Bucket,
    id: String,
    /// What the next life of the agent needs as well.
    kept: (Database, Proxy),
}

impl Committing {
    async fn reached() -> Option<Self> {
        let database = postgres::server_if_installed().await?.create_database().await;
        let bucket = Bucket::new().await;
        let treatment = in_turn(Operation::Complete, &[Treatment::HoldAnswer, Treatment::Forward]);
        let proxy = Proxy::start(server_address(), treatment).await;
        let agent = Place::new().database(&database).bucket(&bucket, proxy.address).start().await;
        let id = agent
            .submit(json!({
                "source_config": {"database": "sales", "query": gated_query(0, 3_000, 64), "batch_size": 100},
                "destination_config": {"type": "s3", "path": "killed", "max_file_size": "64KiB", "format": "csv"},
            }))
            .await;
        eventually("a visible file", async || (!bucket.objects("").await.is_empty()).then_some(())).await;
        Some(Self { agent, bucket, id, kept: (database, proxy) })
    }
}

#[tokio::test]
async fn an_agent_killed_between_commit_and_outcome_leaves_one_set_of_objects() {
    let Some(Committing { mut agent, bucket, id, kept: _kept }) = Committing::reached().await else { return };
    assert_eq!(agent.task(&id).await["status"], "running");
    agent.kill().await;

    agent.start_again().await;
    let task = agent.wait_until(&id, "completed").await;
    assert_eq!(states(&task), ["interrupted", "completed"]);
    let names = receipt_names(&task, &format!("s3://{}/", bucket.name));
    assert!(names.len() > 2, "{names:?}");
    let objects = bucket.objects("").await;
    assert_eq!(objects.keys().cloned().collect::<Vec<_>>(), names);
    let sizes: Vec<u64> = objects.values().map(|content| content.len() as u64).collect();
    let receipt = task["receipt"]["files"].as_array().unwrap();
    assert_eq!(sizes, receipt.iter().map(|file| file["bytes"].as_u64().unwrap()).collect::<Vec<_>>());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    let folder = Folder::new();
    assert_numbered_rows(&download(&bucket, &folder).await, 3_000);
}

#[tokio::test]
async fn a_task_that_is_cancelled_after_the_agent_died_in_its_commit_leaves_no_visible_file() {
    let Some(Committing { mut agent, bucket, id, kept: _kept }) = Committing::reached().await else { return };
    let asked = agent.delete(&format!("/tasks/{id}")).await;
    assert_eq!((asked.status, &asked.json()["cancel_requested"]), (202, &json!(true)), "{asked:?}");
    agent.kill().await;

    agent.start_again().await;
    let task = agent.wait_until(&id, "cancelled").await;
    assert_eq!(states(&task), ["interrupted", "cancelled"]);
    assert_eq!(bucket.objects("").await.keys().collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
}

/// Rows of each task of the next test.
const ROWS_OF_EACH: u64 = 4_000;

#[tokio::test]
async fn every_task_ends_once_however_often_the_agent_is_killed() {
    const TASKS: u64 = 20;
    const KILLS: usize = 10;
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(&format!(
            "CREATE TABLE numbers AS SELECT id, md5(id::text || '0') AS text FROM generate_series(1, {}) AS id",
            TASKS * ROWS_OF_EACH
        ))
        .await;
    let mut agent = Place::new().database(&database).start().await;
    agent.post("/stop", None).await;
    for number in 0..TASKS {
        let (first, last) = (number * ROWS_OF_EACH + 1, (number + 1) * ROWS_OF_EACH);
        let query = format!("SELECT * FROM numbers WHERE id BETWEEN {first} AND {last}");
        agent
            .submit(json!({
                "id": format!("task-{number}"),
                "source_config": {"database": "sales", "query": query, "batch_size": 200},
                "destination_config": {"type": "local", "path": "all", "max_file_size": "48KiB"},
                "max_attempts": 1,
            }))
            .await;
    }
    agent.post("/handle_tasks", None).await;
    for _ in 0..KILLS {
        // The moment is what varies; nothing depends on it.
        let moment = rand::random_range(0..250);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        agent.kill().await;
        agent.start_again().await;
    }
    agent.wait_until_idle().await;

    let mut names = Vec::new();
    for number in 0..TASKS {
        let id = format!("task-{number}");
        let mut task = agent.task(&id).await;
        if task["status"] == "failed" {
            // The agent gives a task up that it did not survive five times in a row; a person may insist.
            let error = &task["attempts"].as_array().unwrap().last().unwrap()["error"];
            assert!(error["message"].as_str().unwrap().contains("died 5 times"), "{task:#}");
            assert_eq!(agent.post(&format!("/tasks/{id}/retry"), None).await.status, 202);
            task = agent.wait_until(&id, "completed").await;
        }
        assert_eq!(task["status"], "completed", "{task:#}");
        let states = states(&task);
        let (last, before) = states.split_last().unwrap();
        assert_eq!(*last, "completed");
        assert!(before.iter().all(|state| *state == "interrupted"), "{states:?}");
        assert_eq!(task["receipt"]["rows"], ROWS_OF_EACH);
        names.extend(receipt_names(&task, &format!("file://{}/", agent.place.output().display())));
    }
    names.sort();
    assert_eq!(agent.files(), names, "the files of the receipts, and nothing else");
    assert_numbered_rows(&foreign_reader::paths(&agent.place.output(), &names), TASKS * ROWS_OF_EACH);
}

#[tokio::test]
async fn every_accepted_task_is_there_after_the_agent_was_killed_in_a_burst_of_posts() {
    const CLIENTS: usize = 8;
    const ENOUGH: usize = 150;
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut agent = Place::new().database(&database).start().await;
    agent.post("/stop", None).await;

    let accepted = Arc::new(AtomicUsize::new(0));
    let client = async |client: usize, agent: &Agent| {
        let mut ids = Vec::new();
        loop {
            let id = format!("client-{client}-{}", ids.len());
            let task = json!({"id": id, "source_config": {"database": "sales", "query": "SELECT 1 AS one"},
                "destination_config": {"type": "local", "path": "burst"}});
            match agent.try_request(Method::POST, "/tasks", Some(&task)).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 202, "{answer:?}");
                    ids.push(id);
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
                // The agent is gone; whether this task was accepted nobody knows.
                Err(_) => return ids,
            }
        }
    };
    let pid = agent.pid();
    let kill = async {
        eventually("enough tasks", async || (accepted.load(Ordering::SeqCst) >= ENOUGH).then_some(())).await;
        kill_hard(pid);
    };
    let clients = futures::future::join_all((0..CLIENTS).map(|number| client(number, &agent)));
    let (ids, ()) = tokio::join!(clients, kill);
    agent.exit().await;
    let accepted: BTreeSet<String> = ids.into_iter().flatten().collect();
    assert!(accepted.len() >= ENOUGH);

    agent.start_again().await;
    agent.post("/stop", None).await;
    for id in &accepted {
        let task = agent.task(id).await;
        assert_eq!(task["id"], *id);
    }
    let counts = agent.get("/get_tasks_count").await["tasks_by_status"].clone();
    let total: u64 = counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let most = (accepted.len() + CLIENTS) as u64;
    assert!((accepted.len() as u64..=most).contains(&total), "{total} tasks, {} accepted", accepted.len());
}

#[expect(clippy::disallowed_methods, reason = "there is no safe call for it in the standard library")]
fn kill_hard(pid: u32) {
    let kill = std::process::Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
    assert!(kill.unwrap().success());
}
