//! A socket that can change the runtime that drives it.
//!
//! Logins and control statements run on the agent's runtime; the rows of a result are read on a
//! thread with a runtime of its own, and the connection comes back afterwards.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A stream to the server.
pub(in crate::source) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Takes the socket from the runtime that drives it. Called before that runtime ends.
    fn detach(&mut self) -> io::Result<()>;
    /// Gives the socket to the runtime that calls.
    fn attach(&mut self) -> io::Result<()>;
}

/// TCP, or a Unix socket.
#[derive(Debug)]
pub(in crate::source) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Between two runtimes; nothing can be read or written.
    Detached(Detached),
    /// Taken apart by an error.
    Lost,
}

#[derive(Debug)]
pub(in crate::source) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream for Socket {
    fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Tcp(stream) => Self::Detached(Detached::Tcp(stream.into_std()?)),
            Self::Unix(stream) => Self::Detached(Detached::Unix(stream.into_std()?)),
            other @ (Self::Detached(_) | Self::Lost) => other,
        };
        Ok(())
    }

    fn attach(&mut self) -> io::Result<()> {
        self.detach()?;
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Detached(Detached::Tcp(stream)) => Self::Tcp(TcpStream::from_std(stream)?),
            Self::Detached(Detached::Unix(stream)) => Self::Unix(UnixStream::from_std(stream)?),
            Self::Tcp(_) | Self::Unix(_) | Self::Lost => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(())
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn detach(&mut self) -> io::Result<()> {
        self.get_mut().0.detach()
    }

    fn attach(&mut self) -> io::Result<()> {
        self.get_mut().0.attach()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Detached(_) | Self::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Detached(_) | Self::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Detached(_) | Self::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Detached(_) | Self::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
