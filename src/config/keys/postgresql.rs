//! Keys of `kind = "postgresql"`.

use super::connection::{
    DATABASE, KIND, LOGIN_TIMEOUT, METHOD, ODBC_CONNECTION_STRING, OPTIONS, USERNAME, application_name,
    connect_timeout_or_longest, host, password, port, statement_timeout,
};
use super::{Key, key};

pub(in crate::config) const POSTGRESQL: &[Key] = &[
    KIND,
    METHOD,
    host("Host name, address, or directory of a Unix socket (begins with `/`)."),
    port("5432"),
    DATABASE,
    USERNAME,
    password("Password; none for trust, peer or certificate authentication."),
    statement_timeout("Longest time for one extraction on the server; the server's own when absent."),
    key(
        "numeric",
        "`\"text\"`, `\"double\"`, `\"decimal(p,s)\"`",
        "\"text\"",
        "What a `numeric` without precision becomes: text as the server prints it, a rounded double, \
         or a decimal of 1 to 76 digits, of which `s` are after the point.",
    ),
    key(
        "special_values",
        "`\"error\"`, `\"null\"`",
        "\"error\"",
        "What NaN and infinities of numeric, date and timestamp become where the output has none.",
    ),
    ODBC_CONNECTION_STRING,
    OPTIONS,
];

/// Accepted beside the other keys and in `options`, in every case and with or without underscores.
pub(in crate::config) const POSTGRESQL_DRIVER: &[Key] = &[
    key(
        "sslmode",
        "`\"disable\"`, `\"allow\"`, `\"prefer\"`, `\"require\"`, `\"verify-ca\"`, `\"verify-full\"`",
        "\"prefer\"",
        "TLS, with libpq's words. `allow` is taken as `prefer`.",
    ),
    key(
        "ssl",
        "boolean",
        "",
        "Of the JDBC driver: `true` without `sslmode` means `verify-full`, `false` means `prefer`.",
    ),
    key(
        "sslrootcert",
        "path",
        "",
        "PEM file of the certificate authorities to trust, instead of the system's. With `require` it \
         means `verify-ca`; `system` means the system's and `verify-full`, as in libpq.",
    ),
    application_name("Shown in `pg_stat_activity`."),
    Key {
        name: "search_path",
        also: &["currentSchema"],
        kind: "string, not blank",
        default: "",
        meaning: "Schemas in which unqualified names are looked up, separated by commas; \
                  the server's own when absent.",
    },
    connect_timeout_or_longest("\"10s\""),
    LOGIN_TIMEOUT,
];

/// Options of the JDBC drivers that 1.2.0 configurations carry and that change nothing here; they
/// are accepted with a warning. Anything else is an unknown key.
pub(in crate::config) const POSTGRESQL_IGNORED: &[&str] = &[
    "adaptiveFetch",
    "allowEncodingChanges",
    "assumeMinServerVersion",
    "autosave",
    "binaryTransfer",
    "binaryTransferDisable",
    "binaryTransferEnable",
    "cancelSignalTimeout",
    "channelBinding",
    "cleanupSavepoints",
    "databaseMetadataCacheFields",
    "databaseMetadataCacheFieldsMiB",
    "defaultRowFetchSize",
    "disableColumnSanitiser",
    "encrypt",
    "escapeSyntaxCallMode",
    "gssEncMode",
    "gssResponseTimeout",
    "hostNameInCertificate",
    "hostRecheckSeconds",
    "instanceName",
    "jaasApplicationName",
    "jaasLogin",
    "kerberosServerName",
    "loadBalanceHosts",
    "logServerErrorDetail",
    "logUnclosedConnections",
    "loggerLevel",
    "maxResultBuffer",
    "preferQueryMode",
    "prepareThreshold",
    "preparedStatementCacheQueries",
    "preparedStatementCacheSizeMiB",
    "protocolVersion",
    "quoteReturningIdentifiers",
    "reWriteBatchedInserts",
    "readOnly",
    "readOnlyMode",
    "receiveBufferSize",
    "replication",
    "sendBufferSize",
    "socketFactory",
    "socketTimeout",
    "sslNegotiation",
    "sslResponseTimeout",
    "sslcert",
    "sslfactory",
    "sslhostnameverifier",
    "sslkey",
    "sslpassword",
    "stringtype",
    "targetServerType",
    "tcpKeepAlive",
    "tcpNoDelay",
    "trustServerCertificate",
    "unknownLength",
];
