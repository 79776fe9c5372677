//! The examples of the documents, run as a reader would: every shell block is run against a real agent, or
//! says why it cannot be; what such a block calls is then at least read by a shell, and its options are
//! options of the programs that it names.
//!
//! The word behind the language of a fence decides: `run`, `unrun=<reason>` with a reason of [`REASONS`],
//! or `variables`; `logged` for lines that the log of the agent has to have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::support::agent::{Agent, Finished, PATIENCE, Place, eventually};
use crate::support::document::{Block, blocks, is_line, rust_files};
use crate::support::folder::Folder;
use crate::support::foreign_reader;
use crate::support::postgres::{self, setting};
use crate::support::s3::{Bucket, server_address};

/// Why a block is not run.
const REASONS: [(&str, &str); 6] = [
    ("root", "makes users and writes to the folders of the system"),
    ("systemd", "speaks to the service manager of the machine"),
    ("image", "needs a container engine; its variables go through the real entrypoint instead"),
    ("cluster", "needs a Kubernetes cluster"),
    ("build", "builds with cargo, or runs the tests themselves"),
    ("account", "needs an account that only its owner has"),
];
/// Documents with tests of their own for every block: `command_line_guide` has this one.
const ELSEWHERE: [&str; 1] = ["docs/COMMAND_LINE.md"];
/// In front of every block that is run: a failure ends it, and an error of the API is a failure.
const PRELUDE: &str = "set -euo pipefail\n\
                       curl() { command curl --silent --show-error --fail-with-body \"$@\"; echo; }\n";

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

/// Runs the blocks of a document that say so, in order, with `real` in the place of what it writes.
async fn run_blocks(
    name: &str,
    agent: &Agent,
    real: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Vec<Finished> {
    let url = agent.url("");
    let mut done = Vec::new();
    let text = document(name);
    let found = blocks(&text);
    for block in found.iter().filter(|block| is_shell(block) && block.is("run")) {
        let mut script = block.text.clone();
        for (written, real) in [("http://127.0.0.1:5001", &*url), ("http://localhost:5001", &*url)]
            .into_iter()
            .chain(real.iter().copied())
        {
            script = script.replace(written, real);
        }
        let script = format!("{PRELUDE}{script}");
        let running = agent.place.shell(&script, environment);
        let finished = tokio::time::timeout(PATIENCE, running).await.expect("it ends");
        assert_eq!(finished.code, Some(0), "{name}:{}\n{script}\n{finished:?}", block.line);
        done.push(finished);
    }
    assert!(!done.is_empty(), "{name} has nothing to run");
    done
}

/// Every line of the blocks `logged` in this language is in the log; figures and times may differ.
async fn assert_logged(name: &str, agent: &Agent, language: &str, known: &[(&str, &str)]) {
    let document = document(name);
    let blocks = blocks(&document);
    let wanted: Vec<&Block> =
        blocks.iter().filter(|block| block.language() == language && block.is("logged")).collect();
    assert!(!wanted.is_empty(), "{name} shows no log in {language}");
    for line in wanted.iter().flat_map(|block| block.text.lines()) {
        let mut expected = line.to_owned();
        for (written, real) in known {
            expected = expected.replace(written, real);
        }
        eventually(&format!("{expected} in the log, as {name} says"), async || {
            agent.log().lines().any(|found| is_line(&expected, found)).then_some(())
        })
        .await;
    }
}

#[test]
fn every_shell_example_is_run_or_says_why_not() {
    for (name, text) in documents().iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
        for block in blocks(text).iter().filter(|block| is_shell(block)) {
            let is_known = block.is("run")
                || block.is("variables")
                || block
                    .setting("unrun")
                    .is_some_and(|reason| REASONS.iter().any(|(known, _)| *known == reason));
            assert!(
                is_known,
                "{name}:{}: is ```{} run in a test? Write `run`, or `unrun=` and one of {REASONS:?}",
                block.line, block.info
            );
        }
    }
}

/// The commands of a script as words, roughly: enough to find programs and their options.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let lines = script.lines().map(|line| line.split(" #").next().unwrap_or_default());
    lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split("&&").flat_map(|part| part.split(" | ")))
        .map(|part| part.trim().trim_start_matches("eval \"$(").trim_start_matches("export "))
        .map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<String>>())
        .map(|words| words.into_iter().skip_while(|word| is_assignment(word)).collect::<Vec<String>>())
        .filter(|words| !words.is_empty())
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    })
}

