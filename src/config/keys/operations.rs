//! Keys of what watches over the agent.

use super::{Key, key};

pub(in crate::config) const LOG: &[Key] = &[
    key(
        "level",
        "`error`, `warn`, `info`, `debug`, `trace`, `off`, or directives such as `info,worker=debug`",
        "",
        "Which lines are logged; `info` when absent, or `debug` with `application.debug_mode`.",
    ),
    key(
        "format",
        "`\"text\"`, `\"json\"`",
        "",
        "How lines look; `text` when absent. `--log-format` wins over it.",
    ),
    key("files", "boolean", "true", "Whether lines are written to files too, beside stderr."),
    key("directory", "path", "", "Where the files are; `logs` in the data directory when absent."),
    key("max_file_size", "size, 1 KB to 1 TiB", "\"10 MB\"", "A file is followed by a new one at this size."),
    key("max_files", "integer, 0 to 1000", "5", "Full files that are kept beside the one that is written."),
];

pub(in crate::config) const QUEUE: &[Key] = &[
    key(
        "keep",
        "duration, 1h to 3650d, or 0",
        "\"30d\"",
        "Tasks go, with their attempts, when they have ended longer ago; 0 keeps them for ever.",
    ),
    key(
        "max_tasks",
        "integer, 0 to 1000000000",
        "1000000",
        "Of the tasks that ended more than an hour ago the oldest go when more than this have ended; 0 is no limit.",
    ),
];

pub(in crate::config) const HISTORY: &[Key] = &[
    key("keep", "duration, 1h to 3650d", "\"30d\"", "Runs and their log lines go when they are older."),
    key("max_runs", "integer, 1 to 100000000", "100000", "The oldest runs go when there are more."),
    key("max_lines", "integer, 0 to 1000000000", "1000000", "The oldest log lines go when there are more."),
];

pub(in crate::config) const GUARDS: &[Key] = &[
    key(
        "min_free_disk",
        "size",
        "\"100 MiB\"",
        "No new task is started while a file system that the agent writes to has less free; 0 never looks.",
    ),
    key(
        "min_available_memory",
        "size",
        "\"64 MiB\"",
        "No new task is started while the machine or the container has less memory left; 0 never looks.",
    ),
];

pub(in crate::config) const IDLE_SHUTDOWN: &[Key] = &[key(
    "minutes",
    "integer, 0 to 100000",
    "0",
    "The agent ends, with exit code 0, when there was nothing to do for so long; 0 never ends it.",
)];

pub(in crate::config) const OTLP: &[Key] = &[
    key(
        "endpoint",
        "URL",
        "",
        "Of an OpenTelemetry collector that takes OTLP over HTTP; without it nothing is sent.",
    ),
    key("headers", "secret", "", "`name=value` pairs, separated by commas, sent with every request."),
    key("service_name", "string, not blank", "\"data-exchange-agent\"", "What the agent is called there."),
    key("traces", "boolean", "true", "Whether traces are sent."),
    key("metrics", "boolean", "true", "Whether metrics are sent."),
    key("metrics_interval", "duration, 1s to 1d", "\"60s\"", "Time between two sendings of metrics."),
    key("timeout", "duration, 1s to 5m", "\"10s\"", "Longest time for an answer."),
];
