//! Requests to the account's own server, with the retry rules of the protocol.
//!
//! A request is repeated with everything that names it (`requestId`), so that the server can tell a
//! repetition from a second statement; only `request_guid` is new each time. Redirects are never
//! followed: a token goes to the configured host alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, redirect};
use serde_json::Value;

use super::connection::Connection;
use super::envelope::Envelope;
use super::error::Error;
use super::result;
use crate::config::Secret;
use crate::fault::FaultKind;
use crate::retry::Backoff;

/// Between the attempts of one request (the drivers' longest wait is 16 s too).
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(16) };
/// The longest wait that a server may ask for with `Retry-After`.
const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(120);
/// Attempts of a request that may be repeated: about 40 s of waits.
const ATTEMPTS: u32 = 10;
/// Attempts after an answer that rarely changes: 400, 403, 405.
const FEW_ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server holds a request for a running statement for up to a minute before it answers.
const LONG_POLL: Duration = Duration::from_secs(75);
/// The largest body that is read; results come in chunks long before.
const LARGEST_BODY: usize = 256 << 20;
const USER_AGENT: &str = concat!("data-exchange-agent/", env!("CARGO_PKG_VERSION"));

/// What is sent to one account.
pub(super) struct Http {
    client: reqwest::Client,
    base: String,
    socket_timeout: Duration,
    network_timeout: Option<Duration>,
}

/// What the answer may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// Arrow and JSON.
    Snowflake,
    /// JSON only: transfers, logins, monitoring.
    Json,
}

/// How often a call is tried, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    attempts: u32,
    /// For all attempts and the waits between them.
    total: Option<Duration>,
    /// For one attempt; the silence of the server alone counts when `None`.
    single: Option<Duration>,
    /// Whether the server is told which attempt this is.
    counts_retries: bool,
}

/// One call.
pub(super) struct Call<'a> {
    /// For the error: a lower-case fragment.
    pub(super) action: &'static str,
    pub(super) method: Method,
    /// From the first slash.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
    pub(super) accept: Accept,
    pub(super) policy: Policy,
}

/// What became of one attempt.
enum Attempt {
    Answered(Envelope),
    Failed { error: Error, retry: Retry, status: u16, asked_wait: Option<Duration>, may_have_run: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Often,
    Few,
    Never,
}

impl Http {
    /// No I/O. Proxies come from the environment.
    pub(super) fn new(connection: &Connection) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(connection.socket_timeout.max(LONG_POLL))
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| Error::transport("prepare the HTTP client for Snowflake", error))?;
        Ok(Self {
            client,
            base: connection.base_url(),
            socket_timeout: connection.socket_timeout,
            network_timeout: connection.network_timeout,
        })
    }

    /// The client, for what needs no session: chunks, and the servers of tokens.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Scheme, host and port.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// For statements and what belongs to them: as long as it takes, while the server answers.
    pub(super) fn patient(&self) -> Policy {
        Policy { attempts: ATTEMPTS, total: self.network_timeout, single: None, counts_retries: false }
    }

    /// The same for the request that starts a statement.
    pub(super) fn statement(&self) -> Policy {
        Policy { counts_retries: true, ..self.patient() }
    }

    /// For small requests that may be repeated, with a bound for all attempts.
    pub(super) fn brief(&self, total: Duration) -> Policy {
        let single = Some(self.socket_timeout.min(total));
        Policy { attempts: ATTEMPTS, total: Some(total), single, counts_retries: false }
    }

    /// For one attempt of a login.
    pub(super) fn once(&self, limit: Duration) -> Policy {
        Policy { attempts: 1, ..self.brief(limit) }
    }

    /// Sends until there is an answer. An answer can tell of a failure; an error means that there
    /// was none.
    pub(super) async fn send(&self, call: &Call<'_>, token: Option<&Secret>) -> Result<Envelope, Error> {
        let started = Instant::now();
        let first_sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut may_have_run = false;
        let mut retries: Option<(u32, u16)> = None;
        loop {
            let failures = retries.map_or(0, |(count, _)| count);
            let url = self.url(call, first_sent, retries);
            let attempt = self.attempt(call, token, url);
            let remaining = call.policy.total.map(|total| total.saturating_sub(started.elapsed()));
            let attempt = match remaining {
                None => attempt.await,
                Some(remaining) => {
                    tokio::time::timeout(remaining, attempt).await.unwrap_or_else(|_| Attempt::Failed {
                        error: Error::new(FaultKind::Transient, call.action)
                            .message("no answer within the time for this request and its repetitions"),
                        retry: Retry::Never,
                        status: 0,
                        asked_wait: None,
                        may_have_run: true,
                    })
                }
            };
            let (error, retry, status, asked_wait) = match attempt {
                Attempt::Answered(envelope) => return Ok(envelope),
                Attempt::Failed { error, retry, status, asked_wait, may_have_run: this } => {
                    may_have_run |= this;
                    (error, retry, status, asked_wait)
                }
            };
            let failures = failures + 1;
            let most = match retry {
                Retry::Often => call.policy.attempts,
                Retry::Few => call.policy.attempts.min(FEW_ATTEMPTS),
                Retry::Never => 0,
            };
            let wait = BACKOFF.wait(failures).max(asked_wait.unwrap_or_default());
            let is_in_time = call.policy.total.is_none_or(|total| started.elapsed() + wait < total);
            if failures >= most || !is_in_time {
                return Err(if may_have_run { error.of_unknown_outcome() } else { error });
            }
            tracing::debug!(
                action = call.action,
                status,
                failures,
                ?wait,
                "Snowflake did not answer; trying again"
            );
            tokio::time::sleep(wait).await;
            retries = Some((failures, status));
        }
    }

    fn url(&self, call: &Call<'_>, first_sent: u128, retries: Option<(u32, u16)>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.query);
        query.append_pair("request_guid", &uuid::Uuid::new_v4().to_string());
        if let (true, Some((count, reason))) = (call.policy.counts_retries, retries) {
            query.append_pair("clientStartTime", &first_sent.to_string());
            query.append_pair("retryCount", &count.to_string());
            query.append_pair("retryReason", &reason.to_string());
        }
        let separator = if call.path.contains('?') { '&' } else { '?' };
        format!("{}{}{separator}{}", self.base, call.path, query.finish())
    }

    async fn attempt(&self, call: &Call<'_>, token: Option<&Secret>, url: String) -> Attempt {
        let mut request = self.client.request(call.method.clone(), url);
        request = request.header(
            ACCEPT,
            match call.accept {
                Accept::Snowflake => "application/snowflake",
                Accept::Json => "application/json",
            },
        );
        if let Some(token) = token {
            match authorization(token) {
                Ok(value) => request = request.header(AUTHORIZATION, value),
                Err(error) => return failed(error, Retry::Never),
            }
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(limit) = call.policy.single {
            request = request.timeout(limit);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return unanswered(call.action, error),
        };
        let status = response.status();
        let asked_wait = asked_wait(&response);
        let body = match read(response).await {
            Ok(Some(body)) => body,
            Ok(None) => {
                let error = Error::new(FaultKind::Request, call.action)
                    .message(format!("the answer is larger than {LARGEST_BODY} bytes"));
                return failed(error, Retry::Never);
            }
            Err(error) => return unanswered(call.action, error),
        };
        // Nobody asked for a packed answer, and some proxies pack all the same.
        let envelope = result::unpacked(body).ok().and_then(|body| Envelope::parse(&body));
        judge(call.action, status, asked_wait, envelope)
    }
}

