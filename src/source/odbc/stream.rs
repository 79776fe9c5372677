//! The rows of one slice: one thread inside the driver, one that decodes.
//!
//! ```text
//! driver's thread: SQLFetch into buffer 1, 2, 1, ...  ──(1 filled buffer)──►  decoder's thread ──(1 batch)──►
//!                        ▲───────────────(emptied buffers)────────────────────────┘
//! ```
//!
//! While one buffer is decoded, the driver fills the other. Results with long values are decoded on the
//! driver's thread instead, a row at a time, because only the driver knows how long the next one is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use odbc_api::buffers::{BufferDesc, ColumnarDynBuffer};
use odbc_api::handles::{AsStatementRef, StatementRef};
use odbc_api::{Cursor, CursorImpl, Error, ResultSetMetadata, RowSetBuffer};
use tokio::sync::mpsc;

use super::batch::Gathering;
use super::cancel::{RunningStatement, StopOnDrop, Stopper};
use super::session::{Session, nobody_waits};
use crate::config::OdbcLongValues;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;
use crate::source::BatchStream;

/// Between two looks at a statement that was cancelled because of its time limit.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a cancelled statement may take to end before its thread is left alone.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);

/// What the driver's thread hands over.
enum Filled {
    Buffer(ColumnarDynBuffer),
    Batch(RecordBatch),
    End,
    Failed(Fault),
}

/// `Ok(None)` is the end: a channel that closes without it means that a thread broke.
type Delivery = Result<Option<RecordBatch>, Fault>;

/// The batches. Dropping it cancels the statement on the server.
pub(super) struct RowStream {
    deliveries: mpsc::Receiver<Delivery>,
    _stop: StopOnDrop,
}

impl RowStream {
    /// Starts `sql` on a connection of its own, and reads its rows.
    pub(super) fn start(
        session: Session,
        sql: String,
        gathering: Gathering,
        long_values: OdbcLongValues,
        limit: Option<Duration>,
    ) -> Self {
        let (sender, deliveries) = mpsc::channel(1);
        let (filled, fillings) = sync_channel(1);
        let (emptied, empties) = sync_channel(2);
        let cells = gathering.cells(long_values);
        let reading = Reading { sql, filled, empties, limit };
        let (gathering, apart) = match &cells {
            Some(_) => (Some(gathering), None),
            None => (None, Some(gathering)),
        };
        let stopper = session.stopper.clone();
        let until_end = stopper.until_end();
        // Both threads end by themselves when this stream is dropped.
        drop(spawn_blocking(move || {
            let _until_end = until_end;
            reading.run(session, cells, apart);
        }));
        let decoding = Decoding {
            gathering,
            fillings,
            emptied,
            sender,
            stopper: stopper.clone(),
            deadline: limit.map(|limit| (limit, Instant::now() + limit)),
        };
        drop(spawn_blocking(move || decoding.run()));
        Self { deliveries, _stop: StopOnDrop(stopper) }
    }
}

#[async_trait]
impl BatchStream for RowStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        match self.deliveries.recv().await {
            Some(delivery) => delivery,
            None => Err(Fault::new(FaultKind::Bug, "read rows: the reader has stopped without a reason")),
        }
    }
}

/// A buffer's cells, and how many rows it has.
pub(super) struct Cells {
    pub(super) descriptions: Vec<BufferDesc>,
    pub(super) rows: usize,
}

/// The driver's thread.
struct Reading {
    sql: String,
    filled: SyncSender<Filled>,
    empties: Receiver<ColumnarDynBuffer>,
    limit: Option<Duration>,
}

