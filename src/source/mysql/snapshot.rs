//! One picture of the data: for one connection by a transaction, for several by a short lock.
//!
//! MySQL and MariaDB have no snapshot that another session can join. So while several sessions begin
//! their transactions, a lock keeps everybody from writing: `LOCK TABLES ... READ` for one table,
//! `FLUSH TABLES WITH READ LOCK` for a query. It is held for as long as it takes to begin them, and
//! waited for no longer than [`LOCK_WAIT_SECONDS`]. Where the right for it is missing, one
//! connection reads everything.

use std::num::NonZeroUsize;

use super::connection::{Address, Connection};
use super::slices::Table;
use super::sql::{kept_modes, literal};
use crate::config::{Consistency, MysqlSource};
use crate::fault::{Fault, FaultKind};

/// How long writers may keep the lock away, and how long new ones may queue up behind it.
const LOCK_WAIT_SECONDS: u32 = 5;
/// How long the server waits for this client: to read on, while a destination is slow, and to begin
/// a slice.
const PATIENCE_SECONDS: u32 = 24 * 60 * 60;

impl Address {
    /// A connection that is set up so that texts, times and errors have one form everywhere.
    pub(super) async fn session(&self) -> Result<Connection, Fault> {
        let mut connection = self.connect().await?;
        for statement in self.settings(&mut connection).await? {
            connection.run(&statement, "set up the session").await?;
        }
        if !connection.is_mariadb {
            // Since version 8 the sizes of tables are a day old by default; before, there is no such
            // setting, and no harm in asking.
            let fresh = "SET SESSION information_schema_stats_expiry = 0";
            let _older_than_8 = connection.run(fresh, "set up the session").await;
        }
        connection.take_mark().await;
        Ok(connection)
    }

    /// The statements that set a session up.
    pub(super) async fn settings(&self, connection: &mut Connection) -> Result<Vec<String>, Fault> {
        let action = "set up the session";
        let modes = connection.query("SELECT @@SESSION.sql_mode", action).await?;
        let modes = modes.into_iter().flatten().flatten().next().unwrap_or_default();
        let mut settings = vec![
            "NAMES utf8mb4".to_owned(),
            // TIMESTAMP columns arrive as the instants that they are.
            "SESSION time_zone = '+00:00'".to_owned(),
            format!("SESSION sql_mode = {}", literal(&kept_modes(&modes))),
            "SESSION sql_select_limit = DEFAULT".to_owned(),
            format!("SESSION net_write_timeout = {PATIENCE_SECONDS}"),
            format!("SESSION wait_timeout = {PATIENCE_SECONDS}"),
            format!("SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}"),
        ];
        if connection.is_mariadb {
            settings.push("SESSION idle_transaction_timeout = 0".to_owned());
            settings.push("SESSION idle_readonly_transaction_timeout = 0".to_owned());
        }
        if let Some(limit) = self.config.statement_timeout {
            settings.push(match connection.is_mariadb {
                true => format!("SESSION max_statement_time = {}", limit.as_secs_f64()),
                false => format!("SESSION max_execution_time = {}", limit.as_millis().min(u32::MAX.into())),
            });
        }
        Ok(vec![
            format!("SET {}", settings.join(", ")),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ".to_owned(),
        ])
    }
}

/// Begins a read-only transaction that sees the data as they are now, until its end.
pub(super) async fn begin(connection: &mut Connection) -> Result<(), Fault> {
    let sql = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    connection.run(sql, "begin a read-only transaction").await
}

/// How many connections may read, by what is known without asking the server for a lock.
pub(super) fn limit(config: &MysqlSource, table: Option<&Table>, wanted: NonZeroUsize) -> NonZeroUsize {
    if wanted.get() == 1 || config.consistency == Consistency::Serial {
        return NonZeroUsize::MIN;
    }
    if table.is_some_and(|table| table.is_base && !table.is_transactional) {
        tracing::info!("one slice: the table's storage engine has no snapshots");
        return NonZeroUsize::MIN;
    }
    wanted
}

/// `count` connections whose transactions see the same picture; `None`, with a line in the log,
/// where the lock that this needs is not to be had.
pub(super) async fn share(
    address: &Address,
    table: Option<&Table>,
    count: usize,
) -> Result<Option<Vec<Connection>>, Fault> {
    // Logged in before the lock is taken, so that it is held for two round trips only.
    let logins = (0..count).map(|_slice| address.session());
    let (locker, connections) =
        futures::future::try_join(address.session(), futures::future::try_join_all(logins)).await?;
    let mut locker = locker;
    let base_table = table.filter(|table| table.is_base);
    let lock = match base_table {
        Some(table) => format!("LOCK TABLES {} READ", table.name),
        None => "FLUSH TABLES WITH READ LOCK".to_owned(),
    };
    if let Err(fault) = locker.run(&lock, "lock what is read, to begin several transactions at once").await {
        return match fault.kind() {
            // A missing right, or a lock that somebody else keeps.
            FaultKind::Permission | FaultKind::Transient => {
                tracing::warn!(
                    error = fault.chain(),
                    "one slice: the lock for a common snapshot of several connections is not to be had. \
                     Grant LOCK TABLES (tables) or RELOAD (queries), or set `consistency = \"serial\"`"
                );
                Ok(None)
            }
            _ => Err(fault),
        };
    }
    let begins = connections.into_iter().map(|mut connection| async move {
        begin(&mut connection).await?;
        if let Some(table) = base_table {
            // The transaction holds on to the table from its first look at it: nobody can TRUNCATE
            // or ALTER it before the slice is read.
            connection.run(&format!("SELECT 1 FROM {} LIMIT 0", table.name), "look at the table").await?;
        }
        Ok::<_, Fault>(connection)
    });
    let connections = futures::future::try_join_all(begins).await?;
    locker.run("UNLOCK TABLES", "release the lock").await?;
    locker.close().await;
    Ok(Some(connections))
}
