//! The end of a session: what still runs is ended, and the server is told goodbye.

use std::time::Duration;

use tokio::time::timeout;

use super::{Address, Connection, State, command};
use crate::source::mysql::error::ServerError;
use crate::source::socket::Socket;

/// `KILL` came too late, which is what was wanted.
const NO_SUCH_SESSION: u16 = 1094;
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
                // Without a mark nothing of a task runs yet, or the server notices the end when it sends.
                let Some(mark) = self.mark.take() else { return };
                let (address, id) = (self.address.clone(), self.connection_id);
                let _the_agents = self.runtime.enter();
                self.address.shutdown.spawn(async move { address.kill(id, &mark).await });
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
                    mark: None,
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
    /// Ends session `id`, which holds the lock `mark`, and what it runs.
    ///
    /// `KILL QUERY` would be lost when it overtakes the statement, and does not wake a server that
    /// waits for a reader; the end of the whole session reaches both. It is not needed any more.
    ///
    /// The number alone names a session of whichever server answers now: another one behind the same
    /// name, or this one after a restart, has sessions of others under it. Only where the lock is held
    /// by that number is it the one that is meant.
    async fn kill(self, id: u32, mark: &str) {
        let action = "end a statement";
        let end = async {
            let mut connection = self.connect().await?;
            let holder = connection.query(&format!("SELECT IS_USED_LOCK('{mark}')"), action).await?;
            let holder = holder.into_iter().flatten().flatten().next();
            let killed = match holder {
                Some(holder) if holder == id.to_string() => {
                    connection.run(&format!("KILL CONNECTION {id}"), action).await
                }
                // It has ended by itself meanwhile, or it is on another server.
                _ => Ok(()),
            };
            connection.close().await;
            killed
        };
        if let Err(fault) = end.await
            && ServerError::number_of(&fault) != Some(NO_SUCH_SESSION)
        {
            tracing::warn!(error = fault.chain(), "a statement could not be ended on the server");
        }
    }
}
