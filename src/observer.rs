//! The figures of the agent at one moment, for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::fault::Fault;
use crate::guards::Guards;
use crate::history::History;
use crate::task_source::local::LocalQueue;
use crate::telemetry::{Gauges, LogControl, Metrics};
use crate::worker::Pool;

/// Everything that has figures; clones share it.
#[derive(Clone)]
pub struct Observer {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Where tasks are.
    pub queue: LocalQueue,
    /// Who runs them.
    pub pool: Pool,
    /// What holds new tasks.
    pub guards: Guards,
    /// What became of attempts.
    pub history: History,
    /// Which lines are logged.
    pub log: LogControl,
    /// Bytes of memory that tasks plan with at most.
    pub memory_planned: u64,
    /// The configured bound of that.
    pub memory_limit: Option<u64>,
}

impl Observer {
    /// The text of all metrics.
    pub async fn text(&self) -> Result<String, Fault> {
        let mut gauges = Gauges {
            tasks: self.queue.counts().await?,
            oldest_waits: self.queue.oldest_waiting().await?.map(since),
            workers: self.pool.workers().get(),
            is_handling: self.pool.is_handling(),
            short: self.guards.hold().map(|hold| hold.short),
            memory_planned: self.memory_planned,
            memory_limit: self.memory_limit,
            disk_free: self.guards.free(),
            log_drops: self.log.dropped(),
            history_drops: self.history.dropped(),
            ..Gauges::default()
        };
        for (task_source, _, task) in self.pool.running().all() {
            let progress = task.progress.snapshot();
            *gauges.running.entry(task_source).or_default() += 1;
            gauges.rows_in_flight += progress.rows;
            gauges.bytes_in_flight += progress.bytes;
        }
        Ok(self.metrics.render(&gauges))
    }
}

/// The time since a moment; none when the clock was set back.
fn since(moment: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(moment)).unwrap_or_default()
}
