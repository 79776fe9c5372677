//! A relay in front of fakesnow that makes it behave like Snowflake where the agent depends on it,
//! writes down every statement, and makes faults on request.
//!
//! What it adds: a request that is sent again under its own id gets the first answer and does not run
//! again; COPY with FILES; temporary tables with a full name; options of CSV that fakesnow does not
//! know; MERGE in a transaction; LIST with a path; REMOVE; statements of one session at the same time;
//! a session that ends rolls its transaction back.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::agent::PATIENCE;

/// What happens to one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// It runs.
    Forward,
    /// It does not run, and nobody answers: for an agent that dies before it could send it.
    HoldBefore,
    /// It runs, and nobody answers: for an agent that dies before it could read the answer.
    HoldAfter,
    /// The session is gone before it runs.
    LoseBefore,
    /// It runs, then the session is gone, and the answer with it.
    LoseAfter,
    /// It runs, and the connection ends in place of the answer.
    CutAnswer,
}

type Treat = Box<dyn Fn(&str) -> Treatment + Send + Sync>;

/// A listening relay. Ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    http: reqwest::Client,
    state: Mutex<Relayed>,
    /// A permit for each statement that is held.
    held: Semaphore,
}

#[derive(Default)]
struct Relayed {
    treat: Option<Treat>,
    statements: Vec<String>,
    /// The token of the session of every held or lost statement.
    ended: Vec<String>,
    answers: HashMap<String, Bytes>,
    /// One for each session: fakesnow refuses a statement while another one of its session runs.
    turns: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
}

impl Relay {
    /// Starts a relay that forwards everything.
    #[expect(clippy::disallowed_methods, reason = "the relay is no part of the agent, no stop waits for it")]
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            server,
            // fakesnow closes idle connections, which a new request can meet.
            http: reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client"),
            state: Mutex::default(),
            held: Semaphore::new(0),
        });
        let router = Router::new().fallback(relay).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Asks `treat` about every statement from now on.
    pub(crate) fn treat(&self, treat: impl Fn(&str) -> Treatment + Send + Sync + 'static) {
        self.shared.state().treat = Some(Box::new(treat));
    }

    /// Forwards everything from now on.
    pub(crate) fn forward(&self) {
        self.shared.state().treat = None;
    }

    /// The statements since the last call, as they were sent.
    pub(crate) fn take_statements(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().statements)
    }

    /// Waits until a statement is held.
    pub(crate) async fn held(&self) {
        let held = tokio::time::timeout(PATIENCE, self.shared.held.acquire()).await;
        held.expect("a statement is held").expect("the semaphore is never closed").forget();
    }

    /// What the server does about the sessions of a dead agent, sooner or later.
    pub(crate) async fn end_held_sessions(&self) {
        let ended = std::mem::take(&mut self.shared.state().ended);
        for token in ended {
            self.shared.end_session(&token).await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Relayed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(
        &self,
        path: &str,
        headers: HeaderMap,
        method: axum::http::Method,
        body: Bytes,
    ) -> (StatusCode, Bytes) {
        let url = format!("http://{}{path}", self.server);
        let mut request = self.http.request(method, url).body(body);
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("fakesnow answers");
        (answer.status(), answer.bytes().await.expect("the whole answer"))
    }

    /// Closing a session of fakesnow alone leaves its transaction open.
    async fn end_session(&self, token: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, token.parse().expect("it was a header"));
        headers.insert(header::CONTENT_TYPE, "application/json".parse().expect("a header"));
        let roll_back = json!({"sqlText": "ROLLBACK"}).to_string();
        for (path, body) in
            [("/queries/v1/query-request", roll_back), ("/session?delete=true", "{}".to_owned())]
        {
            self.send(path, headers.clone(), axum::http::Method::POST, body.into()).await;
        }
    }
}

