//! From ODBC's diagnostics to faults.

use odbc_api::Error;

use crate::config::{ConnectionString, SqlDialect};
use crate::fault::{Fault, FaultKind};

/// What is being done when a driver reports an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connecting and logging in.
    Connect,
    /// The agent's own statements, and the description of the user's.
    Prepare,
    /// Running the user's statement and fetching its rows.
    Run,
}

/// Longest part of a driver's message that is repeated.
const LONGEST_MESSAGE: usize = 400;

/// What a driver says, without what it may quote.
#[derive(Debug, thiserror::Error)]
#[error("the driver reports {state} ({native}){text}")]
struct Diagnostics {
    state: String,
    native: i32,
    text: String,
}

/// A fault for an error of odbc-api.
pub(super) fn fault(
    action: impl Into<String>,
    error: &Error,
    stage: Stage,
    dialect: Option<SqlDialect>,
    connection: &ConnectionString,
) -> Fault {
    let action = action.into();
    match error {
        Error::Diagnostics { record, .. }
        | Error::UnsupportedOdbcApiVersion(record)
        | Error::InvalidRowArraySize { record, .. }
        | Error::UnableToRepresentNull(record)
        | Error::OracleOdbcDriverDoesNotSupport64Bit(record) => {
            let state = record.state.as_str().to_owned();
            let printed = record.to_string();
            let message = printed.split_once("Message: ").map_or("", |(_, message)| message);
            let (kind, remedy) = judge(&state, record.native_error, message, stage, dialect);
            let text = if is_safe(&state, stage) { shown(message, connection) } else { String::new() };
            let fault =
                Fault::new(kind, action).because(Diagnostics { state, native: record.native_error, text });
            match remedy {
                Some(remedy) => fault.remedy(remedy),
                None => fault,
            }
        }
        Error::FailedAllocatingEnvironment => Fault::new(FaultKind::Request, action)
            .because("the ODBC driver manager does not start")
            .remedy("Check the installation of unixODBC with `odbcinst -j`."),
        Error::NoDiagnostics { .. } => Fault::new(FaultKind::Transient, action)
            .because("the driver reports an error without saying which")
            .remedy(
                "Look into the driver's own log; a library that it needs may be missing (see `ldd` on it).",
            ),
        Error::TooLargeColumnBufferSize { .. } => Fault::new(FaultKind::Request, action)
            .because("there is no memory for a buffer of the length that the driver says")
            .remedy("Set `long_values = \"pieces\"` for the connection, or lower transfer.batch_bytes."),
        // Its text has the lengths of a value, and nothing of it.
        error => Fault::new(FaultKind::Data, action).because(error.to_string()),
    }
}

/// Kind and remedy, by the five characters that the standard gives every error.
fn judge(
    state: &str,
    native: i32,
    message: &str,
    stage: Stage,
    dialect: Option<SqlDialect>,
) -> (FaultKind, Option<&'static str>) {
    if is_missing_right(state, native, dialect) {
        return (FaultKind::Permission, None);
    }
    let said = message.to_ascii_lowercase();
    if stage == Stage::Connect {
        let refusals = [
            "authentication failed",
            "login failed",
            "logon denied",
            "access denied",
            "invalid authorization",
        ];
        if refusals.iter().any(|refusal| said.contains(refusal)) {
            return (FaultKind::Credentials, None);
        }
    }
    // What FreeTDS says of a connection that broke has no state of its own.
    if dialect == Some(SqlDialect::SqlServer) && matches!(native, 20003 | 20004 | 20006 | 20017 | 20047) {
        return (FaultKind::Transient, None);
    }
    match state {
        "IM002" | "IM003" | "IM004" | "IM005" | "IM006" => (FaultKind::Request, Some(INSTALL)),
        _ if said.contains("can't open lib") || said.contains("file not found") => {
            (FaultKind::Request, Some(INSTALL))
        }
        "HYT00" | "HYT01" => (
            FaultKind::Transient,
            Some(
                "Check that the server answers; raise statement_timeout or connect_timeout if it needs longer.",
            ),
        ),
        "HY008" | "57014" => (FaultKind::Transient, None),
        "HYC00" | "IM001" => (FaultKind::Request, Some("The driver cannot do this; try a newer one.")),
        "07006" => (
            FaultKind::Data,
            Some("Cast the column in the query to a type that the driver can hand out, or to text."),
        ),
        "01004" | "01S07" => (FaultKind::Data, Some(CUT)),
        // What the driver says of a row that it cannot hand out.
        "01S01" => {
            (FaultKind::Data, Some("Cast the columns of the query to text, to see which value it is."))
        }
        "42S02" | "42S22" | "42S12" | "3D000" | "3F000" | "42P01" | "42703" => (FaultKind::Request, None),
        "42601" => (FaultKind::Request, Some("Try the query in another program that uses the same driver.")),
        _ => (by_class(state, stage), None),
    }
}

