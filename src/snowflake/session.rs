//! A session on the server: its tokens, their renewal, and the end.
//!
//! One request at a time changes the tokens, and everybody else waits for it: a hundred statements
//! whose token has expired cause one renewal. It runs in a task of its own, because a caller that
//! goes away in the middle would leave the server with new tokens and the agent with old ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::codes;
use super::connection::Connection;
use super::credentials::Credentials;
use super::envelope::{self, Envelope};
use super::error::Error;
use super::heartbeat;
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
/// How long after an abort there may still be logins: those without which no lease can be given back, and those
/// of a commit that loads a table. All of them together, so that a server that does not answer holds up the end
/// of the agent once.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Renewals and logins for one request, before its failure is reported.
pub(super) const RECOVERIES: u32 = 3;

/// What all sessions of a connection share.
pub(super) struct Door {
    pub(super) credentials: Credentials,
    pub(super) http: Http,
    pub(super) shutdown: Shutdown,
    /// Who asks, for the query tags.
    pub(super) agent: Option<String>,
    pub(super) refused: Mutex<Option<Refusal>>,
    /// When no login is waited for any more; set by the first that goes on after an abort.
    pub(super) last_moment: OnceLock<Instant>,
}

/// A refusal of the credentials.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// When the next login with them may be tried.
    pub(super) until: Instant,
    /// With what was logged in.
    pub(super) connection: Arc<Connection>,
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
    /// The last login or renewal that failed, and when it did.
    failure: Mutex<Option<(Instant, Error)>>,
    sequence: AtomicU64,
    /// Logins and renewals so far.
    generations: AtomicU64,
    pub(super) context: Mutex<QueryContext>,
    has_heart: AtomicBool,
    /// Ends the heartbeat.
    pub(super) ended: CancellationToken,
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
    pub(super) generation: u64,
    pub(super) parameters: Arc<BTreeMap<String, Value>>,
}