/// The long options of a command are options of its program.
fn assert_options(place: &str, words: &[String]) {
    let mut words: Vec<&str> = words.iter().map(|word| word.trim_matches(['"', '\'', ')'])).collect();
    let own = [env!("CARGO_BIN_EXE_data-exchange-agent")];
    // A toolchain is no part of the command.
    words.retain(|word| !word.starts_with('+'));
    if words[0] == "perf" {
        let profiled = words.iter().position(|word| word.ends_with("/data-exchange-agent"));
        // A report profiles nothing.
        let Some(profiled) = profiled else { return };
        words.drain(..profiled);
    }
    if words.starts_with(&["cargo", "run"]) {
        let arguments = words.iter().position(|word| *word == "--").map_or(words.len(), |at| at + 1);
        words.splice(..arguments, ["data-exchange-agent"]);
    }
    let (program, command) = match words[0] {
        "data-exchange-agent" => (PathBuf::from(own[0]), 1),
        name if name.ends_with("/data-exchange-agent") => (PathBuf::from(own[0]), 1),
        name if name.contains('/') => (root().join(name), 0),
        "python3" | "python" => {
            let Some(python) = foreign_reader::python() else { return };
            (python, 1)
        }
        name => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found =
                std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
            // A program that nobody has here: kubectl.
            let Some(found) = found else { return };
            (found, usize::from(["buildah", "cargo", "docker", "systemctl"].contains(&name)))
        }
    };
    let is_own = program == Path::new(own[0]);
    let options: Vec<&str> = words[1..]
        .iter()
        .take_while(|word| **word != "--")
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split('=').next().unwrap_or_default())
        .collect();
    let mut help: Vec<&str> = words[1..]
        .iter()
        .take_while(|word| !word.starts_with('-'))
        .take(if is_own { 2 } else { command })
        .copied()
        .collect();
    if is_own {
        // A command of two words, such as `tasks list`, or one with an argument.
        help.retain(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
        let all = output_of(&program, &["--help"]);
        if let Some(command) = help.first() {
            assert!(
                all.contains(&format!("\n  {command} ")) || ["test", "doctor", "help"].contains(command),
                "{place}: there is no command `{command}`"
            );
        }
        help.truncate(if matches!(help.first(), Some(&("tasks" | "config"))) { 2 } else { 1 });
    }
    if options.is_empty() {
        return;
    }
    help.extend(["--help"]);
    if program.ends_with("curl") {
        help.push("all");
    }
    let text = output_of(&program, &help);
    if text.contains("no such command") || text.contains("is not installed") {
        // A part of cargo, or a toolchain, that the line before installs.
        return;
    }
    for option in options {
        assert!(text.contains(option), "{place}: `{}` has no {option}:\n{text}", words.join(" "));
    }
}

