//! Every key that the configuration knows, as the reader uses them and the documentation shows them.

mod bulk_utility;
mod odbc;
mod operations;
mod security;
mod snowflake;

pub(super) use bulk_utility::{BCP, COMMAND, MYSQL as MYSQL_CLIENT, PSQL, TPT};
pub(super) use odbc::{DB2, ODBC, ODBC_SHARED, ORACLE, REDSHIFT, TERADATA};
pub(super) use operations::{GUARDS, HISTORY, IDLE_SHUTDOWN, LOG, OTLP, QUEUE};
pub(super) use security::{BOUNDS, SECRET_STORES, SECRETS_AWS, SECRETS_AZURE, SECRETS_VAULT, SERVER_TLS};
use security::{DESTINATIONS, LOAD_TABLES, PATH_PREFIXES, SOURCES};
pub(super) use snowflake::{SNOWFLAKE, SNOWFLAKE_CONNECTION, SNOWFLAKE_IGNORED};

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Other spellings of driver options, besides case and underscores.
    pub also: &'static [&'static str],
    /// Type and range, for people; says `secret` of what nobody may see.
    pub kind: &'static str,
    /// As it would be written; empty when there is none.
    pub default: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold example and documentation to it"))]
    pub meaning: &'static str,
}

const fn key(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, also: &[], kind, default, meaning }
}

/// The default of a key that has to be written.
pub(super) const REQUIRED: &str = "required";

pub(super) fn key_names(keys: &'static [Key]) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().map(|key| key.name)
}

/// The first level.
pub(super) const TOP: &[Key] = &[
    key(
        "selected_task_source",
        "`\"api\"`, `\"snowflake_stored_procedure\"`",
        "\"api\"",
        "Where tasks come from. The durable local queue behind `POST /tasks` always runs; \
         `snowflake_stored_procedure` runs the queue in Snowflake beside it.",
    ),
    key("application", "table", "", "The agent itself."),
    key("server", "table", "", "The REST API."),
    key("transfer", "table", "", "Defaults for tasks that do not say."),
    key("log", "table", "", "What is logged, and where."),
    key("queue", "table", "", "How long the local queue keeps tasks that have ended."),
    key("history", "table", "", "How much is kept of runs and their log lines."),
    key("guards", "table", "", "When no new task is started."),
    key("idle_shutdown", "table", "", "When an agent that has nothing to do ends."),
    key("otlp", "table", "", "Where traces and metrics are sent to."),
    key("task_source", "table", "", "Where tasks come from besides `POST /tasks`."),
    key("bounds", "table", "", "What tasks may do, wherever they come from."),
    key("secrets", "table", "", "Stores of secrets that references lead to."),
    key("connections", "table", "", "Sources and targets, by name."),
    key("bulk_utility", "table", "", "Programs that export rows, by name."),
];

pub(super) const APPLICATION: &[Key] = &[
    key("workers", "integer, 1 to 100", "4", "Tasks that run at the same time."),
    key("task_fetch_interval", "duration, 1s to 1d", "5", "Longest time between two looks at a task source."),
    key("debug_mode", "boolean", "false", "Debug logging."),
    key("affinity", "string, not blank", "", "Which tasks of a shared queue this agent takes."),
    key(
        "data_directory",
        "path",
        "\"~/.data_exchange_agent\"",
        "Where the queue lives. One agent per directory.",
    ),
    key(
        "stop_grace",
        "duration, 0s to 1d",
        "\"30s\"",
        "How long running tasks may go on after a stop was asked for.",
    ),
    key(
        "memory_limit",
        "size, at least 1 MiB",
        "",
        "Upper bound of the memory that the tasks plan with; no bound when absent.",
    ),
    key("lease_refresh_interval", "ignored", "", "Of version 1.2.0, which never read it."),
];

