//! Stands before the emulator and works around what it cannot do: LIST with a path, and two
//! statements of one session at the same time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Mutex;

#[derive(Clone)]
struct Front {
    client: reqwest::Client,
    emulator: SocketAddr,
    one_at_a_time: Arc<Mutex<()>>,
}

/// Starts a server that passes requests on to `emulator` one after the other, and LIST without its
/// path, so that the whole stage is listed. It ends with the runtime of the test.
#[expect(clippy::disallowed_methods, reason = "it is no part of the agent, no stop waits for it")]
pub(crate) async fn start(emulator: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let router = Router::new().fallback(pass_on).layer(DefaultBodyLimit::disable()).with_state(Front {
        client,
        emulator,
        one_at_a_time: Arc::default(),
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn pass_on(
    State(Front { client, emulator, one_at_a_time }): State<Front>,
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
    let _turn = one_at_a_time.lock().await;
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
