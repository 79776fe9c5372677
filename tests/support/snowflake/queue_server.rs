//! The queue behind the protocol: logins, statements, and the faults of a network.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::SnowflakeDouble;
use super::query::Answer as Answered;
use super::queue::{Answer, Queue, Version};

/// Lets the double of the protocol answer the calls of a queue.
pub(crate) fn mount(queue: &Arc<Queue>, double: &SnowflakeDouble) {
    let queue = Arc::clone(queue);
    double.on(move |call| {
        if call.sql.contains("INFORMATION_SCHEMA.PROCEDURES") {
            return Some(Answered::data(names(&queue)));
        }
        let (name, _) = called(call.sql)?;
        Some(match queue.call(&name, &call.bindings) {
            Some(answer) => Answered::data(data(&answer)),
            None => {
                Answered::error("002141", "42601", "SQL compilation error: Unknown user-defined function")
            }
        })
    });
}

/// What happens to the next calls of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is carried out, and the connection breaks in place of an answer.
    AnswerLost,
    /// The same, and the server does not remember the request when it comes again.
    AnswerLostAndForgotten,
    /// It is not carried out, and fails with an error that does not pass.
    Refused,
    /// It waits until the test lets it go on.
    Held,
}

/// A server of its own for one test.
pub(crate) struct QueueServer {
    pub(crate) queue: Arc<Queue>,
    shared: Arc<Shared>,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    queue: Arc<Queue>,
    troubles: Mutex<HashMap<String, Vec<Trouble>>>,
    /// Answers by the id of their request.
    answered: Mutex<HashMap<String, Value>>,
    gate: Semaphore,
    waiting: AtomicUsize,
    is_down: AtomicBool,
    logins: AtomicUsize,
    statements: AtomicUsize,
    texts: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl QueueServer {
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
    pub(crate) async fn start(version: Version) -> Self {
        let queue = Arc::new(Queue::new(version));
        let shared = Arc::new(Shared {
            queue: Arc::clone(&queue),
            troubles: Mutex::default(),
            answered: Mutex::default(),
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
            logins: AtomicUsize::new(0),
            statements: AtomicUsize::new(0),
            texts: Mutex::default(),
        });
        let router = Router::new()
            .route("/session/v1/login-request", post(login))
            .route("/session/heartbeat", post(nothing))
            .route("/session", post(nothing))
            .route("/queries/v1/abort-request", post(nothing))
            .route("/queries/v1/query-request", post(statement))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { queue, shared, address, server }
    }

    /// Writes the connection `queue`, which leads here, into the connection file of Snowflake's tools
    /// below `home`.
    pub(crate) fn write_connection_file(&self, home: &Path) {
        write_connection_file(self.address, home);
    }

    /// What happens to the next calls of a procedure, one after the other.
    pub(crate) fn trouble(&self, procedure: &str, troubles: impl IntoIterator<Item = Trouble>) {
        locked(&self.shared.troubles).entry(procedure.to_owned()).or_default().extend(troubles);
    }

    /// How many troubles of a procedure have not happened yet.
    pub(crate) fn troubles_left(&self, procedure: &str) -> usize {
        locked(&self.shared.troubles).get(procedure).map_or(0, Vec::len)
    }

    /// How many calls are held.
    pub(crate) fn held(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Lets one held call go on.
    pub(crate) fn let_go(&self) {
        self.shared.gate.add_permits(1);
    }

    /// The server cannot be reached, or can again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    pub(crate) fn statements(&self) -> usize {
        self.shared.statements.load(Ordering::SeqCst)
    }

    /// Texts of all statements.
    pub(crate) fn texts(&self) -> Vec<String> {
        locked(&self.shared.texts).clone()
    }
}

/// Writes the connection `queue`, which leads to `address`, into the connection file of Snowflake's tools
/// below `home`.
pub(crate) fn write_connection_file(address: SocketAddr, home: &Path) {
    let folder = home.join(".snowflake");
    fs::create_dir_all(&folder).expect("the folder of a test takes new ones");
    let lines = format!(
        "[queue]\naccount = \"test\"\nhost = \"127.0.0.1\"\nport = {}\nprotocol = \"http\"\n\
         user = \"agent\"\npassword = \"hunter2\"\nclient_session_keep_alive = false\n",
        address.port()
    );
    let file = folder.join("connections.toml");
    fs::write(&file, lines).expect("write the connection file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

impl Drop for QueueServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn login(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    shared.logins.fetch_add(1, Ordering::SeqCst);
    envelope(&json!({
        "token": "session", "masterToken": "master", "validityInSeconds": 3600,
        "masterValidityInSeconds": 14400, "sessionId": 1, "parameters": [],
        "sessionInfo": {"databaseName": null, "schemaName": null, "warehouseName": "WH", "roleName": "R"},
    }))
}

async fn nothing() -> Response {
    envelope(&Value::Null)
}

fn envelope(data: &Value) -> Response {
    axum::Json(json!({"data": data, "success": true, "code": null, "message": null})).into_response()
}

fn failure(code: &str, message: &str) -> Response {
    let data = json!({"errorCode": code, "sqlState": "42601"});
    axum::Json(json!({"data": data, "success": false, "code": code, "message": message})).into_response()
}

/// A body that breaks off.
fn broken() -> Response {
    let lost = std::io::Error::other("the answer is lost");
    Body::from_stream(futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(lost)])).into_response()
}

async fn statement(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    if shared.is_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let request = query.get("requestId").cloned().expect("a request has an id");
    if let Some(data) = locked(&shared.answered).get(&request) {
        return envelope(data);
    }
    shared.statements.fetch_add(1, Ordering::SeqCst);
    let body: Value = serde_json::from_slice(&body).expect("a body is JSON");
    let sql = body["sqlText"].as_str().expect("a statement").to_owned();
    locked(&shared.texts).push(sql.clone());
    let bindings = |count: usize| -> Vec<Option<String>> {
        let value = |place: usize| body["bindings"][place.to_string()]["value"].as_str().map(str::to_owned);
        (1..=count).map(value).collect()
    };
    if sql.contains("INFORMATION_SCHEMA.PROCEDURES") {
        return envelope(&names(&shared.queue));
    }
    let Some((name, marks)) = called(&sql) else {
        return failure("001003", "SQL compilation error: syntax error");
    };
    let trouble = {
        let mut troubles = locked(&shared.troubles);
        let list = troubles.entry(name.clone()).or_default();
        if list.is_empty() { None } else { Some(list.remove(0)) }
    };
    match trouble {
        Some(Trouble::Refused) => return failure("002003", "Object does not exist or not authorized."),
        Some(Trouble::Held) => {
            shared.waiting.fetch_add(1, Ordering::SeqCst);
            shared.gate.acquire().await.expect("never closed").forget();
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        Some(Trouble::AnswerLost | Trouble::AnswerLostAndForgotten) | None => {}
    }
    let Some(answer) = shared.queue.call(&name, &bindings(marks)) else {
        return failure("002141", "SQL compilation error: Unknown user-defined function");
    };
    let data = data(&answer);
    if trouble != Some(Trouble::AnswerLostAndForgotten) {
        locked(&shared.answered).insert(request, data.clone());
    }
    match trouble {
        Some(Trouble::AnswerLost | Trouble::AnswerLostAndForgotten) => broken(),
        _ => envelope(&data),
    }
}

/// The procedures that the role of the agent can see.
fn names(queue: &Queue) -> Value {
    let rows = queue.procedures().iter().map(|name| vec![json!(name)]).collect();
    data(&Answer { columns: vec![("NAME", "text")], rows })
}

/// Name and number of arguments of a CALL whose arguments are all bound.
fn called(sql: &str) -> Option<(String, usize)> {
    let (place, arguments) = sql.strip_prefix("CALL ")?.strip_suffix(')')?.split_once('(')?;
    let name = place.strip_prefix("SNOWCONVERT_AI.DATA_MIGRATION.")?;
    assert!(arguments.chars().all(|letter| "?, ".contains(letter)), "every value is bound: {sql}");
    Some((name.to_owned(), arguments.matches('?').count()))
}

fn data(answer: &Answer) -> Value {
    let column = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "nullable": true, "precision": 38, "scale": 0, "length": 16_777_216});
    json!({
        "queryId": uuid::Uuid::new_v4().to_string(),
        "queryResultFormat": "json",
        "rowtype": answer.columns.iter().map(column).collect::<Vec<_>>(),
        "rowset": answer.rows,
        "total": answer.rows.len(),
        "returned": answer.rows.len(),
        "parameters": [],
    })
}