pub(super) const SERVER: &[Key] = &[
    key("host", "IP address or `localhost`", "\"127.0.0.1\"", "Address to listen on."),
    key("port", "integer, 0 to 65535", "5001", "Port to listen on; 0 takes a free one."),
    key("max_body_bytes", "size, 1 KiB to 1 GiB", "\"1 MiB\"", "Largest request body."),
    key(
        "max_connections",
        "integer, 1 to 100000",
        "800",
        "Connections at the same time; further ones wait. Each needs a file of the process.",
    ),
    key(
        "requests_per_minute",
        "integer, 0 to 1000000000",
        "60000",
        "Requests of one API key, or of one address without a key; 0 is no limit. A sixth of it may come at once.",
    ),
    key(
        "allow_unauthenticated",
        "boolean",
        "false",
        "Has to be true before `host` may be an address that other machines reach while there is no API key.",
    ),
    key(
        "allowed_hosts",
        "names, separated by commas",
        "",
        "Host names by which callers may reach an agent without API keys, besides addresses and `localhost`.",
    ),
    key("api_keys", "table", "", "API keys, by name."),
    key("tls", "table", "", "Certificate and private key, for HTTPS in place of HTTP."),
];

pub(super) const API_KEY: &[Key] = &[
    key("key", "secret, at least 16 characters", REQUIRED, "What callers send."),
    key(
        "scopes",
        "of `read`, `submit`, `operate`, separated by commas",
        "\"read, submit, operate\"",
        "What its holder may do: see; submit, cancel and retry tasks; start and stop the handling of tasks.",
    ),
    SOURCES,
    DESTINATIONS,
    PATH_PREFIXES,
    LOAD_TABLES,
];

pub(super) const TRANSFER: &[Key] = &[
    key("slices", "integer, 1 to 256", "1", "Parallel connections for one task."),
    key("batch_rows", "integer, 1 to 10000000", "8192", "Rows of one batch at most."),
    key("batch_bytes", "size, 1 KiB to 1 GiB", "\"2 MiB\"", "Bytes of one batch at most."),
    key("row_group_rows", "integer, 1 to 1000000000", "1048576", "Rows of one Parquet row group at most."),
    key(
        "row_group_bytes",
        "size, 1 KiB to 4 GiB",
        "\"16 MiB\"",
        "Encoded bytes of one Parquet row group, about.",
    ),
    key(
        "max_file_size",
        "size, 1 KiB to 5 TiB",
        "\"256 MiB\"",
        "A file of about this size is followed by the next one.",
    ),
    key(
        "compression",
        "`\"zstd\"`, `\"snappy\"`, `\"gzip\"`, `\"none\"`",
        "\"zstd\"",
        "Compression of Parquet files.",
    ),
    key("format", "`\"parquet\"`, `\"csv\"`", "\"parquet\"", "File format."),
    key(
        "csv_delimiter",
        "one ASCII character",
        "\",\"",
        "Between two CSV fields; neither a quote nor a line end.",
    ),
    key("csv_line_end", "`\"\\r\\n\"`, `\"\\n\"`", "\"\\r\\n\"", "After a CSV record."),
    key("csv_header", "boolean", "true", "Whether CSV files begin with the column names."),
];

pub(super) const TASK_SOURCE: &[Key] = &[
    key("api", "table", "", "A remote API that hands out tasks."),
    key("snowflake_stored_procedure", "table", "", "A queue behind stored procedures in Snowflake."),
];

pub(super) const TASK_SOURCE_API: &[Key] = &[
    key(
        "base_url",
        "URL, http or https",
        "",
        "Where the remote API is. When it is set, its tasks run beside those of the local queue.",
    ),
    key("key", "secret", "", "Sent as `Authorization: Bearer`."),
    key(
        "agent_id",
        "string, not blank",
        "",
        "Name of this agent there; a new UUID at each start when absent.",
    ),
    key("connect_timeout", "duration, 1s to 10min", "10", "Longest time to connect."),
    key("read_timeout", "duration, 1s to 1h", "30", "Longest time for an answer."),
    SOURCES,
    DESTINATIONS,
    PATH_PREFIXES,
    LOAD_TABLES,
];

