//! Keys of `kind = "mysql"` and `kind = "mariadb"`.

use super::connection::{
    KIND, METHOD, ODBC_CONNECTION_STRING, OPTIONS, USERNAME, application_name, connect_timeout, host,
    password, port, statement_timeout,
};
use super::{Key, key};

pub(in crate::config) const MYSQL: &[Key] = &[
    KIND,
    METHOD,
    host("Host name, address, or path of a Unix socket (begins with `/`)."),
    port("3306"),
    key(
        "database",
        "string",
        "",
        "Database in which names without one are looked up; every name needs its own when absent.",
    ),
    USERNAME,
    password("Password; none for a user without one."),
    statement_timeout("Longest time for one statement on the server; the server's own when absent."),
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
    key(
        "longest_row",
        "size, 1 KiB to 1 GiB",
        "\"64 MiB\"",
        "A longer row fails the task. Rows are held in memory, up to three times while one of them is decoded, \
         and a row larger than a batch comes on top of the memory that tasks plan with.",
    ),
    ODBC_CONNECTION_STRING,
    OPTIONS,
];

/// Accepted beside the other keys and in `options`, in every case and with or without underscores.
pub(in crate::config) const MYSQL_DRIVER: &[Key] = &[
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
    application_name("Shown as `program_name` in `performance_schema.session_connect_attrs`."),
    connect_timeout("\"10s\""),
];
