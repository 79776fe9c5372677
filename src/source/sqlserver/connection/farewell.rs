//! The end of a session: what still runs is cancelled.
//!
//! A session ends when its connection is closed; SQL Server notices that even while it computes.
//! Other servers of the protocol may not, and one that is behind a proxy may learn of it late. So
//! a statement is cancelled by an attention first, and the connection is closed when the server
//! has confirmed it, or after some time in any case.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Connection, State};
use crate::fault::Fault;
use crate::source::socket::Socket;
use crate::source::sqlserver::error::io_fault;
use crate::source::sqlserver::protocol::packet::{DEFAULT_PACKET_BYTES, MessageKind, packets};

/// How long the answer to an attention is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The token that ends a statement, DONE, with the bit that answers an attention.
const DONE_BYTES: usize = 13;

impl Connection {
    /// Sends an attention and throws away what still comes, up to the server's answer.
    async fn cancel(mut self) -> Result<(), Fault> {
        let attention = packets(MessageKind::Attention, &[], DEFAULT_PACKET_BYTES);
        self.send(&attention).await?;
        // Rows are not parsed here: the answer is the last token of a message.
        let mut end = BytesMut::with_capacity(DONE_BYTES);
        loop {
            let count = self.stream.read(&mut self.received).await;
            let count = count.map_err(|error| io_fault("wait for the end of a statement", error))?;
            if count == 0 {
                return Ok(());
            }
            let mut payload = BytesMut::new();
            if self.unpacker.take(&self.received[..count], &mut payload).is_err() {
                return Ok(());
            }
            end.extend_from_slice(&payload);
            let surplus = end.len().saturating_sub(DONE_BYTES);
            let end_of_message = end.split_off(surplus);
            end = end_of_message;
            if self.unpacker.message_ended()
                && end.len() == DONE_BYTES
                && end[0] == 0xfd
                && end[1] & 0x20 != 0
            {
                return Ok(());
            }
        }
    }

    /// Ends the session. The server rolls back what reads; an error changes nothing.
    pub(in crate::source::sqlserver) fn close(mut self) {
        self.state = State::Closed;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The runtime that drives the stream may be about to end with its reading thread.
        if self.state != State::Running || self.detach().is_err() {
            return;
        }
        let _the_agents = self.runtime.enter();
        let mut rest = Connection {
            stream: std::mem::replace(&mut self.stream, Box::new(Socket::Lost)),
            received: std::mem::take(&mut self.received),
            unpacker: std::mem::take(&mut self.unpacker),
            buffer: BytesMut::new(),
            address: self.address.clone(),
            runtime: self.runtime.clone(),
            // What is left is done once, also when it is dropped itself.
            state: State::Closed,
            ..*self
        };
        if rest.attach().is_err() {
            return;
        }
        self.address.shutdown.spawn(async move {
            // Closed in any case, which ends the session.
            let _closed_anyway = timeout(PATIENCE, rest.cancel()).await;
        });
    }
}
