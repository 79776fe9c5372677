//! One statement: sent, waited for, and aborted when nobody waits any more.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::codes;
use super::envelope::{self, Envelope};
use super::error::Error;
use super::http::{Accept, Call};
use super::session::Session;
use super::statement::Statement;
use crate::fault::FaultKind;

const ACTION: &str = "run a statement on Snowflake";
/// How long an abort may take with its repetitions.
const ABORT_LIMIT: Duration = Duration::from_secs(15);
/// The same while the agent stops and waits for it.
const LAST_ABORT_LIMIT: Duration = Duration::from_secs(3);
/// Pauses between two looks at a statement that runs. The server holds each request itself, so short
/// ones suffice.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Rows are waited for.
    Rows,
    /// PUT or GET: the answer is an order to this side.
    Transfer,
    /// The identifier is enough; the statement goes on alone.
    Detached,
}

/// Runs a statement and returns `data` of the answer that ends it. Dropping the future aborts the
/// statement on the server.
pub(super) async fn execute(
    session: &Arc<Session>,
    statement: &Statement,
    mode: Mode,
) -> Result<Value, Error> {
    // One name for all attempts: the server answers a repetition with the first execution's result.
    let request_id = uuid::Uuid::new_v4().to_string();
    let mut body = statement.body(session.door.agent.as_deref());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    body.insert("asyncExec".to_owned(), json!(mode == Mode::Detached));
    body.insert("sequenceId".to_owned(), json!(session.next_sequence()));
    body.insert("querySubmissionTime".to_owned(), json!(u64::try_from(now).unwrap_or(u64::MAX)));
    body.insert("isInternal".to_owned(), json!(false));
    body.insert("describeOnly".to_owned(), json!(false));
    if mode != Mode::Detached
        && let Some(context) = session.context.lock().unwrap_or_else(PoisonError::into_inner).to_json()
    {
        body.insert("queryContextDTO".to_owned(), context);
    }
    // There has to be a session before there is something to abort.
    session.tokens().await?;
    let running = Running { session: Arc::clone(session), request_id: Some(request_id.clone()) };
    let body = Value::Object(body);
    let call = Call {
        action: ACTION,
        method: Method::POST,
        path: "/queries/v1/query-request",
        query: &[("requestId", &request_id)],
        body: Some(&body),
        accept: if mode == Mode::Transfer { Accept::Json } else { Accept::Snowflake },
        policy: session.door.http.statement(),
    };
    let started = std::time::Instant::now();
    let result = match session.send(&call).await {
        Ok(envelope) if envelope.is_in_progress() && mode == Mode::Detached => Ok(envelope),
        Ok(envelope) => wait(session, envelope, ACTION, call.accept).await,
        Err(error) => Err(error),
    };
    // Whatever the server has said about it, it does not run any more. Without an answer it may.
    if !result.as_ref().is_err_and(Error::is_outcome_unknown) {
        running.has_ended();
    }
    let is_detached = result.as_ref().is_ok_and(Envelope::is_in_progress);
    let data = if is_detached { result?.data } else { result?.into_data(ACTION)? };
    session.context.lock().unwrap_or_else(PoisonError::into_inner).update(&data);
    tracing::debug!(
        query = envelope::text(&data, "queryId"),
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "a statement was answered by Snowflake"
    );
    Ok(data)
}

/// Ends `work` on a statement when its time is up. Dropping the work aborts the statement.
pub(super) async fn limited<T>(
    statement: &Statement,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = statement.time_limit() else { return work.await };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(FaultKind::Transient, ACTION)
            .message(format!("it did not end within {limit:?} and was aborted"))
            .of_unknown_outcome()),
    }
}

/// The result of a query that is known by its identifier, as soon as it has ended.
pub(super) async fn fetch(session: &Arc<Session>, query_id: &str) -> Result<Value, Error> {
    const ACTION: &str = "fetch the result of a query from Snowflake";

    let path = format!("/queries/{}/result", checked(query_id, ACTION)?);
    let envelope = get(session, &path, ACTION, Accept::Snowflake).await?;
    let envelope = wait(session, envelope, ACTION, Accept::Snowflake).await?;
    envelope.into_data(ACTION).map_err(|error| error.of_query(Some(query_id)))
}

/// Follows a statement until it has ended.
async fn wait(
    session: &Arc<Session>,
    mut envelope: Envelope,
    action: &'static str,
    accept: Accept,
) -> Result<Envelope, Error> {
    let mut pause = FIRST_PAUSE;
    while envelope.is_in_progress() {
        let path = match envelope::text(&envelope.data, "getResultUrl") {
            Some(url) => own_path(&url, session.door.http.base()).ok_or_else(|| {
                Error::new(FaultKind::Request, action)
                    .message("the server sent the address of another server for the result")
                    .of_unknown_outcome()
            })?,
            None => match envelope::text(&envelope.data, "queryId") {
                Some(query_id) => format!("/queries/{}/result", checked(&query_id, action)?),
                None => {
                    return Err(Error::new(FaultKind::Transient, action)
                        .message("the statement runs, and the server did not say where its result will be")
                        .of_unknown_outcome());
                }
            },
        };
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        envelope = get(session, &path, action, accept).await?;
    }
    Ok(envelope)
}

