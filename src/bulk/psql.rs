//! PostgreSQL's `psql`: `COPY (query) TO STDOUT` in text format.
//!
//! The statements are arguments, since only there psql reads nothing into them: no variables, no
//! backslash commands. So every user of the machine can see the query while it runs. The password is
//! in a variable, which only the same user can see.

use std::path::PathBuf;

use super::delimited::{Layout, Quoting};
use super::process::{Exit, Program};
use super::{BulkUtility, Job};
use crate::config::{BulkUtilitySettings, PostgresSource, Secret, SourceConnection, SslMode};
use crate::fault::{Fault, FaultKind};

const INSTALL_HINT: &str = "Install PostgreSQL's client (Debian's package postgresql-client), or name the \
    program with `executable` in [bulk_utility.psql].";
/// Variables that would change where psql connects, or how it prints.
const HIDDEN_VARIABLES: [&str; 9] = [
    "PGCLIENTENCODING",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLROOTCERT",
    "PGTARGETSESSIONATTRS",
];

/// The utility.
pub(super) struct Psql {
    settings: BulkUtilitySettings,
}

impl Psql {
    pub(super) fn new(settings: BulkUtilitySettings) -> Self {
        Self { settings }
    }
}

fn source(connection: &SourceConnection) -> Result<&PostgresSource, Fault> {
    match connection {
        SourceConnection::Postgres(source) => Ok(source),
        _ => Err(super::not_for("psql", "PostgreSQL")),
    }
}

impl BulkUtility for Psql {
    fn name(&self) -> &str {
        "psql"
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        (self.settings.executable.clone().unwrap_or_else(|| "psql".into()), INSTALL_HINT.to_owned())
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        source(connection).map(drop)
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let source = source(job.connection)?;
        let (executable, hint) = self.executable();
        let mut program = Program::new("psql", executable, self.settings.timeout, hint);
        let settings = ["ON_ERROR_STOP=1", "VERBOSITY=verbose", "SHOW_CONTEXT=never"];
        program.arguments.extend(["--no-psqlrc", "--quiet", "--no-password"].map(str::to_owned));
        program.arguments.extend(settings.iter().flat_map(|set| ["-v".to_owned(), (*set).to_owned()]));
        let copy = format!("COPY ({}) TO STDOUT", job.export.sql);
        for statement in job.export.session.iter().cloned().chain([copy]) {
            program.arguments.extend(["-c".to_owned(), statement]);
        }
        program.hidden_variables.extend(HIDDEN_VARIABLES.map(str::to_owned));
        let mut variable =
            |name: &str, value: String| program.variables.push((name.to_owned(), Secret::new(value)));
        variable("PGHOST", source.host.clone());
        variable("PGPORT", source.port.to_string());
        variable("PGDATABASE", source.database.clone());
        variable("PGUSER", source.username.clone());
        variable("PGAPPNAME", source.application_name.clone());
        variable("PGCONNECT_TIMEOUT", source.connect_timeout.as_secs().max(2).to_string());
        variable("PGSSLMODE", ssl_mode(source.ssl_mode).to_owned());
        if let Some(file) = &source.ssl_root_certificate {
            variable("PGSSLROOTCERT", super::as_argument(file));
        } else if matches!(source.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) {
            variable("PGSSLROOTCERT", "system".into());
        }
        if let Some(password) = &source.password {
            program.variables.push(("PGPASSWORD".into(), password.clone()));
            program.secrets.push(password.clone());
        }
        Ok((program, Layout::new("\t", "\n", Quoting::Copy)))
    }

    /// psql does not say how many rows a COPY to its standard output had. It ends with 0 only when the
    /// server has confirmed the end of the COPY and everything was written, so what arrived is all.
    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        if exit.is_success() {
            return Ok(None);
        }
        let kind = match (exit.code(), state(&exit.said)) {
            (_, Some(state)) => kind_of(state),
            (Some(2), None) if is_login(&exit.said) => FaultKind::Credentials,
            // The connection is gone or was never there.
            (Some(2), None) | (None, None) => FaultKind::Transient,
            (Some(_), None) => FaultKind::Request,
        };
        Err(Fault::new(kind, "export with psql").because(exit.describe()))
    }
}

fn ssl_mode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

/// The SQLSTATE of `ERROR:  42P01: relation "x" does not exist`.
fn state(said: &str) -> Option<&str> {
    said.lines().find_map(|line| {
        let (_, rest) = line.split_once("ERROR:  ").or_else(|| line.split_once("FATAL:  "))?;
        let (state, _) = rest.split_once(':')?;
        (state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(state)
    })
}

fn is_login(said: &str) -> bool {
    ["authentication failed", "no password supplied", "no pg_hba.conf entry"]
        .iter()
        .any(|text| said.contains(text))
}

fn kind_of(state: &str) -> FaultKind {
    match (&state[..2], state) {
        ("53", "53100") => FaultKind::Transient,
        ("53", _) => FaultKind::Throttled,
        ("08" | "40" | "57" | "58" | "XX", _) | ("55", "55P03" | "55006") => FaultKind::Transient,
        ("28", _) => FaultKind::Credentials,
        (_, "42501") => FaultKind::Permission,
        _ => FaultKind::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_in_what_psql_says() {
        let said =
            "ERROR:  42P01: relation \"x\" does not exist\nLINE 1: COPY (SELECT\nLOCATION:  parserOpenTable";
        assert_eq!(state(said), Some("42P01"));
        assert_eq!(
            state("psql: error: connection to server failed: FATAL:  password authentication failed"),
            None
        );
        assert_eq!((kind_of("42P01"), kind_of("40001")), (FaultKind::Request, FaultKind::Transient));
    }
}