pub(super) const TASK_SOURCE_SNOWFLAKE: &[Key] = &[
    key(
        "connection_name",
        "string, not blank",
        "",
        "Which connection: `@SPCS_CONNECTION` inside Snowpark Container Services, the name of a Snowflake \
         target of this file, or a name in the connection files of Snowflake.",
    ),
    key("database", "identifier", "\"SNOWCONVERT_AI\"", "Database of the queue's procedures."),
    key("schema", "identifier", "\"DATA_MIGRATION\"", "Schema of the queue's procedures."),
    key(
        "agent_id",
        "string, not blank",
        "",
        "Name of this agent in the queue, of no other agent at the same time; a new UUID at each start when absent.",
    ),
    SOURCES,
    DESTINATIONS,
    PATH_PREFIXES,
    LOAD_TABLES,
    key(
        "depth_interval",
        "duration, 10s to 1d",
        "",
        "How often `QUEUE_DEPTH` is called for the metric `shared_queue_depth`, one statement each time; never when \
         absent.",
    ),
];

pub(super) const CONNECTIONS: &[Key] = &[
    key("source", "table of connections", "", "Databases to read from."),
    key("target", "table of connections", "", "Stores to write to."),
];

const KIND: Key = key("kind", "string", "the name of the section", "What is behind the connection.");

const METHOD: Key = key(
    "method",
    "`\"auto\"`, `\"native\"`, `\"odbc\"`, or the name of a bulk utility",
    "\"auto\"",
    "How rows are read for tasks that do not say. `auto` is `native`: the agent reads by itself.",
);

/// For connections that have an adapter of their own.
const ODBC_CONNECTION_STRING: Key = key(
    "odbc_connection_string",
    "secret",
    "",
    "Connection string for tasks that ask to read the same database through ODBC.",
);

pub(super) const POSTGRESQL: &[Key] = &[
    KIND,
    METHOD,
    key(
        "host",
        "string",
        "\"localhost\"",
        "Host name, address, or directory of a Unix socket (begins with `/`).",
    ),
    key("port", "integer, 1 to 65535", "5432", "Port."),
    key("database", "string", REQUIRED, "Database."),
    key("username", "string", REQUIRED, "User."),
    key("password", "secret", "", "Password; none for trust, peer or certificate authentication."),
    key(
        "statement_timeout",
        "duration, 1s to 30d",
        "",
        "Longest time for one extraction on the server; the server's own when absent.",
    ),
    key(
        "numeric",
        "`\"text\"`, `\"double\"`, `\"decimal(p,s)\"`",
        "\"text\"",
        "What a `numeric` without precision becomes: text as the server prints it, a rounded double, \
         or a decimal of 1 to 76 digits, of which `s` are after the point.",
    ),
    key(
        "special_values",
        "`\"error\"`, `\"null\"`",
        "\"error\"",
        "What NaN and infinities of numeric, date and timestamp become where the output has none.",
    ),
    ODBC_CONNECTION_STRING,
    key("options", "table", "", "Driver options, as listed below; they may stand beside the other keys too."),
];

/// Accepted beside the other keys and in `options`, in every case and with or without underscores.
pub(super) const POSTGRESQL_DRIVER: &[Key] = &[
    key(
        "sslmode",
        "`\"disable\"`, `\"allow\"`, `\"prefer\"`, `\"require\"`, `\"verify-ca\"`, `\"verify-full\"`",
        "\"prefer\"",
        "TLS, with libpq's words. `allow` is taken as `prefer`.",
    ),
    key(
        "ssl",
        "boolean",
        "",
        "Of the JDBC driver: `true` without `sslmode` means `verify-full`, `false` means `prefer`.",
    ),
    key(
        "sslrootcert",
        "path",
        "",
        "PEM file of the certificate authorities to trust, instead of the system's. With `require` it \
         means `verify-ca`; `system` means the system's and `verify-full`, as in libpq.",
    ),
    key("application_name", "string, not blank", "\"data-exchange-agent\"", "Shown in `pg_stat_activity`."),
    Key {
        name: "search_path",
        also: &["currentSchema"],
        kind: "string, not blank",
        default: "",
        meaning: "Schemas in which unqualified names are looked up, separated by commas; \
                  the server's own when absent.",
    },
    key(
        "connect_timeout",
        "duration, 0s to 1h",
        "\"10s\"",
        "Longest time to connect and log in; 0 is the longest.",
    ),
    key(
        "login_timeout",
        "duration, 0s to 1h",
        "",
        "Of the JDBC driver: the same; the shorter of the two counts.",
    ),
];

