//! `[bulk_utility.<name>]`.

use super::{Key, REQUIRED, key};

const KIND: Key = key("kind", "string", "the name of the section", "Which utility.");
const TIMEOUT: Key = key(
    "timeout",
    "duration, 1s to 30d",
    "\"6h\"",
    "Longest time from the start of the program to its end; then it is ended and the attempt fails.",
);
const LONGEST_ROW: Key = key(
    "longest_row",
    "size, 1 KiB to 1 GiB",
    "\"64 MiB\"",
    "A longer row fails the attempt. Rows are held in memory, so this comes on top of the memory that tasks plan with.",
);

const VARIABLES: Key = key(
    "variables",
    "string",
    "\"\"",
    "Variables of the agent that the program sees beside those of the system, separated by blanks; `ORACLE_*` are all \
     that begin so.",
);

const fn executable(meaning: &'static str) -> Key {
    key("executable", "path, or a name that is in `PATH`", "", meaning)
}

pub(in crate::config) const BCP: &[Key] = &[
    KIND,
    executable("The program, started without a shell; `bcp` when absent."),
    key(
        "dialect",
        "`\"microsoft\"`, `\"freetds\"`",
        "",
        "Whose options the program has; `freetds` for an executable called `freebcp`, else `microsoft`.",
    ),
    key(
        "delimiter",
        "string of ASCII",
        "\"\\u001f\"",
        "Between two fields: a text that no value has. `\\n`, `\\r`, `\\t` and `\\\\` are read as bcp reads them.",
    ),
    key("row_terminator", "string of ASCII", "\"\\u001e\"", "After a row, likewise."),
    key("encoding", "`\"UTF8\"`", "\"UTF8\"", "Texts are exported in UTF-8 always."),
    key(
        "trusted_connection",
        "boolean",
        "false",
        "Log in as the user that the agent runs as (Kerberos), not with the name and password of the connection.",
    ),
    key("encrypt", "boolean", "", "Encrypt everything; what the connection says when absent."),
    key(
        "packet_size",
        "integer, 512 to 32767",
        "",
        "Bytes of a network packet; what the connection says when absent.",
    ),
    key(
        "password_by",
        "`\"input\"`, `\"argument\"`",
        "\"input\"",
        "How the program gets the password. `argument` is for a program that does not read its standard input: \
         every user of the machine can see it then.",
    ),
    TIMEOUT,
    LONGEST_ROW,
    VARIABLES,
];

pub(in crate::config) const PSQL: &[Key] = &[
    KIND,
    executable("The program, started without a shell; `psql` when absent."),
    TIMEOUT,
    LONGEST_ROW,
    VARIABLES,
];

pub(in crate::config) const MYSQL: &[Key] = &[
    KIND,
    executable(
        "The program, started without a shell; `mysql`, or `mariadb` where there is no other, when absent.",
    ),
    TIMEOUT,
    LONGEST_ROW,
    VARIABLES,
];

pub(in crate::config) const TPT: &[Key] = &[
    KIND,
    executable("The program, started without a shell; `tbuild` when absent."),
    key(
        "max_sessions",
        "integer, 1 to 1000",
        "",
        "Sessions of the export operator; the server's own number when absent.",
    ),
    TIMEOUT,
    LONGEST_ROW,
    VARIABLES,
];

pub(in crate::config) const COMMAND: &[Key] = &[
    KIND,
    key("executable", "path, or a name that is in `PATH`", REQUIRED, "The program, started without a shell."),
    key(
        "arguments",
        "string",
        "\"\"",
        "The arguments, separated by blanks; quotes keep blanks together. No shell reads them. `{query}`, `{host}`, \
         `{port}`, `{database}`, `{username}` and `{output}` are replaced, each within its argument.",
    ),
    key("format", "`\"csv\"`, `\"delimited\"`", "\"csv\"", "What the program writes."),
    key(
        "delimiter",
        "string of ASCII",
        "",
        "Between two fields; a comma when absent, and U+001F for `delimited`.",
    ),
    key(
        "row_terminator",
        "string of ASCII",
        "",
        "After a row, a line end when absent; for `delimited` only.",
    ),
    key("null", "string", "", "The text that is NULL, an empty one when absent; for `delimited` only."),
    key("header", "boolean", "", "The first row has the names of the columns; for `csv` only."),
    key(
        "reports_rows",
        "boolean",
        "false",
        "The program ends its messages with the line `rows N`, which is compared with the rows that arrived.",
    ),
    TIMEOUT,
    LONGEST_ROW,
    VARIABLES,
];