/// What the tokens are to be replaced for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
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
            failure: Mutex::new(None),
            sequence: AtomicU64::new(0),
            generations: AtomicU64::new(0),
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

    /// Replaces the tokens in a task of its own, whatever becomes of the caller; only a drain does not wait
    /// for a login that nobody wants any more.
    pub(super) async fn establish(self: &Arc<Self>, need: Need) -> Result<Arc<Tokens>, Error> {
        let session = Arc::clone(self);
        let asked = Instant::now();
        let caller = CancellationToken::new();
        let _gone = caller.clone().drop_guard();
        let task = self.door.shutdown.spawn_apart(async move { session.replace(need, asked, &caller).await });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(Error::new(FaultKind::Bug, "open a Snowflake session").because(error)),
        }
    }

    async fn replace(
        self: &Arc<Self>,
        need: Need,
        asked: Instant,
        caller_is_gone: &CancellationToken,
    ) -> Result<Arc<Tokens>, Error> {
        let mut state = self.state.lock().await;
        let current = match &*state {
            State::Open(tokens) => Some(Arc::clone(tokens)),
            State::LoggedOut => None,
            State::Lost => return Err(lost()),
            State::Closed => {
                return Err(Error::new(FaultKind::Transient, "use a Snowflake session that was closed"));
            }
        };
        match (&current, need) {
            // Somebody else was faster.
            (Some(tokens), Need::Token) => return Ok(Arc::clone(tokens)),
            (Some(tokens), Need::Renewal(old) | Need::Login(old)) if tokens.generation > old => {
                return Ok(Arc::clone(tokens));
            }
            (Some(_) | None, _) => {}
        }
        // What failed while this one waited would fail again, and everybody would wait in a row for it.
        if let Some((when, error)) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner)
            && *when >= asked
        {
            return Err(error.clone());
        }
        let replaced = async {
            match (current, need) {
                (Some(tokens), Need::Renewal(_)) => match self.renew(&tokens).await {
                    Ok(Some(tokens)) => Ok(tokens),
                    Ok(None) => self.log_in_again(&mut state).await,
                    Err(error) => Err(error),
                },
                (None, Need::Token) => login::log_in(&self.door, self.next_generation()).await,
                (Some(_) | None, _) => self.log_in_again(&mut state).await,
            }
        };
        let replaced = tokio::select! {
            // First of all, so that no login begins when nobody may wait for it.
            biased;
            () = self.waited_long_enough(need, caller_is_gone) => Err(ended()),
            replaced = replaced => replaced,
        };
        let tokens = replaced.map(Arc::new).inspect_err(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some((Instant::now(), error.clone()));
        })?;
        let capacity = tokens.parameters.get("QUERY_CONTEXT_CACHE_SIZE").and_then(Value::as_u64);
        self.context.lock().unwrap_or_else(PoisonError::into_inner).set_capacity(capacity);
        *state = State::Open(Arc::clone(&tokens));
        drop(state);
        if !self.has_heart.swap(true, Ordering::Relaxed) {
            heartbeat::start(self, &tokens);
        }
        Ok(tokens)
    }

    /// Resolves when nobody may wait for a login or a renewal any more: the session was closed, the agent
    /// aborts, or it drains and the caller has gone. A server that does not answer would hold up the end of
    /// the agent otherwise.
    async fn waited_long_enough(&self, need: Need, caller_is_gone: &CancellationToken) {
        let is_renewal = matches!(need, Need::Renewal(_));
        let begins_late = self.door.shutdown.is_aborting();
        let is_unwanted = async {
            caller_is_gone.cancelled().await;
            self.door.shutdown.draining().await;
        };
        tokio::select! {
            () = self.ended.cancelled() => {}
            () = is_unwanted, if !is_renewal => return,
        }
        let is_needed_at_the_end = self.lifetime == Lifetime::Own || is_renewal || begins_late;
        if is_needed_at_the_end && self.door.shutdown.is_aborting() {
            let last_moment = self.door.last_moment.get_or_init(|| Instant::now() + LAST_WAIT);
            tokio::time::sleep_until((*last_moment).into()).await;
        }
    }

    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn log_in_again(&self, state: &mut State) -> Result<Tokens, Error> {
        if self.lifetime == Lifetime::Own {
            *state = State::Lost;
            self.ended.cancel();
            return Err(lost());
        }
        tracing::info!("the Snowflake session is gone on the server; logging in again");
        *state = State::LoggedOut;
        // What the server knew about the session is of no use to the next one.
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = QueryContext::default();
        login::log_in(&self.door, self.next_generation()).await
    }

    /// The tokens, without a login when there are none; `None` once the session has ended.
    pub(super) async fn tokens_if_open(&self) -> Option<Option<Arc<Tokens>>> {
        match &*self.state.lock().await {
            State::Open(tokens) => Some(Some(Arc::clone(tokens))),
            State::LoggedOut => Some(None),
            State::Lost | State::Closed => None,
        }
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
            generation: self.next_generation(),
            parameters: Arc::clone(&tokens.parameters),
        }))
    }

    /// Ends the session on the server. Later statements fail.
    pub(super) async fn close(&self) {
        self.ended.cancel();
        // Whoever logs in holds the state, and ends now; a renewal may still take a moment.
        let closed = async { std::mem::replace(&mut *self.state.lock().await, State::Closed) };
        let Ok(State::Open(tokens)) = tokio::time::timeout(CLOSE_LIMIT, closed).await else { return };
        // The server ends it by itself, hours later, when this is lost.
        match tokio::time::timeout(CLOSE_LIMIT, self.close_with(&tokens)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the Snowflake session was not closed"),
            Err(_) => tracing::debug!("the Snowflake session was not closed in time"),
        }
    }

    /// An agent that had nothing to do for long closes a session whose token has expired: the server
    /// takes the close only with a new one.
    async fn close_with(&self, tokens: &Tokens) -> Result<(), Error> {
        let Err(error) = self.delete(tokens).await else { return Ok(()) };
        if !error.asks_for_renewal() {
            return Err(error);
        }
        match self.renew(tokens).await? {
            Some(renewed) => self.delete(&renewed).await,
            // The server has ended it.
            None => Ok(()),
        }
    }

    async fn delete(&self, tokens: &Tokens) -> Result<(), Error> {
        const ACTION: &str = "close the Snowflake session";

        let body = json!({});
        let request_id = uuid::Uuid::new_v4().to_string();
        let call = Call {
            action: ACTION,
            method: Method::POST,
            path: "/session?delete=true",
            query: &[("requestId", &request_id)],
            body: Some(&body),
            accept: Accept::Json,
            policy: self.door.http.brief(CLOSE_LIMIT),
        };
        let envelope = self.door.http.send(&call, Some(&tokens.session)).await?;
        if envelope.success { Ok(()) } else { Err(envelope.error(ACTION)) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

fn ended() -> Error {
    Error::new(FaultKind::Transient, "log in to Snowflake")
        .message("the agent stops, or the session was closed, before the server had answered")
}

fn lost() -> Error {
    Error::new(FaultKind::Transient, "use a Snowflake session of its own")
        .message("the server has ended the session; its transaction was rolled back")
        .of_lost_session()
}