impl Reading {
    fn run(self, session: Session, cells: Option<Cells>, apart: Option<Gathering>) {
        let mut failure = None;
        // A driver that answers against the standard makes odbc-api panic, also while it cleans up after
        // an error that was understood.
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&session, cells, apart, &mut failure)));
        // Before the end is told: who sees it may count on the connection being closed.
        drop(session);
        let last = match (failure, read) {
            (Some(fault), _) => Filled::Failed(fault),
            (None, Ok(())) => Filled::End,
            (None, Err(_panic)) => Filled::Failed(
                Fault::new(
                    FaultKind::Transient,
                    "read rows: the driver answered against the standard of ODBC",
                )
                .remedy("Look for a newer version of the driver."),
            ),
        };
        // Nobody waits for it when the stream was dropped.
        drop(self.filled.send(last));
    }

    fn read(
        &self,
        session: &Session,
        cells: Option<Cells>,
        apart: Option<Gathering>,
        failure: &mut Option<Fault>,
    ) {
        let failed = |error: Error| session.run_fault("run the query", &error);
        let mut statement = match session.connection().preallocate() {
            Ok(statement) => statement,
            Err(error) => return *failure = Some(failed(error)),
        };
        if let Some(limit) = self.limit {
            let seconds = usize::try_from(limit.as_secs()).unwrap_or(usize::MAX);
            // Not every driver can; the decoder's thread cancels then.
            let _cannot = statement.set_query_timeout_sec(seconds);
        }
        // Dropped before the statement, which is what it asks for.
        let Some(running) = session.stopper.running(&statement.as_stmt_ref()) else {
            return *failure = Some(nobody_waits());
        };
        let cursor = match running.call(|| statement.execute(&self.sql, ())) {
            Ok(Some(cursor)) => cursor,
            Ok(None) => return *failure = Some(others_than_described()),
            Err(error) => return *failure = Some(failed(error)),
        };
        let cursor = match (cells, apart) {
            (Some(cells), _) => self.fill(session, &running, cursor, &cells, failure),
            (None, Some(gathering)) => {
                let mut cursor = cursor;
                *failure = self.pieces(session, &running, &mut cursor, gathering).err();
                Some(cursor)
            }
            (None, None) => Some(cursor),
        };
        // Not closed on its own: what is left of it ends with the statement, which cannot fail.
        let _left = cursor.map(CursorImpl::into_stmt);
    }

    /// Fetches buffer by buffer.
    fn fill<'s>(
        &self,
        session: &Session,
        running: &RunningStatement,
        mut cursor: CursorImpl<StatementRef<'s>>,
        cells: &Cells,
        failure: &mut Option<Fault>,
    ) -> Option<CursorImpl<StatementRef<'s>>> {
        let failed = |error: Error| Some(session.run_fault("fetch rows", &error));
        if cursor
            .num_result_cols()
            .is_ok_and(|count| usize::from(count.unsigned_abs()) != cells.descriptions.len())
        {
            *failure = Some(others_than_described());
            return Some(cursor);
        }
        let descriptions = || cells.descriptions.iter().copied();
        let mut fresh = 2;
        loop {
            let buffer = if fresh > 0 {
                fresh -= 1;
                match ColumnarDynBuffer::try_from_descs(cells.rows, descriptions()) {
                    Ok(buffer) => buffer,
                    Err(error) => {
                        *failure = failed(error);
                        return Some(cursor);
                    }
                }
            } else {
                // Closed when nobody decodes any more.
                let Ok(buffer) = self.empties.recv() else { return Some(cursor) };
                buffer
            };
            let mut block = match cursor.bind_buffer(buffer) {
                Ok(block) => block,
                Err(error) => {
                    *failure = failed(error);
                    return None;
                }
            };
            let fetched = running.call(|| block.fetch().map(|buffer| buffer.is_some()));
            let refusal = if fetched.is_ok() { running.refusal() } else { None };
            let is_cut = refusal.as_ref().is_some_and(|record| record.state.as_str() == "01004");
            if let Err(error) = &fetched {
                // Before anything else, in case that the cleaning up fails as well.
                *failure = failed_ref(session, error);
            }
            match (fetched, block.unbind()) {
                (Ok(has_rows), Ok((cursor, buffer))) if refusal.is_some() => {
                    *failure = refusal
                        .and_then(|record| failed(Error::Diagnostics { record, function: "SQLFetch" }));
                    // The decoder finds the column of a value that was cut, if it can be found.
                    if has_rows && is_cut {
                        drop(self.filled.send(Filled::Buffer(buffer)));
                    }
                    return Some(cursor);
                }
                (Ok(true), Ok((next, buffer))) => {
                    cursor = next;
                    if self.filled.send(Filled::Buffer(buffer)).is_err() {
                        return Some(cursor);
                    }
                }
                (_, Ok((cursor, _))) => return Some(cursor),
                (_, Err(error)) => {
                    if failure.is_none() {
                        *failure = failed(error);
                    }
                    return None;
                }
            }
        }
    }

    /// Fetches row by row, and decodes here.
    fn pieces(
        &self,
        session: &Session,
        running: &RunningStatement,
        cursor: &mut CursorImpl<StatementRef<'_>>,
        mut gathering: Gathering,
    ) -> Result<(), Fault> {
        let failed = |error: Error| session.run_fault("fetch rows", &error);
        let count = cursor.num_result_cols().map_err(failed)?;
        if usize::from(count.unsigned_abs()) != gathering.width() {
            return Err(others_than_described());
        }
        while let Some(mut row) = running.call(|| cursor.next_row()).map_err(failed)? {
            running.call(|| gathering.append_row(&mut row))?;
            let Some(batch) = gathering.take_if_full()? else { continue };
            if self.filled.send(Filled::Batch(batch)).is_err() {
                return Ok(());
            }
        }
        if let Some(record) = running.refusal() {
            return Err(failed(Error::Diagnostics { record, function: "SQLFetch" }));
        }
        if let Some(batch) = gathering.take()? {
            drop(self.filled.send(Filled::Batch(batch)));
        }
        Ok(())
    }
}

