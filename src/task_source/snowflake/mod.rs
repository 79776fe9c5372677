//! The queue behind stored procedures in Snowflake.
//!
//! ```text
//! PULL_TASKS -> lease -> (EXTEND_LEASES | REFRESH_LEASES)* -> COMPLETE_TASK | FAIL_TASK | REJECT_TASK | RELEASE_TASK
//! ```
//!
//! What this side promises, whatever the server:
//! - A completion is repeated until it is answered, and never followed by a failure of the same attempt.
//! - A lease counts as lost before the server can give it away, by the clocks of this machine alone; the
//!   server is asked once more right before a commit.
//! - Leases are kept by a task of their own with one statement for all, so that no attempt depends on
//!   how busy its worker is. With `EXTEND_LEASES` only what really runs is kept; without it a name is
//!   not used any more after a pull whose answer was lost, so that nothing forgotten is kept for ever.
//! - A payload that nobody can understand is failed at once, with everything that is wrong with it.
//! - At the stop everything unfinished is given back, where the server has `RELEASE_TASK`.

mod check;
mod depth;
mod history;
mod holdings;
mod keeper;
mod procedures;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::check::{check, check_history};
pub use self::history::write_history;
use self::holdings::{Holdings, Moment, Standing};
use self::procedures::{Abilities, Procedures, Pulled, QueueTaskId, Report};
use super::{ReadTask, TaskSource, failure_text, payload};
use crate::config::SnowflakeQueueSettings;
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;
use crate::shutdown::{Shutdown, spawn_blocking};
use crate::snowflake::Client;
use crate::task::{Extension, Finished, Lease, LeaseId, Outcome, Task, TaskId};
use crate::telemetry::Metrics;

/// How long a stop waits for the answer to a pull, whose tasks are then given back. Without the answer their
/// leases run out, which takes minutes; whoever stops a container has ten seconds.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// Between two questions right before a commit that got no answer.
const CONFIRM: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// The queue in Snowflake as a task source; clones share it.
#[derive(Clone)]
pub struct SnowflakeQueue(Arc<Inner>);

struct Inner {
    procedures: Procedures,
    read: ReadTask,
    configured_id: Option<String>,
    /// The name of this process, when none is configured; used once, because a name can be left.
    first_name: Mutex<Option<String>>,
    /// The name under which tasks are pulled; settled at the first pull.
    agent: Mutex<Option<String>>,
    holdings: Mutex<Holdings>,
    /// Wakes whoever looks after the leases.
    changed: Notify,
    shutdown: Shutdown,
}

impl SnowflakeQueue {
    /// The name of this task source.
    pub const NAME: &'static str = "snowflake_stored_procedure";

    /// A queue. No I/O yet. The client is not closed, others may use it; nothing is asked of it any more
    /// once the agent drains and the last lease has ended.
    #[must_use]
    pub fn new(
        client: Client,
        settings: &SnowflakeQueueSettings,
        affinity: Option<&str>,
        read: ReadTask,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        let inner = Arc::new(Inner {
            read,
            configured_id: settings.procedures.agent_id.clone(),
            first_name: Mutex::new(client.agent().map(str::to_owned)),
            procedures: Procedures::new(client, &settings.procedures, affinity),
            agent: Mutex::default(),
            holdings: Mutex::default(),
            changed: Notify::new(),
            shutdown: shutdown.clone(),
        });
        shutdown.spawn(keeper::keep(Arc::clone(&inner)));
        if let Some(interval) = settings.depth_interval {
            let metrics = Arc::clone(metrics);
            shutdown.spawn(depth::watch(Arc::clone(&inner), metrics, affinity.map(str::to_owned), interval));
        }
        Self(inner)
    }
}