fn by_class(state: &str, stage: Stage) -> FaultKind {
    match state.get(..2).unwrap_or_default() {
        "08" | "40" | "53" | "57" | "58" | "HY" if state != "HY000" => FaultKind::Transient,
        "28" => FaultKind::Credentials,
        "22" => FaultKind::Data,
        "42" | "07" | "21" | "24" | "3D" | "3F" | "0A" => FaultKind::Request,
        // Nothing is known of it. While a connection stands and a query runs, it may pass.
        _ => match stage {
            Stage::Prepare => FaultKind::Request,
            Stage::Connect | Stage::Run => FaultKind::Transient,
        },
    }
}

pub(super) const CUT: &str = "Set `long_values = \"pieces\"` for the connection, raise the length in the driver's \
    settings, or cast the column in the query to a type that is long enough.";

pub(super) const INSTALL: &str = "Install the driver and register it in odbcinst.ini (`odbcinst -q -d` lists what is \
    registered; on Debian for example: apt-get install odbc-postgresql odbc-mariadb tdsodbc libsqliteodbc), or name the \
    path of its library as `driver`.";

/// Servers whose drivers have one state for syntax errors and missing rights.
fn is_missing_right(state: &str, native: i32, dialect: Option<SqlDialect>) -> bool {
    state == "42501"
        || matches!(
            (dialect, native.abs()),
            (Some(SqlDialect::Oracle), 1031)
                | (Some(SqlDialect::MySql), 1044 | 1142 | 1143 | 1227)
                | (Some(SqlDialect::SqlServer), 229 | 230 | 916)
                | (Some(SqlDialect::Teradata), 3523 | 5315)
                | (Some(SqlDialect::Db2), 551)
        )
}

/// Messages of these states name servers, drivers and names of the catalog. Others quote values and
/// the statement.
fn is_safe(state: &str, stage: Stage) -> bool {
    let is_of_connections = ["08", "28", "IM", "3D"].iter().any(|class| state.starts_with(class));
    let is_of_names =
        ["42S02", "42S22", "42501", "42P01", "42703", "HYT00", "HYT01", "HYC00"].contains(&state);
    is_of_connections || is_of_names || stage == Stage::Connect
}

/// The message as one line, without secrets.
fn shown(message: &str, connection: &ConnectionString) -> String {
    let line: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = connection.redacted(&line);
    let cut = &line[..line.floor_char_boundary(LONGEST_MESSAGE)];
    if cut.is_empty() { String::new() } else { format!(": {cut}") }
}

#[cfg(test)]
mod tests {
    use odbc_api::handles::{Record, State};

    use super::*;

    fn fault_of(state: &[u8; 5], native: i32, message: &str, stage: Stage) -> Fault {
        let message = message.encode_utf16().collect();
        let record = Record { state: State(*state), native_error: native, message };
        let error = Error::Diagnostics { record, function: "SQLFetch" };
        let connection = ConnectionString::parse("Driver=x;UID=me;PWD={hunter;2}").expect("right");
        fault("read rows", &error, stage, Some(SqlDialect::Oracle), &connection)
    }

    #[test]
    fn kinds_follow_from_the_state() {
        use FaultKind::{Credentials, Data, Permission, Request, Transient};
        for (state, native, message, stage, kind) in [
            (b"08001", 0, "cannot reach it", Stage::Connect, Transient),
            (b"08S01", 0, "gone", Stage::Run, Transient),
            (b"28000", 1017, "invalid", Stage::Connect, Credentials),
            (b"08001", 0, "FATAL: password authentication failed", Stage::Connect, Credentials),
            (b"IM002", 0, "no default driver", Stage::Connect, Request),
            (b"01000", 0, "Can't open lib 'x' : file not found", Stage::Connect, Request),
            (b"HYT00", 0, "timeout", Stage::Run, Transient),
            (b"HY008", 0, "cancelled", Stage::Run, Transient),
            (b"42S02", 942, "no table", Stage::Prepare, Request),
            (b"42000", 1031, "insufficient privileges", Stage::Prepare, Permission),
            (b"42000", 900, "syntax", Stage::Prepare, Request),
            (b"HY000", 1, "?", Stage::Prepare, Request),
            (b"HY000", 1, "?", Stage::Run, Transient),
            (b"22003", 0, "out of range", Stage::Run, Data),
        ] {
            let fault = fault_of(state, native, message, stage);
            assert_eq!(fault.kind(), kind, "{}", fault.chain());
        }
    }

    #[test]
    fn neither_secrets_nor_values_are_repeated() {
        let chain = fault_of(b"22018", 7, "invalid value '4111 1111'", Stage::Run).chain();
        assert_eq!(chain, "read rows: the driver reports 22018 (7)");
        let chain = fault_of(b"08001", 7, "PWD=hunter;2 at\n host", Stage::Connect).chain();
        assert_eq!(chain, "read rows: the driver reports 08001 (7): PWD=*** at host");
    }

    #[test]
    fn a_missing_driver_has_the_hint_how_to_install_one() {
        let fault =
            fault_of(b"IM002", 0, "[unixODBC][Driver Manager]Data source name not found", Stage::Connect);
        assert!(fault.hint().is_some_and(|hint| hint.contains("odbcinst")), "{fault:?}");
    }
}
