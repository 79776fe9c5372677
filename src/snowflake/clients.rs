//! One client for each connection, whoever asks for it.

use std::sync::{Mutex, PoisonError};

use futures::future::join_all;

use super::client::Client;
use super::connection::Connection;
use super::error::Error;
use crate::shutdown::Shutdown;

/// The clients of an agent. The queue in Snowflake and the stages that are reached as the same user in
/// the same way share one session: one login, one renewal, one heartbeat.
///
/// Nobody who uses a client closes it, because others may use it still: [`Clients::close`] does, once
/// all of them have ended.
#[derive(Debug)]
pub struct Clients {
    shutdown: Shutdown,
    agent: Option<String>,
    opened: Mutex<Vec<Client>>,
}

impl Clients {
    /// No client yet. Requests of all of them will run in tasks of `shutdown`.
    #[must_use]
    pub fn new(shutdown: &Shutdown) -> Self {
        Self { shutdown: shutdown.clone(), agent: None, opened: Mutex::default() }
    }

    /// Whose clients they are, for the tags of statements.
    #[must_use]
    pub fn of_agent(self, agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()), ..self }
    }

    /// The client of a connection: the same for connections that are equal in everything. No I/O.
    pub fn client(&self, connection: &Connection) -> Result<Client, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = opened.iter().find(|client| *client.connection() == *connection) {
            return Ok(client.clone());
        }
        let client = Client::of_agent(connection.clone(), &self.shutdown, self.agent.clone())?;
        opened.push(client.clone());
        Ok(client)
    }

    /// Ends every session on the server; statements fail from now on.
    pub async fn close(&self) {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(opened.iter().map(Client::close)).await;
    }
}
