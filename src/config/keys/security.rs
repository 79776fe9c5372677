//! Keys of encryption, bounds of tasks and stores of secrets.

use super::connection::{AWS_ENDPOINT, AWS_PROFILE};
use super::{Key, REQUIRED, key};

pub(in crate::config) const SERVER_TLS: &[Key] = &[
    key("certificate", "path", REQUIRED, "PEM file of the server's certificate, with its chain."),
    key("private_key", "path", REQUIRED, "PEM file of its private key, without a passphrase."),
    key(
        "client_certificates",
        "path",
        "",
        "PEM file of the authorities whose client certificates are accepted; nobody is asked for one when absent.",
    ),
    key(
        "client_certificates_required",
        "boolean",
        "true",
        "Whether a caller without a client certificate is turned away. A wrong certificate always is.",
    ),
];

// Of every section that hands tasks in.
pub(super) const SOURCES: Key = key(
    "sources",
    "names, separated by commas",
    "",
    "Source connections that tasks may read; all when absent.",
);
pub(super) const DESTINATIONS: Key = key(
    "destinations",
    "names, separated by commas",
    "",
    "Target connections that tasks may write to; all when absent.",
);
pub(super) const PATH_PREFIXES: Key = key(
    "path_prefixes",
    "paths, separated by commas",
    "",
    "Directories, key prefixes and stages (`@db.schema.stage/path/`) below which tasks may write; all when absent.",
);
pub(super) const LOAD_TABLES: Key = key(
    "load_tables",
    "tables, separated by commas",
    "",
    "Tables of Snowflake that tasks may load into: names, or `database.schema.*`. All when absent; none when \
     there are `path_prefixes`.",
);

/// For all tasks, wherever they come from.
pub(in crate::config) const BOUNDS: &[Key] = &[SOURCES, DESTINATIONS, PATH_PREFIXES, LOAD_TABLES];

pub(in crate::config) const SECRET_STORES: &[Key] = &[
    key("allow_command_secrets", "boolean", "false", "Whether `${cmd:...}` may run programs."),
    key("vault", "table", "", "HashiCorp Vault or OpenBao, for `${vault:path#field}`."),
    key("aws", "table", "", "AWS Secrets Manager, for `${aws-secret:id#field}`."),
    key("azure", "table", "", "Azure Key Vault, for `${azure-secret:vault/name}`."),
];

pub(in crate::config) const SECRETS_VAULT: &[Key] = &[
    key("address", "URL, http or https", REQUIRED, "Where the server is."),
    key("mount", "string, not blank", "\"secret\"", "Where the engine KV of version 2 is mounted."),
    key("namespace", "string, not blank", "", "Namespace, where the server has such."),
    key("certificate_authority", "path", "", "PEM file of authorities to trust besides those of the system."),
    key(
        "authentication",
        "`\"token\"`, `\"approle\"`, `\"kubernetes\"`",
        "\"token\"",
        "How the agent logs in.",
    ),
    key(
        "authentication_mount",
        "string, not blank",
        "",
        "Where that method is mounted; by its name when absent.",
    ),
    key("token", "secret", "", "For `token`."),
    key("role_id", "string, not blank", "", "For `approle`."),
    key("secret_id", "secret", "", "For `approle`; a role can do without."),
    key("role", "string, not blank", "", "For `kubernetes`."),
    key(
        "token_file",
        "path",
        "\"/var/run/secrets/kubernetes.io/serviceaccount/token\"",
        "For `kubernetes`: the token of the service account.",
    ),
];

pub(in crate::config) const SECRETS_AWS: &[Key] = &[
    key(
        "region_name",
        "string, not blank",
        "",
        "Region; that of an ARN, profile or environment when absent.",
    ),
    AWS_PROFILE,
    AWS_ENDPOINT,
];

pub(in crate::config) const SECRETS_AZURE: &[Key] = &[key(
    "endpoint_url",
    "URL, http or https",
    "\"https://{vault}.vault.azure.net\"",
    "Endpoint, with `{vault}` in place of the name of the vault.",
)];
