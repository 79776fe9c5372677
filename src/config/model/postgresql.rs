//! What a connection to PostgreSQL is.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ConnectionString, Secret};

/// `kind = "postgresql"`.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSource {
    /// Host name, address, or directory of a Unix socket (begins with `/`).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub username: String,
    /// Password; none for trust, peer or certificate authentication.
    pub password: Option<Secret>,
    /// TLS policy, with libpq's words.
    pub ssl_mode: SslMode,
    /// PEM file of the certificate authorities to trust, instead of the system's.
    pub ssl_root_certificate: Option<PathBuf>,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Schemas in which unqualified names are looked up, separated by commas; the server's own when
    /// `None`.
    pub search_path: Option<String>,
    /// `statement_timeout` of the extraction; the server's own when `None`.
    pub statement_timeout: Option<Duration>,
    /// Longest time to connect and log in.
    pub connect_timeout: Duration,
    /// What a `numeric` without precision becomes.
    pub numeric: NumericPolicy,
    /// What NaN and infinities become where the output has none.
    pub special_values: SpecialValues,
    /// For reading the same database through ODBC.
    pub odbc_connection: Option<ConnectionString>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS when the server offers it, without verification.
    #[default]
    Prefer,
    /// TLS always, without verification.
    Require,
    /// TLS, and the certificate is signed by a trusted authority.
    VerifyCa,
    /// TLS, and the certificate is trusted and names the host.
    VerifyFull,
}

/// What a `numeric` without precision and scale becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NumericPolicy {
    /// Text, exactly as the server prints it.
    #[default]
    Text,
    /// A decimal of this precision (1..=76) and scale (0..=precision); a value that does not fit is an error.
    Decimal {
        /// Digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// A double, rounded.
    Double,
}

/// What NaN and infinities of numeric, date and timestamp become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpecialValues {
    /// An error that names the column.
    #[default]
    Error,
    /// NULL.
    Null,
}
