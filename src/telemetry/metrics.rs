//! Figures in the text format of OpenMetrics, which Prometheus reads.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::fault::FaultKind;
use crate::guards::{Short, resident_memory};
use crate::task::{Outcome, Waits};
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
struct RefusalLabel {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AffinityLabel {
    affinity: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShortLabel {
    short: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabel {
    place: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskSourceLabel {
    task_source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

/// What became of a lease that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseRefresh {
    /// It is held.
    Held,
    /// It belongs to somebody else.
    Lost,
    /// Its task was cancelled.
    Cancelled,
    /// The task source gave no answer.
    Failed,
}

impl LeaseRefresh {
    const ALL: [Self; 4] = [Self::Held, Self::Lost, Self::Cancelled, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// The outcomes of attempts, by name.
const OUTCOMES: [&str; 5] = ["completed", "retry", "failed", "cancelled", "released"];

/// The answers by which the API refuses a caller: an unknown key, a right that is missing, an unknown name
/// of the agent, too many requests.
const REFUSALS: [(u16, &str); 4] = [(401, "401"), (403, "403"), (421, "421"), (429, "429")];

/// Every metric of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    attempts: Family<OutcomeLabel, Counter>,
    attempt_failures: Family<CauseLabel, Counter>,
    api_refusals: Family<RefusalLabel, Counter>,
    attempt_seconds: Seconds,
    rows: Counter,
    bytes: Counter,
    files: Counter,
    source_wait: Counter<f64, AtomicU64>,
    destination_wait: Counter<f64, AtomicU64>,
    lease_refreshes: Family<ResultLabel, Counter>,
    tasks: Family<StateLabel, Gauge>,
    queue_depth: Gauge,
    shared_queue_depth: Family<AffinityLabel, Gauge>,
    oldest: Gauge<f64, AtomicU64>,
    workers: Gauge,
    workers_busy: Gauge,
    running: Family<TaskSourceLabel, Gauge>,
    handling: Gauge,
    held: Family<ShortLabel, Gauge>,
    rows_in_flight: Gauge,
    bytes_in_flight: Gauge,
    memory: Gauge,
    memory_planned: Gauge,
    memory_limit: Gauge,
    disk_free: Family<PlaceLabel, Gauge>,
    log_drops: Counter,
    history_drops: Counter,
}

/// A histogram from 10 ms to about three hours.
#[derive(Clone, Debug)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.01, 4.0, 11)))
    }
}

/// What is read off the agent when somebody asks for the metrics.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Tasks by state.
    pub tasks: Counts,
    /// How long the task waits that waits longest; none when none waits.
    pub oldest_waits: Option<Duration>,
    /// Size of the pool.
    pub workers: usize,
    /// Attempts that run, by task source.
    pub running: BTreeMap<&'static str, usize>,
    /// Whether new tasks are started, as far as people decide it.
    pub is_handling: bool,
    /// What is short, so that no task is started.
    pub short: Option<Short>,
    /// Rows that running attempts have read so far.
    pub rows_in_flight: u64,
    /// Bytes that running attempts have written so far.
    pub bytes_in_flight: u64,
    /// Memory that tasks plan with at most.
    pub memory_planned: u64,
    /// The configured bound of that; none when there is none.
    pub memory_limit: Option<u64>,
    /// Free bytes of file systems, by what is there.
    pub disk_free: BTreeMap<String, u64>,
    /// Lines that the log file or stderr did not get.
    pub log_drops: u64,
    /// Runs and lines that the history did not get.
    pub history_drops: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// No figures yet.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::with_prefix("data_exchange_agent");
        let mut metrics = Self { registry, figures: Figures::default() };
        metrics.register_counters();
        metrics.register_gauges();
        // A counter that is not there yet cannot be told from one that nobody counts.
        for outcome in OUTCOMES {
            drop(metrics.figures.attempts.get_or_create(&OutcomeLabel { outcome }));
        }
        for kind in FaultKind::ALL {
            drop(metrics.figures.attempt_failures.get_or_create(&CauseLabel { cause: kind.to_string() }));
        }
        for (_, status) in REFUSALS {
            drop(metrics.figures.api_refusals.get_or_create(&RefusalLabel { status }));
        }
        for refresh in LeaseRefresh::ALL {
            drop(metrics.figures.lease_refreshes.get_or_create(&ResultLabel { result: refresh.as_str() }));
        }
        metrics
    }

