//! One snapshot, read once, decoded on a thread of its own.

use std::sync::Mutex;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Either, Executor};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::connection::{ReadConnection, StopOnDrop};
use super::decode::BatchDecoder;
use super::describe::Plan;
use super::error;
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;
use crate::shutdown;
use crate::source::{BatchLimits, BatchStream, Extraction};

/// A snapshot that is held until it is dropped.
pub(super) struct SqliteExtraction {
    plan: Plan,
    /// Taken by `open`.
    connection: Mutex<Option<ReadConnection>>,
}

impl SqliteExtraction {
    pub(super) fn new(connection: ReadConnection, plan: Plan) -> Self {
        Self { plan, connection: Mutex::new(Some(connection)) }
    }
}

#[async_trait]
impl Extraction for SqliteExtraction {
    fn schema(&self) -> &TableSchema {
        &self.plan.schema
    }

    fn slice_count(&self) -> usize {
        1
    }

    async fn open(&self, slice: usize, limits: BatchLimits) -> Result<Box<dyn BatchStream>, Fault> {
        let connection = self.connection.lock().ok().and_then(|mut slot| slot.take());
        let Some(connection) = connection.filter(|_| slice == 0) else {
            return Err(Fault::new(FaultKind::Bug, format!("open slice {slice} of SQLite a second time")));
        };
        let action = connection.action("read rows from");
        let (sqlite, _, stop) = connection.into_parts();
        let decoder = BatchDecoder::new(&self.plan, limits);
        let sql = self.plan.sql.clone();
        let (sender, batches) = mpsc::channel(1);
        let runtime = Handle::current();
        shutdown::spawn_blocking(move || runtime.block_on(read(sqlite, sql, decoder, action, sender)));
        Ok(Box::new(SqliteStream { batches, _stop: stop }))
    }
}

/// `Ok(None)` is the end: a channel that closes without it means that the decoder broke.
type Delivery = Result<Option<RecordBatch>, Fault>;

async fn read(
    mut connection: SqliteConnection,
    sql: String,
    decoder: BatchDecoder,
    action: String,
    sender: mpsc::Sender<Delivery>,
) {
    let last = match read_rows(&mut connection, sql, decoder, action, &sender).await {
        Ok(Ended::Complete) => Ok(None),
        Ok(Ended::NobodyReads) => return,
        Err(fault) => Err(fault),
    };
    // An error here says that nobody reads any more.
    let _ = sender.send(last).await;
}

enum Ended {
    Complete,
    NobodyReads,
}

async fn read_rows(
    connection: &mut SqliteConnection,
    sql: String,
    mut decoder: BatchDecoder,
    action: String,
    sender: &mpsc::Sender<Delivery>,
) -> Result<Ended, Fault> {
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    let mut results = connection.fetch_many(query);
    loop {
        let result = results.try_next().await.map_err(|error| error::fault(action.clone(), &error))?;
        let full = match result {
            Some(Either::Right(row)) => decoder.push(&row)?,
            // The end of the first statement. There is no second one: the text was checked.
            Some(Either::Left(_)) | None => break,
        };
        let Some(batch) = full else { continue };
        if sender.send(Ok(Some(batch))).await.is_err() {
            return Ok(Ended::NobodyReads);
        }
    }
    let Some(batch) = decoder.finish()? else { return Ok(Ended::Complete) };
    match sender.send(Ok(Some(batch))).await {
        Ok(()) => Ok(Ended::Complete),
        Err(_) => Ok(Ended::NobodyReads),
    }
}

/// The batches. Dropping it interrupts SQLite, also in the middle of a step without rows.
struct SqliteStream {
    batches: mpsc::Receiver<Delivery>,
    _stop: StopOnDrop,
}

#[async_trait]
impl BatchStream for SqliteStream {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        match self.batches.recv().await {
            Some(delivery) => delivery,
            None => Err(Fault::new(FaultKind::Bug, "read rows: the decoder ended before the last row")),
        }
    }
}
