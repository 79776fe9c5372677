//! Which leases this agent holds, and how sure that is: pure decisions.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use super::procedures::{QueueTaskId, Report};
use crate::task::{Lease, LeaseId};

/// A lease lives five minutes on the server (version 1.2.0). It counts as lost this long after the last
/// proof that it was held; the difference is for statements on their way.
pub(super) const SURELY_HELD: Duration = Duration::from_secs(270);
/// A lease is refreshed this long after the last proof: four refreshes may fail before it is lost.
pub(super) const REFRESH_AFTER: Duration = Duration::from_secs(60);
/// A report that did not arrive is sent again after this time: longer than the worker that was told of
/// the failure goes on trying by itself.
pub(super) const SETTLE_AFTER: Duration = Duration::from_secs(60);

/// Reports of a failure, or of a release, that are sent before they are given up: about an hour. The lease
/// is lost without them too, and the task comes back. A completion is never given up.
pub(super) const FAILURE_TRIES: u32 = 60;

/// A moment of both clocks. The monotonic one does not see that a machine slept, the other one can be
/// set: what is older by either is old. Clocks of the server are never compared with ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago.
    pub(super) fn age(&self, now: &Self) -> Duration {
        let monotonic = now.monotonic.saturating_duration_since(self.monotonic);
        // A clock that was set back says nothing.
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        monotonic.max(wall)
    }
}

/// A task that was leased to this agent and is not finished.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) task: QueueTaskId,
    /// Its number, from 1.
    pub(super) attempt: u32,
    /// The name under which it was pulled.
    pub(super) agent: String,
    /// Taken before the statement was sent that proved the lease.
    pub(super) proven: Moment,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// With a worker, or on its way to one.
    Running,
    /// It belongs to somebody else now; the worker has not asked yet.
    Lost,
    /// Its end is known and did not arrive at the server.
    Unsettled { report: Report, tries: u32 },
}

/// What a lease is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Held,
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Holdings {
    leases: HashMap<LeaseId, Holding>,
    /// Pulled and given to no worker: the server gave more than was asked for.
    pub(super) spare: VecDeque<Lease>,
    next: u64,
    last_try: HashMap<LeaseId, Moment>,
    /// Pulls under way.
    pub(super) pulls: usize,
    /// Nothing is pulled any more, and nobody looks after leases.
    pub(super) is_closed: bool,
    pub(super) refused: usize,
}

impl Holdings {
    /// Enters a lease that was proven at `proven`. An older lease of the same task is lost.
    pub(super) fn enter(&mut self, task: QueueTaskId, attempt: u32, agent: &str, proven: Moment) -> LeaseId {
        for holding in self.leases.values_mut().filter(|holding| holding.task == task) {
            if holding.phase == Phase::Running {
                holding.phase = Phase::Lost;
            }
        }
        self.next += 1;
        let id = LeaseId(format!("{}/{}", self.next, task.text));
        let holding = Holding { task, attempt, agent: agent.to_owned(), proven, phase: Phase::Running };
        self.leases.insert(id.clone(), holding);
        id
    }

    pub(super) fn get(&self, id: &LeaseId) -> Option<&Holding> {
        self.leases.get(id)
    }

