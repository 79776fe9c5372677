//! Reads files with DuckDB and pyarrow, which know nothing of the agent.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

/// What the foreign programs found.
#[derive(Debug, Deserialize)]
pub(crate) struct Found {
    /// The answer of DuckDB, as texts.
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// Name, type and nullability as pyarrow sees them; empty for CSV.
    pub(crate) columns: Vec<(String, String, bool)>,
    /// Key-value metadata of the first file.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Rows of each file by its footer; empty for CSV.
    pub(crate) file_rows: Vec<u64>,
}

/// True when the foreign programs are installed; says so when not.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
pub(crate) fn is_installed() -> bool {
    let installed = python().is_some();
    if !installed {
        assert!(setting("REQUIRE_SERVERS").is_none(), "TEST_PYTHON is not set; run tests/run.sh");
        eprintln!("skipped: there is no Python environment with DuckDB and pyarrow; see docs/TESTING.md");
    }
    installed
}

/// Runs `sql` over `files`, as the table `result`.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
pub(crate) fn query(files: &[PathBuf], sql: &str) -> Found {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/foreign_reader.py");
    let mut reader = Command::new(python().expect("asked for before"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    let request = json!({"files": files, "sql": sql}).to_string();
    let mut input = reader.stdin.take().expect("it is piped");
    input.write_all(request.as_bytes()).expect("the script reads its input");
    drop(input);
    let output = reader.wait_with_output().expect("wait for Python");
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script writes JSON")
}

/// The files of receipts in a folder.
pub(crate) fn paths(folder: &Path, names: &[String]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.join(name)).collect()
}

/// The Python of the environment.
pub(crate) fn python() -> Option<PathBuf> {
    setting("TEST_PYTHON").map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "settings of the tests, not of the agent")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