#[test]
fn what_is_not_run_is_a_script_whose_options_exist() {
    let shellcheck = program("shellcheck");
    let folder = Folder::new();
    let mut checked = 0;
    for (name, text) in documents() {
        for block in blocks(&text).iter().filter(|block| is_shell(block) && !block.is("run")) {
            if ELSEWHERE.contains(&name.as_str()) {
                continue;
            }
            let place = format!("{name}:{}", block.line);
            let file = folder.path().join("block.sh");
            fs::write(&file, &block.text).unwrap();
            let said = output_of(Path::new("bash"), &["-n", file.to_str().unwrap()]);
            assert_eq!(said, "", "{place}");
            if let Some(shellcheck) = &shellcheck {
                // A block is no whole program: its variables are used elsewhere, its folders are the reader's.
                let said =
                    output_of(shellcheck, &["-s", "bash", "-e", "SC2034,SC2164", file.to_str().unwrap()]);
                assert_eq!(said, "", "{place}");
            }
            for words in commands(&block.text) {
                assert_options(&place, &words);
                checked += 1;
            }
        }
        for span in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("data-exchange-agent "))
        {
            for words in commands(span) {
                assert_options(&format!("{name}: `{span}`"), &words);
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

#[tokio::test]
async fn variables_of_the_environment_are_read_as_the_document_says() {
    let document = document("docs/CONFIGURATION.md");
    let found = blocks(&document);
    let block = found.iter().find(|block| block.is("variables")).expect("it has an example of them");
    let place = Place::new().connection(
        "source.sales",
        "kind = \"postgresql\"\nhost = \"db.example.com\"\ndatabase = \"sales\"\nusername = \"reader\"\n",
    );
    let file = place.configuration();
    let script = format!(
        "{PRELUDE}set -a\n{}\ndata-exchange-agent config print --config {}",
        block.text,
        file.display()
    );
    let finished = place.shell(&script, &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for line in block.text.lines() {
        let name = line.split('=').next().unwrap();
        assert!(finished.stdout.contains(name), "{name} had no effect: {finished:?}");
    }
}

#[tokio::test]
async fn the_examples_of_the_readme_work() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE orders AS SELECT i AS id, current_date - (i % 2)::int AS day FROM generate_series(1, 10) AS i",
        )
        .await;
    let bucket = Bucket::new().await;
    let place = Place::new().database(&database).bucket(&bucket, server_address());
    let sales = fs::read_to_string(place.configuration()).unwrap();
    let sales = sales.split("[connections.source.sales]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let agent = place.connection("source.postgresql", sales).start().await;
    let endpoint = format!("http://{}", server_address());
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "writer"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let to = format!("s3://{}/orders", bucket.name);
    let real =
        [("postgresql://reader@db.example.com/sales", &*database.url()), ("s3://exports/orders", &*to)];
    run_blocks("README.md", &agent, &real, &environment).await;
    agent.wait_until("orders-2026-11", "completed").await;
    assert!(!bucket.objects("exports/orders/2026-11/").await.is_empty(), "the task has written files");
    assert_eq!(bucket.objects("orders/").await.len(), 1, "the extraction has written one");
}

#[tokio::test]
async fn the_examples_of_the_api_guide_work() {
    let agent = place().await.start().await;
    run_blocks("docs/API.md", &agent, &[], &[]).await;
    agent.wait_until("orders-2026-11", "completed").await;
}

#[tokio::test]
async fn the_examples_of_the_monitoring_guide_work() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let agent = place().await.start().await;
    let finished = run_blocks("docs/MONITORING.md", &agent, &[], &[]).await;
    let level = agent.get("/log_level").await;
    assert!(level.to_string().contains("source::postgres=debug"), "{level}");
    let accepted = finished.iter().find(|finished| finished.stdout.contains("id_task")).expect("a task");
    let answer: serde_json::Value = serde_json::from_str(accepted.stdout.trim()).unwrap();
    let task = agent.wait_until(answer["id_task"].as_str().unwrap(), "completed").await;
    assert!(task["request"]["traceparent"].as_str().unwrap().contains(TRACE), "{task}");

    let orders = json!({
        "id": "orders-2026-11-20",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "all"},
    });
    agent.submit(orders.clone()).await;
    agent.wait_until("orders-2026-11-20", "completed").await;
    assert_logged("docs/MONITORING.md", &agent, "text", &[]).await;

    let agent = place().await.section("log", "format = \"json\"").start().await;
    agent.submit(orders).await;
    agent.wait_until("orders-2026-11-20", "completed").await;
    assert_logged("docs/MONITORING.md", &agent, "json", &[]).await;
}

#[tokio::test]
async fn the_examples_of_the_operations_guide_work() {
    if program("sqlite3").is_none() {
        return;
    }
    let mut agent = place().await.start().await;
    let task = json!({
        "id": "kept",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "kept"},
    });
    agent.submit(task.clone()).await;
    agent.wait_until("kept", "completed").await;
    let (data, backup) = (agent.place.path().join("data"), agent.place.path().join("backup"));
    fs::create_dir(&backup).unwrap();
    let folder = |path: &Path| path.display().to_string();
    let real = [
        ("/etc/data-exchange-agent/configuration.toml", &*folder(&agent.place.configuration())),
        ("/var/lib/data-exchange-agent", &*folder(&data)),
        ("/backup", &*folder(&backup)),
    ];
    run_blocks("docs/OPERATIONS.md", &agent, &real, &[]).await;

    // The reload of which the document shows the log.
    agent.place.set_application("workers = 9");
    agent.place.replace_sections(&[
        ("log", "level = \"debug\""),
        ("server.api_keys.operator", "key = \"0123456789abcdef\""),
    ]);
    agent.place.configuration();
    agent.signal("HUP");
    let file = folder(&agent.place.path().join("configuration.toml"));
    let known = [("/etc/data-exchange-agent/configuration.toml", &*file)];
    assert_logged("docs/OPERATIONS.md", &agent, "text", &known).await;

    // The back-up is put back as the document says, and tasks that came later are unknown.
    agent.place.replace_sections(&[]);
    agent.place.configuration();
    agent.signal("HUP");
    eventually("the key to be gone", async || (agent.ask("/tasks").await.status == 200).then_some(())).await;
    let mut later = task;
    later["id"] = json!("later");
    agent.submit(later.clone()).await;
    agent.wait_until("later", "completed").await;
    agent.signal("TERM");
    agent.exit().await;
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(data.join(format!("queue.sqlite{ending}")));
    }
    fs::copy(backup.join("queue.sqlite"), data.join("queue.sqlite")).unwrap();
    agent.start_again().await;
    assert_eq!(agent.task("kept").await["status"], "completed");
    assert_eq!(agent.ask("/tasks/later").await.status, 404);
    agent.submit(later).await;
    agent.wait_until("later", "completed").await;
    assert_eq!(agent.files().iter().filter(|file| file.contains("later")).count(), 1, "it replaced its file");
}

