//! Teradata Parallel Transporter: `tbuild` runs a job that exports a query into a named pipe.
//!
//! The job script holds the password, so it is a file that only this user may read. Every column is a
//! text in it, because the delimited format of TPT knows nothing else; fields are quoted, and texts
//! are marked by the query, so that an empty one is not NULL.
//!
//! No Teradata was at hand: that one accepts the script is not known. ODBC describes the query, so
//! this needs a build with the feature `odbc`.

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use super::delimited::{Layout, Quoting};
use super::kind::{self, Kind, Own, OwnSettings};
use super::process::{Exit, Output, Program};
use super::{BulkUtility, Job, as_argument};
use crate::config::{
    BulkUtilitySettings, ConnectionString, Secret, Section, SourceConnection, SqlDialect, key,
};
use crate::fault::{Fault, FaultKind};
use crate::source::teradata_texts::schema_bytes;

const INSTALL_HINT: &str = "Install Teradata Parallel Transporter (part of Teradata Tools and Utilities), or name \
    `tbuild` with `executable` in [bulk_utility.tpt].";
/// Bytes of a row that TPT exports.
const LONGEST_ROW: u64 = 1_000_000;

/// The utility, as the registry knows it.
pub(super) const KIND: Kind = Kind {
    name: "tpt",
    keys: &[
        kind::WHICH,
        kind::executable("The program, started without a shell; `tbuild` when absent."),
        key(
            "max_sessions",
            "integer, 1 to 1000",
            "",
            "Sessions of the export operator; the server's own number when absent.",
        ),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: true,
    prove: |section| Some(Own::new(prove(section))),
};

/// `[bulk_utility.tpt]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TptSettings {
    /// Sessions of the export operator; the server's own number when `None`.
    max_sessions: Option<NonZeroU16>,
}

impl OwnSettings for TptSettings {
    fn utility(&self, _name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(Tpt { settings, tpt: self.clone() })
    }
}

fn prove(section: &mut Section<'_, '_>) -> TptSettings {
    TptSettings { max_sessions: section.integer("max_sessions", 1..=1000).and_then(kind::small) }
}

/// The utility.
struct Tpt {
    settings: BulkUtilitySettings,
    tpt: TptSettings,
}

impl Tpt {
    /// The job.
    fn script(&self, job: &Job<'_>, connection: &ConnectionString, pipe: &str) -> Result<Secret, Fault> {
        let columns = job.export.schema.columns();
        let bytes: Vec<u32> = columns.iter().map(schema_bytes).collect::<Result<_, _>>()?;
        let row: u64 = bytes.iter().copied().map(u64::from).sum();
        if row > LONGEST_ROW {
            return Err(Fault::new(FaultKind::Request, "write the job script for tbuild")
                .because(format!("a row could have {row} bytes, and TPT exports {LONGEST_ROW} at most"))
                .remedy("Cast long texts to shorter ones in the query, or set `method` to `native`."));
        }
        let schema: Vec<String> =
            (1..).zip(bytes).map(|(number, bytes)| format!("c{number} VARCHAR({bytes})")).collect();
        let mut attributes = String::new();
        let mut attribute = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(attributes, ",\n      VARCHAR {name} = {}", literal(value));
            }
        };
        attribute("UserName", connection.get("UID"));
        attribute("UserPassword", connection.get("PWD"));
        attribute("LogonMech", connection.get("MechanismName"));
        attribute("LogonMechData", connection.get("MechanismKey"));
        attribute("WorkingDatabase", connection.get("DefaultDatabase"));
        if let Some(sessions) = self.tpt.max_sessions {
            let _ = write!(attributes, ",\n      INTEGER MaxSessions = {sessions}");
        }
        let host = literal(connection.get("DBCName").unwrap_or("localhost"));
        let script = format!(
            "USING CHARACTER SET UTF8\n\
             DEFINE JOB export_of_a_task\n(\n\
             \x20 DEFINE SCHEMA rows_of_the_task ({schema});\n\
             \x20 DEFINE OPERATOR reader TYPE EXPORT SCHEMA rows_of_the_task\n\
             \x20   ATTRIBUTES (\n      VARCHAR TdpId = {host}{attributes},\n\
             \x20     VARCHAR DateForm = 'ANSIDATE',\n      VARCHAR SelectStmt = {select}\n    );\n\
             \x20 DEFINE OPERATOR writer TYPE DATACONNECTOR CONSUMER SCHEMA *\n\
             \x20   ATTRIBUTES (\n      VARCHAR FileName = {pipe},\n      VARCHAR Format = 'Delimited',\n\
             \x20     VARCHAR TextDelimiter = ',',\n      VARCHAR QuotedData = 'Optional',\n\
             \x20     VARCHAR EscapeQuoteDelimiter = '\"',\n      VARCHAR OpenMode = 'Write'\n    );\n\
             \x20 APPLY TO OPERATOR (writer) SELECT * FROM OPERATOR (reader);\n);\n",
            schema = schema.join(", "),
            select = literal(&job.export.sql),
            pipe = literal(pipe),
        );
        Ok(Secret::new(script))
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn source(connection: &SourceConnection) -> Result<&ConnectionString, Fault> {
    match connection {
        SourceConnection::Odbc(source) if source.dialect == Some(SqlDialect::Teradata) => {
            Ok(&source.connection)
        }
        _ => Err(super::not_for("tpt", "Teradata")),
    }
}

