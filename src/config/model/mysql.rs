//! What a connection to MySQL or MariaDB is.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::SslMode;
use crate::config::{ConnectionString, Secret};

/// `kind = "mysql"` or `kind = "mariadb"`.
#[derive(Clone, Debug, PartialEq)]
pub struct MysqlSource {
    /// Host name, address, or path of a Unix socket (begins with `/`).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database in which unqualified names are looked up.
    pub database: Option<String>,
    /// User.
    pub username: String,
    /// Password; none for a user without one.
    pub password: Option<Secret>,
    /// TLS policy.
    pub ssl_mode: SslMode,
    /// PEM file of the certificate authorities to trust, instead of the system's.
    pub ssl_ca: Option<PathBuf>,
    /// PEM file of the server's RSA key, for logins with `caching_sha2_password` without TLS.
    pub server_public_key: Option<PathBuf>,
    /// Ask the server for that key, and believe the answer.
    pub allow_public_key_retrieval: bool,
    /// Shown as `program_name` in `performance_schema.session_connect_attrs`.
    pub application_name: String,
    /// Longest time for one statement on the server; the server's own when `None`.
    pub statement_timeout: Option<Duration>,
    /// Longest time to connect and log in.
    pub connect_timeout: Duration,
    /// How several slices get one picture of the data.
    pub consistency: Consistency,
    /// What dates that no calendar has become.
    pub zero_dates: ZeroDates,
    /// What `time` becomes.
    pub time: TimeMapping,
    /// What `tinyint(1)` becomes.
    pub tinyint1: TinyintMapping,
    /// Bytes of the longest row that is taken.
    pub longest_row: NonZeroUsize,
    /// For reading the same database through ODBC.
    pub odbc_connection: Option<ConnectionString>,
}

impl MysqlSource {
    /// Bytes of the longest row when no configuration says.
    pub const DEFAULT_LONGEST_ROW: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");
}

/// How several slices get one picture of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// A common snapshot of several connections, or one connection where that cannot be had.
    #[default]
    Snapshot,
    /// One connection always, and no lock ever.
    Serial,
}

/// What `0000-00-00` and other dates that no calendar has become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroDates {
    /// An error that names the column.
    #[default]
    Error,
    /// NULL.
    Null,
}

/// What MySQL's `time` becomes, which reaches from -838 to 838 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeMapping {
    /// A time of a day; a negative or longer one is an error.
    #[default]
    TimeOfDay,
    /// Text, as the server prints it.
    Text,
    /// A signed number of microseconds.
    Microseconds,
}

/// What MySQL's `tinyint(1)` becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TinyintMapping {
    /// A number.
    #[default]
    Integer,
    /// True for every number but zero.
    Boolean,
}
