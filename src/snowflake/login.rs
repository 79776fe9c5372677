//! The login: one request to Snowflake for each attempt, all within the time for logins.
//!
//! Refused credentials are never tried again at once, because Snowflake locks the user after a few
//! wrong passwords: for some minutes everybody gets the same error without another request. Newer ones,
//! where there are any by then, are tried at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::codes;
use super::connection::{Connection, LoginParts};
use super::envelope::{self, Envelope};
use super::error::Error;
use super::http::{Accept, Call};
use super::session::{Door, Refusal, Tokens};
use crate::config::Secret;
use crate::fault::FaultKind;
use crate::retry::Backoff;

const ACTION: &str = "log in to Snowflake";
/// Between attempts that got no verdict.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(16) };
/// After a refusal. Five wrong passwords lock a user for fifteen minutes; at this pace the count of
/// the first is forgotten before the fifth.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(300);
/// The longest time for one attempt: a server that hangs leaves time for others.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);
/// Life of a master token when the server does not say it.
const MASTER_VALIDITY: Duration = Duration::from_secs(4 * 3600);
/// Snowflake decides by this name which features a driver knows. This is no driver that it knows,
/// so results come as JSON; both forms are read.
const CLIENT_APP_ID: &str = "DataExchangeAgent";

/// Logs in; once more with newer secrets, when the known ones are refused.
pub(super) async fn log_in(door: &Door, generation: u64) -> Result<Tokens, Error> {
    let connection = door.credentials.current();
    let refusal = match recent_refusal(door, &connection) {
        Some(error) => error,
        None => match log_in_with(door, &connection, generation).await {
            Err(error) if error.kind() == FaultKind::Credentials => error,
            opened_or_failed => return opened_or_failed,
        },
    };
    match door.credentials.newer_than(&connection).await {
        Some(newer) => match recent_refusal(door, &newer) {
            Some(error) => Err(error),
            None => log_in_with(door, &newer, generation).await,
        },
        None => Err(refusal),
    }
}

/// Why the server would refuse these credentials, when it did a short while ago.
fn recent_refusal(door: &Door, connection: &Arc<Connection>) -> Option<Error> {
    let refused = door.refused.lock().unwrap_or_else(PoisonError::into_inner);
    let refusal = refused.as_ref()?;
    let is_recent = Arc::ptr_eq(&refusal.connection, connection) && Instant::now() < refusal.until;
    is_recent.then(|| refusal.error.clone())
}

async fn log_in_with(door: &Door, connection: &Arc<Connection>, generation: u64) -> Result<Tokens, Error> {
    let limit = connection.login_timeout;
    let started = Instant::now();
    let mut has_new_token = false;
    let mut failures = 0;
    loop {
        let remaining = limit.saturating_sub(started.elapsed());
        let attempt =
            tokio::time::timeout(remaining, attempt(door, connection, remaining.min(ATTEMPT_LIMIT)));
        let error = match attempt.await {
            Ok(Ok(Verdict::Accepted(data))) => return opened(connection, &data, generation),
            Ok(Ok(Verdict::Refused(error))) => {
                let is_old_token = error.code().is_some_and(|code| codes::TOKEN_REFUSED.contains(&code));
                if is_old_token && !has_new_token && connection.authentication.forget_token() {
                    has_new_token = true;
                    continue;
                }
                // Nobody is locked out for an old token, and a new one may be in its file soon.
                if error.kind() == FaultKind::Credentials && !is_old_token {
                    let mut refused = door.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    *refused = Some(Refusal {
                        error: error.clone(),
                        until: Instant::now() + PAUSE_AFTER_REFUSAL,
                        connection: Arc::clone(connection),
                    });
                }
                error
            }
            Ok(Err(error)) => error,
            Err(_) => Error::new(FaultKind::Transient, ACTION)
                .message(format!("no answer within the login timeout of {limit:?}")),
        };
        failures += 1;
        let wait = BACKOFF.wait(failures);
        if !error.kind().is_retryable() || started.elapsed() + wait >= limit {
            return Err(error);
        }
        tracing::debug!(%error, ?wait, "the login got no verdict; trying again");
        tokio::time::sleep(wait).await;
    }
}

/// What the server says about credentials.
enum Verdict {
    /// `data` of the answer.
    Accepted(Value),
    Refused(Error),
}

