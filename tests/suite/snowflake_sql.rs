//! The SQL and YAML of docs/snowflake: read by sqlglot and PyYAML, and the procedures carried out by
//! DuckDB against the documented table of states. No account is needed, and none is replaced by it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::foreign_reader;

/// Runs the reader, and returns what it counted.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn run(command: &str) -> Option<Value> {
    if !foreign_reader::is_installed() {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(std::env::var_os("TEST_PYTHON").unwrap())
        .arg(root.join("tests/support/snowflake_sql.py"))
        .arg(command)
        .arg(root.join("docs/snowflake"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_statement_and_specification_can_be_read() {
    let Some(counts) = run("parse") else { return };
    for (kind, at_least) in
        [("Create", 20), ("Grant", 20), ("in procedures", 23), ("in pages", 20), ("yaml", 2)]
    {
        assert!(counts[kind].as_u64().is_some_and(|count| count >= at_least), "{kind}: {counts}");
    }
}

#[test]
fn the_procedures_do_what_the_documented_table_says() {
    let Some(counts) = run("states") else { return };
    assert_eq!(counts["states and calls"], 55);
}

#[test]
fn what_agents_tell_of_their_attempts_is_kept_once_however_often_it_is_sent() {
    let Some(counts) = run("history") else { return };
    assert_eq!((&counts["runs"], &counts["lines"]), (&Value::from(4), &Value::from(5)));
}
