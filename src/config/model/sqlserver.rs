//! What a connection to SQL Server is.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ConnectionString, Secret};

/// `kind = "sqlserver"`: SQL Server, Azure SQL Database and Managed Instance, Synapse.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlServerSource {
    /// Host name or address.
    pub host: String,
    /// Port, unless an instance is named.
    pub port: u16,
    /// Named instance, whose port the SQL Server Browser of the host knows.
    pub instance: Option<String>,
    /// UDP port of the SQL Server Browser.
    pub browser_port: u16,
    /// Database.
    pub database: String,
    /// Who logs in, and how.
    pub login: SqlServerLogin,
    /// TLS policy.
    pub encryption: SqlServerEncryption,
    /// The server's certificate is not checked.
    pub trusts_any_certificate: bool,
    /// PEM file of the certificate authorities to trust, instead of the system's.
    pub root_certificate: Option<PathBuf>,
    /// The name that the certificate has to have, when it is not the host.
    pub host_name_in_certificate: Option<String>,
    /// `ApplicationIntent=ReadOnly`: a listener may pick a readable secondary.
    pub reads_only: bool,
    /// Shown in `sys.dm_exec_sessions`.
    pub application_name: String,
    /// Longest time to connect and log in.
    pub connect_timeout: Duration,
    /// Longest time for one extraction; none when `None`.
    pub statement_timeout: Option<Duration>,
    /// Bytes of a packet that are asked for; 512 to 32767.
    pub packet_bytes: NonZeroU16,
    /// A longer row fails the extraction.
    pub longest_row: NonZeroUsize,
    /// Hints for tables that a task names, for example `NOLOCK`.
    pub table_hint: Option<String>,
    /// What several connections that read one result see.
    pub consistency: SqlServerConsistency,
    /// What a `datetimeoffset` becomes.
    pub datetimeoffset: OffsetPolicy,
    /// What becomes of the seventh digit of a second.
    pub seventh_digit: SeventhDigit,
    /// What `geometry` and `geography` become.
    pub spatial: SpatialPolicy,
    /// For reading the same database through ODBC.
    pub odbc_connection: Option<ConnectionString>,
}

impl SqlServerSource {
    /// The packet size that is asked for by default: the largest that SQL Server grants under TLS.
    pub const DEFAULT_PACKET_BYTES: NonZeroU16 = NonZeroU16::new(16_383).expect("not zero");
    /// The longest row by default: the longest text that Snowflake takes.
    pub const DEFAULT_LONGEST_ROW: NonZeroUsize = NonZeroUsize::new(128 << 20).expect("not zero");

    /// Hints that neither lock for writing, nor skip rows that somebody else has locked, nor take an argument;
    /// and whether they replace the isolation level of the transaction that reads.
    pub(in crate::config) const TABLE_HINTS: &[(&str, bool)] = &[
        ("NOLOCK", true),
        ("READUNCOMMITTED", true),
        ("READCOMMITTED", true),
        ("READCOMMITTEDLOCK", true),
        ("REPEATABLEREAD", true),
        ("SERIALIZABLE", true),
        ("HOLDLOCK", true),
        ("ROWLOCK", false),
        ("PAGLOCK", false),
        ("TABLOCK", false),
        ("SNAPSHOT", false),
        ("NOEXPAND", false),
        ("FORCESEEK", false),
        ("FORCESCAN", false),
    ];

    /// True when `table_hint` replaces the isolation level of the transaction that reads.
    #[must_use]
    pub fn hint_undoes_snapshots(&self) -> bool {
        let mut hints = self.table_hint.as_deref().unwrap_or_default().split(',');
        hints.any(|hint| Self::TABLE_HINTS.contains(&(hint.trim(), true)))
    }
}

/// Who logs in to SQL Server.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlServerLogin {
    /// A login of the server itself.
    Password {
        /// Name of the login.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// A token of Entra ID for `https://database.windows.net/`.
    Token(Secret),
    /// An application of Entra ID, for which tokens are fetched.
    ServicePrincipal {
        /// Where tokens come from, without a `/` at the end.
        authority: String,
        /// Directory of the application.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// A principal of Kerberos, whose ticket the system's library finds; in builds with the feature.
    Kerberos {
        /// The principal; that of the default credentials when `None`.
        principal: Option<String>,
        /// The server's principal; the one of host and port when `None`.
        service_principal: Option<String>,
    },
}

/// When TLS is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqlServerEncryption {
    /// For the login, and for everything when the server insists.
    Optional,
    /// For everything, inside TDS 7.4.
    #[default]
    Mandatory,
    /// For everything and before anything else: TDS 8.0.
    Strict,
}

/// What several connections that read one result see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqlServerConsistency {
    /// One moment, or else one connection.
    #[default]
    Exact,
    /// A snapshot each, taken at nearly the same moment.
    Snapshot,
    /// One connection, without a snapshot.
    Serial,
}

/// What a `datetimeoffset` becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetPolicy {
    /// The instant, in UTC.
    #[default]
    Utc,
    /// Text with the offset.
    Text,
}

/// What becomes of the seventh digit of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeventhDigit {
    /// It is cut off: microseconds.
    #[default]
    Cut,
    /// It is kept: nanoseconds, which count from 1678 to 2261 only.
    Nanoseconds,
}

/// What `geometry` and `geography` become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpatialPolicy {
    /// Well-known text, with Z and M.
    #[default]
    Text,
    /// Well-known binary, without Z and M.
    Wkb,
}
