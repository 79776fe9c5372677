//! A query that stops in its middle until the test lets it go on.
//!
//! The query takes an advisory lock at one of its rows, and the test holds that lock. So a test
//! can act while an extraction is at a known place, without a guess about time.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, query_scalar};

use super::agent::eventually;
use super::postgres::Database;

/// The lock. Every database has advisory locks of its own, so one number does for all tests.
const KEY: i64 = 4_711;

/// A closed gate. It opens when it is dropped, or when its server ends.
pub(crate) struct Gate {
    holder: PgConnection,
    observer: PgConnection,
}

impl Gate {
    /// Closes the gate of `database`.
    pub(crate) async fn close(database: &Database) -> Self {
        let mut holder = database.connect().await;
        run(&mut holder, &format!("SELECT pg_advisory_lock({KEY})")).await;
        Self { holder, observer: database.connect().await }
    }

    /// How many queries wait at the gate.
    pub(crate) async fn waiting(&mut self) -> i64 {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.observer).await.expect("read the locks")
    }

    /// Waits until `count` queries wait at the gate.
    pub(crate) async fn wait_for(&mut self, count: i64) {
        let mut found = -1;
        eventually(&format!("{count} queries at the gate"), async || {
            found = self.waiting().await;
            (found == count).then_some(())
        })
        .await;
    }

    /// Lets every query pass, now and later.
    pub(crate) async fn open(self) {
        for connection in [self.holder, self.observer] {
            connection.close().await.expect("close the connection");
        }
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.expect("a statement of the test");
}

/// Rows 1 to `rows` with a text of their own, which stop before row `stop`. `bytes` is the length
/// of the text, in steps of 32.
pub(crate) fn gated_query(stop: u64, rows: u64, bytes: u64) -> String {
    let text: Vec<String> =
        (0..(bytes / 32).max(1)).map(|step| format!("md5(id::text || '{step}')")).collect();
    format!(
        "SELECT id, {} AS text, CASE WHEN id = {stop} THEN pg_advisory_xact_lock_shared({KEY}) IS NULL END AS gate \
         FROM generate_series(1, {rows}) AS id",
        text.join(" || ")
    )
}
