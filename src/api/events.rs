//! `/tasks/{id}/events`: a task as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, watch};

use super::authentication::ShownKey;
use super::extract::PathId;
use super::problem::{Problem, ProblemKind};
use super::server::Closing;
use super::view::TaskView;
use super::{Access, Api};
use crate::fault::Fault;
use crate::task::TaskId;
use crate::task_source::local::{TaskRecord, TaskState};

/// Time between two events of a running task.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two comments on a silent stream, which keep proxies from closing it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The id of the last event of a task.
const END: &str = "end";

/// Streams a task: at once, at every change, and about once a second while it runs.
///
/// Every event is named `task` and has the same JSON as `GET /tasks/{id}`. The stream ends after
/// the event with the final status, when the agent stops, or when the API key is taken away. A browser
/// that connects again by itself after the final event is told by 204 to stay away.
#[utoipa::path(
    get, path = "/tasks/{id}/events", tag = "tasks", operation_id = "watch_task",
    params(
        ("id" = String, Path, description = "Names the task"),
        ("last-event-id" = Option<String>, Header, description = "Sent by a browser that connects again"),
    ),
    responses(
        (status = 200, description = "Events named `task`, with a `TaskView` as data",
            content_type = "text/event-stream", body = String),
        (status = 204, description = "The final event was sent before, and the task has not changed"),
        (status = 404, description = "No task has this id"),
        (status = 503, description = "The queue could not be read, or too many streams are open"),
    )
)]
pub(super) async fn watch(
    State(api): State<Api>,
    PathId(id): PathId,
    closing: Option<Extension<Closing>>,
    Extension(key): Extension<ShownKey>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Registered before anything is shown, so that no replacement falls between the guard and this.
    let doors = api.agent.doors.follow();
    if !doors.borrow().may_still_read(key) {
        return Err(Problem::new(ProblemKind::Unauthorized, "the API key was taken away just now"));
    }
    let watchers = Arc::clone(&api.watchers);
    let permit = watchers.try_acquire_owned().map_err(|error| match error {
        TryAcquireError::NoPermits | TryAcquireError::Closed => Problem::new(
            ProblemKind::Unavailable,
            "too many streams of events are open; ask GET /tasks/{id} from time to time",
        ),
    })?;
    // Registered before the first look, so that no change falls between the two.
    let changes = api.agent.queue.changes();
    let record = api.agent.queue.get(&id).await?.ok_or_else(|| Problem::unknown_task(id.as_str()))?;
    if record.state.is_final() && headers.get("last-event-id").is_some_and(|last| last == END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let closing = closing.map(|Extension(closing)| closing).unwrap_or_default();
    let unsent = Some(record.clone());
    let watch = Watch { api, id, changes, doors, key, closing, unsent, record, _permit: permit };
    let events =
        stream::unfold(watch, async |mut watch| Some((Ok::<_, Infallible>(watch.next().await?), watch)));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(([("x-accel-buffering", "no")], Sse::new(events).keep_alive(keep_alive)).into_response())
}

/// One open stream.
struct Watch {
    api: Api,
    id: TaskId,
    changes: broadcast::Receiver<TaskId>,
    doors: watch::Receiver<Arc<Access>>,
    key: ShownKey,
    closing: Closing,
    /// What was read and not sent yet.
    unsent: Option<TaskRecord>,
    /// What was read last.
    record: TaskRecord,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream goes on.
enum Woken {
    Changed,
    Tick,
    Stopped,
}

impl Watch {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(record) = self.unsent.take() {
                return Some(self.event(record));
            }
            if self.record.state.is_final() {
                return None;
            }
            match self.wake().await {
                Woken::Stopped => return None,
                Woken::Tick => self.unsent = Some(self.record.clone()),
                Woken::Changed => match self.read().await {
                    Ok(Some(record)) if record == self.record => {}
                    Ok(Some(record)) => {
                        self.record = record.clone();
                        self.unsent = Some(record);
                    }
                    Ok(None) => return None,
                    Err(fault) => {
                        tracing::warn!(task.id = %self.id, error = fault.chain(), "a stream of events ends early");
                        return None;
                    }
                },
            }
        }
    }

    async fn read(&self) -> Result<Option<TaskRecord>, Fault> {
        self.api.agent.queue.get(&self.id).await
    }

    async fn wake(&mut self) -> Woken {
        // By the queue's word: the attempt enters the list of running ones a little later.
        let is_running = self.record.state == TaskState::Running;
        let changed = async {
            loop {
                match self.changes.recv().await {
                    Ok(id) if id != self.id => {}
                    Ok(_) => return Woken::Changed,
                    // Changes were missed; one of them may be ours.
                    Err(RecvError::Lagged(_)) => return Woken::Changed,
                    Err(RecvError::Closed) => return Woken::Stopped,
                }
            }
        };
        let key = self.key;
        // An error means that the doors are gone, and the agent with them.
        let shut_out = async { drop(self.doors.wait_for(|access| !access.may_still_read(key)).await) };
        tokio::select! {
            woken = changed => woken,
            () = shut_out => Woken::Stopped,
            () = tokio::time::sleep(PROGRESS_INTERVAL), if is_running => Woken::Tick,
            () = self.closing.closed() => Woken::Stopped,
            () = self.api.agent.shutdown.aborting() => Woken::Stopped,
        }
    }

    fn event(&self, record: TaskRecord) -> Event {
        let is_final = record.state.is_final();
        let view = TaskView::new(record, self.api.agent.pool.running());
        let event = Event::default()
            .event("task")
            .json_data(view)
            .expect("a view is made of texts and numbers, and its JSON has no line break");
        if is_final { event.id(END) } else { event }
    }
}