fn failed_ref(session: &Session, error: &Error) -> Option<Fault> {
    Some(session.run_fault("fetch rows", error))
}

fn others_than_described() -> Fault {
    Fault::new(FaultKind::Transient, "start the extraction")
        .because("the columns of the result are others than were described")
        .remedy("If this comes back, cast the columns of the query to definite types.")
}

/// The decoder's thread. It also looks at the clock.
struct Decoding {
    /// `None` when rows are decoded on the driver's thread.
    gathering: Option<Gathering>,
    fillings: Receiver<Filled>,
    emptied: SyncSender<ColumnarDynBuffer>,
    sender: mpsc::Sender<Delivery>,
    stopper: Stopper,
    deadline: Option<(Duration, Instant)>,
}

impl Decoding {
    fn run(mut self) {
        let last = match self.decode() {
            Ok(true) => Ok(None),
            Ok(false) => return,
            Err(fault) => Err(fault),
        };
        // An error here says that nobody reads any more.
        drop(self.sender.blocking_send(last));
    }

    /// Decodes to the end. False when nobody reads any more.
    fn decode(&mut self) -> Result<bool, Fault> {
        loop {
            match self.next()? {
                Filled::Buffer(buffer) => {
                    let Some(gathering) = &mut self.gathering else {
                        return Err(Fault::new(FaultKind::Bug, "read rows: a buffer that nobody decodes"));
                    };
                    // Not every driver warns when it cuts, so this looks at the lengths themselves.
                    if let Some(cut) = buffer.find_truncation() {
                        return Err(gathering.truncated(cut.buffer_index));
                    }
                    let before = gathering.append(&buffer)?;
                    // The driver's thread has ended when it does not want the buffer back.
                    drop(self.emptied.try_send(buffer));
                    let after = gathering.take_if_half_full()?;
                    for batch in before.into_iter().chain(after) {
                        if self.sender.blocking_send(Ok(Some(batch))).is_err() {
                            return Ok(false);
                        }
                    }
                }
                Filled::Batch(batch) => {
                    if self.sender.blocking_send(Ok(Some(batch))).is_err() {
                        return Ok(false);
                    }
                }
                Filled::Failed(fault) => return Err(fault),
                Filled::End => {
                    let rest = self.gathering.as_mut().map(Gathering::take).transpose()?.flatten();
                    return Ok(match rest {
                        Some(batch) => self.sender.blocking_send(Ok(Some(batch))).is_ok(),
                        None => true,
                    });
                }
            }
        }
    }

    /// What the driver's thread hands over next; a fault when the time for it is over.
    fn next(&self) -> Result<Filled, Fault> {
        let broken = || Fault::new(FaultKind::Bug, "read rows: the thread of the driver has broken");
        let Some((limit, deadline)) = self.deadline else {
            return self.fillings.recv().map_err(|_closed| broken());
        };
        match self.fillings.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(filled) => return Ok(filled),
            Err(RecvTimeoutError::Disconnected) => return Err(broken()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // The thread is waited for, so that nothing runs on the server after the fault; a driver that
        // does not come back is left alone.
        let patience = Instant::now() + CANCEL_PATIENCE;
        while Instant::now() < patience {
            self.stopper.cancel();
            match self.fillings.recv_timeout(AGAIN) {
                Ok(Filled::Buffer(_) | Filled::Batch(_)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Filled::End | Filled::Failed(_)) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(Fault::new(FaultKind::Transient, format!("read rows within statement_timeout ({limit:?})"))
            .because("the time is over, and the statement was cancelled")
            .remedy("Raise statement_timeout of the connection, or read less at a time."))
    }
}
