//! The client of MySQL or MariaDB in batch mode.
//!
//! Statements come by its standard input, and the password by a file that only this user may read.
//! Batch mode writes tabs, line ends, NUL and backslashes of texts as escapes, and NULL as the word;
//! every text is marked, so that it is not taken for that word. The last row is the count.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::delimited::{Layout, Quoting};
use super::kind::{self, Kind, Own, OwnSettings};
use super::process::{Exit, Program};
use super::{BulkUtility, Job, as_argument, search};
use crate::config::{BulkUtilitySettings, MysqlSource, Secret, SourceConnection, SslMode};
use crate::fault::{Fault, FaultKind};
use crate::source::mysql::reported;

const INSTALL_HINT: &str = "Install the client of MySQL or MariaDB (Debian's package mariadb-client), or name \
    the program with `executable` in [bulk_utility.mysql].";
/// What the last row begins with. No other row can: a text has its mark, a number a digit or a sign.
const COUNT: &str = "rows";

/// The utility, as the registry knows it.
pub(super) const KIND: Kind = Kind {
    name: "mysql",
    keys: &[
        kind::WHICH,
        kind::executable(
            "The program, started without a shell; `mysql`, or `mariadb` where there is no other, when absent.",
        ),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: true,
    prove: |_section| Some(Own::new(MysqlClientSettings)),
};

/// It has no settings of its own.
#[derive(Debug, PartialEq, Eq)]
struct MysqlClientSettings;

impl OwnSettings for MysqlClientSettings {
    fn utility(&self, _name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(MysqlClient { settings })
    }
}

/// The utility.
struct MysqlClient {
    settings: BulkUtilitySettings,
}

fn source(connection: &SourceConnection) -> Result<&MysqlSource, Fault> {
    match connection {
        SourceConnection::Mysql(source) => Ok(source),
        _ => Err(super::not_for("mysql", "MySQL or MariaDB")),
    }
}

impl BulkUtility for MysqlClient {
    fn name(&self) -> &str {
        "mysql"
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        // Newer packages of MariaDB have the one name only.
        let default = || match search::find(Path::new("mysql")) {
            None if search::find(Path::new("mariadb")).is_some() => "mariadb".into(),
            _ => "mysql".into(),
        };
        (self.settings.executable.clone().unwrap_or_else(default), INSTALL_HINT.to_owned())
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        source(connection).map(drop)
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let source = source(job.connection)?;
        let (executable, hint) = self.executable();
        let file = job.folder.write("client.cnf", &option_file(source)?)?;
        let mut program = Program::new("mysql", executable, self.settings.timeout, hint);
        program.arguments.push(format!("--defaults-file={}", as_argument(&file)));
        let options = [
            "--batch",
            "--quick",
            "--skip-column-names",
            "--binary-mode",
            "--no-auto-rehash",
            "--skip-reconnect",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G",
        ];
        program.arguments.extend(options.map(str::to_owned));
        // Oracle's client reads the login paths of the user besides any file of options, and those could name
        // another host and another user.
        let no_login_paths = as_argument(&job.folder.join("no-login-paths"));
        program.variables.push(("MYSQL_TEST_LOGIN_FILE".into(), Secret::new(no_login_paths)));
        program.hidden_variables.extend(["MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT"].map(str::to_owned));
        let count = format!("SELECT CONCAT('{COUNT} ', FOUND_ROWS())");
        let statements: Vec<&str> =
            job.export.session.iter().map(String::as_str).chain([job.export.sql.as_str(), &count]).collect();
        program.input = Some(Secret::new(format!("{};\n", statements.join(";\n"))));
        program.secrets.extend(source.password.clone());
        let mut layout = Layout::new("\t", "\n", Quoting::Batch);
        layout.announcement = Some(COUNT);
        Ok((program, layout))
    }

    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        if exit.is_success() {
            return Ok(None);
        }
        let error = error(&exit.said);
        let kind = match error.map(|error| error.number) {
            Some(1045 | 1130 | 1251 | 1698 | 1820 | 1862) => FaultKind::Credentials,
            Some(1044 | 1142 | 1143 | 1227 | 1370) => FaultKind::Permission,
            Some(1040 | 1203 | 1226) => FaultKind::Throttled,
            Some(1053 | 1205 | 1213 | 1317 | 1412 | 1927 | 1969 | 2000..=2999 | 3024) | None => {
                FaultKind::Transient
            }
            Some(_) => FaultKind::Request,
        };
        let reason = match error {
            // The text of the server can quote values, and does not double the quotes inside of them.
            Some(Error { number, state, of_statement: true }) => reported(number, state),
            _ => exit.describe(),
        };
        Err(Fault::new(kind, "export with mysql").because(reason))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Error<'a> {
    number: u16,
    state: &'a str,
    /// It is about a statement, not about the login or the network.
    of_statement: bool,
}

/// `ERROR 1146 (42S02) at line 3: ...`, or `ERROR 1045 (28000): ...` before the first statement.
fn error(said: &str) -> Option<Error<'_>> {
    said.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("ERROR ")?;
        let (number, rest) = rest.split_once([' ', ':'])?;
        let (state, rest) = match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')')?,
            None => ("HY000", rest),
        };
        let number = number.parse().ok()?;
        // Those of the client itself are about the network.
        let of_statement = rest.starts_with(" at line ") && !(2000..3000).contains(&number);
        Some(Error { number, state, of_statement })
    })
}

