//! The walk-through of `docs/EXTENDING.md` for bulk utilities, compiled and run.

use std::path::PathBuf;
use std::sync::Arc;

use data_exchange_agent::bulk::delimited::{Layout, Quoting};
use data_exchange_agent::bulk::{BulkSource, BulkUtility, Exit, Job, Program};
use data_exchange_agent::config::{BulkUtilityKind, BulkUtilitySettings, SourceConnection};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;

use crate::support::bulk::{Described, connection, script, settings};
use crate::support::extraction::{column, query, read};
use crate::support::folder::Folder;

const GUIDE: &str = include_str!("../../docs/EXTENDING.md");
const THIS_FILE: &str = include_str!("bulk_extending.rs");

// The code of the guide begins here.

/// Prints the rows of a query as CSV, and the line `rows N` at the end of its messages.
pub(crate) struct RowDump {
    pub(crate) settings: BulkUtilitySettings,
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
        match connection {
            SourceConnection::Postgres(_) => Ok(()),
            _ => Err(Fault::new(FaultKind::Request, "export with rowdump")
                .because("it reads from PostgreSQL only")
                .remedy("Set `method` to `native`.")),
        }
    }

    fn program(&self, job: &Job<'_>) -> Result<(Program, Layout), Fault> {
        let SourceConnection::Postgres(source) = job.connection else {
            return Err(Fault::new(FaultKind::Bug, "export with rowdump from another database"));
        };
        let (executable, hint) = self.executable();
        let mut program = Program::new("rowdump", executable, self.settings.timeout, hint);
        program.arguments =
            vec!["--host".into(), source.host.clone(), "--query".into(), job.export.sql.clone()];
        if let Some(password) = &source.password {
            // A file that only this user may read: arguments are for everybody to see.
            let file = job.folder.write("password", password)?;
            program.arguments.push(format!("--password-file={}", file.display()));
            program.secrets.push(password.clone());
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

// The code of the guide ends here.

#[test]
fn the_guide_has_the_code_that_is_tested_here() {
    let code = THIS_FILE.split("\n// The code of the guide ").nth(1).unwrap();
    let code = code.split_once("here.\n").unwrap().1.trim();
    assert!(GUIDE.contains(code), "docs/EXTENDING.md has other code than tests/suite/bulk_extending.rs");
}

#[tokio::test]
async fn the_utility_of_the_guide_reads_rows() {
    let folder = Folder::new();
    let program = script(
        folder.path(),
        "rowdump",
        r#"printf '1,"%s %s %s"\n2,\n' "$1" "$2" "$4"; cat "${5#--password-file=}" >&2; echo; echo "rows 2" >&2"#,
    );
    // It prints an empty line too many, which is no row.
    let utility = |text: &str| {
        let program = script(folder.path(), "rowdump", text);
        RowDump { settings: settings(BulkUtilityKind::Psql, &program) }
    };
    let source = |utility: RowDump| {
        BulkSource::new(Arc::new(Described), Arc::new(utility), connection(), Shutdown::new())
    };
    let fault =
        read(&source(RowDump { settings: settings(BulkUtilityKind::Psql, &program) }), &query("SELECT 1"), 1)
            .await
            .unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());

    let text =
        r#"printf '1,"%s %s"\n2,\n' "$2" "$4"; cat "${5#--password-file=}" >&2; echo >&2; echo "rows 2" >&2"#;
    let found = read(&source(utility(text)), &query("SELECT 1"), 1).await.unwrap();
    assert_eq!(column(&found, "words"), [Some("example.com SELECT 1".to_owned()), None]);

    let text = r#"cat "${5#--password-file=}" >&2; exit 1"#;
    let fault = read(&source(utility(text)), &query("SELECT 1"), 1).await.unwrap_err();
    assert_eq!(fault.chain(), "export with rowdump: it ended with exit status: 1 and said: ***");
}
