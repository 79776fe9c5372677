//! `kind = "sqlserver"`.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use ::config::Value;

use super::super::Secret;
use super::super::keys;
use super::super::known::Known;
use super::super::model::{
    OffsetPolicy, SeventhDigit, SpatialPolicy, SqlServerConsistency, SqlServerEncryption, SqlServerLogin,
    SqlServerSource,
};
use super::super::report::Report;
use super::super::section::Section;
use super::prove_odbc_side;
use super::stores::{endpoint, is_private};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Where the SQL Server Browser answers (UDP).
const BROWSER_PORT: u16 = 1434;
const DEFAULT_PORT: u16 = 1433;
const DEFAULT_AUTHORITY: &str = "https://login.microsoftonline.com";

const KNOWN: Known =
    Known { keys: keys::SQLSERVER, driver: keys::SQLSERVER_DRIVER, ignored: keys::SQLSERVER_IGNORED };

/// Proves a section at `path`. `None` when something that is needed is missing or wrong; the report
/// says what.
pub(in super::super) fn prove_sqlserver(
    report: &mut Report<'_>,
    path: &str,
    value: Value,
) -> Option<SqlServerSource> {
    let mut section = Section::open(report, path, Some(value), KNOWN);
    section.absorb_options("options");
    section.skip("kind");
    section.skip("method");
    let (host, instance) = prove_host(&mut section);
    let port = section.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let database = section.required_text("database");
    let login = prove_login(&mut section);
    let encryption = prove_encryption(&mut section);
    let trusts =
        section.parsed_or_boolean("trust_server_certificate", "true, false, \"yes\" or \"no\"", truth);
    let root_certificate = section.path("root_certificate");
    let host_name_in_certificate = section.text("host_name_in_certificate");
    let intent = section.parsed("application_intent", "\"ReadOnly\" or \"ReadWrite\"", |text| {
        match text.to_ascii_lowercase().as_str() {
            "readonly" => Some(true),
            "readwrite" => Some(false),
            _ => None,
        }
    });
    let application_name = section.text("application_name");
    let connect_timeout = prove_connect_timeout(&mut section);
    let statement_timeout = prove_statement_timeout(&mut section);
    let packet_size = section.integer("packet_size", 512..=32_767);
    let packet_bytes = packet_size.and_then(|bytes| NonZeroU16::new(u16::try_from(bytes).ok()?));
    let longest_row = section.size("longest_row", KIB..=GIB);
    let longest_row = longest_row.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
    let table_hint = section.parsed(
        "table_hint",
        "table hints that neither lock for writing nor skip rows (READPAST)",
        table_hint,
    );
    let consistency = section.choice(
        "consistency",
        &[("snapshot", SqlServerConsistency::Snapshot), ("serial", SqlServerConsistency::Serial)],
    );
    let datetimeoffset =
        section.choice("datetimeoffset", &[("utc", OffsetPolicy::Utc), ("text", OffsetPolicy::Text)]);
    let seventh_digit = section
        .choice("seventh_digit", &[("cut", SeventhDigit::Cut), ("nanoseconds", SeventhDigit::Nanoseconds)]);
    let spatial = section.choice("spatial", &[("text", SpatialPolicy::Text), ("wkb", SpatialPolicy::Wkb)]);
    let has_port = section.has("port");
    if has_port && instance.is_some() {
        let message = "is not used, because `port` says where the server listens";
        section.warning("instance_name", message, Some("Keep one of the two."));
    }
    let (database, login) = (database?, login?);
    let odbc_connection = prove_odbc_side(&mut section);
    let source = SqlServerSource {
        odbc_connection,
        host,
        port: port.unwrap_or(DEFAULT_PORT),
        instance: instance.filter(|_| !has_port),
        browser_port: BROWSER_PORT,
        database,
        login,
        encryption: encryption.unwrap_or_default(),
        trusts_any_certificate: trusts.unwrap_or_default(),
        root_certificate,
        host_name_in_certificate,
        reads_only: intent.unwrap_or_default(),
        application_name: application_name.unwrap_or_else(|| "data-exchange-agent".into()),
        connect_timeout,
        statement_timeout,
        packet_bytes: packet_bytes.unwrap_or(SqlServerSource::DEFAULT_PACKET_BYTES),
        longest_row: longest_row.unwrap_or(SqlServerSource::DEFAULT_LONGEST_ROW),
        table_hint,
        consistency: consistency.unwrap_or_default(),
        datetimeoffset: datetimeoffset.unwrap_or_default(),
        seventh_digit: seventh_digit.unwrap_or_default(),
        spatial: spatial.unwrap_or_default(),
    };
    if source.hint_undoes_snapshots() && source.consistency != SqlServerConsistency::Serial {
        section.warning(
            "table_hint",
            "undoes snapshots: tables are read in one slice, and rows that move meanwhile can be read twice or missed",
            Some("Remove the hint, or set consistency = \"serial\" to say that this is meant."),
        );
    }
    Some(source)
}

/// Host and instance; `host\instance` is both, as in other tools.
fn prove_host(section: &mut Section<'_, '_>) -> (String, Option<String>) {
    let host = section.text("host").unwrap_or_else(|| "localhost".into());
    let instance = section.text("instance_name");
    match host.split_once('\\') {
        Some((host, named)) if instance.is_none() && !named.is_empty() => (host.into(), Some(named.into())),
        Some((host, _)) => (host.into(), instance),
        None => (host, instance),
    }
}

