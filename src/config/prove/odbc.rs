//! `kind = "odbc"`, and the kinds that build its connection string: `teradata`, `oracle`, `db2` and
//! `redshift`.

use std::time::Duration;

use ::config::{Value, ValueKind};

use super::super::connection_string::ConnectionString;
use super::super::dialect::SqlDialect;
use super::super::keys;
use super::super::keys::Key;
use super::super::known::Known;
use super::super::model::SeventhDigit;
use super::super::odbc::{OdbcConsistency, OdbcLongValues, OdbcSource, OdbcText};
use super::super::raw::join;
use super::super::reference;
use super::super::report::Report;
use super::super::section::{Section, type_name};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Rows that PostgreSQL's and Redshift's drivers take from the server at a time.
const FETCH_ROWS: &str = "8192";

type Proven = Option<(ConnectionString, Option<SqlDialect>)>;

/// Proves a section of one of the kinds. `None` when something that is needed is missing or wrong;
/// the report says what.
pub(in super::super) fn prove_odbc(
    report: &mut Report<'_>,
    path: &str,
    kind: &str,
    value: Value,
) -> Option<OdbcSource> {
    let (keys, prove): (&'static [Key], fn(&mut Section<'_, '_>) -> Proven) = match kind {
        "teradata" => (keys::TERADATA, teradata),
        "oracle" => (keys::ORACLE, oracle),
        "db2" => (keys::DB2, db2),
        "redshift" => (keys::REDSHIFT, redshift),
        _ => (keys::ODBC, odbc),
    };
    let mut section =
        Section::open(report, path, Some(value), Known { keys, driver: keys::ODBC_SHARED, ignored: &[] });
    section.skip("kind");
    if kind == "teradata" {
        section.skip("method");
    }
    let attributes = prove_attributes(&mut section);
    let shared = prove_shared(&mut section);
    let (query_band, locks_for_access) = match kind {
        "teradata" => (prove_query_band(&mut section), section.boolean("locking_row_for_access")),
        _ => (None, None),
    };
    let (mut connection, dialect) = prove(&mut section)?;
    for (name, value) in attributes {
        connection.add(name, value);
    }
    if kind == "db2" {
        connection.add("ClientApplName", &*shared.application_name);
    }
    Some(OdbcSource {
        connection,
        dialect,
        query_band,
        reads_uncommitted_rows: locks_for_access.unwrap_or_default(),
        ..shared
    })
}

/// The keys of every kind; the connection is filled in later.
fn prove_shared(section: &mut Section<'_, '_>) -> OdbcSource {
    let defaults = OdbcSource::new(ConnectionString::new(), None);
    let connect_timeout = section.duration("connect_timeout", SECOND..=HOUR);
    let statement_timeout = section.duration("statement_timeout", SECOND..=MONTH);
    let consistency = section.choice(
        "consistency",
        &[("serial", OdbcConsistency::Serial), ("independent", OdbcConsistency::Independent)],
    );
    let text = section.choice("text", &[("utf16", OdbcText::Utf16), ("utf8", OdbcText::Utf8)]);
    let seventh_digit = section
        .choice("seventh_digit", &[("cut", SeventhDigit::Cut), ("nanoseconds", SeventhDigit::Nanoseconds)]);
    let long_values = section.choice(
        "long_values",
        &[("automatic", OdbcLongValues::Automatic), ("pieces", OdbcLongValues::Pieces)],
    );
    OdbcSource {
        application_name: section.text("application_name").unwrap_or(defaults.application_name),
        connect_timeout: connect_timeout.unwrap_or(defaults.connect_timeout),
        statement_timeout,
        consistency: consistency.unwrap_or_default(),
        text: text.unwrap_or_default(),
        seventh_digit: seventh_digit.unwrap_or_default(),
        long_values: long_values.unwrap_or_default(),
        ..defaults
    }
}

fn odbc(section: &mut Section<'_, '_>) -> Proven {
    let written = prove_connection_string(section, "connection_string");
    let dsn = section.text("dsn");
    let driver = section.text("driver");
    let username = section.text("username");
    let password = section.secret("password");
    let dialects = [
        SqlDialect::Ansi,
        SqlDialect::PostgreSql,
        SqlDialect::MySql,
        SqlDialect::SqlServer,
        SqlDialect::Sqlite,
        SqlDialect::Oracle,
        SqlDialect::Db2,
        SqlDialect::Teradata,
        SqlDialect::Redshift,
    ];
    let dialect = section.choice("dialect", &dialects.map(|dialect| (dialect.as_str(), dialect)));
    if section.has("connection_string") && written.is_none() {
        return None;
    }
    let mut connection = written.unwrap_or_default();
    connection.add_if("DSN", dsn);
    connection.add_if("Driver", driver);
    connection.add_if("UID", username);
    connection.add_if("PWD", password.map(|password| password.expose().to_owned()));
    if ["DSN", "Driver", "FILEDSN"].iter().all(|name| connection.get(name).is_none()) {
        let remedy = "Add connection_string, dsn or driver to the section.";
        section.problem("connection_string", "is missing: nothing says which driver to use", Some(remedy));
        return None;
    }
    warn_of_whole_results(section, "driver", &connection);
    Some((connection, dialect))
}

