//! Bulk utilities: the programs that are installed, and doubles for those that cannot be had.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use data_exchange_agent::bulk::{self, BulkSource, BulkUtility};
use data_exchange_agent::config::{
    self, BulkUtilitySettings, Environment, LocalTarget, Overrides, SourceConnection, TransferSettings,
};
use data_exchange_agent::destination::local::LocalDestination;
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::schema::{Column, TableSchema};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::{Extraction, Query, Source, TextExport, TextForms};
use data_exchange_agent::task::{Progress, Read, Receipt};
use data_exchange_agent::transfer::Transfer;
use tokio_util::sync::CancellationToken;

use super::extraction::{configuration, query, task};
use super::folder::{Folder, write_program};
use super::postgres::setting;

/// What `[bulk_utility.<name>]` with these keys says, for a program that a test has at its disposal.
pub(crate) fn settings(name: &str, executable: &Path, keys: &str) -> BulkUtilitySettings {
    let section = format!("[bulk_utility.{name}]\nexecutable = {executable:?}\ntimeout = \"10m\"\n{keys}\n");
    let environment = Environment::default().with_home("/home/agent");
    let parsed = config::parse(&section, "the section", &Overrides::default(), &environment);
    let (mut config, _warnings) = parsed.unwrap_or_else(|problems| panic!("{section}\n{problems}"));
    config.bulk_utilities.remove(name).expect("it has a section")
}

/// The program of a name; `None`, with a line that says so, where it is not installed and
/// `REQUIRE_SERVERS` is not set.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    or_skipped(name, found(name))
}

/// Oracle's client of MySQL; likewise. MariaDB's is installed by the name `mariadb`.
pub(crate) fn oracles_client() -> Option<PathBuf> {
    or_skipped("Oracle's mysql", setting("TEST_MYSQL_CLIENT").map(PathBuf::from))
}

#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
fn or_skipped(name: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert!(setting("REQUIRE_SERVERS").is_none(), "there is no {name}: run tests/run.sh");
        eprintln!("skipped: {name} is not installed here; see docs/TESTING.md");
    }
    found
}

/// The program of a name, where it is installed.
pub(crate) fn found(name: &str) -> Option<PathBuf> {
    let settings = settings("psql", Path::new(name), "");
    bulk::find_program(bulk::utility(name, settings).as_ref()).ok()
}

/// A source that reads a connection with a utility.
pub(crate) fn source(
    native: impl Source + 'static,
    connection: SourceConnection,
    settings: BulkUtilitySettings,
    shutdown: &Shutdown,
) -> BulkSource {
    let utility: Arc<dyn BulkUtility> = bulk::utility("tests", settings);
    BulkSource::new(Arc::new(native), utility, connection, shutdown.clone())
}

/// Writes a shell script that can be run.
pub(crate) fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    write_program(folder, name, &format!("#!/bin/sh\n{text}\n"))
}

/// Waits until no process runs that has this text among its arguments.
pub(crate) async fn gone(text: &str) {
    let begun = Instant::now();
    while runs(text) {
        assert!(begun.elapsed() < Duration::from_secs(60), "a process with {text} still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process runs that has this text among its arguments.
pub(crate) fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let own = std::process::id().to_string();
    processes.filter(|entry| entry.file_name() != own.as_str()).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// A database of which nothing is known but the columns `id` and `words` of every query.
pub(crate) struct Described;

#[async_trait::async_trait]
impl Source for Described {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn prepare(&self, _: &Query, _: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        Err(Fault::new(FaultKind::Request, "read without a program"))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            source_type: "varchar(20)".into(),
            data_type,
            nullable: true,
        };
        let columns = vec![column("id", DataType::Int32), column("words", DataType::Utf8)];
        let Read::Query(sql) = query.read.clone() else { panic!("the tests have queries only") };
        let schema = TableSchema::new(columns)?;
        Ok(TextExport { sql, session: Vec::new(), schema, forms: TextForms::default() })
    }
}

/// A connection that nobody connects to.
pub(crate) fn connection() -> SourceConnection {
    SourceConnection::Postgres(configuration("postgresql://someone:hunter2@example.com:1/db"))
}

/// A source that reads with a shell script, as a section with `kind = "command"` and these keys says.
pub(crate) fn by_script(folder: &Path, text: &str, keys: &str, timeout: Duration) -> BulkSource {
    let program = script(folder, "export", text);
    let mut settings = settings("tests", &program, &format!("kind = \"command\"\n{keys}"));
    settings.timeout = timeout;
    source(Described, connection(), settings, &Shutdown::new())
}

/// One attempt at a query, and the files that a reader sees afterwards.
pub(crate) async fn attempt(source: &dyn Source, sql: &str) -> (Result<Receipt, Fault>, Vec<PathBuf>) {
    let folder = Folder::new();
    let destination = LocalDestination::new(&LocalTarget { root: folder.path().to_owned() });
    let task = task(&query(sql), 1);
    let progress = Arc::new(Progress::default());
    let settings = TransferSettings::default();
    let result = match Transfer::open(source, &destination, &task, &settings, &progress).await {
        Ok(transfer) => match transfer.write(&CancellationToken::new()).await {
            Ok(written) => transfer.commit(written.expect("nobody stops it"), Instant::now()).await,
            Err(fault) => {
                transfer.upload.abort().await;
                Err(fault)
            }
        },
        Err(fault) => Err(fault),
    };
    let visible = std::fs::read_dir(folder.path().join("out")).into_iter().flatten().flatten();
    let visible = visible.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    (result, visible.map(|entry| entry.path()).collect())
}
