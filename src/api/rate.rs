//! How often one caller may ask: a bucket of requests for each, refilled all the time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A bucket holds the requests of this time, so that a burst is no mistake.
const BURST: Duration = Duration::from_secs(10);
/// Requests that the bucket of a page of the console holds at least: a view takes four to open.
const PAGE_BURST: f64 = 60.0;
/// Buckets at the same time, of about a hundred bytes each; further callers share one.
const MAX_BUCKETS: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// The holder of an API key, by its number.
    Key(usize),
    /// Somebody without a key.
    Peer(IpAddr),
    /// The pages of the console of whoever signed in with an API key. They ask every few seconds, and would
    /// take away from the programs that use the same key.
    PageOfKey(usize),
    /// The pages of the console of somebody without a key.
    PageOfPeer(IpAddr),
    /// Everybody for whom there is no bucket.
    Others,
}

impl Asker {
    /// Somebody without a key. A caller of IPv6 has a network of addresses, and counts as one.
    pub(super) fn peer(address: IpAddr) -> Self {
        Self::Peer(network(address))
    }

    /// A page of the console of somebody without a key.
    pub(super) fn page(address: IpAddr) -> Self {
        Self::PageOfPeer(network(address))
    }

    fn is_page(self) -> bool {
        matches!(self, Self::PageOfKey(_) | Self::PageOfPeer(_))
    }
}

/// The address of a caller; of IPv6 the network, because a caller has all of its addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// The buckets of all callers.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    capacity: f64,
    buckets: Mutex<HashMap<Asker, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    requests: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let per_second = f64::from(per_minute.get()) / 60.0;
        let capacity = (per_second * BURST.as_secs_f64()).max(1.0);
        Self { per_second, capacity, buckets: Mutex::default() }
    }

    /// Takes a request from the caller's bucket. An error is the number of seconds until there is one.
    pub(super) fn take(&self, asker: Asker, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().expect("nothing panics while it holds this lock");
        let asker = match buckets.contains_key(&asker) || buckets.len() < MAX_BUCKETS {
            true => asker,
            false => {
                // A full bucket says nothing that a new one would not.
                buckets.retain(|asker, bucket| self.filled(*asker, *bucket, now) < self.capacity_of(*asker));
                if buckets.len() < MAX_BUCKETS { asker } else { Asker::Others }
            }
        };
        let full = Bucket { requests: self.capacity_of(asker), filled_at: now };
        let bucket = buckets.entry(asker).or_insert(full);
        *bucket = Bucket { requests: self.filled(asker, *bucket, now), filled_at: now };
        if bucket.requests >= 1.0 {
            bucket.requests -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - bucket.requests) / self.per_second;
        Err(Duration::try_from_secs_f64(missing.ceil()).map_or(u64::MAX, |wait| wait.as_secs().max(1)))
    }

    fn capacity_of(&self, asker: Asker) -> f64 {
        if asker.is_page() { self.capacity.max(PAGE_BURST) } else { self.capacity }
    }

    fn filled(&self, asker: Asker, bucket: Bucket, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        (bucket.requests + elapsed * self.per_second).min(self.capacity_of(asker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_minute: u32) -> RateLimit {
        RateLimit::new(NonZeroU32::new(per_minute).unwrap())
    }

    #[test]
    fn a_bucket_is_emptied_and_refilled() {
        let (limit, begun) = (limit(60), Instant::now());
        let asker = Asker::Key(0);
        for request in 0..10 {
            assert_eq!(limit.take(asker, begun), Ok(()), "{request}");
        }
        assert_eq!(limit.take(asker, begun), Err(1));
        assert_eq!(limit.take(Asker::Key(1), begun), Ok(()), "another caller has another bucket");
        let later = begun + Duration::from_secs(3);
        assert_eq!((0..5).filter(|_| limit.take(asker, later).is_ok()).count(), 3);
        let much_later = begun + Duration::from_secs(3600);
        assert_eq!((0..50).filter(|_| limit.take(asker, much_later).is_ok()).count(), 10);
    }

    #[test]
    fn a_page_takes_nothing_away_from_the_program_with_its_key_and_can_be_opened() {
        let (limit, begun) = (limit(6), Instant::now());
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        for (page, program) in
            [(Asker::PageOfKey(0), Asker::Key(0)), (Asker::page(address), Asker::peer(address))]
        {
            assert_eq!((0..1_000).filter(|_| limit.take(page, begun).is_ok()).count(), 60);
            assert_eq!(limit.take(program, begun), Ok(()));
            assert_eq!(limit.take(program, begun), Err(10), "the limit of a program is what it was");
            let later = begun + Duration::from_secs(20);
            assert_eq!((0..9).filter(|_| limit.take(page, later).is_ok()).count(), 2);
        }
    }

    #[test]
    fn even_the_smallest_limit_lets_one_request_through() {
        let (limit, begun) = (limit(1), Instant::now());
        assert_eq!(limit.take(Asker::Key(0), begun), Ok(()));
        assert_eq!(limit.take(Asker::Key(0), begun), Err(60));
    }

    #[test]
    fn many_callers_take_no_more_memory() {
        let (limit, now) = (limit(6), Instant::now());
        for number in 0..2 * MAX_BUCKETS {
            let _ = limit.take(Asker::Key(number), now);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_BUCKETS + 1);
        assert_eq!(limit.take(Asker::Key(usize::MAX), now), Err(10), "the late ones share a bucket");
        let later = now + Duration::from_secs(3600);
        assert_eq!(limit.take(Asker::Key(usize::MAX), later), Ok(()));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1, "full buckets are forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller_and_a_mapped_address_is_one_of_ipv4() {
        let peer = |text: &str| Asker::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }
}