/// The first cells of the table under a heading, without what marks code.
fn first_cells(document: &str, heading: &str) -> Vec<String> {
    let section = document.split(&format!("\n{heading}\n")).nth(1).expect("the heading is there");
    let lines =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines.skip(2).map(|line| line.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

/// The one of the table that this is, with what the document leaves out around it.
fn assert_says(table: &mut Vec<String>, beginning: &str, said: &str) {
    let place = table.iter().position(|line| line.contains(beginning));
    let expected = table.remove(place.unwrap_or_else(|| panic!("the document does not have: {beginning}")));
    let line = format!("...{expected}...");
    assert!(
        said.lines().any(|found| is_line(&line, found)),
        "the document says\n{expected}\nand the agent\n{said}"
    );
}

#[tokio::test]
async fn an_agent_that_does_not_start_says_what_the_operations_guide_lists() {
    let document = document("docs/OPERATIONS.md");
    let mut table = first_cells(&document, "### The agent does not start");
    let wrong = async |place: &Place, arguments: &[&str]| {
        let file = place.configuration();
        let mut all = vec!["run", "--config", file.to_str().unwrap()];
        all.extend(arguments);
        let finished = place.run(&all).await;
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        finished.stderr
    };
    let said = wrong(&Place::new().application("workers = 0"), &[]).await;
    assert_says(&mut table, "application.workers is 0", &said);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_says(&mut table, "choose another --port", &wrong(&Place::new(), &["--port", &port]).await);

    let mut agent = Place::new().start().await;
    assert_says(&mut table, "has open", &wrong(&agent.place, &["--port", "0"]).await);
    agent.signal("TERM");
    agent.exit().await;

    let file = agent.place.path().join("data/queue.sqlite");
    let mut queue =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut queue).await.unwrap();
    queue.close().await.unwrap();
    let said = wrong(&agent.place, &["--port", "0"]).await;
    assert_says(&mut table, "of a newer version", &said);

    let small = Place::new().application("workers = 4").application("memory_limit = \"64 MiB\"");
    assert_says(&mut table, "application.memory_limit", &wrong(&small, &["--port", "0"]).await);
    assert_eq!(table, [""; 0], "nobody has seen an agent say this");
}

#[tokio::test]
async fn what_the_operations_guide_looks_at_is_there() {
    let document = document("docs/OPERATIONS.md");
    let section = document.split("\n### Tasks wait and no worker takes them\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let says = |look: &str, word: &str| {
        let row = rows.iter().find(|row| row[1] == look && row[2].contains(word));
        row.unwrap_or_else(|| panic!("no row for {look}: {word}"))[2].trim_matches('`').to_owned()
    };
    let held = place().await.section("guards", "min_free_disk = \"1000 TiB\"").start().await;
    let ready = held.ask("/ready").await.json();
    let expected = says("`GET /ready`", "no new task").replace("MiB", "...");
    let reason = ready["reason"].as_str().unwrap().to_owned();
    assert!(is_line(&format!("{expected}..."), &reason), "the document says {expected}, the agent {reason}");
    assert_eq!(held.post("/stop", None).await.status, 200);
    let health = held.get("/health").await;
    let shown = health.to_string().replace(':', ": ");
    assert!(shown.contains(&says("`GET /health`", "handling_tasks")), "{shown}");
    assert!(says("`GET /health`", "busy").contains("\"total\""), "the document compares the two");
    assert!(health["workers"]["busy"].is_u64() && health["workers"]["total"].is_u64(), "{health}");
    let task = json!({
        "id": "t",
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "path": "t"},
    });
    held.submit(task).await;
    assert!(held.task("t").await.as_object().unwrap().contains_key("next_attempt_at"));
    assert_eq!(held.get("/runs?task=t").await["runs"], json!([]));
    assert_eq!(held.get("/runs?status=interrupted").await["runs"], json!([]));
    assert_eq!(held.ask("/tasks/t/logs").await.status, 200);

    let message = says("the log", "leased");
    let away = place()
        .await
        .section("task_source.api", "base_url = \"http://127.0.0.1:9\"\nkey = \"a-key-of-the-other-side\"\n")
        .application("task_fetch_interval = 1")
        .start()
        .await;
    eventually(&format!("{message} in the log"), async || away.log().contains(&message).then_some(())).await;
}

