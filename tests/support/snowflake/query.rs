//! Statements: handlers of the test run them, and their answers come at once, later, or in chunks.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::session::{Session, authenticate};
use super::{Seen, Shared, SnowflakeDouble, failed, lock, succeeded};

/// Runs a statement, or leaves it to the next handler.
pub(crate) type Handler = Arc<dyn Fn(&Call<'_>) -> Option<Answer> + Send + Sync>;

/// All statements.
#[derive(Default)]
pub(crate) struct Queries {
    handlers: Vec<Handler>,
    /// Answers by `requestId`: a repetition gets the first one.
    answered: BTreeMap<String, String>,
    /// By identifier.
    queries: BTreeMap<String, Query>,
    executed: Vec<String>,
    aborted: Vec<String>,
    /// Statements with one of these texts in them wait for [`SnowflakeDouble::release`].
    held: Vec<String>,
    chunks: BTreeMap<String, Chunk>,
}

/// One statement, as a handler sees it.
pub(crate) struct Call<'a> {
    pub(crate) session: &'a Session,
    pub(crate) sql: &'a str,
    /// The values of `?`, in order.
    pub(crate) bindings: Vec<Option<String>>,
    /// Parameters of this statement.
    pub(crate) parameters: &'a Value,
    /// The whole request.
    pub(crate) body: &'a Value,
}

/// What a statement is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    result: Result<Value, (String, String, String)>,
    polls: usize,
}

impl Answer {
    /// Rows of texts.
    pub(crate) fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Self {
        let columns: Vec<_> = columns.iter().map(|name| (*name, "text")).collect();
        Self::typed_rows(&columns, rows)
    }

    /// Rows in the notation of JSON, with the type of each column.
    pub(crate) fn typed_rows(columns: &[(&str, &str)], rows: &[&[Option<&str>]]) -> Self {
        let types: Vec<_> = columns
            .iter()
            .map(|(name, kind)| json!({"name": name, "type": kind, "nullable": true, "scale": 3}))
            .collect();
        Self::data(json!({
            "rowtype": types, "rowset": rows, "queryResultFormat": "json", "total": rows.len(), "returned": rows.len(),
        }))
    }

    /// One row with one text: what a procedure returns.
    pub(crate) fn value(text: &str) -> Self {
        Self::rows(&["VALUE"], &[&[Some(text)]])
    }

    /// `data` as it is; an identifier is added.
    pub(crate) fn data(data: Value) -> Self {
        Self { result: Ok(data), polls: 0 }
    }

    pub(crate) fn error(code: &str, sql_state: &str, message: &str) -> Self {
        let error = (code.to_owned(), sql_state.to_owned(), message.to_owned());
        Self { result: Err(error), polls: 0 }
    }

    /// The statement is still running at the first `polls` looks.
    pub(crate) fn after_polls(mut self, polls: usize) -> Self {
        self.polls = polls;
        self
    }
}

struct Query {
    request_id: String,
    sql: String,
    answer: Answer,
    polls: usize,
    is_aborted: bool,
}

/// What a chunk is answered with: each of them once, the last one for ever.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    replies: VecDeque<ChunkReply>,
    /// Headers without which it is refused.
    headers: Vec<(String, String)>,
}

/// One answer to a request for a chunk.
#[derive(Clone, Debug)]
pub(crate) enum ChunkReply {
    Body(Vec<u8>),
    Status(u16),
}

impl ChunkReply {
    /// The same bytes, packed.
    pub(crate) fn gzip(body: &[u8]) -> Self {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(body).expect("memory takes everything");
        Self::Body(packer.finish().expect("memory takes everything"))
    }
}

