//! How far the clock of this machine is from those of the servers that go by it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;

use crate::fault::{Fault, FaultKind};

/// Logins by key pair and signed requests are refused when the clocks differ by more than minutes, and the
/// times of leases and tokens go wrong before.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// Compares the clocks by the header `Date` of any answer. Nothing secret is sent.
pub(super) async fn compare(url: &str) -> Result<String, Fault> {
    let action = || format!("ask {url} for the time");
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.map_err(|error| Fault::new(FaultKind::Bug, action()).because(error))?;
    let begun = Timestamp::now();
    let answer = client.head(url).send().await.map_err(|error| {
        Fault::new(FaultKind::Transient, action())
            .because(error.without_url())
            .remedy("Check the address, and firewalls and proxies between this machine and that one.")
    })?;
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

/// Longest wait for such an answer.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

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
