//! The page, its files, and sessions in place of keys. A browser sees it in tests/suite.

use reqwest::RequestBuilder;

use super::*;
use crate::config::{ApiKey, Scope, Secret, Server};

const WATCHER: &str = "watcher-key-0123456789";
const OPERATOR: &str = "operator-key-0123456789";

async fn agent_with_keys() -> Agent {
    let key = |name: &str, key, scopes: &[Scope]| ApiKey::new(name, &Secret::new(key), scopes.to_vec());
    let api_keys = vec![key("watcher", WATCHER, &[Scope::Read]), key("operator", OPERATOR, &Scope::ALL)];
    Agent::start_with(Access::new(&Server { api_keys, ..super::authentication::server() })).await
}

/// Routes of the console are not in the document, so that [`Answer`] has no word for them.
async fn send(request: RequestBuilder) -> reqwest::Response {
    request.send().await.unwrap()
}

fn header<'r>(response: &'r reqwest::Response, name: &str) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Signs in as the page does, and returns the cookie.
async fn sign_in(agent: &Agent, key: &str) -> String {
    let request = agent.request(Method::POST, "/console/session").header("x-console", "1");
    let response = send(request.json(&json!({"key": key}))).await;
    assert_eq!(response.status(), 204);
    header(&response, "set-cookie").split(';').next().unwrap().to_owned()
}

fn with_cookie(agent: &Agent, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    agent.request(method, path).header("cookie", cookie)
}