/// One attempt, with credentials made for it: signed tokens live for a minute.
async fn attempt(door: &Door, connection: &Connection, limit: Duration) -> Result<Verdict, Error> {
    let parts = connection.authentication.login_parts(connection, door.http.client()).await?;
    let body = body(connection, parts);
    let request_id = uuid::Uuid::new_v4().to_string();
    let mut query = vec![("request_id", request_id.as_str())];
    let place = [
        ("warehouse", &connection.warehouse),
        ("databaseName", &connection.database),
        ("schemaName", &connection.schema),
        ("roleName", &connection.role),
    ];
    query.extend(place.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    let call = Call {
        action: ACTION,
        method: Method::POST,
        path: "/session/v1/login-request",
        query: &query,
        body: Some(&body),
        accept: Accept::Json,
        policy: door.http.once(limit),
    };
    let envelope = door.http.send(&call, None).await?;
    if let Some(error) = wants_a_person(&envelope) {
        return Ok(Verdict::Refused(error));
    }
    Ok(match envelope.into_data(ACTION) {
        Ok(data) => Verdict::Accepted(data),
        Err(error) => Verdict::Refused(error),
    })
}

fn body(connection: &Connection, parts: LoginParts) -> Value {
    let mut environment = Map::new();
    environment.insert("APPLICATION".to_owned(), json!(connection.application));
    environment.insert("OS".to_owned(), json!(std::env::consts::OS));
    environment.insert("OCSP_MODE".to_owned(), json!("DISABLE_OCSP_CHECKS"));
    environment.insert("LOGIN_TIMEOUT".to_owned(), json!(connection.login_timeout.as_secs()));
    environment
        .insert("NETWORK_TIMEOUT".to_owned(), json!(connection.network_timeout.map(|time| time.as_secs())));
    environment.insert("SOCKET_TIMEOUT".to_owned(), json!(connection.socket_timeout.as_secs()));
    environment.extend(parts.client_environment);

    let mut parameters: Map<String, Value> = connection.session_parameters.clone().into_iter().collect();
    parameters.entry("CLIENT_SESSION_KEEP_ALIVE").or_insert(json!(connection.keep_alive));

    let mut data = Map::new();
    data.insert("CLIENT_APP_ID".to_owned(), json!(CLIENT_APP_ID));
    data.insert("CLIENT_APP_VERSION".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    data.insert("SVN_REVISION".to_owned(), Value::Null);
    data.insert("ACCOUNT_NAME".to_owned(), json!(connection.account.for_login()));
    data.insert("CLIENT_ENVIRONMENT".to_owned(), Value::Object(environment));
    data.insert("SESSION_PARAMETERS".to_owned(), Value::Object(parameters));
    if let Some(roles) = connection.secondary_roles {
        data.insert("SECONDARY_ROLES".to_owned(), json!(roles.as_str()));
    }
    data.extend(parts.data);
    json!({ "data": data })
}

/// A login that a person would have to go on with: nobody sits here.
fn wants_a_person(envelope: &Envelope) -> Option<Error> {
    let next = envelope::text(&envelope.data, "nextAction").filter(|_| !envelope.success)?;
    let (what, remedy) = match next.as_str() {
        "EXT_AUTHN_DUO_ALL" | "EXT_AUTHN_DUO_PUSH_N_PASSCODE" => (
            "the user has to confirm the login with a second factor",
            "Use a key pair, an OAuth token or a programmatic access token for a service, or a `passcode`.",
        ),
        "PWD_CHANGE" => (
            "the user has to change the password first",
            "Log in to Snowflake's web pages once and change it, or use a key pair.",
        ),
        _ => return None,
    };
    Some(envelope.error(ACTION).with_kind(FaultKind::Credentials).message(what).remedy(remedy))
}

/// The session that the answer tells of.
fn opened(connection: &Connection, data: &Value, generation: u64) -> Result<Tokens, Error> {
    let Some(token) = envelope::text(data, "token") else {
        return Err(Error::new(FaultKind::Transient, ACTION).message("the answer has no session token"));
    };
    let mut parameters = BTreeMap::new();
    for parameter in data.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(name), Some(value)) = (envelope::text(parameter, "name"), parameter.get("value")) {
            parameters.insert(name, value.clone());
        }
    }
    tracing::info!(
        account = %connection.account,
        host = connection.host,
        user = connection.authentication.user().unwrap_or("of the token"),
        session = envelope::text(data, "sessionId"),
        "logged in to Snowflake"
    );
    warn_of_what_is_missing(connection, data);
    let validity = envelope::count(data, "masterValidityInSeconds").filter(|seconds| *seconds > 0);
    Ok(Tokens {
        session: Secret::new(token),
        master: envelope::text(data, "masterToken").map(Secret::new),
        master_validity: validity.map_or(MASTER_VALIDITY, Duration::from_secs),
        generation,
        parameters: Arc::new(parameters),
    })
}

/// The server gives no error for a role, warehouse, database or schema that the user may not use: it
/// opens the session without it.
fn warn_of_what_is_missing(connection: &Connection, data: &Value) {
    let place = [
        ("role", &connection.role, "roleName"),
        ("warehouse", &connection.warehouse, "warehouseName"),
        ("database", &connection.database, "databaseName"),
        ("schema", &connection.schema, "schemaName"),
    ];
    for (key, wanted, member) in place {
        let given = data.get("sessionInfo").and_then(|info| info.get(member));
        if let (Some(wanted), Some(Value::Null)) = (wanted, given) {
            tracing::warn!(
                "the Snowflake session has no {key}: `{wanted}` does not exist, or the user may not use it"
            );
        }
    }
}
