//! Planted secrets where the run of `agent_start` does not look: stores that refuse a login and repeat what they
//! were asked, the private key of Snowflake, what Snowflake is told of runs, and the programs of bulk utilities.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::snowflake_queue::{numbers, private_key};
use crate::support::agent::{Place, eventually, files_below};
use crate::support::bulk::{installed, script};
use crate::support::folder::Folder;
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, SCRAM_USER};
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::queue::{Queue, State, Version};
use crate::support::snowflake::queue_server::mount;
use crate::support::tds::{Column, PASSWORD, Script, TdsServer, USERNAME};

/// What every planted secret begins with, as it is and in base64.
const PLANTED: [&str; 2] = ["planted", "cGxhbnRlZ"];

/// Proves that a text has none of the secrets in it.
#[track_caller]
fn assert_has_none(text: &str, secrets: &[String], place: &str) {
    for secret in secrets {
        assert!(!text.contains(secret), "{place} has {secret:?}: {text}");
    }
}

/// A store that refuses everybody and repeats what it was asked, as some proxies do. Ends with its test.
#[expect(clippy::disallowed_methods, reason = "a server of a test, no stop waits for it")]
async fn refusing_store() -> SocketAddr {
    async fn refuse(uri: Uri, headers: HeaderMap) -> (StatusCode, [(&'static str, &'static str); 1], String) {
        let login = headers.get("authorization").and_then(|login| login.to_str().ok()).unwrap_or_default();
        let asked = uri.to_string().replace('&', "&amp;");
        let message = format!("nobody may ask for {asked} with {login}");
        let body = format!("<Error><Code>AuthenticationFailed</Code><Message>{message}</Message></Error>");
        (StatusCode::FORBIDDEN, [("content-type", "application/xml")], body)
    }
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await });
    address
}

