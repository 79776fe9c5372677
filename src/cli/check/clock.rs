//! How far the clock of this machine is from those of the servers that go by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;
use url::Url;

use super::Finding;
use crate::config::Config;
use crate::destination::Destination;
use crate::fault::{Fault, FaultKind};

/// Logins by key pair and signed requests are refused when the clocks differ by more than minutes, and the
/// times of leases and tokens go wrong before.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The servers that go by the clock of their callers: the procedures in Snowflake, the remote API, and the stores
/// of all targets. One that several connections lead to is asked once.
pub(super) fn servers<'d>(
    config: &Config,
    destinations: impl Iterator<Item = &'d Arc<dyn Destination>>,
) -> BTreeSet<String> {
    let queue = config.task_sources.snowflake.iter().map(|settings| &settings.procedures);
    let procedures = queue.chain(&config.task_sources.snowflake_history);
    let accounts = procedures.map(|procedures| procedures.connection.base_url());
    let api = config.task_sources.api.iter().map(|settings| settings.base_url.clone());
    let stores = destinations.filter_map(|destination| destination.server());
    accounts.chain(api).chain(stores).filter_map(|url| origin(&url)).collect()
}

/// The address without its path: every answer of a server has its time.
fn origin(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.origin().ascii_serialization())
}

/// One finding for each server.
pub(super) async fn check(servers: BTreeSet<String>) -> Vec<Finding> {
    let compared = servers.into_iter().map(async |url| {
        let begun = Instant::now();
        Finding::new("clock", begun, compare(&url).await)
    });
    join_all(compared).await
}

/// Compares the clocks by the header `Date` of any answer. Nothing secret is sent.
///
/// A server that does not answer is no finding about the clock: that of its connection says so, with the
/// certificates and limits of the connection, which are not those of this request.
async fn compare(url: &str) -> Result<String, Fault> {
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT).build();
    let client =
        client.map_err(|error| Fault::new(FaultKind::Bug, "prepare HTTP connections").because(error))?;
    let begun = Timestamp::now();
    let Ok(answer) = client.head(url).send().await else {
        return Ok(format!("{url} does not answer; the clock is not compared"));
    };
    let ended = Timestamp::now();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let Some(there) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return Ok(format!("{url} tells no time; the clock is not compared"));
    };
    judge(url, there.timestamp(), begun, ended)
}

/// The server has looked at its clock between `begun` and `ended`, and tells whole seconds.
fn judge(url: &str, there: Timestamp, begun: Timestamp, ended: Timestamp) -> Result<String, Fault> {
    let second = SignedDuration::from_secs(1);
    let ahead = begun.duration_since(there).saturating_sub(second);
    let behind = there.duration_since(ended);
    let (distance, direction) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let seconds = distance.as_secs().max(0);
    if distance <= TOLERANCE {
        return Ok(format!("differs by {seconds} s from that of {url}"));
    }
    let action = format!("use the clock of this machine: it is {seconds} s {direction} that of {url}");
    Err(Fault::new(FaultKind::Request, action)
        .remedy("Set the clock, and let a time service such as chrony keep it: logins and leases go by it."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_once_whatever_is_on_it() {
        for (url, expected) in [
            ("https://lake.blob.core.windows.net/container", "https://lake.blob.core.windows.net"),
            ("https://org-account.snowflakecomputing.com:443", "https://org-account.snowflakecomputing.com"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("https://tasks.example.com/api/v1", "https://tasks.example.com"),
        ] {
            assert_eq!(origin(url).as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_told_twice() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let compared = compare(&url).await;
        assert!(compared.is_ok_and(|text| text.ends_with("the clock is not compared")));
    }

    #[test]
    fn a_clock_may_be_a_minute_away_and_no_more() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        // there, begun, ended -> what is wrong
        for (there, begun, ended, wrong) in [
            (0, 0, 0, None),
            (0, 0, 100, None),
            (0, 61, 61, None),
            (0, 62, 62, Some("61 s ahead of that of")),
            (60, 0, 0, None),
            (61, 0, 0, Some("61 s behind that of")),
            (3_600, 0, 2, Some("3598 s behind that of")),
        ] {
            let judged = judge("http://there", at(there), at(begun), at(ended));
            match wrong {
                None => assert!(judged.is_ok(), "{there} {begun} {ended}: {judged:?}"),
                Some(words) => {
                    assert!(judged.unwrap_err().chain().contains(words), "{there} {begun} {ended}")
                }
            }
        }
    }
}
