//! What is written about the figures is true: every metric that a dashboard, a rule or the document
//! names is there.

use std::collections::BTreeSet;

use super::*;

const DASHBOARD: &str = include_str!("../../../docs/monitoring/grafana.json");
const ALERTS: &str = include_str!("../../../docs/monitoring/alerts.yaml");
const DOCUMENT: &str = include_str!("../../../docs/MONITORING.md");
const PREFIX: &str = "data_exchange_agent_";

/// Every name of a metric in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// The names of the metrics that an agent shows, as Prometheus stores them.
async fn shown() -> BTreeSet<String> {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    agent.submit(&nested("1")).await;
    agent.wait_for("1", "running").await;
    let entered = async {
        while agent.pool.running().count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, entered).await.unwrap();
    let text = agent.get("/metrics").await.text;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_metric_of_dashboard_and_rules_is_there() {
    let shown = shown().await;
    let has = |name: &String| {
        // Of an agent without local disks of its own, as in this test.
        let is_histogram = shown.contains(&format!("{name}_count"));
        shown.contains(name) || is_histogram || name == "data_exchange_agent_disk_free_bytes"
    };
    for (place, text) in [("dashboard", DASHBOARD), ("alerts", ALERTS), ("document", DOCUMENT)] {
        let named = names(text);
        assert!(named.len() > 8, "{place} names {named:?}");
        for name in &named {
            assert!(has(name), "{name} of the {place} is no metric; there are {shown:?}");
        }
    }
}

#[tokio::test]
async fn the_document_and_the_dashboard_have_every_metric() {
    let (documented, drawn) = (names(DOCUMENT), names(DASHBOARD));
    for name in shown().await {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let name = family.map_or(name.clone(), str::to_owned);
        assert!(documented.contains(&name), "{name} is not in docs/MONITORING.md");
        let bucket = format!("{name}_bucket");
        assert!(drawn.contains(&name) || drawn.contains(&bucket), "{name} is on no dashboard");
    }
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_something() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let queries = panel["targets"].as_array().unwrap();
        assert!(!queries.is_empty() && queries.iter().all(|query| query["expr"].is_string()), "{panel}");
    }
}

#[test]
fn every_alert_is_explained() {
    let alerts: Vec<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        assert!(DOCUMENT.contains(&format!("| `{alert}` |")), "{alert} is not in docs/MONITORING.md");
    }
}
