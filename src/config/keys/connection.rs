//! Keys that connections of several kinds have.

use super::{Key, REQUIRED, key};

pub(in crate::config) const CONNECTIONS: &[Key] = &[
    key("source", "table of connections", "", "Databases to read from."),
    key("target", "table of connections", "", "Stores to write to."),
];

pub(super) const KIND: Key =
    key("kind", "string", "the name of the section", "What is behind the connection.");

// Of sources.

pub(super) const METHOD: Key = key(
    "method",
    "`\"auto\"`, `\"native\"`, `\"odbc\"`, or the name of a bulk utility",
    "\"auto\"",
    "How rows are read for tasks that do not say. `auto` is `native`: the agent reads by itself.",
);

pub(super) const fn host(meaning: &'static str) -> Key {
    key("host", "string", "\"localhost\"", meaning)
}

pub(super) const fn port(default: &'static str) -> Key {
    key("port", "integer, 1 to 65535", default, "Port.")
}

pub(super) const DATABASE: Key = key("database", "string", REQUIRED, "Database.");

pub(super) const USERNAME: Key = key("username", "string", REQUIRED, "User.");

pub(super) const fn optional_username(meaning: &'static str) -> Key {
    key("username", "string", "", meaning)
}

pub(super) const fn password(meaning: &'static str) -> Key {
    key("password", "secret", "", meaning)
}

pub(super) const fn driver(default: &'static str) -> Key {
    key("driver", "string, not blank", default, "Driver: name or path.")
}

pub(super) const fn statement_timeout(meaning: &'static str) -> Key {
    key("statement_timeout", "duration, 1s to 30d", "", meaning)
}

/// For connections that have an adapter of their own.
pub(super) const ODBC_CONNECTION_STRING: Key = key(
    "odbc_connection_string",
    "secret",
    "",
    "Connection string for tasks that ask to read the same database through ODBC.",
);

pub(super) const OPTIONS: Key =
    key("options", "table", "", "Driver options, as listed below; they may stand beside the other keys too.");

// Of drivers.

pub(super) const fn connect_timeout(default: &'static str) -> Key {
    key("connect_timeout", "duration, 1s to 1h", default, "Longest time to connect and log in.")
}

/// As drivers have it in which 0 is no bound.
pub(super) const fn connect_timeout_or_longest(default: &'static str) -> Key {
    key(
        "connect_timeout",
        "duration, 0s to 1h",
        default,
        "Longest time to connect and log in; 0 is the longest.",
    )
}

pub(super) const LOGIN_TIMEOUT: Key = key(
    "login_timeout",
    "duration, 0s to 1h",
    "",
    "Of the JDBC driver: the same; the shorter of the two counts.",
);

pub(super) const fn application_name(meaning: &'static str) -> Key {
    key("application_name", "string, not blank", "\"data-exchange-agent\"", meaning)
}

// Of stores.

pub(super) const PREFIX: Key =
    key("prefix", "string", "\"\"", "Before every task's path; a `/` is put after it.");

pub(super) const AWS_PROFILE: Key =
    key("profile_name", "string, not blank", "", "Profile of the shared AWS configuration files.");

pub(super) const AWS_ENDPOINT: Key =
    key("endpoint_url", "URL, http or https", "", "Another endpoint than Amazon's.");

/// Of multipart uploads, as S3 and Google Cloud Storage have them.
pub(super) const PART_SIZE: Key =
    key("part_size", "size, 5 MiB to 5 GiB", "\"8 MiB\"", "Bytes of one part of a multipart upload.");

pub(super) const PARALLEL_PARTS: Key =
    key("parallel_parts", "integer, 1 to 16", "2", "Parts of one file that are uploaded at the same time.");

pub(super) const REQUEST_TIMEOUT: Key =
    key("request_timeout", "duration, 1s to 1h", "60", "Longest time for one request without progress.");
