//! The API against its own OpenAPI document, by requests that nobody has thought of.

use std::path::Path;
use std::process::{Command, Stdio};

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::support::agent::{Agent, PATIENCE, Place};

/// Requests for each operation and phase, about.
const EXAMPLES: &str = "60";

/// The program, unless there is none; says so then.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
#[expect(clippy::disallowed_methods, reason = "settings of the tests, not of the agent")]
fn schemathesis() -> Option<String> {
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let program = setting("TEST_SCHEMATHESIS");
    if program.is_none() {
        assert!(setting("REQUIRE_SERVERS").is_none(), "TEST_SCHEMATHESIS is not set; run tests/run.sh");
        eprintln!("skipped: schemathesis is not installed; see docs/TESTING.md");
    }
    program
}

async fn place() -> Place {
    let place = Place::new();
    let file = place.path().join("sales.sqlite");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    for sql in ["CREATE TABLE numbers (number INTEGER NOT NULL)", "INSERT INTO numbers VALUES (1), (2), (3)"]
    {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    let source = format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string());
    place.connection("source.sales", &source)
}

/// Lets schemathesis ask the agent, with further arguments and these keys in turns. Returns what it said.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
async fn ask(program: &str, agent: &Agent, arguments: &[&str], keys: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &agent.url("/openapi.json"), "--no-color", "--checks", "all"])
        .arg("--generation-deterministic")
        .args(arguments)
        // The load of the machine is no defect of the agent.
        .args(["--suppress-health-check", "all", "--request-timeout", "60", "--warnings", "off"])
        // A stream has no end as long as its task waits; `api::tests::events` looks at it.
        .args(["--exclude-path", "/tasks/{id}/events"])
        // Tasks that wait for ever would show less than those that run.
        .args(["--exclude-path", "/stop"])
        .current_dir(agent.place.path())
        .env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"))
        .env("CONTRACT_KEYS", keys.join(","))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // The test may have given up meanwhile.
        let _ = sender.send(command.output());
    });
    let output =
        tokio::time::timeout(PATIENCE * 5, receiver).await.expect("schemathesis ends").unwrap().unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let log = agent.log();
    assert!(!log.contains("panicked"), "{log}");
    said
}

#[tokio::test]
async fn whatever_is_asked_the_answer_is_one_of_the_document_and_never_an_error_of_the_server() {
    let Some(program) = schemathesis() else { return };
    let agent = place().await.start().await;
    // What is deleted stays there by design, cancelled and with its history.
    let arguments = ["--max-examples", EXAMPLES, "--exclude-checks", "use_after_free"];
    let said = ask(&program, &agent, &arguments, &[]).await;
    // Tasks were accepted among all that nonsense, and ran: their views have receipts.
    agent.wait_until_idle().await;
    let tasks = agent.get("/tasks?status=completed").await;
    assert!(!tasks["tasks"].as_array().unwrap().is_empty(), "{said}");
    assert_eq!(agent.get("/health").await["status"], "healthy");
}

#[tokio::test]
async fn callers_who_may_who_may_not_and_whom_nobody_knows_are_answered_as_the_document_says() {
    const OPERATOR: &str = "0123456789-operator";
    const LOADER: &str = "0123456789-loader";
    const WATCHER: &str = "0123456789-watcher";
    const UNKNOWN: &str = "0123456789-unknown";
    let Some(program) = schemathesis() else { return };
    let section = |key: &str, more: &str| format!("key = {key:?}\n{more}\n");
    let bounds =
        "scopes = \"read submit\"\nsources = \"sales\"\ndestinations = \"local\"\npath_prefixes = \"made\"";
    let agent = place()
        .await
        .section("server.api_keys.operator", &section(OPERATOR, ""))
        .section("server.api_keys.loader", &section(LOADER, bounds))
        .section("server.api_keys.watcher", &section(WATCHER, "scopes = \"read\""))
        .key(OPERATOR)
        .start()
        .await;
    // One phase, which asks every route in every way that the document leaves; the others are for the tasks
    // themselves. `ignored_auth` repeats requests without their key, and the turns would give them one again.
    let arguments = ["--phases", "coverage", "--exclude-checks", "use_after_free,ignored_auth"];
    let said = ask(&program, &agent, &arguments, &[OPERATOR, LOADER, WATCHER, UNKNOWN]).await;
    agent.wait_until_idle().await;
    let tasks = agent.get("/tasks?status=completed").await;
    assert!(!tasks["tasks"].as_array().unwrap().is_empty(), "{said}");
    for status in [401, 403] {
        let refused =
            agent.metric(&format!("data_exchange_agent_api_refusals_total{{status=\"{status}\"}}")).await;
        assert!(refused > 20.0, "{refused} requests were refused with {status}\n{said}");
    }
}
