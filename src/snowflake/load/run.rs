//! A load, statement by statement.

use std::collections::BTreeMap;

use super::LoadJob;
use super::control::{self, Counts, LoadKey};
use super::copy::Loaded;
use super::name::QualifiedName;
use super::purge::purge;
use super::record::{self, AnySession, Found, Records};
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;
use crate::snowflake::{Client, Error, Statement, Table};
use crate::task::{LoadMode, LoadReceipt};

/// Sessions that one load may lose before its attempt fails.
const MAX_LOST_SESSIONS: u32 = 3;

/// Loads the files of a task, unless that was done before, and removes them from the stage when the
/// task says so. Safe to repeat, and safe beside itself. After an error the table has none of the
/// rows.
pub async fn run(client: &Client, job: &LoadJob<'_>) -> Result<LoadReceipt, Fault> {
    let mut lost = 0;
    let mut receipt = loop {
        let session = client.session().await?;
        let records = Records { session: AnySession::Own(&session), identity: job.identity() };
        let result = Load { records, job }.run().await;
        // Ends an open transaction, and the staging table.
        session.close().await;
        match result {
            Ok(receipt) => break receipt,
            Err(Failure::Lost(fault)) => {
                lost += 1;
                if lost >= MAX_LOST_SESSIONS {
                    return Err(fault);
                }
                tracing::warn!(
                    task.id = %job.task, table = job.request.spec.table, error = fault.chain(),
                    "a session was lost in the middle of a load; looking whether it was committed"
                );
                tokio::time::sleep(Backoff::TASK.wait(lost)).await;
            }
            Err(Failure::Refused(fault)) => return Err(fault),
        }
    };
    if job.request.spec.purge {
        receipt.purged = purge(client, &job.identity(), &job.file_names()).await;
    }
    Ok(receipt)
}

/// Why a session's work on a load ended without a receipt.
pub(super) enum Failure {
    /// The session is gone, or an answer: whether the load was committed is not known here.
    Lost(Fault),
    /// The load failed, and nothing of it was committed.
    Refused(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

impl Failure {
    pub(super) fn of(error: Error, action: String) -> Self {
        let lost = error.is_session_lost() || error.is_outcome_unknown();
        let fault = Fault::from(error).while_doing(action);
        if lost { Self::Lost(fault) } else { Self::Refused(fault) }
    }
}

/// What is in the transaction of a load, besides the control row.
pub(super) struct Change {
    pub(super) delete: Option<String>,
    /// COPY statements whose rows are counted; or one statement that moves the staged rows.
    pub(super) write: Write,
}

pub(super) enum Write {
    Copy(Vec<String>),
    Staged(String),
}

pub(super) struct Load<'a> {
    records: Records<'a>,
    pub(super) job: &'a LoadJob<'a>,
}

impl Load<'_> {
    async fn run(&self) -> Result<LoadReceipt, Failure> {
        let names = self.records.names().await?;
        let key = names.key(&self.records.identity);
        match self.records.find(&key).await? {
            Found::Loaded(recorded) => return Ok(recorded.receipt),
            Found::Open => {}
            Found::NoTable => {
                let create = Statement::new(control::create_sql(key.control));
                self.execute(create, || format!("create the control table {}", key.control)).await?;
            }
        }
        let mapping = self.prepare_table(&names.table).await?;
        let spec = &self.job.request.spec;
        let stage = self.job.stage.to_string();
        let open = key.open(spec.mode, &stage, self.job.files.len());
        self.execute(open, || format!("open a row in the control table {}", names.control)).await?;
        let change = self.prepare_change(&names.table, &mapping).await?;
        let in_table = || format!("load into table {}", names.table);
        self.execute(Statement::new("BEGIN TRANSACTION"), in_table).await?;
        let written = self.write(&key, &change).await;
        match written {
            Ok(Some(counts)) => {
                self.execute(Statement::new("COMMIT"), || format!("commit the load into {}", names.table))
                    .await?;
                Ok(record::receipt(spec.mode, &names.table, counts, false))
            }
            Ok(None) => {
                self.roll_back().await;
                match self.records.find(&key).await? {
                    Found::Loaded(recorded) => Ok(recorded.receipt),
                    Found::Open | Found::NoTable => {
                        let action = format!("claim the row of this load in {}", names.control);
                        Err(Fault::new(FaultKind::Transient, action)
                            .because("it was there a moment ago")
                            .remedy("Nobody but the agent may change the rows of a load that runs.")
                            .into())
                    }
                }
            }
            Err(failure) => {
                self.roll_back().await;
                Err(failure)
            }
        }
    }

