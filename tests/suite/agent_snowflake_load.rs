//! The whole way: rows of PostgreSQL become files of a stage and rows of a table, once, also when the
//! agent dies in between.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row};

use data_exchange_agent::snowflake::Statement;

use crate::support::account::Account;
use crate::support::agent::{Agent, Place};
use crate::support::emulator_relay::{Relay, Treatment};
use crate::support::postgres::{self, Database};

pub(crate) const ROWS: u64 = 5_000;

pub(crate) async fn create_lines(database: &Database) {
    let sql = format!(
        "CREATE TABLE lines AS SELECT id, (id % 1000)::integer AS quantity, (id * 1.01)::numeric(18,2) AS price,
           CASE WHEN id % 7 = 0 THEN NULL WHEN id % 7 = 2 THEN 'a, \"b\"' || E'\\n' || id ELSE 'lïne ' || id END
             AS note,
           timestamptz '2026-01-01 00:00:00.000001+00' + id * interval '1 second' AS sold_at,
           date '1990-01-01' + (id % 20000)::integer AS day, id % 2 = 0 AS even,
           decode(md5(id::text), 'hex') AS hash, id::float8 / 4 AS ratio, jsonb_build_object('a', id) AS body
         FROM generate_series(1::bigint, {ROWS}) AS id;
         ALTER TABLE lines ADD PRIMARY KEY (id); ANALYZE lines"
    );
    database.execute(&sql).await;
}

/// Counts, sums and bounds of every column: what both sides call the same, and what each has its own
/// word for.
pub(crate) const TOTALS: [(&str, &str); 13] = [
    ("count(*)", "count(*)"),
    ("sum(id)", "sum(id)"),
    ("sum(quantity)", "sum(quantity)"),
    ("sum(price)", "sum(price)"),
    ("count(note)", "count(note)"),
    ("sum(length(note))", "sum(length(note))"),
    ("sum(extract(epoch FROM sold_at)::bigint)", "sum(date_part(epoch_second, sold_at))"),
    (
        "max(extract(microseconds FROM sold_at)::bigint % 1000000)",
        "max(date_part(epoch_microsecond, sold_at) % 1000000)",
    ),
    ("max(day) - date '1990-01-01'", "datediff('day', '1990-01-01'::date, max(day))"),
    ("count(CASE WHEN even THEN 1 END)", "count(CASE WHEN even THEN 1 END)"),
    ("sum(octet_length(hash))", "sum(octet_length(hash))"),
    ("sum(ratio)", "sum(ratio)"),
    ("sum(length(body::text))", "sum(length(body))"),
];

pub(crate) async fn in_database(database: &Database) -> Vec<String> {
    let mut connection = database.connect().await;
    let totals: Vec<String> =
        TOTALS.iter().map(|(sql, _)| format!("CAST(CAST({sql} AS numeric(38,2)) AS varchar)")).collect();
    let sql = format!("SELECT {} FROM lines", totals.join(", "));
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}

/// An agent with PostgreSQL on one side, and Snowflake or the emulator on the other.
struct Way {
    account: Account,
    database: Database,
    agent: Agent,
}

impl Way {
    async fn start() -> Option<Self> {
        let server = postgres::server_if_installed().await?;
        let account = Account::open().await?;
        let client = account.client();
        client.run(&Statement::new("CREATE STAGE STG")).await.unwrap();
        client.close().await;
        let database = server.create_database().await;
        create_lines(&database).await;
        let place = account.target(Place::new().database(&database), "snowflake_stage");
        let agent = place.start().await;
        Some(Self { account, database, agent })
    }

    /// The same for a test that makes faults; `None` on a live account, where none can be made.
    async fn start_with_relay() -> Option<(Self, Relay)> {
        let way = Self::start().await?;
        match way.account.relay.clone() {
            Some(relay) => Some((way, relay)),
            None => {
                way.account.close().await;
                None
            }
        }
    }

    fn task(id: &str, load: Value) -> Value {
        json!({
            "id": id,
            "source_config": {"database": "sales", "table": "lines", "batch_size": 500},
            "destination_config": {"type": "snowflake_stage", "stage": format!("@STG/{id}/"),
                "max_file_size": "16KiB", "load": load},
        })
    }

