//! Who is logged in: tokens that expire, are renewed and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::{Seen, Shared, SnowflakeDouble, failed, lock, succeeded};

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    /// By number, from 1.
    open: BTreeMap<u64, Session>,
    count: u64,
    renewals: u64,
    closed: Vec<u64>,
    refusal: Option<(String, String)>,
    /// Who is let in, by `data` of the login; everybody when nobody says it.
    admits: Option<Box<Admits>>,
    master_validity: Option<u64>,
    parameters: Vec<Value>,
    /// The session token expires after so many uses.
    uses: Option<u64>,
}

type Admits = dyn Fn(&Value) -> bool + Send;

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    generation: u64,
    expired: bool,
    master_expired: bool,
    uses: u64,
    /// `data` of the login.
    pub(crate) login: Value,
}

impl Session {
    fn token(&self) -> String {
        format!("session-{}-{}", self.number, self.generation)
    }

    fn master(&self) -> String {
        format!("master-{}-{}", self.number, self.generation)
    }
}

impl SnowflakeDouble {
    /// Logins that were accepted.
    pub(crate) fn logins(&self) -> u64 {
        lock(&self.state.sessions).count
    }

    pub(crate) fn renewals(&self) -> u64 {
        lock(&self.state.sessions).renewals
    }

    /// The numbers of the sessions that were closed, in order.
    pub(crate) fn closed_sessions(&self) -> Vec<u64> {
        lock(&self.state.sessions).closed.clone()
    }

    pub(crate) fn open_sessions(&self) -> usize {
        lock(&self.state.sessions).open.len()
    }

    /// Every session token of this moment needs a renewal.
    pub(crate) fn expire_sessions(&self) {
        lock(&self.state.sessions).open.values_mut().for_each(|session| session.expired = true);
    }

    /// Every session of this moment needs a new login.
    pub(crate) fn expire_masters(&self) {
        for session in lock(&self.state.sessions).open.values_mut() {
            session.expired = true;
            session.master_expired = true;
        }
    }

    /// Session tokens need a renewal after so many uses.
    pub(crate) fn expire_after_uses(&self, uses: u64) {
        lock(&self.state.sessions).uses = Some(uses);
    }

    /// Logins are refused from now on with this code and message; `None` accepts them again.
    pub(crate) fn refuse_logins(&self, refusal: Option<(&str, &str)>) {
        let refusal = refusal.map(|(code, message)| (code.to_owned(), message.to_owned()));
        lock(&self.state.sessions).refusal = refusal;
    }

    /// Only logins whose `data` fits are accepted from now on; the others have a wrong password.
    pub(crate) fn admit(&self, admits: impl Fn(&Value) -> bool + Send + 'static) {
        lock(&self.state.sessions).admits = Some(Box::new(admits));
    }

    /// What later logins say about the life of the master token, in seconds.
    pub(crate) fn master_validity(&self, seconds: u64) {
        lock(&self.state.sessions).master_validity = Some(seconds);
    }

    /// A parameter that later logins answer with.
    pub(crate) fn session_parameter(&self, name: &str, value: impl Into<Value>) {
        lock(&self.state.sessions).parameters.push(json!({"name": name, "value": value.into()}));
    }
}

pub(super) fn log_in(state: &Arc<Shared>, seen: &Seen) -> Response {
    let mut sessions = lock(&state.sessions);
    if let Some((code, message)) = &sessions.refusal {
        return failed(code, "08001", message);
    }
    if sessions.admits.as_ref().is_some_and(|admits| !admits(&seen.body["data"])) {
        return failed("390100", "08001", "Incorrect username or password was specified.");
    }
    // The emulator fails without it too.
    assert!(seen.body["data"]["SESSION_PARAMETERS"].is_object(), "a login has session parameters");
    sessions.count += 1;
    let number = sessions.count;
    let session = Session {
        number,
        generation: 1,
        expired: false,
        master_expired: false,
        uses: 0,
        login: seen.body["data"].clone(),
    };
    let member = |name: &str| seen.query.get(name).cloned();
    let answer = json!({
        "token": session.token(),
        "validityInSeconds": 3600,
        "masterToken": session.master(),
        "masterValidityInSeconds": sessions.master_validity.unwrap_or(14_400),
        "sessionId": number,
        "parameters": sessions.parameters,
        "sessionInfo": {
            "databaseName": member("databaseName"),
            "schemaName": member("schemaName"),
            "warehouseName": member("warehouse"),
            "roleName": member("roleName"),
        },
    });
    sessions.open.insert(number, session);
    succeeded(answer)
}

pub(super) fn renew(state: &Arc<Shared>, seen: &Seen) -> Response {
    let mut sessions = lock(&state.sessions);
    let old = seen.body["oldSessionToken"].as_str().unwrap_or_default().to_owned();
    let Some(master) = token(seen) else { return failed("390103", "08001", "token missing") };
    let session =
        sessions.open.values_mut().find(|session| session.master() == master && session.token() == old);
    let Some(session) = session else { return failed("390115", "08001", "Invalid master token.") };
    if session.master_expired {
        return failed("390114", "08001", "Authentication token has expired.");
    }
    session.generation += 1;
    session.expired = false;
    session.uses = 0;
    let answer = json!({
        "sessionToken": session.token(),
        "validityInSecondsST": 3600,
        "masterToken": session.master(),
        "validityInSecondsMT": 14_400,
        "sessionId": session.number,
    });
    sessions.renewals += 1;
    succeeded(answer)
}

pub(super) fn heartbeat(state: &Arc<Shared>, seen: &Seen) -> Response {
    match authenticate(state, seen) {
        Ok(_) => succeeded(Value::Null),
        Err(refusal) => refusal.answer(),
    }
}

pub(super) fn close(state: &Arc<Shared>, seen: &Seen) -> Response {
    match authenticate(state, seen) {
        Ok(session) => {
            let mut sessions = lock(&state.sessions);
            sessions.open.remove(&session.number);
            sessions.closed.push(session.number);
            succeeded(Value::Null)
        }
        Err(refusal) => refusal.answer(),
    }
}

/// Code and message of the answer to a request without a session.
pub(super) struct Refusal(&'static str, &'static str);

impl Refusal {
    pub(super) fn answer(&self) -> Response {
        failed(self.0, "08001", self.1)
    }
}

/// The session of a request, or what it is answered without one.
pub(super) fn authenticate(state: &Arc<Shared>, seen: &Seen) -> Result<Session, Refusal> {
    let mut sessions = lock(&state.sessions);
    let uses = sessions.uses;
    let Some(token) = token(seen) else { return Err(Refusal("390103", "token missing")) };
    let Some(session) = sessions.open.values_mut().find(|session| token_is_of(&token, session)) else {
        return Err(Refusal("390111", "Session no longer exists. New login required."));
    };
    if session.token() != token || session.expired {
        let code = if session.master_expired { "390114" } else { "390112" };
        return Err(Refusal(code, "Your session has expired. Please login again."));
    }
    session.uses += 1;
    session.expired = uses.is_some_and(|uses| session.uses >= uses);
    Ok(session.clone())
}

fn token_is_of(token: &str, session: &Session) -> bool {
    token
        .strip_prefix("session-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(number, _)| number.parse() == Ok(session.number))
}

fn token(seen: &Seen) -> Option<String> {
    let header = seen.headers.get("authorization")?.to_str().ok()?;
    Some(header.strip_prefix("Snowflake Token=\"")?.strip_suffix('"')?.to_owned())
}
