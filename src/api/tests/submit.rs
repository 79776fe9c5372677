//! `POST /tasks`: both forms, arrays, stages, idempotency.

use super::*;

#[tokio::test]
async fn a_nested_task_is_accepted_and_shown_with_its_defaults() {
    let agent = Agent::start().await;
    let answer = agent.submit(&nested("orders-1")).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("location"), "/tasks/orders-1");
    let expected = json!({
        "message": "Task added successfully", "id_task": "orders-1", "status": "queued",
        "location": "/tasks/orders-1", "created": true
    });
    assert_eq!(answer.body, expected);
    let shown = agent.get("/tasks/orders-1").await.body;
    let request = json!({
        "task_type": "data_extraction",
        "id": "orders-1",
        "source_config": {"database": "sales", "query": "SELECT * FROM orders"},
        "destination_config": {"type": "local", "path": "orders", "format": "parquet"},
        "max_attempts": 3,
        "priority": 0
    });
    assert_eq!(shown["request"], request);
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("queued"), &json!([])));
}

#[tokio::test]
async fn a_shown_request_is_the_same_task_again() {
    let agent = Agent::start().await;
    let task = json!({
        "task_type": "data_extraction",
        "id": "full",
        "source_config": {"database": "sales", "table": "\"public\".orders", "columns": ["id", "näme"],
            "slices": 64, "slice_column": "id", "batch_size": 10_000_000},
        "destination_config": {"type": "s3", "path": "a/./b//", "connection": "archive", "format": "csv",
            "compression": "gzip", "max_file_size": "64MiB"},
        "max_attempts": 100,
        "timeout": "1500ms",
        "priority": -1000
    });
    assert_eq!(agent.submit(&task).await.status, 202);
    let shown = agent.get("/tasks/full").await.body["request"].clone();
    assert_eq!(shown["timeout"], 1.5);
    assert_eq!(shown["destination_config"]["max_file_size"], 64 << 20);
    let again = agent.submit(&shown).await;
    assert_eq!((again.status.as_u16(), &again.body["created"]), (200, &json!(false)), "{}", again.text);
}

#[tokio::test]
async fn a_flat_task_of_the_old_version_is_accepted() {
    let agent = Agent::start().await;
    let task = json!({
        "id": 42, "engine": "sales", "database": "sales_db", "schema": "public",
        "statement": "SELECT * FROM orders", "source_type": "jdbc", "upload_type": "local",
        "upload_path": "orders", "suggested_batch_size": 50000
    });
    let answer = agent.submit(&task).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.body["id_task"], "42");
    assert!(answer.body["notes"][0].as_str().unwrap().contains("`schema` does not change what is read"));
    let request = json!({
        "task_type": "data_extraction",
        "id": "42",
        "source_config": {"database": "sales", "query": "SELECT * FROM orders", "batch_size": 50000},
        "destination_config": {"type": "local", "path": "orders", "format": "parquet"},
        "max_attempts": 3,
        "priority": 0
    });
    assert_eq!(agent.get("/tasks/42").await.body["request"], request);
    // The nested form of the same task is the same task.
    assert_eq!(agent.submit(&request).await.status, 200);
}

#[tokio::test]
async fn empty_and_missing_fields_of_the_old_form_are_the_same() {
    let agent = Agent::start().await;
    let with_empty = json!({
        "id": 7, "engine": "ledger", "database": "", "schema": "", "statement": "SELECT 1",
        "source_type": null, "upload_type": "local", "upload_path": "", "suggested_batch_size": null
    });
    let answer = agent.submit(&with_empty).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.body.get("notes"), None);
    let short = json!({
        "id": 7, "engine": "ledger", "statement": "SELECT 1", "upload_type": "local", "upload_path": ""
    });
    assert_eq!(agent.submit(&short).await.status, 200);
}

#[tokio::test]
async fn a_task_without_an_id_gets_one() {
    let agent = Agent::start().await;
    let first = agent.submit(&with(nested("x"), "/id", Value::Null)).await.body["id_task"].clone();
    let second = agent.submit(&with(nested("x"), "/id", Value::Null)).await.body["id_task"].clone();
    assert_ne!(first, second);
    assert_eq!(agent.get(&format!("/tasks/{}", first.as_str().unwrap())).await.body["id"], first);
}

#[tokio::test]
async fn the_same_id_is_the_same_task_or_a_conflict() {
    let agent = Agent::start().await;
    assert_eq!(agent.submit(&nested("1")).await.status, 202);
    let again = agent.submit(&nested("1")).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.header("location"), "/tasks/1");
    assert_eq!(again.body["message"], "Task already exists");
    let other = with(nested("1"), "/priority", json!(1));
    let conflict = agent.submit(&other).await;
    conflict.assert_problem(409, "id-conflict");
    assert!(conflict.body["detail"].as_str().unwrap().contains("`1`"));
}

