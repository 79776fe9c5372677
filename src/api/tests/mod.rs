//! The API over real HTTP, on the real queue and the real pool.
//!
//! Every answer that a test gets is held against the OpenAPI document: an undocumented status is a
//! failure of that test.

mod authentication;
mod bounds;
mod connections;
mod console;
mod control;
mod document;
mod events;
mod guide;
mod history;
mod log_level;
mod monitoring;
mod operation;
mod preview;
mod problems;
mod submit;
mod submit_bodies;
mod submit_fields;
mod tasks;

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::problem::PROBLEM_JSON;
use super::{Access, ApiState, ConnectionLimits, Doors, Server, openapi, router};
use crate::catalog::{Catalog, SourceInfo};
use crate::config::{HistorySettings, QueueSettings, TransferSettings};
use crate::destination::{Destination, PartName, Target, Upload};
use crate::fault::{Fault, FaultKind};
use crate::guards::Guards;
use crate::history::History;
use crate::observer::Observer;
use crate::shutdown::Shutdown;
use crate::source::read_only::SqlDialect;
use crate::source::{Extraction, Query, Source};
use crate::task::{DestinationKind, FileFormat};
use crate::task_source::TaskSource;
use crate::task_source::local::LocalQueue;
use crate::telemetry::{LogControl, Metrics};
use crate::worker::{Pool, PoolSettings, Runner};

/// Longer than anything here takes; only a defect reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
/// In a panic: must never be seen by a caller.
const SERVER_TEXT: &str = "password=hunter2";
/// Why the connection `ledger` is down: for those who may know the connection, and only by `/health`.
const CAUSE: &str = "10.9.8.7 says no";
const MAX_BODY_BYTES: usize = 1 << 20;
/// Few, because both ends of each are in this process.
const MAX_WATCHERS: usize = 16;

/// A database in which every query waits for ever, so that its tasks run until they are cancelled.
struct Endless {
    checks: Arc<AtomicUsize>,
    is_up: bool,
}

#[async_trait]
impl Source for Endless {
    async fn check(&self) -> Result<(), Fault> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        if self.is_up {
            return Ok(());
        }
        let action = "open a connection to `ledger`";
        Err(Fault::new(FaultKind::Transient, action).because(CAUSE).remedy("Start it."))
    }

    async fn prepare(&self, _query: &Query, _wanted: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        std::future::pending().await
    }
}

/// A store that is never written to.
struct Store;

#[async_trait]
impl Destination for Store {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn part_buffer_bytes(&self) -> usize {
        0
    }

    async fn begin(&self, _target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        Err(Fault::new(FaultKind::Bug, "begin an upload: no source of this test gets there"))
    }

    async fn delete(&self, _target: &Target, _name: &PartName) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Bug, "delete a file: nothing is written here"))
    }
}

/// An agent with its API on a port of its own.
struct Agent {
    base: String,
    client: reqwest::Client,
    queue: LocalQueue,
    pool: Pool,
    shutdown: Shutdown,
    doors: Doors,
    checks: Arc<AtomicUsize>,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    data_directory: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.begin_abort();
        self.stop.cancel();
        std::fs::remove_dir_all(&self.data_directory).ok();
    }
}

impl Agent {
    /// An agent that takes no task until it is told to.
    async fn start() -> Self {
        Self::start_with(Access::default()).await
    }

