//! A database of one test, and the connections that the tests themselves open.

use std::path::PathBuf;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Decode, Postgres as Dialect, Row, Type};
use url::Url;

/// A database of one test.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) socket_folder: PathBuf,
    pub(super) maintenance_url: Url,
}

impl Database {
    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `postgresql://tester@127.0.0.1:port/name`.
    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    /// The same for another user.
    pub(crate) fn url_as(&self, (user, password): (&str, &str)) -> String {
        let mut url = self.url.clone();
        url.set_username(user).expect("the URL has a host");
        url.set_password(Some(password)).expect("the URL has a host");
        url.to_string()
    }

    /// The same over the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("host", &self.socket_folder.to_string_lossy());
        url.to_string()
    }

    /// Opens a connection as [`USER`].
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// Runs one or more statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        run_sql(&mut connection, sql).await;
        connection.close().await.expect("close the connection");
    }

    /// The first column of the only row.
    pub(crate) async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'row> Decode<'row, Dialect> + Type<Dialect>,
    {
        let mut connection = self.connect().await;
        let row: PgRow = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{error}, in: {sql}"));
        connection.close().await.expect("close the connection");
        row.get(0)
    }
}

impl Drop for Database {
    /// Drops the database on a thread of its own, so that many tests do not fill the disk. Its server
    /// may have been stopped, and this process may be about to end: that it fails does not matter.
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), self.maintenance_url.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(url.as_str()).await?;
                let others = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                );
                // It waits for some seconds for sessions to end; on a busy machine they take longer.
                for _attempt in 0..20 {
                    sqlx::raw_sql(AssertSqlSafe(others.clone())).execute(&mut connection).await?;
                    let drop = AssertSqlSafe(format!("DROP DATABASE {name}"));
                    if sqlx::raw_sql(drop).execute(&mut connection).await.is_ok() {
                        break;
                    }
                }
                connection.close().await
            })
        });
    }
}

pub(super) async fn connect(url: &Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.unwrap_or_else(|error| panic!("connect to {url}: {error}"))
}

pub(super) async fn run_sql(connection: &mut PgConnection, sql: &str) {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    outcome.unwrap_or_else(|error| panic!("{error}, in: {sql}"));
}
