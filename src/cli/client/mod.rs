//! The API from outside, as any caller sees it. Every command that asks an agent goes through here.

mod failure;
mod reach;
mod trust;
mod view;

use std::error::Error;
use std::net::SocketAddr;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub(super) use self::failure::{ClientError, Refusal};
pub(super) use self::reach::AgentArguments;
pub(super) use self::view::{Accepted, AttemptView, LogLine, LogPage, TaskPage, TaskView};
use crate::nearest::nearest;

/// Bytes of the longest answer that is read; a page of tasks has a few megabytes at most.
const MAX_ANSWER: usize = 64 << 20;
/// How often a request is repeated whose connection ended before anything of it was sent.
const UNSENT_TRIES: u32 = 8;
/// Tasks among which a mistyped id is looked for.
const LOOK_AMONG: u32 = 500;

/// Speaks to one agent.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    /// Whether a certificate is shown to an agent that asks for one.
    shows_certificate: bool,
}

impl Client {
    fn of(http: reqwest::Client, base: Url, shows_certificate: bool) -> Self {
        Self { http, base, shows_certificate }
    }

    /// A client of an agent on this machine that asks for no key.
    pub(super) fn local(address: SocketAddr) -> Result<Self, ClientError> {
        // A proxy of the environment has no business on loopback.
        let http = reqwest::Client::builder().no_proxy().build();
        let http = http.map_err(|error| ClientError::Setup(format!("set up the HTTP client: {error}")))?;
        let base = Url::parse(&format!("http://{address}")).expect("an address makes a URL");
        Ok(Self { http, base, shows_certificate: false })
    }

    /// Posts tasks, one or an array of them, exactly as they are written.
    pub(super) async fn submit(&self, body: Vec<u8>) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, &["tasks"], &[]);
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        self.answer(request, "submit to").await
    }

    /// A page of tasks, newest first.
    pub(super) async fn page(&self, parameters: &[(&str, String)]) -> Result<TaskPage, ClientError> {
        self.answer(self.request(Method::GET, &["tasks"], parameters), "list the tasks of").await
    }

    /// A task, as the agent wrote it.
    pub(super) async fn task_json(&self, id: &str) -> Result<Value, ClientError> {
        let asked = self.answer(self.request(Method::GET, &["tasks", id], &[]), "ask").await;
        self.with_suggestion(id, asked).await
    }

    /// A task.
    pub(super) async fn task(&self, id: &str) -> Result<TaskView, ClientError> {
        self.task_json(id).await.and_then(|task| self.read(task))
    }

    /// Cancels a task. Returns it as the agent wrote it.
    pub(super) async fn cancel(&self, id: &str) -> Result<Value, ClientError> {
        let asked = self.answer(self.request(Method::DELETE, &["tasks", id], &[]), "cancel at").await;
        self.with_suggestion(id, asked).await
    }

    /// Puts a failed or cancelled task back. Returns it as the agent wrote it.
    pub(super) async fn retry(&self, id: &str) -> Result<Value, ClientError> {
        let asked = self.answer(self.request(Method::POST, &["tasks", id, "retry"], &[]), "retry at").await;
        self.with_suggestion(id, asked).await
    }

    /// A page of a task's log.
    pub(super) async fn logs(&self, id: &str, parameters: &[(&str, String)]) -> Result<LogPage, ClientError> {
        let request = self.request(Method::GET, &["tasks", id, "logs"], parameters);
        let asked = self.answer(request, "ask").await;
        self.with_suggestion(id, asked).await
    }

    /// Reads what the agent said into the form that commands show.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| self.unexpected(&format!("with other fields: {error}")))
    }

    fn request(&self, method: Method, route: &[&str], parameters: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http has paths").pop_if_empty().extend(route);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        self.http.request(method, url)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        doing: &str,
    ) -> Result<T, ClientError> {
        let response = self.send(request, doing).await?;
        let status = response.status();
        if status == StatusCode::UPGRADE_REQUIRED && self.base.scheme() == "http" {
            return Err(ClientError::Unexpected(format!(
                "{doing} the agent at {}: it speaks HTTPS only. Name it with --url https://... or let the \
                 configuration that is read here have its section server.tls.",
                self.place()
            )));
        }
        let is_problem =
            response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
        let body = self.body(response, doing).await?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| self.unexpected(&format!("with something else than its JSON: {error}")));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) if is_problem => Err(ClientError::Refused(Box::new(refusal))),
            _ => Err(self.unexpected(&format!("{status} without a problem document"))),
        }
    }

    /// Sends a request. A connection that ended before the request was on it is opened again: why it ended, for
    /// example that the agent does not accept a certificate, is told only to a request that was on its way.
    async fn send(&self, mut request: RequestBuilder, doing: &str) -> Result<Response, ClientError> {
        for _ in 0..UNSENT_TRIES {
            let again = request.try_clone();
            match (request.send().await, again) {
                (Ok(response), _) => return Ok(response),
                (Err(error), Some(again)) if trust::was_not_sent(&error) => request = again,
                (Err(error), _) => return Err(self.unreachable(doing, &error)),
            }
        }
        request.send().await.map_err(|error| self.unreachable(doing, &error))
    }

    async fn body(&self, mut response: Response, doing: &str) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(doing, &error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.unexpected("with more than any agent has to say"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Adds the nearest id that there is to the answer that there is no such task.
    async fn with_suggestion<T>(&self, id: &str, asked: Result<T, ClientError>) -> Result<T, ClientError> {
        let mut refusal = match asked {
            Err(ClientError::Refused(refusal)) if refusal.is("unknown-task") => refusal,
            other => return other,
        };
        // A failure here is nothing to speak of: the first answer says what matters.
        if let Ok(page) = self.page(&[("limit", LOOK_AMONG.to_string())]).await {
            let ids: Vec<&str> = page.tasks.iter().filter_map(|task| task["id"].as_str()).collect();
            refusal.hint = nearest(id, ids).map(|near| format!("did you mean `{near}`?"));
        }
        Err(ClientError::Refused(refusal))
    }

    fn unreachable(&self, doing: &str, error: &reqwest::Error) -> ClientError {
        let remedy = match (self.base.scheme(), error.is_timeout()) {
            (_, true) => "It may be busy, or something between here and there swallows what is sent.",
            ("https", _) => match trust::refused(error) {
                Some(refusal) => refusal.remedy(self.shows_certificate),
                None => "Check that it runs there and that --url is right.",
            },
            _ => "Check that it runs (`data-exchange-agent run`) and that --url is right.",
        };
        ClientError::Unreachable {
            message: format!("{doing} the agent at {}: {}", self.place(), chain(error)),
            remedy: remedy.to_owned(),
        }
    }

    fn unexpected(&self, what: &str) -> ClientError {
        ClientError::Unexpected(format!(
            "what answers at {} is no data exchange agent, or one of another version: it answered {what}. Check --url.",
            self.place()
        ))
    }

    fn place(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

/// An error and its causes in one line, without the URL, which stands before it.
fn chain(error: &dyn Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        // Some causes repeat what they were caused by.
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    // `error sending request` says nothing that the causes do not say better.
    if words.len() > 1 && words[0].starts_with("error sending request") {
        words.remove(0);
    }
    words.join(": ")
}
