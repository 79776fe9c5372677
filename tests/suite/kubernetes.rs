//! The manifests of docs/kubernetes: checked against the schemas of the Kubernetes API, and their
//! variables given to the real entrypoint. There is no cluster here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use data_exchange_agent::config::{KeyDigest, Scope, SourceConnection};
use serde::Deserialize;

use super::docker::{entrypoint, made_with};
use crate::support::document::blocks;
use crate::support::folder::Folder;
use crate::support::foreign_reader;

#[derive(Deserialize)]
struct Found {
    manifests: usize,
    /// The environment of the container, by the name of the file.
    containers: BTreeMap<String, BTreeMap<String, String>>,
}

#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn manifests() -> Option<Found> {
    if !foreign_reader::is_installed() {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(std::env::var_os("TEST_PYTHON").unwrap())
        .arg(root.join("tests/support/kubernetes.py"))
        .arg(root.join("docs/kubernetes"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_manifests_are_valid_and_start_agents_with_what_they_say() {
    let Some(found) = manifests() else { return };
    assert_eq!((found.manifests, found.containers.len()), (7, 2));
    for (file, variables) in &found.containers {
        let folder = Folder::new();
        let given: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let output = entrypoint(folder.path(), &given, &["--log-format", "json"]);
        assert!(output.status.success(), "{file}: {output:?}");
        let snowflake = folder.path().join("snowflake");
        // Names of the agent's own keys reach it as they are, and the entrypoint adds this one.
        let own = given.into_iter().filter(|(name, _)| name.starts_with("DATA_EXCHANGE_AGENT__"));
        let seen = own.chain([("SNOWFLAKE_HOME", snowflake.to_str().unwrap())]);
        let config = made_with(folder.path(), seen);
        assert_eq!(config.application.workers.get(), 4, "{file}");
        assert_eq!(config.application.memory_limit.map(std::num::NonZero::get), Some(1536 << 20), "{file}");
        let SourceConnection::Postgres(source) = &config.sources["sales"] else { panic!("{file}") };
        assert_eq!((source.host.as_str(), source.database.as_str()), ("db.example.com", "sales"));
        let queue = config.task_sources.snowflake;
        let agent = queue.as_ref().and_then(|queue| queue.procedures.agent_id.as_deref());
        let depth = queue.as_ref().and_then(|queue| queue.depth_interval).map(|interval| interval.as_secs());
        let expected =
            if file == "agent.yaml" { (None, None) } else { (Some("snowflake-agents-5c7d9"), Some(30)) };
        assert_eq!((agent, depth), expected, "{file}");
        // Prometheus has a key that only reads, and the guide names it.
        let metrics = config.server.api_keys.iter().find(|key| key.name() == "metrics").expect(file);
        assert_eq!(metrics.scopes(), [Scope::Read], "{file}");
        assert!(metrics.is(&KeyDigest::of(variables["AGENT_METRICS_KEY"].as_bytes())), "{file}");
    }
}

/// The names in the `PodMonitor` of the guide are those of the manifest.
#[test]
fn the_monitor_finds_the_pods_their_port_and_their_key() {
    let guide = include_str!("../../docs/KUBERNETES.md");
    let manifest = include_str!("../../docs/kubernetes/snowflake-agents.yaml");
    let found = blocks(guide);
    let monitor = &found.iter().find(|block| block.is("monitor")).expect("the guide has one").text;
    for (of_monitor, of_manifest) in [
        (
            "matchLabels: {app.kubernetes.io/name: snowflake-agents}",
            "labels: {app.kubernetes.io/name: snowflake-agents}",
        ),
        ("port: api", "{name: api, containerPort: 5000}"),
        ("name: snowflake-agents, key:", "secretRef: {name: snowflake-agents}"),
        ("key: AGENT_METRICS_KEY", "  AGENT_METRICS_KEY: "),
    ] {
        assert!(monitor.contains(of_monitor), "{of_monitor}: {monitor}");
        assert!(manifest.contains(of_manifest), "{of_manifest}");
    }
    // Both ways to scrape make the job that the alerts ask for.
    let scrape = &found.iter().find(|block| block.is("scrape")).expect("the guide has one").text;
    assert!(include_str!("../../docs/monitoring/alerts.yaml").contains("job=\"data-exchange-agent\""));
    assert!(scrape.contains("job_name: data-exchange-agent\n"), "{scrape}");
    assert!(monitor.contains("targetLabel: job, replacement: data-exchange-agent"), "{monitor}");
}
