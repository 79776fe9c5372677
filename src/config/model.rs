//! The proven configuration: every value here is valid.

mod mysql;
mod postgresql;
mod secrets;
mod sqlserver;
mod stores;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

pub use mysql::{Consistency, MysqlSource, TimeMapping, TinyintMapping, ZeroDates};
pub use postgresql::{NumericPolicy, PostgresSource, SpecialValues, SslMode};
pub use secrets::{AwsSecretSettings, AzureSecretSettings, SecretSettings, VaultLogin, VaultSettings};
pub use sqlserver::{
    OffsetPolicy, SeventhDigit, SpatialPolicy, SqlServerConsistency, SqlServerEncryption, SqlServerLogin,
    SqlServerSource,
};
pub use stores::{
    AzureBlobTarget, AzureCredentials, AzureIdentity, GcsTarget, GoogleCredentials, ManagedIdentity,
    S3Encryption, S3Target,
};

use super::odbc::OdbcSource;
use super::{
    ApiKey, BulkUtilitySettings, GuardSettings, HistorySettings, LogSettings, OtlpSettings, QueueSettings,
    Renewal, Secret,
};
use crate::bounds::TaskBounds;
use crate::snowflake::connection::Connection;
use crate::snowflake::load::TableName;
use crate::task::{Compression, DestinationKind, FileFormat};

/// Everything the agent needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[application]`.
    pub application: Application,
    /// `[server]`.
    pub server: Server,
    /// `[transfer]`.
    pub transfer: TransferSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// `[queue]`.
    pub queue: QueueSettings,
    /// `[history]`.
    pub history: HistorySettings,
    /// `[guards]`.
    pub guards: GuardSettings,
    /// `[idle_shutdown]`: the agent ends when there was nothing to do for so long.
    pub idle_shutdown: Option<Duration>,
    /// `[otlp]`: where traces and metrics are sent to.
    pub otlp: Option<OtlpSettings>,
    /// `[task_source]`: what runs beside the local queue.
    pub task_sources: TaskSources,
    /// `[bounds]`: what tasks may do, wherever they come from.
    pub bounds: TaskBounds,
    /// `[secrets]`.
    pub secrets: SecretSettings,
    /// `[connections.source.<name>]`.
    pub sources: BTreeMap<String, SourceConnection>,
    /// Methods of source connections whose tasks do not say, by the name of the connection. Invariant:
    /// each is `odbc` or the name of a bulk utility.
    pub source_methods: BTreeMap<String, String>,
    /// `[connections.target.<name>]`.
    pub targets: BTreeMap<String, TargetConnection>,
    /// `[bulk_utility.<name>]`: the programs that export rows, those without a section included.
    pub bulk_utilities: BTreeMap<String, BulkUtilitySettings>,
    /// Sections that version 1.2.0 knows and this version cannot serve; shown by `/health`.
    pub unavailable: Vec<UnavailableConnection>,
    /// Reads the secrets of a connection again.
    pub renewal: Renewal,
}

/// `[application]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Attempts that run at the same time; 1 to 100.
    pub workers: NonZeroUsize,
    /// Longest time between two looks at a task source.
    pub task_fetch_interval: Duration,
    /// Debug logging.
    pub debug_mode: bool,
    /// Which tasks of a shared queue this agent takes.
    pub affinity: Option<String>,
    /// Where the queue lives.
    pub data_directory: PathBuf,
    /// How long running tasks may go on after a stop was asked for.
    pub stop_grace: Duration,
    /// Upper bound for the memory equation, in bytes.
    pub memory_limit: Option<NonZeroU64>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Connections at the same time.
    pub max_connections: NonZeroUsize,
    /// Those of them that one address may hold; where `None`, half of all for an address of another machine,
    /// and all for one of this machine.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Requests of one caller; no limit when `None`.
    pub requests_per_minute: Option<NonZeroU32>,
    /// HTTPS; HTTP when `None`.
    pub tls: Option<ServerTls>,
    /// Who may do what. Invariant: `host` is a loopback address, or there is a key, or
    /// `allow_unauthenticated` is true.
    pub api_keys: Vec<ApiKey>,
    /// The operator knows that the API asks nobody for a key.
    pub allow_unauthenticated: bool,
    /// Host names by which callers may reach the agent, besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
}

/// `[server.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file of the certificate, with its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub private_key: PathBuf,
    /// What is asked of clients; nothing when `None`.
    pub clients: Option<ClientCertificates>,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the authorities that sign them.
    pub authorities: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

/// `[transfer]`: defaults for tasks that do not say.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferSettings {
    /// Parallel connections for one task that does not say.
    pub slices: NonZeroU16,
    /// Bytes that one task may plan with: its share of `application.memory_limit`. No bound when `None`.
    pub memory_of_a_task: Option<u64>,
    /// Rows of one batch at most.
    pub batch_rows: NonZeroUsize,
    /// Bytes of one batch at most.
    pub batch_bytes: NonZeroUsize,
    /// Rows of one Parquet row group at most.
    pub row_group_rows: NonZeroUsize,
    /// Encoded bytes of one Parquet row group, about.
    pub row_group_bytes: NonZeroUsize,
    /// A file of about this many bytes is followed by the next one.
    pub max_file_size: NonZeroU64,
    /// Compression of Parquet files.
    pub compression: Compression,
    /// Format of tasks that do not say.
    pub format: FileFormat,
    /// CSV field delimiter, one ASCII byte.
    pub csv_delimiter: u8,
    /// CSV line end.
    pub csv_line_end: String,
    /// Whether CSV files begin with the column names.
    pub csv_header: bool,
}

