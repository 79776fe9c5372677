//! What docs/MONITORING.md gives to Prometheus and Grafana, given to Prometheus: rules, their thresholds,
//! every expression of the dashboard, and a scrape of a real agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::agent::{Place, eventually};
use crate::support::document::blocks;
use crate::support::folder::Folder;
use crate::support::foreign_reader;
use crate::support::postgres::setting;
use crate::support::server::{Server, free_address};

const ALERTS: &str = include_str!("../../docs/monitoring/alerts.yaml");
const ALERTS_TEST: &str = include_str!("../support/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../docs/monitoring/grafana.json");
const GUIDE: &str = include_str!("../../docs/MONITORING.md");
const KUBERNETES: &str = include_str!("../../docs/KUBERNETES.md");
const KEY: &str = "a-key-for-prometheus-0123456789";

/// A program of Prometheus, unless it is not installed.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
fn program(name: &str) -> Option<PathBuf> {
    let folder = setting("TEST_PROMETHEUS");
    if folder.is_none() {
        assert!(setting("REQUIRE_SERVERS").is_none(), "TEST_PROMETHEUS is not set; run tests/run.sh");
        eprintln!("skipped: Prometheus is not installed; see docs/TESTING.md");
    }
    Some(Path::new(&folder?).join(name))
}

/// What `promtool` says about files in this folder, and whether it is content.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they ask")]
fn promtool(promtool: &Path, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(promtool).args(arguments).current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Every expression of the dashboard, with values in the places of Grafana's variables.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let written = targets.map(|target| target["expr"].as_str().unwrap());
    let found: Vec<String> =
        written.map(|text| text.replace("$__rate_interval", "2m").replace("$instance", ".*")).collect();
    assert!(found.len() > 20 && found.iter().all(|text| !text.contains('$')), "{found:?}");
    found
}

#[test]
fn every_alert_is_told_when_it_should_be_and_only_then() {
    let Some(program) = program("promtool") else { return };
    let folder = Folder::new();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("alerts.yaml", ALERTS);
    write("alerts_test.yaml", ALERTS_TEST);
    let (is_good, said) = promtool(&program, folder.path(), &["check", "rules", "alerts.yaml"]);
    assert!(is_good, "{said}");
    let (is_good, said) = promtool(&program, folder.path(), &["test", "rules", "alerts_test.yaml"]);
    assert!(is_good, "{said}");
    let names = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        assert!(ALERTS_TEST.contains(&format!("alertname=\"{name}\"")), "nobody has seen {name}");
    }
    // What is checked can fail.
    write("alerts.yaml", &ALERTS.replace("oldest_age_seconds > 3600", "oldest_age_seconds > 7200"));
    assert!(!promtool(&program, folder.path(), &["test", "rules", "alerts_test.yaml"]).0);
}

#[test]
fn every_expression_can_be_read() {
    let Some(program) = program("promtool") else { return };
    let folder = Folder::new();
    let read = |expressions: &[String]| {
        let rules: Vec<Value> = expressions
            .iter()
            .enumerate()
            .map(|(number, text)| json!({"record": format!("n:{number}"), "expr": text}))
            .collect();
        // JSON is YAML.
        let file = json!({"groups": [{"name": "all", "rules": rules}]}).to_string();
        fs::write(folder.path().join("rules.yaml"), file).unwrap();
        promtool(&program, folder.path(), &["check", "rules", "rules.yaml"])
    };
    let mut all = expressions();
    for block in blocks(KUBERNETES).iter().filter(|block| block.language() == "yaml") {
        for line in block.text.lines().map(str::trim) {
            let expression = line.strip_prefix("query: ").or_else(|| line.strip_prefix("metricsQuery: "));
            let Some(expression) = expression else { continue };
            all.push(expression.trim_matches('\'').replace("<<.LabelMatchers>>", "affinity=\"blue\""));
        }
    }
    assert!(all.len() > expressions().len() + 1, "those of docs/KUBERNETES.md are among them");
    let (is_good, said) = read(&all);
    assert!(is_good, "{said}");
    assert!(!read(&["sum(rate(x[2m])".to_owned()]).0, "what is checked can fail");
}

#[test]
fn the_configuration_for_pods_can_be_read() {
    let Some(program) = program("promtool") else { return };
    let folder = Folder::new();
    fs::write(folder.path().join("key"), KEY).unwrap();
    let found = blocks(KUBERNETES);
    let block = found.iter().find(|block| block.is("scrape")).expect("the guide configures Prometheus");
    let written = "/etc/prometheus/agent-key/AGENT_METRICS_KEY";
    assert!(block.text.contains(written), "{}", block.text);
    // The Prometheus of the tests may be built without this kind of discovery.
    let discovery = "kubernetes_sd_configs:\n  - role: pod\n    namespaces: {names: [data-exchange]}\n";
    assert!(block.text.contains(discovery), "{}", block.text);
    let configuration = block
        .text
        .replace(written, folder.path().join("key").to_str().unwrap())
        .replace(discovery, "static_configs: [{targets: [\"agent:5000\"]}]\n");
    let check = |text: &str| {
        fs::write(folder.path().join("prometheus.yml"), text).unwrap();
        promtool(&program, folder.path(), &["check", "config", "prometheus.yml"])
    };
    let (is_good, said) = check(&configuration);
    assert!(is_good, "{said}");
    assert!(!check(&configuration.replace("authorization", "authorisation")).0, "what is checked can fail");
}