impl Inner {
    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().expect("nothing panics while it holds this lock")
    }

    /// The name under which tasks are pulled.
    fn agent(&self, abilities: Abilities) -> String {
        let mut agent = self.agent.lock().expect("nothing panics while it holds this lock");
        let name = agent.get_or_insert_with(|| {
            let name = match (&self.configured_id, abilities.extends) {
                (Some(id), true) => id.clone(),
                // REFRESH_LEASES keeps everything of a name, also what an earlier process left.
                (Some(id), false) => format!("{id}-{}", Uuid::new_v4()),
                (None, _) => {
                    let first =
                        self.first_name.lock().expect("nothing panics while it holds this lock").take();
                    first.unwrap_or_else(|| Uuid::new_v4().to_string())
                }
            };
            tracing::info!(
                agent_id = name,
                queue = self.procedures.place(),
                "tasks are taken from Snowflake"
            );
            name
        });
        name.clone()
    }

    /// Leaves the present name, because something unknown may have been leased to it.
    fn forget_agent(&self, used: &str) {
        let mut agent = self.agent.lock().expect("nothing panics while it holds this lock");
        if agent.as_deref() == Some(used) {
            *agent = None;
        }
    }

    /// Resolves when the agent has been draining for so long.
    async fn draining_for(&self, patience: Duration) {
        self.shutdown.draining().await;
        tokio::time::sleep(patience).await;
    }

    /// Pulls tasks into the spare ones.
    async fn pull(&self, limit: NonZeroUsize) -> Result<(), Fault> {
        let ready = async {
            self.procedures.log_in().await?;
            self.procedures.abilities().await
        };
        let abilities = tokio::select! {
            abilities = ready => abilities?,
            // Nothing is leased yet: a stop need not wait.
            () = self.shutdown.draining() => return Ok(()),
        };
        let agent = self.agent(abilities);
        let asked_at = Moment::now();
        let pulled = tokio::select! {
            pulled = self.procedures.pull(&agent, limit.get()) => pulled.map_err(|(fault, is_unknown)| {
                if is_unknown && !abilities.extends {
                    self.forget_agent(&agent);
                }
                fault
            })?,
            () = self.draining_for(LAST_ANSWER) => {
                tracing::warn!(
                    queue = self.procedures.place(),
                    "the agent stops before Snowflake has said which tasks it leased; leases of them run out"
                );
                return Ok(());
            }
        };
        if pulled.is_empty() {
            return Ok(());
        }
        let read = Arc::clone(&self.read);
        // Long SQL texts take their time to be checked.
        let understood = spawn_blocking(move || {
            let understand = |pulled: Pulled| {
                let task = understand(&pulled, &read);
                (pulled, task)
            };
            pulled.into_iter().map(understand).collect::<Vec<_>>()
        });
        let understood = understood.await.expect("reading a payload does not panic");
        // Everything is entered before anything is waited for: what was leased is kept from here on.
        let mut refused = Vec::new();
        let mut completed = Vec::new();
        {
            let mut holdings = self.holdings();
            for (pulled, task) in understood {
                if let Some(earlier) = holdings.unsettled_completion(&pulled.id) {
                    // Its files are there already. The completion is sent again, in place of the work.
                    holdings.refreshed(&earlier, true, asked_at);
                    completed.push(earlier);
                    continue;
                }
                let Pulled { id, attempt, .. } = pulled;
                let lease = holdings.enter(id, attempt, &agent, asked_at);
                match task {
                    Ok(task) => {
                        holdings.spare.push_back(Lease { id: lease, task, attempt, failures_before: 0 });
                    }
                    Err(fault) => {
                        holdings.refused += 1;
                        refused.push((lease, fault));
                    }
                }
            }
        }
        self.changed.notify_one();
        for (lease, fault) in refused {
            tracing::error!(
                lease = lease.0,
                error = fault.chain(),
                hint = fault.hint(),
                "a task of the queue in Snowflake cannot be understood, and is failed"
            );
            let report = Report::Rejected { message: failure_text::of_fault(&fault) };
            self.settle_and_log(&lease, &report).await;
        }
        for lease in completed {
            let report = self.holdings().overdue(&Moment::now(), true);
            if let Some((_, report)) = report.into_iter().find(|(id, _)| *id == lease) {
                self.settle_and_log(&lease, &report).await;
            }
        }
        Ok(())
    }

    /// Tells the server how a lease ended, and keeps that until it has arrived.
    async fn settle(&self, lease: &LeaseId, report: &Report) -> Result<Finished, Fault> {
        let Some(holding) = self.holdings().get(lease).cloned() else { return Ok(Finished::LeaseLost) };
        let answer = self.procedures.report(&holding, report).await;
        let mut holdings = self.holdings();
        let finished = match answer {
            Ok(is_recorded) => {
                holdings.remove(lease);
                Ok(if is_recorded { Finished::Recorded } else { Finished::LeaseLost })
            }
            Err(fault) => {
                if !holdings.unsettle(lease, report, Moment::now()) {
                    tracing::error!(
                        lease = lease.0,
                        "the failure of a task could not be told for so long that it is given up; the lease \
                         runs out, and the task comes back"
                    );
                }
                Err(fault)
            }
        };
        drop(holdings);
        self.changed.notify_one();
        finished
    }

    async fn settle_and_log(&self, lease: &LeaseId, report: &Report) {
        match self.settle(lease, report).await {
            Ok(Finished::Recorded) => tracing::info!(lease = lease.0, "an outcome is on record"),
            Ok(Finished::LeaseLost) => {
                tracing::warn!(lease = lease.0, "the lease was lost; the outcome was dropped");
            }
            Err(fault) => {
                tracing::warn!(
                    lease = lease.0,
                    error = fault.chain(),
                    hint = fault.hint(),
                    "outcome could not be recorded yet"
                );
            }
        }
    }

    /// Asks the server about leases that were pulled under one name, and takes the answer over.
    async fn refresh(&self, agent: &str, leases: &[(LeaseId, QueueTaskId)]) -> Result<(), Fault> {
        let abilities = self.procedures.abilities().await?;
        let asked_at = Moment::now();
        if abilities.extends {
            let ids: Vec<&QueueTaskId> = leases.iter().map(|(_, task)| task).collect();
            let held = self.procedures.extend(agent, &ids).await?;
            let mut holdings = self.holdings();
            for (lease, task) in leases {
                holdings.refreshed(lease, held.contains(&task.text), asked_at);
            }
        } else {
            let is_held = self.procedures.refresh(agent).await?;
            let mut holdings = self.holdings();
            for (lease, _) in leases {
                holdings.refreshed(lease, is_held, asked_at);
            }
        }
        Ok(())
    }

    /// Gives a lease back.
    async fn release(&self, lease: &LeaseId, task: &TaskId) -> Result<Finished, Fault> {
        if self.procedures.abilities().await?.releases {
            return self.settle(lease, &Report::Released).await;
        }
        self.holdings().remove(lease);
        self.changed.notify_one();
        tracing::warn!(
            task.id = %task,
            "the queue has no RELEASE_TASK: the lease is left to run out, within five minutes"
        );
        Ok(Finished::Recorded)
    }
}