/// How the connection logs in. `None` after a problem.
fn prove_login(section: &mut Section<'_, '_>) -> Option<SqlServerLogin> {
    let service_principal = section.parsed(
        "service_principal",
        "a name such as MSSQLSvc/db.example.com:1433",
        principal_of_service,
    );
    if section.parsed_or_boolean("trusted_connection", "true, false, \"yes\" or \"no\"", truth) == Some(true)
    {
        return prove_kerberos(section, service_principal);
    }
    if service_principal.is_some() {
        let remedy = "Set `trusted_connection = true` to log in with Kerberos.";
        section.warning("service_principal", "is not used without `trusted_connection`", Some(remedy));
    }
    let service_principal =
        section.parsed("authentication", "\"SqlPassword\" or \"ActiveDirectoryServicePrincipal\"", |text| {
            match text.to_ascii_lowercase().as_str() {
                "sqlpassword" | "notspecified" => Some(false),
                "activedirectoryserviceprincipal" => Some(true),
                _ => None,
            }
        });
    let username = section.text("username");
    let password = section.secret("password");
    let access_token = section.secret("access_token");
    let client_id = section.text("client_id");
    let client_secret = section.secret("client_secret");
    let tenant_id = section.text("tenant_id");
    let authority = section.text("authority");
    if let Some(token) = access_token {
        return Some(SqlServerLogin::Token(token));
    }
    if service_principal == Some(true) || client_id.is_some() {
        // The JDBC driver has the application's id and secret in the places of name and password.
        let client_id = client_id.or(username);
        let client_secret = client_secret.or(password);
        let client_id = section.required("client_id", client_id);
        let client_secret = section.required("client_secret", client_secret);
        let tenant_id = section.required("tenant_id", tenant_id);
        return Some(SqlServerLogin::ServicePrincipal {
            authority: prove_authority(section, authority)?,
            tenant_id: tenant_id?,
            client_id: client_id?,
            client_secret: client_secret?,
        });
    }
    let username = section.required("username", username)?;
    Some(SqlServerLogin::Password { username, password: password.unwrap_or_else(|| Secret::new("")) })
}

/// Integrated authentication: who logs in is in a ticket, not in the configuration.
fn prove_kerberos(
    section: &mut Section<'_, '_>,
    service_principal: Option<String>,
) -> Option<SqlServerLogin> {
    if !cfg!(feature = "kerberos") {
        section.problem(
            "trusted_connection",
            "asks for integrated (Kerberos) authentication, and this build has none; build it with --features kerberos (needs MIT Kerberos)",
            Some("Or use an SQL login (`username`, `password`) or Entra ID (`client_id`, `client_secret`, `tenant_id`, or `access_token`)."),
        );
        return None;
    }
    if section.has("password") {
        let message = "is not used, because `trusted_connection` asks for Kerberos";
        let remedy = "Give the agent a ticket or a client keytab; see docs/CONFIGURATION.md.";
        section.warning("password", message, Some(remedy));
        section.skip("password");
    }
    Some(SqlServerLogin::Kerberos { principal: section.text("username"), service_principal })
}

/// `service/host`, with or without a port or instance and a realm.
fn principal_of_service(text: &str) -> Option<String> {
    let (service, host) = text.split_once('/')?;
    let is_whole = !service.is_empty() && !host.is_empty() && !host.starts_with('@');
    (is_whole && !text.contains(char::is_whitespace)).then(|| text.to_owned())
}

fn prove_authority(section: &mut Section<'_, '_>, written: Option<String>) -> Option<String> {
    let authority = written.unwrap_or_else(|| DEFAULT_AUTHORITY.into());
    // A stand-in on this machine need not have TLS; anywhere else the secret would travel in the open.
    let is_safe = endpoint(&authority).is_some_and(|authority| is_private(&authority));
    if !is_safe {
        section.problem(
            "authority",
            "is no URL of https, as https://login.microsoftonline.com is",
            Some("The secret of the application is sent there; http is taken on this machine only."),
        );
        return None;
    }
    Some(authority.trim_end_matches('/').to_owned())
}

fn prove_encryption(section: &mut Section<'_, '_>) -> Option<SqlServerEncryption> {
    let expected = "true, false, \"yes\", \"no\", \"mandatory\", \"optional\" or \"strict\"";
    section.parsed_or_boolean("encrypt", expected, |text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "mandatory" => Some(SqlServerEncryption::Mandatory),
        "false" | "no" | "optional" => Some(SqlServerEncryption::Optional),
        "strict" => Some(SqlServerEncryption::Strict),
        _ => None,
    })
}

fn prove_connect_timeout(section: &mut Section<'_, '_>) -> Duration {
    // The driver of 1.2.0 reads 0 as "no limit"; a connection attempt here always has one.
    let limit = |timeout: Duration| if timeout.is_zero() { HOUR } else { timeout };
    let connect = section.duration("connect_timeout", Duration::ZERO..=HOUR).map(limit);
    let login = section.duration("login_timeout", Duration::ZERO..=HOUR).map(limit);
    connect.into_iter().chain(login).min().unwrap_or(DEFAULT_CONNECT_TIMEOUT)
}

fn prove_statement_timeout(section: &mut Section<'_, '_>) -> Option<Duration> {
    let statement = section.duration("statement_timeout", SECOND..=MONTH);
    // The driver of 1.2.0 reads 0 as "no limit".
    let query = section.duration("query_timeout", Duration::ZERO..=MONTH).filter(|limit| !limit.is_zero());
    statement.into_iter().chain(query).min()
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// Hints separated by commas, of those that are allowed.
fn table_hint(text: &str) -> Option<String> {
    let is_allowed = |hint: &str| SqlServerSource::TABLE_HINTS.iter().any(|(name, _)| *name == hint);
    let hints: Vec<String> = text.split(',').map(|hint| hint.trim().to_ascii_uppercase()).collect();
    hints.iter().all(|hint| is_allowed(hint)).then(|| hints.join(", "))
}