/// Options of the JDBC drivers that 1.2.0 configurations carry and that change nothing here; they
/// are accepted with a warning. Anything else is an unknown key.
pub(super) const POSTGRESQL_IGNORED: &[&str] = &[
    "adaptiveFetch",
    "allowEncodingChanges",
    "assumeMinServerVersion",
    "autosave",
    "binaryTransfer",
    "binaryTransferDisable",
    "binaryTransferEnable",
    "cancelSignalTimeout",
    "channelBinding",
    "cleanupSavepoints",
    "databaseMetadataCacheFields",
    "databaseMetadataCacheFieldsMiB",
    "defaultRowFetchSize",
    "disableColumnSanitiser",
    "encrypt",
    "escapeSyntaxCallMode",
    "gssEncMode",
    "gssResponseTimeout",
    "hostNameInCertificate",
    "hostRecheckSeconds",
    "instanceName",
    "jaasApplicationName",
    "jaasLogin",
    "kerberosServerName",
    "loadBalanceHosts",
    "logServerErrorDetail",
    "logUnclosedConnections",
    "loggerLevel",
    "maxResultBuffer",
    "preferQueryMode",
    "prepareThreshold",
    "preparedStatementCacheQueries",
    "preparedStatementCacheSizeMiB",
    "protocolVersion",
    "quoteReturningIdentifiers",
    "reWriteBatchedInserts",
    "readOnly",
    "readOnlyMode",
    "receiveBufferSize",
    "replication",
    "sendBufferSize",
    "socketFactory",
    "socketTimeout",
    "sslNegotiation",
    "sslResponseTimeout",
    "sslcert",
    "sslfactory",
    "sslhostnameverifier",
    "sslkey",
    "sslpassword",
    "stringtype",
    "targetServerType",
    "tcpKeepAlive",
    "tcpNoDelay",
    "trustServerCertificate",
    "unknownLength",
];

pub(super) const MYSQL: &[Key] = &[
    KIND,
    METHOD,
    key("host", "string", "\"localhost\"", "Host name, address, or path of a Unix socket (begins with `/`)."),
    key("port", "integer, 1 to 65535", "3306", "Port."),
    key(
        "database",
        "string",
        "",
        "Database in which names without one are looked up; every name needs its own when absent.",
    ),
    key("username", "string", REQUIRED, "User."),
    key("password", "secret", "", "Password; none for a user without one."),
    key(
        "statement_timeout",
        "duration, 1s to 30d",
        "",
        "Longest time for one statement on the server; the server's own when absent.",
    ),
    key(
        "consistency",
        "`\"snapshot\"`, `\"serial\"`",
        "\"snapshot\"",
        "How several slices get one picture of the data. `snapshot` locks what is read for the moment in \
         which the connections begin (needs LOCK TABLES for tables, RELOAD for queries), and reads over one \
         connection where that is not to be had; `serial` always does, and never locks.",
    ),
    key(
        "zero_dates",
        "`\"error\"`, `\"null\"`",
        "\"error\"",
        "What dates that no calendar has become, `0000-00-00` for example.",
    ),
    key(
        "time",
        "`\"time\"`, `\"text\"`, `\"microseconds\"`",
        "\"time\"",
        "What `time` columns become: a time of a day, with an error for a negative or longer one; text; \
         or a signed number of microseconds.",
    ),
    key(
        "tinyint1",
        "`\"integer\"`, `\"boolean\"`",
        "\"integer\"",
        "What `tinyint(1)` columns, also called `bool`, become.",
    ),
    ODBC_CONNECTION_STRING,
    key("options", "table", "", "Driver options, as listed below; they may stand beside the other keys too."),
];

