//! The commands with which people ask a running agent: `submit`, `tasks`, `logs`, `config`, and what a
//! shell and a manual want to know.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::support::agent::{Agent, Finished, Place};

/// The key of the agents here.
const KEY: &str = "a-key-that-nobody-may-see-anywhere";

/// A folder with the source `shop`, a table of 1,000 orders.
pub(crate) async fn shop() -> Place {
    let place = Place::new();
    let file = place.path().join("shop.sqlite");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    for sql in [
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL)",
        "WITH RECURSIVE ids AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM ids WHERE id < 1000)
         INSERT INTO orders SELECT id, 'customer ' || id FROM ids",
    ] {
        sqlx::query(sql).execute(&mut database).await.unwrap();
    }
    let source = format!("kind = \"sqlite\"\npath = {:?}\n", file.display().to_string());
    place.connection("source.shop", &source)
}

/// The same with an agent that asks for a key.
async fn shop_agent() -> Agent {
    shop().await.section("server.api_keys.people", &format!("key = {KEY:?}")).start().await
}

fn task(id: &str, query: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "shop", "query": query},
        "destination_config": {"type": "local", "path": id},
        "max_attempts": 1,
    })
}

/// Runs a command against this agent, with its key in the environment.
async fn ask(agent: &Agent, arguments: &[&str]) -> Finished {
    let url = agent.url("");
    agent
        .place
        .run_with(arguments, &[("DATA_EXCHANGE_AGENT_URL", &url), ("DATA_EXCHANGE_AGENT_API_KEY", KEY)])
        .await
}

fn write(agent: &Agent, name: &str, text: &str) -> PathBuf {
    let file = agent.place.path().join(name);
    fs::write(&file, text).unwrap();
    file
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, words: &[&str]) {
    let all = finished.assert_ends(code, words);
    assert!(!all.contains(KEY), "{finished:?}");
    assert!(!all.contains("panicked"), "{finished:?}");
    assert!(!all.contains('\u{1b}'), "no colours where there is no terminal: {finished:?}");
}

#[tokio::test]
async fn tasks_are_submitted_from_a_file_and_followed_to_their_end() {
    let agent = shop_agent().await;
    let toml = "[[tasks]]\nid = \"good\"\n[tasks.source_config]\ndatabase = \"shop\"\ntable = \"orders\"\n\
                [tasks.destination_config]\ntype = \"local\"\npath = \"good\"\n";
    write(&agent, "tasks.toml", toml);
    let finished = ask(&agent, &["submit", "tasks.toml", "--wait"]).await;
    assert_ends(&finished, 0, &["good", "completed", "1,000 rows", "1 file"]);
    let finished = ask(&agent, &["submit", "tasks.toml"]).await;
    assert_ends(&finished, 0, &["good", "completed", "was there already"]);

    let bad = task("bad", "SELECT * FROM nowhere");
    write(&agent, "bad.json", &bad.to_string());
    let finished = ask(&agent, &["submit", "bad.json", "--wait", "--json"]).await;
    assert_ends(&finished, 1, &["no such table: nowhere", "Check the table's name"]);
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["id_task"], "bad");
    assert_eq!(lines.last().unwrap()["status"], "failed");

    let url = agent.url("");
    let script = format!(
        "export DATA_EXCHANGE_AGENT_API_KEY={KEY}; echo '{}' | data-exchange-agent submit - --url {url}",
        task("piped", "SELECT 1 AS one")
    );
    assert_ends(&agent.place.shell(&script, &[]).await, 0, &["piped", "queued"]);
    agent.wait_with_key(KEY, "piped", "completed").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_task_is_told_as_the_agent_says_it() {
    let agent = shop_agent().await;
    let wrong = r#"[{"id": "a b", "source_config": {"database": "shop", "query": "SELECT 1"}, "destination_config":
        {"type": "local", "path": "x", "fromat": "csv"}}, {"source_config": {"database": "shpo", "table": "t"},
        "destination_config": {"type": "local", "path": "x"}}]"#;
    write(&agent, "wrong.json", wrong);
    let finished = ask(&agent, &["submit", "wrong.json"]).await;
    let words =
        ["/0/id: ", "/0/destination_config/fromat: unknown field; did you mean `format`?", "wrong.json"];
    assert_ends(&finished, 2, &words);
    assert!(finished.stderr.contains("/1/source_config/database: "), "{finished:?}");
    for (name, text, word) in [
        ("twice.json", r#"{"id": "a", "id": "b"}"#, "twice"),
        ("broken.json", "{", "line 1"),
        ("broken.toml", "id = \n", "line 1"),
        ("empty.json", "", "nothing in it"),
        ("number.json", "7", "expected a task"),
    ] {
        write(&agent, name, text);
        let finished = ask(&agent, &["submit", name]).await;
        assert_ends(&finished, 2, &[name, word]);
    }
    assert_ends(&ask(&agent, &["submit", "nowhere.json"]).await, 2, &["nowhere.json"]);
    let finished = ask(&agent, &["tasks", "list"]).await;
    assert_ends(&finished, 0, &["no tasks"]);
}

