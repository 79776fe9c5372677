//! Starts that fail say why, and nothing that the agent says has a secret in it.

use std::fs;
use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::agent::s3_section;
use crate::support::agent::{Place, eventually, files_below};
use crate::support::folder::Folder;
use crate::support::otlp::Collector;
use crate::support::postgres::{self, Postgres, SCRAM_USER};
use crate::support::s3::{Bucket, server_address};
use crate::support::secret_services::{SecretServices, VAULT_TOKEN};
use crate::support::server::free_address;

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once() {
    let place = Place::new()
        .application("workers = 0")
        .application("stop_grace = \"soon\"")
        .application("colour = \"blue\"")
        .connection(
            "source.sales",
            "kind = \"postgresql\"\nport = 70000\nusername = \"u\"\ndatabase = \"d\"\n",
        )
        .connection("target.lake", "kind = \"s3\"\n");
    let file = place.configuration();
    let finished = place.run(&["run", "--config", file.to_str().unwrap()]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for key in [
        "application.workers",
        "application.stop_grace",
        "application.colour",
        "connections.source.sales.port",
        "connections.target.lake.bucket_name",
    ] {
        assert!(finished.stderr.contains(key), "{key} is missing in {}", finished.stderr);
    }
    assert_eq!(finished.stdout, "");

    let finished = place.run(&["run", "--config", "not-there.toml"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("not-there.toml"), "{finished:?}");
    let finished = place.run(&["run", "--wrokers", "3"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("--workers"), "{finished:?}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    let file = place.configuration();
    let port = address.port().to_string();
    let finished = place.run(&["run", "--config", file.to_str().unwrap(), "--port", &port]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(&address.to_string()), "{finished:?}");
    assert!(finished.stderr.contains("--port"), "{finished:?}");
    // The reason is in the log file too; the queue was not touched.
    assert!(
        !place.path().join("data/queue.sqlite").exists()
            && !place.path().join("data/history.sqlite").exists()
    );
}

#[tokio::test]
async fn a_second_agent_on_the_same_queue_is_told_who_holds_it() {
    let mut agent = Place::new().start().await;
    let file = agent.place.configuration();
    let arguments = ["run", "--port", "0", "--config", file.to_str().unwrap()];
    let finished = agent.place.run(&arguments).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(&format!("process {}", agent.pid())), "{finished:?}");
    assert!(finished.stderr.contains("data_directory"), "{finished:?}");
    assert_eq!(agent.ask("/live").await.status, 200, "the first one goes on");
    agent.kill().await;
    // The lock of a killed agent is nobody's.
    agent.start_again().await;
    assert_eq!(agent.ask("/live").await.status, 200);
}

/// Texts that may be nowhere; the second one as it looks in a URL, `cGxhbnRlZ` as base64 begins with.
const SECRETS: [&str; 22] = [
    SCRAM_USER.1,
    "w%C3%B6rd%401",
    "planted-wrong-password",
    "planted-store-secret",
    "planted-refused-secret",
    "planted-session-token",
    "planted-operator-key",
    "planted-watcher-key",
    "planted-guessed-key",
    "planted-remote-key",
    "planted-snowflake-password",
    "planted-snowflake-token",
    "planted-away-password",
    "planted-mysql-password",
    "planted-tds-password",
    "cGxhbnRlZ",
    "planted-file-secret",
    "planted-variable-secret",
    "planted-command-secret",
    "planted-vault-secret",
    "planted-collector-token",
    VAULT_TOKEN,
];

fn assert_has_no_secret(text: &str, place: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{place} has {secret:?}");
    }
}

#[tokio::test]
async fn no_secret_and_no_value_of_a_cell_leaves_the_agent_but_in_files() {
    for format in ["text", "json"] {
        let Some(server) = postgres::server_if_installed().await else { return };
        a_run_with_planted_secrets(server, format).await;
    }
}

async fn a_run_with_planted_secrets(server: &Postgres, format: &str) {
    const CELL: &str = "cell-4711";
    const LITERAL: &str = "literal-4712";
    let database = server.create_database().await;
    database.execute(&format!("CREATE TABLE cells AS SELECT '{CELL}'::text AS cell")).await;
    let bucket = Bucket::new().await;
    let collector = Collector::start().await;
    let services = SecretServices::start().await;
    services.set("secret/db", json!({"password": "planted-vault-secret"}));
    let elsewhere = Folder::new();
    for name in ["file", "command"] {
        fs::write(elsewhere.path().join(name), format!("planted-{name}-secret")).unwrap();
    }
    let stored = |name: &str| elsewhere.path().join(name).display().to_string();
    let (user, password) = SCRAM_USER;
    let login = |kind: &str, port: u16, password: &str| {
        format!(
            "kind = {kind:?}\nhost = \"127.0.0.1\"\nport = {port}\nusername = {user:?}\npassword = {password:?}\n\
             database = {:?}\n",
            database.name()
        )
    };
    let source = |password: &str| login("postgresql", server.port(), password);
    let refused = format!(
        "{}session_token = \"planted-session-token\"\n",
        s3_section(&bucket, server_address(), "planted-refused-secret")
            .replace(&bucket.name, "no-such-bucket")
    );
    // Nobody listens there.
    let closed = free_address().port();
    let snowflake = |login: &str| {
        format!(
            "kind = \"snowflake\"\naccount = \"test\"\nuser = \"u\"\nhost = \"127.0.0.1\"\nport = {closed}\n\
             protocol = \"http\"\n{login}\n"
        )
    };
    let blob = format!(
        "container_name = \"lake\"\naccount_name = \"account\"\naccount_key = {:?}\n\
         endpoint_url = \"http://127.0.0.1:{closed}/account\"\n",
        STANDARD.encode("planted-account-key-0123456789abcdef")
    );
    let mut agent = Place::new()
        .section("server.api_keys.operator", "key = \"planted-operator-key\"\n")
        .section("server.api_keys.watcher", "key = \"planted-watcher-key\"\nscopes = \"read\"\n")
        .section(
            "task_source.api",
            &format!("base_url = \"http://127.0.0.1:{closed}\"\nkey = \"planted-remote-key\"\n"),
        )
        .section(
            "otlp",
            &format!(
                "endpoint = {:?}\nheaders = \"authorization=Bearer planted-collector-token\"\nmetrics_interval = \"1s\"\n",
                collector.url()
            ),
        )
        .section("secrets", "allow_command_secrets = true\n")
        .section(
            "secrets.vault",
            &format!("address = \"http://{}\"\ntoken = {VAULT_TOKEN:?}\n", services.address),
        )
        .environment("PLANTED", "planted-variable-secret")
        .connection("source.sales", &source(password))
        .connection("source.locked", &source("planted-wrong-password"))
        .connection("source.file", &source(&format!("${{file:{}}}", stored("file"))))
        .connection("source.variable", &source("${env:PLANTED}"))
        .connection("source.command", &source(&format!("${{cmd:cat {}}}", stored("command"))))
        .connection("source.vault", &source("${vault:db#password}"))
        .connection("source.away", &login("postgresql", closed, "planted-away-password"))
        .connection("source.mysql", &login("mysql", closed, "planted-mysql-password"))
        .connection("source.tds", &login("sqlserver", closed, "planted-tds-password"))
        .connection("target.s3", &s3_section(&bucket, server_address(), "planted-store-secret"))
        .connection("target.missing", &refused)
        .connection("target.blob", &blob)
        .connection("target.snowflake", &snowflake("password = \"planted-snowflake-password\""))
        .connection(
            "target.snowflake_token",
            &snowflake("authenticator = \"oauth\"\ntoken = \"planted-snowflake-token\""),
        )
        .argument("--debug")
        .argument("--log-format")
        .argument(format)
        .key("planted-operator-key")
        .start()
        .await;

    let task = |id: &str, source: &str, query: &str, target: &str| {
        let destination = match target {
            "snowflake" | "snowflake_token" => {
                json!({"type": "snowflake_stage", "connection": target, "stage": "@~/x"})
            }
            "local" | "blob" => json!({"type": target, "path": id}),
            _ => json!({"type": "s3", "connection": target, "path": id}),
        };
        json!({
            "id": id,
            "source_config": {"database": source, "query": query},
            "destination_config": destination,
            "max_attempts": 1,
        })
    };
    let cast = format!("SELECT cell::integer FROM cells WHERE cell <> '{LITERAL}'");
    let literal =
        format!("SELECT CASE WHEN cell IS NOT NULL THEN ('{LITERAL}' || '')::integer END AS n FROM cells");
    let tasks = [
        ("good-local", "sales", "SELECT cell FROM cells", "local", "completed"),
        ("good-s3", "sales", "SELECT cell FROM cells", "s3", "completed"),
        ("cast", "sales", &cast, "local", "failed"),
        ("literal", "sales", &literal, "local", "failed"),
        ("column", "sales", "SELECT not_there FROM cells", "local", "failed"),
        ("locked", "locked", "SELECT 1", "local", "failed"),
        ("file", "file", "SELECT 1", "local", "failed"),
        ("variable", "variable", "SELECT 1", "local", "failed"),
        ("command", "command", "SELECT 1", "local", "failed"),
        ("vault", "vault", "SELECT 1", "local", "failed"),
        ("away", "away", "SELECT 1", "local", "failed"),
        ("mysql", "mysql", "SELECT 1", "local", "failed"),
        ("tds", "tds", "SELECT 1", "local", "failed"),
        ("missing", "sales", "SELECT 1 AS one", "missing", "failed"),
    ];
    for (id, source, query, target, state) in tasks {
        agent.submit(task(id, source, query, target)).await;
        let ended = agent.wait_until(id, state).await;
        // The task itself is shown to those who ask for it; what went wrong has nothing of it.
        let attempts = ended["attempts"].to_string();
        assert!(!attempts.contains(CELL) && !attempts.contains(LITERAL), "{attempts}");
    }
    // Their clients go on for a while; what they say meanwhile is what counts.
    for target in ["blob", "snowflake", "snowflake_token"] {
        agent.submit(task(&format!("slow-{target}"), "sales", "SELECT 1 AS one", target)).await;
    }
    agent.post("/tasks", Some(&task("x", "sales", "SELECT 'literal-4712", "local"))).await.problem(422);
    for (id, source, query, _, _) in tasks {
        let source = json!({"source_config": {"database": source, "query": query}});
        let preview = agent.post("/preview", Some(&source)).await;
        assert!(preview.status == 200 || !preview.text.contains(CELL), "{id}: {preview:?}");
        for path in ["/events", "/logs"] {
            let told = agent.ask(&format!("/tasks/{id}{path}")).await;
            assert_eq!(told.status, 200, "{id}: {told:?}");
            let (cells, literal) = (told.text.contains(CELL), path == "/logs" && told.text.contains(LITERAL));
            assert!(!cells && !literal, "{id}: {told:?}");
        }
        let runs = agent.get(&format!("/runs?task={id}")).await.to_string();
        assert!(!runs.contains(CELL) && !runs.contains(LITERAL), "{runs}");
    }
    for path in [
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
        "/tasks",
        "/runs?limit=500",
        "/connections",
        "/throughput",
        "/log_level",
        "/get_tasks_count",
        "/nowhere",
    ] {
        agent.ask(path).await;
    }
    for (key, path, status) in [
        ("planted-guessed-key", "/tasks", 401),
        ("planted-guessed-key", "/health", 401),
        ("planted-watcher-key", "/tasks", 200),
        ("planted-watcher-key", "/stop", 403),
    ] {
        let answer = agent.http().get(agent.url(path)).bearer_auth(key).header("x-api-key", key).send().await;
        assert_eq!(agent.take(answer.unwrap()).await.unwrap().status, status, "{key} {path}");
    }
    let health: Value = agent.get("/health").await;
    for source in ["locked", "file", "variable", "command", "vault", "away", "mysql", "tds"] {
        assert_ne!(health["database_connections"][source], "connected", "{source}");
    }
    for target in ["missing", "blob", "snowflake", "snowflake_token"] {
        assert_ne!(health["destination_connections"][target], "connected", "{target}");
    }

    assert_has_no_secret(&agent.command_line(), "the command line");
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Processes end all the time.
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert_has_no_secret(&String::from_utf8_lossy(&arguments), "a command line");
    }
    eventually("traces and metrics at the collector", async || {
        let sent = collector.bodies();
        (sent.contains("good-local") && sent.contains("data_exchange_agent_attempts")).then_some(())
    })
    .await;
    agent.signal("TERM");
    agent.signal("TERM");
    agent.exit().await;
    assert_has_no_secret(&agent.answers_seen(), "an answer");
    // The token is in the header, which is for the collector, and nowhere else.
    assert!(collector.authorizations().iter().all(|header| header == "Bearer planted-collector-token"));
    let sent = collector.bodies();
    assert_has_no_secret(&sent, "what the collector got");
    assert!(!sent.contains(CELL) && !sent.contains(LITERAL), "{sent}");
    let log = agent.log();
    assert_has_no_secret(&log, "the log");
    let detail = if format == "json" { "\"DEBUG\"" } else { " DEBUG " };
    assert!(log.contains(detail), "the log has its details: {log}");
    assert!(!log.contains(CELL) && !log.contains(LITERAL), "{log}");
    for file in files_below(agent.place.path()) {
        if file != "configuration.toml" {
            let content = fs::read(agent.place.path().join(&file)).unwrap();
            assert_has_no_secret(&String::from_utf8_lossy(&content), &file);
        }
    }
    commands_with_planted_secrets(&agent.place, closed).await;
}

/// What the other commands say about the same configuration, and about a broken one.
async fn commands_with_planted_secrets(place: &Place, closed: u16) {
    let file = place.configuration();
    let file = file.to_str().unwrap();
    let planted = [("PLANTED", "planted-variable-secret")];
    let url = format!("postgresql://u:planted-away-password@127.0.0.1:{closed}/d");
    for (arguments, environment) in [
        (vec!["check", "--debug", "--config", file], &planted[..]),
        (vec!["check", "--json", "--config", file], &planted),
        (vec!["check", "--config", file], &[]),
        (vec!["run", "--debug", "--config", file], &[]),
        (vec!["extract", "--debug", "--source", &url, "--query", "SELECT 1", "--to", "file:///tmp"], &[]),
        (
            vec!["extract", "--config", file, "--source", "locked", "--query", "SELECT 1", "--to", "local"],
            &planted,
        ),
    ] {
        let finished = place.run_with(&arguments, environment).await;
        assert_ne!(finished.code, Some(0), "{arguments:?}");
        assert_has_no_secret(&finished.stdout, &format!("{arguments:?}"));
        assert_has_no_secret(&finished.stderr, &format!("{arguments:?}"));
    }
}
