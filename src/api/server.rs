//! The HTTP server: connections, their limits, and their end.
//!
//! axum's own server has no limit for slow clients, hence this small one around hyper: a request
//! head has to arrive within [`HEAD_TIMEOUT`] (which closes idle connections too), the number of
//! connections is bounded, and further ones wait in the backlog of the listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::authentication::Peer;
use crate::shutdown::TaskSet;

/// Longest time for the head of a request to arrive, and for a connection to be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head at most, about.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Connections at the same time. Below the usual limit of 1024 files for a process, of which
/// databases, stores and the queue need some.
const MAX_CONNECTIONS: usize = 800;
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

/// Serves `router` until `stop` resolves; then closes the listener, ends streams of events, lets
/// requests that have begun end, and returns.
///
/// The caller bounds the time for the last step: dropping this future cuts all connections.
///
/// # Errors
/// When the listener has no address, so that it cannot be one.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    listener.local_addr()?;
    let closing = Closing::default();
    let service = router.layer(Extension(closing.clone()));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = TaskSet::new();
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
                    let connection = serve_connection(stream, peer, service.clone(), closing.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
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

async fn serve_connection(stream: TcpStream, peer: SocketAddr, service: Router, closing: Closing) {
    // Without it small answers can wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays with delayed sending");
    }
    let service = TowerToHyperService::new(service);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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
