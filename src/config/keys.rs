//! Every key that the configuration knows, as the reader uses them and the documentation shows them. Those of a
//! bulk utility are in its own file.

mod agent;
mod connection;
mod mysql;
mod odbc;
mod operations;
mod postgresql;
mod security;
mod snowflake;
mod sqlserver;
mod stores;
mod task_source;

pub(super) use agent::{API_KEY, APPLICATION, SERVER, TRANSFER};
pub(super) use connection::CONNECTIONS;
pub(super) use mysql::{MYSQL, MYSQL_DRIVER};
pub(super) use odbc::{DB2, ODBC, ODBC_SHARED, ORACLE, REDSHIFT, TERADATA};
pub(super) use operations::{GUARDS, HISTORY, IDLE_SHUTDOWN, LOG, OTLP, QUEUE};
pub(super) use postgresql::{POSTGRESQL, POSTGRESQL_DRIVER, POSTGRESQL_IGNORED};
pub(super) use security::{BOUNDS, SECRET_STORES, SECRETS_AWS, SECRETS_AZURE, SECRETS_VAULT, SERVER_TLS};
pub(super) use snowflake::{SNOWFLAKE, SNOWFLAKE_CONNECTION, SNOWFLAKE_IGNORED};
pub(super) use sqlserver::{SQLSERVER, SQLSERVER_DRIVER, SQLSERVER_IGNORED};
pub(super) use stores::{BLOB, GCS, LOCAL, S3, SQLITE};
pub(super) use task_source::{TASK_SOURCE, TASK_SOURCE_API, TASK_SOURCE_SNOWFLAKE};

/// One key of a section.
#[derive(Debug)]
pub(crate) struct Key {
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

pub(crate) const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, also: &[], kind, default, meaning }
}

/// The default of a key that has to be written.
pub(crate) const REQUIRED: &str = "required";

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
