//! PostgreSQL's `psql`: `COPY (query) TO STDOUT` in text format.
//!
//! The statements are arguments, since only there psql reads nothing into them: no variables, no
//! backslash commands. So every user of the machine can see the query while it runs. The password is
//! in a variable, which only the same user can see.

mod messages;

use std::path::PathBuf;
use std::sync::Arc;

use super::delimited::{Layout, Quoting};
use super::kind::{self, Kind, Own, OwnSettings};
use super::process::{Exit, Program};
use super::{BulkUtility, Job};
use crate::config::{BulkUtilitySettings, PostgresSource, Secret, SourceConnection, SslMode};
use crate::fault::Fault;

const INSTALL_HINT: &str = "Install PostgreSQL's client (Debian's package postgresql-client), or name the \
    program with `executable` in [bulk_utility.psql].";
/// Variables that would change where psql connects, or how it prints.
const HIDDEN_VARIABLES: [&str; 10] = [
    "LANGUAGE",
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

/// Variables that say where the files of TLS and of Kerberos are.
const INHERITED: [&str; 5] = ["PGSSL*", "PGGSS*", "PGKRB*", "PGREQUIRE*", "PGSYSCONFDIR"];

/// The utility, as the registry knows it.
pub(super) const KIND: Kind = Kind {
    name: "psql",
    keys: &[
        kind::WHICH,
        kind::executable("The program, started without a shell; `psql` when absent."),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: true,
    prove: |_section| Some(Own::new(PsqlSettings)),
};

/// It has no settings of its own.
#[derive(Debug, PartialEq, Eq)]
struct PsqlSettings;

impl OwnSettings for PsqlSettings {
    fn utility(&self, _name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(Psql { settings })
    }
}

/// The utility.
struct Psql {
    settings: BulkUtilitySettings,
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
        let settings = ["ON_ERROR_STOP=1", "VERBOSITY=verbose", "SHOW_CONTEXT=errors"];
        program.arguments.extend(["--no-psqlrc", "--quiet", "--no-password"].map(str::to_owned));
        program.arguments.extend(settings.iter().flat_map(|set| ["-v".to_owned(), (*set).to_owned()]));
        let copy = format!("COPY ({}) TO STDOUT", job.export.sql);
        for statement in job.export.session.iter().cloned().chain([copy]) {
            program.arguments.extend(["-c".to_owned(), statement]);
        }
        // Of everything that psql says, its errors are read; those of the server come in its own language.
        program.variables.push(("LC_ALL".into(), Secret::new("C")));
        program.inherited.add(INHERITED);
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
        messages::read(exit).map(|()| None)
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