    /// The inside of the transaction. `None` when another attempt was faster.
    async fn write(&self, key: &LoadKey<'_>, change: &Change) -> Result<Option<Counts>, Failure> {
        let mut counts = Counts { loaded: self.job.rows(), ..Counts::default() };
        if let Some(sql) = &change.delete {
            let deleted = self
                .execute(Statement::new(sql), || format!("remove the rows of table {}", key.table))
                .await?;
            counts.deleted = count(&deleted, "number of rows deleted");
        }
        match &change.write {
            Write::Copy(statements) => {
                counts.inserted = self.copy(key.table, statements).await?;
            }
            Write::Staged(sql) => {
                let statement = Statement::new(sql).parameter("ERROR_ON_NONDETERMINISTIC_MERGE", true);
                let moved = self
                    .execute(statement, || format!("write the staged rows into table {}", key.table))
                    .await?;
                counts.inserted = count(&moved, "number of rows inserted");
                counts.updated = count(&moved, "number of rows updated");
                let is_insert = self.job.request.spec.mode != LoadMode::Merge;
                if is_insert && counts.inserted != self.job.rows() {
                    return Err(self.miscounted(key.table, counts.inserted, "inserted").into());
                }
            }
        }
        let spec = &self.job.request.spec;
        let stage = self.job.stage.to_string();
        let claim = key.claim(spec.mode, &stage, self.job.files, counts);
        let claimed =
            self.execute(claim, || format!("claim the row of this load in {}", key.control)).await?;
        Ok((count(&claimed, "number of rows updated") > 0).then_some(counts))
    }

    /// Runs COPY statements and compares the rows with those that were written. Returns them.
    pub(super) async fn copy(&self, into: &QualifiedName, statements: &[String]) -> Result<u64, Failure> {
        let mut loaded = Loaded::default();
        for sql in statements {
            let answer = self.execute(plain_inputs(sql), || format!("copy files into table {into}")).await?;
            loaded.add(&answer);
        }
        if loaded.rows == self.job.rows() && loaded.first_error.is_none() {
            return Ok(loaded.rows);
        }
        let fault = match (&loaded.first_error, loaded.skipped.first()) {
            (Some(place), _) => self
                .miscounted(into, loaded.rows, "loaded")
                .because(format!("the first error is in {place}")),
            (None, Some(file)) => Fault::new(FaultKind::Request, format!("copy files into table {into}"))
                .because(format!(
                    "Snowflake has loaded {} of {} files into it before, outside of this task; the first is `{file}`",
                    loaded.skipped.len(),
                    self.job.files.len()
                ))
                .remedy(
                    "Find out in COPY_HISTORY who has loaded the files. Remove the rows and retry with another task id, \
                     or leave them and drop the task.",
                ),
            (None, None) => self.miscounted(into, loaded.rows, "loaded"),
        };
        Err(fault.into())
    }

    fn miscounted(&self, into: &QualifiedName, rows: u64, what: &str) -> Fault {
        let action =
            format!("load into table {into}: {} rows were written and {rows} {what}", self.job.rows());
        Fault::new(FaultKind::Data, action).remedy(
            "Nothing was committed. Look whether somebody has changed the files on the stage, then retry the task.",
        )
    }

    /// Closing the session does the same, a little later: locks are given back sooner this way.
    async fn roll_back(&self) {
        if let Err(error) = self.try_execute(Statement::new("ROLLBACK")).await {
            tracing::debug!(task.id = %self.job.task, %error, "a load was not rolled back explicitly");
        }
    }

    pub(super) async fn execute(
        &self,
        statement: Statement,
        action: impl FnOnce() -> String,
    ) -> Result<Table, Failure> {
        self.records.execute(statement, action).await
    }

    pub(super) async fn try_execute(&self, statement: Statement) -> Result<Table, Error> {
        self.records.try_execute(statement).await
    }
}

/// COPY reads texts as the writer writes them, whatever the account's defaults are.
fn plain_inputs(sql: &str) -> Statement {
    let formats = BTreeMap::from([
        ("BINARY_INPUT_FORMAT", "HEX"),
        ("DATE_INPUT_FORMAT", "AUTO"),
        ("TIME_INPUT_FORMAT", "AUTO"),
        ("TIMESTAMP_INPUT_FORMAT", "AUTO"),
    ]);
    formats.into_iter().fold(Statement::new(sql), |statement, (name, value)| statement.parameter(name, value))
}

/// A number of the first row; 0 where the statement has no such column.
pub(super) fn count(table: &Table, name: &str) -> u64 {
    let row = table.rows.first();
    row.and_then(|row| table.value(row, name)).and_then(|text| text.parse().ok()).unwrap_or_default()
}
