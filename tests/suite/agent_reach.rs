//! How the commands for people get to an agent: by its configuration, over TLS, with a certificate of
//! their own; and what they say when they do not.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::agent_commands::shop;
use crate::support::agent::{Agent, Finished, Place};
use crate::support::certificates::{Authority, Certificate};

const KEY: &str = "a-key-that-nobody-may-see-anywhere";

/// The section `server.tls` for this pair.
fn tls(pair: &Certificate, more: &str) -> String {
    let file = |path: &Path| path.display().to_string();
    format!(
        "certificate = {:?}\nprivate_key = {:?}\n{more}",
        file(&pair.certificate),
        file(&pair.private_key)
    )
}

fn port(agent: &Agent) -> String {
    agent.url("").rsplit(':').next().unwrap().to_owned()
}

/// Lets the configuration in the agent's folder name the port that the agent took, as it would in
/// operation. Commands that are run there find it.
fn name_port(agent: &Agent) {
    let file = agent.place.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\n[server]\n", &format!("\n[server]\nport = {}\n", port(agent)))).unwrap();
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, words: &[&str]) {
    let all = finished.assert_ends(code, words);
    for secret in [KEY, "PRIVATE KEY"] {
        assert!(!all.contains(secret), "{finished:?}");
    }
}

fn write_task(place: &Place, id: &str) {
    let task = json!({
        "id": id,
        "source_config": {"database": "shop", "table": "orders"},
        "destination_config": {"type": "local", "path": id},
    });
    fs::write(place.path().join(format!("{id}.json")), task.to_string()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the folders of tests are ASCII")
}

#[tokio::test]
async fn the_configuration_leads_to_the_agent_and_has_its_key() {
    let keys = format!("key = {KEY:?}");
    let mut agent = shop().await.section("server.api_keys.people", &keys).start().await;
    name_port(&agent);
    write_task(&agent.place, "orders");
    assert_ends(&agent.place.run(&["tasks", "list"]).await, 0, &["no tasks"]);
    assert_ends(
        &agent.place.run(&["submit", "orders.json", "--wait"]).await,
        0,
        &["completed", "1,000 rows"],
    );
    assert_ends(&agent.place.run(&["logs", "orders"]).await, 0, &["attempt begins", "task completed"]);
    // So does the one in the folder of the user, from wherever a command is run.
    let home = agent.place.path().join(".data_exchange_agent");
    fs::create_dir(&home).unwrap();
    fs::rename(agent.place.path().join("configuration.toml"), home.join("configuration.toml")).unwrap();
    let script = "mkdir -p elsewhere && cd elsewhere && data-exchange-agent tasks show orders";
    assert_ends(&agent.place.shell(script, &[]).await, 0, &["orders", "completed"]);
    fs::rename(home.join("configuration.toml"), agent.place.path().join("configuration.toml")).unwrap();

    // Another key wins over that of the configuration, and is refused.
    fs::write(agent.place.path().join("other.key"), "some-other-key-0123456789\n").unwrap();
    let refused = agent.place.run(&["tasks", "list", "--api-key-file", "other.key"]).await;
    assert_ends(&refused, 4, &["does not know this API key"]);

    let address = format!("http://127.0.0.1:{}", port(&agent));
    agent.signal("TERM");
    agent.exit().await;
    for command in [&["tasks", "list"][..], &["submit", "orders.json"], &["logs", "orders"]] {
        let finished = agent.place.run(command).await;
        assert_ends(&finished, 3, &[&address, "refused", "data-exchange-agent run"]);
    }
}

#[tokio::test]
async fn a_configuration_that_names_no_address_says_what_to_do() {
    let place = Place::new().server("port = 0");
    place.configuration();
    assert_ends(&place.run(&["tasks", "list"]).await, 2, &["server.port = 0", "--url"]);
    let place = Place::new().server("port = 70000");
    place.configuration();
    assert_ends(&place.run(&["tasks", "list"]).await, 2, &["server.port"]);
    let missing = place.run(&["tasks", "list", "--config", "nowhere.toml"]).await;
    assert_ends(&missing, 2, &["nowhere.toml"]);
}

#[tokio::test]
async fn an_agent_with_tls_is_trusted_by_its_authority_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let agent = shop()
        .await
        .section("server.tls", &tls(&authority.server("agent"), ""))
        .section("server.api_keys.people", &format!("key = {KEY:?}"))
        .trusting(&authority.file())
        .key(KEY)
        .start()
        .await;
    name_port(&agent);
    write_task(&agent.place, "orders");
    let address = format!("https://127.0.0.1:{}", port(&agent));
    let (right, wrong) = (authority.file(), stranger.file());
    let with = async |arguments: &[&str], authority: &Path| {
        let all: Vec<&str> = arguments.iter().copied().chain(["--ca-certificate", text(authority)]).collect();
        agent.place.run(&all).await
    };
    assert_ends(&with(&["tasks", "list"], &right).await, 0, &["no tasks"]);
    assert_ends(&with(&["submit", "orders.json", "--wait"], &right).await, 0, &["completed", "1,000 rows"]);
    assert_ends(&with(&["logs", "orders"], &right).await, 0, &["attempt begins"]);
    let named = [
        "tasks",
        "list",
        "--url",
        &format!("https://localhost:{}", port(&agent)),
        "--config",
        "configuration.toml",
    ];
    assert_ends(&with(&named, &right).await, 0, &["orders"]);

    let remedy = "name the file of its authority with --ca-certificate";
    assert_ends(&agent.place.run(&["tasks", "list"]).await, 3, &[&address, remedy]);
    assert_ends(&with(&["tasks", "list"], &wrong).await, 3, &[&address, remedy]);
    assert_ends(&with(&["tasks", "list"], Path::new("nowhere.pem")).await, 2, &["nowhere.pem"]);
    assert_ends(&with(&["tasks", "list"], Path::new("orders.json")).await, 2, &["orders.json", "PEM"]);

    let plain = address.replace("https", "http");
    let finished = agent.place.run(&["tasks", "list", "--url", &plain]).await;
    assert_ends(&finished, 3, &[&plain, "speaks HTTPS"]);
}

