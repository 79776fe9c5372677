//! Live figures of a running attempt, updated without locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Counters of one attempt. Written by the transfer, read by the API and the progress bar.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    rows_read: AtomicU64,
    rows_encoded: AtomicU64,
    bytes_written: AtomicU64,
    parts: AtomicU64,
    source_wait: AtomicU64,
    destination_wait: AtomicU64,
}

/// How long an attempt waited for others, summed over its slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For rows of the source.
    pub source: Duration,
    /// For the destination to take bytes.
    pub destination: Duration,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            rows_read: AtomicU64::new(0),
            rows_encoded: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            source_wait: AtomicU64::new(0),
            destination_wait: AtomicU64::new(0),
        }
    }
}

impl Progress {
    /// Rows that left the source.
    pub fn add_rows_read(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Relaxed);
    }

    /// Rows that went into a part.
    pub fn add_rows_encoded(&self, rows: u64) {
        self.rows_encoded.fetch_add(rows, Relaxed);
    }

    /// Bytes handed to the destination.
    pub fn add_bytes_written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Relaxed);
    }

    /// A part was opened.
    pub fn add_part(&self) {
        self.parts.fetch_add(1, Relaxed);
    }

    /// Sets the figures back, for an attempt that is made once more. What was waited for stays.
    pub fn begin_again(&self) {
        for figure in [&self.rows_read, &self.rows_encoded, &self.bytes_written, &self.parts] {
            figure.store(0, Relaxed);
        }
    }

    /// The source was waited for.
    pub fn add_source_wait(&self, wait: Duration) {
        self.source_wait.fetch_add(microseconds(wait), Relaxed);
    }

    /// The destination was waited for.
    pub fn add_destination_wait(&self, wait: Duration) {
        self.destination_wait.fetch_add(microseconds(wait), Relaxed);
    }

    /// How long the attempt waited so far.
    #[must_use]
    pub fn waits(&self) -> Waits {
        Waits {
            source: Duration::from_micros(self.source_wait.load(Relaxed)),
            destination: Duration::from_micros(self.destination_wait.load(Relaxed)),
        }
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        let elapsed = self.started.elapsed();
        let rows = self.rows_read.load(Relaxed);
        let seconds = elapsed.as_secs_f64();
        ProgressSnapshot {
            rows,
            rows_encoded: self.rows_encoded.load(Relaxed),
            bytes: self.bytes_written.load(Relaxed),
            parts: self.parts.load(Relaxed),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            rows_per_second: if seconds > 0.0 { rows as f64 / seconds } else { 0.0 },
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The figures of a running attempt at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ProgressSnapshot {
    /// Rows read from the source.
    pub rows: u64,
    /// Rows that are encoded.
    pub rows_encoded: u64,
    /// Bytes handed to the destination.
    pub bytes: u64,
    /// Files begun.
    pub parts: u64,
    /// Time since the attempt began, in milliseconds.
    pub elapsed_ms: u64,
    /// Average rate since the attempt began.
    pub rows_per_second: f64,
}