    fn register_counters(&mut self) {
        let registry = &mut self.registry;
        registry.register("attempts", "Attempts that ended, by outcome", self.figures.attempts.clone());
        registry.register(
            "attempt_failures",
            "Attempts that failed, by cause, whether they are retried or not",
            self.figures.attempt_failures.clone(),
        );
        let seconds = self.figures.attempt_seconds.0.clone();
        registry.register_with_unit("attempt_duration", "Time of an attempt", Unit::Seconds, seconds);
        registry.register("rows_extracted", "Rows in committed files", self.figures.rows.clone());
        registry.register_with_unit(
            "written",
            "Bytes in committed files",
            Unit::Bytes,
            self.figures.bytes.clone(),
        );
        registry.register("files_committed", "Committed files", self.figures.files.clone());
        let wait = self.figures.source_wait.clone();
        registry.register_with_unit("source_wait", "Time that slices waited for rows", Unit::Seconds, wait);
        let wait = self.figures.destination_wait.clone();
        registry.register_with_unit(
            "destination_wait",
            "Time that slices waited for the destination to take bytes",
            Unit::Seconds,
            wait,
        );
        registry.register(
            "lease_refreshes",
            "Times that a lease was to be kept, by result",
            self.figures.lease_refreshes.clone(),
        );
        registry.register(
            "api_refusals",
            "Requests that the API refused to their caller, by status",
            self.figures.api_refusals.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Lines that the log file or stderr did not get",
            self.figures.log_drops.clone(),
        );
        registry.register(
            "history_entries_dropped",
            "Runs and lines that the history did not get",
            self.figures.history_drops.clone(),
        );
    }

    fn register_gauges(&mut self) {
        let registry = &mut self.registry;
        registry.register("tasks", "Tasks in the local queue, by state", self.figures.tasks.clone());
        registry.register(
            "queue_depth",
            "Tasks that wait in the local queue",
            self.figures.queue_depth.clone(),
        );
        registry.register(
            "shared_queue_depth",
            "Tasks that wait in the queue in Snowflake, by affinity",
            self.figures.shared_queue_depth.clone(),
        );
        registry.register_with_unit(
            "queue_oldest_age",
            "Time since the longest waiting task of the local queue was accepted, 0 when none waits",
            Unit::Seconds,
            self.figures.oldest.clone(),
        );
        registry.register("workers", "Size of the worker pool", self.figures.workers.clone());
        registry.register("workers_busy", "Workers that run an attempt", self.figures.workers_busy.clone());
        registry.register("running", "Attempts that run, by task source", self.figures.running.clone());
        registry.register(
            "handling_tasks",
            "1 while tasks are handled, 0 after a request to stop",
            self.figures.handling.clone(),
        );
        registry.register(
            "tasks_held",
            "1 while no task is started, by what is short",
            self.figures.held.clone(),
        );
        let rows = self.figures.rows_in_flight.clone();
        registry.register("rows_in_flight", "Rows that running attempts have read", rows);
        let bytes = self.figures.bytes_in_flight.clone();
        registry.register("bytes_in_flight", "Bytes that running attempts have written", bytes);
        let memory = self.figures.memory.clone();
        registry.register_with_unit("resident_memory", "Resident memory of the agent", Unit::Bytes, memory);
        let planned = self.figures.memory_planned.clone();
        registry.register_with_unit(
            "memory_planned",
            "Memory that all workers together plan with at most",
            Unit::Bytes,
            planned,
        );
        let limit = self.figures.memory_limit.clone();
        registry.register_with_unit(
            "memory_limit",
            "The configured bound of the planned memory, 0 without one",
            Unit::Bytes,
            limit,
        );
        let free = self.figures.disk_free.clone();
        registry.register_with_unit(
            "disk_free",
            "Free space of the file systems that the agent writes to",
            Unit::Bytes,
            free,
        );
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Always 1; the label has the version", build);
        let started = Gauge::<f64, AtomicU64>::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs_f64());
        registry.register_with_unit(
            "start_time",
            "When the agent started, in Unix time",
            Unit::Seconds,
            started,
        );
    }

