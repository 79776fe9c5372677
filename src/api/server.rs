//! The HTTP server: connections, their limits, and their end.
//!
//! axum's own server has no limit for slow clients, hence this small one around hyper: a TLS handshake
//! has to be done within [`HANDSHAKE_TIMEOUT`], a request head has to arrive within [`HEAD_TIMEOUT`]
//! (which closes idle connections too), an answer has to be taken within [`WRITE_TIMEOUT`] a piece, the
//! number of connections is bounded, and further ones wait in the backlog of the listener. One address cannot
//! take all of them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::authentication::Peer;
use super::crowd::Crowd;
use super::slow_reader::BoundedWrites;
use super::tls::Tls;
use crate::shutdown::TaskSet;

/// Longest time for the head of a request to arrive, and for a connection to be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head at most, about.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time in which a client takes nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted, for example because there are no files left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells open streams that the server closes. In the extensions of every request.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing(CancellationToken);

impl Closing {
    /// Resolves when the server closes.
    pub(super) async fn closed(&self) {
        self.0.cancelled().await;
    }
}

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at the same time; further ones wait in the backlog of the listener.
    pub connections: NonZeroUsize,
    /// Those of one address, further ones are closed; where `None`, half of all for an address of another
    /// machine, and all for one of this machine.
    pub per_address: Option<NonZeroUsize>,
    /// Longest time for the head of a request to arrive, and for a connection to be idle.
    pub head: Duration,
    /// Longest time for a TLS handshake.
    pub handshake: Duration,
    /// Longest time in which a client takes nothing of an answer.
    pub write: Duration,
}

impl ConnectionLimits {
    /// The times that the documentation tells, and this number of connections.
    #[must_use]
    pub fn new(connections: NonZeroUsize) -> Self {
        Self {
            connections,
            per_address: None,
            head: HEAD_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            write: WRITE_TIMEOUT,
        }
    }
}

/// The server around a listener.
pub struct Server {
    listener: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// A server of HTTP.
    #[must_use]
    pub fn new(listener: TcpListener, limits: ConnectionLimits) -> Self {
        Self { listener, limits, tls: None }
    }

    /// The same, of HTTPS where there is a certificate.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>) -> Self {
        self.tls = tls;
        self
    }

    /// Serves `router` until `stop` resolves; then closes the listener, ends streams of events, lets
    /// requests that have begun end, and returns.
    ///
    /// The caller bounds the time for the last step: dropping this future cuts all connections.
    ///
    /// # Errors
    /// When the listener has no address, so that it cannot be one.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, limits, tls } = self;
        listener.local_addr()?;
        let closing = Closing::default();
        let service = router.layer(Extension(closing.clone()));
        let places = Arc::new(Semaphore::new(limits.connections.get()));
        let crowd = Arc::new(Crowd::new(limits.connections, limits.per_address));
        let mut connections = TaskSet::new();
        let mut watch = TaskSet::new();
        if let Some(tls) = &tls {
            watch.spawn(Arc::clone(tls).watch());
        }
        let mut stop = pin!(stop);
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
                (listener.accept().await, place)
            };
            tokio::select! {
                () = &mut stop => break,
                (accepted, place) = accepted => match accepted {
                    Ok((stream, peer)) => {
                        // Closed without an answer: with TLS nobody has shaken hands yet.
                        let Some(member) = crowd.admit(peer.ip()) else { continue };
                        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
                        let visitor = Visitor { peer, limits, closing: closing.clone() };
                        let connection = visitor.welcome(stream, acceptor, service.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop((place, member));
                        });
                    }
                    Err(error) if is_of_one_client(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => log_panic(ended),
            }
        }
        drop(listener);
        closing.0.cancel();
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
        Ok(())
    }
}

/// Who is on the other side of a connection, and what it may take.
struct Visitor {
    peer: SocketAddr,
    limits: ConnectionLimits,
    closing: Closing,
}

impl Visitor {
    async fn welcome(self, stream: TcpStream, tls: Option<TlsAcceptor>, service: Router) {
        // Without it small answers can wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with delayed sending");
        }
        let stream = BoundedWrites::new(stream, self.limits.write);
        let Some(tls) = tls else { return self.serve(stream, service).await };
        let handshake = tokio::time::timeout(self.limits.handshake, secured(stream, &tls));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.closing.closed() => return,
        };
        match shaken {
            Ok(Ok(Some(stream))) => self.serve(stream, service).await,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, service: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, limits, closing } = self;
        let service = TowerToHyperService::new(service);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            service.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.closed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

type Plain = BoundedWrites<TcpStream>;

/// Shakes hands. A client that speaks HTTP without TLS is told so, and gets nothing else.
async fn secured(mut stream: Plain, tls: &TlsAcceptor) -> io::Result<Option<TlsStream<Plain>>> {
    let mut first = [0];
    if stream.get_ref().peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        // Probes inside a container count this answer as life, whatever certificates are asked for.
        stream.write_all(UPGRADE_REQUIRED).await?;
        stream.shutdown().await?;
        // What is not read of the request would reset the connection before the answer is read.
        tokio::io::copy(&mut stream.take(MAX_HEAD_BYTES as u64), &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    match tls.accept(stream).into_fallible().await {
        Ok(stream) => Ok(Some(stream)),
        Err((error, mut stream)) => {
            // A client may have sent its request before it hears why nobody wants it: what is not read would
            // reset the connection, and take the reason away.
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(MAX_HEAD_BYTES as u64), &mut tokio::io::sink()).await?;
            Err(error)
        }
    }
}

/// No problem document: nothing of this is on a route, and its reader is a person with a wrong URL.
const UPGRADE_REQUIRED: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n\
    Connection: Upgrade, close\r\nContent-Type: text/plain\r\nContent-Length: 45\r\n\r\n\
    This agent speaks HTTPS: call it by https://\n";

/// The client was gone before it was accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a defect");
    }
}
