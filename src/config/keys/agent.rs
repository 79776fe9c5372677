//! Keys of the agent itself: its workers, its API, and what tasks do that do not say.

use super::security::{DESTINATIONS, LOAD_TABLES, PATH_PREFIXES, SOURCES};
use super::{Key, REQUIRED, key};

pub(in crate::config) const APPLICATION: &[Key] = &[
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

pub(in crate::config) const SERVER: &[Key] = &[
    key("host", "IP address or `localhost`", "\"127.0.0.1\"", "Address to listen on."),
    key("port", "integer, 0 to 65535", "5001", "Port to listen on; 0 takes a free one."),
    key("max_body_bytes", "size, 1 KiB to 1 GiB", "\"1 MiB\"", "Largest request body."),
    key(
        "max_connections",
        "integer, 1 to 100000",
        "800",
        "Connections at the same time; further ones wait. Three quarters of them can be streams of events. Each needs a file of the process.",
    ),
    key(
        "max_connections_per_address",
        "integer, 1 to 100000",
        "",
        "Those of them that one address may hold, or one /64 network of IPv6; further ones are closed at once. Without it, another machine may hold half of `max_connections`, and a loopback address all. Write as many as `max_connections` for a proxy in front that every caller comes through.",
    ),
    key(
        "requests_per_minute",
        "integer, 0 to 1000000000",
        "60000",
        "Requests of one API key, or of one address without a key; 0 is no limit. A sixth of it may come at once. Pages of the console are counted by themselves.",
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

pub(in crate::config) const API_KEY: &[Key] = &[
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

pub(in crate::config) const TRANSFER: &[Key] = &[
    key("slices", "integer, 1 to 64", "1", "Parallel connections for one task that does not say."),
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