    /// Counts an attempt that ended.
    pub fn attempt_ended(&self, outcome: &Outcome, elapsed: Duration) {
        let name = match outcome {
            Outcome::Completed(receipt) => {
                self.figures.rows.inc_by(receipt.rows);
                self.figures.bytes.inc_by(receipt.bytes);
                self.figures.files.inc_by(receipt.files.len() as u64);
                "completed"
            }
            Outcome::Retry { report, .. } => {
                self.attempt_failed(report.kind);
                "retry"
            }
            Outcome::Failed(report) => {
                self.attempt_failed(report.kind);
                "failed"
            }
            Outcome::Cancelled => "cancelled",
            Outcome::Released => "released",
        };
        self.figures.attempts.get_or_create(&OutcomeLabel { outcome: name }).inc();
        self.figures.attempt_seconds.0.observe(elapsed.as_secs_f64());
    }

    fn attempt_failed(&self, kind: FaultKind) {
        self.figures.attempt_failures.get_or_create(&CauseLabel { cause: kind.to_string() }).inc();
    }

    /// Counts how long an attempt waited for others.
    pub fn attempt_waited(&self, waits: Waits) {
        self.figures.source_wait.inc_by(waits.source.as_secs_f64());
        self.figures.destination_wait.inc_by(waits.destination.as_secs_f64());
    }

    /// Counts a lease that was to be kept.
    pub fn lease_refreshed(&self, result: LeaseRefresh) {
        self.figures.lease_refreshes.get_or_create(&ResultLabel { result: result.as_str() }).inc();
    }

    /// Counts an answer of the API, when it refuses the caller.
    pub fn request_answered(&self, status: u16) {
        if let Some((_, status)) = REFUSALS.into_iter().find(|(refusal, _)| *refusal == status) {
            self.figures.api_refusals.get_or_create(&RefusalLabel { status }).inc();
        }
    }