#[tokio::test]
async fn tasks_are_listed_shown_cancelled_and_retried() {
    let agent = shop_agent().await;
    assert_ends(&ask(&agent, &["tasks", "watch"]).await, 0, &["nothing runs or waits"]);
    let tasks =
        json!([task("orders-one", "SELECT * FROM orders"), task("orders-two", "SELECT * FROM nowhere")]);
    write(&agent, "tasks.json", &tasks.to_string());
    let finished = ask(&agent, &["submit", "tasks.json", "--wait"]).await;
    assert_ends(&finished, 1, &["orders-one", "1,000 rows", "orders-two", "no such table"]);

    let finished = ask(&agent, &["tasks", "list"]).await;
    assert_ends(
        &finished,
        0,
        &["ID", "orders-one", "completed", "1,000", "shop: SELECT * FROM nowhere", "local: orders-two"],
    );
    let widths: Vec<usize> = finished.stdout.lines().map(|line| line.find("shop:").unwrap_or(0)).collect();
    assert_eq!(widths[1], widths[2], "columns are aligned: {finished:?}");
    let finished = ask(&agent, &["tasks", "list", "--status", "failed", "--json"]).await;
    let listed: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["id"], "orders-two");

    let finished = ask(&agent, &["tasks", "show", "orders-one", "orders-two"]).await;
    assert_ends(
        &finished,
        0,
        &["task       orders-one", "1,000 in 1 file", "_result_001.parquet", "TRY", "(request)"],
    );
    let finished = ask(&agent, &["tasks", "show", "orders-one", "--json"]).await;
    let shown: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(shown["receipt"]["rows"], 1000);

    let finished = ask(&agent, &["tasks", "retry", "orders-two"]).await;
    assert_ends(&finished, 0, &["orders-two  waits again"]);
    assert_ends(&ask(&agent, &["tasks", "watch", "orders-two"]).await, 1, &["failed", "no such table"]);
    assert_ends(&ask(&agent, &["tasks", "watch", "orders-one"]).await, 0, &["completed"]);
    for arguments in [["tasks", "retry", "orders-one"], ["tasks", "cancel", "orders-one"]] {
        assert_ends(&ask(&agent, &arguments).await, 4, &["orders-one", "is completed"]);
    }

    // Nothing is started while handling is stopped, so that a task surely waits.
    agent.ask_with_key(KEY, "/stop").await;
    write(&agent, "waits.json", &task("waits", "SELECT 1 AS one").to_string());
    assert_ends(&ask(&agent, &["submit", "waits.json"]).await, 0, &["waits  queued"]);
    assert_ends(&ask(&agent, &["tasks", "cancel", "waits"]).await, 0, &["waits  is cancelled"]);
    assert_ends(&ask(&agent, &["tasks", "watch", "waits"]).await, 1, &["cancelled"]);
}

#[tokio::test]
async fn the_log_of_a_task_is_shown_attempt_by_attempt() {
    let agent = shop_agent().await;
    write(&agent, "task.json", &task("orders", "SELECT * FROM nowhere").to_string());
    assert_ends(&ask(&agent, &["submit", "task.json"]).await, 0, &[]);
    // Until the task has ended, whatever it does meanwhile.
    let followed = ask(&agent, &["logs", "orders", "--follow"]).await;
    assert_ends(&followed, 0, &["INFO", "#1", "attempt begins", "task failed", "no such table"]);
    assert_ends(&ask(&agent, &["tasks", "retry", "orders"]).await, 0, &[]);
    assert_ends(&ask(&agent, &["tasks", "watch", "orders"]).await, 1, &[]);
    let both = ask(&agent, &["logs", "orders"]).await;
    assert_ends(&both, 0, &["#1", "#2"]);
    let second = ask(&agent, &["logs", "orders", "--attempt", "2", "--json"]).await;
    let lines: Vec<Value> = second.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["attempt"] == 2), "{lines:?}");
    assert_ends(&ask(&agent, &["logs", "ordres"]).await, 4, &["did you mean `orders`?"]);
}

