//! Requests to Azure and Google: repeated where that can help, under credentials that are renewed.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};

use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;
use crate::snowflake::put::answer::Credentials;
use crate::snowflake::put::grant::Grant;

/// Attempts for one request, the first included; with the back-off this bridges half a minute.
const MAX_ATTEMPTS: u32 = 6;
/// Renewals for one request: credentials that are refused this often are refused for another reason.
const MAX_RENEWALS: u32 = 3;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(16) };
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A body may take one second more for each of these many bytes.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
const REACH: &str = "Check that the storage of the stage can be reached from here: \
    SELECT SYSTEM$ALLOWLIST() lists its hosts.";

/// Connections to stores; clones share them.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    timeout: Duration,
}

/// What kind of refusal an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The credentials have expired, or look like it.
    Expired,
    /// Anything else, judged by its status.
    Other,
}

/// A request to one store.
pub(super) struct Call<'a> {
    pub(super) grant: &'a Grant,
    /// What is done, for a person.
    pub(super) action: Cow<'static, str>,
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// Tells expired credentials from other refusals.
    pub(super) refusal: fn(&Response) -> Refusal,
    /// The code of a refusal, where the store has it in a header.
    pub(super) code_header: &'static str,
}

/// What the store answered, when it is no success.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    fault: Fault,
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        refused.fault
    }
}

impl Http {
    /// Opens nothing yet. An attempt at a request may take `timeout`, and what its body needs.
    pub fn new(timeout: Duration) -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            // A redirect would carry the content to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Fault::new(FaultKind::Bug, "prepare HTTP connections").because(error))?;
        Ok(Self { client, timeout })
    }

    /// Sends what `build` makes of the newest credentials until the store takes it, or refuses it
    /// for good. The answer's status is a success.
    pub(super) async fn send(
        &self,
        call: Call<'_>,
        build: impl Fn(&reqwest::Client, &Credentials) -> Result<RequestBuilder, Fault> + Send,
    ) -> Result<Response, Refused> {
        let limit = self.timeout + Duration::from_secs(call.bytes / SLOWEST_BYTES_PER_SECOND);
        let mut access = call.grant.access();
        let (mut attempt, mut renewals) = (1, 0);
        loop {
            let request = build(&self.client, &access.credentials).map_err(|fault| call.local(fault))?;
            let refused = match request.timeout(limit).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if renewals < MAX_RENEWALS && (call.refusal)(&response) == Refusal::Expired => {
                    renewals += 1;
                    access = call.grant.renew(&access).await.map_err(|fault| call.local(fault))?;
                    continue;
                }
                Ok(response) => call.judge(&response),
                Err(error) => {
                    // A store that refuses credentials before it has read the body may close the
                    // connection so early that its answer is lost.
                    if call.bytes > 0 && attempt > 1 && renewals < MAX_RENEWALS {
                        renewals += 1;
                        access = call.grant.renew(&access).await.map_err(|fault| call.local(fault))?;
                    }
                    call.without_answer(error)
                }
            };
            let is_repeatable = matches!(refused.fault.kind(), FaultKind::Transient | FaultKind::Throttled)
                && attempt < MAX_ATTEMPTS;
            if !is_repeatable {
                return Err(refused);
            }
            tracing::debug!(
                attempt,
                error = refused.fault.chain(),
                "a request to the storage of a stage is repeated"
            );
            tokio::time::sleep(BACKOFF.wait(attempt)).await;
            attempt += 1;
        }
    }
}

impl Call<'_> {
    fn local(&self, fault: Fault) -> Refused {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Refused { status, fault: fault.while_doing(self.action.clone()) }
    }

    fn without_answer(&self, error: reqwest::Error) -> Refused {
        // Its URL has the signature that gives access.
        let error = error.without_url();
        let fault = Fault::new(FaultKind::Transient, self.action.clone()).because(error).remedy(REACH);
        Refused { status: StatusCode::BAD_GATEWAY, fault }
    }

    fn judge(&self, response: &Response) -> Refused {
        use FaultKind::{Permission, Request, Throttled, Transient};
        let status = response.status();
        let code = response.headers().get(self.code_header).and_then(|code| code.to_str().ok());
        let code: String = code.unwrap_or_default().chars().take(100).collect();
        let (kind, remedy) = match (status.as_u16(), code.as_str()) {
            // The blocks are gone: a newer attempt has published.
            (400, "InvalidBlockList") => {
                (Transient, Some("Another attempt of the task has stored the file meanwhile."))
            }
            (429 | 503, _) => (Throttled, None),
            (401 | 403, _) => (
                Permission,
                Some(
                    "Snowflake's own credentials were refused by the storage: check network policies and \
                     private endpoints between this machine and the stage.",
                ),
            ),
            (404, _) => (Request, Some("The storage that Snowflake named is not there.")),
            (413, _) => (Request, Some("Set a smaller `max_file_size`.")),
            (408 | 409 | 412 | 500.., _) => (Transient, None),
            _ => (Request, None),
        };
        let mut cause = format!("the storage answered {}", status.as_u16());
        if !code.is_empty() {
            cause.push(' ');
            cause.push_str(&code);
        }
        let fault = Fault::new(kind, self.action.clone()).because(cause);
        let fault = match remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        };
        Refused { status, fault }
    }
}

/// A header of an answer, when it is there and has something in it.
pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}
