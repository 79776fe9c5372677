//! Several connections with one picture of the data.
//!
//! SQL Server cannot share a snapshot between connections. So a shared lock keeps writers away from
//! the table while every connection takes a snapshot of its own. Whoever wants the table meanwhile
//! waits; that time has a limit, and one connection reads everything when it is over.

use std::time::Duration;

use tokio::time::timeout;

use super::connection::Connection;
use super::describe::Description;
use super::error::was_locked_out;
use super::{SNAPSHOT, SqlServer};
use crate::fault::Fault;

/// How long writers are kept away at most. A change of the table's structure that waits for our lock
/// keeps our own snapshots waiting, too, and everybody else.
const STILL: Duration = Duration::from_secs(5);

impl SqlServer {
    /// A connection inside a snapshot transaction, whose snapshot is taken when it reads first.
    async fn begin_snapshot(connection: &mut Connection) -> Result<(), Fault> {
        let sql = format!("{SNAPSHOT} BEGIN TRANSACTION;");
        connection.run(&sql, "begin a snapshot transaction").await?;
        Ok(())
    }

    /// One connection for each condition, all with the same picture of the data; one for everything
    /// where that cannot be had.
    pub(super) async fn begin(
        &self,
        mut first: Connection,
        description: &Description,
        conditions: Vec<Option<String>>,
        under_snapshot: bool,
    ) -> Result<Vec<(Connection, Option<String>)>, Fault> {
        if conditions.len() == 1 || !under_snapshot {
            if under_snapshot {
                Self::begin_snapshot(&mut first).await?;
            }
            return Ok(std::iter::once(first).zip(conditions).collect());
        }
        if let Some(connections) = self.begin_together(first, description, conditions.len()).await? {
            return Ok(connections.into_iter().zip(conditions).collect());
        }
        tracing::warn!(
            "one slice: the table was not free for the moment in which the snapshots of several begin; \
             another transaction changes it for long, or waits to change its structure"
        );
        let mut only = self.connect().await?;
        Self::begin_snapshot(&mut only).await?;
        Ok(vec![(only, None)])
    }

    /// So many connections with the same picture of the data; `None` when the table was not free.
    async fn begin_together(
        &self,
        first: Connection,
        description: &Description,
        count: usize,
    ) -> Result<Option<Vec<Connection>>, Fault> {
        let mut connections = vec![first];
        let others = (1..count).map(|_slice| self.connect());
        connections.extend(futures::future::try_join_all(others).await?);
        let all: Vec<_> = connections.iter_mut().map(Self::begin_snapshot).collect();
        futures::future::try_join_all(all).await?;
        let mut holder = match description.lock() {
            Some(sql) => Some((self.connect().await?, sql)),
            None => None,
        };
        let touch = description.touch();
        let still = async {
            if let Some((holder, sql)) = &mut holder {
                holder.run(sql, "hold the table still while snapshots are taken").await?;
            }
            let all: Vec<_> =
                connections.iter_mut().map(|connection| connection.run(&touch, "take a snapshot")).collect();
            futures::future::try_join_all(all).await?;
            if let Some((holder, _sql)) = &mut holder {
                holder.run("COMMIT TRANSACTION", "let the table go").await?;
            }
            Ok(())
        };
        let result = timeout(STILL, still).await;
        // Before anything else: with the session its lock ends.
        drop(holder);
        match result {
            Ok(Ok(())) => Ok(Some(connections)),
            Ok(Err(fault)) if was_locked_out(&fault) => Ok(None),
            Ok(Err(fault)) => Err(fault),
            Err(_elapsed) => Ok(None),
        }
    }
}