/// Accepted beside the other keys and in `options`, in every case and with or without underscores.
pub(super) const MYSQL_DRIVER: &[Key] = &[
    key(
        "ssl_mode",
        "`\"disabled\"`, `\"preferred\"`, `\"required\"`, `\"verify_ca\"`, `\"verify_identity\"`",
        "\"preferred\"",
        "TLS, with the words of MySQL's own programs.",
    ),
    key("ssl_ca", "path", "", "PEM file of the certificate authorities to trust, instead of the system's."),
    key(
        "server_public_key",
        "path",
        "",
        "PEM file of the server's RSA key, for `caching_sha2_password` without TLS.",
    ),
    key(
        "allow_public_key_retrieval",
        "boolean",
        "false",
        "Ask the server for that key, and believe the answer: somebody in between learns the password.",
    ),
    key(
        "application_name",
        "string, not blank",
        "\"data-exchange-agent\"",
        "Shown as `program_name` in `performance_schema.session_connect_attrs`.",
    ),
    key("connect_timeout", "duration, 1s to 1h", "\"10s\"", "Longest time to connect and log in."),
];

pub(super) const SQLITE: &[Key] =
    &[KIND, key("path", "path", REQUIRED, "The database file; opened read-only.")];

pub(super) const SQLSERVER: &[Key] = &[
    KIND,
    METHOD,
    key("host", "string", "\"localhost\"", "Host name or address; `host\\instance` names an instance too."),
    key("port", "integer, 1 to 65535", "1433", "Port."),
    key("database", "string", REQUIRED, "Database."),
    key("username", "string", "", "SQL login. Needed unless Entra ID is used."),
    key("password", "secret", "", "Its password."),
    key(
        "access_token",
        "secret",
        "",
        "Token of Entra ID for `https://database.windows.net/`, in place of a login.",
    ),
    key("tenant_id", "string, not blank", "", "Directory of an application of Entra ID."),
    key("client_id", "string, not blank", "", "The application; tokens are fetched for it."),
    key("client_secret", "secret", "", "Its secret."),
    key(
        "authority",
        "URL, http or https",
        "\"https://login.microsoftonline.com\"",
        "Where the tokens of an application come from.",
    ),
    key(
        "root_certificate",
        "path",
        "",
        "PEM file of the certificate authorities to trust, instead of the system's.",
    ),
    key(
        "statement_timeout",
        "duration, 1s to 30d",
        "",
        "Longest time for one extraction; the agent cancels it then. No limit when absent.",
    ),
    key(
        "table_hint",
        "table hints, separated by commas",
        "",
        "Hints for tables that tasks name, such as `NOLOCK`; none that lock for writing.",
    ),
    key(
        "consistency",
        "`\"snapshot\"`, `\"serial\"`",
        "",
        "What the slices of one result see. When absent: one moment, or else one slice; see docs/TYPES.md.",
    ),
    key(
        "datetimeoffset",
        "`\"utc\"`, `\"text\"`",
        "\"utc\"",
        "What a `datetimeoffset` becomes: the instant in UTC, or text with its offset.",
    ),
    key(
        "seventh_digit",
        "`\"cut\"`, `\"nanoseconds\"`",
        "\"cut\"",
        "Times of 100 nanoseconds: cut to microseconds, or kept as nanoseconds (years 1678 to 2261 only).",
    ),
    key(
        "spatial",
        "`\"text\"`, `\"wkb\"`",
        "\"text\"",
        "What `geometry` and `geography` become: well-known text or well-known binary.",
    ),
    ODBC_CONNECTION_STRING,
    key("options", "table", "", "Driver options, as listed below; they may stand beside the other keys too."),
];

