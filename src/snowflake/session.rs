//! A session on the server: its tokens, their renewal, heartbeats, and the end.
//!
//! One request at a time changes the tokens, and everybody else waits for it: a hundred statements
//! whose token has expired cause one renewal. It runs in a task of its own, because a caller that
//! goes away in the middle would leave the server with new tokens and the agent with old ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::codes;
use super::connection::Connection;
use super::envelope::{self, Envelope};
use super::error::Error;
use super::http::{Accept, Call, Http};
use super::login;
use super::query_context::QueryContext;
use crate::config::Secret;
use crate::fault::FaultKind;
use crate::shutdown::Shutdown;

/// How long a renewal may take with all its attempts.
const RENEWAL_LIMIT: Duration = Duration::from_secs(120);
/// The end of a session is a courtesy to the server.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// A heartbeat that gets no answer is followed by the next one.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(60);
/// Renewals and logins for one request, before its failure is reported.
pub(super) const RECOVERIES: u32 = 3;

/// What all sessions of a connection share.
pub(super) struct Door {
    pub(super) connection: Connection,
    pub(super) http: Http,
    pub(super) shutdown: Shutdown,
    /// A refusal of the credentials, and when the next login may be tried.
    pub(super) refused: Mutex<Option<(Error, Instant)>>,
}

/// What happens when the server has forgotten the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// A new login, unseen by the caller: no state of the session matters.
    Shared,
    /// An error: transaction, temporary tables and variables are gone.
    Own,
}

/// A session.
pub(super) struct Session {
    pub(super) door: Arc<Door>,
    lifetime: Lifetime,
    state: tokio::sync::Mutex<State>,
    sequence: AtomicU64,
    pub(super) context: Mutex<QueryContext>,
    has_heart: AtomicBool,
    /// Ends the heartbeat.
    ended: CancellationToken,
}

enum State {
    /// Nobody has needed it yet, or the server has forgotten it.
    LoggedOut,
    Open(Arc<Tokens>),
    /// An own session that the server has forgotten.
    Lost,
    Closed,
}

/// The tokens between two renewals.
pub(super) struct Tokens {
    pub(super) session: Secret,
    pub(super) master: Option<Secret>,
    /// How long the master token holds.
    pub(super) master_validity: Duration,
    /// Counts logins and renewals, so that an old token is known as old.
    generation: u64,
    pub(super) parameters: Arc<BTreeMap<String, Value>>,
}

/// What the tokens are to be replaced for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// There has to be a token.
    Token,
    /// The token of this generation has expired.
    Renewal(u64),
    /// The session of this generation is gone.
    Login(u64),
}

impl Session {
    pub(super) fn new(door: Arc<Door>, lifetime: Lifetime) -> Arc<Self> {
        let ended = door.shutdown.abort_child();
        Arc::new(Self {
            door,
            lifetime,
            state: tokio::sync::Mutex::new(State::LoggedOut),
            sequence: AtomicU64::new(0),
            context: Mutex::new(QueryContext::default()),
            has_heart: AtomicBool::new(false),
            ended,
        })
    }

    /// The number of the next statement, from 1.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The tokens; logs in when there are none.
    pub(super) async fn tokens(self: &Arc<Self>) -> Result<Arc<Tokens>, Error> {
        if let State::Open(tokens) = &*self.state.lock().await {
            return Ok(Arc::clone(tokens));
        }
        self.establish(Need::Token).await
    }

    /// Sends a call with the session token, renews the session or logs in when the answer asks for
    /// it, and repeats the call then.
    pub(super) async fn send(self: &Arc<Self>, call: &Call<'_>) -> Result<Envelope, Error> {
        let mut tokens = self.tokens().await?;
        let mut recoveries = 0;
        loop {
            let envelope = self.door.http.send(call, Some(&tokens.session)).await?;
            if envelope.success {
                return Ok(envelope);
            }
            let error = envelope.error(call.action);
            let need = if error.asks_for_renewal() {
                Need::Renewal(tokens.generation)
            } else if error.asks_for_login() {
                Need::Login(tokens.generation)
            } else {
                return Ok(envelope);
            };
            if recoveries == RECOVERIES {
                return Err(error);
            }
            recoveries += 1;
            tokens = self.establish(need).await?;
        }
    }

