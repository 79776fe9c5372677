//! A remote API that hands out tasks: the calls of version 1.2.0.
//!
//! ```text
//! GET {base}/tasks?agent_id=&group_id=   -> {"tasks": [...]}
//! PUT {base}/tasks/{id}/complete
//! PUT {base}/tasks/{id}/fail             {"error_message": "..."}
//! ```
//!
//! The API knows neither leases nor attempts, so that a task that was handed out is this agent's until it
//! says complete or fail. What was handed out and is not wanted yet waits here; an attempt that failed for
//! a passing reason is repeated from here. An answer that could not be sent is sent again for as long as
//! the agent runs, unless the API refuses it again and again; a task whose completion may have arrived is
//! never reported as failed. A key that is refused is read again, and the call made once more when there is
//! a new one.

mod client;

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

use self::client::{Client, Report};
use super::{ReadTask, TaskSource, failure_text, payload};
use crate::config::{Problems, RemoteApiSettings};
use crate::fault::{Fault, FaultKind};
use crate::renewal::Renewable;
use crate::shutdown::spawn_blocking;
use crate::task::{Extension, Finished, Lease, LeaseId, Outcome, Task, TaskId};

/// A report that could not be sent is sent again after this time: longer than whoever was told of the
/// failure goes on trying by itself.
const SETTLE_AFTER: Duration = Duration::from_secs(60);
/// Refusals of one report that nobody can expect to pass, before it is given up: about an hour. An API that
/// refuses for months would fill the memory otherwise.
const REFUSALS: u32 = 60;

/// A remote API as a task source.
pub struct RemoteApi {
    client: Renewable<RemoteApiSettings, Client>,
    read: ReadTask,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Leases so far; makes lease ids unique.
    leases: u64,
    /// Tasks that are this agent's, by the id that the API gives them, with the lease that runs now.
    /// Invariant: what waits and what is to be settled is in here too.
    held: HashMap<String, LeaseId>,
    /// Handed out or to be repeated, and not leased to a worker.
    waiting: VecDeque<Waiting>,
    /// Reports that did not arrive.
    unsettled: HashMap<String, Unsettled>,
    /// What has ended since the API was asked last: its answer may be older, and name it still.
    ended: HashSet<String>,
    refused: usize,
}

struct Waiting {
    remote_id: String,
    task: Task,
    attempt: u32,
    failures_before: u32,
    not_before: Instant,
}

struct Unsettled {
    report: Report,
    refusals: u32,
    last_try: Instant,
}

/// Sees whether the service answers and takes the key. Asks for no task. Returns in words what was seen.
pub async fn check(settings: &RemoteApiSettings) -> Result<String, Fault> {
    let status = Client::new(settings, String::new(), None)?.reach().await?;
    Ok(format!(
        "{} answers with HTTP status {}; no task was asked for, because that would take it",
        settings.base_url,
        status.as_u16()
    ))
}

impl RemoteApi {
    /// The name of this task source.
    pub const NAME: &'static str = "remote_api";