#[tokio::test]
async fn a_slip_is_answered_with_what_was_meant() {
    let agent = shop_agent().await;
    write(&agent, "task.json", &task("orders-2026-11", "SELECT 1 AS one").to_string());
    assert_ends(&ask(&agent, &["submit", "task.json"]).await, 0, &[]);
    for (arguments, code, word) in [
        (vec!["tasks", "show", "orders-2062-11"], 4, "did you mean `orders-2026-11`?"),
        (vec!["tasks", "cancel", "orders-2026"], 4, "did you mean `orders-2026-11`?"),
        (vec!["tasks", "sho", "x"], 2, "'show'"),
        (vec!["task", "list"], 2, "'tasks'"),
        (vec!["tasks", "list", "--status", "complete"], 2, "'completed'"),
        (vec!["tasks", "list", "--jsno"], 2, "'--json'"),
        (vec!["tasks", "show", "../x"], 2, "a task id has"),
        (vec!["tasks", "show"], 2, "<ID>"),
        (
            vec!["extract", "--source", "shpo", "--table", "orders", "--to", "local"],
            2,
            "did you mean `shop`?",
        ),
        (
            vec!["extract", "--source", "shop", "--table", "orders", "--to", "locol"],
            2,
            "did you mean `local`?",
        ),
        (
            vec!["extract", "--source", "shop", "--table", "orders", "--to", "local", "--method", "nativee"],
            2,
            "did you mean `native`?",
        ),
        (
            vec!["extract", "--source", "shop", "--table", "orders", "--to", "local", "--format", "parqet"],
            2,
            "'parquet'",
        ),
    ] {
        assert_ends(&ask(&agent, &arguments).await, code, &[word]);
    }
}

#[tokio::test]
async fn one_wrong_id_does_not_hide_the_tasks_that_are_there() {
    let agent = shop_agent().await;
    write(&agent, "task.json", &task("good", "SELECT 1 AS one").to_string());
    assert_ends(&ask(&agent, &["submit", "task.json"]).await, 0, &[]);
    assert_ends(
        &ask(&agent, &["tasks", "watch", "missing", "good"]).await,
        1,
        &["task missing", "completed"],
    );
    for arguments in [["tasks", "show", "missing", "good"], ["tasks", "show", "good", "missing"]] {
        assert_ends(&ask(&agent, &arguments).await, 4, &["task       good", "task missing"]);
    }
    let shown = ask(&agent, &["tasks", "show", "good", "missing", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["id"], "good", "several were asked for: an array");
    assert_ends(&ask(&agent, &["tasks", "list", "-n", "0"]).await, 2, &["'0'"]);
}

#[tokio::test]
async fn a_cancelled_task_is_printed_as_the_agent_sends_it() {
    let agent = shop_agent().await;
    agent.ask_with_key(KEY, "/stop").await;
    write(&agent, "task.json", &task("waits", "SELECT 1 AS one").to_string());
    assert_ends(&ask(&agent, &["submit", "task.json"]).await, 0, &[]);
    let cancelled = ask(&agent, &["tasks", "cancel", "waits", "--json"]).await;
    let shown = ask(&agent, &["tasks", "show", "waits", "--json"]).await;
    let [cancelled, shown] =
        [cancelled, shown].map(|printed| serde_json::from_str::<Value>(&printed.stdout).unwrap());
    assert_eq!(cancelled, shown);
}

#[tokio::test]
async fn exit_codes_tell_an_agent_that_is_away_from_one_that_refuses() {
    let agent = shop_agent().await;
    let url = agent.url("");
    let run = async |environment: &[(&str, &str)], arguments: &[&str]| {
        agent.place.run_with(arguments, environment).await
    };
    let finished = run(&[], &["tasks", "list", "--url", "http://127.0.0.1:1"]).await;
    assert_ends(&finished, 3, &["http://127.0.0.1:1", "refused", "--url"]);
    let finished = run(&[], &["tasks", "list", "--url", &url]).await;
    assert_ends(&finished, 4, &["no valid API key"]);
    let finished =
        run(&[("DATA_EXCHANGE_AGENT_API_KEY", "another")], &["tasks", "list", "--url", &url]).await;
    assert_ends(&finished, 4, &["does not know this API key"]);
    let finished = run(&[], &["tasks", "list", "--url", "nonsense"]).await;
    assert_ends(&finished, 2, &["http://127.0.0.1:5001"]);
    let finished = run(&[], &["tasks", "list", "--url", &url, "--api-key-file", "nowhere"]).await;
    assert_ends(&finished, 2, &["nowhere"]);
    // Something answers that is no agent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0_u8; 1024];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        // Kept until the client has read it.
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
    };
    let url_of_other = format!("http://{address}");
    let arguments = ["tasks", "list", "--url", &url_of_other];
    let (finished, ()) = tokio::join!(run(&[], &arguments), other);
    assert_ends(&finished, 3, &["no data exchange agent"]);
}

