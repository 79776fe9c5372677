//! Methods through the whole program: tasks in both forms, the command line, and `check`.

use serde_json::json;

use crate::support::agent::Place;
use crate::support::bulk::installed;
use crate::support::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_how_its_rows_are_read_and_its_receipt_says_who_chose() {
    if installed("psql").is_none() {
        return;
    }
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let place = Place::new().database(&database);
    let agent = place.start().await;
    let nested = |id: &str, method: &str| {
        json!({"id": id,
            "source_config": {"database": "sales", "query": "SELECT 1 AS a", "method": method},
            "destination_config": {"type": "local", "path": id}})
    };
    let flat = json!({"id": "flat", "engine": "sales", "statement": "SELECT 1 AS a", "source_type": "psql",
        "upload_type": "local", "upload_path": "flat"});
    for (task, id, name, reason) in [
        (nested("asked", "psql"), "asked", "psql", "the task asks for it"),
        (nested("auto", "auto"), "auto", "native", "it is the default"),
        (flat, "flat", "psql", "the task asks for it"),
    ] {
        agent.submit(task).await;
        let task = agent.wait_until(id, "completed").await;
        assert_eq!(task["receipt"]["method"], json!({"name": name, "reason": reason}), "{task:#}");
        assert_eq!(task["receipt"]["rows"], 1);
    }
    for (method, expected) in [
        ("bcp", "it reads from connections to SQL Server only"),
        ("odbc", "cannot be read by `odbc`"),
        ("telepathy", "there is no method `telepathy`"),
    ] {
        let answer = agent.post("/tasks", Some(&nested("refused", method))).await;
        assert_eq!(answer.status, 422);
        let problem = answer.text;
        assert!(problem.contains("/source_config/method") && problem.contains(expected), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_extract_name_a_missing_program_with_the_way_to_get_it() {
    let place = Place::new().section("bulk_utility.bcp", "executable = \"/nowhere/bcp\"\n");
    let configuration = place.configuration();
    let finished = place.run(&["check", "--config", configuration.to_str().expect("plain")]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for expected in ["utility bcp", "there is no program `/nowhere/bcp`", "mssql-tools18", "freetds-bin"] {
        assert!(finished.stdout.contains(expected), "{expected}: {}", finished.stdout);
    }
}