#[tokio::test]
async fn a_certificate_for_another_name_and_an_agent_without_tls_are_told_apart() {
    let authority = Authority::new();
    // Its certificate is for localhost and 127.0.0.1.
    let agent = shop()
        .await
        .server("host = \"127.0.0.2\"")
        .section("server.tls", &tls(&authority.server("agent"), ""))
        .start()
        .await;
    name_port(&agent);
    let finished = agent.place.run(&["tasks", "list", "--ca-certificate", text(&authority.file())]).await;
    assert_ends(&finished, 3, &["https://127.0.0.2:", "is for other names", "--url"]);

    let agent = shop().await.start().await;
    let url = agent.url("").replace("http://", "https://");
    let finished = agent.place.run(&["tasks", "list", "--url", &url]).await;
    assert_ends(&finished, 3, &[&url, "does not speak TLS"]);
}

#[tokio::test]
async fn a_certificate_is_shown_to_an_agent_that_asks_for_one() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let clients = format!("client_certificates = {:?}\n", authority.file().display().to_string());
    let agent = shop().await.section("server.tls", &tls(&authority.server("agent"), &clients)).start().await;
    name_port(&agent);
    let (good, bad) = (authority.client("person"), stranger.client("stranger"));
    let both = agent.place.path().join("both.pem");
    fs::write(&both, good.pem()).unwrap();
    let trusted = authority.file();
    let list = async |more: &[&str]| {
        let all: Vec<&str> = ["tasks", "list", "--ca-certificate", text(&trusted)]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        agent.place.run(&all).await
    };
    let (certificate, key) = (text(&good.certificate), text(&good.private_key));
    assert_ends(&list(&["--client-certificate", certificate, "--client-key", key]).await, 0, &["no tasks"]);
    assert_ends(&list(&["--client-certificate", text(&both)]).await, 0, &["no tasks"]);

    assert_ends(&list(&[]).await, 3, &["asks its callers for a certificate", "--client-certificate"]);
    let (certificate, key) = (text(&bad.certificate), text(&bad.private_key));
    let finished = list(&["--client-certificate", certificate, "--client-key", key]).await;
    assert_ends(&finished, 3, &["does not accept the certificate", "server.tls.client_certificates"]);

    assert_ends(&list(&["--client-key", key]).await, 2, &["--client-certificate"]);
    assert_ends(&list(&["--client-certificate", "nowhere.pem"]).await, 2, &["nowhere.pem"]);
    assert_ends(&list(&["--client-certificate", certificate]).await, 2, &["stranger.crt", "--client-key"]);
}
