//! The blocks that are run, document by document, and what the log shows for them.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{document, is_shell, place, program};
use crate::support::agent::{Agent, Finished, PATIENCE, Place, eventually};
use crate::support::document::{Block, blocks, is_line};
use crate::support::postgres;
use crate::support::s3::{Bucket, server_address};

/// In front of every block that is run: a failure ends it, and an error of the API is a failure.
const PRELUDE: &str = "set -euo pipefail\n\
                       curl() { command curl --silent --show-error --fail-with-body \"$@\"; echo; }\n";

/// Runs the blocks of a document that say so, in order, with `real` in the place of what it writes.
async fn run_blocks(
    name: &str,
    agent: &Agent,
    real: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Vec<Finished> {
    let url = agent.url("");
    let mut done = Vec::new();
    let text = document(name);
    let found = blocks(&text);
    for block in found.iter().filter(|block| is_shell(block) && block.is("run")) {
        let mut script = block.text.clone();
        for (written, real) in [("http://127.0.0.1:5001", &*url), ("http://localhost:5001", &*url)]
            .into_iter()
            .chain(real.iter().copied())
        {
            script = script.replace(written, real);
        }
        let script = format!("{PRELUDE}{script}");
        let running = agent.place.shell(&script, environment);
        let finished = tokio::time::timeout(PATIENCE, running).await.expect("it ends");
        assert_eq!(finished.code, Some(0), "{name}:{}\n{script}\n{finished:?}", block.line);
        done.push(finished);
    }
    assert!(!done.is_empty(), "{name} has nothing to run");
    done
}

/// Every line of the blocks `logged` in this language is in the log; figures and times may differ.
async fn assert_logged(name: &str, agent: &Agent, language: &str, known: &[(&str, &str)]) {
    let document = document(name);
    let blocks = blocks(&document);
    let wanted: Vec<&Block> =
        blocks.iter().filter(|block| block.language() == language && block.is("logged")).collect();
    assert!(!wanted.is_empty(), "{name} shows no log in {language}");
    for line in wanted.iter().flat_map(|block| block.text.lines()) {
        let mut expected = line.to_owned();
        for (written, real) in known {
            expected = expected.replace(written, real);
        }
        eventually(&format!("{expected} in the log, as {name} says"), async || {
            agent.log().lines().any(|found| is_line(&expected, found)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn variables_of_the_environment_are_read_as_the_document_says() {
    let document = document("docs/CONFIGURATION.md");
    let found = blocks(&document);
    let block = found.iter().find(|block| block.is("variables")).expect("it has an example of them");
    let place = Place::new().connection(
        "source.sales",
        "kind = \"postgresql\"\nhost = \"db.example.com\"\ndatabase = \"sales\"\nusername = \"reader\"\n",
    );
    let file = place.configuration();
    let script = format!(
        "{PRELUDE}set -a\n{}\ndata-exchange-agent config print --config {}",
        block.text,
        file.display()
    );
    let finished = place.shell(&script, &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for line in block.text.lines() {
        let name = line.split('=').next().unwrap();
        assert!(finished.stdout.contains(name), "{name} had no effect: {finished:?}");
    }
}

#[tokio::test]
async fn the_examples_of_the_readme_work() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE orders AS SELECT i AS id, current_date - (i % 2)::int AS day FROM generate_series(1, 10) AS i",
        )
        .await;
    let bucket = Bucket::new().await;
    let place = Place::new().database(&database).bucket(&bucket, server_address());
    let sales = fs::read_to_string(place.configuration()).unwrap();
    let sales = sales.split("[connections.source.sales]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let agent = place.connection("source.postgresql", sales).start().await;
    let endpoint = format!("http://{}", server_address());
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "writer"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let to = format!("s3://{}/orders", bucket.name);
    let real =
        [("postgresql://reader@db.example.com/sales", &*database.url()), ("s3://exports/orders", &*to)];
    run_blocks("README.md", &agent, &real, &environment).await;
    agent.wait_until("orders-2026-11", "completed").await;
    assert!(!bucket.objects("exports/orders/2026-11/").await.is_empty(), "the task has written files");
    assert_eq!(bucket.objects("orders/").await.len(), 1, "the extraction has written one");
}

#[tokio::test]
async fn the_examples_of_the_api_guide_work() {
    let agent = place().await.start().await;
    run_blocks("docs/API.md", &agent, &[], &[]).await;
    agent.wait_until("orders-2026-11", "completed").await;
}

#[tokio::test]
async fn the_examples_of_the_monitoring_guide_work() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let agent = place().await.start().await;
    let finished = run_blocks("docs/MONITORING.md", &agent, &[], &[]).await;
    let level = agent.get("/log_level").await;
    assert!(level.to_string().contains("source::postgres=debug"), "{level}");
    let accepted = finished.iter().find(|finished| finished.stdout.contains("id_task")).expect("a task");
    let answer: serde_json::Value = serde_json::from_str(accepted.stdout.trim()).unwrap();
    let task = agent.wait_until(answer["id_task"].as_str().unwrap(), "completed").await;
    assert!(task["request"]["traceparent"].as_str().unwrap().contains(TRACE), "{task}");

    let orders = json!({
        "id": "orders-2026-11-20",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "all"},
    });
    agent.submit(orders.clone()).await;
    agent.wait_until("orders-2026-11-20", "completed").await;
    assert_logged("docs/MONITORING.md", &agent, "text", &[]).await;

    let agent = place().await.section("log", "format = \"json\"").start().await;
    agent.submit(orders).await;
    agent.wait_until("orders-2026-11-20", "completed").await;
    assert_logged("docs/MONITORING.md", &agent, "json", &[]).await;
}

#[tokio::test]
async fn the_examples_of_the_operations_guide_work() {
    if program("sqlite3").is_none() {
        return;
    }
    let mut agent = place().await.start().await;
    let task = json!({
        "id": "kept",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "kept"},
    });
    agent.submit(task.clone()).await;
    agent.wait_until("kept", "completed").await;
    let (data, backup) = (agent.place.path().join("data"), agent.place.path().join("backup"));
    fs::create_dir(&backup).unwrap();
    let folder = |path: &Path| path.display().to_string();
    let real = [
        ("/etc/data-exchange-agent/configuration.toml", &*folder(&agent.place.configuration())),
        ("/var/lib/data-exchange-agent", &*folder(&data)),
        ("/backup", &*folder(&backup)),
    ];
    run_blocks("docs/OPERATIONS.md", &agent, &real, &[]).await;

    // The reload of which the document shows the log.
    agent.place.set_application("workers = 9");
    agent.place.replace_sections(&[
        ("log", "level = \"debug\""),
        ("server.api_keys.operator", "key = \"0123456789abcdef\""),
    ]);
    agent.place.configuration();
    agent.signal("HUP");
    let file = folder(&agent.place.path().join("configuration.toml"));
    let known = [("/etc/data-exchange-agent/configuration.toml", &*file)];
    assert_logged("docs/OPERATIONS.md", &agent, "text", &known).await;

    // The back-up is put back as the document says, and tasks that came later are unknown.
    agent.place.replace_sections(&[]);
    agent.place.configuration();
    agent.signal("HUP");
    eventually("the key to be gone", async || (agent.ask("/tasks").await.status == 200).then_some(())).await;
    let mut later = task;
    later["id"] = json!("later");
    agent.submit(later.clone()).await;
    agent.wait_until("later", "completed").await;
    agent.signal("TERM");
    agent.exit().await;
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(data.join(format!("queue.sqlite{ending}")));
    }
    fs::copy(backup.join("queue.sqlite"), data.join("queue.sqlite")).unwrap();
    agent.start_again().await;
    assert_eq!(agent.task("kept").await["status"], "completed");
    assert_eq!(agent.ask("/tasks/later").await.status, 404);
    agent.submit(later).await;
    agent.wait_until("later", "completed").await;
    assert_eq!(agent.files().iter().filter(|file| file.contains("later")).count(), 1, "it replaced its file");
}
