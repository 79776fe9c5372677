//! Health, readiness, metrics.

use super::*;

#[tokio::test]
async fn health_shows_queue_workers_and_every_connection() {
    let agent = Agent::start().await;
    let mut health = agent.get("/health").await;
    let faults = health.body.as_object_mut().and_then(|body| body.remove("database_faults"));
    let mut faults = faults.expect("one connection is down");
    assert!(faults["ledger"]["at"].take().is_string(), "{faults}");
    let message = format!("open a connection to `ledger`: {CAUSE}");
    let fault = json!({"kind": "transient", "message": message, "hint": "Start it.", "at": null});
    assert_eq!(faults, json!({"ledger": fault}));
    let expected = json!({
        "status": "healthy",
        "service": "data_exchange_agent",
        "version": env!("CARGO_PKG_VERSION"),
        "queue": "ok",
        "workers": {"total": 2, "busy": 0, "state": "ok"},
        "handling_tasks": false,
        "held": null,
        "database_connections": {
            "sales": "connected",
            "ledger": "open a connection to `ledger` (transient)",
            "teradata": "this version cannot read from Teradata"
        },
        "destination_connections": {
            "local": "connected",
            "archive": "connected",
            "warehouse": "connected",
            "blob": "this version cannot reach it"
        },
        "unavailable": {"bulk_utility.bcp": "this version cannot run bcp"}
    });
    assert_eq!((health.status.as_u16(), health.body), (200, expected));
}

#[tokio::test]
async fn probes_at_the_same_time_check_a_database_once() {
    let agent = Agent::start().await;
    let probes = futures::future::join_all((0..20).map(|_| agent.get("/health"))).await;
    assert!(probes.iter().all(|probe| probe.body["database_connections"]["sales"] == "connected"));
    assert_eq!(agent.checks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn readiness_says_no_while_the_agent_drains_and_health_stays() {
    let agent = Agent::start().await;
    assert_eq!(agent.get("/ready").await.body, json!({"ready": true}));
    assert_eq!(agent.get("/live").await.body, json!({"live": true}));
    agent.shutdown.begin_drain();
    let ready = agent.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, json!({"ready": false, "reason": "the agent is stopping"}));
    // The workers end now; that is no defect.
    let health = agent.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.body["workers"]["state"]), (200, &json!("stopping")));
    assert_eq!(agent.get("/live").await.status, 200);
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let metrics = agent.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for line in [
        "data_exchange_agent_tasks{state=\"queued\"} 1",
        "data_exchange_agent_queue_depth 1",
        "data_exchange_agent_workers 2",
        "data_exchange_agent_workers_busy 0",
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line} is missing in\n{}", metrics.text);
    }
    assert!(metrics.text.ends_with("# EOF\n"));
}