/// Everything about the connection. Options that only one of the two clients knows are loose.
fn option_file(source: &MysqlSource) -> Result<Secret, Fault> {
    let mut file = String::from("[client]\n");
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(file, "{name}=\"{}\"", escaped(value));
    };
    let texts = [Some(source.host.as_str()), Some(source.username.as_str()), source.database.as_deref()];
    let password = source.password.as_ref().map(Secret::expose);
    if texts.iter().flatten().chain(password.iter()).any(|text| text.contains(['\n', '\r', '\0'])) {
        return Err(Fault::new(FaultKind::Request, "write the options of mysql")
            .because("a setting of the connection has a line end")
            .remedy("Set `method` to `native`."));
    }
    match source.host.starts_with('/') {
        true => line("socket", &source.host),
        false => {
            line("protocol", "TCP");
            line("host", &source.host);
            line("port", &source.port.to_string());
        }
    }
    line("user", &source.username);
    line("password", password.unwrap_or_default());
    line("connect-timeout", &source.connect_timeout.as_secs().max(1).to_string());
    let (mode, for_mariadb) = match source.ssl_mode {
        SslMode::Disable => ("DISABLED", "loose-skip-ssl"),
        SslMode::Prefer => ("PREFERRED", "loose-disable-ssl-verify-server-cert"),
        SslMode::Require => ("REQUIRED", "loose-ssl\nloose-disable-ssl-verify-server-cert"),
        // MariaDB's client checks the name as well.
        SslMode::VerifyCa => ("VERIFY_CA", "loose-ssl\nloose-ssl-verify-server-cert"),
        SslMode::VerifyFull => ("VERIFY_IDENTITY", "loose-ssl\nloose-ssl-verify-server-cert"),
    };
    line("loose-ssl-mode", mode);
    if let Some(file) = &source.ssl_ca {
        line("ssl-ca", &as_argument(file));
    }
    if let Some(file) = &source.server_public_key {
        line("loose-server-public-key-path", &as_argument(file));
    }
    if source.allow_public_key_retrieval {
        line("loose-get-server-public-key", "1");
    }
    let _ = writeln!(file, "{for_mariadb}");
    if let Some(database) = &source.database {
        let _ = writeln!(file, "[mysql]\ndatabase=\"{}\"", escaped(database));
    }
    Ok(Secret::new(file))
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_what_the_client_says() {
        let said = "mysql: Warning: loose\nERROR 1146 (42S02) at line 3: no table";
        assert_eq!(error(said), Some(Error { number: 1146, state: "42S02", of_statement: true }));
        let said = "ERROR 1045 (28000): Access denied for user";
        assert_eq!(error(said), Some(Error { number: 1045, state: "28000", of_statement: false }));
        let said = "ERROR 2013 (HY000) at line 1: Lost connection";
        assert_eq!(error(said), Some(Error { number: 2013, state: "HY000", of_statement: false }));
        assert_eq!(error("ERROR: something"), None);
    }

    #[test]
    fn a_password_stays_what_it_is_in_an_option_file() {
        assert_eq!(escaped(r#"a"b\c#d"#), r#"a\"b\\c#d"#);
    }
}
