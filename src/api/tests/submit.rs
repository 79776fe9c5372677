//! `POST /tasks`: both forms, arrays, idempotency, and every wrong field.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

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
async fn every_wrong_field_of_the_nested_form_is_named() {
    let agent = Agent::start().await;
    let long = |length: usize| json!("x".repeat(length));
    let table = [
        ("/task_type", json!("data_load"), "expected `data_extraction`"),
        ("/task_type", json!(1), "found a number"),
        ("/id", json!("a/b"), "a task id has 1 to 128 characters"),
        ("/id", json!(1.5), "expected a string or a whole number"),
        ("/id", json!({}), "found an object"),
        ("/id", long(129), "a task id has"),
        ("/source_config", json!("sales"), "expected an object; found a string"),
        ("/source_config", Value::Null, "missing: an object with `database`"),
        ("/source_config/database", Value::Null, "missing: the name of a source connection"),
        ("/source_config/database", json!(["sales"]), "expected a string; found an array"),
        ("/source_config/database", json!("  "), "empty"),
        ("/source_config/database", long(129), "longer than the 128 characters"),
        ("/source_config/database", json!("a\nb"), "control character"),
        ("/source_config/database", json!("postgres://me:hunter2@host/db"), "found a URL"),
        (
            "/source_config/database",
            json!("slaes"),
            "`slaes`; known: `ledger`, `sales`; did you mean `sales`?",
        ),
        (
            "/source_config/method",
            json!("natve"),
            "there is no method `natve`; source connection `sales` knows `auto`, `native`; did you mean `native`?",
        ),
        ("/source_config/database", json!("teradata"), "this version cannot read from Teradata"),
        ("/source_config/query", json!(""), "empty"),
        ("/source_config/query", json!(["SELECT 1"]), "expected a string"),
        ("/source_config/query", json!("SELECT '\0'"), "NUL"),
        ("/source_config/query", json!("DELETE FROM orders"), "a statement of the kind DELETE"),
        ("/source_config/query", json!("SELECT 1; SELECT 2"), "only reads"),
        ("/source_config/query", json!("SELECT 'hunter2' INTO spy"), "INTO"),
        ("/source_config/table", json!("orders"), "only one of `query` and `table`"),
        ("/source_config/columns", json!("id"), "expected an array of column names"),
        ("/source_config/columns", json!([]), "1 to 2000 column names"),
        ("/source_config/columns/1", json!(["id", 2]), "expected a string; found a number"),
        ("/source_config/columns/1", json!(["id", "id"]), "twice"),
        ("/source_config/slices", json!(0), "a whole number from 1 to 64"),
        ("/source_config/slices", json!(65), "1 to 64"),
        ("/source_config/slices", json!(1.5), "1 to 64"),
        ("/source_config/slices", json!("4"), "found a string"),
        ("/source_config/slices", json!(u64::MAX), "1 to 64"),
        ("/source_config/slice_column", json!(""), "empty"),
        ("/source_config/batch_size", json!(0), "1 to 10000000"),
        ("/source_config/batch_size", json!(10_000_001), "1 to 10000000"),
        ("/source_config/colunms", json!(["id"]), "did you mean `columns`?"),
        ("/source_config/stage", json!(1), "known here: `database`, `query`"),
        ("/destination_config", json!([]), "expected an object"),
        ("/destination_config", Value::Null, "missing: an object with `type` and `path`"),
        (
            "/destination_config/type",
            Value::Null,
            "missing: `local`, `s3`, `blob`, `gcs` or `snowflake_stage`",
        ),
        (
            "/destination_config/type",
            json!("ftp"),
            "expected one of `local`, `s3`, `blob`, `gcs`, `snowflake_stage`",
        ),
        (
            "/destination_config/type",
            json!("blob"),
            "target connection `blob` cannot be used: this version cannot",
        ),
        ("/destination_config/stage", json!("@s/"), "only a `snowflake_stage` has this field"),
        ("/destination_config/type", json!("s3"), "no target connection `s3`; known: `archive`"),
        ("/destination_config/path", Value::Null, "missing: a directory or key prefix"),
        ("/destination_config/path", json!(7), "expected a string"),
        ("/destination_config/path", json!("a/../b"), "`..`"),
        ("/destination_config/path", json!("a\0b"), "control character"),
        ("/destination_config/path", long(1025), "longer than the 1024 characters"),
        ("/destination_config/connection", json!("nobody"), "no target connection `nobody`; known: `local`"),
        ("/destination_config/connection", json!("archive"), "is of kind `s3`"),
        ("/destination_config/format", json!("orc"), "expected one of `parquet`, `csv`"),
        ("/destination_config/compression", json!("lzo"), "one of `snappy`, `zstd`, `gzip`, `none`"),
        ("/destination_config/max_file_size", json!(1023), "bytes as a number, or a text such as `64MiB`"),
        ("/destination_config/max_file_size", json!("big"), "such as `64MiB`"),
        ("/max_attempts", json!(0), "1 to 100"),
        ("/max_attempts", json!(101), "1 to 100"),
        ("/max_attempts", json!(true), "found a boolean"),
        ("/timeout", json!(0), "such as `90s`, `5m` or `2h`"),
        ("/timeout", json!("31d"), "1 ms to 30 days"),
        ("/timeout", json!([1]), "found an array"),
        ("/priority", json!(-1001), "-1000 to 1000"),
        ("/priority", json!(1001), "-1000 to 1000"),
        ("/maxAttempts", json!(1), "did you mean `max_attempts`?"),
        ("/query", json!("SELECT 1"), "known here: `task_type`"),
    ];
    for (pointer, value, text) in table {
        let place = pointer.strip_suffix("/1").unwrap_or(pointer);
        let answer = agent.submit(&with(nested("1"), place, value)).await;
        answer.assert_errors(&[(pointer, text)]);
        assert!(!answer.text.contains("hunter2"));
    }
    assert_eq!(agent.get("/get_tasks_count").await.body["tasks_count"], 0);
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
async fn a_source_that_is_not_there_is_named_together_with_other_wrong_fields() {
    let agent = Agent::start().await;
    let wrong = with(nested("1"), "/destination_config/fromat", json!("csv"));
    let unknown = with(wrong.clone(), "/source_config/database", json!("slaes"));
    agent.submit(&unknown).await.assert_errors(&[
        ("/destination_config/fromat", "did you mean `format`?"),
        ("/source_config/database", "no source connection `slaes`"),
    ]);
    let writes = with(wrong, "/source_config/query", json!("DELETE FROM orders"));
    agent.submit(&json!([nested("2"), writes])).await.assert_errors(&[
        ("/1/destination_config/fromat", "did you mean `format`?"),
        ("/1/source_config/query", "a statement of the kind DELETE"),
    ]);
}

#[tokio::test]
async fn every_wrong_field_of_the_flat_form_is_named() {
    let agent = Agent::start().await;
    let table = [
        ("/id", json!([]), "found an array"),
        ("/engine", Value::Null, "missing: the name of a source connection"),
        ("/engine", json!("slaes"), "no source connection `slaes`"),
        ("/database", json!("other_db"), "reads the database `sales_db`"),
        ("/database", json!(1), "expected a string"),
        ("/schema", json!("a\nb"), "control character"),
        ("/statement", Value::Null, "missing: an SQL query"),
        ("/statement", json!(" "), "empty"),
        ("/statement", json!("DROP TABLE orders"), "a statement of the kind DROP"),
        ("/source_type", json!("bpc"), "there is no method `bpc`"),
        ("/source_type", json!("odbc"), "there is no method `odbc`"),
        ("/upload_type", Value::Null, "missing: `local`, `s3`, `blob`, `gcs` or `snowflake_stage`"),
        ("/upload_type", json!("blob"), "target connection `blob` cannot be used: this version cannot"),
        ("/upload_type", json!("s3"), "no target connection `s3`"),
        ("/upload_path", Value::Null, "missing: a directory"),
        ("/upload_path", json!("../up"), "`..`"),
        ("/suggested_batch_size", json!(0), "1 to 10000000"),
        ("/upload_pth", json!("x"), "did you mean `upload_path`?"),
        ("/priority", json!(1), "unknown field"),
    ];
    for (pointer, value, text) in table {
        agent.submit(&with(flat("1"), pointer, value)).await.assert_errors(&[(pointer, text)]);
    }
    let unchecked = with(with(flat("1"), "/engine", json!("ledger")), "/database", json!("ledger_db"));
    agent.submit(&unchecked).await.assert_errors(&[("/database", "does not tell its database")]);
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let agent = Agent::start().await;
    let body = json!({
        "source_config": {"database": 1, "slices": 0, "quer": "SELECT 1"},
        "destination_config": {"type": "ftp"},
        "priority": "high"
    });
    agent.submit(&body).await.assert_errors(&[
        ("/source_config/database", "found a number"),
        ("/source_config/slices", "1 to 64"),
        ("/source_config/quer", "did you mean `query`?"),
        ("/source_config/query", "missing: one of `query` and `table`"),
        ("/destination_config/type", "one of `local`, `s3`, `blob`, `gcs`"),
        ("/destination_config/path", "missing"),
        ("/priority", "found a string"),
    ]);
    agent
        .submit(&json!({}))
        .await
        .assert_errors(&[("/source_config", "missing"), ("/destination_config", "missing")]);
    // Both forms at once: the nested one is meant, the other fields are unknown.
    let mixed = with(nested("1"), "/engine", json!("sales"));
    agent.submit(&mixed).await.assert_errors(&[("/engine", "unknown field")]);
    for body in [json!(null), json!(1), json!("task"), json!(true)] {
        agent.submit(&body).await.assert_errors(&[("", "expected a task, or an array of tasks")]);
    }
    agent
        .submit(&json!([nested("1"), 5]))
        .await
        .assert_errors(&[("/1", "expected an object; found a number")]);
}

#[tokio::test]
async fn a_table_has_the_name_of_a_table() {
    let agent = Agent::start().await;
    let body = with(nested("1"), "/source_config/query", Value::Null);
    for (table, is_accepted) in
        [("orders", true), ("public.\"Order Items\"", true), ("orders; SELECT 1", false), ("a.b.c", false)]
    {
        let answer = agent
            .submit(&with(with(body.clone(), "/id", json!(null)), "/source_config/table", json!(table)))
            .await;
        if is_accepted {
            assert_eq!(answer.status, 202, "{}", answer.text);
        } else {
            answer.assert_errors(&[("/source_config/table", "double quotes")]);
        }
    }
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
async fn csv_knows_no_snappy() {
    let agent = Agent::start().await;
    let body = with(nested("1"), "/destination_config/format", json!("csv"));
    let body = with(body, "/destination_config/compression", json!("snappy"));
    agent.submit(&body).await.assert_errors(&[("/destination_config/compression", "not with snappy")]);
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

/// JSON that looks like a task here and there.
fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 26] = [
        "id",
        "task_type",
        "source_config",
        "destination_config",
        "database",
        "query",
        "table",
        "columns",
        "slices",
        "slice_column",
        "batch_size",
        "type",
        "path",
        "connection",
        "format",
        "compression",
        "max_file_size",
        "max_attempts",
        "timeout",
        "priority",
        "engine",
        "statement",
        "schema",
        "source_type",
        "upload_type",
        "upload_path",
    ];
    let name =
        prop_oneof![4 => proptest::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => any::<String>()];
    let text = prop_oneof![
        proptest::sample::select(
            &["sales", "local", "s3", "jdbc", "csv", "SELECT 1", "1h", "64MiB", "a/b", "data_extraction"][..]
        )
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..100u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => proptest::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn no_body_is_answered_with_a_server_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let agent = runtime.block_on(Agent::start());
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    runner
        .run(&any_json(), |body| {
            let answer = runtime.block_on(agent.submit(&body));
            prop_assert!([200, 202, 409, 422].contains(&answer.status.as_u16()), "{}", answer.text);
            prop_assert_eq!(answer.status == 422, answer.body["errors"].is_array());
            Ok(())
        })
        .unwrap();
    // One wrong field in a good task gets further into the reading.
    let place = proptest::sample::select(
        &[
            "/source_config",
            "/destination_config/path",
            "/source_config/query",
            "/timeout",
            "/id",
            "/priority",
        ][..],
    );
    runner
        .run(&(place, any_json()), |(pointer, value)| {
            let answer = runtime.block_on(agent.submit(&with(nested("1"), pointer, value)));
            prop_assert!([200, 202, 409, 422].contains(&answer.status.as_u16()), "{}", answer.text);
            Ok(())
        })
        .unwrap();
    runtime.block_on(async { drop(agent) });
}

#[tokio::test]
async fn large_bodies_have_room_for_a_few_at_a_time() {
    use tokio::io::AsyncWriteExt;

    let agent = Agent::start().await;
    let address = agent.base.strip_prefix("http://").unwrap();
    let mut slow = Vec::new();
    // More than there is room for; none of them sends its end.
    for _ in 0..80 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Content-Length: 200000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        slow.push(stream);
    }
    let query = format!("SELECT 1 {}", " ".repeat(100_000));
    let large = |id: usize| with(nested(&id.to_string()), "/source_config/query", json!(query));
    let mut id = 0;
    let full = async {
        loop {
            id += 1;
            let answer = agent.submit(&large(id)).await;
            if answer.status != 202 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, full).await.expect("they get in the way of each other");
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(agent.submit(&nested("small")).await.status, 202, "small ones go on");
    drop(slow);
    let free = async {
        while agent.submit(&large(id)).await.status != 202 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("there is room again");
}
