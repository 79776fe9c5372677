//! A connection through a driver, set up for reading. Everything here blocks.

mod setup;

use std::sync::Arc;

use odbc_api::handles::{AsStatementRef, SqlResult, SqlText, Statement as _, StatementRef};
use odbc_api::{
    ColumnDescription, Connection, ConnectionOptions, Cursor, DataType, Error, ResultSetMetadata, environment,
};

use self::setup::{Setting, begin_reading, dialect_of, settings};
use super::cancel::Stopper;
use super::driver_manager;
use super::error::{INSTALL, Stage, fault};
use super::sql::Base;
use super::types::Described;
use crate::config::{OdbcSource, SqlDialect};
use crate::fault::{Fault, FaultKind};

/// An open connection. Dropping it rolls back and disconnects.
pub(super) struct Session {
    /// `None` only while it is dropped.
    connection: Option<Connection<'static>>,
    pub(super) config: Arc<OdbcSource>,
    pub(super) dialect: SqlDialect,
    pub(super) stopper: Stopper,
}

impl Session {
    /// Connects, and finds out whose SQL is spoken.
    pub(super) fn open(config: &Arc<OdbcSource>, stopper: &Stopper) -> Result<Self, Fault> {
        let action = "connect through ODBC";
        let failed = |error: Error| fault(action, &error, Stage::Connect, config.dialect, &config.connection);
        driver_manager::load()?;
        let environment = environment().map_err(failed)?;
        find_driver(environment, config)?;
        if stopper.is_stopped() {
            return Err(nobody_waits());
        }
        let seconds = u32::try_from(config.connect_timeout.as_secs().max(1)).unwrap_or(u32::MAX);
        let options = ConnectionOptions { login_timeout_sec: Some(seconds), packet_size: None };
        let string = config.connection.build();
        let connection =
            environment.connect_with_connection_string(string.expose(), options).map_err(failed)?;
        let dialect = match config.dialect {
            Some(dialect) => dialect,
            None => dialect_of(&connection.database_management_system_name().map_err(failed)?),
        };
        let session = Self {
            connection: Some(connection),
            config: Arc::clone(config),
            dialect,
            stopper: stopper.clone(),
        };
        for Setting { sql, is_needed } in settings(config, dialect) {
            match session.run(&sql, "set up the session") {
                Err(fault) if is_needed => return Err(fault),
                Err(fault) => tracing::debug!(error = fault.chain(), "the session is not tagged"),
                Ok(()) => {}
            }
        }
        if let Some(sql) = begin_reading(dialect) {
            session.connection().set_autocommit(false).map_err(|error| session.fault(action, &error))?;
            session.run(sql, "begin a read-only transaction")?;
        }
        Ok(session)
    }

    pub(super) fn connection(&self) -> &Connection<'static> {
        self.connection.as_ref().expect("it is there until the session is dropped")
    }

    /// A fault of the agent's own statements.
    fn fault(&self, action: &str, error: &Error) -> Fault {
        fault(action, error, Stage::Prepare, Some(self.dialect), &self.config.connection)
    }

    /// A fault of the task's statement while it runs.
    pub(super) fn run_fault(&self, action: &str, error: &Error) -> Fault {
        fault(action, error, Stage::Run, Some(self.dialect), &self.config.connection)
    }

    /// Runs a statement that has no result.
    pub(super) fn run(&self, sql: &str, action: &str) -> Result<(), Fault> {
        self.first_row(sql, action).map(|_row| ())
    }

    /// The first row of a result, as texts; `None` when there is none. Texts are of the kind that
    /// numbers and times print as.
    pub(super) fn first_row(&self, sql: &str, action: &str) -> Result<Option<Vec<Option<String>>>, Fault> {
        let failed = |error: Error| self.fault(action, &error);
        let mut statement = self.connection().preallocate().map_err(failed)?;
        let running = self.stopper.running(&statement.as_stmt_ref()).ok_or_else(nobody_waits)?;
        let row = running.call(|| {
            let Some(mut cursor) = statement.execute(sql, ())? else { return Ok(None) };
            let row = first_row_of(&mut cursor);
            // Not closed on its own: it ends with the statement, which cannot fail.
            let _left = cursor.into_stmt();
            row
        });
        drop(running);
        row.map_err(failed)
    }

    /// Runs the cheapest statement.
    pub(super) fn ask(&self) -> Result<(), Fault> {
        let sql = match self.dialect {
            SqlDialect::Oracle => "SELECT 1 FROM dual",
            SqlDialect::Db2 => "SELECT 1 FROM sysibm.sysdummy1",
            _ => "SELECT 1",
        };
        self.run(sql, "run a query of one row")
    }

    /// The columns of a result, without its rows.
    pub(super) fn describe(&self, sql: &str, base: &Base) -> Result<Vec<Described>, Fault> {
        let action = "describe the result";
        let failed = |error: Error| self.fault(action, &error);
        let mut statement = self.connection().preallocate().map_err(failed)?;
        let running = self.stopper.running(&statement.as_stmt_ref()).ok_or_else(nobody_waits)?;
        // Some drivers ask the server when they prepare, others when they are asked for the columns; both wait
        // for a table that somebody has locked.
        let described = running.call(|| {
            let mut prepared = Prepared(statement.as_stmt_ref());
            let answer = prepared.0.prepare(&SqlText::new(sql));
            answer.into_result(&prepared.0)?;
            if prepared.num_result_cols()? == 0 { Ok(None) } else { columns(&mut prepared).map(Some) }
        });
        drop(running);
        if let Some(columns) = described.map_err(failed)? {
            return Ok(columns);
        }
        drop(statement);
        // A driver that does not describe what it has not run: the same without rows.
        let sql = self.finished(&base.select("s.*", Some("1 = 0"), self.dialect));
        let mut statement = self.connection().preallocate().map_err(failed)?;
        let running = self.stopper.running(&statement.as_stmt_ref()).ok_or_else(nobody_waits)?;
        let described = running.call(|| match statement.execute(&sql, ())? {
            Some(mut cursor) => {
                let columns = columns(&mut cursor);
                let _left = cursor.into_stmt();
                columns
            }
            None => Ok(Vec::new()),
        });
        drop(running);
        described.map_err(failed)
    }

    /// A statement as it is sent.
    pub(super) fn finished(&self, sql: &str) -> String {
        match self.config.reads_uncommitted_rows && self.dialect == SqlDialect::Teradata {
            true => format!("LOCKING ROW FOR ACCESS {sql}"),
            false => sql.to_owned(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Not odbc-api's own way, which panics when a server that is gone cannot be disconnected from.
        let mut handle = connection.into_handle();
        let _nothing_to_keep = handle.rollback();
        match handle.disconnect() {
            SqlResult::Success(()) | SqlResult::SuccessWithInfo(()) => drop(handle),
            // A handle that is still connected must not be freed: it is left to the driver manager.
            _ => std::mem::forget(handle),
        }
    }
}

/// A statement that is prepared, under the eyes of a [`Stopper`], which odbc-api's own cannot be.
struct Prepared<'s>(StatementRef<'s>);

