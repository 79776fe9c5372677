//! Requests to services that give tokens.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{built, read};
use super::token::Token;
use crate::config::Secret;
use crate::destination::multipart::StoreFailure;
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;

/// Attempts for one token.
const MAX_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(8) };
/// Longest time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// On a machine of the cloud the metadata service answers at once; elsewhere nobody does.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A token whose end is not known is asked for again after this time.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Connections to token services.
pub(in crate::destination) struct TokenServices {
    /// To services in the network.
    pub(in crate::destination) remote: Client,
    /// To metadata services, which are on the machine itself: never through a proxy.
    pub(in crate::destination) local: Client,
}

impl TokenServices {
    pub(in crate::destination) fn new() -> Result<Self, Fault> {
        let builder = || Client::builder().timeout(REQUEST_TIMEOUT).redirect(Policy::none());
        Ok(Self {
            remote: built(builder())?,
            local: built(builder().no_proxy().connect_timeout(METADATA_CONNECT_TIMEOUT))?,
        })
    }

    /// A form that is posted to a service in the network.
    pub(in crate::destination) fn form(&self, url: &str, pairs: &[(&str, &str)]) -> RequestBuilder {
        let request = self.remote.post(url).header("content-type", "application/x-www-form-urlencoded");
        request.body(encoded(pairs))
    }
}

/// Pairs as a query or a form.
pub(in crate::destination) fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The answer of token services. Numbers are texts in some of them.
#[derive(Deserialize)]
pub(in crate::destination) struct TokenAnswer {
    access_token: String,
    expires_in: Option<serde_json::Value>,
    /// Seconds since 1970.
    expires_on: Option<serde_json::Value>,
}

impl TokenAnswer {
    pub(in crate::destination) fn token(self) -> Token {
        let seconds = |value: &serde_json::Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let lifetime = self
            .expires_in
            .as_ref()
            .and_then(seconds)
            .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
            .or_else(|| self.expires_on.as_ref().and_then(seconds).map(until));
        token(self.access_token, lifetime)
    }
}

/// A token that was given, and the time that it has left, where that is known.
pub(in crate::destination) fn token(text: String, lifetime: Option<Duration>) -> Token {
    Token { text: Secret::new(text), lifetime: lifetime.unwrap_or(SHORTEST_LIFETIME) }
}

/// The time that is left until `end`, in seconds since 1970.
pub(in crate::destination) fn until(end: i64) -> Duration {
    let left = end.saturating_sub(Timestamp::now().as_second());
    Duration::from_secs(u64::try_from(left).unwrap_or(0))
}

/// What is asked for, and what a person can do about a refusal.
#[derive(Clone, Copy)]
pub(in crate::destination) struct Question {
    pub(in crate::destination) action: &'static str,
    pub(in crate::destination) remedy: &'static str,
}

impl Question {
    /// Asks until there is an answer or a refusal: again when the service is away or throttles.
    pub(in crate::destination) async fn ask<T: DeserializeOwned>(
        self,
        request: impl Fn() -> RequestBuilder + Send + Sync,
    ) -> Result<T, Fault> {
        let mut attempt = 1;
        loop {
            let fault = match self.ask_once(request()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            if !fault.kind().is_retryable() || attempt >= MAX_ATTEMPTS {
                return Err(fault);
            }
            tokio::time::sleep(BACKOFF.wait(attempt)).await;
            attempt += 1;
        }
    }

    async fn ask_once<T: DeserializeOwned>(self, request: RequestBuilder) -> Result<T, Fault> {
        let Self { action, remedy } = self;
        let response = request.send().await.map_err(|error| {
            Fault::new(FaultKind::Transient, action)
                .because(error.without_url())
                .remedy("Check that the service that gives the tokens can be reached from here.")
        })?;
        let status = response.status().as_u16();
        let body = read(response).await.map_err(|failure| failure.fault(action))?;
        if (200..300).contains(&status) {
            // The cause is dropped: it could quote a token.
            return serde_json::from_slice(&body).map_err(|_| {
                Fault::new(FaultKind::Transient, action)
                    .because("the answer is not the JSON that it should be")
            });
        }
        let mut cause = format!("the token service answered {status}");
        for word in refusal(&body) {
            cause.push_str(": ");
            cause.extend(word.lines().next().unwrap_or_default().chars().take(300));
        }
        let kind = match status {
            429 => FaultKind::Throttled,
            // Metadata services answer 404 and 410 while they start.
            404 | 408 | 410 | 500.. => FaultKind::Transient,
            _ => FaultKind::Credentials,
        };
        Err(Fault::new(kind, action).because(cause).remedy(remedy))
    }
}

/// The words of a refusal: those of OAuth, or those of Google's other services.
fn refusal(body: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return Vec::new() };
    ["/error", "/error_description", "/error/message"]
        .iter()
        .filter_map(|pointer| Some(body.pointer(pointer)?.as_str()?.to_owned()))
        .collect()
}
