//! How many connections each address holds, so that none takes them all away from the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rate::network;

/// The addresses that hold connections now. There are never more entries than connections.
#[derive(Debug)]
pub(super) struct Crowd {
    /// What one address of another machine may hold.
    of_others: usize,
    /// What one address of this machine may hold. Everybody who comes through a tunnel, a sidecar or a proxy on
    /// this machine has the same one, and is bound only where somebody has written a number.
    of_this_machine: usize,
    held: Mutex<HashMap<IpAddr, Held>>,
}

#[derive(Debug, Default)]
struct Held {
    connections: usize,
    /// Whether the log has heard of it.
    is_told: bool,
}

/// One connection of an address; dropped with it.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// Counts for this number of connections in total, and for one address what was written, if anything.
    pub(super) fn new(connections: NonZeroUsize, per_address: Option<NonZeroUsize>) -> Self {
        let all = connections.get();
        let written = per_address.map(NonZeroUsize::get);
        Self {
            of_others: written.unwrap_or(all.div_ceil(2)),
            of_this_machine: written.unwrap_or(all),
            held: Mutex::default(),
        }
    }

    /// Counts a connection of this address; `None` when it holds as many as it may.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Member> {
        let address = address.to_canonical();
        let limit = if address.is_loopback() { self.of_this_machine } else { self.of_others };
        let address = network(address);
        let mut all = self.lock();
        let held = all.entry(address).or_default();
        if held.connections < limit {
            held.connections += 1;
            return Some(Member { crowd: Arc::clone(self), address });
        }
        let is_news = !std::mem::replace(&mut held.is_told, true);
        drop(all);
        if is_news {
            tracing::warn!(
                %address,
                limit,
                "an address holds as many connections as it may, and further ones are closed; if it is a proxy, \
                 raise server.max_connections_per_address"
            );
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut all = self.crowd.lock();
        if let Some(held) = all.get_mut(&self.address) {
            held.connections = held.connections.saturating_sub(1);
            if held.connections == 0 {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(connections: usize, per_address: Option<usize>) -> Arc<Crowd> {
        let number = |number| NonZeroUsize::new(number).unwrap();
        Arc::new(Crowd::new(number(connections), per_address.map(number)))
    }

    /// How many of a thousand connections of an address are let in; they stay open.
    fn admitted(crowd: &Arc<Crowd>, address: &str) -> Vec<Member> {
        let address: IpAddr = address.parse().unwrap();
        (0..1_000).filter_map(|_| crowd.admit(address)).collect()
    }

    #[test]
    fn another_machine_holds_half_of_all_connections_and_this_one_all() {
        for (connections, others) in [(800, 400), (5, 3), (1, 1)] {
            let crowd = crowd(connections, None);
            let stranger = admitted(&crowd, "192.0.2.1");
            assert_eq!(stranger.len(), others);
            assert_eq!(admitted(&crowd, "192.0.2.2").len(), others, "each address has its own");
            for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.2"] {
                assert_eq!(admitted(&crowd, loopback).len(), connections, "{loopback}");
            }
        }
    }

    #[test]
    fn what_is_written_binds_every_address() {
        let crowd = crowd(800, Some(3));
        for address in ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"] {
            assert_eq!(admitted(&crowd, address).len(), 3, "{address}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_that_of_ipv4() {
        let crowd = crowd(8, None);
        let held = (admitted(&crowd, "2001:db8::1"), admitted(&crowd, "192.0.2.1"));
        assert_eq!((held.0.len(), held.1.len()), (4, 4));
        for same in ["2001:db8::ffff:1", "::ffff:192.0.2.1"] {
            assert!(admitted(&crowd, same).is_empty(), "{same}");
        }
        assert_eq!(admitted(&crowd, "2001:db8:0:1::1").len(), 4);
    }

    #[test]
    fn who_lets_go_may_come_again_and_is_forgotten() {
        let crowd = crowd(8, None);
        let mut held = admitted(&crowd, "192.0.2.1");
        assert_eq!(held.len(), 4);
        held.pop();
        held.extend(admitted(&crowd, "192.0.2.1"));
        assert_eq!(held.len(), 4);
        drop(held);
        assert!(crowd.lock().is_empty());
    }
}
