//! The handshake of TLS, which travels in PRELOGIN packets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::packets::{PRELOGIN, packet};

/// Wraps the handshake of TLS in PRELOGIN packets, from the server's side.
pub(super) struct Tunnel {
    pub(super) socket: TcpStream,
    pub(super) handshaking: bool,
    /// Bytes of the current packet that were not read yet.
    pub(super) left: usize,
    pub(super) header: Vec<u8>,
    pub(super) outgoing: Vec<u8>,
}

impl Tunnel {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing))?;
            self.outgoing.drain(..count);
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
        let this = self.get_mut();
        if !this.handshaking {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        ready!(this.poll_send(context))?;
        while this.left == 0 {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut one))?;
            if one.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.header.push(byte[0]);
            if this.header.len() == 8 {
                assert_eq!(this.header[0], PRELOGIN, "a handshake travels in PRELOGIN packets");
                this.left = usize::from(u16::from_be_bytes([this.header[2], this.header[3]])) - 8;
                this.header.clear();
            }
        }
        let mut piece = vec![0; this.left.min(buffer.remaining())];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut piece))?;
        this.left -= piece.filled().len();
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.handshaking {
            return Pin::new(&mut this.socket).poll_write(context, bytes);
        }
        this.outgoing.extend(packet(PRELOGIN, 1, bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