/// What a pulled task asks for.
fn understand(pulled: &Pulled, read: &ReadTask) -> Result<Task, Fault> {
    let id = TaskId::parse(pulled.id.text.as_str()).map_err(payload::wrong_id)?;
    let spec = payload::understand_text(pulled.payload.as_deref(), read)?;
    Ok(Task { id, spec })
}

#[async_trait]
impl TaskSource for SnowflakeQueue {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn lease(&self, limit: NonZeroUsize) -> Result<Vec<Lease>, Fault> {
        let inner = &self.0;
        {
            let mut holdings = inner.holdings();
            if holdings.is_closed || inner.shutdown.is_draining() {
                return Ok(Vec::new());
            }
            holdings.pulls += 1;
        }
        let pulled = if inner.holdings().spare.is_empty() { inner.pull(limit).await } else { Ok(()) };
        let mut holdings = inner.holdings();
        holdings.pulls -= 1;
        let count = limit.get().min(holdings.spare.len());
        let leases: Vec<Lease> = holdings.spare.drain(..count).collect();
        drop(holdings);
        inner.changed.notify_one();
        pulled.map(|()| leases)
    }

    async fn wait_for_work(&self) {
        // Snowflake cannot call us, and the interval of the poller is what a statement is worth.
        if self.0.holdings().spare.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    async fn is_drained(&self) -> Result<bool, Fault> {
        let holdings = self.0.holdings();
        match holdings.unsettled_count() {
            0 => Ok(holdings.spare.is_empty()),
            count => {
                Err(Fault::new(FaultKind::Transient, "tell the queue in Snowflake what became of its tasks")
                    .because(format!("{count} outcomes have not arrived")))
            }
        }
    }

    fn counts_attempts(&self) -> bool {
        // The procedures of version 1.2.0 do not.
        self.0.procedures.known_abilities().is_some_and(|abilities| abilities.extends)
    }

    fn refused_tasks(&self) -> usize {
        self.0.holdings().refused
    }

    /// From memory: whoever looks after the leases asks the server for all of them at once.
    async fn extend(&self, leases: &[LeaseId]) -> Result<Vec<Extension>, Fault> {
        let now = Moment::now();
        let mut holdings = self.0.holdings();
        let extensions = leases.iter().map(|lease| match holdings.standing(lease, &now) {
            Standing::Held => Extension::Held,
            Standing::Lost => Extension::Lost,
        });
        let extensions = extensions.collect();
        drop(holdings);
        self.0.changed.notify_one();
        Ok(extensions)
    }

    async fn confirm(&self, lease: &LeaseId) -> Result<Extension, Fault> {
        let inner = &self.0;
        let mut failures = 0;
        loop {
            let Some(holding) = inner.holdings().get(lease).cloned() else { return Ok(Extension::Lost) };
            let asked = inner.refresh(&holding.agent, &[(lease.clone(), holding.task.clone())]).await;
            let fault = match asked {
                Ok(()) => return self.extend(std::slice::from_ref(lease)).await.map(|answers| answers[0]),
                Err(fault) => fault,
            };
            // The work of an attempt is worth more than one question, as long as nobody else can have it.
            let still_held = inner.holdings().standing(lease, &Moment::now()) == Standing::Held;
            if !still_held {
                return Ok(Extension::Lost);
            }
            // A refused login says nothing about the task, and there may be a new password soon.
            let is_own = fault.kind() == FaultKind::Credentials;
            if !is_own && !fault.kind().is_retryable() {
                return Err(fault);
            }
            failures += 1;
            tracing::warn!(
                lease = lease.0,
                failures,
                error = fault.chain(),
                "no answer about the lease, before the commit"
            );
            tokio::select! {
                () = tokio::time::sleep(CONFIRM.wait(failures)) => {}
                () = inner.shutdown.aborting() => {
                    let action = "ask about the lease: the agent stops before there is an answer";
                    return Err(Fault::new(FaultKind::Transient, action).because(fault));
                }
            }
        }
    }

    async fn finish(&self, lease: &Lease, outcome: &Outcome) -> Result<Finished, Fault> {
        let report = match outcome {
            Outcome::Completed(receipt) => Report::Completed {
                receipt: serde_json::to_string(receipt).expect("a receipt is made of texts and numbers"),
            },
            Outcome::Retry { report, .. } => Report::Failed { message: failure_text::of_report(report) },
            Outcome::Failed(report) => Report::Rejected { message: failure_text::of_report(report) },
            Outcome::Cancelled => Report::Rejected { message: "cancelled at the agent".to_owned() },
            Outcome::Released => return self.0.release(&lease.id, &lease.task.id).await,
        };
        self.0.settle(&lease.id, &report).await
    }
}