#[tokio::test]
async fn the_page_and_its_files_are_served_to_everybody_and_kept_by_browsers() {
    let agent = agent_with_keys().await;
    let page = send(agent.request(Method::GET, "/")).await;
    assert_eq!((page.status().as_u16(), header(&page, "content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(header(&page, "cache-control"), "no-cache");
    let tag = header(&page, "etag").to_owned();
    let known = send(agent.request(Method::GET, "/").header("if-none-match", &tag)).await;
    assert_eq!((known.status().as_u16(), known.text().await.unwrap().as_str()), (304, ""));

    let text = page.text().await.unwrap();
    let addresses: Vec<&str> = text
        .split('"')
        .filter(|part| part.starts_with("/console/") && !part.contains(char::is_whitespace))
        .collect();
    assert!(addresses.len() >= 5, "{addresses:?}");
    for address in addresses {
        let file = send(agent.request(Method::GET, address)).await;
        assert_eq!(file.status(), 200, "{address}");
        assert_eq!(header(&file, "cache-control"), "public, max-age=31536000, immutable");
        let media_type = match address.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(header(&file, "content-type"), media_type, "{address}");
    }
    for missing in ["/console/0000000000000000/app.js", "/console/x/../../Cargo.toml", "/console/"] {
        let answer = send(agent.request(Method::GET, missing)).await;
        assert!([401, 404].contains(&answer.status().as_u16()), "{missing}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_a_browser_safe() {
    let agent = agent_with_keys().await;
    for (path, status, cache) in [
        ("/", 200, "no-cache"),
        ("/live", 200, "no-store"),
        ("/tasks", 401, "no-store"),
        ("/nowhere", 401, "no-store"),
        ("/console/session", 200, "no-store"),
        ("/openapi.json", 200, "no-store"),
    ] {
        let answer = send(agent.request(Method::GET, path)).await;
        assert_eq!(answer.status(), status, "{path}");
        let policy = header(&answer, "content-security-policy");
        for part in ["default-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&answer, "x-frame-options"), "DENY", "{path}");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header(&answer, "cache-control"), cache, "{path}");
    }
}

#[tokio::test]
async fn a_session_can_do_what_its_key_can_do_and_ends_with_the_sign_out() {
    let agent = agent_with_keys().await;
    let who = async |cookie: &str| -> Value {
        send(with_cookie(&agent, Method::GET, "/console/session", cookie)).await.json().await.unwrap()
    };
    assert_eq!(who("").await["sign_in"], true);
    assert_eq!(who("").await["scopes"], json!([]));

    let watcher = sign_in(&agent, WATCHER).await;
    assert!(!watcher.contains(WATCHER), "{watcher}");
    assert_eq!(who(&watcher).await["key"], "watcher");
    assert_eq!(who(&watcher).await["scopes"], json!(["read"]));
    assert_eq!(Answer::of(with_cookie(&agent, Method::GET, "/tasks", &watcher)).await.status, 200);
    let refused = with_cookie(&agent, Method::POST, "/stop", &watcher).header("x-console", "1");
    Answer::of(refused).await.assert_problem(403, "forbidden");

    let operator = sign_in(&agent, OPERATOR).await;
    assert_ne!(operator, watcher);
    for (method, path) in [(Method::POST, "/stop"), (Method::GET, "/stop"), (Method::DELETE, "/tasks/1")] {
        let bare = with_cookie(&agent, method.clone(), path, &operator);
        Answer::of(bare).await.assert_problem(403, "cross-site");
    }
    let allowed = with_cookie(&agent, Method::POST, "/handle_tasks", &operator).header("x-console", "1");
    assert_eq!(Answer::of(allowed).await.status, 200);
    let foreign = with_cookie(&agent, Method::POST, "/stop", &operator)
        .header("x-console", "1")
        .header("origin", "https://evil.example");
    Answer::of(foreign).await.assert_problem(403, "cross-site");

    let sign_out = async |cookie: &str| {
        send(with_cookie(&agent, Method::DELETE, "/console/session", cookie).header("x-console", "1")).await
    };
    let gone = sign_out(&operator).await;
    assert_eq!(gone.status(), 204);
    assert!(header(&gone, "set-cookie").contains("Max-Age=0"));
    Answer::of(with_cookie(&agent, Method::GET, "/tasks", &operator))
        .await
        .assert_problem(401, "unauthorized");
    assert_eq!(Answer::of(with_cookie(&agent, Method::GET, "/tasks", &watcher)).await.status, 200);
    assert_eq!(sign_out("").await.status(), 204, "whoever is out can go out");
}

#[tokio::test]
async fn nobody_signs_in_without_a_key_or_from_another_page() {
    let agent = agent_with_keys().await;
    let post = |body: Value| agent.request(Method::POST, "/console/session").json(&body);
    let good = json!({"key": OPERATOR});
    for (request, expected) in [
        (post(json!({"key": "unknown-key-0123456789"})).header("x-console", "1"), 401),
        (post(json!({"key": ""})).header("x-console", "1"), 422),
        (post(json!({})).header("x-console", "1"), 422),
        (post(json!({"key": "x".repeat(5000)})).header("x-console", "1"), 413),
        (post(good.clone()), 403),
        (post(good.clone()).header("x-console", "1").header("sec-fetch-site", "cross-site"), 403),
        (post(good.clone()).header("x-console", "1").header("origin", "http://evil.example"), 403),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(header(&answer, "set-cookie"), "");
    }
    for cookie in ["data-exchange-agent-0=x", &format!("data-exchange-agent-5001={OPERATOR}")] {
        let guessed = with_cookie(&agent, Method::GET, "/tasks", cookie);
        Answer::of(guessed).await.assert_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn without_keys_nobody_has_to_sign_in() {
    let agent = Agent::start().await;
    let session: Value = send(agent.request(Method::GET, "/console/session")).await.json().await.unwrap();
    assert_eq!(session["sign_in"], false);
    assert_eq!(session["scopes"], json!(["read", "submit", "operate"]));
    assert_eq!(session["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_connections_and_the_rates_are_shown() {
    let agent = Agent::start().await;
    let connections = agent.get("/connections").await.body;
    assert_eq!(
        connections["sources"][1],
        json!({"name": "sales", "sql": "postgresql", "database": "sales_db"})
    );
    assert_eq!(connections["targets"][0], json!({"name": "archive", "type": "s3"}));
    assert_eq!(connections["default_format"], "parquet");

    let throughput = agent.get("/throughput").await.body;
    assert_eq!((&throughput["workers"], &throughput["workers_busy"]), (&json!(2), &json!(0)));
    assert!(throughput["samples"].is_array());
    agent.get("/throughput?after=soon").await.assert_errors(&[("after", "expected a time")]);
    agent.get("/throughput?until=1").await.assert_errors(&[("until", "unknown parameter")]);
}
