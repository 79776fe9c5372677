//! TLS to the server: inside TDS 7.4, or before TDS 8.0.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::{TlsConnector, rustls};

use super::error::io_fault;
use super::protocol::packet::{DEFAULT_PACKET_BYTES, HEADER_BYTES, MessageKind, packets};
use crate::config::{SqlServerEncryption, SqlServerSource};
use crate::fault::{Fault, FaultKind};
use crate::source::socket::{Socket, Stream};
use crate::source::tls::{Check, Trust, client};

/// The name of TDS 8.0 in the negotiation of an application's protocol.
const TDS_8_PROTOCOL: &[u8] = b"tds/8.0";

/// A connector for a connection's policy.
pub(super) fn connector(config: &SqlServerSource) -> Result<TlsConnector, Fault> {
    let trust = Trust {
        check: if config.trusts_any_certificate { Check::Nothing } else { Check::AuthorityAndName },
        root_certificate: config.root_certificate.as_deref(),
        key: "root_certificate",
    };
    let client = match config.encryption {
        SqlServerEncryption::Strict => {
            let mut client = client(trust, &[&TLS13, &TLS12])?;
            client.alpn_protocols = vec![TDS_8_PROTOCOL.to_vec()];
            client
        }
        // Servers wrap the handshake of 1.2 in packets, and know no messages after it.
        SqlServerEncryption::Mandatory | SqlServerEncryption::Optional => client(trust, &[&TLS12])?,
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

fn server_name(config: &SqlServerSource, host: &str) -> Result<ServerName<'static>, Fault> {
    let name = expected_name(config.host_name_in_certificate.as_deref(), host);
    ServerName::try_from(name).map_err(|error| {
        Fault::new(FaultKind::Request, "start TLS: the host is not a name or an address").because(error)
    })
}

/// The name that the certificate has to be good for. `*.example.com`, as other drivers take it, asks
/// for a certificate of every name there.
fn expected_name(configured: Option<&str>, host: &str) -> String {
    match (configured, configured.and_then(|name| name.strip_prefix("*."))) {
        (Some(_), Some(domain)) if host.ends_with(&format!(".{domain}")) => host.to_owned(),
        (Some(_), Some(domain)) => format!("any.{domain}"),
        (Some(name), None) => name.to_owned(),
        (None, _) => host.to_owned(),
    }
}

/// Not trusted, or not there any more: a connection that ends in the middle says nothing about
/// certificates.
fn refused(error: io::Error) -> Fault {
    if !error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        return io_fault("start TLS", error);
    }
    Fault::new(FaultKind::Credentials, "start TLS").because(error).remedy(
        "Check that `host` is the name in the server's certificate (or set `host_name_in_certificate`) and that its authority is trusted (or set `root_certificate`). `trust_server_certificate = true` checks nothing.",
    )
}

/// TLS before TDS.
pub(super) async fn outside(
    connector: &TlsConnector,
    config: &SqlServerSource,
    host: &str,
    socket: Socket,
) -> Result<TlsStream<Socket>, Fault> {
    connector.connect(server_name(config, host)?, socket).await.map_err(refused)
}

/// TLS whose handshake travels in PRELOGIN packets.
pub(super) async fn inside(
    connector: &TlsConnector,
    config: &SqlServerSource,
    host: &str,
    socket: Socket,
) -> Result<TlsStream<Tunnel>, Fault> {
    let tunnel = Tunnel { socket, state: Some(Handshake::default()) };
    let name = server_name(config, host)?;
    let mut stream = connector.connect(name, tunnel).await.map_err(refused)?;
    stream.get_mut().0.state = None;
    Ok(stream)
}

/// A socket that wraps what passes through it in PRELOGIN packets, until the handshake is over.
pub(super) struct Tunnel {
    socket: Socket,
    /// `None` after the handshake.
    state: Option<Handshake>,
}

#[derive(Default)]
struct Handshake {
    /// Written and not wrapped yet.
    outgoing: Vec<u8>,
    /// Wrapped, and how much of it was sent.
    wrapped: Vec<u8>,
    sent: usize,
    /// The header of the packet that arrives, and how much of it has.
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of that packet that have not.
    left: usize,
}

impl Tunnel {
    /// The socket alone, for what is not encrypted.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }
}

impl Handshake {
    fn poll_send(&mut self, socket: &mut Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.wrapped.len() {
                let rest = &self.wrapped[self.sent..];
                match ready!(Pin::new(&mut *socket).poll_write(context, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.sent += count,
                }
            }
            if self.outgoing.is_empty() {
                return Pin::new(socket).poll_flush(context);
            }
            self.wrapped = packets(MessageKind::Prelogin, &self.outgoing, DEFAULT_PACKET_BYTES);
            self.outgoing.clear();
            self.sent = 0;
        }
    }

    fn poll_header(&mut self, socket: &mut Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left == 0 {
            let mut buffer = ReadBuf::new(&mut self.header[self.header_bytes..]);
            ready!(Pin::new(&mut *socket).poll_read(context, &mut buffer))?;
            match buffer.filled().len() {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => self.header_bytes += count,
            }
            if self.header_bytes == HEADER_BYTES {
                let length = usize::from(u16::from_be_bytes([self.header[2], self.header[3]]));
                let Some(left) = length.checked_sub(HEADER_BYTES) else {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                };
                self.left = left;
                self.header_bytes = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, state } = self.get_mut();
        let Some(handshake) = state else { return Pin::new(socket).poll_read(context, buffer) };
        ready!(handshake.poll_send(socket, context))?;
        ready!(handshake.poll_header(socket, context))?;
        // A handshake is a few kilobytes, once for a connection.
        let mut piece = [0; 2048];
        let most = piece.len().min(handshake.left).min(buffer.remaining());
        let mut piece = ReadBuf::new(&mut piece[..most]);
        ready!(Pin::new(socket).poll_read(context, &mut piece))?;
        handshake.left -= piece.filled().len();
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, state } = self.get_mut();
        let Some(handshake) = state else { return Pin::new(socket).poll_write(context, bytes) };
        handshake.outgoing.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, state } = self.get_mut();
        match state {
            Some(handshake) => handshake.poll_send(socket, context),
            None => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl Stream for Tunnel {
    fn detach(&mut self) -> io::Result<()> {
        self.socket.detach()
    }

    fn attach(&mut self) -> io::Result<()> {
        self.socket.attach()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_that_of_the_host_unless_the_configuration_names_another() {
        for (configured, host, expected) in [
            (None, "db.example.com", "db.example.com"),
            (Some("sql.example.com"), "10.0.0.7", "sql.example.com"),
            (Some("*.example.com"), "db.example.com", "db.example.com"),
            (Some("*.example.com"), "10.0.0.7", "any.example.com"),
            (Some("*.example.com"), "badexample.com", "any.example.com"),
        ] {
            assert_eq!(expected_name(configured, host), expected);
        }
    }
}