async fn get(
    session: &Arc<Session>,
    path: &str,
    action: &'static str,
    accept: Accept,
) -> Result<Envelope, Error> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let call = Call {
        action,
        method: Method::GET,
        path,
        query: &[("requestId", &request_id)],
        body: None,
        accept,
        policy: session.door.http.patient(),
    };
    session.send(&call).await
}

/// What the server knows about a query: the first entry of its monitoring.
pub(super) async fn monitor(session: &Arc<Session>, query_id: &str) -> Result<Option<Value>, Error> {
    const ACTION: &str = "ask Snowflake for the state of a query";

    let path = format!("/monitoring/queries/{}", checked(query_id, ACTION)?);
    let envelope = get(session, &path, ACTION, Accept::Json).await?;
    let data = envelope.into_data(ACTION).map_err(|error| error.of_query(Some(query_id)))?;
    Ok(data.get("queries").and_then(Value::as_array).and_then(|queries| queries.first()).cloned())
}

/// The path of a URL of this server; `None` for any other, because the session token goes there.
fn own_path(url: &str, base: &str) -> Option<String> {
    let base = Url::parse(base).ok()?;
    let url = base.join(url).ok()?;
    if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    Some(match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

/// An identifier that may stand in a path.
fn checked<'a>(query_id: &'a str, action: &'static str) -> Result<&'a str, Error> {
    let is_valid = !query_id.is_empty()
        && query_id.len() <= 100
        && query_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_valid {
        Ok(query_id)
    } else {
        Err(Error::new(FaultKind::Request, action).message("this is no identifier of a query"))
    }
}

/// A statement that may run on the server. Dropping it aborts the statement.
struct Running {
    session: Arc<Session>,
    request_id: Option<String>,
}

impl Running {
    fn has_ended(mut self) {
        self.request_id = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(request_id) = self.request_id.take() else { return };
        // When the runtime itself goes, the server's own time limit has to do.
        if tokio::runtime::Handle::try_current().is_ok() {
            let session = Arc::clone(&self.session);
            let shutdown = session.door.shutdown.clone();
            shutdown.spawn(async move { abort(&session, &request_id).await });
        }
    }
}

async fn abort(session: &Arc<Session>, request_id: &str) {
    let own_id = uuid::Uuid::new_v4().to_string();
    let body = json!({ "requestId": request_id });
    let limit = if session.door.shutdown.is_draining() { LAST_ABORT_LIMIT } else { ABORT_LIMIT };
    let call = Call {
        action: "abort a statement on Snowflake",
        method: Method::POST,
        path: "/queries/v1/abort-request",
        query: &[("requestId", &own_id)],
        body: Some(&body),
        accept: Accept::Json,
        policy: session.door.http.brief(limit),
    };
    match session.send(&call).await {
        Ok(envelope) if envelope.success || envelope.number() == Some(codes::NOTHING_TO_ABORT) => {
            tracing::debug!("a statement on Snowflake was aborted");
        }
        Ok(envelope) => {
            tracing::warn!(error = %envelope.error(call.action), "a statement may still run on Snowflake");
        }
        Err(error) => tracing::warn!(%error, "a statement may still run on Snowflake"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_follows_no_url_to_another_server() {
        let base = "https://a.snowflakecomputing.com:443";
        let own = [
            ("/queries/01-2/result", "/queries/01-2/result"),
            ("/queries/1/result?x=1", "/queries/1/result?x=1"),
            ("https://a.snowflakecomputing.com/queries/1/result", "/queries/1/result"),
        ];
        for (url, path) in own {
            assert_eq!(own_path(url, base).as_deref(), Some(path));
        }
        for url in [
            "//evil.example/queries",
            "\\\\evil.example/queries",
            "https://evil.example/queries",
            "http://a.snowflakecomputing.com/queries",
            "https://a.snowflakecomputing.com:444/",
            "https://a.snowflakecomputing.com@evil.example/",
            "https://u:p@a.snowflakecomputing.com/",
            "file:///etc/passwd",
        ] {
            assert_eq!(own_path(url, base), None, "{url}");
        }
    }

    #[test]
    fn only_identifiers_go_into_a_path() {
        assert!(checked("01b1-0000-a_B", ACTION).is_ok());
        for text in ["", "a/../b", "a?b", "é", &"1".repeat(101)] {
            assert!(checked(text, ACTION).is_err(), "{text}");
        }
    }
}
