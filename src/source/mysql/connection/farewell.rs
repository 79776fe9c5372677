//! The end of a session: what still runs is ended, and the server is told goodbye.

use std::time::Duration;

use tokio::time::timeout;

use super::{Address, Connection, State, command};
use crate::source::socket::Socket;

/// How long a goodbye may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Connection {
    /// Says goodbye; an error changes nothing, the connection is closed anyway.
    pub(in crate::source::mysql) async fn close(mut self) {
        self.say_goodbye().await;
    }

    async fn say_goodbye(&mut self) {
        self.state = State::Closed;
        self.sequence = 0;
        let _closed_anyway = self.send_packet(&[command::QUIT]).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The runtime that drives the stream may be about to end with its reading thread.
        match self.state {
            State::Closed => {}
            State::Running => {
                let (address, id) = (self.address.clone(), self.connection_id);
                let _the_agents = self.runtime.enter();
                self.address.shutdown.spawn(async move { address.kill(id).await });
            }
            State::Idle => {
                if self.detach().is_err() {
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
                self.address.shutdown.spawn(async move {
                    let _closed_anyway = timeout(PATIENCE, rest.say_goodbye()).await;
                });
            }
        }
    }
}

impl Address {
    /// Ends session `id` and what it runs.
    ///
    /// `KILL QUERY` would be lost when it overtakes the statement, and does not wake a server that
    /// waits for a reader; the end of the whole session reaches both. It is not needed any more.
    async fn kill(self, id: u32) {
        let end = async {
            let mut connection = self.connect().await?;
            // That it has ended by itself meanwhile is what was wanted.
            let killed = connection.run(&format!("KILL CONNECTION {id}"), "end a statement").await;
            connection.close().await;
            killed
        };
        match end.await {
            Ok(()) => {}
            Err(fault) if fault.chain().contains("1094") => {}
            Err(fault) => {
                tracing::warn!(error = fault.chain(), "a statement could not be ended on the server");
            }
        }
    }
}
