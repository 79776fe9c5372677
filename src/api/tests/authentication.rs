//! API keys, their scopes, and what callers without one may do.

use std::num::NonZeroU32;
use std::time::Instant;

use reqwest::RequestBuilder;

use super::*;
use crate::config::{self, ApiKey, Scope, Secret};

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
    Agent::start_with(Access::new(&config::Server { api_keys: keys, ..server() })).await
}

pub(super) fn server() -> config::Server {
    config::Server {
        host: [127, 0, 0, 1].into(),
        port: 0,
        max_body_bytes: MAX_BODY_BYTES,
        max_connections: NonZeroUsize::MIN,
        max_connections_per_address: None,
        requests_per_minute: None,
        tls: None,
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
    for secret in ["sales", "ledger", "faults", CAUSE] {
        assert!(!health.text.contains(secret), "{}", health.text);
    }
    let known = Answer::of(agent.request(Method::GET, "/health").bearer_auth(WATCHER)).await;
    assert!(known.text.contains(CAUSE), "{}", known.text);
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
async fn the_document_says_where_a_key_is_needed() {
    let asks = async |agent: &Agent, method: &str, path: &str| {
        let document = agent.get("/openapi.json").await.body;
        let ways = document["paths"][path][method]["security"].as_array().unwrap().clone();
        assert_eq!(ways[..2], [json!({"bearer": []}), json!({"api_key": []})], "{method} {path}");
        !ways.contains(&json!({}))
    };
    let agent = Agent::start().await;
    assert!(!asks(&agent, "get", "/tasks").await, "there are no keys");
    let keys = agent_with_keys().await;
    for (method, path) in [("get", "/tasks"), ("post", "/tasks"), ("get", "/metrics"), ("post", "/stop")] {
        assert!(asks(&keys, method, path).await, "{method} {path}");
    }
    assert!(!asks(&keys, "get", "/health").await, "strangers see the least of it");
    // With the next configuration the document is another one.
    keys.doors.replace(Access::new(&server()));
    assert!(!asks(&keys, "get", "/tasks").await);
}

#[tokio::test]
async fn a_method_that_is_not_there_is_no_question_of_keys_where_none_is_needed() {
    let agent = agent_with_keys().await;
    for path in ["/live", "/ready", "/openapi.json"] {
        for method in [Method::TRACE, Method::DELETE, Method::POST] {
            for key in [None, Some(WATCHER), Some("unknown-key-0123456789")] {
                let request = agent.request(method.clone(), path);
                let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
                assert_eq!(status(request).await, 405, "{method} {path} {key:?}");
            }
        }
    }
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

#[tokio::test]
async fn whoever_lets_in_callers_without_keys_lets_in_no_foreign_name() {
    let open = config::Server { allow_unauthenticated: true, allowed_hosts: Vec::new(), ..server() };
    for host in [[127, 0, 0, 1], [0, 0, 0, 0]] {
        let agent =
            Agent::start_with(Access::new(&config::Server { host: host.into(), ..open.clone() })).await;
        assert_eq!(agent.get("/tasks").await.status, 200);
        let from_page = |method, path| {
            let request = agent.request(method, path).header("host", "evil.example");
            request.header("origin", "http://evil.example").header("sec-fetch-site", "same-origin")
        };
        Answer::of(from_page(Method::GET, "/tasks")).await.assert_problem(421, "unknown-host");
        let submitted = from_page(Method::POST, "/tasks").json(&nested("1"));
        Answer::of(submitted).await.assert_problem(421, "unknown-host");
        assert_eq!(agent.get("/tasks/1").await.status, 404);
        // A supervisor may call the agent what it likes.
        assert_eq!(status(from_page(Method::GET, "/live")).await, 200);
        assert_eq!(status(from_page(Method::GET, "/ready")).await, 200);
    }
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_ask_again() {
    let key = |name: &str, key| ApiKey::new(name, &Secret::new(key), Scope::ALL.to_vec());
    let keys = vec![key("loader", LOADER), key("operator", OPERATOR)];
    // Three at once, then one in four seconds.
    let requests_per_minute = NonZeroU32::new(18);
    let access = Access::new(&config::Server { api_keys: keys, requests_per_minute, ..server() });
    let agent = Agent::start_with(access).await;
    let ask = |key: &'static str| status(agent.request(Method::GET, "/tasks").bearer_auth(key));
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(ask(LOADER).await == 429);
    }
    assert!((1..=17).contains(&refused), "{refused} of 20 were refused");
    assert_eq!(ask(OPERATOR).await, 200, "another key has requests of its own");

    let (answer, unknown) = loop {
        let begun = Instant::now();
        let wrong = agent.request(Method::GET, "/live").bearer_auth("wrong-key-0123456789");
        let answer = Answer::of(wrong).await;
        let unknown = Answer::of(agent.request(Method::GET, "/tasks")).await;
        // Later than that, another request has come back.
        if answer.status != 200 && begun.elapsed() < Duration::from_secs(3) {
            break (answer, unknown);
        }
    };
    answer.assert_problem(429, "too-many-requests");
    assert!((1..=4).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(unknown.status, 429, "wrong keys and no key are one caller, the address: {}", unknown.text);
}

#[tokio::test]
async fn no_answer_allows_another_origin_to_read_it() {
    let agent = Agent::start().await;
    for (method, path) in
        [(Method::GET, "/tasks"), (Method::OPTIONS, "/tasks"), (Method::GET, "/openapi.json")]
    {
        let request = agent.request(method.clone(), path);
        let answer = request
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
        let cors: Vec<_> =
            answer.headers().keys().filter(|name| name.as_str().starts_with("access-control")).collect();
        assert!(cors.is_empty(), "{method} {path}: {cors:?}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let agent = agent_with_keys().await;
    let local = Agent::start().await;
    let changes = |agent: &Agent| {
        [
            agent.request(Method::POST, "/tasks").json(&nested("one")),
            agent.request(Method::GET, "/stop"),
            agent.request(Method::POST, "/handle_tasks"),
            agent.request(Method::DELETE, "/tasks/one"),
            agent.request(Method::POST, "/tasks/one/retry"),
        ]
    };
    for request in
        changes(&agent).into_iter().map(|request| request.bearer_auth(OPERATOR)).chain(changes(&local))
    {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = request.try_clone().unwrap().header(name, value);
            Answer::of(request).await.assert_problem(403, "cross-site");
        }
    }
    let own = local.request(Method::GET, "/stop").header("sec-fetch-site", "same-origin");
    assert_eq!(status(own).await, 200);
}