impl SnowflakeDouble {
    /// Adds a handler; the first that has an answer runs the statement.
    pub(crate) fn on(&self, handler: impl Fn(&Call<'_>) -> Option<Answer> + Send + Sync + 'static) {
        lock(&self.state.queries).handlers.push(Arc::new(handler));
    }

    /// Answers the statement with exactly this text.
    pub(crate) fn answer(&self, sql: &str, answer: Answer) {
        let sql = sql.to_owned();
        self.on(move |call| (call.sql == sql).then(|| answer.clone()));
    }

    /// The texts of the statements that were executed, in order; repetitions of a request are not.
    pub(crate) fn executed(&self) -> Vec<String> {
        lock(&self.state.queries).executed.clone()
    }

    /// The texts of the statements that were aborted.
    pub(crate) fn aborted(&self) -> Vec<String> {
        lock(&self.state.queries).aborted.clone()
    }

    /// Statements with `text` in them get no answer before [`Self::release`].
    pub(crate) fn hold(&self, text: &str) {
        lock(&self.state.queries).held.push(text.to_owned());
    }

    /// Lets every held statement go on.
    pub(crate) fn release(&self) {
        lock(&self.state.queries).held.clear();
        self.state.changed.notify_waiters();
    }

    /// Puts a chunk where results can refer to it, and returns its signed URL.
    pub(crate) fn put_chunk(&self, replies: Vec<ChunkReply>, headers: &[(&str, &str)]) -> String {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let name = uuid::Uuid::new_v4().simple().to_string();
        let chunk = Chunk { replies: replies.into(), headers };
        lock(&self.state.queries).chunks.insert(name.clone(), chunk);
        format!("{}/chunks/{name}?X-Amz-Signature=5ec2e7", self.state.base)
    }
}

pub(super) async fn run(state: &Arc<Shared>, seen: &Seen) -> Response {
    let session = match authenticate(state, seen) {
        Ok(session) => session,
        Err(refusal) => return refusal.answer(),
    };
    let Some(request_id) = seen.query.get("requestId") else {
        return (StatusCode::BAD_REQUEST, "no requestId").into_response();
    };
    let known = lock(&state.queries).answered.get(request_id).cloned();
    let query_id = match known {
        Some(query_id) => query_id,
        None => execute(state, seen, &session, request_id),
    };
    let sql = seen.body["sqlText"].as_str().unwrap_or_default();
    let is_held = || {
        let queries = lock(&state.queries);
        let is_aborted = queries.queries.get(&query_id).is_some_and(|query| query.is_aborted);
        !is_aborted && queries.held.iter().any(|text| sql.contains(text.as_str()))
    };
    state.wait_while(is_held).await;
    let is_detached = seen.body["asyncExec"] == json!(true);
    if is_detached { in_progress(&query_id, "333334") } else { look(state, &query_id, "333333") }
}

/// Asks the handlers and keeps the answer under its identifiers.
fn execute(state: &Arc<Shared>, seen: &Seen, session: &Session, request_id: &str) -> String {
    let sql = seen.body["sqlText"].as_str().unwrap_or_default();
    let bindings = (1..).map_while(|place: usize| seen.body["bindings"].get(place.to_string()));
    let call = Call {
        session,
        sql,
        bindings: bindings.map(|binding| binding["value"].as_str().map(str::to_owned)).collect(),
        parameters: &seen.body["parameters"],
        body: &seen.body,
    };
    // Handlers may use the double, so no lock is held.
    let handlers = lock(&state.queries).handlers.clone();
    let answer = handlers.iter().find_map(|handler| handler(&call)).unwrap_or_else(|| {
        Answer::error("001003", "42000", &format!("SQL compilation error: no handler for '{sql}'"))
    });
    let query_id = uuid::Uuid::new_v4().to_string();
    let polls = answer.polls;
    let query =
        Query { request_id: request_id.to_owned(), sql: sql.to_owned(), answer, polls, is_aborted: false };
    let mut queries = lock(&state.queries);
    queries.executed.push(sql.to_owned());
    queries.answered.insert(request_id.to_owned(), query_id.clone());
    queries.queries.insert(query_id.clone(), query);
    query_id
}

/// One look at a statement: the answer, or that it still runs.
fn look(state: &Arc<Shared>, query_id: &str, running: &str) -> Response {
    let mut queries = lock(&state.queries);
    let Some(query) = queries.queries.get_mut(query_id) else {
        return failed("000612", "02000", "Result not found");
    };
    if query.polls > 0 {
        query.polls -= 1;
        return in_progress(query_id, running);
    }
    match &query.answer.result {
        Ok(data) => {
            let mut data = data.clone();
            if let Some(members) = data.as_object_mut() {
                members.insert("queryId".to_owned(), json!(query_id));
            }
            succeeded(data)
        }
        Err((code, sql_state, message)) => {
            let data = json!({"errorCode": code, "sqlState": sql_state, "queryId": query_id});
            Json(json!({"success": false, "code": code, "message": message, "data": data})).into_response()
        }
    }
}

fn in_progress(query_id: &str, code: &str) -> Response {
    let data = json!({"queryId": query_id, "getResultUrl": format!("/queries/{query_id}/result")});
    Json(json!({"success": true, "code": code, "message": "Query execution in progress.", "data": data}))
        .into_response()
}

pub(super) fn result(state: &Arc<Shared>, seen: &Seen, query_id: &str) -> Response {
    match authenticate(state, seen) {
        Ok(_) => look(state, query_id, "333334"),
        Err(refusal) => refusal.answer(),
    }
}

pub(super) fn monitor(state: &Arc<Shared>, seen: &Seen, query_id: &str) -> Response {
    if let Err(refusal) = authenticate(state, seen) {
        return refusal.answer();
    }
    let queries = lock(&state.queries);
    let entries: Vec<_> = queries
        .queries
        .get(query_id)
        .map(|query| match (&query.answer.result, query.polls) {
            (_, 1..) => json!({"id": query_id, "status": "RUNNING"}),
            (Ok(_), 0) => json!({"id": query_id, "status": "SUCCESS"}),
            (Err((code, _, message)), 0) => {
                json!({"id": query_id, "status": "FAILED_WITH_ERROR", "errorCode": code, "errorMessage": message})
            }
        })
        .into_iter()
        .collect();
    succeeded(json!({ "queries": entries }))
}

pub(super) fn abort(state: &Arc<Shared>, seen: &Seen) -> Response {
    if let Err(refusal) = authenticate(state, seen) {
        return refusal.answer();
    }
    let wanted = seen.body["requestId"].as_str().unwrap_or_default();
    let mut queries = lock(&state.queries);
    let query = queries.queries.values_mut().find(|query| query.request_id == wanted);
    let Some(query) = query else {
        return failed("000605", "02000", "Identified SQL statement is not running.");
    };
    query.polls = 0;
    query.is_aborted = true;
    query.answer = Answer::error("000604", "57014", "SQL execution canceled");
    let sql = query.sql.clone();
    queries.aborted.push(sql);
    drop(queries);
    state.changed.notify_waiters();
    succeeded(Value::Null)
}

pub(super) fn chunk(state: &Arc<Shared>, seen: &Seen, name: &str) -> Response {
    // A storage service refuses a request with two ways to authenticate.
    if seen.headers.contains_key("authorization") || seen.query.contains_key("request_guid") {
        return (StatusCode::BAD_REQUEST, "only one auth mechanism allowed").into_response();
    }
    let mut queries = lock(&state.queries);
    let Some(chunk) = queries.chunks.get_mut(name) else { return StatusCode::NOT_FOUND.into_response() };
    let has = |(name, value): &(String, String)| {
        seen.headers.get(name.as_str()).is_some_and(|given| given.as_bytes() == value.as_bytes())
    };
    if !chunk.headers.iter().all(has) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let reply = match chunk.replies.len() {
        0 | 1 => chunk.replies.front().cloned(),
        _ => chunk.replies.pop_front(),
    };
    match reply {
        Some(ChunkReply::Body(body)) => body.into_response(),
        Some(ChunkReply::Status(status)) => {
            StatusCode::from_u16(status).expect("a valid status").into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