/// The side of ODBC that a kind with an adapter of its own has: `odbc_connection_string`.
pub(in super::super) fn prove_odbc_side(section: &mut Section<'_, '_>) -> Option<ConnectionString> {
    let key = "odbc_connection_string";
    let connection = prove_connection_string(section, key)?;
    warn_of_whole_results(section, key, &connection);
    Some(connection)
}

/// The connection string of a key. `None` without one, and when it is malformed.
fn prove_connection_string(section: &mut Section<'_, '_>, key: &str) -> Option<ConnectionString> {
    let text = section.secret(key)?;
    match ConnectionString::parse(text.expose()) {
        Ok(string) => Some(string),
        Err(malformed) => {
            let remedy = "Write NAME=value pairs between semicolons, a value with ; or braces as {value} with }} for }.";
            section.problem(key, format!("is no connection string: {malformed}"), Some(remedy));
            None
        }
    }
}

/// Two drivers of which it is known that they keep whole results in memory: one unless it is told, the other
/// whatever it is told.
fn warn_of_whole_results(section: &mut Section<'_, '_>, key: &str, connection: &ConnectionString) {
    let driver = connection.get("Driver").unwrap_or_default().to_ascii_lowercase();
    let is_on = |name| connection.get(name).is_some_and(|value| value != "0");
    let remedy = if (driver.contains("postgresql") || driver.contains("psqlodbc"))
        && !is_on("UseDeclareFetch")
    {
        "Add UseDeclareFetch=1;Fetch=8192 to the connection string."
    } else if driver.contains("mariadb") || driver.contains("maodbc") {
        "Read with the agent's own client (kind = \"mysql\", method = \"native\"), or let tasks read no more than \
         fits into memory; no attribute of the driver changes it."
    } else {
        return;
    };
    let message = "names a driver that keeps a whole result in memory before the first row";
    section.warning(key, message, Some(remedy));
}

fn teradata(section: &mut Section<'_, '_>) -> Proven {
    let host = section.text("host");
    let dbc_name = section.text("dbc_name");
    if host.is_some() && dbc_name.is_some() {
        section.problem("dbc_name", "says the same as `host`", Some("Keep one of the two."));
    }
    let port = section.integer("port", 1..=65_535).unwrap_or(1025);
    let mut connection = driver(section, "Teradata Database ODBC Driver 20.00");
    connection.add("DBCName", host.or(dbc_name).unwrap_or_else(|| "localhost".into()));
    connection.add("TdmstPortNumber", port.to_string());
    connection.add_if("DefaultDatabase", section.text("database"));
    connection.add_if("MechanismName", section.text("logmech"));
    connection.add_if("MechanismKey", section.secret("logdata").map(|secret| secret.expose().to_owned()));
    login(section, &mut connection);
    connection.add("CharacterSet", section.text("session_charset").unwrap_or_else(|| "UTF8".into()));
    let mode = section.choice("session_mode", &[("ansi", "ANSI"), ("teradata", "Teradata")]);
    connection.add_if("SessionMode", mode);
    connection.add_if("SSLMode", section.text("sslmode"));
    Some((connection, Some(SqlDialect::Teradata)))
}

/// `name=value;` pairs, as `SET QUERY_BAND` wants them.
fn prove_query_band(section: &mut Section<'_, '_>) -> Option<String> {
    section.parsed("query_band", "pairs such as \"ApplicationName=agent;Group=night;\"", |text| {
        let pairs: Vec<&str> = text.split(';').map(str::trim).filter(|pair| !pair.is_empty()).collect();
        let is_pair = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
        let is_right = !pairs.is_empty() && pairs.iter().all(is_pair) && !text.contains('\0');
        is_right.then(|| pairs.iter().map(|pair| format!("{pair};")).collect())
    })
}

