//! Stands before the emulator and works around what it does not know: LIST with a path.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// Starts a server that passes every request on to `emulator`, and LIST without its path, so that
/// the whole stage is listed. It ends with the runtime of the test.
#[expect(clippy::disallowed_methods, reason = "it is no part of the agent, no stop waits for it")]
pub(crate) async fn start(emulator: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let router =
        Router::new().fallback(pass_on).layer(DefaultBodyLimit::disable()).with_state((client, emulator));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn pass_on(
    State((client, emulator)): State<(reqwest::Client, SocketAddr)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("the agent sends its bodies");
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut headers = head.headers;
    for name in ["host", "content-length"] {
        headers.remove(name);
    }
    let request = client.request(head.method, format!("http://{emulator}{target}")).headers(headers);
    let Ok(answer) = request.body(without_path(body)).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "content-length" {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.expect("the emulator sends its answers");
    response.body(Body::from(body)).expect("it was an answer before")
}

fn without_path(body: Bytes) -> Bytes {
    let Ok(mut query) = serde_json::from_slice::<Value>(&body) else { return body };
    let Some(sql) = query.get("sqlText").and_then(Value::as_str) else { return body };
    let Some((list, _)) = sql.split_once('/').filter(|_| sql.starts_with("LIST @")) else { return body };
    query["sqlText"] = Value::from(list);
    query.to_string().into()
}
