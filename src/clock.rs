//! Whether the wall clock can be believed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock may go so much faster than time itself: it is set a little all the time.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// A clock that has jumped and stays there for so long is right: the machine was asleep, or the clock was
/// wrong before.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Compares the wall clock with the time that passes. What removes things by their age asks it before: with
/// a clock that is far ahead for a minute, everything would be old.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<(Timestamp, Instant)>,
    /// While the clock is ahead: by how much, and since when.
    ahead: Option<(SignedDuration, Instant)>,
}

impl ClockWatch {
    /// Whether what is old by the wall clock is old. `wall` and `now` are the same moment.
    pub(crate) fn believes(&mut self, wall: Timestamp, now: Instant) -> bool {
        let jumped = self.last.map_or(SignedDuration::ZERO, |(last_wall, last)| {
            let passed = SignedDuration::try_from(now.saturating_duration_since(last)).unwrap_or_default();
            wall.duration_since(last_wall).saturating_sub(passed)
        });
        self.last = Some((wall, now));
        self.ahead = match self.ahead.take() {
            None if jumped > TOLERANCE => {
                tracing::warn!(
                    ahead = %jumped,
                    "the clock of this machine has jumped ahead; nothing is cleared out for its age before it \
                     has stayed there for an hour. Look at the time service"
                );
                Some((jumped, now))
            }
            Some((ahead, since)) => {
                let ahead = ahead.saturating_add(jumped);
                let is_back = ahead <= TOLERANCE;
                // One that jumps further has not stayed.
                let since = if jumped > TOLERANCE { now } else { since };
                let has_stayed = now.saturating_duration_since(since) >= PATIENCE;
                (!is_back && !has_stayed).then_some((ahead, since))
            }
            none => none,
        };
        self.ahead.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_when_it_is_back_or_has_stayed_for_long() {
        let (begun, wall) = (Instant::now(), Timestamp::now());
        let year = 365 * 86_400;
        // Steps of passed seconds, and what the wall clock shows then -> whether it is believed.
        for steps in [
            &[(0, 0, true), (60, 60, true), (120, 420, true)][..],
            &[(0, 0, true), (60, year, false), (120, 120, true), (180, 180, true)],
            &[(0, 0, true), (60, year, false), (3_000, year + 2_940, false), (3_700, year + 3_640, true)],
            // It jumps again before it was believed.
            &[(0, 0, true), (60, year, false), (3_000, 2 * year, false), (3_700, 2 * year + 700, false)],
            &[(0, 0, true), (60, year, false), (3_700, 2 * year, false)],
            // Back is no danger: nothing is too old then.
            &[(0, 0, true), (60, -year, true), (120, -year + 60, true), (180, 180, false)],
        ] {
            let mut clock = ClockWatch::default();
            for (passed, shown, believed) in steps {
                let now = begun + Duration::from_secs(*passed);
                let shown = wall + SignedDuration::from_secs(*shown);
                assert_eq!(clock.believes(shown, now), *believed, "{steps:?} at {passed}");
            }
        }
    }
}
