//! The Snowflake client: against an emulator for SQL and its results, and against a double of the
//! protocol for what goes wrong.

mod chunks;
mod emulator;
mod faults;
mod logins;
mod sessions;
mod statements;
mod trust;

use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection, Statement, Table};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::query::Answer;

const QUERY: &str = "/queries/v1/query-request";
const LOGIN: &str = "/session/v1/login-request";

fn texts(table: &Table) -> Vec<Vec<&str>> {
    table.rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()).collect()
}

/// A double that answers `SELECT 1`, and a client of it.
async fn double() -> (SnowflakeDouble, Client) {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let client = client_of(double.connection());
    (double, client)
}

fn client_of(connection: Connection) -> Client {
    Client::new(connection, &Shutdown::new()).unwrap()
}

fn select() -> Statement {
    Statement::new("SELECT 1")
}

async fn select_many(client: &Client, count: usize) {
    for result in join_all((0..count).map(|_| async { client.run(&select()).await })).await {
        assert_eq!(result.unwrap().single(), Some("1"));
    }
}

/// `data` of a result whose first row is inside and whose others are in `chunks`, with their rows.
fn chunked(chunks: &[(String, usize)], more: Value) -> Value {
    let total = 1 + chunks.iter().map(|(_, rows)| rows).sum::<usize>();
    let chunks: Vec<_> = chunks
        .iter()
        .map(|(url, rows)| json!({"url": url, "rowCount": rows, "uncompressedSize": 9}))
        .collect();
    let mut data = json!({
        "rowtype": [{"name": "N", "type": "fixed", "scale": 0}],
        "rowset": [["0"]], "queryResultFormat": "json", "total": total, "returned": total, "chunks": chunks,
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}
