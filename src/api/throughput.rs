//! `/throughput`: rows and bytes a second of the last half hour, for charts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};
use utoipa::ToSchema;

use super::fields::Findings;
use super::problem::Problem;
use super::{Api, extract};
use crate::shutdown::Shutdown;
use crate::worker::{Moved, Pool};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(2);
/// Samples that are kept: half an hour, about 50 kB.
const KEPT: usize = 900;

/// What the agent moved, sample by sample.
#[derive(Debug, Default)]
pub(super) struct Throughput(Mutex<VecDeque<Sample>>);

/// The rates of one interval.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Sample {
    /// End of the interval.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Rows that left the sources.
    pub rows_per_second: f64,
    /// Bytes handed to the destinations.
    pub bytes_per_second: f64,
    /// Attempts that ran at its end.
    pub workers_busy: usize,
}

/// The rates of the last half hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "interval_ms": 2000,
    "workers": 4,
    "workers_busy": 1,
    "samples": [{"at": "2026-11-20T08:30:02Z", "rows_per_second": 812000.0, "bytes_per_second": 24600000.0,
        "workers_busy": 1}]
}))]
pub(super) struct ThroughputView {
    /// Time between two samples, about.
    pub interval_ms: u64,
    /// Attempts that can run at the same time.
    pub workers: usize,
    /// Attempts that run now.
    pub workers_busy: usize,
    /// The samples, oldest first; at most 900.
    pub samples: Vec<Sample>,
}

impl Throughput {
    /// Takes samples until the agent stops.
    pub(super) fn start(pool: &Pool, shutdown: &Shutdown) -> Arc<Self> {
        let throughput = Arc::new(Self::default());
        let (samples, running, stop) =
            (Arc::clone(&throughput), Arc::clone(pool.running()), shutdown.clone());
        shutdown.spawn(async move {
            let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut last, mut last_at) = (running.moved(), Instant::now());
            loop {
                tokio::select! {
                    () = stop.draining() => break,
                    _ = ticks.tick() => {}
                }
                let (moved, at) = (running.moved(), Instant::now());
                samples.add(sample(last, moved, at.duration_since(last_at), running.count()));
                (last, last_at) = (moved, at);
            }
        });
        throughput
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.lock();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn after(&self, after: Option<Timestamp>) -> Vec<Sample> {
        let samples = self.lock();
        samples.iter().filter(|sample| after.is_none_or(|after| sample.at > after)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

fn sample(before: Moved, now: Moved, elapsed: Duration, workers_busy: usize) -> Sample {
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001);
    Sample {
        at: Timestamp::now(),
        rows_per_second: rate(before.rows, now.rows),
        bytes_per_second: rate(before.bytes, now.bytes),
        workers_busy,
    }
}

/// Shows how many rows and bytes a second were moved in the last half hour, by all task sources.
#[utoipa::path(
    get, path = "/throughput", tag = "operation", operation_id = "throughput",
    params(("after" = Option<String>, Query, format = DateTime,
        description = "Only samples after this time: `at` of the last one that is known")),
    responses(
        (status = 200, description = "The samples", body = ThroughputView),
        (status = 422, description = "A query parameter is wrong or unknown"),
    )
)]
pub(super) async fn throughput(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<ThroughputView>, Problem> {
    let mut findings = Findings::default();
    let mut after = None;
    for (name, value) in extract::parameters(query.as_deref(), &["after"], &mut findings) {
        match value.parse() {
            Ok(time) => after = Some(time),
            Err(_) => findings.add_parameter(name, "expected a time such as `2026-11-20T08:30:02Z`"),
        }
    }
    let after = findings.or_problem(after)?;
    let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
    let pool = &api.agent.pool;
    Ok(Json(ThroughputView {
        interval_ms,
        workers: pool.workers().get(),
        workers_busy: pool.running().count(),
        samples: api.throughput.after(after),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_what_was_moved_since_the_one_before() {
        let before = Moved { rows: 1000, bytes: 50 };
        let now = Moved { rows: 3000, bytes: 50 };
        let sample = sample(before, now, Duration::from_secs(4), 2);
        assert_eq!((sample.rows_per_second, sample.bytes_per_second), (500.0, 0.0));
    }

    #[test]
    fn only_the_last_samples_are_kept() {
        let throughput = Throughput::default();
        for second in 0..1000 {
            let at = Timestamp::from_second(second).unwrap();
            throughput.add(Sample { at, ..sample(Moved::default(), Moved::default(), INTERVAL, 0) });
        }
        let all = throughput.after(None);
        assert_eq!((all.len(), all[0].at), (KEPT, Timestamp::from_second(100).unwrap()));
        assert_eq!(throughput.after(Some(Timestamp::from_second(997).unwrap())).len(), 2);
    }
}