impl AsStatementRef for Prepared<'_> {
    fn as_stmt_ref(&mut self) -> StatementRef<'_> {
        self.0.as_stmt_ref()
    }
}

impl ResultSetMetadata for Prepared<'_> {}

pub(super) fn nobody_waits() -> Fault {
    Fault::new(FaultKind::Transient, "run a statement that nobody waits for any more")
}

/// Units of the longest name of a column; no database has names of more than 1024 characters.
const NAME_UNITS: usize = 2048;

fn first_row_of(cursor: &mut impl Cursor) -> Result<Option<Vec<Option<String>>>, Error> {
    let count = u16::try_from(cursor.num_result_cols()?).unwrap_or_default();
    let Some(mut row) = cursor.next_row()? else { return Ok(None) };
    let mut texts = Vec::new();
    for number in 1..=count {
        let mut text = Vec::with_capacity(128);
        let is_there = row.get_text(number, &mut text)?;
        texts.push(is_there.then(|| String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(Some(texts))
}

fn columns(result: &mut impl ResultSetMetadata) -> Result<Vec<Described>, Error> {
    let count = u16::try_from(result.num_result_cols()?).unwrap_or_default();
    let mut columns = Vec::new();
    for number in 1..=count {
        // Room for any name: some drivers cut one that does not fit and do not say so.
        let mut description =
            ColumnDescription { name: Vec::with_capacity(NAME_UNITS), ..Default::default() };
        result.describe_col(number, &mut description)?;
        let data_type = description.data_type;
        let is_integer = matches!(
            data_type,
            DataType::TinyInt | DataType::SmallInt | DataType::Integer | DataType::BigInt
        );
        let is_unsigned = is_integer && result.column_is_unsigned(number)?;
        let display_size = match data_type {
            DataType::Unknown | DataType::Other { .. } => {
                result.col_display_size(number).ok().flatten().map(|size| size.get())
            }
            _ => None,
        };
        let name = String::from_utf16_lossy(&description.name);
        let name = if name.is_empty() { format!("column_{number}") } else { name };
        columns.push(Described { name, data_type, is_unsigned, display_size });
    }
    Ok(columns)
}

/// Names the driver that is missing, and those that are there.
fn find_driver(environment: &odbc_api::Environment, config: &OdbcSource) -> Result<(), Fault> {
    let Some(driver) = config.connection.get("Driver") else { return Ok(()) };
    let action = || format!("find the ODBC driver `{driver}`");
    if driver.starts_with('/') {
        return match std::fs::metadata(driver) {
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::new(FaultKind::Request, action()).because(error).remedy(INSTALL)),
        };
    }
    // A list that cannot be had proves nothing; the driver manager says then what it misses.
    let Ok(drivers) = environment.drivers() else { return Ok(()) };
    if drivers.iter().any(|found| found.description.eq_ignore_ascii_case(driver)) {
        return Ok(());
    }
    let mut names: Vec<String> = drivers.iter().map(|found| format!("`{}`", found.description)).collect();
    names.sort_unstable();
    let cause = match names.as_slice() {
        [] => "no driver is registered in odbcinst.ini".to_owned(),
        names => format!("it is not registered in odbcinst.ini; registered are {}", names.join(", ")),
    };
    Err(Fault::new(FaultKind::Request, action()).because(cause).remedy(INSTALL))
}