#[tokio::test]
async fn the_key_comes_from_a_file_or_the_configuration_and_never_from_an_argument() {
    let agent = shop_agent().await;
    let url = agent.url("");
    let port = url.rsplit(':').next().unwrap();
    let key_file = write(&agent, "key", &format!("{KEY}\n"));
    let arguments = ["tasks", "list", "--url", &url, "--api-key-file", key_file.to_str().unwrap()];
    assert_ends(&agent.place.run(&arguments).await, 0, &["no tasks"]);
    // The configuration of the agent, with the port that it has got.
    let configuration = fs::read_to_string(agent.place.configuration()).unwrap();
    let configuration = configuration.replace("[server]\n", &format!("[server]\nport = {port}\n"));
    let file = write(&agent, "client.toml", &configuration);
    assert_ends(
        &agent.place.run(&["tasks", "list", "--config", file.to_str().unwrap()]).await,
        0,
        &["no tasks"],
    );
    fs::remove_file(agent.place.path().join("configuration.toml")).unwrap();
    let help = agent.place.run(&["tasks", "list", "--help"]).await;
    assert!(!help.stdout.contains("--api-key "), "{help:?}");
}

#[tokio::test]
async fn the_configuration_is_printed_with_origins_and_without_secrets() {
    let place = shop().await.section("server.api_keys.people", &format!("key = {KEY:?}")).connection(
        "source.sales",
        "kind = \"postgresql\"\nhost = \"${env:SALES_HOST}\"\ndatabase = \"sales\"\nusername = \"reader\"\n\
         password = \"${env:SALES_PASSWORD}\"\n",
    );
    let file = place.configuration();
    let environment = [
        ("SALES_HOST", "db.example.com"),
        ("SALES_PASSWORD", "planted-password"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__WORKERS", "7"),
    ];
    let arguments = ["config", "print", "--redacted", "--config", file.to_str().unwrap()];
    let finished = place.run_with(&arguments, &environment).await;
    assert_ends(&finished, 0, &[]);
    assert!(!finished.stdout.contains("planted-password"), "{finished:?}");
    let line = |key: &str| finished.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(line("host = \"db.example.com\"").ends_with(", ${env:SALES_HOST}"), "{finished:?}");
    assert!(line("password = \"***\"").contains("configuration.toml:"), "{finished:?}");
    let variable = "environment variable DATA_EXCHANGE_AGENT__APPLICATION__WORKERS";
    assert!(line("workers = 7 ").ends_with(variable), "{finished:?}");
    assert!(line("compression = \"zstd\"").ends_with("# default"), "{finished:?}");
    let read: toml::Table = finished.stdout.parse().expect("it is TOML");
    assert_eq!(read["server"]["api_keys"]["people"]["key"].as_str(), Some("***"));
    assert_eq!(read["connections"]["source"]["sales"]["port"].as_integer(), Some(5432));

    let arguments = ["config", "print", "--json", "--without-defaults", "--config", file.to_str().unwrap()];
    let finished = place.run_with(&arguments, &environment).await;
    let values: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
    assert!(
        values.iter().any(|value| value["key"] == "application.workers" && value["value"] == 7),
        "{values:?}"
    );
    assert!(values.iter().all(|value| value["origin"] != "default"), "{values:?}");
    let finished = place.run(&arguments).await;
    assert_ends(&finished, 2, &["SALES_PASSWORD"]);
}

#[tokio::test]
async fn every_shell_gets_a_completion_script_and_the_manual_has_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let finished = place.run(&["completion", shell]).await;
        assert_ends(&finished, 0, &["submit", "watch", "api-key-file"]);
    }
    // As bash does when somebody presses the tabulator.
    let script = r#"
        source <(data-exchange-agent completion bash)
        [[ $(complete -p data-exchange-agent) =~ -F\ ([^ ]+) ]] && function=${BASH_REMATCH[1]}
        COMP_WORDS=(data-exchange-agent tasks wa) COMP_CWORD=2
        $function data-exchange-agent wa tasks
        echo "${COMPREPLY[@]}"
    "#;
    let finished = place.shell(script, &[]).await;
    assert_eq!((finished.code, finished.stdout.trim()), (Some(0), "watch"), "{finished:?}");
    assert_ends(&place.run(&["completion", "fsih"]).await, 2, &["'fish'"]);

    assert_ends(&place.run(&["man"]).await, 0, &[".TH data-exchange-agent 1"]);
    let folder = place.path().join("man");
    fs::create_dir(&folder).unwrap();
    assert_ends(&place.run(&["man", "--directory", folder.to_str().unwrap()]).await, 0, &[]);
    for page in ["", "-submit", "-tasks", "-tasks-watch", "-logs", "-config-print", "-run", "-check"] {
        let page = folder.join(format!("data-exchange-agent{page}.1"));
        assert!(fs::read_to_string(&page).unwrap().contains(".SH"), "{page:?}");
    }
    assert_ends(&place.run(&["man", "--directory", "nowhere"]).await, 1, &["nowhere"]);
}

