//! The checks behind the probes, and how long their results stand, so that whoever asks often loads neither
//! databases nor the disk, and locks no account.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::catalog::Catalog;
use crate::fault::{Fault, FaultKind};
use crate::task::Report;
use crate::task_source::local::LocalQueue;

/// Longest time for one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Results of connection checks are shown this long.
const CHECK_LIFETIME: Duration = Duration::from_secs(10);
/// A login that was refused is not tried again for this long, unless there are newer secrets: some databases
/// lock an account after a few.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(300);
/// The queue is checked by a write to the disk, at most this often.
const QUEUE_LIFETIME: Duration = Duration::from_secs(1);

/// What is wrong with a connection, in the words in which a failed task would tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct ConnectionFault {
    /// Whether it can pass by itself.
    pub kind: FaultKind,
    /// What was being done and why it failed, outermost first.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When this was found. A login that was refused is not tried again for some minutes.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Why a check failed. The reason is kind and action of the fault, and the fault has its causes too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    reason: String,
    fault: ConnectionFault,
}

impl Failed {
    fn new(reason: String, fault: &Fault) -> Self {
        let Report { kind, message, hint, at, .. } = Report::of(fault);
        Self { reason, fault: ConnectionFault { kind, message, hint, at } }
    }
}

/// Runs one check within its time.
async fn check(check: impl Future<Output = Result<(), Fault>>) -> Result<(), Failed> {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => {
            tracing::warn!(error = fault.chain(), kind = %fault.kind(), "a health check failed");
            Err(Failed::new(format!("{fault} ({})", fault.kind()), &fault))
        }
        Err(_elapsed) => {
            let reason = format!("no answer within {} s", CHECK_TIMEOUT.as_secs());
            let fault = Fault::new(FaultKind::Transient, reason.clone()).remedy(
                "Check that the other side runs, and the network and the firewalls on the way to it.",
            );
            Err(Failed::new(reason, &fault))
        }
    }
}

/// The last check of the queue. Requests that come while it runs wait for its result.
#[derive(Debug, Default)]
pub(super) struct QueueCheck(Mutex<Option<(Instant, Result<(), String>)>>);

impl QueueCheck {
    /// Whether the queue can store tasks; otherwise why not.
    pub(super) async fn get(&self, queue: &LocalQueue) -> Result<(), String> {
        self.get_at(Instant::now(), queue.check()).await
    }

    async fn get_at(&self, now: Instant, ask: impl Future<Output = Result<(), Fault>>) -> Result<(), String> {
        let mut last = self.0.lock().await;
        if let Some((checked_at, state)) = last.as_ref()
            && now.saturating_duration_since(*checked_at) < QUEUE_LIFETIME
        {
            return state.clone();
        }
        let state = check(ask).await.map_err(|failed| failed.reason);
        *last = Some((Instant::now(), state.clone()));
        state
    }
}

/// What the connection checks found, by name.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) sources: BTreeMap<String, String>,
    pub(super) source_faults: BTreeMap<String, ConnectionFault>,
    pub(super) destinations: BTreeMap<String, String>,
    pub(super) destination_faults: BTreeMap<String, ConnectionFault>,
    pub(super) others: BTreeMap<String, String>,
}

/// The last connection checks. Requests that come while checks run wait for their results, so that
/// there is at most one check of a connection at any time.
#[derive(Debug, Default)]
pub(super) struct ConnectionChecks(Mutex<Option<Checked>>);

#[derive(Debug)]
struct Checked {
    at: Instant,
    connections: Arc<Connections>,
    /// Logins that were refused, by section and name.
    refused: BTreeMap<(&'static str, String), Refusal>,
}

/// A login that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    at: Instant,
    failed: Failed,
}

impl ConnectionChecks {
    pub(super) async fn get(&self, catalog: &Catalog) -> Arc<Connections> {
        let mut last = self.0.lock().await;
        if let Some(checked) = last.as_ref()
            && checked.at.elapsed() < CHECK_LIFETIME
        {
            return Arc::clone(&checked.connections);
        }
        let refused = last.take().map(|checked| checked.refused).unwrap_or_default();
        let checked = run(catalog, &refused).await;
        let connections = Arc::clone(&checked.connections);
        *last = Some(checked);
        connections
    }
}

const SOURCES: &str = "sources";
const DESTINATIONS: &str = "destinations";

