//! Requests to stores of secrets: bounded, and repeated where that can help.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder};
use serde::de::DeserializeOwned;

use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;

/// Attempts for one answer: an agent that starts beside its store finds it a moment later.
const MAX_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(300), longest: Duration::from_secs(4) };
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer at most; secrets are short.
const LONGEST_ANSWER: usize = 1 << 20;

/// Connections to a store.
pub(super) fn client(authority: Option<&Path>) -> Result<Client, Fault> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        // A redirect would carry a token to another host.
        .redirect(Policy::none());
    let builder = match authority {
        None => builder,
        Some(path) => {
            let fault = |cause: String| {
                Fault::new(FaultKind::Credentials, format!("read the authorities in {}", path.display()))
                    .because(cause)
                    .remedy("Name a readable PEM file.")
            };
            let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|_| fault("it is no PEM file".to_owned()))?;
            builder.tls_certs_merge(certificates)
        }
    };
    builder.build().map_err(|error| Fault::new(FaultKind::Bug, "prepare HTTP connections").because(error))
}

/// The cause and the remedy of a refusal, by its status and body.
pub(super) type Judge = dyn Fn(u16, &[u8]) -> (String, &'static str) + Sync;

/// A question to a store, and what a person can do about each way to fail.
pub(super) struct Question<'q> {
    /// "read the secret `x` in Vault", for example.
    pub(super) action: String,
    /// When the store cannot be reached.
    pub(super) unreachable: &'q str,
    /// What a refusal means.
    pub(super) judge: &'q Judge,
}

impl Question<'_> {
    /// Asks until there is an answer or a refusal.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder + Sync,
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

    async fn ask_once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Fault> {
        let fault = |kind| Fault::new(kind, self.action.clone());
        let unreachable = |error: reqwest::Error| {
            fault(FaultKind::Transient).because(error.without_url()).remedy(self.unreachable.to_owned())
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(fault(FaultKind::Request).because("the answer is too long for a secret"));
            }
        }
        if (200..300).contains(&status) {
            // The cause is dropped: it could quote the secret.
            return serde_json::from_slice(&body).map_err(|_| {
                fault(FaultKind::Request)
                    .because("the answer is not the one of such a store")
                    .remedy("Check the address: something else answers there.")
            });
        }
        let kind = match status {
            429 | 500.. => FaultKind::Transient,
            _ => FaultKind::Credentials,
        };
        let (cause, remedy) = (self.judge)(status, &body);
        Err(fault(kind).because(cause).remedy(remedy))
    }
}

/// The words of a refusal, shortened.
pub(super) fn shortened(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
