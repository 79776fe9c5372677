//! The SQL Server Browser: which port a named instance listens on.
//!
//! The protocol is [MC-SQLR]: a datagram with the instance's name, and one with its properties.
//!
//! [MC-SQLR]: https://learn.microsoft.com/openspecs/windows_protocols/mc-sqlr

use tokio::net::{UdpSocket, lookup_host};

use super::error::io_fault;
use crate::fault::{Fault, FaultKind};

/// Asks for the properties of one instance.
const INSTANCE_REQUEST: u8 = 4;
/// Begins an answer: type and length.
const ANSWER: u8 = 5;
/// The longest answer about one instance.
const LONGEST_ANSWER: usize = 1024;

/// The TCP port of `instance` on `host`. Waits until there is an answer; the caller has a limit.
pub(super) async fn port(host: &str, browser_port: u16, instance: &str) -> Result<u16, Fault> {
    let action = format!("ask the SQL Server Browser of {host} for the instance `{instance}`");
    let failed = |error| io_fault(action.clone(), error);
    let Some(address) = lookup_host((host, browser_port)).await.map_err(failed)?.next() else {
        return Err(Fault::new(FaultKind::Transient, action).because("the host has no address"));
    };
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(address).await.map_err(failed)?;
    let request = [&[INSTANCE_REQUEST][..], instance.as_bytes(), &[0]].concat();
    socket.send(&request).await.map_err(failed)?;
    let mut answer = [0; LONGEST_ANSWER];
    let length = socket.recv(&mut answer).await.map_err(failed)?;
    port_in(&answer[..length]).ok_or_else(|| {
        Fault::new(FaultKind::Request, action)
            .because("it knows no TCP port of this instance")
            .remedy("Turn on TCP for the instance, or set `port` on the connection.")
    })
}

/// The value behind `tcp` in `name;value;name;value;...`.
fn port_in(answer: &[u8]) -> Option<u16> {
    let (head, text) = answer.split_first_chunk::<3>()?;
    if head[0] != ANSWER {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    let mut words = text.split(';');
    words.find(|word| word.eq_ignore_ascii_case("tcp"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_stands_behind_tcp() {
        let answer =
            b"\x05\x58\x00ServerName;DB;InstanceName;SALES;IsClustered;No;Version;15.0.2000.5;tcp;51433;;";
        assert_eq!(port_in(answer), Some(51_433));
        assert_eq!(port_in(b"\x05\x58\x00ServerName;DB;InstanceName;SALES;np;\\\\DB\\pipe;;"), None);
        assert_eq!(port_in(b"\x04\x00"), None);
        assert_eq!(port_in(b""), None);
    }
}