    async fn start_with(access: Access) -> Self {
        let data_directory = std::env::temp_dir().join(format!("api-test-{}", uuid::Uuid::new_v4()));
        let shutdown = Shutdown::new();
        let queue = LocalQueue::open(&data_directory, QueueSettings::default(), &shutdown).await.unwrap();
        let checks = Arc::new(AtomicUsize::new(0));
        let catalog = Arc::new(catalog(&checks));
        let metrics = Arc::new(Metrics::default());
        let history = History::open(&data_directory, HistorySettings::default(), &shutdown).await.unwrap();
        let runner = Runner::new(
            Arc::clone(&catalog),
            TransferSettings::default(),
            Arc::clone(&metrics),
            shutdown.clone(),
        );
        let runner = Arc::new(runner.with_history(history.clone()));
        let guards = Guards::default();
        let settings = PoolSettings {
            workers: NonZeroUsize::from(NonZeroU16::new(2).unwrap()),
            interval: Duration::from_millis(50),
            once: false,
            guards: guards.clone(),
        };
        let source: Arc<dyn TaskSource> = Arc::new(queue.clone());
        let pool = Pool::start(settings, vec![source], &runner, &shutdown);
        // Nothing was submitted yet, so that nothing is leased before this is seen.
        pool.stop_handling();
        let observer = Observer {
            metrics,
            queue: queue.clone(),
            pool: pool.clone(),
            guards: guards.clone(),
            history: history.clone(),
            log: LogControl::of_process(),
            memory_planned: 1 << 30,
            memory_limit: None,
        };
        let doors = Doors::from(access);
        let state = ApiState {
            queue: queue.clone(),
            history,
            pool: pool.clone(),
            guards,
            catalog,
            observer,
            log: LogControl::of_process(),
            shutdown: shutdown.clone(),
            default_format: FileFormat::Parquet,
            max_body_bytes: MAX_BODY_BYTES,
            doors: doors.clone(),
            max_watchers: MAX_WATCHERS,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let limits = ConnectionLimits::new(NonZeroUsize::new(512).unwrap());
        let server = Server::new(listener, limits).serve(router(state), stop.clone().cancelled_owned());
        let server = shutdown.spawn(server);
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { base, client, queue, pool, shutdown, doors, checks, stop, server, data_directory }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::POST, path)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    async fn submit(&self, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, "/tasks").json(body)).await
    }

    /// Submits raw bytes.
    async fn submit_text(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, "/tasks").header("content-type", "application/json");
        Answer::of(request.body(body)).await
    }

    /// Waits until a task has a status, and returns the task.
    async fn wait_for(&self, id: &str, status: &str) -> Value {
        let mut changes = self.queue.changes();
        let wait = async {
            loop {
                let answer = self.get(&format!("/tasks/{id}")).await;
                if answer.body["status"] == status {
                    return answer.body;
                }
                changes.recv().await.ok();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the task gets this status")
    }
}

fn catalog(checks: &Arc<AtomicUsize>) -> Catalog {
    let mut catalog = Catalog::new();
    let up = Arc::new(Endless { checks: Arc::clone(checks), is_up: true });
    let down = Arc::new(Endless { checks: Arc::new(AtomicUsize::new(0)), is_up: false });
    catalog.add_source(
        "sales",
        SourceInfo { database: Some("sales_db".into()), dialect: Some(SqlDialect::PostgreSql) },
        up,
    );
    catalog.add_source("ledger", SourceInfo::default(), down);
    catalog.add_destination("local", DestinationKind::Local, Arc::new(Store));
    catalog.add_destination("archive", DestinationKind::S3, Arc::new(Store));
    catalog.add_destination("warehouse", DestinationKind::SnowflakeStage, Arc::new(Store));
    catalog.add_unavailable("connections.source.teradata", "this version cannot read from Teradata");
    catalog.add_unavailable("connections.target.blob", "this version cannot reach it");
    catalog.add_unavailable("bulk_utility.bcp", "this version cannot run bcp");
    catalog
}

/// An answer that is documented and well formed.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Self { status, headers, body, text };
        document::check_documented(&method, &path, status);
        answer.check_form(&method, &path);
        answer
    }

    /// What is true for every answer.
    fn check_form(&self, method: &Method, path: &str) {
        let request_id = self.header("x-request-id");
        assert!(uuid::Uuid::parse_str(request_id).is_ok(), "{request_id}");
        assert!(!self.text.contains(SERVER_TEXT), "{}", self.text);
        assert!(path == "/health" || !self.text.contains(CAUSE), "{path}: {}", self.text);
        assert!(!self.header("content-type").contains("html"), "{}", self.text);
        if method == Method::HEAD || self.header("content-type") != PROBLEM_JSON {
            return;
        }
        assert_eq!(self.body["status"], self.status.as_u16());
        assert_eq!(self.body["instance"], format!("urn:uuid:{request_id}"));
        let kind = self.body["type"].as_str().unwrap();
        assert!(kind.starts_with("urn:data-exchange-agent:problem:"), "{kind}");
        for text in ["title", "detail"] {
            assert!(self.body[text].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Checks that the answer is a problem of this kind.
    #[track_caller]
    fn assert_problem(&self, status: u16, name: &str) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), PROBLEM_JSON, "{}", self.text);
        assert_eq!(self.body["type"], format!("urn:data-exchange-agent:problem:{name}"));
        self
    }

    /// Checks that exactly these fields are wrong, each with this text in its detail.
    #[track_caller]
    fn assert_errors(&self, expected: &[(&str, &str)]) {
        self.assert_problem(422, "validation");
        let errors = self.body["errors"].as_array().unwrap();
        let found: Vec<(&str, &str)> = errors
            .iter()
            .map(|error| {
                let place = error.get("pointer").or(error.get("parameter")).unwrap();
                (place.as_str().unwrap(), error["detail"].as_str().unwrap())
            })
            .collect();
        let is_expected = found.len() == expected.len()
            && expected.iter().all(|(place, text)| {
                found.iter().any(|(found, detail)| found == place && detail.contains(text))
            });
        assert!(is_expected, "expected {expected:#?}\nfound {found:#?}");
    }
}

/// A task in the nested form.
fn nested(id: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "sales", "query": "SELECT * FROM orders"},
        "destination_config": {"type": "local", "path": "orders"},
    })
}

/// A task in the flat form.
fn flat(id: &str) -> Value {
    json!({
        "id": id,
        "engine": "sales",
        "statement": "SELECT * FROM orders",
        "upload_type": "local",
        "upload_path": "orders",
    })
}

/// `body` with the value at `pointer` replaced or added; `Value::Null` removes it.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    body
}
