//! Keys of encryption, bounds of tasks and stores of secrets.

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