    async fn ask(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let client = self.account.client();
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
}

#[tokio::test]
async fn rows_of_postgresql_arrive_in_a_table_in_every_mode() {
    let Some(way) = Way::start().await else { return };
    let expected = in_database(&way.database).await;
    for (id, mode, inserted, updated, deleted) in
        [("a", "append", ROWS, 0, 0), ("b", "replace", ROWS, 0, ROWS), ("c", "merge", 0, ROWS, 0)]
    {
        let mut load = json!({"table": "lines", "mode": mode, "purge": mode == "merge"});
        if mode == "merge" {
            load["keys"] = json!(["id"]);
        }
        way.agent.submit(Way::task(id, load)).await;
        let task = way.agent.wait_until(id, "completed").await;
        let receipt = &task["receipt"];
        assert_eq!(receipt["rows"], ROWS);
        assert!(receipt["files"].as_array().unwrap().len() > 1, "{receipt}");
        let load = &receipt["load"];
        assert_eq!(
            [&load["rows_loaded"], &load["rows_inserted"], &load["rows_updated"], &load["rows_deleted"]],
            [&json!(ROWS), &json!(inserted), &json!(updated), &json!(deleted)],
            "{mode}: {load}"
        );
        assert_eq!((&load["mode"], &load["already_loaded"]), (&json!(mode), &json!(false)));
        assert_eq!(load["purged"], mode == "merge");
        assert_eq!(way.in_table().await, expected, "{mode}");
    }
    let control = way.ask("SELECT TASK_ID, STATE FROM DATA_EXCHANGE_AGENT_LOADS ORDER BY TASK_ID").await;
    let control: Vec<Vec<&str>> =
        control.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap()).collect()).collect();
    assert_eq!(control, [["a", "LOADED"], ["b", "LOADED"], ["c", "LOADED"]]);
    way.account.close().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_before_or_after_its_commit_loads_once() {
    let Some((mut way, relay)) = Way::start_with_relay().await else { return };
    let expected = in_database(&way.database).await;
    for (id, treatment) in [("before", Treatment::HoldBefore), ("after", Treatment::HoldAfter)] {
        relay.treat(move |sql| if sql == "COMMIT" { treatment } else { Treatment::Forward });
        way.agent.submit(Way::task(id, json!({"table": "lines", "mode": "replace"}))).await;
        relay.held().await;
        way.agent.kill().await;
        relay.forward();
        relay.end_held_sessions().await;
        relay.take_statements();
        way.agent.start_again().await;
        let task = way.agent.wait_until(id, "completed").await;
        let load = &task["receipt"]["load"];
        let wrote =
            relay.take_statements().iter().any(|sql| sql.starts_with("PUT") || sql.starts_with("COPY"));
        assert_eq!(wrote, treatment == Treatment::HoldBefore, "a load on record is not repeated");
        let files = task["receipt"]["files"].as_array().unwrap();
        assert_eq!(files.iter().map(|file| file["rows"].as_u64().unwrap()).sum::<u64>(), ROWS);
        assert_eq!(load["rows_loaded"], ROWS, "{load}");
        assert_eq!(load["already_loaded"], treatment == Treatment::HoldAfter, "{load}");
        assert_eq!(way.in_table().await, expected);
    }
}

#[tokio::test]
async fn a_load_that_cannot_be_is_refused_before_a_row_is_read() {
    let Some((way, relay)) = Way::start_with_relay().await else { return };
    relay.take_statements();
    way.agent.submit(Way::task("keys", json!({"table": "lines", "mode": "merge", "keys": ["ID"]}))).await;
    let task = way.agent.wait_until("keys", "failed").await;
    let error = &task["attempts"][0]["error"];
    assert_eq!(error["kind"], "request", "{error}");
    assert!(error["message"].as_str().unwrap().contains("merge by column `ID`"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("`quantity`"), "{error}");
    let asked = relay.take_statements();
    assert!(asked.iter().all(|sql| sql.starts_with("SELECT ")), "{asked:?}");
}
