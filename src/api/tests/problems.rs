//! What cannot be served is a problem document.

use axum::Router;
use axum::routing::get;

use super::*;
use crate::api::finished;

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_its_place() {
    let agent = Agent::start().await;
    for (body, text) in [
        ("{\n  \"id\": ,}", "line 2 column 9"),
        ("", "EOF while parsing"),
        ("{\"id\": 1, \"id\": 2}", "the same name is there twice in one object"),
        ("{} {}", "trailing characters"),
    ] {
        let answer = agent.submit_text(body).await;
        answer.assert_problem(400, "malformed-json");
        assert!(answer.body["detail"].as_str().unwrap().contains(text), "{}", answer.text);
    }
    agent.submit_text(b"\"\xff\"".to_vec()).await.assert_problem(400, "malformed-json");
    agent.submit_text("[".repeat(MAX_BODY_BYTES)).await.assert_problem(400, "malformed-json");
}

#[tokio::test]
async fn only_json_is_taken() {
    let agent = Agent::start().await;
    let body = nested("1").to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = agent.request(Method::POST, "/tasks").header("content-type", content_type);
        Answer::of(request.body(body.clone())).await.assert_problem(415, "media-type");
    }
    Answer::of(agent.request(Method::POST, "/tasks").body(body.clone()))
        .await
        .assert_problem(415, "media-type");
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let request = agent.request(Method::POST, "/tasks").header("content-type", content_type);
        assert!(Answer::of(request.body(body.clone())).await.status.is_success());
    }
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_not_larger() {
    let agent = Agent::start().await;
    let of_length = |length: usize| {
        let query = format!("SELECT '{}'", "x".repeat(length));
        with(nested("1"), "/source_config/query", json!(query)).to_string()
    };
    let of_size = |bytes: usize| of_length(bytes - of_length(0).len());
    assert_eq!(agent.submit_text(of_size(MAX_BODY_BYTES)).await.status, 202);
    agent.submit_text(of_size(MAX_BODY_BYTES + 1)).await.assert_problem(413, "body-too-large");
    // Without a length in the head, the body is counted while it arrives.
    let chunks = |text: String| {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            text.into_bytes().chunks(10_000).map(|chunk| Ok(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures::stream::iter(chunks))
    };
    assert_eq!(agent.submit_text(chunks(of_size(MAX_BODY_BYTES))).await.status, 200);
    agent.submit_text(chunks(of_size(MAX_BODY_BYTES + 1))).await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_gets_its_answer() {
    let agent = Agent::start().await;
    for _ in 0..5 {
        agent.submit_text("x".repeat(20 << 20)).await.assert_problem(413, "body-too-large");
        let request = agent.request(Method::POST, "/tasks").body("x".repeat(20 << 20));
        Answer::of(request).await.assert_problem(415, "media-type");
    }
}

#[tokio::test]
async fn unknown_routes_and_impossible_ids_are_not_found() {
    let agent = Agent::start().await;
    for path in ["/console", "/task", "/tasks/", "/tasks/1/", "/tasks/1/files", "/health/x", "/%00", "/TASKS"]
    {
        let answer = agent.get(path).await;
        assert!(
            ["unknown-route", "unknown-task"]
                .iter()
                .any(|name| answer.body["type"].as_str().unwrap().ends_with(name))
        );
        assert_eq!(answer.status, 404, "{path}");
    }
    let impossible = ["unknown", "a%20b", "%ff", "a%2Fb", "%3Cscript%3E", &"x".repeat(200)];
    for id in impossible {
        agent.get(&format!("/tasks/{id}")).await.assert_problem(404, "unknown-task");
        agent.delete(&format!("/tasks/{id}")).await.assert_problem(404, "unknown-task");
        agent.post(&format!("/tasks/{id}/retry")).await.assert_problem(404, "unknown-task");
        agent.get(&format!("/tasks/{id}/events")).await.assert_problem(404, "unknown-task");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_connection_lives_on() {
    async fn defect() -> &'static str {
        panic!("a defect with {SERVER_TEXT}")
    }
    let router = finished(
        Router::new().route("/defect", get(defect)).route("/fine", get(async || "fine")),
        Doors::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let server = Server::new(listener, ConnectionLimits::new(NonZeroUsize::MIN));
    let server = shutdown.spawn(server.serve(router, async move { stop.draining().await }));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(format!("{base}/defect")).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    let text = response.text().await.unwrap();
    assert!(
        text.contains("urn:data-exchange-agent:problem:internal") && !text.contains(SERVER_TEXT),
        "{text}"
    );
    let fine = client.get(format!("{base}/fine")).send().await.unwrap();
    assert_eq!(fine.text().await.unwrap(), "fine");
    shutdown.begin_drain();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_queue_that_fails_is_told_without_its_reasons() {
    let agent = Agent::start().await;
    agent.shutdown.begin_drain();
    agent.queue.close().await;
    let submitted = agent.submit(&nested("1")).await;
    submitted.assert_problem(503, "unavailable");
    assert_eq!(submitted.header("retry-after"), "5");
    for path in ["/tasks", "/tasks/1", "/tasks/1/events", "/get_tasks_count", "/tasks_processed", "/metrics"]
    {
        let answer = agent.get(path).await;
        answer.assert_problem(503, "unavailable");
        assert!(!answer.text.contains("sqlite") && !answer.text.contains("closed"), "{}", answer.text);
    }
    agent.delete("/tasks/1").await.assert_problem(503, "unavailable");
    agent.post("/tasks/1/retry").await.assert_problem(503, "unavailable");
    let health = agent.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (503, &json!("unhealthy")));
    assert_eq!(agent.get("/live").await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_cannot_steer_the_agent() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    let host = agent.base.strip_prefix("http://").unwrap().to_owned();
    let own = format!("http://{host}");
    let refused = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "null"),
    ];
    for (name, value) in refused {
        for (method, path) in [
            (Method::GET, "/stop"),
            (Method::POST, "/stop"),
            (Method::GET, "/handle_tasks"),
            (Method::POST, "/tasks"),
            (Method::DELETE, "/tasks/1"),
            (Method::POST, "/tasks/1/retry"),
        ] {
            let request = agent.request(method, path).header(name, value);
            Answer::of(request).await.assert_problem(403, "cross-site");
        }
        let reading = agent.request(Method::GET, "/get_handling_tasks_status").header(name, value);
        assert_eq!(Answer::of(reading).await.body, json!({"handling_tasks": true}));
    }
    for (name, value) in
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", own.as_str())]
    {
        let request = agent.request(Method::POST, "/stop").header(name, value);
        assert_eq!(Answer::of(request).await.status, 200);
    }
}