/// What follows from a status and what came with it.
fn judge(
    action: &'static str,
    status: StatusCode,
    asked_wait: Option<Duration>,
    envelope: Option<Envelope>,
) -> Attempt {
    let verdict =
        envelope.filter(|envelope| status.is_success() || (!envelope.success && envelope.number().is_some()));
    let (kind, retry, may_have_run) = match (status.as_u16(), verdict) {
        (200..=299, Some(envelope)) => return Attempt::Answered(envelope),
        (401, verdict) => return Attempt::Answered(verdict.unwrap_or_else(Envelope::expired)),
        // A server that failed on the statement, not on the way to it.
        (400 | 403 | 405 | 422 | 500, Some(envelope)) => return Attempt::Answered(envelope),
        (429, _) => (FaultKind::Throttled, Retry::Often, false),
        (307 | 308 | 408 | 500..=599, _) => (FaultKind::Transient, Retry::Often, true),
        (200..=299, None) => (FaultKind::Transient, Retry::Often, true),
        (403, None) => (FaultKind::Permission, Retry::Few, false),
        (400 | 405, None) => (FaultKind::Request, Retry::Few, false),
        (_, _) => (FaultKind::Request, Retry::Never, false),
    };
    let mut error = Error::new(kind, action).message(if status.is_success() {
        format!("HTTP status {} with a body that is no answer of Snowflake", status.as_u16())
    } else {
        format!("HTTP status {}", status.as_u16())
    });
    if matches!(status.as_u16(), 403 | 404) {
        error = error.remedy(
            "Check `host` and account of this connection, a proxy on the way, and whether the network policy \
             of the account allows the address of this machine.",
        );
    }
    Attempt::Failed { error, retry, status: status.as_u16(), asked_wait, may_have_run }
}

fn failed(error: Error, retry: Retry) -> Attempt {
    Attempt::Failed { error, retry, status: 0, asked_wait: None, may_have_run: false }
}

fn unanswered(action: &'static str, error: reqwest::Error) -> Attempt {
    let may_have_run = !error.is_connect() && !error.is_builder();
    let error = Error::transport(action, error);
    let retry = if error.kind().is_retryable() { Retry::Often } else { Retry::Never };
    Attempt::Failed { error, retry, status: 0, asked_wait: None, may_have_run }
}

fn authorization(token: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Snowflake Token=\"{}\"", token.expose()))
        .map_err(|_| Error::new(FaultKind::Bug, "make the header with the session token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Retry-After` in seconds; the form with a date is not used by Snowflake.
pub(super) fn asked_wait(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_ASKED_WAIT))
}

/// The body; `None` when it is too large.
async fn read(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > LARGEST_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