#[tokio::test]
async fn prometheus_scrapes_an_agent_and_answers_every_expression_of_the_dashboard() {
    let (Some(program), Some(promtool_program)) = (program("prometheus"), program("promtool")) else {
        return;
    };
    let place = Place::new();
    let database = place.path().join("sales.sqlite");
    fs::write(&database, "").unwrap();
    let agent = place
        .application("memory_limit = \"16 GiB\"")
        .connection(
            "source.sales",
            &format!("kind = \"sqlite\"\npath = {:?}\n", database.display().to_string()),
        )
        .section("server.api_keys.prometheus", &format!("key = {KEY:?}"))
        .key(KEY)
        .start()
        .await;
    // Something that runs for as long as anybody looks, into one batch after the other.
    agent.submit_endless().await;
    agent.wait_until("endless", "running").await;
    let folder = Folder::new();
    fs::write(folder.path().join("alerts.yaml"), ALERTS).unwrap();
    fs::write(folder.path().join("key"), KEY).unwrap();
    let found = blocks(GUIDE);
    let block = found.iter().find(|block| block.is("prometheus")).expect("the guide configures Prometheus");
    let address = agent.url("").strip_prefix("http://").unwrap().to_owned();
    let configuration = block
        .text
        .replace("agent.example.com:5001", &address)
        .replace("/etc/prometheus/agent-key", folder.path().join("key").to_str().unwrap());
    assert!(
        configuration.contains(&address) && configuration.contains("credentials_file: /"),
        "{configuration}"
    );
    let fast = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n";
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, format!("{fast}{configuration}")).unwrap();
    let (is_good, said) = promtool(&promtool_program, folder.path(), &["check", "config", "prometheus.yml"]);
    assert!(is_good, "{said}");

    let listen = free_address();
    let config = format!("--config.file={}", file.display());
    let storage = format!("--storage.tsdb.path={}", folder.path().join("storage").display());
    let server = Server::start(&program, &[&config, &storage, &format!("--web.listen-address={listen}")]);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str, query: &[(&str, &str)]| {
        let url = url::Url::parse_with_params(&format!("http://{listen}/api/v1/{path}"), query).unwrap();
        http.get(url).send().await.ok()?.json::<Value>().await.ok()
    };
    for expression in expressions() {
        let mut last = None;
        eventually(&format!("an answer to {expression}"), async || {
            last = ask("query", &[("query", &expression)]).await;
            let answer = last.as_ref()?;
            assert_ne!(answer["status"], "error", "{expression}: {answer}\n{}", server.output());
            (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
    let rules = eventually("the rules to be evaluated", async || {
        let answer = ask("rules", &[]).await?;
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    })
    .await;
    assert_eq!(rules.len(), ALERTS.matches("- alert: ").count());
    let firing: Vec<&Value> = rules.iter().filter(|rule| rule["state"] == "firing").collect();
    assert_eq!(firing, [&json!(null); 0], "the agent is well");
    assert!(agent.delete("/tasks/endless").await.status < 300);
    agent.wait_until("endless", "cancelled").await;
}

#[tokio::test]
async fn what_may_happen_is_counted_from_nought_so_that_the_first_time_is_an_increase() {
    let agent = Place::new().start().await;
    let text = agent.ask("/metrics").await.text;
    for series in [
        "attempts_total{outcome=\"failed\"}",
        "attempts_total{outcome=\"retry\"}",
        "attempt_failures_total{cause=\"credentials\"}",
        "attempt_failures_total{cause=\"permission\"}",
        "lease_refreshes_total{result=\"lost\"}",
        "lease_refreshes_total{result=\"failed\"}",
        "log_lines_dropped_total",
        "history_entries_dropped_total",
    ] {
        let line = format!("data_exchange_agent_{series} 0");
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn the_probes_are_those_of_a_pod() {
    if !foreign_reader::is_installed() {
        return;
    }
    let found = blocks(GUIDE);
    let block = found.iter().find(|block| block.is("pod")).expect("the guide has probes");
    let indented: String = block.text.lines().map(|line| format!("    {line}\n")).collect();
    let check = |probes: &str| {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: agent}}\nspec:\n  containers:\n  - name: agent\n    image: agent\n{probes}"
        );
        let script = "import sys, yaml, kubernetes_validate\n\
                      kubernetes_validate.validate(yaml.safe_load(sys.argv[1]), '1.31', strict=True)";
        let python = setting("TEST_PYTHON").expect("asked for before");
        let output = Command::new(python).args(["-c", script, &pod]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_good, said) = check(&indented);
    assert!(is_good, "{said}");
    assert!(!check(&indented.replace("httpGet", "httpget")).0, "what is checked can fail");
}
