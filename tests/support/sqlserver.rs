//! A real server of TDS, when `SQLSERVER_URL` names one.

use data_exchange_agent::config::{Environment, SourceConnection, SqlServerSource, source_from_url};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::sqlserver::SqlServer;

use super::extraction::{column, query, read};

/// `sqlserver://user:password@host:port/database?...` of a database that allows snapshot isolation. The tests
/// read from it, and make nothing.
const VARIABLE: &str = "SQLSERVER_URL";

/// A real server.
pub(crate) struct RealServer {
    pub(crate) configuration: SqlServerSource,
    /// Babelfish for PostgreSQL: it speaks the protocol and lacks some types.
    pub(crate) is_babelfish: bool,
}

/// The source of a configuration.
pub(crate) fn open(configuration: SqlServerSource) -> SqlServer {
    SqlServer::new(configuration, Shutdown::new()).expect("the configuration is right")
}

/// The configuration of the server that the environment names.
pub(crate) fn configuration() -> Option<SqlServerSource> {
    #[expect(clippy::disallowed_methods, reason = "the tests have variables of their own")]
    let url = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())?;
    match source_from_url(&url, &Environment::of::<String, String>([])) {
        Ok(SourceConnection::SqlServer(configuration)) => Some(configuration),
        Ok(_) => panic!("{VARIABLE} is not a URL of SQL Server"),
        Err(problems) => panic!("{VARIABLE}: {problems}"),
    }
}

impl RealServer {
    /// The server that the environment names; `None` when it names none.
    pub(crate) async fn if_named() -> Option<Self> {
        let Some(configuration) = configuration() else {
            skip_note();
            return None;
        };
        let sql = "SELECT CAST(SERVERPROPERTY('Babelfish') AS int) AS one";
        let found = read(&open(configuration.clone()), &query(sql), 1).await.expect("the server answers");
        let is_babelfish = column(&found, "one") == [Some("1".to_owned())];
        Some(Self { configuration, is_babelfish })
    }

    /// Whether the server has a type of this name, which is for those of later versions.
    #[expect(clippy::print_stderr, reason = "a person who runs the tests has to see it")]
    pub(crate) async fn has_type(&self, name: &str) -> bool {
        let sql = format!("SELECT COUNT(*) AS many FROM sys.types WHERE name = '{name}'");
        let found =
            read(&open(self.configuration.clone()), &query(sql), 1).await.expect("the server has a catalog");
        let has_it = column(&found, "many") == [Some("1".to_owned())];
        if !has_it {
            eprintln!("skipped: the server of {VARIABLE} has no type {name}");
        }
        has_it
    }
}

#[expect(clippy::print_stderr, reason = "a person who runs the tests has to see it")]
fn skip_note() {
    eprintln!("{VARIABLE} is not set: only the test double is asked");
}