/// Checks all connections at the same time.
async fn run(catalog: &Catalog, refused: &BTreeMap<(&'static str, String), Refusal>) -> Checked {
    let last = |kind, name: &str| refused.get(&(kind, name.to_owned()));
    let sources = join_all(catalog.sources().map(async |(name, source)| {
        let renew = async |since: Instant| source.renew(since.into_std()).await;
        (name, look(last(SOURCES, name), Instant::now(), renew, source.check()).await)
    }));
    let destinations = join_all(catalog.destinations().map(async |(name, _, destination)| {
        let renew = async |since: Instant| destination.renew(since.into_std()).await;
        (name, look(last(DESTINATIONS, name), Instant::now(), renew, destination.check()).await)
    }));
    let (sources, destinations) = tokio::join!(sources, destinations);
    let mut connections = Connections::default();
    let mut refused = BTreeMap::new();
    for (kind, found, states, faults) in [
        (SOURCES, sources, &mut connections.sources, &mut connections.source_faults),
        (DESTINATIONS, destinations, &mut connections.destinations, &mut connections.destination_faults),
    ] {
        for (name, (result, refusal)) in found {
            let state = match result {
                Ok(()) => "connected".to_owned(),
                Err(Failed { reason, fault }) => {
                    faults.insert(name.to_owned(), fault);
                    reason
                }
            };
            states.insert(name.to_owned(), state);
            refused.extend(refusal.map(|refusal| ((kind, name.to_owned()), refusal)));
        }
    }
    for (section, reason) in catalog.unavailable() {
        let (map, name) = if let Some(name) = section.strip_prefix("connections.source.") {
            (&mut connections.sources, name)
        } else if let Some(name) = section.strip_prefix("connections.target.") {
            (&mut connections.destinations, name)
        } else {
            (&mut connections.others, section)
        };
        map.insert(name.to_owned(), reason.to_owned());
    }
    Checked { at: Instant::now(), connections: Arc::new(connections), refused }
}

/// What is wrong with one connection, and the refusal that the next look has to know of.
async fn look(
    last: Option<&Refusal>,
    now: Instant,
    renew: impl AsyncFnOnce(Instant) -> bool,
    ask: impl Future<Output = Result<(), Fault>>,
) -> (Result<(), Failed>, Option<Refusal>) {
    if let Some(refusal) = last
        && now.saturating_duration_since(refusal.at) < REFUSAL_LIFETIME
        // A store of secrets that does not answer has none.
        && tokio::time::timeout(CHECK_TIMEOUT, renew(refusal.at)).await != Ok(true)
    {
        return (Err(refusal.failed.clone()), Some(refusal.clone()));
    }
    let result = check(ask).await;
    let refusal = result.as_ref().err().filter(|failed| failed.fault.kind == FaultKind::Credentials);
    // After the check, which has taken up newer secrets by itself, so that they are not tried twice.
    let refusal = refusal.map(|failed| Refusal { at: Instant::now(), failed: failed.clone() });
    (result, refusal)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn refused() -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Credentials, "log in"))
    }

    #[tokio::test]
    async fn a_connection_that_does_not_answer_is_given_up() {
        let (result, refusal) = look(None, Instant::now(), async |_| false, pending()).await;
        let failed = result.expect_err("nobody answers");
        assert_eq!((failed.reason.as_str(), refusal), ("no answer within 3 s", None));
        assert_eq!(failed.fault.message, failed.reason);
        assert!(failed.fault.hint.is_some_and(|hint| hint.contains("firewalls")));
    }

    #[tokio::test]
    async fn the_reason_has_no_cause_and_the_fault_has_cause_and_remedy() {
        let fault = Fault::new(FaultKind::Transient, "connect").because("refused").remedy("Start it.");
        let (result, _) = look(None, Instant::now(), async |_| false, ready(Err(fault))).await;
        let Failed { reason, fault } = result.expect_err("it is refused");
        assert_eq!(reason, "connect (transient)");
        assert_eq!((fault.message.as_str(), fault.hint.as_deref()), ("connect: refused", Some("Start it.")));
    }

    #[tokio::test]
    async fn a_refused_login_is_tried_again_with_newer_secrets_or_after_five_minutes() {
        let no_newer = async |_| false;
        let (result, refusal) = look(None, Instant::now(), no_newer, ready(refused())).await;
        let failed = result.expect_err("it is refused");
        assert_eq!(failed.reason, "log in (credentials)");
        let last = refusal.expect("it is remembered");
        let later = last.at + REFUSAL_LIFETIME;
        let soon = later - Duration::from_secs(1);

        // Nobody is asked: the question never ends.
        let kept = look(Some(&last), soon, no_newer, pending()).await;
        assert_eq!(kept, (Err(failed), Some(last.clone())));
        let newer = async |since| since == last.at;
        let connected = (Ok(()), None);
        assert_eq!(look(Some(&last), soon, newer, ready(Ok(()))).await, connected);
        assert_eq!(look(Some(&last), later, no_newer, ready(Ok(()))).await, connected);
        // What else is wrong is asked again each time.
        let away = || ready(Err(Fault::new(FaultKind::Transient, "connect")));
        assert_eq!(look(None, soon, no_newer, away()).await.1, None);
    }

    #[tokio::test]
    async fn the_queue_is_checked_once_a_second() {
        let checks = QueueCheck::default();
        let begun = Instant::now();
        assert_eq!(checks.get_at(begun, ready(Ok(()))).await, Ok(()));
        assert_eq!(checks.get_at(begun, pending()).await, Ok(()), "it was just checked");
        let full = || ready(Err(Fault::new(FaultKind::Transient, "write")));
        let later = Instant::now() + QUEUE_LIFETIME;
        assert_eq!(checks.get_at(later, full()).await, Err("write (transient)".to_owned()));
    }
}