#[tokio::test]
async fn an_array_is_accepted_as_a_whole_or_not_at_all() {
    let agent = Agent::start().await;
    let both = agent.submit(&json!([nested("1"), flat("2")])).await;
    assert_eq!((both.status.as_u16(), both.header("location")), (202, ""));
    let ids: Vec<&Value> = both.body["tasks"].as_array().unwrap().iter().map(|t| &t["id_task"]).collect();
    assert_eq!(ids, ["1", "2"]);

    let partly = agent.submit(&json!([nested("1"), nested("3")])).await;
    assert_eq!(partly.status, 202);
    assert_eq!(
        (&partly.body["tasks"][0]["created"], &partly.body["tasks"][1]["created"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(agent.submit(&json!([nested("1"), nested("3")])).await.status, 200);

    let conflict = json!([nested("4"), with(nested("1"), "/priority", json!(1))]);
    agent.submit(&conflict).await.assert_problem(409, "id-conflict");
    let invalid = json!([nested("4"), with(nested("5"), "/source_config/database", json!("nobody"))]);
    agent.submit(&invalid).await.assert_errors(&[("/1/source_config/database", "known: `ledger`, `sales`")]);
    agent.get("/tasks/4").await.assert_problem(404, "unknown-task");
}

#[tokio::test]
async fn an_array_has_1_to_1000_tasks() {
    let agent = Agent::start().await;
    agent.submit(&json!([])).await.assert_errors(&[("", "expected 1 to 1000 tasks, found 0")]);
    let tasks: Vec<Value> = (0..1001).map(|number| nested(&number.to_string())).collect();
    agent.submit(&json!(tasks)).await.assert_errors(&[("", "expected 1 to 1000 tasks, found 1001")]);
    let accepted = agent.submit(&json!(tasks[..1000])).await;
    assert_eq!(accepted.body["tasks"].as_array().unwrap().len(), 1000);
    assert_eq!(agent.get("/get_tasks_count").await.body["tasks_count"], 1000);
}

#[tokio::test]
async fn a_stage_is_named_with_its_path_in_both_forms() {
    let agent = Agent::start().await;
    let on = |stage: &str| {
        with(nested("1"), "/destination_config", json!({"type": "snowflake_stage", "stage": stage}))
    };
    let answer = agent.submit(&on("@db.schema.\"My Stage\"/a b/")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let shown = agent.get("/tasks/1").await;
    let destination = &shown.body["request"]["destination_config"];
    assert_eq!(destination["stage"], "@db.schema.\"My Stage\"/a b/", "{}", shown.text);
    assert_eq!(destination.get("path"), None);

    let old = with(with(flat("2"), "/upload_type", json!("snowflake:stage")), "/upload_path", json!("@~/x"));
    let answer = agent.submit(&old).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);

    for (stage, text) in [
        ("my_stage/", "begins with `@`"),
        ("@my stage/", "needs double quotes"),
        ("@stage/../x", "`..`"),
        ("@stage/a\u{0}b", "control character"),
    ] {
        agent.submit(&on(stage)).await.assert_errors(&[("/destination_config/stage", text)]);
        let old = with(old.clone(), "/upload_path", json!(stage));
        agent.submit(&old).await.assert_errors(&[("/upload_path", text)]);
    }
    let both = with(on("@s"), "/destination_config/path", json!("x"));
    agent.submit(&both).await.assert_errors(&[("/destination_config/path", "has its path in `stage`")]);
    let neither = with(on("@s"), "/destination_config/stage", Value::Null);
    agent.submit(&neither).await.assert_errors(&[("/destination_config/stage", "missing: a stage")]);
}

#[tokio::test]
async fn files_of_a_stage_can_be_loaded_into_a_table_and_no_others() {
    let agent = Agent::start().await;
    let load = json!({"table": "sales.\"Orders\"", "mode": "merge", "keys": ["id"], "create": true,
        "evolve": false, "purge": false});
    let destination = json!({"type": "snowflake_stage", "connection": "warehouse", "stage": "@s/x/",
        "format": "parquet", "load": load});
    let task = with(nested("1"), "/destination_config", destination.clone());
    assert_eq!(agent.submit(&task).await.status, 202);
    assert_eq!(agent.get("/tasks/1").await.body["request"]["destination_config"], destination);
    assert_eq!(agent.submit(&task).await.status, 200, "it is the same task");

    let wrong = with(task, "/destination_config/load/keys", Value::Null);
    agent.submit(&wrong).await.assert_errors(&[("/destination_config/load/keys", "`merge` needs")]);
    let local = with(nested("2"), "/destination_config/load", json!({"table": "t"}));
    agent.submit(&local).await.assert_errors(&[("/destination_config/load", "`snowflake_stage`")]);
}

#[tokio::test]
async fn ids_are_accepted_as_texts_and_whole_numbers() {
    let agent = Agent::start().await;
    for (id, shown) in
        [(json!(7), "7"), (json!(u64::MAX), "18446744073709551615"), (json!(-3), "-3"), (json!("a.b"), "a.b")]
    {
        assert_eq!(agent.submit(&with(nested("x"), "/id", id)).await.body["id_task"], shown);
    }
}