#[tokio::test]
async fn a_reader_who_has_gone_away_ends_a_command_quietly() {
    let place = Place::new();
    // The first reader is gone before a byte is written: `sleep` is not waited for, the pipe is closed.
    let script = "exec 3> >(exit 0); wait $!; data-exchange-agent completion zsh >&3; echo code $?";
    let finished = place.shell(script, &[]).await;
    assert_eq!(finished.stdout.trim(), "code 141", "{finished:?}");
    assert_eq!(finished.stderr, "", "{finished:?}");
}

#[tokio::test]
async fn tables_are_as_wide_as_the_terminal_and_colours_can_be_refused() {
    let agent = shop_agent().await;
    let long = format!("SELECT * FROM orders WHERE customer <> '{}'", "x".repeat(200));
    write(&agent, "task.json", &task("orders", &long).to_string());
    assert_ends(&ask(&agent, &["submit", "task.json", "--wait"]).await, 0, &[]);
    let url = agent.url("");
    // `script` makes a terminal.
    let on_terminal = async |columns: u32, variables: &[(&str, &str)]| {
        let command = format!("stty rows 24 cols {columns}; data-exchange-agent tasks list --url {url}");
        let mut environment =
            vec![("DATA_EXCHANGE_AGENT_API_KEY", KEY), ("TERM", "xterm"), ("SHELL", "/bin/sh")];
        environment.extend_from_slice(variables);
        let finished = agent.place.shell(&format!("script -qec '{command}' /dev/null"), &environment).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("orders"), "{finished:?}");
        finished.stdout
    };
    for columns in [100, 60, 40] {
        let shown = on_terminal(columns, &[("NO_COLOR", "1")]).await;
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        for line in shown.lines() {
            assert!(line.trim_end().chars().count() <= columns as usize, "{columns}: {line:?}");
        }
        assert_eq!(shown.contains('…'), columns > 40, "{columns}: {shown}");
    }
    assert!(on_terminal(100, &[]).await.contains("\u{1b}["), "there are colours on a terminal");

    // A second agent cannot have the address, logs that and ends.
    let address = agent.url("");
    let port = address.rsplit(':').next().expect("the address has a port").trim_end_matches('/');
    write(&agent, "second.toml", "[application]\ndata_directory = \"second\"\n");
    let log_on_terminal = async |variables: &[(&str, &str)]| {
        let command = format!(
            "data-exchange-agent --config second.toml --host 127.0.0.1 --port {port} --log-format text"
        );
        let mut environment = vec![("TERM", "xterm"), ("SHELL", "/bin/sh")];
        environment.extend_from_slice(variables);
        let finished = agent.place.shell(&format!("script -qec '{command}' /dev/null"), &environment).await;
        assert!(finished.stdout.contains("the agent cannot start"), "{finished:?}");
        finished.stdout
    };
    for refusal in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let logged = log_on_terminal(&[refusal]).await;
        assert!(!logged.contains('\u{1b}'), "{refusal:?}: {logged:?}");
    }
    assert!(log_on_terminal(&[]).await.contains("\u{1b}["), "there are colours on a terminal");
}
