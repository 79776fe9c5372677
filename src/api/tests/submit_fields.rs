//! `POST /tasks`: every wrong field is named, and what is wrong with it.

use super::*;

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
async fn csv_knows_no_snappy() {
    let agent = Agent::start().await;
    let body = with(nested("1"), "/destination_config/format", json!("csv"));
    let body = with(body, "/destination_config/compression", json!("snappy"));
    agent.submit(&body).await.assert_errors(&[("/destination_config/compression", "not with snappy")]);
}
