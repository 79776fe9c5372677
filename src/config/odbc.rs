//! What is true of a connection through ODBC.

use std::time::Duration;

use super::{ConnectionString, SeventhDigit, SourceConnection, SqlDialect};

/// A database behind an ODBC driver: `kind = "odbc"`, and the kinds that build its connection string.
#[derive(Clone, Debug, PartialEq)]
pub struct OdbcSource {
    /// What the driver manager is given.
    pub connection: ConnectionString,
    /// Whose SQL the database speaks; asked of the driver when `None`.
    pub dialect: Option<SqlDialect>,
    /// Shown by the database as what reads, where it has a place for it.
    pub application_name: String,
    /// Teradata: pairs of the query band.
    pub query_band: Option<String>,
    /// Teradata: read without waiting for writers, and what they have not committed.
    pub reads_uncommitted_rows: bool,
    /// Longest time to connect and log in.
    pub connect_timeout: Duration,
    /// Longest time for one extraction; no limit when `None`.
    pub statement_timeout: Option<Duration>,
    /// What the slices of one result see.
    pub consistency: OdbcConsistency,
    /// How texts leave the driver.
    pub text: OdbcText,
    /// What happens to times of less than a microsecond.
    pub seventh_digit: SeventhDigit,
    /// Which values are fetched piece by piece.
    pub long_values: OdbcLongValues,
}

impl OdbcSource {
    /// A connection with every setting at its default.
    #[must_use]
    pub fn new(connection: ConnectionString, dialect: Option<SqlDialect>) -> Self {
        Self {
            connection,
            dialect,
            application_name: "data-exchange-agent".into(),
            query_band: None,
            reads_uncommitted_rows: false,
            connect_timeout: Duration::from_secs(15),
            statement_timeout: None,
            consistency: OdbcConsistency::default(),
            text: OdbcText::default(),
            seventh_digit: SeventhDigit::default(),
            long_values: OdbcLongValues::default(),
        }
    }
}

impl SourceConnection {
    /// The ODBC side of a connection: its own settings for the kinds of ODBC, and for the others what
    /// their `odbc_connection_string` says. `None` where nobody wrote one.
    #[must_use]
    pub fn odbc(&self) -> Option<OdbcSource> {
        let (string, dialect, statement_timeout, application_name) = match self {
            Self::Odbc(source) => return Some(source.clone()),
            Self::Postgres(source) => (
                source.odbc_connection.clone()?,
                SqlDialect::PostgreSql,
                source.statement_timeout,
                &source.application_name,
            ),
            Self::Mysql(source) => (
                source.odbc_connection.clone()?,
                SqlDialect::MySql,
                source.statement_timeout,
                &source.application_name,
            ),
            Self::SqlServer(source) => (
                source.odbc_connection.clone()?,
                SqlDialect::SqlServer,
                source.statement_timeout,
                &source.application_name,
            ),
            Self::Sqlite(_) => return None,
        };
        Some(OdbcSource {
            statement_timeout,
            application_name: application_name.clone(),
            ..OdbcSource::new(string, Some(dialect))
        })
    }
}

/// What the slices of one result see. ODBC has no snapshot that connections could share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OdbcConsistency {
    /// One slice, whatever was asked for: one statement, as consistent as the database makes it.
    #[default]
    Serial,
    /// Every slice is a statement on a connection of its own, and sees the data when it begins.
    Independent,
}

/// How texts leave the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OdbcText {
    /// As UTF-16, whatever locale and character set the driver works in.
    #[default]
    Utf16,
    /// As bytes, which have to be UTF-8. Faster, and the driver has to be set up for it.
    Utf8,
}

/// Which values are fetched piece by piece, a row at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OdbcLongValues {
    /// Results that have a column without a length, or with a very large one.
    #[default]
    Automatic,
    /// Every result: for drivers that say lengths which are too short.
    Pieces,
}
