//! The keys of `kind = "snowflake"`.

use super::connection::KIND;
use super::{Key, key};

pub(in crate::config) const SNOWFLAKE: &[Key] = &[
    KIND,
    key(
        "connection_name",
        "string, not blank",
        "",
        "A connection of Snowflake's own files, or `@SPCS_CONNECTION`; the other keys override what it says.",
    ),
    key(
        "load_control_table",
        "string, name of a table",
        "",
        "Table that notes which task was loaded where, `db.schema.name`; `DATA_EXCHANGE_AGENT_LOADS` beside each \
         loaded table when absent.",
    ),
];

/// Accepted as in Snowflake's connection files, in every case and with or without underscores.
pub(in crate::config) const SNOWFLAKE_CONNECTION: &[Key] = &[
    key("account", "string, not blank", "", "Account identifier, `myorg-account1` or `locator.region`."),
    key(
        "host",
        "host name or address",
        "",
        "Host, for private links and test servers; that of the account when absent.",
    ),
    key("port", "integer, 1 to 65535", "443", "Port."),
    key("protocol", "`\"https\"`, `\"http\"`", "\"https\"", "`http` is for test servers."),
    key("region", "string, not blank", "", "Region, when `account` is a locator alone."),
    Key {
        name: "user",
        also: &["username"],
        kind: "string, not blank",
        default: "",
        meaning: "User; most tokens do not need one.",
    },
    key("password", "secret", "", "Password, or a programmatic access token in its place."),
    key("passcode", "secret", "", "One-time passcode of the second factor."),
    key("passcode_in_password", "boolean", "false", "The passcode stands at the end of the password."),
    key(
        "authenticator",
        "`\"snowflake\"`, `\"snowflake_jwt\"`, `\"oauth\"`, `\"programmatic_access_token\"`, \
         `\"oauth_client_credentials\"`, `\"workload_identity\"`, `\"externalbrowser\"`, \
         `\"username_password_mfa\"`",
        "",
        "How to log in; what the other keys can only mean when absent.",
    ),
    key("token", "secret", "", "OAuth, programmatic access or OpenID Connect token."),
    key("token_file_path", "path", "", "File of the token, read at each login; wins over `token`."),
    Key {
        name: "private_key",
        also: &["private_key_raw"],
        kind: "secret",
        default: "",
        meaning: "Private key: PKCS#8 as PEM, or its DER in base64.",
    },
    Key {
        name: "private_key_file",
        also: &["private_key_path"],
        kind: "path",
        default: "",
        meaning: "File of the same, read at each login.",
    },
    Key {
        name: "private_key_file_pwd",
        also: &["private_key_passphrase"],
        kind: "secret",
        default: "",
        meaning: "What the private key is encrypted with.",
    },
    key(
        "role",
        "string, not blank",
        "",
        "Role, that of the user when absent. Quote it as in SQL when its case counts.",
    ),
    key("warehouse", "string, not blank", "", "Warehouse, that of the user when absent."),
    key("database", "string, not blank", "", "Database."),
    key("schema", "string, not blank", "", "Schema."),
    key(
        "secondary_roles",
        "`\"all\"`, `\"none\"`",
        "",
        "Whether the user's other roles count too; what the user has when absent.",
    ),
    key("session_parameters", "table of session parameters", "", "Set at the login."),
    key("autocommit", "boolean", "", "The session parameter `AUTOCOMMIT`."),
    key("timezone", "string, not blank", "", "The session parameter `TIMEZONE`."),
    key("oauth_client_id", "string, not blank", "", "Client of `oauth_client_credentials`."),
    key("oauth_client_secret", "secret", "", "Its secret."),
    key(
        "oauth_scope",
        "string, not blank",
        "",
        "Scope of the token; `session:role:` and the role when absent.",
    ),
    key(
        "oauth_token_request_url",
        "URL, https",
        "",
        "Where the token is fetched, that of the account when absent; `http` only on this machine.",
    ),
    key("oauth_credentials_in_body", "boolean", "false", "The secret travels in the form, not in a header."),
    key(
        "workload_identity_provider",
        "`\"AWS\"`, `\"GCP\"`, `\"AZURE\"`, `\"OIDC\"`",
        "",
        "Platform that says who the agent is; `OIDC` takes `token` or `token_file_path`.",
    ),
    key(
        "workload_identity_entra_resource",
        "string, not blank",
        "",
        "With `AZURE`: who the token is for, in place of Snowflake.",
    ),
    key(
        "workload_identity_impersonation_path",
        "names with commas between them",
        "",
        "With `AWS` and `GCP`: roles or service accounts to become, one after the other.",
    ),
    key("workload_identity_host", "host name", "", "With `AWS`: another host of its identity service."),
    key(
        "login_timeout",
        "duration, 0s to 1d",
        "120",
        "Longest time for a login with its attempts; 0 is the longest.",
    ),
    key(
        "network_timeout",
        "duration, 0s to 1d",
        "",
        "Longest time for a request with its attempts; no bound when absent.",
    ),
    key("socket_timeout", "duration, 0s to 1d", "120", "Longest silence of the server; 0 is the longest."),
    key("client_session_keep_alive", "boolean", "true", "Heartbeats keep an idle session alive."),
    key(
        "client_session_keep_alive_heartbeat_frequency",
        "duration, 0s to 1d",
        "",
        "Time between two heartbeats; what the server says when absent.",
    ),
    key(
        "application",
        "string, not blank",
        "\"data-exchange-agent\"",
        "Shown in the session's client environment.",
    ),
];

/// Keys of Snowflake's own tools that change nothing here; accepted with a warning.
pub(in crate::config) const SNOWFLAKE_IGNORED: &[&str] = &[
    "client_request_mfa_token",
    "client_store_temporary_credential",
    "disable_ocsp_checks",
    "insecure_mode",
    "no_proxy",
    "oauth_authorization_url",
    "oauth_redirect_uri",
    "ocsp_fail_open",
    "paramstyle",
    "proxy_host",
    "proxy_password",
    "proxy_port",
    "proxy_user",
    "validate_default_parameters",
    "workload_identity_aws_use_outbound_token",
];