impl TransferSettings {
    /// The same for tasks that share the memory of an agent.
    #[must_use]
    pub fn within(self, application: &Application) -> Self {
        let workers = application.workers.get() as u64;
        Self { memory_of_a_task: application.memory_limit.map(|limit| limit.get() / workers), ..self }
    }
}

impl Default for TransferSettings {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            slices: NonZeroU16::MIN,
            memory_of_a_task: None,
            batch_rows: NonZeroUsize::new(8_192).expect("not zero"),
            batch_bytes: NonZeroUsize::new(2 * MIB).expect("not zero"),
            row_group_rows: NonZeroUsize::new(1 << 20).expect("not zero"),
            row_group_bytes: NonZeroUsize::new(16 * MIB).expect("not zero"),
            max_file_size: NonZeroU64::new(256 * MIB as u64).expect("not zero"),
            compression: Compression::Zstd,
            format: FileFormat::Parquet,
            csv_delimiter: b',',
            csv_line_end: "\r\n".into(),
            csv_header: true,
        }
    }
}

/// Task sources that run beside the local queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskSources {
    /// `[task_source.api]` with a `base_url`.
    pub api: Option<RemoteApiSettings>,
    /// `selected_task_source = "snowflake_stored_procedure"`.
    pub snowflake: Option<SnowflakeQueueSettings>,
    /// `record_history` of its section: where runs and their log lines are written to as well.
    pub snowflake_history: Option<SnowflakeProcedures>,
}

/// `[task_source.api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteApiSettings {
    /// `http` or `https`, without user, query and fragment; no slash at its end.
    pub base_url: String,
    /// Sent as a bearer token.
    pub key: Option<Secret>,
    /// Name of this agent; a new one at each start when `None`.
    pub agent_id: Option<String>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time for an answer.
    pub read_timeout: Duration,
    /// What its tasks may do.
    pub bounds: TaskBounds,
}

/// The procedures of `docs/snowflake`, and who calls them.
#[derive(Clone, Debug, PartialEq)]
pub struct SnowflakeProcedures {
    /// Where they are, and as whom they are called.
    pub connection: Connection,
    /// What that is called: a target of this configuration, or a connection of Snowflake's own files.
    pub connection_name: String,
    /// Database of the procedures, as SQL spells it: bare, or in double quotes.
    pub database: String,
    /// Schema of the procedures, likewise.
    pub schema: String,
    /// Name of this agent; a new one at each start when `None`.
    pub agent_id: Option<String>,
}

/// `[task_source.snowflake_stored_procedure]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnowflakeQueueSettings {
    /// Where the queue is.
    pub procedures: SnowflakeProcedures,
    /// What its tasks may do.
    pub bounds: TaskBounds,
    /// How often the depth of the queue is asked for; never when `None`.
    pub depth_interval: Option<Duration>,
}

/// A source, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConnection {
    /// `kind = "postgresql"`.
    Postgres(PostgresSource),
    /// `kind = "mysql"` or `kind = "mariadb"`.
    Mysql(MysqlSource),
    /// `kind = "sqlite"`.
    Sqlite(SqliteSource),
    /// `kind = "sqlserver"`.
    SqlServer(SqlServerSource),
    /// `kind = "odbc"`, `"teradata"`, `"oracle"`, `"db2"` or `"redshift"`.
    Odbc(OdbcSource),
}

/// `kind = "sqlite"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SqliteSource {
    /// The database file; opened read-only.
    pub path: PathBuf,
}

/// A target, by kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are few of them, and each is moved once")]
pub enum TargetConnection {
    /// `kind = "local"`.
    Local(LocalTarget),
    /// `kind = "s3"`.
    S3(S3Target),
    /// `kind = "blob"`.
    AzureBlob(AzureBlobTarget),
    /// `kind = "gcs"`.
    Gcs(GcsTarget),
    /// `kind = "snowflake"`, and the sections of version 1.2.0 that begin with the word.
    Snowflake(SnowflakeTarget),
}

impl TargetConnection {
    /// The kind that a task must name to use this connection.
    #[must_use]
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Local(_) => DestinationKind::Local,
            Self::S3(_) => DestinationKind::S3,
            Self::AzureBlob(_) => DestinationKind::Blob,
            Self::Gcs(_) => DestinationKind::Gcs,
            Self::Snowflake(_) => DestinationKind::SnowflakeStage,
        }
    }
}

/// `kind = "local"`.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalTarget {
    /// Every task's path stays below this directory.
    pub root: PathBuf,
}

/// `kind = "snowflake"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnowflakeTarget {
    /// Where and as whom.
    pub connection: Connection,
    /// The table that notes loads; the default one beside each loaded table when `None`.
    pub load_control_table: Option<TableName>,
}

/// A section that version 1.2.0 knows and this version cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableConnection {
    /// `connections.source.teradata`, for example.
    pub section: String,
    /// Why, in a sentence.
    pub reason: String,
}
