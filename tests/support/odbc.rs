//! Real ODBC drivers for tests, as Debian packages them, and the servers behind them.
//!
//! Within this process a driver is named by the path of its library, so that no test depends on the
//! machine's `odbcinst.ini`; a program that a test starts gets a folder with one of its own
//! ([`registered`]).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_exchange_agent::config::{ConnectionString, OdbcSource, SqlServerLogin, SqlServerSource};
use data_exchange_agent::source::odbc::Odbc;
use url::Url;

use super::postgres::{Database, setting};
use super::{mysql, tds};

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    PostgreSql,
    MariaDb,
    Sqlite,
    FreeTds,
}

impl Driver {
    /// Its name in `odbcinst.ini`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL Unicode",
            Self::MariaDb => "MariaDB Unicode",
            Self::Sqlite => "SQLite3",
            Self::FreeTds => "FreeTDS",
        }
    }

    /// Its library; `None`, with a line that says so, where it is not installed and `REQUIRE_SERVERS` is
    /// not set.
    #[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
    pub(crate) fn library(self) -> Option<PathBuf> {
        let file = match self {
            Self::PostgreSql => "psqlodbcw.so",
            Self::MariaDb => "libmaodbc.so",
            Self::Sqlite => "libsqlite3odbc.so",
            Self::FreeTds => "libtdsodbc.so",
        };
        let folder = setting("TEST_ODBC_DRIVERS").map(PathBuf::from);
        let library = folder.map(|folder| folder.join(file)).filter(|library| library.exists());
        let is_needed = setting("REQUIRE_SERVERS").is_some();
        assert!(library.is_some() || !is_needed, "no {file}: run tests/run.sh");
        if library.is_none() {
            eprintln!("skipped: the ODBC driver {file} is not installed here; see docs/TESTING.md");
        }
        library
    }

    fn connection(self) -> Option<ConnectionString> {
        let mut string = ConnectionString::new();
        string.add("Driver", self.library()?.display().to_string());
        Some(string)
    }
}

/// A source with every setting at its default but the patience for a slow machine.
pub(crate) fn configuration(connection: ConnectionString) -> OdbcSource {
    OdbcSource {
        connect_timeout: Duration::from_secs(60),
        application_name: "data-exchange-agent tests".into(),
        ..OdbcSource::new(connection, None)
    }
}

pub(crate) fn open(configuration: OdbcSource) -> Odbc {
    Odbc::new(configuration)
}

/// A database of the shared PostgreSQL, through psqlODBC.
pub(crate) fn postgres(database: &Database) -> Option<OdbcSource> {
    Some(configuration(postgres_connection(database)?))
}

pub(crate) fn postgres_connection(database: &Database) -> Option<ConnectionString> {
    let url = Url::parse(&database.url()).expect("a URL of the test servers");
    let mut string = Driver::PostgreSql.connection()?;
    for (name, value) in [
        ("Servername", "127.0.0.1".to_owned()),
        ("Port", url.port().expect("a port").to_string()),
        ("Database", database.name().to_owned()),
        ("UID", url.username().to_owned()),
        ("UseDeclareFetch", "1".to_owned()),
        ("Fetch", "1000".to_owned()),
        ("BoolsAsChar", "0".to_owned()),
    ] {
        string.add(name, value);
    }
    Some(string)
}

/// A database of MariaDB or MySQL, through MariaDB's driver.
pub(crate) fn mariadb(database: &mysql::Database<'_>) -> Option<OdbcSource> {
    let native = database.configuration();
    let mut string = Driver::MariaDb.connection()?;
    for (name, value) in [
        ("Server", native.host),
        ("Port", native.port.to_string()),
        ("Database", database.name().to_owned()),
        ("UID", native.username),
        ("NO_CACHE", "1".to_owned()),
        ("FORWARDONLY", "1".to_owned()),
    ] {
        string.add(name, value);
    }
    Some(configuration(string))
}

/// A file of SQLite.
pub(crate) fn sqlite(file: &Path) -> Option<OdbcSource> {
    let mut string = Driver::Sqlite.connection()?;
    string.add("Database", file.display().to_string());
    Some(configuration(string))
}

/// The test double of SQL Server, through FreeTDS.
pub(crate) fn tds(server: &tds::TdsServer) -> Option<OdbcSource> {
    freetds(&server.configuration(), "off")
}

/// A server of TDS through FreeTDS; `None` without the driver, or without a name and a password.
pub(crate) fn freetds(native: &SqlServerSource, encryption: &str) -> Option<OdbcSource> {
    let SqlServerLogin::Password { username, password } = &native.login else { return None };
    let mut string = Driver::FreeTds.connection()?;
    for (name, value) in [
        ("Server", native.host.clone()),
        ("Port", native.port.to_string()),
        ("Database", native.database.clone()),
        ("UID", username.clone()),
        ("PWD", password.expose().to_owned()),
        ("TDS_Version", "7.4".to_owned()),
        ("Encryption", encryption.to_owned()),
        ("ClientCharset", "UTF-8".to_owned()),
    ] {
        string.add(name, value);
    }
    Some(configuration(string))
}

/// Writes an `odbcinst.ini` with these drivers into `folder`, and an `odbc.ini` without data sources;
/// programs that are started with `ODBCSYSINI` on it know them and no others.
pub(crate) fn registered(folder: &Path, drivers: &[(&str, &Path)]) {
    let mut text = String::new();
    for (name, library) in drivers {
        write!(text, "[{name}]\nDriver={}\nThreading=0\n", library.display())
            .expect("a String takes everything");
    }
    fs::write(folder.join("odbcinst.ini"), text).expect("write odbcinst.ini");
    fs::write(folder.join("odbc.ini"), "").expect("write odbc.ini");
}

/// Writes an `odbc.ini` with one data source into `folder`: the attributes of a connection string, under a
/// name.
pub(crate) fn data_source(folder: &Path, name: &str, attributes: &[(&str, &str)]) {
    let mut text = format!("[{name}]\n");
    for (attribute, value) in attributes {
        writeln!(text, "{attribute}={value}").expect("a String takes everything");
    }
    fs::write(folder.join("odbc.ini"), text).expect("write odbc.ini");
}
