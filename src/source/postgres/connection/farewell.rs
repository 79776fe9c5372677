//! The end of a session: what still runs is cancelled, and the server is told goodbye.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Address, Connection, State};
use crate::fault::Fault;
use crate::source::postgres::error::io_fault;
use crate::source::socket::Socket;

/// How long the end of a statement is waited for after the first request to cancel it; twice as
/// long after each further one.
const FIRST_PATIENCE: Duration = Duration::from_millis(100);
/// Requests that are sent at most: the last one after 12 seconds.
const MOST_REQUESTS: u32 = 8;

impl Connection {
    /// Says goodbye; an error changes nothing, the connection is closed anyway.
    pub(in crate::source::postgres) async fn close(mut self) {
        self.state = State::Closed;
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        let _closed_anyway = self.send(&message).await;
    }

    /// Cancels the statement that runs here, and takes its rows until the server has ended it.
    ///
    /// A server ignores a request that overtakes the statement, or comes between two messages of
    /// it; and it does not look at one while it waits for a reader. So rows are read, and the
    /// request is repeated.
    async fn cancel(mut self, key: (i32, i32)) {
        let mut patience = FIRST_PATIENCE;
        for _request in 0..MOST_REQUESTS {
            self.address.request_cancel(key).await;
            match timeout(patience, self.skip_to_the_end()).await {
                Ok(Ok(())) => return self.close().await,
                // The server has gone, and the statement with it.
                Ok(Err(_fault)) => return self.state = State::Closed,
                Err(_elapsed) => patience *= 2,
            }
        }
        self.state = State::Closed;
        tracing::warn!("a statement goes on on the server although it was cancelled {MOST_REQUESTS} times");
    }

    async fn skip_to_the_end(&mut self) -> Result<(), Fault> {
        while !matches!(self.receive_any().await?, Message::ReadyForQuery(_)) {}
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The runtime that drives the stream may be about to end with its reading thread.
        if self.state == State::Closed || self.detach().is_err() {
            return;
        }
        let _the_agents = self.runtime.enter();
        let mut rest = Connection {
            stream: std::mem::replace(&mut self.stream, Box::new(Socket::Lost)),
            buffer: std::mem::take(&mut self.buffer),
            address: self.address.clone(),
            runtime: self.runtime.clone(),
            // What is left is done once, also when it is dropped itself.
            state: State::Closed,
            ..*self
        };
        if rest.attach().is_err() {
            return;
        }
        let shutdown = &self.address.shutdown;
        match (self.state, self.key) {
            (State::Running, Some(key)) => {
                shutdown.spawn(rest.cancel(key));
            }
            (State::Idle, _) => {
                let limit = self.address.config.connect_timeout;
                shutdown.spawn(async move {
                    let _closed_anyway = timeout(limit, rest.close()).await;
                });
            }
            // Without a key nothing can be cancelled; the closed connection has to do.
            (State::Running, None) | (State::Closed, _) => {}
        }
    }
}

impl Address {
    /// Asks the server to cancel what the session of `key` runs. The statement may have ended
    /// before; that is no error.
    async fn request_cancel(&self, key: (i32, i32)) {
        let request = async {
            let mut stream = self.open_stream().await?;
            let mut message = BytesMut::new();
            frontend::cancel_request(key.0, key.1, &mut message);
            let send = async {
                stream.write_all(&message).await?;
                stream.flush().await?;
                // The server closes without an answer once it has passed the request on.
                stream.read(&mut [0]).await
            };
            send.await.map_err(|error| io_fault("send a cancel request", error))
        };
        match timeout(self.config.connect_timeout, request).await {
            Ok(Ok(_closed)) => {}
            Ok(Err(fault)) => {
                tracing::warn!(error = fault.chain(), "a statement could not be cancelled on the server");
            }
            Err(_elapsed) => tracing::warn!("a statement could not be cancelled on the server in time"),
        }
    }
}
