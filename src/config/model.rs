//! The proven configuration: every value here is valid.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::odbc::OdbcSource;
use super::{
    ApiKey, BulkUtilitySettings, ConnectionString, GuardSettings, HistorySettings, LogSettings, OtlpSettings,
    QueueSettings, Renewal, Secret,
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

/// `[secrets]`: where references lead besides environment and files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretSettings {
    /// Whether a secret may be the output of a program.
    pub allow_commands: bool,
    /// `[secrets.vault]`.
    pub vault: Option<VaultSettings>,
    /// `[secrets.aws]`.
    pub aws: AwsSecretSettings,
    /// `[secrets.azure]`.
    pub azure: AzureSecretSettings,
}

/// `[secrets.vault]`: HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// URL without a slash at its end.
    pub address: String,
    /// Where the engine KV of version 2 is mounted.
    pub mount: String,
    /// Namespace, where the server has such.
    pub namespace: Option<String>,
    /// PEM file of authorities to trust besides those of the system.
    pub authority: Option<PathBuf>,
    /// How to log in.
    pub login: VaultLogin,
}

/// How the agent logs in to Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultLogin {
    /// With a token that somebody made.
    Token(Secret),
    /// With the id of a role and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// `role_id`.
        role_id: String,
        /// `secret_id`; roles can do without.
        secret_id: Option<Secret>,
    },
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The token of the service account.
        token_file: PathBuf,
    },
}

/// `[secrets.aws]`: AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSecretSettings {
    /// Region; from profile or environment when `None`.
    pub region_name: Option<String>,
    /// Profile of the shared configuration files.
    pub profile_name: Option<String>,
    /// Another endpoint than Amazon's.
    pub endpoint_url: Option<String>,
}

/// `[secrets.azure]`: Azure Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSecretSettings {
    /// Endpoint, with `{vault}` in place of the vault's name, without a slash at its end.
    pub endpoint_url: String,
}

impl Default for AzureSecretSettings {
    fn default() -> Self {
        Self { endpoint_url: "https://{vault}.vault.azure.net".to_owned() }
    }
}

/// `[transfer]`: defaults for tasks that do not say.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferSettings {
    /// Parallel connections for one task.
    pub slices: NonZeroU16,
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

impl Default for TransferSettings {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            slices: NonZeroU16::MIN,
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

/// `[task_source.snowflake_stored_procedure]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnowflakeQueueSettings {
    /// Where the queue is, and as whom it is asked.
    pub connection: Connection,
    /// What that is called: a target of this configuration, or a connection of Snowflake's own files.
    pub connection_name: String,
    /// Database of the procedures, as SQL spells it: bare, or in double quotes.
    pub database: String,
    /// Schema of the procedures, likewise.
    pub schema: String,
    /// Name of this agent; a new one at each start when `None`.
    pub agent_id: Option<String>,
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
    /// For reading the same database through ODBC.
    pub odbc_connection: Option<ConnectionString>,
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

/// `kind = "sqlite"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SqliteSource {
    /// The database file; opened read-only.
    pub path: PathBuf,
}

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

/// `kind = "s3"`.
#[derive(Clone, Debug, PartialEq)]
pub struct S3Target {
    /// Bucket.
    pub bucket_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// Profile of the shared AWS configuration files.
    pub profile_name: Option<String>,
    /// Region; from profile or environment when `None`.
    pub region_name: Option<String>,
    /// Another endpoint than Amazon's.
    pub endpoint_url: Option<String>,
    /// `http://host/bucket/key` in place of `http://bucket.host/key`.
    pub path_style: bool,
    /// Access key, when it is not to come from profile, environment, web identity or instance.
    pub access_key_id: Option<String>,
    /// Goes with `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Goes with temporary keys.
    pub session_token: Option<Secret>,
    /// Server-side encryption.
    pub encryption: Option<S3Encryption>,
    /// Bytes of one part of a multipart upload; 5 MiB to 5 GiB.
    pub part_size: NonZeroUsize,
    /// Parts of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without progress.
    pub request_timeout: Duration,
}

/// `kind = "snowflake"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnowflakeTarget {
    /// Where and as whom.
    pub connection: Connection,
    /// The table that notes loads; the default one beside each loaded table when `None`.
    pub load_control_table: Option<TableName>,
}

/// Server-side encryption of S3 objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// `AES256`: keys of the store.
    Aes256,
    /// `aws:kms`, with a key or the account's default one.
    Kms {
        /// Key id or ARN.
        key_id: Option<String>,
    },
}

/// `kind = "blob"`.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureBlobTarget {
    /// Blob endpoint of the account, without a slash at its end.
    pub endpoint_url: String,
    /// Container.
    pub container_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// How to log in.
    pub credentials: AzureCredentials,
    /// Bytes of one block; 1 MiB to 4000 MiB.
    pub part_size: NonZeroUsize,
    /// Blocks of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without what its body needs.
    pub request_timeout: Duration,
}

/// How to log in to Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureCredentials {
    /// The key of the account.
    AccountKey {
        /// Account.
        account_name: String,
        /// Key, in base64.
        account_key: Secret,
    },
    /// A shared access signature, without `?`.
    SharedAccessSignature(Secret),
    /// Client secret, workload identity, managed identity or the Azure command line.
    Default(Box<AzureIdentity>),
}

/// What the default credential of Azure finds in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureIdentity {
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`: of an application, or of a managed identity.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`, with a scheme and without a slash at its end.
    pub authority_host: String,
    /// Where managed identities are asked for.
    pub managed_identity: ManagedIdentity,
}

/// Who gives the tokens of managed identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// App Service, Functions and Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`.
        endpoint: String,
        /// `IDENTITY_HEADER`.
        header: Secret,
    },
    /// The metadata service of a virtual machine or a cluster.
    Machine {
        /// Scheme and host.
        endpoint: String,
    },
}

/// `kind = "gcs"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsTarget {
    /// Bucket.
    pub bucket_name: String,
    /// Prefix before every task's path; empty, or ending in `/`.
    pub prefix: String,
    /// Endpoint of the XML API, without a slash at its end.
    pub endpoint_url: String,
    /// How to log in.
    pub credentials: GoogleCredentials,
    /// Bytes of one part of a multipart upload; 5 MiB to 5 GiB.
    pub part_size: NonZeroUsize,
    /// Parts of one file that are uploaded at the same time.
    pub parallel_parts: NonZeroUsize,
    /// Longest time for one request attempt without what its body needs.
    pub request_timeout: Duration,
}

/// How to log in to Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoogleCredentials {
    /// A credentials file: the key of a service account, or another kind that the default
    /// credentials know.
    File(PathBuf),
    /// The application default credentials.
    Default {
        /// The file of `gcloud auth application-default login`, where it would be.
        user_file: Option<PathBuf>,
        /// Scheme and host of the metadata server.
        metadata_endpoint: String,
    },
}

/// A section that version 1.2.0 knows and this version cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableConnection {
    /// `connections.source.teradata`, for example.
    pub section: String,
    /// Why, in a sentence.
    pub reason: String,
}
