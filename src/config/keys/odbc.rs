//! Keys of connections through ODBC.

use super::connection::{
    DATABASE, KIND, METHOD, application_name, connect_timeout, driver, host, optional_username, password,
    port, statement_timeout,
};
use super::{Key, REQUIRED, key};

const ATTRIBUTES: Key = key(
    "attributes",
    "table of texts",
    "",
    "Further attributes of the connection string, spelled as the driver spells them.",
);

pub(in crate::config) const ODBC: &[Key] = &[
    KIND,
    key(
        "connection_string",
        "secret",
        "",
        "Connection string for the driver manager. The keys below are added to it where it says nothing of them.",
    ),
    key("dsn", "string, not blank", "", "Data source of `odbc.ini`, in place of a driver."),
    key("driver", "string, not blank", "", "Driver: its name in `odbcinst.ini`, or the path of its library."),
    optional_username("User (`UID`)."),
    password("Password (`PWD`)."),
    key(
        "dialect",
        "`\"ansi\"`, `\"postgresql\"`, `\"mysql\"`, `\"sqlserver\"`, `\"sqlite\"`, `\"oracle\"`, `\"db2\"`, \
         `\"teradata\"`, `\"redshift\"`",
        "",
        "Whose SQL the database speaks. When absent, the driver is asked; what it says that is not known is `ansi`.",
    ),
    ATTRIBUTES,
];

pub(in crate::config) const TERADATA: &[Key] = &[
    KIND,
    METHOD,
    host("Host name or address of the system, without the suffix `cop1`."),
    key("dbc_name", "string", "", "The same, in Teradata's word; one of the two."),
    port("1025"),
    key("database", "string", "", "Default database; that of the user when absent."),
    optional_username("User; none for logon mechanisms that find out themselves."),
    password("Password."),
    driver("\"Teradata Database ODBC Driver 20.00\""),
    key(
        "logmech",
        "string, not blank",
        "",
        "Logon mechanism: `TD2`, `TDNEGO`, `LDAP`, `KRB5`, `JWT`; the driver's own when absent.",
    ),
    key("logdata", "secret", "", "What the mechanism needs besides, such as `authcid=... password=...`."),
    key("session_charset", "string, not blank", "\"UTF8\"", "Character set of the session."),
    key(
        "session_mode",
        "`\"ansi\"`, `\"teradata\"`",
        "",
        "Transaction semantics of the session; those of the system when absent.",
    ),
    key("sslmode", "string, not blank", "", "TLS in Teradata's words, for example `VERIFY-FULL`."),
    key(
        "query_band",
        "pairs `name=value;`",
        "",
        "Query band of the session, for workload rules and logs. `ApplicationName` is added to it.",
    ),
    key(
        "locking_row_for_access",
        "boolean",
        "false",
        "Put `LOCKING ROW FOR ACCESS` before every query: no waiting for writers, and what they have not \
         committed is read.",
    ),
    ATTRIBUTES,
];

pub(in crate::config) const ORACLE: &[Key] = &[
    KIND,
    host("Host name or address of the listener."),
    port("1521"),
    key("service_name", "string", "", "Service of the listener. This or `connect_identifier` is needed."),
    key(
        "connect_identifier",
        "string",
        "",
        "Name in `tnsnames.ora`, or a whole connect descriptor, in place of host, port and service.",
    ),
    optional_username("User; none for a wallet."),
    password("Password."),
    driver("\"Oracle 21 ODBC driver\""),
    ATTRIBUTES,
];

pub(in crate::config) const DB2: &[Key] = &[
    KIND,
    host("Host name or address."),
    port("50000"),
    DATABASE,
    optional_username("User."),
    password("Password."),
    driver("\"DB2\""),
    key("schema", "string, not blank", "", "Schema of names without one; that of the user when absent."),
    key("ssl", "boolean", "false", "TLS (`Security=SSL`)."),
    key("ssl_ca", "path", "", "Certificate of the server's authority, with `ssl`."),
    ATTRIBUTES,
];

pub(in crate::config) const REDSHIFT: &[Key] = &[
    KIND,
    key("host", "string", REQUIRED, "Endpoint of the cluster or workgroup."),
    port("5439"),
    DATABASE,
    optional_username("User; none for logins by IAM."),
    password("Password."),
    driver("\"Amazon Redshift (x64)\""),
    key(
        "sslmode",
        "string, not blank",
        "\"verify-ca\"",
        "TLS: `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`.",
    ),
    ATTRIBUTES,
];

/// Keys of every kind of ODBC, beside its own.
pub(in crate::config) const ODBC_SHARED: &[Key] = &[
    statement_timeout(
        "Longest time for one extraction: the driver is told, and the agent cancels it then. No limit when absent.",
    ),
    connect_timeout("\"15s\""),
    key(
        "consistency",
        "`\"serial\"`, `\"independent\"`",
        "\"serial\"",
        "What the slices of one result see. `serial` reads in one slice; with `independent` every slice is a \
         statement of its own, for data that nobody changes meanwhile.",
    ),
    key(
        "text",
        "`\"utf16\"`, `\"utf8\"`",
        "\"utf16\"",
        "How texts leave the driver. `utf8` is faster, and right when the driver hands out UTF-8.",
    ),
    key(
        "seventh_digit",
        "`\"cut\"`, `\"nanoseconds\"`",
        "\"cut\"",
        "Times of less than a microsecond: cut to microseconds, or kept as nanoseconds (years 1678 to 2261 only).",
    ),
    key(
        "long_values",
        "`\"automatic\"`, `\"pieces\"`",
        "\"automatic\"",
        "Values without a length are fetched piece by piece, a row at a time; `pieces` does so with every \
         result, for drivers that say lengths which are too short.",
    ),
    application_name("Shown by the database as what reads, where it has a place for it."),
];
