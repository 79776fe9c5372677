//! The SQL Server Browser: which port a named instance listens on.
//!
//! The protocol is [MC-SQLR]: a datagram with the instance's name, and one with its properties.
//!
//! [MC-SQLR]: https://learn.microsoft.com/openspecs/windows_protocols/mc-sqlr

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::error::io_fault;
use crate::fault::{Fault, FaultKind};

/// Asks for the properties of one instance.
const INSTANCE_REQUEST: u8 = 4;
/// Begins an answer: type and length.
const ANSWER: u8 = 5;
/// The longest answer about one instance.
const LONGEST_ANSWER: usize = 1024;

/// A datagram can be lost, and says so to nobody.
const PATIENCE: Duration = Duration::from_secs(1);

/// The TCP port of `instance` on `host`. Waits until there is an answer; the caller has a limit.
pub(super) async fn port(host: &str, browser_port: u16, instance: &str) -> Result<u16, Fault> {
    let action = format!("ask the SQL Server Browser of {host} for the instance `{instance}`");
    let addresses = lookup_host((host, browser_port)).await;
    let addresses: Vec<SocketAddr> = addresses.map_err(|error| io_fault(action.clone(), error))?.collect();
    if addresses.is_empty() {
        return Err(Fault::new(FaultKind::Transient, action).because("the host has no address"));
    }
    first_answer(&addresses, instance).await.map_err(|fault| fault.while_doing(action))
}

/// Asks at every address: a host can have one that nobody listens at. The first port wins, and the
/// last failure when there is none.
async fn first_answer(addresses: &[SocketAddr], instance: &str) -> Result<u16, Fault> {
    let questions = addresses.iter().map(|address| Box::pin(ask(*address, instance)));
    let (port, _the_others_are_not_waited_for) = futures::future::select_ok(questions).await?;
    Ok(port)
}

/// Asks at one address, again and again.
async fn ask(address: SocketAddr, instance: &str) -> Result<u16, Fault> {
    let failed = |error| io_fault(format!("ask at {address}"), error);
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(address).await.map_err(failed)?;
    let request = [&[INSTANCE_REQUEST][..], instance.as_bytes(), &[0]].concat();
    let mut answer = [0; LONGEST_ANSWER];
    loop {
        socket.send(&request).await.map_err(failed)?;
        let Ok(received) = timeout(PATIENCE, socket.recv(&mut answer)).await else { continue };
        let length = received.map_err(failed)?;
        return port_in(&answer[..length]).ok_or_else(|| {
            Fault::new(FaultKind::Request, format!("ask at {address}"))
                .because("it knows no TCP port of this instance")
                .remedy("Turn on TCP for the instance, or set `port` on the connection.")
        });
    }
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

    #[tokio::test]
    async fn every_address_is_asked_and_more_than_once() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let browser = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let nobody = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let addresses =
            [&nobody, &silent, &browser].map(|socket| socket.local_addr().expect("a bound socket has one"));
        drop(nobody);
        let answer = async {
            let mut request = [0; 64];
            // The first question is lost.
            browser.recv_from(&mut request).await.expect("the first question");
            let (_, client) = browser.recv_from(&mut request).await.expect("the second question");
            let text = b"\x05\x12\x00InstanceName;SALES;tcp;51433;;";
            browser.send_to(text, client).await.expect("an answer");
        };
        let ((), port) = tokio::join!(answer, first_answer(&addresses, "SALES"));
        assert_eq!(port.expect("one address answers"), 51_433);
    }

    #[tokio::test]
    async fn where_nobody_listens_nobody_is_waited_for() {
        let nobody = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = nobody.local_addr().expect("a bound socket has one");
        drop(nobody);
        let fault = first_answer(&[address], "SALES").await.expect_err("nobody is there");
        assert_eq!(fault.kind(), FaultKind::Transient);
    }
}
