//! The examples of the documents, run as a reader would: every shell block is run against a real agent, or
//! says why it cannot be; what such a block calls is then at least read by a shell, and its options are
//! options of the programs that it names.
//!
//! The word behind the language of a fence decides: `run`, `unrun=<reason>` with a reason of [`REASONS`],
//! or `variables`; `logged` for lines that the log of the agent has to have.

mod deployment;
mod examples;
mod scripts;
mod symptoms;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::support::agent::Place;
use crate::support::document::Block;
use crate::support::postgres::setting;

/// Why a block is not run.
const REASONS: [(&str, &str); 6] = [
    ("root", "makes users and writes to the folders of the system"),
    ("systemd", "speaks to the service manager of the machine"),
    ("image", "needs a container engine; its variables go through the real entrypoint instead"),
    ("cluster", "needs a Kubernetes cluster"),
    ("build", "builds with cargo, or runs the tests themselves"),
    ("account", "needs an account that only its owner has"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents, by their path from the root.
fn documents() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["", "docs", "docs/snowflake"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name.clone(), document(&name));
            }
        }
    }
    assert!(found.len() > 15, "{:?}", found.keys());
    found
}

fn is_shell(block: &Block) -> bool {
    ["sh", "console", "bash"].contains(&block.language())
}

/// A program of the machine, unless it is missing; in CI it has to be there.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(setting("REQUIRE_SERVERS").is_none(), "{name} is not installed; run tests/run.sh");
        eprintln!("skipped: {name} is not installed here; see docs/TESTING.md");
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "tests start the programs that documents name")]
fn output_of(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with the source `sales`, which has the table `orders`.
pub(crate) async fn place() -> Place {
    let place = Place::new();
    let file = place.path().join("sales.sqlite");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL); \
                INSERT INTO orders VALUES (1, 'Ada'), (2, 'Grace')";
    sqlx::raw_sql(rows).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    place.connection("source.sales", &format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string()))
}
