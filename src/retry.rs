//! Back-off: how long to wait before trying again.
//!
//! Two levels retry, never more: a request inside an adapter, and a task through its lease.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with full jitter in its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of any wait.
    pub longest: Duration,
}

impl Backoff {
    /// For attempts of a task: 1 s, 2 s, 4 s ... 5 min.
    pub const TASK: Self = Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
    /// For a throttled task: 10 s, 20 s ... 10 min.
    pub const THROTTLED: Self = Self { first: Duration::from_secs(10), longest: Duration::from_secs(600) };
    /// No task waits longer than this.
    pub const LONGEST_OF_A_TASK: Duration = Self::THROTTLED.longest;
    /// For recording an outcome, and for a poller whose task source does not answer.
    pub const TASK_SOURCE: Self =
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

    /// The wait after failure number `failure` (from 1), between half of its bound and its bound:
    /// tasks that failed together do not come back together.
    #[must_use]
    pub fn wait(&self, failure: u32) -> Duration {
        let bound = self.bound(failure);
        bound.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    fn bound(&self, failure: u32) -> Duration {
        let doublings = failure.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let bounds: Vec<u64> = [1, 2, 3, 7, 40, u32::MAX].map(|n| backoff.bound(n).as_secs()).to_vec();
        assert_eq!(bounds, [1, 2, 4, 60, 60, 60]);
    }

    #[test]
    fn no_task_waits_longer_than_the_longest() {
        for backoff in [Backoff::TASK, Backoff::THROTTLED] {
            assert!(backoff.bound(u32::MAX) <= Backoff::LONGEST_OF_A_TASK);
        }
    }

    #[test]
    fn the_wait_stays_between_half_and_whole_of_its_bound() {
        for failure in 1..20 {
            let wait = Backoff::TASK.wait(failure);
            let bound = Backoff::TASK.bound(failure);
            assert!(wait >= bound / 2 && wait <= bound, "{failure}: {wait:?}");
        }
    }
}
