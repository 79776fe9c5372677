//! A double of Snowflake's protocol, for what no emulator has: sessions that expire, statements that
//! take long, answers that get lost.
//!
//! One server with a state for each part: [`session`] knows who is logged in, [`query`] runs
//! statements by asking the handlers of the test. It counts what it sees and makes faults on request.

pub(crate) mod front;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod queue_server;
pub(crate) mod session;
pub(crate) mod stage;
pub(crate) mod stage_storage;
pub(crate) mod warehouse;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use data_exchange_agent::config::Secret;
use data_exchange_agent::snowflake::Connection;
use data_exchange_agent::snowflake::account::AccountName;
use data_exchange_agent::snowflake::authentication::{Authentication, Password};
use data_exchange_agent::snowflake::connection::Protocol;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::query::Queries;
use self::session::Sessions;

/// The largest request that is read.
const LARGEST_BODY: usize = 64 << 20;

/// A running double; clones are the same server. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct SnowflakeDouble {
    address: SocketAddr,
    pub(crate) state: Arc<Shared>,
}

/// What the parts of the double share.
pub(crate) struct Shared {
    pub(crate) base: String,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) queries: Mutex<Queries>,
    /// Wakes statements that are held.
    pub(crate) changed: tokio::sync::Notify,
    faults: Mutex<VecDeque<(String, Fault)>>,
    /// Requests whose path begins so are neither carried out nor answered for now.
    held_paths: Mutex<Vec<String>>,
    seen: Mutex<Vec<Seen>>,
    /// Nanoseconds in which requests were carried out, all of them together.
    busy: AtomicU64,
}

/// What happens to a request in place of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is not carried out, and answered with this status.
    Status(u16),
    /// The same with `Retry-After` in seconds.
    StatusAfter(u16, u64),
    /// It is carried out, and the connection ends in the middle of the answer.
    LoseAnswer,
    /// It is not carried out, and the connection ends.
    LoseRequest,
    /// It is carried out, and something else than JSON is answered.
    Garble,
    /// It is not carried out, and this is answered.
    Answer(Value),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl SnowflakeDouble {
    /// Starts the server on a free port.
    #[expect(clippy::disallowed_methods, reason = "the double is no part of the agent, no stop waits for it")]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Shared {
            base: format!("http://{address}"),
            sessions: Mutex::default(),
            queries: Mutex::default(),
            changed: tokio::sync::Notify::new(),
            faults: Mutex::default(),
            held_paths: Mutex::default(),
            seen: Mutex::default(),
            busy: AtomicU64::new(0),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// How the agent is told to connect to it.
    pub(crate) fn connection(&self) -> Connection {
        connection_to(self.address)
    }

    /// A target section of a configuration that leads here.
    pub(crate) fn section(&self) -> String {
        let address = self.address();
        format!(
            "kind = \"snowflake\"\naccount = \"test-account\"\nhost = \"{}\"\nport = {}\nprotocol = \"http\"\n\
             user = \"tester\"\npassword = \"hunter2\"\n",
            address.ip(),
            address.port()
        )
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long requests were carried out, all of them together; what the network takes is not in it.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.state.busy.load(Ordering::Relaxed))
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> usize {
        lock(&self.state.seen).len()
    }

    /// The next request whose path begins with `path` gets `fault`. Faults wait in a row.
    pub(crate) fn fail_next(&self, path: &str, fault: Fault) {
        lock(&self.state.faults).push_back((path.to_owned(), fault));
    }

    /// The next `count` requests do.
    pub(crate) fn fail(&self, path: &str, fault: &Fault, count: usize) {
        for _ in 0..count {
            self.fail_next(path, fault.clone());
        }
    }

    /// Requests whose path begins with `path` wait for [`Self::release_requests`].
    pub(crate) fn hold_requests(&self, path: &str) {
        lock(&self.state.held_paths).push(path.to_owned());
    }

    /// Lets every held request go on.
    pub(crate) fn release_requests(&self) {
        lock(&self.state.held_paths).clear();
        self.state.changed.notify_waiters();
    }

    /// The requests so far whose path begins with `path`.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = lock(&self.state.seen);
        seen.iter().filter(|request| request.path.starts_with(path)).cloned().collect()
    }
}

impl Shared {
    /// Waits until `is_held` says no.
    pub(crate) async fn wait_while(&self, is_held: impl Fn() -> bool) {
        loop {
            // Registered before the look, so that no release is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !is_held() {
                return;
            }
            changed.await;
        }
    }
}

