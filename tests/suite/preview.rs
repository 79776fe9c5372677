//! `POST /preview` on a real database.

use serde_json::{Value, json};

use crate::support::agent::{Agent, Answer, Place, eventually};
use crate::support::postgres::{self, Database};

async fn agent() -> Option<(Database, Agent)> {
    let database = postgres::server_if_installed().await?.create_database().await;
    let agent = Place::new().database(&database).start().await;
    Some((database, agent))
}

async fn preview(agent: &Agent, source: Value, rows: u64) -> Answer {
    let mut source = source;
    source["database"] = json!("sales");
    agent.post("/preview", Some(&json!({"source_config": source, "rows": rows}))).await
}

#[tokio::test]
async fn it_shows_columns_and_first_rows_and_leaves_nothing_behind() {
    let Some((database, agent)) = agent().await else { return };
    database
        .execute(
            "CREATE TABLE people (id bigint NOT NULL, name text, born date, photo bytea, tags text[]);
             INSERT INTO people SELECT i, repeat('planted-value ', 100), '2001-02-03', '\\x00ff', ARRAY['a', 'b']
                FROM generate_series(1, 100000) i;
             INSERT INTO people VALUES (0, NULL, NULL, NULL, NULL)",
        )
        .await;
    let answer = preview(&agent, json!({"query": "SELECT * FROM people ORDER BY id"}), 3).await.json();
    let names: Vec<&str> =
        answer["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "name", "born", "photo", "tags"]);
    assert_eq!(answer["columns"][0]["source_type"], "bigint");
    assert_eq!(answer["columns"][0]["type"], "Int64");
    assert_eq!(answer["rows"].as_array().unwrap().len(), 3);
    assert_eq!(answer["rows"][0], json!(["0", null, null, null, null]));
    let second = &answer["rows"][1];
    assert_eq!((&second[0], &second[2], &second[3]), (&json!("1"), &json!("2001-02-03"), &json!("00ff")));
    assert_eq!(second[1].as_str().unwrap().chars().count(), 201, "long values are cut");
    assert_eq!(answer["more"], true);

    let all = preview(&agent, json!({"table": "people", "columns": ["born"]}), 100).await.json();
    assert_eq!((all["columns"].as_array().unwrap().len(), all["rows"].as_array().unwrap().len()), (1, 100));
    let none = preview(&agent, json!({"query": "SELECT id FROM people WHERE id < 0"}), 1).await.json();
    assert_eq!((&none["rows"], &none["more"]), (&json!([]), &json!(false)));

    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("the connections of previews to be gone", async || {
        (database.value::<i64>(busy).await == 0).then_some(())
    })
    .await;
    assert!(!agent.log().contains("planted-value"), "values are never logged");
    assert!(!agent.log().contains("FROM people"), "and neither are queries");
    assert_eq!(agent.get("/get_tasks_count").await["tasks_by_status"]["completed"], 0, "no task was made");
}

#[tokio::test]
async fn what_writes_or_cannot_be_read_is_refused_with_a_reason() {
    let Some((database, agent)) = agent().await else { return };
    database.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await;
    for sql in [
        "DELETE FROM kept",
        "SELECT 1; DELETE FROM kept",
        "WITH x AS (DELETE FROM kept RETURNING 1) SELECT 1",
    ] {
        let problem = preview(&agent, json!({"query": sql}), 1).await.problem(422);
        assert!(problem["type"].as_str().unwrap().ends_with(":validation"), "{problem}");
    }
    // What the text does not show, the read-only transaction stops.
    database
        .execute(
            "CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM kept; RETURN 1; END'",
        )
        .await;
    let problem = preview(&agent, json!({"query": "SELECT sly()"}), 1).await.problem(422);
    assert!(problem["type"].as_str().unwrap().ends_with(":preview-failed"), "{problem}");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM kept").await, 1);
    let problem = preview(&agent, json!({"table": "nowhere"}), 1).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("nowhere"), "{problem}");
}