#[test]
fn the_command_for_a_real_sql_server_runs_every_test_that_asks_one() {
    let document = document("docs/TESTING.md");
    let found = blocks(&document);
    let command = found.iter().find(|block| block.text.starts_with("SQLSERVER_URL=")).expect("there is one");
    let filters: Vec<&str> =
        command.text.split_once(" -- ").expect("names of tests").1.split_whitespace().collect();
    let suite = root().join("tests/suite");
    // Written so that this file does not have the word itself.
    let asks = concat!("RealServer", "::if_named");
    let mut tests = 0;
    for path in rust_files(&suite) {
        let text = fs::read_to_string(&path).unwrap();
        let module = path.strip_prefix(&suite).unwrap().display().to_string();
        // A function that asks for the tests of its file goes by the name of the file.
        let functions = text.split("\nasync fn ").filter(|function| function.contains(asks));
        for function in functions {
            let name = function.split('(').next().unwrap_or_default();
            let is_run = |filter: &&str| module.contains(*filter) || name.contains(*filter);
            assert!(filters.iter().any(is_run), "{module}: {name} is not run by {filters:?}");
            tests += 1;
        }
    }
    assert!(tests > 5, "{tests}");
}

#[test]
fn the_unit_of_systemd_is_one() {
    let Some(verify) = program("systemd-analyze") else { return };
    let folder = Folder::new();
    let unit = document("docs/systemd/data-exchange-agent.service")
        .replace("/usr/local/bin/data-exchange-agent", env!("CARGO_BIN_EXE_data-exchange-agent"));
    let file = folder.path().join("data-exchange-agent.service");
    let verified = |text: &str| {
        fs::write(&file, text).unwrap();
        output_of(&verify, &["verify", "--man=no", file.to_str().unwrap()])
    };
    let about = |said: &str| {
        let lines = said.lines().filter(|line| line.contains("data-exchange-agent.service"));
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(about(&verified(&unit)), [""; 0]);
    let wrong = about(&verified(&unit.replace("WatchdogSec=60", "WatchDogSec=60")));
    assert!(!wrong.is_empty(), "what is verified can fail");
}

#[tokio::test]
async fn containers_are_started_with_variables_that_the_entrypoint_knows() {
    // What the entrypoint gets instead of an engine.
    const DOCKER: &str = r#"
docker() {
    local -a variables=()
    [[ $1 == run ]] || return 0
    shift
    while (($# > 0)); do
        case $1 in
            -e) [[ $2 == *=* ]] && variables+=("$2") || variables+=("$2=from-the-environment"); shift 2 ;;
            -p | -v | --tmpfs | --stop-timeout) shift 2 ;;
            --rm | --read-only) shift ;;
            *) break ;;
        esac
    done
    printf '%s\n' "${variables[@]%%=*}" >>variables
    shift
    env -i PATH="$PATH" HOME="$HOME" AGENT_RUNTIME_DIRECTORY="$PWD/runtime" AGENT_PROGRAM=true \
        "${variables[@]}" "$ENTRYPOINT" "$@"
    env -i PATH="$PATH" HOME="$HOME" SNOWFLAKE_HOME="$PWD/runtime/snowflake" \
        data-exchange-agent config print --config runtime/configuration.toml
}
"#;
    if program("envsubst").is_none() {
        return;
    }
    let entrypoint = root().join("docker-artifacts/docker-entrypoint.sh");
    let known = fs::read_to_string(&entrypoint).unwrap();
    let page = document("docs/DOCKER.md");
    let mut containers = 0;
    for (name, text) in documents() {
        for block in blocks(&text).iter().filter(|block| block.setting("unrun") == Some("image")) {
            let place = Place::new();
            let script = format!("set -euo pipefail\n{DOCKER}{}", block.text);
            let finished = place.shell(&script, &[("ENTRYPOINT", entrypoint.to_str().unwrap())]).await;
            assert_eq!(finished.code, Some(0), "{name}:{}: {finished:?}", block.line);
            assert!(finished.stdout.contains("affinity = \"blue\""), "{finished:?}");
            assert!(finished.stdout.contains("[connections.source."), "{finished:?}");
            for variable in fs::read_to_string(place.path().join("variables")).unwrap().lines() {
                assert!(known.contains(variable), "{name}: the entrypoint does not know {variable}");
                assert!(
                    page.contains(&format!("`{variable}`")),
                    "docs/DOCKER.md does not explain {variable}"
                );
            }
            containers += 1;
        }
    }
    assert!(containers > 1, "{containers}");
}
