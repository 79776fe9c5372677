//! OAuth client credentials: the agent fetches its own token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use super::super::connection::{Connection, LoginParts};
use super::encoded;
use super::token::token_parts;
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;

/// Tries for one token, the first included.
const ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(4) };
/// Longest time for one try.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for; a login has other limits too.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A token is fetched again this long before its end, so that the login still finds it valid.
const MARGIN: Duration = Duration::from_secs(60);
/// The longest part of an answer that an error code is looked for in.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A client of an OAuth server, and the token that it got last; clones share the token.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    user: Option<String>,
    client_id: String,
    client_secret: Secret,
    scope: Option<String>,
    /// The account's own server when `None`.
    token_url: Option<Url>,
    in_body: bool,
    cached: Arc<Mutex<Option<Cached>>>,
}

/// The same client, whatever token it has at the moment.
impl PartialEq for ClientCredentials {
    fn eq(&self, other: &Self) -> bool {
        let parts = |of: &Self| {
            (of.user.clone(), of.client_id.clone(), of.scope.clone(), of.token_url.clone(), of.in_body)
        };
        parts(self) == parts(other) && self.client_secret == other.client_secret
    }
}

#[derive(Debug)]
struct Cached {
    token: Secret,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

enum Failure {
    /// Another try may succeed, after this time when the server said one.
    Passing(Fault, Option<Duration>),
    Final(Fault),
}

impl ClientCredentials {
    /// `scope` is what the server decides when `None`; `token_url` is that of the account when `None`.
    /// With `in_body` the secret travels in the form, and else in a header.
    #[must_use]
    pub fn new(
        user: Option<String>,
        client_id: String,
        client_secret: Secret,
        scope: Option<String>,
        token_url: Option<Url>,
        in_body: bool,
    ) -> Self {
        Self { user, client_id, client_secret, scope, token_url, in_body, cached: Arc::default() }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) async fn login_parts(
        &self,
        connection: &Connection,
        http: &reqwest::Client,
    ) -> Result<LoginParts, Fault> {
        let token = self.token(connection, http).await?;
        let mut parts = token_parts("OAUTH", self.user.as_deref(), &token);
        parts.client_environment.insert("OAUTH_TYPE".into(), json!("oauth_client_credentials"));
        Ok(parts)
    }

    /// Forgets the token. When it is being fetched at this moment, what comes is new anyway.
    pub(super) fn forget_token(&self) {
        if let Ok(mut cached) = self.cached.try_lock() {
            *cached = None;
        }
    }

    async fn token(&self, connection: &Connection, http: &reqwest::Client) -> Result<Secret, Fault> {
        // Held while fetching, so that many logins ask once.
        let mut cached = self.cached.lock().await;
        if let Some(known) = cached.as_ref()
            && Instant::now() < known.renew_at
        {
            return Ok(known.token.clone());
        }
        let url = match &self.token_url {
            Some(url) => url.to_string(),
            None => format!("{}/oauth/token-request", connection.base_url()),
        };
        let mut failures = 0;
        let answer = loop {
            match self.fetch(&url, http).await {
                Ok(answer) => break answer,
                Err(Failure::Final(fault)) => return Err(fault),
                Err(Failure::Passing(fault, wanted)) => {
                    failures += 1;
                    if failures == ATTEMPTS {
                        return Err(fault);
                    }
                    let wait = wanted.map_or_else(|| BACKOFF.wait(failures), |wait| wait.min(LONGEST_WAIT));
                    tokio::time::sleep(wait).await;
                }
            }
        };
        let token = Secret::new(answer.access_token);
        // A token that does not say how long it lives is fetched for each login.
        let lifetime = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let renew_at =
            lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime.saturating_sub(MARGIN)));
        *cached = renew_at.map(|renew_at| Cached { token: token.clone(), renew_at });
        Ok(token)
    }

    async fn fetch(&self, url: &str, http: &reqwest::Client) -> Result<Answer, Failure> {
        let action = || format!("fetch an OAuth token from {}", without_query(url));
        let scope = self.scope.as_deref().map(|scope| ("scope", scope));
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope);
        let mut request = http.post(url).timeout(ATTEMPT_TIMEOUT).header(ACCEPT, "application/json");
        if self.in_body {
            form.push(("client_id", &self.client_id));
            form.push(("client_secret", self.client_secret.expose()));
        } else {
            request = request.basic_auth(&self.client_id, Some(self.client_secret.expose()));
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(&form));
        let response = request.send().await.map_err(|error| {
            let is_certificate = is_certificate(&error);
            let fault = Fault::new(FaultKind::Transient, action()).because(error.without_url());
            if is_certificate { Failure::Final(fault) } else { Failure::Passing(fault, None) }
        })?;
        let status = response.status();
        let wanted = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = response.bytes().await.map_err(|error| {
            Failure::Passing(Fault::new(FaultKind::Transient, action()).because(error.without_url()), None)
        })?;
        if status.is_success() {
            return match serde_json::from_slice::<Answer>(&body) {
                Ok(answer) if !answer.access_token.is_empty() => Ok(answer),
                // The parser's error could show a part of the token.
                Ok(_) | Err(_) => {
                    let fault =
                        Fault::new(FaultKind::Credentials, format!("{}: the answer has no token", action()));
                    Err(Failure::Final(fault.remedy("Check oauth_token_request_url.")))
                }
            };
        }
        let text = format!("{}: it answers {}", action(), refusal(status, &body));
        let is_passing = status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS
            || status.is_server_error();
        if is_passing {
            let throttled = status == StatusCode::TOO_MANY_REQUESTS;
            let kind = if throttled { FaultKind::Throttled } else { FaultKind::Transient };
            return Err(Failure::Passing(Fault::new(kind, text), wanted));
        }
        let remedy = "Check oauth_client_id, oauth_client_secret, oauth_scope and oauth_token_request_url.";
        Err(Failure::Final(Fault::new(FaultKind::Credentials, text).remedy(remedy)))
    }
}

/// Status, and the error code of OAuth when there is one. Its description is left out: servers quote
/// in it what they were sent.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let body = &body[..body.len().min(LONGEST_ANSWER)];
    let is_plain = |code: &str| {
        code.len() <= 64
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if is_plain(&refusal.error) => format!("HTTP {} ({})", status.as_u16(), refusal.error),
        Ok(_) | Err(_) => format!("HTTP {}", status.as_u16()),
    }
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// True when the server is not who it says it is; another try would not change that.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}