/// Accepted beside the other keys and in `options`, in every case and with or without underscores.
pub(super) const SQLSERVER_DRIVER: &[Key] = &[
    key(
        "encrypt",
        "boolean, `\"yes\"`, `\"no\"`, `\"mandatory\"`, `\"optional\"`, `\"strict\"`",
        "true",
        "TLS for everything, or (`false`) for the login only unless the server insists; `strict` is TDS 8.0.",
    ),
    key(
        "trust_server_certificate",
        "boolean, `\"yes\"`, `\"no\"`",
        "false",
        "The server's certificate is not checked: anybody in between can read along.",
    ),
    key(
        "host_name_in_certificate",
        "string, not blank",
        "",
        "The name that the certificate has to have, when it is not `host`.",
    ),
    Key {
        name: "instance_name",
        also: &["instance"],
        kind: "string, not blank",
        default: "",
        meaning: "Named instance; the SQL Server Browser of the host (UDP port 1434) is asked for its port.",
    },
    key(
        "application_intent",
        "`\"ReadOnly\"`, `\"ReadWrite\"`",
        "\"ReadWrite\"",
        "`ReadOnly` lets a listener pick a readable secondary.",
    ),
    Key {
        name: "application_name",
        also: &["app"],
        kind: "string, not blank",
        default: "\"data-exchange-agent\"",
        meaning: "Shown in `sys.dm_exec_sessions`.",
    },
    key(
        "packet_size",
        "integer, 512 to 32767",
        "16383",
        "Bytes of a packet; more than 16383 only without TLS.",
    ),
    key(
        "connect_timeout",
        "duration, 0s to 1h",
        "\"15s\"",
        "Longest time to connect and log in; 0 is the longest.",
    ),
    key(
        "login_timeout",
        "duration, 0s to 1h",
        "",
        "Of the JDBC driver: the same; the shorter of the two counts.",
    ),
    key(
        "query_timeout",
        "duration, 0s to 30d",
        "",
        "Of the JDBC driver: `statement_timeout`; the shorter of the two counts, 0 is none.",
    ),
    key(
        "authentication",
        "`\"SqlPassword\"`, `\"ActiveDirectoryServicePrincipal\"`",
        "",
        "Of the JDBC driver: with the second, `username` and `password` are the application's id and secret.",
    ),
    Key {
        name: "trusted_connection",
        also: &["integratedSecurity"],
        kind: "boolean, `\"yes\"`, `\"no\"`",
        default: "false",
        meaning: "Integrated (Kerberos) authentication, which this version cannot do: `true` is a problem.",
    },
];

/// Options of the JDBC driver that 1.2.0 configurations carry and that change nothing here; they
/// are accepted with a warning. Anything else is an unknown key.
pub(super) const SQLSERVER_IGNORED: &[&str] = &[
    "authenticationScheme",
    "bulkCopyForBatchInsertBatchSize",
    "cacheBulkCopyMetadata",
    "cancelQueryTimeout",
    "columnEncryptionSetting",
    "connectRetryCount",
    "connectRetryInterval",
    "delayLoadingLobs",
    "disableStatementPooling",
    "domain",
    "driver",
    "enablePrepareOnFirstPreparedStatementCall",
    "failoverPartner",
    "fips",
    "iPAddressPreference",
    "lastUpdateCount",
    "lockTimeout",
    "maxResultBuffer",
    "multiSubnetFailover",
    "prepareMethod",
    "realm",
    "replication",
    "responseBuffering",
    "selectMethod",
    "sendStringParametersAsUnicode",
    "sendTemporalDataTypesAsStringForBulkCopy",
    "sendTimeAsDatetime",
    "serverCertificate",
    "serverNameAsACE",
    "serverSpn",
    "socketTimeout",
    "statementPoolingCacheSize",
    "transparentNetworkIPResolution",
    "trustStore",
    "trustStorePassword",
    "trustStoreType",
    "useBulkCopyForBatchInsert",
    "useFmtOnly",
    "workstationID",
    "xopenStates",
];

pub(super) const LOCAL: &[Key] =
    &[KIND, key("root", "path", REQUIRED, "Every task's path stays below this directory.")];