/// Target sections whose logins are refused at `store`, by name.
fn refused_targets(store: SocketAddr) -> [(&'static str, String); 3] {
    let key = STANDARD.encode("planted-account-key-0123456789abcdef");
    [
        (
            "string",
            format!(
                "kind = \"blob\"\ncontainer_name = \"lake\"\nconnection_string = \"DefaultEndpointsProtocol=http;\
                 AccountName=account;AccountKey={key};BlobEndpoint=http://{store}/account;\"\n"
            ),
        ),
        (
            "signature",
            format!(
                "kind = \"blob\"\ncontainer_name = \"lake\"\naccount_name = \"account\"\n\
                 endpoint_url = \"http://{store}/account\"\nsas_token = \"sv=2024-11-04&sp=rwdl&sig=planted%2Dsignature\"\n"
            ),
        ),
        (
            "bucket",
            format!(
                "kind = \"s3\"\nbucket_name = \"lake\"\nregion_name = \"us-east-1\"\npath_style = true\n\
                 endpoint_url = \"http://{store}\"\naccess_key_id = \"writer\"\n\
                 secret_access_key = \"planted-store-key\"\nsession_token = \"planted-session\"\n"
            ),
        ),
    ]
}

fn task(target: &str) -> Value {
    let destination = match target {
        "stage" => json!({"type": "snowflake_stage", "connection": target, "stage": "@FILES/"}),
        "bucket" => json!({"type": "s3", "connection": target, "path": target}),
        _ => json!({"type": "blob", "connection": target, "path": target}),
    };
    json!({
        "source_config": {"database": "numbers", "query": "SELECT * FROM numbers"},
        "destination_config": destination,
        "max_attempts": 1,
    })
}

#[tokio::test]
async fn no_secret_of_a_store_and_no_private_key_is_told_to_anybody() {
    let store = refusing_store().await;
    let double = SnowflakeDouble::start().await;
    // The agent itself logs in; a stage of somebody else does not.
    double.admit(|data| data["LOGIN_NAME"] == "agent");
    let queue = Arc::new(Queue::new(Version::Ours));
    mount(&queue, &double);
    let elsewhere = Folder::new();
    let key = private_key();
    let file = elsewhere.path().join("key");
    fs::write(&file, &key).unwrap();
    let lines = key.lines().filter(|line| line.len() > 20 && !line.starts_with('-'));
    let secrets: Vec<String> = lines.chain(PLANTED).map(str::to_owned).collect();
    assert!(secrets.len() > 10, "a key has many lines");
    let snowflake = |user: &str| {
        format!(
            "kind = \"snowflake\"\naccount = \"test\"\nhost = \"127.0.0.1\"\nport = {}\nprotocol = \"http\"\n\
             user = {user:?}\nprivate_key = \"${{file:{}}}\"\n",
            double.address().port(),
            file.display()
        )
    };
    let mut place = numbers(Place::new())
        .await
        .top("selected_task_source = \"snowflake_stored_procedure\"")
        .application("task_fetch_interval = 1")
        .section(
            "task_source.snowflake_stored_procedure",
            "connection_name = \"queue\"\nagent_id = \"agent-1\"\n",
        )
        .connection("target.queue", &snowflake("agent"))
        .connection("target.stage", &snowflake("stranger"))
        .argument("--debug");
    for (name, lines) in refused_targets(store) {
        place = place.connection(&format!("target.{name}"), &lines);
    }
    let mut agent = place.start().await;
    for target in ["string", "signature", "bucket", "stage"] {
        queue.enqueue(&format!("queued-{target}"), &task(target));
        let mut local = task(target);
        local["id"] = json!(format!("local-{target}"));
        agent.submit(local).await;
        let ended = agent.wait_until(&format!("local-{target}"), "failed").await;
        let kind = &ended["attempts"][0]["error"]["kind"];
        assert!(["credentials", "permission"].iter().any(|expected| kind == expected), "{ended:#}");
        agent.get(&format!("/tasks/local-{target}/logs")).await;
        agent.ask(&format!("/tasks/local-{target}/events")).await;
    }
    eventually("the tasks of the queue to fail", async || (queue.count(State::Failed) == 4).then_some(()))
        .await;
    let health = agent.get("/health").await;
    for target in ["string", "signature", "bucket", "stage"] {
        assert_ne!(health["destination_connections"][target], "connected", "{health}");
    }
    for path in ["/runs?limit=500", "/tasks", "/connections", "/metrics", "/ready"] {
        agent.ask(path).await;
    }
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());

    // What was told to Snowflake when a run ended: runs, lines, and why a task failed.
    let history = format!("{:?}", queue.arguments("RECORD_HISTORY"));
    for task in ["local-signature", "queued-signature", "local-stage"] {
        assert!(history.contains(task), "{task} is missing in {history}");
    }
    assert_has_none(&history, &secrets, "the history in Snowflake");
    for (id, row) in queue.rows() {
        assert!(row.last_error.is_some(), "{id}: {row:?}");
        assert_has_none(&format!("{row:?}"), &secrets, "a task in Snowflake");
    }
    for path in ["/session/v1/login-request", "/queries/v1/query-request"] {
        let seen = double.seen(path);
        assert!(!seen.is_empty(), "{path}");
        for request in seen {
            assert_has_none(&request.body.to_string(), &secrets, path);
        }
    }
    assert_has_none(&agent.answers_seen(), &secrets, "an answer");
    let log = agent.log();
    assert!(log.contains(" DEBUG ") && log.contains("nobody may ask for"), "{log}");
    assert_has_none(&log, &secrets, "the log");
    for file in files_below(agent.place.path()) {
        if file != "configuration.toml" {
            let content = fs::read(agent.place.path().join(&file)).unwrap();
            assert_has_none(&String::from_utf8_lossy(&content), &secrets, &file);
        }
    }
}

/// The processes that a process has started, those that they have, and so on.
fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        // Processes end all the time. The name in parentheses can have anything in it.
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let parent = fields.split(' ').nth(1).and_then(|parent| parent.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(id);
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor];
    while let Some(process) = next.pop() {
        let mut own = children.remove(&process).unwrap_or_default();
        found.extend(&own);
        next.append(&mut own);
    }
    found
}

