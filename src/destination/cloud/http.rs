//! Requests to a store: authorized anew for each try, and repeated where that can help.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use url::Url;

use super::failure::{Failure, Judgement};
use super::xml;
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;

/// Attempts for one request, the first included; with the back-off this bridges half a minute of
/// throttling. What lasts longer is left to the lease of the task.
const MAX_ATTEMPTS: u32 = 6;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(16) };
/// A store that asks for a longer pause is left to the lease of the task.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A body may take one second more for each of these many bytes: slower than any link that a task
/// of such a size could finish on.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Bytes of the longest answer; a page of a listing has a few megabytes at most.
const MAX_ANSWER: usize = 32 << 20;

/// One request, as it is before it is authorized.
#[derive(Clone, Debug)]
pub(in crate::destination) struct Call {
    pub(in crate::destination) method: Method,
    pub(in crate::destination) url: Url,
    pub(in crate::destination) headers: HeaderMap,
    pub(in crate::destination) body: Bytes,
    /// What the store may need beyond the usual.
    pub(in crate::destination) extra_time: Duration,
}

impl Call {
    pub(in crate::destination) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), extra_time: Duration::ZERO }
    }

    /// Adds a header. Values come from this agent and are plain ASCII.
    #[must_use]
    pub(in crate::destination) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the agent writes plain header values");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    #[must_use]
    pub(in crate::destination) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// A success.
#[derive(Debug)]
pub(in crate::destination) struct Answer {
    pub(in crate::destination) headers: HeaderMap,
    pub(in crate::destination) body: Bytes,
    /// How often the request was sent; the store may have carried out all of these.
    pub(in crate::destination) attempts: u32,
}

impl Answer {
    /// A header that has something in it.
    pub(in crate::destination) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    }

    /// The body as text.
    pub(in crate::destination) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.body).map_err(|_| Failure::unreadable("the answer is not UTF-8 text"))
    }
}

/// How a store knows who asks, and what its refusals mean.
#[async_trait]
pub(in crate::destination) trait Access: Send + Sync {
    /// Adds date, signature or token to a request that is about to be sent.
    async fn authorize(&self, call: &mut Call) -> Result<(), Fault>;

    /// Called when the store refuses the credentials of `call`. True when another try has newer ones.
    async fn renew(&self, call: &Call) -> bool;

    /// True for the code of a refusal of credentials.
    fn is_refusal(&self, code: &str, status: u16) -> bool;

    /// True for the code of a refusal that the same request would meet again, whatever its kind.
    fn is_final(&self, code: &str) -> bool;

    /// Kind and remedy of a refusal.
    fn judge(&self, code: &str, status: u16) -> Judgement;
}

/// Connections to a store.
#[derive(Clone, Debug)]
pub(in crate::destination) struct Http {
    client: Client,
    request_timeout: Duration,
}

impl Http {
    /// Opens nothing yet. `request_timeout` is for one attempt, without what its body needs.
    pub(in crate::destination) fn new(request_timeout: Duration) -> Result<Self, Fault> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(request_timeout))
            // Parts go side by side; over one connection of HTTP/2 they would share its window.
            .http1_only()
            // A redirect would carry content and credentials to another host.
            .redirect(Policy::none());
        Ok(Self { client: built(client)?, request_timeout })
    }

    /// Sends `call` until the store takes it, or refuses it for good.
    pub(in crate::destination) async fn send(
        &self,
        call: &Call,
        access: &dyn Access,
    ) -> Result<Answer, Failure> {
        let body_time = Duration::from_secs(call.body.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let limit = self.request_timeout + body_time + call.extra_time;
        let (mut attempt, mut has_renewed) = (0, false);
        loop {
            let mut authorized = call.clone();
            access.authorize(&mut authorized).await?;
            attempt += 1;
            let (failure, pause, is_final) = match self.attempt(&authorized, limit).await {
                Ok((status, headers, body)) if (200..300).contains(&status) => {
                    return Ok(Answer { headers, body, attempts: attempt });
                }
                Ok((status, headers, body)) => {
                    let (code, message) = refusal(&headers, &body);
                    if access.is_refusal(&code, status) && !has_renewed && access.renew(&authorized).await {
                        has_renewed = true;
                        continue;
                    }
                    let id = request_id(&headers);
                    let failure = Failure::refused(access.judge(&code, status), status, &code, &message, id);
                    (failure, wanted_pause(&headers), access.is_final(&code))
                }
                Err(failure) => (failure, None, false),
            };
            let pause = pause.unwrap_or_default().max(BACKOFF.wait(attempt));
            if is_final || !failure.is_retryable() || attempt >= MAX_ATTEMPTS || pause > LONGEST_PAUSE {
                return Err(failure);
            }
            tracing::debug!(attempt, error = ?failure, "a request to a store is repeated");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call, limit: Duration) -> Result<(u16, HeaderMap, Bytes), Failure> {
        let request = self
            .client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .body(call.body.clone())
            .timeout(limit);
        let response = request.send().await.map_err(Failure::without_answer)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok((status, headers, read(response).await?))
    }
}

/// Builds a client.
pub(in crate::destination) fn built(client: reqwest::ClientBuilder) -> Result<Client, Fault> {
    client.build().map_err(|error| Fault::new(FaultKind::Bug, "prepare HTTP connections").because(error))
}

/// The body of an answer, up to a limit.
pub(in crate::destination) async fn read(mut response: Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::without_answer)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::unreadable(format!("the answer has more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Code and message of a refusal. Answers to HEAD have no body; Azure has the code in a header too.
fn refusal(headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let error = std::str::from_utf8(body).ok().and_then(|text| xml::parse(text).ok());
    let field = |name| error.as_ref().and_then(|error| error.text(name)).unwrap_or_default();
    let code = headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or(field("Code"));
    // The further lines of Azure repeat the id of the request and the time.
    let message = field("Message").lines().next().unwrap_or_default();
    (code.to_owned(), message.to_owned())
}

fn request_id(headers: &HeaderMap) -> &str {
    let id = headers.get("x-ms-request-id").or_else(|| headers.get("x-guploader-uploadid"));
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