    /// A remote API; nothing is asked yet. `group` is the affinity of the agent. `renewed` reads the settings
    /// with the key of now, when the key is refused; `None` where they came from nowhere.
    pub fn new(
        settings: &RemoteApiSettings,
        group: Option<&str>,
        read: ReadTask,
        renewed: impl Fn() -> Result<Option<RemoteApiSettings>, Problems> + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        // A new key makes no new agent.
        let agent_id = settings.agent_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        tracing::info!(agent_id, base_url = settings.base_url, "tasks of a remote API are taken");
        let client = Arc::new(Client::new(settings, agent_id.clone(), group)?);
        let group = group.map(str::to_owned);
        let build = move |settings| -> BoxFuture<'static, Result<Arc<Client>, Fault>> {
            let client = Client::new(&settings, agent_id.clone(), group.as_deref());
            Box::pin(std::future::ready(client.map(Arc::new)))
        };
        let client = Renewable::new("task_source.api".to_owned(), settings.clone(), client, renewed, build);
        Ok(Self { client, read, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Sends a report and remembers it until it has arrived.
    async fn settle(&self, remote_id: &str, report: Report) -> Result<Finished, Fault> {
        let sent = self
            .client
            .ask(|client| {
                let (remote_id, report) = (remote_id.to_owned(), report.clone());
                async move { client.report(&remote_id, &report).await }
            })
            .await;
        let mut state = self.state();
        match sent {
            Ok(finished) => {
                state.unsettled.remove(remote_id);
                state.held.remove(remote_id);
                state.ended.insert(remote_id.to_owned());
                Ok(finished)
            }
            Err(fault) => {
                state.unsettle(remote_id, report, &fault);
                Err(fault)
            }
        }
    }

    /// Sends reports again whose sender has given up.
    async fn settle_overdue(&self) {
        let overdue: Vec<(String, Report)> = {
            let state = self.state();
            let is_overdue =
                |(_, unsettled): &(&String, &Unsettled)| unsettled.last_try.elapsed() >= SETTLE_AFTER;
            let overdue = state.unsettled.iter().filter(is_overdue);
            overdue.map(|(id, unsettled)| (id.clone(), unsettled.report.clone())).collect()
        };
        for (remote_id, report) in overdue {
            match self.settle(&remote_id, report).await {
                Ok(_) => tracing::info!(task.id = remote_id, "an outcome is on record at last"),
                Err(fault) => {
                    tracing::warn!(
                        task.id = remote_id,
                        error = fault.chain(),
                        "outcome could not be recorded"
                    );
                }
            }
        }
    }

    /// Keeps what was handed out; fails what nobody can understand.
    async fn take_in(&self, tasks: Vec<Value>) {
        let read = std::sync::Arc::clone(&self.read);
        // Long SQL texts take their time to be checked.
        let understood = spawn_blocking(move || {
            let understand = |value: Value| (remote_id(&value), payload::understand(&value, &read));
            tasks.into_iter().map(understand).collect::<Vec<_>>()
        });
        let understood = understood.await.expect("reading a task does not panic");
        for (remote_id, spec) in understood {
            let Some(remote_id) = remote_id else {
                tracing::error!(
                    "the remote API handed out a task without an id, which cannot even be failed"
                );
                continue;
            };
            // Until a task has ended the API may hand it out again.
            if self.state().is_known(&remote_id) {
                continue;
            }
            let task = spec.and_then(|spec| {
                let id = TaskId::parse(remote_id.as_str()).map_err(payload::wrong_id)?;
                Ok(Task { id, spec })
            });
            match task {
                Ok(task) => {
                    let mut state = self.state();
                    state.held.insert(remote_id.clone(), LeaseId(String::new()));
                    let not_before = Instant::now();
                    state.waiting.push_back(Waiting {
                        remote_id,
                        task,
                        attempt: 1,
                        failures_before: 0,
                        not_before,
                    });
                }
                Err(fault) => self.refuse(&remote_id, &fault).await,
            }
        }
    }

    async fn refuse(&self, remote_id: &str, fault: &Fault) {
        tracing::error!(task.id = remote_id, error = fault.chain(), hint = fault.hint(), "task refused");
        {
            let mut state = self.state();
            state.refused += 1;
            state.held.insert(remote_id.to_owned(), LeaseId(String::new()));
        }
        let report = Report::Failed { message: failure_text::of_fault(fault) };
        if let Err(fault) = self.settle(remote_id, report).await {
            tracing::warn!(task.id = remote_id, error = fault.chain(), "refusal could not be recorded yet");
        }
    }
}

impl State {
    /// Whether a task is this agent's already, or was when the API was asked.
    fn is_known(&self, remote_id: &str) -> bool {
        self.held.contains_key(remote_id) || self.ended.contains(remote_id)
    }

    /// Keeps a report that did not arrive, or gives it up with its task.
    fn unsettle(&mut self, remote_id: &str, report: Report, fault: &Fault) {
        // A key can be replaced, and a server can come back.
        let is_refusal = !fault.kind().is_retryable() && fault.kind() != FaultKind::Credentials;
        let before = self.unsettled.get(remote_id).map_or(0, |unsettled| unsettled.refusals);
        let refusals = before.saturating_add(u32::from(is_refusal));
        if refusals < REFUSALS {
            let last_try = Instant::now();
            self.unsettled.insert(remote_id.to_owned(), Unsettled { report, refusals, last_try });
            return;
        }
        self.unsettled.remove(remote_id);
        self.held.remove(remote_id);
        tracing::error!(
            task.id = remote_id,
            error = fault.chain(),
            "the remote API refuses to hear what became of a task; that is given up, and it may hand the task out \
             again"
        );
    }

    /// Leases of tasks that wait and may run now.
    fn take_due(&mut self, limit: NonZeroUsize) -> Vec<Lease> {
        let now = Instant::now();
        let mut leases = Vec::new();
        let mut later = VecDeque::with_capacity(self.waiting.len());
        while let Some(waiting) = self.waiting.pop_front() {
            if leases.len() == limit.get() || waiting.not_before > now {
                later.push_back(waiting);
                continue;
            }
            self.leases += 1;
            let id = LeaseId(format!("{}/{}", self.leases, waiting.remote_id));
            self.held.insert(waiting.remote_id, id.clone());
            let Waiting { task, attempt, failures_before, .. } = waiting;
            leases.push(Lease { id, task, attempt, failures_before });
        }
        self.waiting = later;
        leases
    }

    /// The id that the API gives to the task of a lease, while the lease is the one that runs.
    fn remote_id(&self, lease: &LeaseId) -> Option<String> {
        let (_, remote_id) = lease.0.split_once('/')?;
        (self.held.get(remote_id) == Some(lease)).then(|| remote_id.to_owned())
    }
}

#[async_trait]
impl TaskSource for RemoteApi {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn lease(&self, limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
        self.settle_overdue().await;
        let due = self.state().take_due(limit);
        if !due.is_empty() {
            return Ok(due);
        }
        self.state().ended.clear();
        let tasks = self.client.ask(|client| async move { client.tasks().await }).await?;
        self.take_in(tasks).await;
        Ok(self.state().take_due(limit))
    }

    async fn wait_for_work(&self) {
        let next = self.state().waiting.iter().map(|waiting| waiting.not_before).min();
        match next {
            Some(next) => tokio::time::sleep_until(next.into()).await,
            None => std::future::pending().await,
        }
    }

    async fn is_drained(&self) -> Result<bool, Fault> {
        let state = self.state();
        if !state.unsettled.is_empty() {
            return Err(Fault::new(FaultKind::Transient, "tell the remote API what became of its tasks")
                .because(format!("{} reports have not arrived", state.unsettled.len())));
        }
        Ok(state.waiting.is_empty())
    }

    fn counts_attempts(&self) -> bool {
        // The API does not, and this agent begins anew when it starts.
        false
    }

    fn refused_tasks(&self) -> usize {
        self.state().refused
    }

    async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
        let state = self.state();
        let extension = |lease| match state.remote_id(lease) {
            Some(_) => Extension::Held,
            None => Extension::Lost,
        };
        Ok(leases.iter().map(extension).collect())
    }

    async fn finish(&self, lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault> {
        let Some(remote_id) = self.state().remote_id(&lease.id) else { return Ok(Finished::LeaseLost) };
        let failure = lease.failures_before.saturating_add(1);
        let report = match outcome {
            Outcome::Completed(_) => Report::Completed,
            Outcome::Retry { after, .. } if failure < lease.task.spec.max_attempts => {
                self.state().waiting.push_back(Waiting {
                    remote_id,
                    task: lease.task.clone(),
                    attempt: lease.attempt.saturating_add(1),
                    failures_before: failure,
                    not_before: Instant::now() + *after,
                });
                return Ok(Finished::Recorded);
            }
            Outcome::Retry { report, .. } | Outcome::Failed(report) => {
                Report::Failed { message: failure_text::of_report(report) }
            }
            Outcome::Cancelled => Report::Failed { message: "cancelled at the agent".to_owned() },
            Outcome::Released => {
                // The API knows no release: it would never hand the task out again. It waits here for when tasks
                // are started again; at a stop, whoever drops this says what is left.
                self.state().waiting.push_back(Waiting {
                    remote_id,
                    task: lease.task.clone(),
                    attempt: lease.attempt.saturating_add(1),
                    failures_before: lease.failures_before,
                    not_before: Instant::now(),
                });
                return Ok(Finished::Recorded);
            }
        };
        self.settle(&remote_id, report).await
    }
}

impl Drop for RemoteApi {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !state.waiting.is_empty() || !state.unsettled.is_empty() {
            tracing::warn!(
                waiting = state.waiting.len(),
                unsettled = state.unsettled.len(),
                "tasks of the remote API are unfinished there, and it knows no release"
            );
        }
    }
}

/// The id of a task, as a text or as a whole number.
fn remote_id(task: &Value) -> Option<String> {
    match task.get("id")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) if id.is_i64() || id.is_u64() => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_refused_for_an_hour_is_given_up_and_one_that_cannot_be_sent_is_not() {
        let mut state = State::default();
        for id in ["refused", "unreachable", "locked-out"] {
            state.held.insert(id.to_owned(), LeaseId(String::new()));
        }
        let fault = |kind| Fault::new(kind, "tell the remote API");
        for _ in 0..2 * REFUSALS {
            state.unsettle("unreachable", Report::Completed, &fault(FaultKind::Transient));
            state.unsettle("locked-out", Report::Completed, &fault(FaultKind::Credentials));
        }
        for _ in 1..REFUSALS {
            state.unsettle("refused", Report::Completed, &fault(FaultKind::Request));
        }
        assert_eq!((state.unsettled.len(), state.held.len()), (3, 3));
        state.unsettle("refused", Report::Completed, &fault(FaultKind::Request));
        assert_eq!((state.unsettled.len(), state.held.len()), (2, 2));
        assert!(!state.held.contains_key("refused"), "it may be handed out again");
    }
}
