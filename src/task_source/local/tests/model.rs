//! Any sequence of operations leaves the queue as a simple model of it says.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::super::{AttemptState, Cancelled, Counts, Retried, SubmitError, TaskState};
use super::*;
use crate::retry::Backoff;
use crate::task::{Extension, LeaseId};

#[derive(Clone, Copy, Debug)]
enum End {
    Completed,
    RetryNow,
    RetryMuchLater,
    Failed,
    Cancelled,
    Released,
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            Self::Completed => Outcome::Completed(receipt()),
            Self::RetryNow => retry_after(Duration::ZERO),
            Self::RetryMuchLater => retry_after(Backoff::LONGEST_OF_A_TASK),
            Self::Failed => Outcome::Failed(report()),
            Self::Cancelled => Outcome::Cancelled,
            Self::Released => Outcome::Released,
        }
    }

    /// Outcomes of one name cannot be told apart when they are repeated.
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::RetryNow | Self::RetryMuchLater => "retry",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Ids and bodies of one call.
    Submit(Vec<(usize, usize)>),
    Lease(usize),
    /// Ends one of the leases that were ever given out.
    Finish(prop::sample::Index, End),
    Cancel(usize),
    Retry(usize),
    Kill,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        Just(End::Completed),
        Just(End::RetryNow),
        Just(End::RetryNow),
        Just(End::RetryMuchLater),
        Just(End::Failed),
        Just(End::Cancelled),
        Just(End::Released)
    ];
    let name = 0..NAMES.len();
    prop_oneof![
        3 => prop::collection::vec((name.clone(), 0..10_usize), 1..4).prop_map(Step::Submit),
        4 => (1..3_usize).prop_map(Step::Lease),
        6 => (any::<prop::sample::Index>(), end).prop_map(|(lease, end)| Step::Finish(lease, end)),
        2 => name.clone().prop_map(Step::Cancel),
        2 => name.prop_map(Step::Retry),
        2 => Just(Step::Kill),
    ]
}

/// Each name has one body that is usual, and another one that is rare.
fn body(name: usize, body: usize) -> Task {
    let mut task = if body == 0 { with_another_body(NAMES[name]) } else { task(NAMES[name]) };
    task.spec.priority = if name == 3 { 1 } else { 0 };
    task.spec.max_attempts = 2;
    task
}

#[derive(Clone, Debug)]
struct Known {
    task: Task,
    arrival: usize,
    state: TaskState,
    cancel_requested: bool,
    unclean: bool,
    backing_off: bool,
    failures: u32,
    deaths: u32,
    attempts: Vec<(AttemptState, Option<&'static str>)>,
}

#[derive(Default)]
struct Model {
    tasks: BTreeMap<usize, Known>,
    leases: Vec<(usize, usize, Lease)>,
}

impl Model {
    fn submit(&mut self, call: &[(usize, usize)]) -> Result<Vec<bool>, usize> {
        let mut after = self.tasks.clone();
        let mut created = Vec::new();
        for &(name, number) in call {
            let task = body(name, number);
            let is_new = !after.contains_key(&name);
            let arrival = after.len();
            let known = after.entry(name).or_insert_with(|| Known {
                task: task.clone(),
                arrival,
                state: TaskState::Queued,
                cancel_requested: false,
                unclean: false,
                backing_off: false,
                failures: 0,
                deaths: 0,
                attempts: Vec::new(),
            });
            if known.task != task {
                return Err(name);
            }
            created.push(is_new);
        }
        self.tasks = after;
        Ok(created)
    }

    fn lease(&mut self, limit: usize) -> Vec<(usize, usize, u32)> {
        let mut ready: Vec<_> = self
            .tasks
            .iter_mut()
            .filter(|(_, known)| known.state == TaskState::Queued && !known.backing_off)
            .collect();
        ready.sort_by_key(|(_, known)| (-known.task.spec.priority, known.arrival));
        let start = |(name, known): (&usize, &mut Known)| {
            known.state = TaskState::Running;
            known.attempts.push((AttemptState::Running, None));
            (*name, known.attempts.len(), known.failures)
        };
        ready.into_iter().take(limit).map(start).collect()
    }

    fn holds(&self, name: usize, number: usize) -> bool {
        let known = &self.tasks[&name];
        known.state == TaskState::Running && known.attempts.len() == number
    }

    fn finish(&mut self, name: usize, number: usize, end: End) -> Finished {
        let held = self.holds(name, number);
        let known = self.tasks.get_mut(&name).unwrap();
        let attempt = &mut known.attempts[number - 1];
        if !held {
            let repeated = attempt.1 == Some(end.name());
            return if repeated { Finished::Recorded } else { Finished::LeaseLost };
        }
        let attempt_state = match end {
            End::Completed => AttemptState::Completed,
            End::RetryNow | End::RetryMuchLater | End::Failed => AttemptState::Failed,
            End::Cancelled => AttemptState::Cancelled,
            End::Released => AttemptState::Released,
        };
        *attempt = (attempt_state, Some(end.name()));
        if attempt_state == AttemptState::Failed {
            known.failures += 1;
        }
        let used_up = known.failures >= known.task.spec.max_attempts;
        known.state = match end {
            End::Completed => TaskState::Completed,
            End::Failed => TaskState::Failed,
            End::Cancelled => TaskState::Cancelled,
            _ if known.cancel_requested && known.unclean => TaskState::Queued,
            _ if known.cancel_requested => TaskState::Cancelled,
            End::RetryNow | End::RetryMuchLater if used_up => TaskState::Failed,
            End::RetryNow | End::RetryMuchLater | End::Released => TaskState::Queued,
        };
        known.cancel_requested &= known.state == TaskState::Queued;
        known.backing_off =
            known.state == TaskState::Queued && matches!(end, End::RetryMuchLater) && !known.cancel_requested;
        known.unclean &= !matches!(end, End::Completed | End::Cancelled);
        known.deaths = 0;
        Finished::Recorded
    }

