//! `rowdump` prints the rows of a query as CSV, and the line `rows N` at the end of its messages.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bulk::delimited::{Layout, Quoting};
use crate::bulk::kind::{self, Kind, Own, OwnSettings};
use crate::bulk::{BulkUtility, Exit, Job, Program, as_argument, not_for};
use crate::config::{BulkUtilitySettings, PostgresSource, Section, SourceConnection, key};
use crate::fault::{Fault, FaultKind};

/// The utility, as the registry knows it.
pub(super) const KIND: Kind = Kind {
    name: "rowdump",
    keys: &[
        kind::WHICH,
        kind::executable("The program, started without a shell; `rowdump` when absent."),
        key("compress", "boolean", "false", "Rows are compressed on their way from the server."),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: true,
    prove: |section| Some(Own::new(prove(section))),
};

/// What only `[bulk_utility.rowdump]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RowDumpSettings {
    compress: bool,
}

fn prove(section: &mut Section<'_, '_>) -> RowDumpSettings {
    RowDumpSettings { compress: section.boolean("compress").unwrap_or_default() }
}

impl OwnSettings for RowDumpSettings {
    fn utility(&self, _name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(RowDump { settings, own: self.clone() })
    }
}

/// The utility.
struct RowDump {
    settings: BulkUtilitySettings,
    own: RowDumpSettings,
}

fn source(connection: &SourceConnection) -> Result<&PostgresSource, Fault> {
    match connection {
        SourceConnection::Postgres(source) => Ok(source),
        _ => Err(not_for("rowdump", "PostgreSQL")),
    }
}

impl BulkUtility for RowDump {
    fn name(&self) -> &str {
        "rowdump"
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        let executable = self.settings.executable.clone().unwrap_or_else(|| "rowdump".into());
        (executable, "Install the package rowdump.".to_owned())
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        source(connection).map(drop)
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let source = source(job.connection)?;
        let (executable, hint) = self.executable();
        let mut program = Program::new("rowdump", executable, self.settings.timeout, hint);
        let arguments = ["--host", &source.host, "--query", &job.export.sql];
        program.arguments.extend(arguments.map(str::to_owned));
        if let Some(password) = &source.password {
            // A file that only this user may read: arguments are for everybody to see.
            let file = job.folder.write("password", password)?;
            program.arguments.push(format!("--password-file={}", as_argument(&file)));
            program.secrets.push(password.clone());
        }
        if self.own.compress {
            program.arguments.push("--compress".to_owned());
        }
        Ok((program, Layout::new(",", "\n", Quoting::Double)))
    }

    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        match exit.reported_rows() {
            Some(rows) if exit.is_success() => Ok(Some(rows)),
            _ => Err(Fault::new(FaultKind::Transient, "export with rowdump").because(exit.describe())),
        }
    }
}