pub(super) const S3: &[Key] = &[
    KIND,
    key("bucket_name", "string", REQUIRED, "Bucket, or the ARN of an access point."),
    key("prefix", "string", "\"\"", "Before every task's path; a `/` is put after it."),
    key("profile_name", "string, not blank", "", "Profile of the shared AWS configuration files."),
    key("region_name", "string, not blank", "", "Region; from profile or environment when absent."),
    key("endpoint_url", "URL, http or https", "", "Another endpoint than Amazon's."),
    key(
        "path_style",
        "boolean",
        "false",
        "`http://host/bucket/key` in place of `http://bucket.host/key`; most other stores need it.",
    ),
    key(
        "access_key_id",
        "string, not blank",
        "",
        "Access key, when it is not to come from profile, environment, web identity or instance.",
    ),
    key("secret_access_key", "secret", "", "Goes with `access_key_id`."),
    key("session_token", "secret", "", "Goes with temporary keys."),
    key(
        "server_side_encryption",
        "`\"AES256\"`, `\"aws:kms\"`",
        "",
        "Server-side encryption; that of the bucket when absent.",
    ),
    key(
        "kms_key_id",
        "string, not blank",
        "",
        "Key id or ARN for `aws:kms`; the account's default key when absent.",
    ),
    key("part_size", "size, 5 MiB to 5 GiB", "\"8 MiB\"", "Bytes of one part of a multipart upload."),
    key("parallel_parts", "integer, 1 to 16", "2", "Parts of one file that are uploaded at the same time."),
    key("request_timeout", "duration, 1s to 1h", "60", "Longest time for one request without progress."),
];

pub(super) const BLOB: &[Key] = &[
    KIND,
    key("container_name", "string", REQUIRED, "Container."),
    key("prefix", "string", "\"\"", "Before every task's path; a `/` is put after it."),
    key(
        "connection_string",
        "secret",
        "",
        "Connection string of the storage account, with a key or a shared access signature.",
    ),
    key("account_name", "string", "", "Storage account, when there is no connection string."),
    key("account_key", "secret", "", "Key of the account."),
    key("sas_token", "secret", "", "Shared access signature of the account or of the container."),
    key(
        "use_default_credential",
        "boolean",
        "false",
        "Log in with client secret or workload identity of the environment, managed identity, or `az login`.",
    ),
    key("endpoint_url", "URL, http or https", "", "Another blob endpoint than that of the account in Azure."),
    key("part_size", "size, 1 MiB to 4000 MiB", "\"8 MiB\"", "Bytes of one block."),
    key("parallel_parts", "integer, 1 to 16", "2", "Blocks of one file that are uploaded at the same time."),
    key("request_timeout", "duration, 1s to 1h", "60", "Longest time for one request without progress."),
];

pub(super) const GCS: &[Key] = &[
    KIND,
    key("bucket_name", "string", REQUIRED, "Bucket."),
    key("prefix", "string", "\"\"", "Before every task's path; a `/` is put after it."),
    key(
        "service_account_file",
        "path",
        "",
        "Key file of a service account; the application default credentials when absent.",
    ),
    key(
        "endpoint_url",
        "URL, http or https",
        "\"https://storage.googleapis.com\"",
        "Endpoint of the XML API.",
    ),
    key("part_size", "size, 5 MiB to 5 GiB", "\"8 MiB\"", "Bytes of one part of a multipart upload."),
    key("parallel_parts", "integer, 1 to 16", "2", "Parts of one file that are uploaded at the same time."),
    key("request_timeout", "duration, 1s to 1h", "60", "Longest time for one request without progress."),
];

/// Keys that hold secrets, in sections of this version and of 1.2.0.
pub(super) const SECRETS: &[&str] = &[
    "password",
    "secret_access_key",
    "session_token",
    "access_token",
    "client_secret",
    "connection_string",
    "odbc_connection_string",
    "logdata",
    "account_key",
    "sas_token",
    "sslpassword",
    "passcode",
    "token",
    "secret_id",
    "private_key",
    "private_key_raw",
    "private_key_file_pwd",
    "private_key_passphrase",
    "oauth_client_secret",
];
