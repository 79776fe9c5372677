//! `bcp` of SQL Server, and `freebcp` of FreeTDS.
//!
//! Rows come in character mode through a named pipe. Fields and rows end with control characters that
//! no text has, an empty field is NULL, and one byte NUL is an empty text. What character mode loses
//! is cast in the query ([`Source::export_as_text`](crate::source::Source::export_as_text)).
//!
//! The program says how many rows it copied. `freebcp` also says so when the result broke off in the
//! middle, and calls that a success, so an error among its messages fails the attempt in any case.

mod arguments;
mod messages;
mod section;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(super) use self::section::KIND;
use self::section::{BcpDialect, BcpSettings};
use super::delimited::{Layout, Quoting};
use super::process::{Exit, Program};
use super::{BulkUtility, Job};
use crate::config::{
    BulkUtilitySettings, SourceConnection, SqlServerEncryption, SqlServerLogin, SqlServerSource,
};
use crate::fault::{Fault, FaultKind};

const INSTALL_HINT: &str = "Install bcp: Microsoft's package mssql-tools18, or freebcp of Debian's package \
    freetds-bin, and name it with `executable` in [bulk_utility.bcp].";

/// The utility.
struct Bcp {
    settings: BulkUtilitySettings,
    bcp: BcpSettings,
}

impl Bcp {
    fn new(settings: BulkUtilitySettings, bcp: BcpSettings) -> Self {
        Self { settings, bcp }
    }

    /// Whose options the program has.
    fn dialect(&self) -> BcpDialect {
        self.bcp.dialect.unwrap_or_else(|| {
            let name = self.executable().0;
            match name.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("freebcp")) {
                true => BcpDialect::FreeTds,
                false => BcpDialect::Microsoft,
            }
        })
    }

    fn encryption(&self, source: &SqlServerSource) -> SqlServerEncryption {
        match (self.bcp.encrypt, source.encryption) {
            (_, SqlServerEncryption::Strict) => SqlServerEncryption::Strict,
            (Some(true), _) => SqlServerEncryption::Mandatory,
            (Some(false), _) => SqlServerEncryption::Optional,
            (None, encryption) => encryption,
        }
    }
}

/// The connection, which is one of SQL Server.
fn source(connection: &SourceConnection) -> Result<&SqlServerSource, Fault> {
    match connection {
        SourceConnection::SqlServer(source) => Ok(source),
        _ => Err(super::not_for("bcp", "SQL Server")),
    }
}

fn refused(reason: &str, remedy: &'static str) -> Fault {
    Fault::new(FaultKind::Request, "export with bcp").because(reason.to_owned()).remedy(remedy)
}

impl BulkUtility for Bcp {
    fn name(&self) -> &str {
        "bcp"
    }

    fn settings(&self) -> &BulkUtilitySettings {
        &self.settings
    }

    fn executable(&self) -> (PathBuf, String) {
        let executable = self.settings.executable.clone().unwrap_or_else(|| "bcp".into());
        (executable, INSTALL_HINT.to_owned())
    }

    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault> {
        let source = source(connection)?;
        let is_of_entra_id =
            matches!(source.login, SqlServerLogin::Token(_) | SqlServerLogin::ServicePrincipal { .. });
        if !self.bcp.trusted_connection && is_of_entra_id {
            return Err(refused(
                "the connection logs in with Entra ID, and bcp is given a name and a password",
                "Use an SQL login, or set `method` to `native`.",
            ));
        }
        if self.dialect() == BcpDialect::FreeTds && source.encryption == SqlServerEncryption::Strict {
            return Err(refused(
                "the connection asks for TDS 8.0 (`encrypt` = `strict`), which freebcp does not speak",
                "Use Microsoft's bcp, or set `method` to `native`.",
            ));
        }
        Ok(())
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let source = source(job.connection)?;
        let program = match self.dialect() {
            BcpDialect::Microsoft => self.microsoft(job, source),
            BcpDialect::FreeTds => self.freetds(job, source)?,
        };
        let (field, row) = (self.bcp.delimiter.as_bytes(), self.bcp.row_terminator.as_bytes());
        Ok((program, Layout::new(field, row, Quoting::Nul)))
    }

    /// Every value is cast to a text of all its digits in the statement.
    fn writes_exact_texts(&self) -> bool {
        true
    }

    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault> {
        messages::read(exit)
    }
}