fn oracle(section: &mut Section<'_, '_>) -> Proven {
    let host = section.text("host").unwrap_or_else(|| "localhost".into());
    let port = section.integer("port", 1..=65_535).unwrap_or(1521);
    let service = section.text("service_name");
    let identifier = section.text("connect_identifier");
    let mut connection = driver(section, "Oracle 21 ODBC driver");
    login(section, &mut connection);
    let place = match (service, identifier) {
        (Some(_), Some(_)) => {
            section.problem(
                "connect_identifier",
                "says the same as `service_name`",
                Some("Keep one of the two."),
            );
            return None;
        }
        (None, Some(identifier)) => identifier,
        (Some(service), None) => format!("//{host}:{port}/{service}"),
        (None, None) => {
            section.required::<String>("service_name", None);
            return None;
        }
    };
    connection.add("DBQ", place);
    // Read-only, with query timeouts, safe between threads, and with a point in numbers wherever it runs.
    for (name, value) in [("DBA", "R"), ("QTO", "T"), ("APA", "T"), ("NUM", "US")] {
        connection.add(name, value);
    }
    Some((connection, Some(SqlDialect::Oracle)))
}

fn db2(section: &mut Section<'_, '_>) -> Proven {
    let host = section.text("host").unwrap_or_else(|| "localhost".into());
    let port = section.integer("port", 1..=65_535).unwrap_or(50_000);
    let database = section.required_text("database");
    let mut connection = driver(section, "DB2");
    connection.add("Hostname", host);
    connection.add("Port", port.to_string());
    connection.add("Protocol", "TCPIP");
    login(section, &mut connection);
    connection.add_if("CurrentSchema", section.text("schema"));
    let is_encrypted = section.boolean("ssl").unwrap_or_default();
    let authority = section.path("ssl_ca");
    if is_encrypted {
        connection.add("Security", "SSL");
        connection.add_if("SSLServerCertificate", authority.map(|path| path.display().to_string()));
    } else if authority.is_some() {
        let message = "is not used without ssl = true";
        section.warning("ssl_ca", message, Some("Set ssl = true, or leave it out."));
    }
    connection.add("Database", database?);
    Some((connection, Some(SqlDialect::Db2)))
}

fn redshift(section: &mut Section<'_, '_>) -> Proven {
    let host = section.required_text("host");
    let port = section.integer("port", 1..=65_535).unwrap_or(5439);
    let database = section.required_text("database");
    let mut connection = driver(section, "Amazon Redshift (x64)");
    login(section, &mut connection);
    connection.add("SSLMode", section.text("sslmode").unwrap_or_else(|| "verify-ca".into()));
    connection.add("Port", port.to_string());
    // Rows through a cursor, or else the driver keeps the whole result in memory.
    for (name, value) in [("UseDeclareFetch", "1"), ("Fetch", FETCH_ROWS), ("BoolsAsChar", "0")] {
        connection.add(name, value);
    }
    let (host, database) = (host?, database?);
    connection.add("Server", host);
    connection.add("Database", database);
    Some((connection, Some(SqlDialect::Redshift)))
}

fn driver(section: &mut Section<'_, '_>, default: &str) -> ConnectionString {
    let mut connection = ConnectionString::new();
    connection.add("Driver", section.text("driver").unwrap_or_else(|| default.to_owned()));
    connection
}

fn login(section: &mut Section<'_, '_>, connection: &mut ConnectionString) {
    connection.add_if("UID", section.text("username"));
    connection.add_if("PWD", section.secret("password").map(|password| password.expose().to_owned()));
}

/// The table of further attributes: names are the driver's, values are texts, numbers or truths.
fn prove_attributes(section: &mut Section<'_, '_>) -> Vec<(String, String)> {
    let path = section.path_of("attributes");
    let Some(value) = section.value("attributes") else { return Vec::new() };
    let report = section.report();
    let Some(table) = report.table(&path, value) else { return Vec::new() };
    let mut written: Vec<(String, Value)> = table.into_iter().collect();
    written.sort_by(|left, right| left.0.cmp(&right.0));
    let mut attributes = Vec::new();
    for (name, value) in written {
        let path = join(&path, &name);
        let is_name = !name.trim().is_empty() && !name.contains(['=', ';', '{', '}', '\0']);
        if !is_name {
            report.problem(&path, "is no name of an attribute", None);
            continue;
        }
        let text = match value.kind {
            ValueKind::String(text) => match reference::resolve(&text, report.environment, &report.stores) {
                Ok(resolved) if !resolved.text.contains('\0') => resolved.text,
                Ok(_) => {
                    report.problem(&path, "holds a zero byte", None);
                    continue;
                }
                Err(broken) => {
                    report.problem(&path, broken.message, Some(broken.remedy));
                    continue;
                }
            },
            ValueKind::I64(number) => number.to_string(),
            ValueKind::Boolean(truth) => u8::from(truth).to_string(),
            other => {
                report.problem(&path, format!("is {}; expected a text", type_name(&other)), None);
                continue;
            }
        };
        attributes.push((name.trim().to_owned(), text));
    }
    attributes
}
