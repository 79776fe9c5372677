//! Keys of where tasks come from besides `POST /tasks`.

use super::security::{DESTINATIONS, LOAD_TABLES, PATH_PREFIXES, SOURCES};
use super::{Key, key};

pub(in crate::config) const TASK_SOURCE: &[Key] = &[
    key("api", "table", "", "A remote API that hands out tasks."),
    key("snowflake_stored_procedure", "table", "", "A queue behind stored procedures in Snowflake."),
];

pub(in crate::config) const TASK_SOURCE_API: &[Key] = &[
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

pub(in crate::config) const TASK_SOURCE_SNOWFLAKE: &[Key] = &[
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
    key(
        "record_history",
        "boolean",
        "",
        "Whether runs and their log lines are written to Snowflake as well, with `RECORD_HISTORY` there. When absent, \
         they are when this queue is selected; `true` does it for an agent with other queues.",
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
