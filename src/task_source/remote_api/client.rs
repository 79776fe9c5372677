//! The three calls, over HTTP.

use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::config::{RemoteApiSettings, Secret};
use crate::fault::{Fault, FaultKind};
use crate::task::Finished;

/// Longest answer that is read, in bytes: thousands of tasks.
const MAX_ANSWER: usize = 16 << 20;

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Its files are committed.
    Completed,
    /// It failed for good.
    Failed {
        /// Why.
        message: String,
    },
}

#[derive(Serialize)]
struct FailureBody<'m> {
    error_message: &'m str,
}

pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<Secret>,
    agent_id: String,
    group: Option<String>,
}

impl Client {
    pub(super) fn new(
        settings: &RemoteApiSettings,
        agent_id: String,
        group: Option<&str>,
    ) -> Result<Self, Fault> {
        let action = "set up the client of the remote API";
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            // A redirect would carry the key to somebody else, or turn a PUT into a GET.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("data-exchange-agent/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Fault::new(FaultKind::Bug, action).because(error))?;
        let base = Url::parse(&settings.base_url)
            .map_err(|error| Fault::new(FaultKind::Request, action).because(error))?;
        Ok(Self { http, base, key: settings.key.clone(), agent_id, group: group.map(str::to_owned) })
    }

    /// Sees whether the service answers and takes the key, without asking for tasks: that would lease them.
    /// Returns the status.
    pub(super) async fn reach(&self) -> Result<StatusCode, Fault> {
        let action = "reach the remote API";
        let status = self.send(self.http.request(Method::GET, self.base.clone()), action).await?.status();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Err(refused(status, action))
            }
            status if status.is_server_error() => Err(refused(status, action)),
            status => Ok(status),
        }
    }

    /// Asks for tasks. Not repeated here: after an answer that was lost, the next poll asks again.
    pub(super) async fn tasks(&self) -> Result<Vec<Value>, Fault> {
        let action = "ask the remote API for tasks";
        let mut url = self.url(&["tasks"]);
        let group = self.group.as_deref().unwrap_or_default();
        url.query_pairs_mut().append_pair("agent_id", &self.agent_id).append_pair("group_id", group);
        let response = self.send(self.http.request(Method::GET, url), action).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(Vec::new());
        }
        if !status.is_success() {
            return Err(refused(status, action));
        }
        let body = read(response, action).await?;
        let answer: Value =
            serde_json::from_slice(&body).map_err(|error| not_understood(action).because(error))?;
        match answer.get("tasks") {
            Some(Value::Array(tasks)) => Ok(tasks.clone()),
            None | Some(Value::Null) if answer.is_object() => Ok(Vec::new()),
            _ => Err(not_understood(action).because("it is no object with an array `tasks`")),
        }
    }

    /// Reports what became of a task. Safe to repeat.
    pub(super) async fn report(&self, id: &str, report: &Report) -> Result<Finished, Fault> {
        let (verb, action) = match report {
            Report::Completed => ("complete", "tell the remote API that a task is complete"),
            Report::Failed { .. } => ("fail", "tell the remote API that a task failed"),
        };
        let mut request = self.http.request(Method::PUT, self.url(&["tasks", id, verb]));
        if let Report::Failed { message } = report {
            request = request.json(&FailureBody { error_message: message });
        }
        let status = self.send(request, action).await?.status();
        match status {
            status if status.is_success() => Ok(Finished::Recorded),
            // The task is not known there, or not ours any more.
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::GONE => Ok(Finished::LeaseLost),
            status => Err(refused(status, action)),
        }
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("a base URL with http or https has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder, action: &'static str) -> Result<Response, Fault> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        request.send().await.map_err(|error| unreachable(error, action))
    }
}

async fn read(mut response: Response, action: &'static str) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(error, action))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(not_understood(action).because(format!("it is longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error, action: &'static str) -> Fault {
    // The URL has the agent's name in it, which is no secret, but its message is long enough without.
    Fault::new(FaultKind::Transient, action)
        .because(error.without_url())
        .remedy("Check task_source.api.base_url, and that the service runs there.")
}

fn not_understood(action: &'static str) -> Fault {
    Fault::new(FaultKind::Request, format!("{action}: understand its answer"))
        .remedy("Check that task_source.api.base_url is the API that hands out tasks.")
}

fn refused(status: StatusCode, action: &'static str) -> Fault {
    let (kind, remedy) = match status {
        StatusCode::UNAUTHORIZED => (FaultKind::Credentials, "Check task_source.api.key."),
        StatusCode::FORBIDDEN => (FaultKind::Permission, "Check what the key in task_source.api.key may do."),
        StatusCode::TOO_MANY_REQUESTS => (FaultKind::Throttled, "Raise application.task_fetch_interval."),
        StatusCode::REQUEST_TIMEOUT => (FaultKind::Transient, "Look at the service of the remote API."),
        status if status.is_server_error() => {
            (FaultKind::Transient, "Look at the service of the remote API.")
        }
        _ => (FaultKind::Request, "Check task_source.api.base_url."),
    };
    Fault::new(kind, action).because(format!("it answered with HTTP status {status}")).remedy(remedy)
}
