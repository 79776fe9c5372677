//! `kind = "mysql"` and `kind = "mariadb"`.

use std::num::NonZeroUsize;
use std::time::Duration;

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{Consistency, MysqlSource, SslMode, TimeMapping, TinyintMapping, ZeroDates};
use super::super::report::Report;
use super::super::section::Section;
use super::prove_odbc_side;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const KNOWN: Known = Known { keys: keys::MYSQL, driver: keys::MYSQL_DRIVER, ignored: &[] };

/// Proves a section at `path`. `None` when something that is needed is missing or wrong; the report
/// says what.
pub(in super::super) fn prove_mysql(
    report: &mut Report<'_>,
    path: &str,
    value: Value,
) -> Option<MysqlSource> {
    let mut section = Section::open(report, path, Some(value), KNOWN);
    section.absorb_options("options");
    section.skip("kind");
    section.skip("method");
    let host = section.text("host").unwrap_or_else(|| "localhost".into());
    let port = section.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let database = section.text("database");
    let username = section.required_text("username");
    let password = section.secret("password");
    let ssl_mode = section.parsed(
        "ssl_mode",
        "\"disabled\", \"preferred\", \"required\", \"verify_ca\" or \"verify_identity\"",
        ssl_mode,
    );
    let ssl_ca = section.path("ssl_ca");
    let server_public_key = section.path("server_public_key");
    let allow_public_key_retrieval = section.boolean("allow_public_key_retrieval").unwrap_or(false);
    let application_name = section.text("application_name");
    let connect_timeout = section.duration("connect_timeout", SECOND..=HOUR);
    let statement_timeout = section.duration("statement_timeout", SECOND..=MONTH);
    let consistency = section
        .choice("consistency", &[("snapshot", Consistency::Snapshot), ("serial", Consistency::Serial)]);
    let zero_dates = section.choice("zero_dates", &[("error", ZeroDates::Error), ("null", ZeroDates::Null)]);
    let time = section.choice(
        "time",
        &[
            ("time", TimeMapping::TimeOfDay),
            ("text", TimeMapping::Text),
            ("microseconds", TimeMapping::Microseconds),
        ],
    );
    let tinyint1 = section
        .choice("tinyint1", &[("integer", TinyintMapping::Integer), ("boolean", TinyintMapping::Boolean)]);
    let longest_row = section.size("longest_row", KIB..=GIB);
    let longest_row = longest_row.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
    let mode = ssl_mode.unwrap_or_default();
    if ssl_ca.is_some() && matches!(mode, SslMode::Disable | SslMode::Prefer | SslMode::Require) {
        let remedy = "Use ssl_mode = \"verify_identity\", or leave the certificate out.";
        let message = "is not used, because ssl_mode does not ask for a certificate";
        section.warning("ssl_ca", message, Some(remedy));
    }
    let odbc_connection = prove_odbc_side(&mut section);
    Some(MysqlSource {
        odbc_connection,
        host,
        port: port.unwrap_or(3306),
        database,
        username: username?,
        password,
        ssl_mode: mode,
        ssl_ca,
        server_public_key,
        allow_public_key_retrieval,
        application_name: application_name.unwrap_or_else(|| "data-exchange-agent".into()),
        statement_timeout,
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        consistency: consistency.unwrap_or_default(),
        zero_dates: zero_dates.unwrap_or_default(),
        time: time.unwrap_or_default(),
        tinyint1: tinyint1.unwrap_or_default(),
        longest_row: longest_row.unwrap_or(MysqlSource::DEFAULT_LONGEST_ROW),
    })
}

/// The words of MySQL's own programs, in any case, with `_` or `-`.
fn ssl_mode(text: &str) -> Option<SslMode> {
    Some(match text.to_ascii_lowercase().replace('-', "_").as_str() {
        "disabled" => SslMode::Disable,
        "preferred" => SslMode::Prefer,
        "required" => SslMode::Require,
        "verify_ca" => SslMode::VerifyCa,
        "verify_identity" => SslMode::VerifyFull,
        _ => return None,
    })
}