    pub(super) fn remove(&mut self, id: &LeaseId) {
        self.leases.remove(id);
        self.last_try.remove(id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.spare.is_empty()
    }

    /// True when nothing is with a worker or on its way to one.
    pub(super) fn has_no_running(&self) -> bool {
        self.leases.values().all(|holding| matches!(holding.phase, Phase::Unsettled { .. }))
    }

    pub(super) fn unsettled_count(&self) -> usize {
        self.leases.values().filter(|holding| matches!(holding.phase, Phase::Unsettled { .. })).count()
    }

    /// What the worker of a lease is told. A lost lease is forgotten: its worker says nothing more.
    pub(super) fn standing(&mut self, id: &LeaseId, now: &Moment) -> Standing {
        let is_held = self
            .leases
            .get(id)
            .is_some_and(|holding| holding.phase != Phase::Lost && holding.proven.age(now) < SURELY_HELD);
        if is_held {
            return Standing::Held;
        }
        self.remove(id);
        Standing::Lost
    }

    /// The end of a task that did not arrive. False when it is given up, and the lease with it: a queue that
    /// refuses failures for months would fill the memory with them.
    pub(super) fn unsettle(&mut self, id: &LeaseId, report: &Report, now: Moment) -> bool {
        let Some(holding) = self.leases.get_mut(id) else { return true };
        let tries = match &holding.phase {
            Phase::Unsettled { tries, .. } => *tries,
            Phase::Running | Phase::Lost => 0,
        };
        let tries = tries.saturating_add(1);
        if tries >= FAILURE_TRIES && !matches!(report, Report::Completed { .. }) {
            self.remove(id);
            return false;
        }
        holding.phase = Phase::Unsettled { report: report.clone(), tries };
        self.last_try.insert(id.clone(), now);
        true
    }

    /// The completion of `task` that did not arrive, when there is one.
    pub(super) fn unsettled_completion(&self, task: &QueueTaskId) -> Option<LeaseId> {
        let mut found = self.leases.iter().filter(|(_, holding)| {
            let is_completion =
                matches!(&holding.phase, Phase::Unsettled { report: Report::Completed { .. }, .. });
            holding.task == *task && is_completion
        });
        found.next().map(|(id, _)| id.clone())
    }

    /// Ends that did not arrive and whose sender has given up, or all of them.
    pub(super) fn overdue(&self, now: &Moment, all: bool) -> Vec<(LeaseId, Report)> {
        let overdue = self.leases.iter().filter_map(|(id, holding)| match &holding.phase {
            Phase::Unsettled { report, .. } => {
                let waited = self.last_try.get(id).map_or(SETTLE_AFTER, |last| last.age(now));
                (all || waited >= SETTLE_AFTER).then(|| (id.clone(), report.clone()))
            }
            Phase::Running | Phase::Lost => None,
        });
        overdue.collect()
    }

    /// The leases to refresh, by the name under which they were pulled, when one of them is due.
    pub(super) fn due(&self, now: &Moment) -> HashMap<String, Vec<(LeaseId, QueueTaskId)>> {
        let alive = || self.leases.iter().filter(|(_, holding)| holding.phase != Phase::Lost);
        let mut due: HashMap<String, Vec<(LeaseId, QueueTaskId)>> = HashMap::new();
        if !alive().any(|(_, holding)| holding.proven.age(now) >= REFRESH_AFTER) {
            return due;
        }
        for (id, holding) in alive() {
            due.entry(holding.agent.clone()).or_default().push((id.clone(), holding.task.clone()));
        }
        due
    }

    /// Time until a lease is due, or an unsettled end is.
    pub(super) fn next_beat(&self, now: &Moment) -> Option<Duration> {
        let refresh = self.leases.values().filter(|holding| holding.phase != Phase::Lost);
        let refresh = refresh.map(|holding| REFRESH_AFTER.saturating_sub(holding.proven.age(now)));
        let settle = self.last_try.values().map(|last| SETTLE_AFTER.saturating_sub(last.age(now)));
        refresh.chain(settle).min()
    }

    /// Takes over what a refresh that began at `asked_at` has shown.
    pub(super) fn refreshed(&mut self, id: &LeaseId, is_held: bool, asked_at: Moment) {
        let Some(holding) = self.leases.get_mut(id) else { return };
        match (is_held, &holding.phase) {
            (true, _) => holding.proven = asked_at,
            (false, Phase::Running | Phase::Lost) => holding.phase = Phase::Lost,
            // The end is told nevertheless: an answer that was lost may have been `true`.
            (false, Phase::Unsettled { .. }) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> QueueTaskId {
        QueueTaskId { text: text.to_owned(), is_number: false }
    }

    fn later(moment: Moment, by: Duration) -> Moment {
        Moment { monotonic: moment.monotonic + by, wall: moment.wall + by }
    }

    fn completed() -> Report {
        Report::Completed { receipt: "{}".to_owned() }
    }

    #[test]
    fn a_lease_without_proof_is_lost_before_the_server_gives_it_away() {
        let begun = Moment::now();
        let mut holdings = Holdings::default();
        let lease = holdings.enter(task("1"), 1, "a", begun);
        let just_held = later(begun, SURELY_HELD - Duration::from_millis(1));
        assert_eq!(holdings.standing(&lease, &just_held), Standing::Held);
        holdings.refreshed(&lease, true, just_held);
        assert_eq!(holdings.standing(&lease, &later(begun, SURELY_HELD)), Standing::Held);
        assert_eq!(holdings.standing(&lease, &later(just_held, SURELY_HELD)), Standing::Lost);
        assert!(holdings.is_empty(), "nobody refreshes it any more");
    }

    #[test]
    fn a_clock_that_jumps_makes_a_lease_doubtful_and_never_younger() {
        let begun = Moment::now();
        let slept = Moment { wall: begun.wall + SURELY_HELD, ..begun };
        let set_back = Moment { wall: begun.wall - Duration::from_secs(3600), ..begun };
        let mut holdings = Holdings::default();
        let lease = holdings.enter(task("1"), 1, "a", begun);
        assert_eq!(holdings.standing(&lease, &set_back), Standing::Held);
        let old = Moment { monotonic: begun.monotonic + SURELY_HELD, ..set_back };
        assert_eq!(old.wall, set_back.wall);
        assert_eq!(begun.age(&old), SURELY_HELD);
        assert_eq!(holdings.standing(&lease, &slept), Standing::Lost);
    }

    #[test]
    fn leases_are_refreshed_together_well_inside_their_time() {
        let begun = Moment::now();
        let mut holdings = Holdings::default();
        let first = holdings.enter(task("1"), 1, "a", begun);
        let second = holdings.enter(task("2"), 1, "a", later(begun, Duration::from_secs(30)));
        let third = holdings.enter(task("3"), 1, "b", later(begun, Duration::from_secs(50)));
        assert!(holdings.due(&later(begun, Duration::from_secs(59))).is_empty());
        assert_eq!(holdings.next_beat(&later(begun, Duration::from_secs(59))), Some(Duration::from_secs(1)));
        let now = later(begun, REFRESH_AFTER);
        let due = holdings.due(&now);
        assert_eq!((due["a"].len(), due["b"].len()), (2, 1));
        holdings.refreshed(&first, true, now);
        holdings.refreshed(&second, false, now);
        holdings.refreshed(&third, true, now);
        assert_eq!(holdings.standing(&second, &now), Standing::Lost);
        assert!(holdings.due(&now).is_empty());
    }

    #[test]
    fn a_task_that_comes_again_takes_the_lease_from_its_older_attempt() {
        let begun = Moment::now();
        let mut holdings = Holdings::default();
        let old = holdings.enter(task("1"), 1, "a", begun);
        let new = holdings.enter(task("1"), 1, "a", begun);
        assert_eq!(holdings.standing(&old, &begun), Standing::Lost);
        assert_eq!(holdings.standing(&new, &begun), Standing::Held);
    }

    #[test]
    fn an_end_that_did_not_arrive_is_kept_until_it_has() {
        let begun = Moment::now();
        let mut holdings = Holdings::default();
        let lease = holdings.enter(task("1"), 1, "a", begun);
        holdings.unsettle(&lease, &completed(), begun);
        holdings.refreshed(&lease, false, begun);
        assert!(holdings.has_no_running() && !holdings.is_empty());
        assert_eq!(holdings.overdue(&begun, false), []);
        assert_eq!(holdings.overdue(&later(begun, SETTLE_AFTER), false), [(lease.clone(), completed())]);
        assert_eq!(holdings.overdue(&begun, true).len(), 1);
        assert_eq!(holdings.unsettled_completion(&task("1")), Some(lease.clone()));
        assert_eq!(holdings.unsettled_completion(&task("2")), None);
        holdings.remove(&lease);
        assert!(holdings.is_empty() && holdings.next_beat(&begun).is_none());
    }

    #[test]
    fn a_failure_that_is_refused_for_an_hour_is_given_up_and_a_completion_never_is() {
        let begun = Moment::now();
        let mut holdings = Holdings::default();
        let failed = holdings.enter(task("1"), 1, "a", begun);
        let ended = holdings.enter(task("2"), 1, "a", begun);
        let failure = Report::Failed { message: "no".to_owned() };
        for _ in 1..FAILURE_TRIES {
            assert!(holdings.unsettle(&failed, &failure, begun));
        }
        assert_eq!(holdings.unsettled_count(), 1);
        assert!(!holdings.unsettle(&failed, &failure, begun));
        assert!((0..10 * FAILURE_TRIES).all(|_| holdings.unsettle(&ended, &completed(), begun)));
        assert_eq!((holdings.unsettled_count(), holdings.overdue(&begun, true).len()), (1, 1));
        assert!(holdings.get(&failed).is_none());
    }
}