/// The one lock on a part; no holder panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

async fn serve(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query).into_owned().collect(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    lock(&state.seen).push(seen.clone());
    state
        .wait_while(|| lock(&state.held_paths).iter().any(|path| seen.path.starts_with(path.as_str())))
        .await;
    let fault = {
        let mut faults = lock(&state.faults);
        let place = faults.iter().position(|(path, _)| seen.path.starts_with(path.as_str()));
        place.and_then(|place| faults.remove(place)).map(|(_, fault)| fault)
    };
    match fault {
        None => route(&state, &seen, body).await,
        Some(Fault::Status(status)) => refused(status, None),
        Some(Fault::StatusAfter(status, seconds)) => refused(status, Some(seconds)),
        Some(Fault::LoseRequest) => lost(),
        Some(Fault::LoseAnswer) => {
            route(&state, &seen, body).await;
            lost()
        }
        Some(Fault::Garble) => {
            route(&state, &seen, body).await;
            "<html>a proxy was here</html>".into_response()
        }
        Some(Fault::Answer(answer)) => Json(answer).into_response(),
    }
}

async fn route(state: &Arc<Shared>, seen: &Seen, body: Bytes) -> Response {
    let begun = Instant::now();
    let response = answer(state, seen, body).await;
    let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    state.busy.fetch_add(nanoseconds, Ordering::Relaxed);
    response
}

async fn answer(state: &Arc<Shared>, seen: &Seen, _body: Bytes) -> Response {
    let parts: Vec<&str> = seen.path.trim_matches('/').split('/').collect();
    match (seen.method.as_str(), parts.as_slice()) {
        ("POST", ["session", "v1", "login-request"]) => session::log_in(state, seen),
        ("POST", ["session", "token-request"]) => session::renew(state, seen),
        ("POST", ["session", "heartbeat"]) => session::heartbeat(state, seen),
        ("POST", ["session"]) if seen.query.get("delete").is_some_and(|delete| delete == "true") => {
            session::close(state, seen)
        }
        ("POST", ["queries", "v1", "query-request"]) => query::run(state, seen).await,
        ("POST", ["queries", "v1", "abort-request"]) => query::abort(state, seen),
        ("GET", ["queries", query_id, "result"]) => query::result(state, seen, query_id),
        ("GET", ["monitoring", "queries", query_id]) => query::monitor(state, seen, query_id),
        ("GET", ["chunks", name]) => query::chunk(state, seen, name),
        _ => (StatusCode::NOT_FOUND, "Not Found").into_response(),
    }
}

/// A status without an answer of Snowflake.
fn refused(status: u16, after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).expect("a valid status");
    match after {
        Some(seconds) => (status, [(header::RETRY_AFTER, seconds.to_string())], "busy").into_response(),
        None => (status, "busy").into_response(),
    }
}

/// An answer that ends before its body does.
fn lost() -> Response {
    let pieces = [Ok(Bytes::from_static(b"{\"succ")), Err(std::io::Error::other("the connection is cut"))];
    Response::new(Body::from_stream(futures::stream::iter(pieces)))
}

/// An answer with data.
pub(crate) fn succeeded(data: Value) -> Response {
    Json(json!({"success": true, "code": null, "message": null, "data": data})).into_response()
}

/// An answer that tells of a failure.
pub(crate) fn failed(code: &str, sql_state: &str, message: &str) -> Response {
    let data = json!({"errorCode": code, "sqlState": sql_state});
    Json(json!({"success": false, "code": code, "message": message, "data": data})).into_response()
}

/// A connection with name and password to `address`, without TLS and without heartbeats.
pub(crate) fn connection_to(address: SocketAddr) -> Connection {
    Connection {
        account: AccountName::parse("test-account").expect("a valid name"),
        host: address.ip().to_string(),
        port: address.port(),
        protocol: Protocol::Http,
        authentication: Authentication::Password(Password {
            user: "tester".to_owned(),
            password: Secret::new("hunter2"),
            passcode: None,
            passcode_in_password: false,
        }),
        role: None,
        warehouse: None,
        database: None,
        schema: None,
        secondary_roles: None,
        session_parameters: BTreeMap::new(),
        login_timeout: Duration::from_secs(60),
        network_timeout: None,
        socket_timeout: Duration::from_secs(60),
        application: "tests".to_owned(),
        keep_alive: false,
        heartbeat_interval: None,
        service_token_file: None,
    }
}
