//! Statements: those of the agent's own, whose rows are few texts, and queries that are prepared.

use super::{Connection, State, command};
use crate::fault::{Fault, FaultKind};
use crate::source::mysql::error::{Stage, malformed};
use crate::source::mysql::packet::{self, MORE_RESULTS, Prepared, Reader, end_status};
use crate::source::mysql::types::ColumnDescription;

/// Columns of the widest result; servers have at most 4,096.
const MOST_COLUMNS: u64 = 1 << 16;

/// Rows of a control statement, as text.
pub(in crate::source::mysql) type TextRows = Vec<Vec<Option<String>>>;

/// A statement that the server has prepared for this connection.
#[derive(Clone, Debug)]
pub(in crate::source::mysql) struct Statement {
    id: u32,
    columns: Vec<ColumnDescription>,
}

impl Connection {
    /// Runs a statement that has no rows, of the agent's own.
    pub(in crate::source::mysql) async fn run(
        &mut self,
        sql: &str,
        action: &'static str,
    ) -> Result<(), Fault> {
        self.query(sql, action).await.map(|_rows| ())
    }

    /// Runs a statement of the agent's own, and takes its rows as text.
    pub(in crate::source::mysql) async fn query(
        &mut self,
        sql: &str,
        action: &'static str,
    ) -> Result<TextRows, Fault> {
        self.query_at(Stage::Own, sql, action).await
    }

    /// Runs a statement and takes its rows as text.
    pub(in crate::source::mysql) async fn query_at(
        &mut self,
        stage: Stage,
        sql: &str,
        action: &'static str,
    ) -> Result<TextRows, Fault> {
        self.send_command(command::QUERY, sql.as_bytes()).await?;
        let mut rows = TextRows::new();
        loop {
            let first = self.answer(stage, action).await?;
            let status = if first.first() == Some(&0) {
                packet::ok_status(&first).map_err(|_malformed| malformed(action))?
            } else {
                self.text_rows(&first, stage, action, &mut rows).await?
            };
            if status & MORE_RESULTS == 0 {
                self.state = State::Idle;
                return Ok(rows);
            }
        }
    }

    /// Takes a result whose count of columns is `first`; returns the status flags of its end.
    async fn text_rows(
        &mut self,
        first: &[u8],
        stage: Stage,
        action: &'static str,
        rows: &mut TextRows,
    ) -> Result<u16, Fault> {
        let count = Reader(first).length().ok().flatten().ok_or_else(|| malformed(action))?;
        for _column in 0..count {
            self.answer(stage, action).await?;
        }
        self.end_of_columns(stage, action).await?;
        loop {
            let packet = self.answer(stage, action).await?;
            if let Some(status) = end_status(&packet) {
                return Ok(status);
            }
            let mut reader = Reader(&packet);
            let mut row = Vec::new();
            for _column in 0..count {
                let value = reader.nullable_string().map_err(|_malformed| malformed(action))?;
                row.push(value.map(|text| String::from_utf8_lossy(text).into_owned()));
            }
            rows.push(row);
        }
    }

    async fn end_of_columns(&mut self, stage: Stage, action: &'static str) -> Result<(), Fault> {
        let packet = self.answer(stage, action).await?;
        end_status(&packet).map(|_status| ()).ok_or_else(|| malformed(action))
    }

    async fn columns(
        &mut self,
        count: u64,
        stage: Stage,
        action: &'static str,
    ) -> Result<Vec<ColumnDescription>, Fault> {
        let mut columns = Vec::new();
        if count > MOST_COLUMNS {
            return Err(malformed(action));
        }
        for _column in 0..count {
            let packet = self.answer(stage, action).await?;
            let column = packet::column(&packet, self.extended_metadata);
            columns.push(column.map_err(|_malformed| malformed(action))?);
        }
        if count > 0 {
            self.end_of_columns(stage, action).await?;
        }
        Ok(columns)
    }

    /// Lets the server prepare a query: its columns are known then, and nothing has run.
    pub(in crate::source::mysql) async fn prepare(&mut self, sql: &str) -> Result<Statement, Fault> {
        let action = "describe the query";
        self.send_command(command::STATEMENT_PREPARE, sql.as_bytes()).await?;
        let packet = self.answer(Stage::Describe, action).await?;
        let prepared = Prepared::read(&packet).map_err(|_malformed| malformed(action))?;
        self.columns(prepared.parameters.into(), Stage::Describe, action).await?;
        let columns = self.columns(prepared.columns.into(), Stage::Describe, action).await?;
        self.state = State::Idle;
        if prepared.parameters > 0 {
            return Err(Fault::new(FaultKind::Request, "describe the query: it has parameters like ?")
                .remedy("Write the values into the query of the task."));
        }
        Ok(Statement { id: prepared.statement, columns })
    }

    /// The columns of a query, without running it.
    pub(in crate::source::mysql) async fn describe(
        &mut self,
        sql: &str,
    ) -> Result<Vec<ColumnDescription>, Fault> {
        let statement = self.prepare(sql).await?;
        self.send_command(command::STATEMENT_CLOSE, &statement.id.to_le_bytes()).await?;
        // The server does not answer.
        self.state = State::Idle;
        Ok(statement.columns)
    }

    /// Starts a prepared query; its rows follow. Returns its columns as they are now.
    pub(in crate::source::mysql) async fn execute(
        &mut self,
        statement: &Statement,
    ) -> Result<Vec<ColumnDescription>, Fault> {
        let action = "start the extraction";
        let mut body = statement.id.to_le_bytes().to_vec();
        // No cursor: rows are sent as they are found, and nothing is kept on the server.
        body.push(0);
        body.extend_from_slice(&1_u32.to_le_bytes());
        self.send_command(command::STATEMENT_EXECUTE, &body).await?;
        let first = self.answer(Stage::Run, action).await?;
        let count = match first.first() {
            None | Some(0) => return Err(malformed(action)),
            Some(_) => Reader(&first).length().ok().flatten().ok_or_else(|| malformed(action))?,
        };
        self.columns(count, Stage::Run, action).await
    }

    /// The rows have ended: another statement may be sent.
    pub(in crate::source::mysql) fn rows_ended(&mut self) {
        self.state = State::Idle;
    }
}