/// A file of a process below `/proc`, as a text.
fn of_process(id: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_utility_that_runs_shows_no_secret_in_its_arguments_and_none_of_others_in_its_variables() {
    let Some(server) = postgres::server_if_installed().await else { return };
    if installed("psql").is_none() {
        return;
    }
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let described = TdsServer::start(Script::of(vec![Column::int("id")], Vec::new())).await;
    let place = Place::new();
    // In place of freebcp, and of somebody's own program: they run until the test has looked.
    let waits = "cd \"$(dirname \"$0\")\"\necho $$ > \"$(basename \"$0\").new\"\n\
        mv \"$(basename \"$0\").new\" \"$(basename \"$0\").runs\"\nuntil [ -e go ]; do sleep 0.05; done\nexit 1";
    let freebcp = script(place.path(), "freebcp", waits).display().to_string();
    let own = script(place.path(), "export", waits).display().to_string();
    let login = |password: &str| {
        format!(
            "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = {:?}\npassword = {password:?}\n\
             database = {:?}\n",
            server.port(),
            SCRAM_USER.0,
            database.name()
        )
    };
    let lines = format!(
        "kind = \"sqlserver\"\nhost = \"127.0.0.1\"\nport = {}\nusername = {USERNAME:?}\npassword = {PASSWORD:?}\n\
         database = \"tests\"\nencrypt = false\n",
        described.address.port()
    );
    let agent = place
        .section("bulk_utility.bcp", &format!("executable = {freebcp:?}\n"))
        .section("bulk_utility.exporter", &format!("kind = \"command\"\nexecutable = {own:?}\n"))
        .connection("source.sales", &login(SCRAM_USER.1))
        .connection("source.other", &login("${env:OTHER_PASSWORD}"))
        .connection("source.tds", &lines)
        .environment("OTHER_PASSWORD", "planted-other-password")
        .environment("AWS_SECRET_ACCESS_KEY", "planted-cloud-key")
        .section("server.api_keys.operator", "key = \"planted-operator-key\"\n")
        .key("planted-operator-key")
        .start()
        .await;
    let submit = async |method: &str, source: &str, query: &str| {
        let task = json!({"id": method, "max_attempts": 1,
            "source_config": {"database": source, "query": query, "method": method},
            "destination_config": {"type": "local", "path": method}});
        agent.submit(task).await;
    };
    submit("psql", "sales", &gated_query(1, 3, 32)).await;
    submit("bcp", "tds", "SELECT id FROM t").await;
    submit("exporter", "sales", "SELECT 1 AS a").await;
    gate.wait_for(1).await;
    for name in ["freebcp.runs", "export.runs"] {
        let file = agent.place.path().join(name);
        eventually(name, async || file.exists().then_some(())).await;
    }
    let secrets = [SCRAM_USER.1, PASSWORD].map(str::to_owned);
    let of_others = PLANTED.map(str::to_owned);
    let running = descendants(agent.pid());
    let named = |part: &str| {
        let is_named = |id: &u32| of_process(*id, "cmdline").contains(part);
        running.iter().copied().find(is_named).unwrap_or_else(|| panic!("no {part}: {running:?}"))
    };
    // It has the password of its own connection where only the same user can look.
    assert!(of_process(named("psql\n"), "environ").contains(SCRAM_USER.1));
    assert!(!of_process(named("/freebcp\n"), "environ").contains(PASSWORD));
    assert!(!of_process(named("/export"), "environ").is_empty());
    for id in running.iter().copied().chain([agent.pid()]) {
        let arguments = of_process(id, "cmdline");
        assert_has_none(&arguments, &secrets, "a command line");
        assert_has_none(&arguments, &of_others, "a command line");
    }
    for id in &running {
        assert_has_none(&of_process(*id, "environ"), &of_others, "the variables of a program");
    }
    gate.open().await;
    fs::write(agent.place.path().join("go"), "").unwrap();
    agent.wait_until("psql", "completed").await;
    for id in ["bcp", "exporter"] {
        agent.wait_until(id, "failed").await;
    }
    for text in [agent.log(), agent.answers_seen()] {
        assert_has_none(&text, &secrets, "the log or an answer");
        assert_has_none(&text, &of_others, "the log or an answer");
    }
}
