//! `kind = "postgresql"`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{NumericPolicy, PostgresSource, SpecialValues, SslMode};
use super::super::report::Report;
use super::super::section::Section;
use super::prove_odbc_side;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const KNOWN: Known =
    Known { keys: keys::POSTGRESQL, driver: keys::POSTGRESQL_DRIVER, ignored: keys::POSTGRESQL_IGNORED };

/// Proves a section at `path`. `None` when something that is needed is missing or wrong; the report
/// says what.
pub(in super::super) fn prove_postgresql(
    report: &mut Report<'_>,
    path: &str,
    value: Value,
) -> Option<PostgresSource> {
    let mut section = Section::open(report, path, Some(value), KNOWN);
    section.absorb_options("options");
    section.skip("kind");
    section.skip("method");
    let host = section.text("host").unwrap_or_else(|| "localhost".into());
    let port = section.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let database = section.required_text("database");
    let username = section.required_text("username");
    let password = section.secret("password");
    let (ssl_mode, ssl_root_certificate) = prove_tls(&mut section);
    let application_name = section.text("application_name");
    let search_path = section.text("search_path");
    let connect_timeout = prove_connect_timeout(&mut section);
    let statement_timeout = section.duration("statement_timeout", SECOND..=MONTH);
    let numeric = section.parsed(
        "numeric",
        "\"text\", \"double\" or \"decimal(precision,scale)\" with a precision of 1 to 76 and a scale up to it",
        numeric_policy,
    );
    let special_values =
        section.choice("special_values", &[("error", SpecialValues::Error), ("null", SpecialValues::Null)]);
    let odbc_connection = prove_odbc_side(&mut section);
    Some(PostgresSource {
        odbc_connection,
        host,
        port: port.unwrap_or(5432),
        database: database?,
        username: username?,
        password,
        ssl_mode,
        ssl_root_certificate,
        application_name: application_name.unwrap_or_else(|| "data-exchange-agent".into()),
        search_path,
        statement_timeout,
        connect_timeout,
        numeric: numeric.unwrap_or_default(),
        special_values: special_values.unwrap_or_default(),
    })
}

fn prove_tls(section: &mut Section<'_, '_>) -> (SslMode, Option<PathBuf>) {
    let modes = [
        ("disable", SslMode::Disable),
        // Plain text first and TLS when the server insists; `prefer` tries TLS first and reaches
        // the same servers.
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let written = section.choice("sslmode", &modes);
    let ssl = section.boolean("ssl");
    let certificate = section.path("sslrootcert");
    // libpq's word for the authorities of the system, which are trusted anyway.
    let is_system = certificate.as_deref() == Some(Path::new("system"));
    let certificate = certificate.filter(|_| !is_system);
    // A wrong `sslmode` must not be filled in from elsewhere, so presence decides and not the value.
    let is_strict = !section.has("sslmode") && (ssl == Some(true) || is_system);
    let mode = match written {
        // As in libpq: whoever names the authorities wants them to be asked.
        Some(SslMode::Require) if certificate.is_some() => SslMode::VerifyCa,
        Some(mode) => mode,
        None if is_strict => SslMode::VerifyFull,
        None => SslMode::default(),
    };
    if certificate.is_some() && matches!(mode, SslMode::Disable | SslMode::Prefer) {
        let remedy = "Use sslmode = \"verify-full\", or leave the certificate out.";
        let message = "is not used, because sslmode does not ask for a certificate";
        section.warning("sslrootcert", message, Some(remedy));
    }
    (mode, certificate)
}

fn prove_connect_timeout(section: &mut Section<'_, '_>) -> Duration {
    // The driver of 1.2.0 reads 0 as "no limit"; a connection attempt here always has one.
    let limit = |timeout: Duration| if timeout.is_zero() { HOUR } else { timeout };
    let connect = section.duration("connect_timeout", Duration::ZERO..=HOUR).map(limit);
    let login = section.duration("login_timeout", Duration::ZERO..=HOUR).map(limit);
    connect.into_iter().chain(login).min().unwrap_or(DEFAULT_CONNECT_TIMEOUT)
}

fn numeric_policy(text: &str) -> Option<NumericPolicy> {
    match text {
        "text" => return Some(NumericPolicy::Text),
        "double" => return Some(NumericPolicy::Double),
        _ => {}
    }
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let is_valid = (1..=76).contains(&precision) && (0..=i16::from(precision)).contains(&i16::from(scale));
    is_valid.then_some(NumericPolicy::Decimal { precision, scale })
}