impl BulkUtility for Tpt {
    fn name(&self) -> &str {
        "tpt"
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        (self.settings.executable.clone().unwrap_or_else(|| "tbuild".into()), INSTALL_HINT.to_owned())
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        source(connection).map(drop)
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let connection = source(job.connection)?;
        let (executable, hint) = self.executable();
        let pipe = job.folder.join("rows");
        let script = job.folder.write("job.tpt", &self.script(job, connection, &as_argument(&pipe))?)?;
        let mut program = Program::new("tbuild", executable, self.settings.timeout, hint);
        // The name of a job is that of its checkpoints; those of two jobs must not meet.
        let name = format!("agent{}", uuid::Uuid::new_v4().simple());
        let checkpoints = as_argument(&job.folder.join(""));
        program.arguments =
            ["-f".into(), as_argument(&script), "-r".into(), checkpoints, name].into_iter().collect();
        program.output = Output::NamedPipe(pipe);
        let secrets = ["PWD", "MechanismKey"].into_iter().filter_map(|name| connection.get(name));
        program.secrets.extend(secrets.map(Secret::new));
        Ok((program, Layout::new(",", "\n", Quoting::Double)))
    }

    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        let rows = exit.said.lines().rev().find_map(rows);
        match (exit.code(), rows) {
            (Some(0), Some(rows)) => Ok(Some(rows)),
            (Some(0), None) => Err(Fault::new(FaultKind::Data, "count the rows of tbuild")
                .because(format!("it does not say how many it exported: {}", exit.describe()))),
            _ => Err(Fault::new(kind(&exit.said), "export with tbuild").because(exit.describe())),
        }
    }
}

/// `reader: Total Rows Exported:  1000`
fn rows(line: &str) -> Option<u64> {
    line.split_once("Total Rows Exported:")?.1.trim().parse().ok()
}

/// By the number behind `RDBMS error` or in `TPT10508: RDBMS error 8017`.
fn kind(said: &str) -> FaultKind {
    let number = said
        .split("RDBMS error ")
        .nth(1)
        .and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok());
    match number {
        Some(8017 | 3001..=3004) => FaultKind::Credentials,
        Some(3523 | 3524) => FaultKind::Permission,
        Some(2631 | 3111 | 3120 | 3598 | 2825..=2828) | None => FaultKind::Transient,
        Some(_) => FaultKind::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tbuild_says_is_understood() {
        assert_eq!(rows("reader: Total Rows Exported:  1000"), Some(1000));
        assert_eq!(rows("writer: Total files processed: 1."), None);
        assert_eq!(kind("reader: TPT10508: RDBMS error 8017: The UserId is invalid"), FaultKind::Credentials);
        assert_eq!(kind("RDBMS error 3807: Object does not exist"), FaultKind::Request);
        assert_eq!(kind("TPT_INFRA: killed"), FaultKind::Transient);
    }
}
