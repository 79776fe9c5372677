//! The agent over HTTP: JSON in, JSON out, problem documents for everything that cannot be served.
//!
//! One file a resource. Requests and responses have types of their own, so that the API does not
//! change by itself when the inside does. A body is read field by field and not by a derived
//! deserializer, because that one stops at the first wrong field. Every route is in the OpenAPI
//! document, because both are made of the same list, `routes`.
//!
//! Guarantees: a task is answered with 2xx only when it is durable; no response has the text of a
//! database or a secret; a panic in a handler is a problem document; a request does work bounded
//! by the size of its body.
//!
//! Callers show an API key; without any configured, the listener is on a loopback address, or behind
//! something that keeps strangers out.

mod audit;
mod authentication;
mod checks;
mod connections;
mod console;
mod control;
mod crowd;
mod doors;
mod events;
mod extract;
mod fields;
mod flat;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod history;
mod load_request;
mod log_level;
mod metrics;
mod openapi;
mod origin;
mod preview;
mod problem;
mod rate;
mod server;
mod slow_reader;
mod strict_json;
mod submission;
mod task_page;
mod task_request;
mod tasks;
mod throughput;
mod tls;
mod view;

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::authentication::Access;
pub use self::doors::Doors;
pub use self::openapi::openapi;
pub use self::server::{ConnectionLimits, Server};
pub use self::submission::read_task;
pub use self::tls::Tls;
use crate::catalog::Catalog;
use crate::guards::Guards;
use crate::history::History;
use crate::observer::Observer;
use crate::shutdown::Shutdown;
use crate::task::FileFormat;
use crate::task_source::local::LocalQueue;
use crate::telemetry::LogControl;
use crate::worker::Pool;

/// Streams of events that are open at the same time, of so many connections: three quarters, so that the
/// rest is there for requests. A single connection is never one for a stream.
#[must_use]
pub fn max_watchers(connections: NonZeroUsize) -> usize {
    connections.get() - connections.get().div_ceil(4)
}

/// Everything that the API shows and steers.
pub struct ApiState {
    /// Where tasks are.
    pub queue: LocalQueue,
    /// What became of their attempts.
    pub history: History,
    /// Who runs them.
    pub pool: Pool,
    /// What holds new tasks.
    pub guards: Guards,
    /// What they can name.
    pub catalog: Arc<Catalog>,
    /// What has figures.
    pub observer: Observer,
    /// Which lines are logged.
    pub log: LogControl,
    /// Whether the agent stops.
    pub shutdown: Shutdown,
    /// Format of a task that does not say.
    pub default_format: FileFormat,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Streams of events that are open at the same time.
    pub max_watchers: usize,
    /// Who may do what.
    pub doors: Doors,
}

/// The state and what the API itself remembers.
struct Shared {
    agent: ApiState,
    connections: checks::ConnectionChecks,
    queue_check: checks::QueueCheck,
    watchers: Arc<Semaphore>,
    /// A permit for each large body that may be in memory.
    body_room: Arc<Semaphore>,
    /// One permit: a large body is checked at a time.
    large_bodies: Arc<Semaphore>,
    /// Previews that can run.
    previews: Arc<Semaphore>,
    throughput: Arc<throughput::Throughput>,
    openapi: openapi::Documents,
}

/// What handlers get.
type Api = Arc<Shared>;

/// The API of one agent.
pub fn router(state: ApiState) -> Router {
    let doors = state.doors.clone();
    let metrics = Arc::clone(&state.observer.metrics);
    let throughput = throughput::Throughput::start(&state.pool, &state.shutdown);
    let shared = Shared {
        connections: checks::ConnectionChecks::default(),
        queue_check: checks::QueueCheck::default(),
        watchers: Arc::new(Semaphore::new(state.max_watchers)),
        body_room: Arc::new(Semaphore::new(extract::large_bodies(state.max_body_bytes))),
        agent: state,
        large_bodies: Arc::new(Semaphore::new(1)),
        previews: Arc::new(Semaphore::new(preview::MAX_PREVIEWS)),
        throughput,
        openapi: openapi::Documents::default(),
    };
    finished(Router::from(routes()).merge(console::routes()), doors)
        .layer(middleware::from_fn_with_state(metrics, audit::count_refusals))
        .with_state(Arc::new(shared))
}

/// Puts the fallbacks and the layers around routes; the last layer is the outermost.
fn finished<S: Clone + Send + Sync + 'static>(routes: Router<S>, doors: Doors) -> Router<S> {
    routes
        .fallback(problem::unknown_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn(origin::guard))
        .layer(middleware::from_fn_with_state(doors, authentication::guard))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(console::headers::add))
        .layer(middleware::from_fn(problem::finish))
}

fn routes() -> OpenApiRouter<Api> {
    openapi::empty()
        .routes(routes!(tasks::submit, tasks::list))
        .routes(routes!(tasks::show, tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(history::logs))
        .routes(routes!(history::runs))
        .routes(routes!(events::watch))
        .routes(routes!(preview::preview))
        .routes(routes!(connections::connections))
        .routes(routes!(throughput::throughput))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(control::handle_tasks))
        .routes(routes!(control::stop))
        .routes(routes!(control::handling_status))
        .routes(routes!(control::tasks_count))
        .routes(routes!(control::tasks_processed))
        .routes(routes!(log_level::show, log_level::change))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::document))
}

#[cfg(test)]
mod tests;