    /// Replaces the tokens in a task of its own, whatever becomes of the caller.
    async fn establish(self: &Arc<Self>, need: Need) -> Result<Arc<Tokens>, Error> {
        let session = Arc::clone(self);
        let task = self.door.shutdown.spawn(async move { session.replace(need).await });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(Error::new(FaultKind::Bug, "open a Snowflake session").because(error)),
        }
    }

    async fn replace(self: &Arc<Self>, need: Need) -> Result<Arc<Tokens>, Error> {
        let mut state = self.state.lock().await;
        let current = match &*state {
            State::Open(tokens) => Some(Arc::clone(tokens)),
            State::LoggedOut => None,
            State::Lost => return Err(lost()),
            State::Closed => {
                return Err(Error::new(FaultKind::Transient, "use a Snowflake session that was closed"));
            }
        };
        let tokens = match (current, need) {
            // Somebody else was faster.
            (Some(tokens), Need::Token) => return Ok(tokens),
            (Some(tokens), Need::Renewal(old) | Need::Login(old)) if tokens.generation > old => {
                return Ok(tokens);
            }
            (Some(tokens), Need::Renewal(_)) => match self.renew(&tokens).await? {
                Some(tokens) => tokens,
                None => self.log_in_again(&mut state, tokens.generation + 1).await?,
            },
            (Some(tokens), Need::Login(_)) => self.log_in_again(&mut state, tokens.generation + 1).await?,
            (None, Need::Token) => login::log_in(&self.door, 1).await?,
            (None, Need::Renewal(old) | Need::Login(old)) => self.log_in_again(&mut state, old + 1).await?,
        };
        let tokens = Arc::new(tokens);
        let capacity = tokens.parameters.get("QUERY_CONTEXT_CACHE_SIZE").and_then(Value::as_u64);
        self.context.lock().unwrap_or_else(PoisonError::into_inner).set_capacity(capacity);
        *state = State::Open(Arc::clone(&tokens));
        drop(state);
        self.start_heart(&tokens);
        Ok(tokens)
    }

    async fn log_in_again(&self, state: &mut State, generation: u64) -> Result<Tokens, Error> {
        if self.lifetime == Lifetime::Own {
            *state = State::Lost;
            self.ended.cancel();
            return Err(lost());
        }
        tracing::info!("the Snowflake session is gone on the server; logging in again");
        *state = State::LoggedOut;
        // What the server knew about the session is of no use to the next one.
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = QueryContext::default();
        login::log_in(&self.door, generation).await
    }

    /// New tokens for old ones; `None` when only a login helps.
    async fn renew(&self, tokens: &Tokens) -> Result<Option<Tokens>, Error> {
        const ACTION: &str = "renew the Snowflake session";

        let Some(master) = &tokens.master else { return Ok(None) };
        let request_id = uuid::Uuid::new_v4().to_string();
        let body = json!({"oldSessionToken": tokens.session.expose(), "requestType": "RENEW"});
        let call = Call {
            action: ACTION,
            method: Method::POST,
            path: "/session/token-request",
            query: &[("requestId", &request_id)],
            body: Some(&body),
            accept: Accept::Json,
            policy: self.door.http.brief(RENEWAL_LIMIT),
        };
        let envelope = self.door.http.send(&call, Some(master)).await?;
        if !envelope.success && envelope.number().is_some_and(codes::renewal_wants_login) {
            return Ok(None);
        }
        let data = envelope.into_data(ACTION)?;
        let Some(session) = envelope::text(&data, "sessionToken") else {
            return Err(Error::new(FaultKind::Transient, ACTION).message("the answer has no session token"));
        };
        tracing::debug!("the Snowflake session is renewed");
        let validity = envelope::count(&data, "validityInSecondsMT")
            .or_else(|| envelope::count(&data, "masterValidityInSeconds"));
        Ok(Some(Tokens {
            session: Secret::new(session),
            // Keeping the old one would end the session with it.
            master: envelope::text(&data, "masterToken").map(Secret::new).or_else(|| tokens.master.clone()),
            master_validity: validity.map_or(tokens.master_validity, Duration::from_secs),
            generation: tokens.generation + 1,
            parameters: Arc::clone(&tokens.parameters),
        }))
    }

    /// Starts the heartbeat of this session, once.
    fn start_heart(self: &Arc<Self>, tokens: &Tokens) {
        let Some(interval) = heartbeat_interval(&self.door.connection, tokens) else { return };
        if self.has_heart.swap(true, Ordering::Relaxed) {
            return;
        }
        let session = Arc::downgrade(self);
        let (ended, shutdown) = (self.ended.clone(), self.door.shutdown.clone());
        self.door.shutdown.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = ended.cancelled() => return,
                    // The rest of a drain is shorter than any token lives.
                    () = shutdown.draining() => return,
                }
                if !beat(&session).await {
                    return;
                }
            }
        });
    }

    /// Ends the session on the server. Later statements fail.
    pub(super) async fn close(&self) {
        self.ended.cancel();
        let state = std::mem::replace(&mut *self.state.lock().await, State::Closed);
        let State::Open(tokens) = state else { return };
        let body = json!({});
        let request_id = uuid::Uuid::new_v4().to_string();
        let call = Call {
            action: "close the Snowflake session",
            method: Method::POST,
            path: "/session?delete=true",
            query: &[("requestId", &request_id)],
            body: Some(&body),
            accept: Accept::Json,
            policy: self.door.http.brief(CLOSE_LIMIT),
        };
        // The server ends it by itself when this is lost.
        if let Err(error) = self.door.http.send(&call, Some(&tokens.session)).await {
            tracing::debug!(%error, "the Snowflake session was not closed");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// One heartbeat; false when there is nothing to keep alive any more.
async fn beat(session: &Weak<Session>) -> bool {
    let Some(session) = session.upgrade() else { return false };
    // Not through `tokens`: a heartbeat is no reason to log in.
    let mut tokens = match &*session.state.lock().await {
        State::Open(tokens) => Arc::clone(tokens),
        State::LoggedOut => return true,
        State::Lost | State::Closed => return false,
    };
    let body = json!({});
    for _ in 0..2 {
        let request_id = uuid::Uuid::new_v4().to_string();
        let call = Call {
            action: "keep the Snowflake session alive",
            method: Method::POST,
            path: "/session/heartbeat",
            query: &[("requestId", &request_id)],
            body: Some(&body),
            accept: Accept::Json,
            policy: session.door.http.brief(HEARTBEAT_LIMIT),
        };
        match session.door.http.send(&call, Some(&tokens.session)).await {
            Ok(envelope) if envelope.number() == Some(codes::SESSION_EXPIRED) => {
                match session.establish(Need::Renewal(tokens.generation)).await {
                    Ok(renewed) => tokens = renewed,
                    Err(error) => {
                        tracing::warn!(%error, "the Snowflake session could not be kept alive");
                        return true;
                    }
                }
            }
            Ok(envelope) if envelope.success => return true,
            Ok(envelope) => {
                tracing::debug!(code = envelope.code, "Snowflake refused a heartbeat");
                return true;
            }
            Err(error) => {
                tracing::debug!(%error, "a heartbeat got no answer");
                return true;
            }
        }
    }
    true
}

/// Time between two heartbeats: what is configured or what the server says, within a sixteenth and a
/// quarter of the life of the master token. `None` when the session is not kept alive.
fn heartbeat_interval(connection: &Connection, tokens: &Tokens) -> Option<Duration> {
    const DEFAULT: Duration = Duration::from_secs(3600);

    if !connection.keep_alive {
        return None;
    }
    let says = tokens.parameters.get("CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY");
    let says = says.and_then(Value::as_u64).map(Duration::from_secs);
    let wanted = connection.heartbeat_interval.or(says).unwrap_or(DEFAULT);
    let validity = tokens.master_validity.max(Duration::from_secs(1));
    Some(wanted.clamp(validity / 16, validity / 4))
}

fn lost() -> Error {
    Error::new(FaultKind::Transient, "use a Snowflake session of its own")
        .message("the server has ended the session; its transaction was rolled back")
        .of_lost_session()
}

/// Makes tokens of a login's answer; used by [`login`].
pub(super) fn tokens(
    session: String,
    master: Option<String>,
    master_validity: Duration,
    generation: u64,
    parameters: BTreeMap<String, Value>,
) -> Tokens {
    Tokens {
        session: Secret::new(session),
        master: master.map(Secret::new),
        master_validity,
        generation,
        parameters: Arc::new(parameters),
    }
}