    /// How many tasks wait in a queue that agents share; `None` while that is not known.
    pub fn shared_queue_depth(&self, affinity: &str, depth: Option<u64>) {
        let label = AffinityLabel { affinity: affinity.to_owned() };
        match depth {
            Some(depth) => _ = self.figures.shared_queue_depth.get_or_create(&label).set(signed(depth)),
            None => _ = self.figures.shared_queue_depth.remove(&label),
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
            self.figures.tasks.get_or_create(&StateLabel { state: state.as_str() }).set(signed(count));
        }
        self.figures.queue_depth.set(signed(gauges.tasks.queued));
        self.figures.oldest.set(gauges.oldest_waits.unwrap_or_default().as_secs_f64());
        self.figures.workers.set(signed(gauges.workers as u64));
        self.figures.workers_busy.set(signed(gauges.running.values().sum::<usize>() as u64));
        self.figures.running.clear();
        for (task_source, count) in &gauges.running {
            self.figures.running.get_or_create(&TaskSourceLabel { task_source }).set(signed(*count as u64));
        }
        self.figures.handling.set(i64::from(gauges.is_handling));
        for short in Short::ALL {
            let label = ShortLabel { short: short.as_str() };
            self.figures.held.get_or_create(&label).set(i64::from(gauges.short == Some(short)));
        }
        self.figures.rows_in_flight.set(signed(gauges.rows_in_flight));
        self.figures.bytes_in_flight.set(signed(gauges.bytes_in_flight));
        if let Some(bytes) = resident_memory() {
            self.figures.memory.set(signed(bytes));
        }
        self.figures.memory_planned.set(signed(gauges.memory_planned));
        self.figures.memory_limit.set(signed(gauges.memory_limit.unwrap_or(0)));
        for (place, free) in &gauges.disk_free {
            self.figures.disk_free.get_or_create(&PlaceLabel { place: place.clone() }).set(signed(*free));
        }
        raise(&self.figures.log_drops, gauges.log_drops);
        raise(&self.figures.history_drops, gauges.history_drops);
        let mut output = String::new();
        text::encode(&mut output, &self.registry).expect("writing into a String does not fail");
        output
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::task::{FileReceipt, Receipt, Report};

    #[test]
    fn the_text_has_every_state_and_what_was_counted() {
        let metrics = Metrics::new();
        let file = FileReceipt { location: "a".into(), rows: 42, bytes: 1000, sha256: "00".into() };
        let receipt = Receipt { rows: 42, bytes: 1000, files: vec![file], ..Receipt::default() };
        let report = Report {
            kind: FaultKind::Throttled,
            message: String::new(),
            hint: None,
            files_left: false,
            method: None,
            at: Timestamp::UNIX_EPOCH,
        };
        metrics.attempt_ended(&Outcome::Completed(receipt), Duration::from_millis(20));
        metrics.attempt_ended(&Outcome::Cancelled, Duration::from_millis(20));
        metrics.attempt_ended(&Outcome::Failed(report), Duration::from_millis(20));
        metrics.attempt_waited(Waits { source: Duration::from_millis(1_500), ..Waits::default() });
        metrics.lease_refreshed(LeaseRefresh::Held);
        metrics.request_answered(421);
        metrics.request_answered(200);
        let gauges = Gauges {
            tasks: Counts { queued: 7, ..Counts::default() },
            oldest_waits: Some(Duration::from_secs(90)),
            workers: 4,
            running: [("local", 1), ("api", 2)].into(),
            is_handling: true,
            short: Some(Short::Disk),
            disk_free: [("the data directory".to_owned(), 5)].into(),
            log_drops: 3,
            ..Gauges::default()
        };
        drop(metrics.render(&gauges));
        // A second time, so that what is counted elsewhere is not counted twice.
        let text = metrics.render(&gauges);
        for line in [
            "data_exchange_agent_attempts_total{outcome=\"completed\"} 1",
            "data_exchange_agent_attempts_total{outcome=\"cancelled\"} 1",
            "data_exchange_agent_attempts_total{outcome=\"released\"} 0",
            "data_exchange_agent_attempt_failures_total{cause=\"throttled\"} 1",
            "data_exchange_agent_attempt_failures_total{cause=\"transient\"} 0",
            "data_exchange_agent_rows_extracted_total 42",
            "data_exchange_agent_written_bytes_total 1000",
            "data_exchange_agent_files_committed_total 1",
            "data_exchange_agent_source_wait_seconds_total 1.5",
            "data_exchange_agent_destination_wait_seconds_total 0.0",
            "data_exchange_agent_lease_refreshes_total{result=\"held\"} 1",
            "data_exchange_agent_api_refusals_total{status=\"401\"} 0",
            "data_exchange_agent_api_refusals_total{status=\"421\"} 1",
            "data_exchange_agent_tasks{state=\"queued\"} 7",
            "data_exchange_agent_tasks{state=\"failed\"} 0",
            "data_exchange_agent_queue_depth 7",
            "data_exchange_agent_queue_oldest_age_seconds 90.0",
            "data_exchange_agent_workers_busy 3",
            "data_exchange_agent_running{task_source=\"api\"} 2",
            "data_exchange_agent_handling_tasks 1",
            "data_exchange_agent_tasks_held{short=\"disk\"} 1",
            "data_exchange_agent_tasks_held{short=\"memory\"} 0",
            "data_exchange_agent_disk_free_bytes{place=\"the data directory\"} 5",
            "data_exchange_agent_log_lines_dropped_total 3",
            "data_exchange_agent_history_entries_dropped_total 0",
            "data_exchange_agent_build_info{version=\"",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let idle = metrics.render(&Gauges::default());
        assert!(!idle.contains("running{"), "a task source without attempts is not shown\n{idle}");
    }
}
