//! Bulk utilities: the export programs of vendors, and the user's own.
//!
//! ```text
//! source describes the query as texts -> utility says what to run -> process runs it
//!     -> delimited decodes what it writes, with the described types -> batches
//! ```
//!
//! A utility is one file: what its section may say (`KIND`), and a [`BulkUtility`]. That one is pure: it
//! turns a job into a program to run, and reads what became of it. It never starts anything.
//! [`BulkSource`] puts it behind the same trait as every other source, so that nothing above knows that
//! a program has read the rows. A utility reads one slice.

pub mod delimited;
pub mod process;

mod bcp;
mod command;
mod kind;
mod mysql;
mod psql;
mod search;
mod source;
mod template;
mod terminator;
mod tpt;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::delimited::Layout;
pub(crate) use self::kind::{Kind, Own};
pub use self::process::{Exit, Inherited, Output, PrivateFolder, Program};
pub use self::source::BulkSource;
use crate::config::{BulkUtilitySettings, SourceConnection};
use crate::fault::Fault;
use crate::source::TextExport;

/// One export, as a utility sees it.
#[derive(Debug)]
pub struct Job<'a> {
    /// What to export.
    pub export: &'a TextExport,
    /// Where from, and as whom.
    pub connection: &'a SourceConnection,
    /// A place for a named pipe and for files with secrets; it goes away after the run.
    pub folder: &'a PrivateFolder,
}

/// A program that exports the rows of a query as text. Implementations are pure.
pub trait BulkUtility: Send + Sync {
    /// Its name in tasks, in the configuration and in messages.
    fn name(&self) -> &str;

    /// What is the same for every utility.
    fn settings(&self) -> &BulkUtilitySettings;

    /// The program without an option, and how to get it; for `check`.
    fn executable(&self) -> (PathBuf, String);

    /// Whether it reads from connections of this kind and with these settings. An error says in a
    /// sentence why not, and what to do. Called when the agent starts and by `check`.
    fn supports(&self, connection: &SourceConnection) -> Result<(), Fault>;

    /// The program to run, and how its output tells fields and rows apart. Called once for each
    /// attempt. Secrets go to the standard input, a variable or a file in the folder of the job; to an
    /// argument only where the program knows nothing else. After an error nothing is left but the
    /// folder.
    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault>;

    /// True when the texts that the program writes say everything that the values do, so that they may be
    /// passed on as they are where a task wants texts ([`Query::as_texts`](crate::source::Query)).
    fn writes_exact_texts(&self) -> bool {
        false
    }

    /// Reads how the program ended: the rows that it says it wrote, `None` when it does not say, or
    /// what went wrong in the words of an operator. Called once, after the end of the output.
    fn diagnose(&self, exit: &Exit) -> Result<Option<u64>, Fault>;
}

/// The registry of utilities, in the order of the documentation.
pub(crate) const KINDS: &[Kind] = &[bcp::KIND, psql::KIND, mysql::KIND, tpt::KIND, command::KIND];

/// The utility that settings are of; `name` is that of its section.
#[must_use]
pub fn utility(name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
    let own = settings.own.clone();
    own.utility(name, settings)
}

/// Every utility of a configuration, by name.
#[must_use]
pub fn utilities(settings: &BTreeMap<String, BulkUtilitySettings>) -> Vec<Arc<dyn BulkUtility>> {
    settings.iter().map(|(name, settings)| utility(name, settings.clone())).collect()
}

/// Where the program of a utility is, or how to get it.
pub fn find_program(utility: &dyn BulkUtility) -> Result<PathBuf, Fault> {
    let (executable, hint) = utility.executable();
    search::find(&executable).ok_or_else(|| {
        Fault::new(crate::fault::FaultKind::Request, format!("look for the program of {}", utility.name()))
            .because(format!("there is no program `{}`", executable.display()))
            .remedy(hint)
    })
}

/// The refusal of a connection of another kind.
fn not_for(utility: &str, kind: &str) -> Fault {
    Fault::new(crate::fault::FaultKind::Request, format!("export with {utility}"))
        .because(format!("it reads from connections to {kind} only"))
        .remedy("Set `method` to `native`, or leave it out.")
}

/// The path of a program as an argument.
fn as_argument(path: &Path) -> String {
    // The folder's name is ours, and the system's own part of it has no reason to be anything else.
    path.to_string_lossy().into_owned()
}
