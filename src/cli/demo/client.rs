//! The API from outside, as any caller sees it.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

use crate::task::Receipt;

/// Speaks to one agent.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// What the demo reads of `GET /tasks/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct TaskView {
    pub(super) status: String,
    #[serde(default)]
    attempts: Vec<AttemptView>,
    progress: Option<ProgressView>,
    pub(super) receipt: Option<Receipt>,
}

#[derive(Debug, Deserialize)]
struct AttemptView {
    error: Option<ErrorView>,
}

#[derive(Debug, Deserialize)]
struct ErrorView {
    message: String,
}

#[derive(Debug, Deserialize)]
struct ProgressView {
    rows: u64,
    bytes: u64,
    parts: u64,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    id_task: String,
}

impl TaskView {
    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.figure(|receipt| receipt.rows, |progress| progress.rows)
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.figure(|receipt| receipt.bytes, |progress| progress.bytes)
    }

    /// Files so far.
    pub(super) fn parts(&self) -> u64 {
        self.figure(|receipt| receipt.files.len() as u64, |progress| progress.parts)
    }

    /// Why the last attempt failed.
    pub(super) fn last_error(&self) -> &str {
        let error = self.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref());
        error.map_or("no error is on record", |error| &error.message)
    }

    fn figure(&self, done: impl Fn(&Receipt) -> u64, running: impl Fn(&ProgressView) -> u64) -> u64 {
        match (&self.receipt, &self.progress) {
            (Some(receipt), _) => done(receipt),
            (None, Some(progress)) => running(progress),
            (None, None) => 0,
        }
    }
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        // A proxy of the environment has no business on loopback.
        let http = reqwest::Client::builder().no_proxy().build().context("set up the HTTP client")?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    /// Posts a task and returns its id.
    pub(super) async fn post_task(
        &self,
        database: &str,
        query: &str,
        kind: &str,
        path: &str,
    ) -> anyhow::Result<String> {
        let body = json!({
            "source_config": {"database": database, "query": query},
            "destination_config": {"type": kind, "path": path},
        });
        let response = self.http.post(format!("{}/tasks", self.base)).json(&body).send().await?;
        if !response.status().is_success() {
            bail!(
                "POST /tasks answered {}: {}",
                response.status(),
                response.text().await.unwrap_or_default()
            );
        }
        let accepted: Accepted = response.json().await.context("read the answer of POST /tasks")?;
        Ok(accepted.id_task)
    }

    /// The state of a task.
    pub(super) async fn task(&self, id: &str) -> anyhow::Result<TaskView> {
        let response = self.http.get(format!("{}/tasks/{id}", self.base)).send().await?.error_for_status()?;
        response.json().await.context("read the answer of GET /tasks/{id}")
    }
}