    fn kill(&mut self) {
        for known in self.tasks.values_mut().filter(|known| known.state == TaskState::Running) {
            known.attempts.last_mut().unwrap().0 = AttemptState::Interrupted;
            known.deaths += 1;
            known.unclean = true;
            known.state = match (known.cancel_requested, known.deaths) {
                (true, 5..) => TaskState::Cancelled,
                (false, 5..) => TaskState::Failed,
                (_, _) => TaskState::Queued,
            };
            known.cancel_requested &= known.state == TaskState::Queued;
        }
    }

    async fn check(&self, queue: &LocalQueue) {
        let page = queue.list(None, None, NonZeroU32::MAX).await.unwrap();
        let mut counts = Counts::default();
        assert_eq!(page.tasks.len(), self.tasks.len());
        let mut expected: Vec<_> = self.tasks.values().collect();
        expected.sort_by_key(|known| std::cmp::Reverse(known.arrival));
        for (record, known) in page.tasks.iter().zip(expected) {
            assert_eq!(record.task, known.task);
            assert_eq!((record.state, record.cancel_requested), (known.state, known.cancel_requested));
            let attempts: Vec<_> = record.attempts.iter().map(|attempt| attempt.state).collect();
            let known_attempts: Vec<_> = known.attempts.iter().map(|attempt| attempt.0).collect();
            assert_eq!(attempts, known_attempts);
            assert_eq!(record.receipt.is_some(), known.state == TaskState::Completed);
            assert!(!known.backing_off || record.eligible_at.is_some());
            match known.state {
                TaskState::Queued => counts.queued += 1,
                TaskState::Running => counts.running += 1,
                TaskState::Completed => counts.completed += 1,
                TaskState::Failed => counts.failed += 1,
                TaskState::Cancelled => counts.cancelled += 1,
            }
        }
        assert_eq!(queue.counts().await.unwrap(), counts);
        let ids: Vec<LeaseId> = self.leases.iter().map(|(_, _, lease)| lease.id.clone()).collect();
        let extension = |(name, number, _): &(usize, usize, Lease)| match self.holds(*name, *number) {
            false => Extension::Lost,
            true if self.tasks[name].cancel_requested => Extension::Cancelled,
            true => Extension::Held,
        };
        let extensions: Vec<_> = self.leases.iter().map(extension).collect();
        assert_eq!(queue.extend(&ids).await.unwrap(), extensions);
    }
}

async fn run(steps: Vec<Step>) {
    let mut place = Place::new();
    let mut queue = place.open().await;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Submit(call) => {
                let tasks = call.iter().map(|&(name, number)| body(name, number)).collect();
                let answer = match queue.submit(tasks).await {
                    Ok(answers) => {
                        Ok(answers.iter().map(|one| matches!(one, Submitted::Created(_))).collect())
                    }
                    Err(SubmitError::Conflict { id }) => Err(id),
                    Err(SubmitError::Fault(fault)) => panic!("{}", fault.chain()),
                };
                assert_eq!(answer, model.submit(&call).map_err(|name| id(NAMES[name])));
            }
            Step::Lease(limit) => {
                let leases = lease(&queue, limit).await;
                let expected = model.lease(limit);
                assert_eq!(leases.len(), expected.len());
                for (lease, (name, number, failures)) in leases.into_iter().zip(expected) {
                    assert_eq!(lease.id.0, format!("{}/{number}", NAMES[name]));
                    assert_eq!(lease.failures_before, failures);
                    model.leases.push((name, number, lease));
                }
            }
            Step::Finish(_, _) if model.leases.is_empty() => {}
            Step::Finish(index, end) => {
                let (name, number, lease) = index.get(&model.leases).clone();
                let finished = finish(&queue, &lease, end.outcome()).await;
                assert_eq!(finished, model.finish(name, number, end));
            }
            Step::Cancel(name) => {
                let answer = queue.cancel(&id(NAMES[name])).await.unwrap();
                let Some(known) = model.tasks.get_mut(&name) else {
                    assert_eq!(answer, Cancelled::Unknown);
                    continue;
                };
                match known.state {
                    TaskState::Queued if known.unclean => {
                        (known.cancel_requested, known.backing_off) = (true, false);
                        assert!(matches!(answer, Cancelled::Requested(_)));
                    }
                    TaskState::Queued => {
                        (known.state, known.backing_off) = (TaskState::Cancelled, false);
                        assert!(matches!(answer, Cancelled::Now(_)));
                    }
                    TaskState::Running => {
                        known.cancel_requested = true;
                        assert!(matches!(answer, Cancelled::Requested(_)));
                    }
                    _ => assert!(matches!(answer, Cancelled::AlreadyEnded(_))),
                }
            }
            Step::Retry(name) => {
                let answer = queue.retry(&id(NAMES[name])).await.unwrap();
                let Some(known) = model.tasks.get_mut(&name) else {
                    assert_eq!(answer, Retried::Unknown);
                    continue;
                };
                match known.state {
                    TaskState::Failed | TaskState::Cancelled => {
                        (known.state, known.failures, known.deaths) = (TaskState::Queued, 0, 0);
                        assert!(matches!(answer, Retried::Queued(_)));
                    }
                    _ => assert!(matches!(answer, Retried::Refused(_))),
                }
            }
            Step::Kill => {
                let after = place.as_after_a_kill();
                queue.close().await;
                place = after;
                queue = place.open().await;
                model.kill();
            }
        }
        model.check(&queue).await;
    }
    queue.close().await;
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_sequence_of_operations_leaves_what_the_model_says(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
