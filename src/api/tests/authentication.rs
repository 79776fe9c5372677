//! API keys, their scopes, and what callers without one may do.

use reqwest::RequestBuilder;

use super::*;
use crate::config::{ApiKey, Scope, Secret, Server};

const WATCHER: &str = "watcher-key-0123456789";
const LOADER: &str = "loader-key-0123456789";
const OPERATOR: &str = "operator-key-0123456789";

async fn agent_with_keys() -> Agent {
    let key = |name: &str, key, scopes: &[Scope]| ApiKey::new(name, &Secret::new(key), scopes.to_vec());
    let keys = vec![
        key("watcher", WATCHER, &[Scope::Read]),
        key("loader", LOADER, &[Scope::Read, Scope::Submit]),
        key("operator", OPERATOR, &Scope::ALL),
    ];
    Agent::start_with(Access::new(&Server { api_keys: keys, ..server() })).await
}

pub(super) fn server() -> Server {
    Server {
        host: [127, 0, 0, 1].into(),
        port: 0,
        max_body_bytes: MAX_BODY_BYTES,
        api_keys: Vec::new(),
        allow_unauthenticated: false,
        allowed_hosts: vec!["agent.example.com".to_owned()],
    }
}

async fn status(request: RequestBuilder) -> u16 {
    Answer::of(request).await.status.as_u16()
}

#[tokio::test]
async fn each_scope_opens_its_own_routes() {
    let agent = agent_with_keys().await;
    agent.pool.stop_handling();
    let requests = || {
        [
            agent.request(Method::GET, "/tasks"),
            agent.request(Method::GET, "/metrics"),
            agent.request(Method::POST, "/tasks").json(&nested("one")),
            agent.request(Method::DELETE, "/tasks/one"),
            agent.request(Method::GET, "/stop"),
            agent.request(Method::POST, "/stop"),
        ]
    };
    for (key, expected) in [
        (WATCHER, [200, 200, 403, 403, 403, 403]),
        (LOADER, [200, 200, 202, 200, 403, 403]),
        (OPERATOR, [200, 200, 200, 200, 200, 200]),
        ("unknown-key-0123456789", [401; 6]),
    ] {
        for (request, expected) in requests().into_iter().zip(expected) {
            let by_bearer = request.try_clone().expect("bodies are in memory").bearer_auth(key);
            let by_header = request.header("x-api-key", key);
            assert_eq!(status(by_bearer).await, expected, "{key}");
            // The same task once more is accepted once more.
            let again = status(by_header).await;
            assert!(again == expected || (expected == 202 && again == 200), "{key}: {again}");
        }
    }
}

#[tokio::test]
async fn a_stranger_sees_probes_and_the_least_of_health() {
    let agent = agent_with_keys().await;
    for path in ["/live", "/ready", "/openapi.json"] {
        assert_eq!(agent.get(path).await.status, 200, "{path}");
    }
    let health = agent.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (200, &json!("healthy")));
    assert_eq!(health.body["database_connections"], json!({}));
    assert!(!health.text.contains("sales"), "{}", health.text);
    let known = Answer::of(agent.request(Method::GET, "/health").bearer_auth(WATCHER)).await;
    assert_eq!(known.body["database_connections"]["sales"], "connected");

    let refused = agent.get("/tasks").await;
    refused.assert_problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"data-exchange-agent\"");
    let refused = Answer::of(agent.request(Method::POST, "/stop").bearer_auth(WATCHER)).await;
    refused.assert_problem(403, "forbidden");
    assert!(refused.text.contains("`watcher` has the scopes read; this needs `operate`"), "{}", refused.text);
    assert!(agent.pool.is_handling() || !refused.text.contains(WATCHER));
}

#[tokio::test]
async fn a_name_that_leads_here_by_foreign_dns_is_refused() {
    let agent = Agent::start_with(Access::new(&server())).await;
    let with_host = |host: &str| agent.request(Method::GET, "/tasks").header("host", host);
    for host in ["localhost:5001", "agent.example.com"] {
        assert_eq!(status(with_host(host)).await, 200, "{host}");
    }
    Answer::of(with_host("evil.example:5001")).await.assert_problem(421, "unknown-host");
}
