//! The checks behind the probes, and how long their results stand, so that whoever asks often loads neither
//! databases nor the disk, and locks no account.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::catalog::Catalog;
use crate::fault::{Fault, FaultKind};
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

/// Why a check failed. The reason is kind and action of the fault: its causes can have words of a server,
/// which stay in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    reason: String,
    /// A login was refused.
    is_refusal: bool,
}

/// Runs one check within its time.
async fn check(check: impl Future<Output = Result<(), Fault>>) -> Result<(), Failed> {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => {
            tracing::warn!(error = fault.chain(), kind = %fault.kind(), "a health check failed");
            let is_refusal = fault.kind() == FaultKind::Credentials;
            Err(Failed { reason: format!("{fault} ({})", fault.kind()), is_refusal })
        }
        Err(_elapsed) => {
            let reason = format!("no answer within {} s", CHECK_TIMEOUT.as_secs());
            Err(Failed { reason, is_refusal: false })
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
    pub(super) destinations: BTreeMap<String, String>,
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
    reason: String,
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
    for (kind, found, map) in [
        (SOURCES, sources, &mut connections.sources),
        (DESTINATIONS, destinations, &mut connections.destinations),
    ] {
        for (name, (state, refusal)) in found {
            map.insert(name.to_owned(), state);
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

/// The state of one connection, and the refusal that the next look has to know of.
async fn look(
    last: Option<&Refusal>,
    now: Instant,
    renew: impl AsyncFnOnce(Instant) -> bool,
    ask: impl Future<Output = Result<(), Fault>>,
) -> (String, Option<Refusal>) {
    if let Some(refusal) = last
        && now.saturating_duration_since(refusal.at) < REFUSAL_LIFETIME
        // A store of secrets that does not answer has none.
        && tokio::time::timeout(CHECK_TIMEOUT, renew(refusal.at)).await != Ok(true)
    {
        return (refusal.reason.clone(), Some(refusal.clone()));
    }
    match check(ask).await {
        Ok(()) => ("connected".to_owned(), None),
        Err(Failed { reason, is_refusal }) => {
            // After the check, which has taken up newer secrets by itself, so that they are not tried twice.
            let refusal = is_refusal.then(|| Refusal { at: Instant::now(), reason: reason.clone() });
            (reason, refusal)
        }
    }
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
        let (state, refusal) = look(None, Instant::now(), async |_| false, pending()).await;
        assert_eq!((state.as_str(), refusal), ("no answer within 3 s", None));
    }

    #[tokio::test]
    async fn a_refused_login_is_tried_again_with_newer_secrets_or_after_five_minutes() {
        let no_newer = async |_| false;
        let (state, refusal) = look(None, Instant::now(), no_newer, ready(refused())).await;
        assert_eq!(state, "log in (credentials)");
        let last = refusal.expect("it is remembered");
        let later = last.at + REFUSAL_LIFETIME;
        let soon = later - Duration::from_secs(1);

        // Nobody is asked: the question never ends.
        let kept = look(Some(&last), soon, no_newer, pending()).await;
        assert_eq!(kept, ("log in (credentials)".to_owned(), Some(last.clone())));
        let newer = async |since| since == last.at;
        let connected = ("connected".to_owned(), None);
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
