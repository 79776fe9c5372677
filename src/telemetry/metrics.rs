//! Figures in the text format of OpenMetrics, which Prometheus reads.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::task::Outcome;
use crate::task_source::local::{Counts, TaskState};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AffinityLabel {
    affinity: String,
}

/// Every metric of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    attempts: Family<OutcomeLabel, Counter>,
    attempt_seconds: Histogram,
    rows: Counter,
    bytes: Counter,
    tasks: Family<StateLabel, Gauge>,
    queue_depth: Gauge,
    shared_queue_depth: Family<AffinityLabel, Gauge>,
    workers: Gauge,
    workers_busy: Gauge,
    rows_in_flight: Gauge,
    memory: Gauge,
}

/// What is read off the agent when somebody asks for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Tasks by state.
    pub tasks: Counts,
    /// Size of the pool.
    pub workers: usize,
    /// Attempts that run.
    pub workers_busy: usize,
    /// Rows that running attempts have read so far.
    pub rows_in_flight: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        // 10 ms, 40 ms ... about three hours.
        let attempt_seconds = Histogram::new(exponential_buckets(0.01, 4.0, 11));
        let mut metrics = Self {
            registry: Registry::with_prefix("data_exchange_agent"),
            attempts: Family::default(),
            attempt_seconds,
            rows: Counter::default(),
            bytes: Counter::default(),
            tasks: Family::default(),
            queue_depth: Gauge::default(),
            shared_queue_depth: Family::default(),
            workers: Gauge::default(),
            workers_busy: Gauge::default(),
            rows_in_flight: Gauge::default(),
            memory: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("attempts", "Attempts that ended, by outcome", self.attempts.clone());
        let seconds = self.attempt_seconds.clone();
        registry.register_with_unit("attempt_duration", "Time of an attempt", Unit::Seconds, seconds);
        registry.register("rows_extracted", "Rows in committed files", self.rows.clone());
        registry.register_with_unit("written", "Bytes in committed files", Unit::Bytes, self.bytes.clone());
        registry.register("tasks", "Tasks in the local queue, by state", self.tasks.clone());
        registry.register("queue_depth", "Tasks that wait", self.queue_depth.clone());
        let depth = self.shared_queue_depth.clone();
        registry.register(
            "shared_queue_depth",
            "Tasks that wait in the queue in Snowflake, by affinity",
            depth,
        );
        registry.register("workers", "Size of the worker pool", self.workers.clone());
        registry.register("workers_busy", "Workers that run an attempt", self.workers_busy.clone());
        let rows = self.rows_in_flight.clone();
        registry.register("rows_in_flight", "Rows that running attempts have read", rows);
        let memory = self.memory.clone();
        registry.register_with_unit("resident_memory", "Resident memory of the agent", Unit::Bytes, memory);
    }

    /// Counts an attempt that ended.
    pub fn attempt_ended(&self, outcome: &Outcome, elapsed: Duration) {
        let name = match outcome {
            Outcome::Completed(receipt) => {
                self.rows.inc_by(receipt.rows);
                self.bytes.inc_by(receipt.bytes);
                "completed"
            }
            Outcome::Retry { .. } => "retry",
            Outcome::Failed(_) => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Released => "released",
        };
        self.attempts.get_or_create(&OutcomeLabel { outcome: name }).inc();
        self.attempt_seconds.observe(elapsed.as_secs_f64());
    }

    /// How many tasks wait in a queue that agents share; `None` while that is not known.
    pub fn shared_queue_depth(&self, affinity: &str, depth: Option<u64>) {
        let label = AffinityLabel { affinity: affinity.to_owned() };
        match depth {
            Some(depth) => _ = self.shared_queue_depth.get_or_create(&label).set(signed(depth)),
            None => _ = self.shared_queue_depth.remove(&label),
        }
    }

    /// The text of all metrics.
    #[must_use]
    pub fn render(&self, gauges: &Gauges) -> String {
        for state in TaskState::ALL {
            let count = match state {
                TaskState::Queued => gauges.tasks.queued,
                TaskState::Running => gauges.tasks.running,
                TaskState::Completed => gauges.tasks.completed,
                TaskState::Failed => gauges.tasks.failed,
                TaskState::Cancelled => gauges.tasks.cancelled,
            };
            self.tasks.get_or_create(&StateLabel { state: state.as_str() }).set(signed(count));
        }
        self.queue_depth.set(signed(gauges.tasks.queued));
        self.workers.set(signed(gauges.workers as u64));
        self.workers_busy.set(signed(gauges.workers_busy as u64));
        self.rows_in_flight.set(signed(gauges.rows_in_flight));
        if let Some(bytes) = resident_memory() {
            self.memory.set(signed(bytes));
        }
        let mut output = String::new();
        text::encode(&mut output, &self.registry).expect("writing into a String does not fail");
        output
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Resident memory of this process in bytes, where the system tells it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Receipt;

    #[test]
    fn the_text_has_every_state_and_what_was_counted() {
        let metrics = Metrics::default();
        let receipt = Receipt { rows: 42, bytes: 1000, ..Receipt::default() };
        metrics.attempt_ended(&Outcome::Completed(receipt), Duration::from_millis(20));
        metrics.attempt_ended(&Outcome::Cancelled, Duration::from_millis(20));
        let text = metrics.render(&Gauges {
            tasks: Counts { queued: 7, ..Counts::default() },
            workers: 4,
            workers_busy: 1,
            rows_in_flight: 3,
        });
        for line in [
            "data_exchange_agent_attempts_total{outcome=\"completed\"} 1",
            "data_exchange_agent_attempts_total{outcome=\"cancelled\"} 1",
            "data_exchange_agent_rows_extracted_total 42",
            "data_exchange_agent_written_bytes_total 1000",
            "data_exchange_agent_tasks{state=\"queued\"} 7",
            "data_exchange_agent_tasks{state=\"failed\"} 0",
            "data_exchange_agent_queue_depth 7",
            "data_exchange_agent_workers_busy 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