async fn relay(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let token =
        parts.headers.get(header::AUTHORIZATION).and_then(|token| token.to_str().ok()).map(str::to_owned);
    if path.starts_with("/session?delete") || path.contains("delete=true") {
        if let Some(token) = token {
            shared.end_session(&token).await;
        }
        return json_answer(StatusCode::OK, success(json!(null)));
    }
    if !path.starts_with("/queries/v1/query-request") {
        let (status, answer) = shared.send(&path, parts.headers, parts.method, body).await;
        return json_answer(status, answer);
    }
    let id = path.split(['?', '&']).find_map(|pair| pair.strip_prefix("requestId=")).unwrap_or("").to_owned();
    if let Some(answer) = shared.state().answers.get(&id) {
        return json_answer(StatusCode::OK, answer.clone());
    }
    let mut statement: Value = serde_json::from_slice(&body).expect("a statement is JSON");
    let sql = statement["sqlText"].as_str().expect("a statement has a text").to_owned();
    let treatment = {
        let mut state = shared.state();
        state.statements.push(sql.clone());
        let treatment = state.treat.as_ref().map_or(Treatment::Forward, |treat| treat(&sql));
        if treatment != Treatment::Forward && treatment != Treatment::CutAnswer {
            state.ended.extend(token.clone());
        }
        treatment
    };
    match treatment {
        Treatment::HoldBefore => return hold(&shared).await,
        Treatment::LoseBefore => return lost(&shared).await,
        Treatment::Forward | Treatment::HoldAfter | Treatment::LoseAfter | Treatment::CutAnswer => {}
    }
    let turn = Arc::clone(shared.state().turns.entry(token.unwrap_or_default()).or_default());
    let turn = turn.lock().await;
    let (status, answer) = if sql.starts_with("REMOVE ") {
        (
            StatusCode::OK,
            success(json!({"rowtype": [], "rowset": [], "total": 0, "queryResultFormat": "json"})),
        )
    } else if let Some(statements) = split_merge(&sql) {
        let mut counts = Vec::new();
        let mut last = (StatusCode::OK, Bytes::new());
        for sql in statements {
            statement["sqlText"] = json!(sql);
            let body = statement.to_string().into();
            last = shared.send(&path, parts.headers.clone(), parts.method.clone(), body).await;
            let answer: Value = serde_json::from_slice(&last.1).unwrap_or_default();
            counts.push(answer["data"]["rowset"][0][0].clone());
        }
        match counts.as_slice() {
            [updated, inserted] if updated.is_string() && inserted.is_string() => {
                let column = |name: &str| json!({"name": name, "type": "fixed", "precision": 38, "scale": 0, "nullable": false});
                let rowtype = [column("number of rows inserted"), column("number of rows updated")];
                let data = json!({"rowtype": rowtype, "rowset": [[inserted, updated]], "total": 1, "queryResultFormat": "json"});
                (StatusCode::OK, success(data))
            }
            _ => last,
        }
    } else {
        statement["sqlText"] = json!(adapt(&sql));
        let body = statement.to_string().into();
        shared.send(&path, parts.headers, parts.method, body).await
    };
    drop(turn);
    shared.state().answers.insert(id, answer.clone());
    match treatment {
        Treatment::HoldAfter => hold(&shared).await,
        Treatment::LoseAfter => lost(&shared).await,
        Treatment::CutAnswer => {
            let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
            Response::new(Body::from_stream(broken))
        }
        Treatment::Forward | Treatment::HoldBefore | Treatment::LoseBefore => json_answer(status, answer),
    }
}

async fn hold(shared: &Shared) -> Response {
    shared.held.add_permits(1);
    std::future::pending().await
}

async fn lost(shared: &Shared) -> Response {
    let ended = std::mem::take(&mut shared.state().ended);
    for token in ended {
        shared.end_session(&token).await;
    }
    let answer = json!({"success": false, "code": "390114", "message": "Authentication token has expired.", "data": {}});
    json_answer(StatusCode::OK, answer.to_string().into())
}

fn success(data: Value) -> Bytes {
    json!({"success": true, "code": null, "message": null, "data": data}).to_string().into()
}

fn json_answer(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An UPDATE and an INSERT that do what the MERGE of a load does. fakesnow has MERGE, and not inside a
/// transaction.
fn split_merge(sql: &str) -> Option<[String; 2]> {
    let (table, rest) = sql.strip_prefix("MERGE INTO ")?.split_once(" AS t USING ")?;
    let (rows, rest) = rest.split_once(" AS s ON ")?;
    let (on, rest) = rest.split_once(" WHEN MATCHED THEN UPDATE SET ")?;
    let (set, rest) = rest.split_once(" WHEN NOT MATCHED THEN INSERT (")?;
    let (columns, values) = rest.split_once(") VALUES (")?;
    let values = values.strip_suffix(')')?;
    Some([
        format!("UPDATE {table} AS t SET {set} FROM {rows} AS s WHERE {on}"),
        format!(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM {rows} AS s \
             WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {on})"
        ),
    ])
}

/// Writes a statement so that fakesnow does the same with it as Snowflake.
fn adapt(sql: &str) -> String {
    if let Some((list, _path)) = sql.split_once('/').filter(|_| sql.starts_with("LIST @")) {
        // All files of the stage: the agent looks at their names itself.
        return list.to_owned();
    }
    let mut sql = sql.replace("CREATE TEMPORARY TABLE", "CREATE TABLE").replace(" BINARY_FORMAT=HEX", "");
    for delimiter in [" RECORD_DELIMITER='\\n'", " RECORD_DELIMITER='\\r\\n'"] {
        sql = sql.replace(delimiter, "");
    }
    let Some((before, rest)) = sql.split_once(" FILES=(") else { return sql };
    let (files, after) = rest.split_once(')').expect("FILES has an end");
    let files: Vec<&str> = files.split(',').map(|file| file.trim_matches('\'')).collect();
    match files.as_slice() {
        [file] => format!("{before}{file}{after}"),
        // A directory that has these files only.
        _ => format!("{before}{after}"),
    }
}
