//! A load, statement by statement.

use std::collections::BTreeMap;

use super::control::{self, Counts, LoadKey};
use super::copy::Loaded;
use super::name::QualifiedName;
use super::{LoadJob, TableName, table_name};
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;
use crate::snowflake::{Client, Error, OwnSession, QueryTag, Statement, Table};
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
        let result = Load { session: &session, job }.run().await;
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
        receipt.purged = purge(client, job).await;
    }
    Ok(receipt)
}

/// Removes the files one by one, each by its whole name. They are loaded: what cannot be removed
/// costs storage only, so it is said in the log and in the receipt.
async fn purge(client: &Client, job: &LoadJob<'_>) -> bool {
    for file in &job.files {
        if let Err(error) = client.run(&Statement::new(job.stage.remove(file)).query_tag(&tag(job))).await {
            tracing::warn!(
                task.id = %job.task, stage = %job.stage, file, %error,
                "loaded files could not be removed from their stage"
            );
            return false;
        }
    }
    true
}

fn tag(job: &LoadJob<'_>) -> QueryTag {
    QueryTag { agent: None, task: Some(job.task.to_string()), attempt: None }
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

/// The names that a load is about.
struct Names {
    table: QualifiedName,
    control: QualifiedName,
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
    session: &'a OwnSession,
    pub(super) job: &'a LoadJob<'a>,
}

impl Load<'_> {
    async fn run(&self) -> Result<LoadReceipt, Failure> {
        let names = self.names().await?;
        let key = LoadKey { control: &names.control, task: self.job.task, table: &names.table };
        if let Some(receipt) = self.find(&key, true).await? {
            return Ok(receipt);
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
                Ok(self.receipt(&names.table, counts, false))
            }
            Ok(None) => {
                self.roll_back().await;
                match self.find(&key, false).await? {
                    Some(receipt) => Ok(receipt),
                    None => {
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
        let mut counts = Counts { loaded: self.job.rows, ..Counts::default() };
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
                if is_insert && counts.inserted != self.job.rows {
                    return Err(self.miscounted(key.table, counts.inserted, "inserted").into());
                }
            }
        }
        let spec = &self.job.request.spec;
        let stage = self.job.stage.to_string();
        let claim = key.claim(spec.mode, &stage, self.job.files.len(), counts);
        let claimed =
            self.execute(claim, || format!("claim the row of this load in {}", key.control)).await?;
        Ok((count(&claimed, "number of rows updated") > 0).then_some(counts))
    }

    /// Qualifies the names, with what the session has where the task leaves something open.
    async fn names(&self) -> Result<Names, Failure> {
        let table = table_name(self.job.request)?;
        let mut open_places = !table.is_qualified();
        open_places |= self.job.control_table.is_some_and(|control| !control.is_qualified());
        let (mut database, mut schema) = (None, None);
        if open_places {
            let sql = "SELECT CURRENT_DATABASE() AS CURRENT_DB, CURRENT_SCHEMA() AS CURRENT_SC";
            let answer = self
                .execute(Statement::new(sql), || "ask for the database and schema of the session".to_owned())
                .await?;
            let value = |name| answer.rows.first().and_then(|row| answer.value(row, name)).map(str::to_owned);
            (database, schema) = (value("CURRENT_DB"), value("CURRENT_SC"));
        }
        let qualify = |name: &TableName| {
            name.qualify(database.as_deref(), schema.as_deref()).ok_or_else(|| {
                let action = format!("find table `{}`: the session has no database or schema", name.table);
                Fault::new(FaultKind::Request, action).remedy(
                    "Name the table as database.schema.table, or set `database` and `schema` of the connection.",
                )
            })
        };
        let table = qualify(&table)?;
        let control = match self.job.control_table {
            Some(control) => qualify(control)?,
            None => table.sibling(control::DEFAULT_NAME),
        };
        Ok(Names { table, control })
    }

    /// Looks for the row of a load that is done. `may_create`: makes the control table if the task
    /// allows it.
    async fn find(&self, key: &LoadKey<'_>, may_create: bool) -> Result<Option<LoadReceipt>, Failure> {
        let action = || format!("look into the control table {}", key.control);
        let found = match self.try_execute(key.find()).await {
            Ok(found) => found,
            Err(error) if error.is_missing_object() && may_create && self.job.request.spec.create => {
                let create = Statement::new(control::create_sql(key.control));
                self.execute(create, || format!("create the control table {}", key.control)).await?;
                return Ok(None);
            }
            Err(error) if error.is_missing_object() => {
                let fault = Fault::from(error).while_doing(action()).remedy(
                    "Create the control table (docs/snowflake/setup.sql has it) and grant SELECT, INSERT and UPDATE \
                     on it, or set `create` of the load and grant CREATE TABLE on the schema.",
                );
                return Err(Failure::Refused(fault));
            }
            Err(error) => return Err(Failure::of(error, action())),
        };
        let Some(row) = found.rows.first() else { return Ok(None) };
        let (mode, stage) = (found.value(row, "MODE"), found.value(row, "STAGE"));
        let spec = &self.job.request.spec;
        if mode != Some(spec.mode.as_str()) || stage != Some(&self.job.stage.to_string()) {
            let action = format!("load task `{}` into table {}", self.job.task, key.table);
            return Err(Fault::new(FaultKind::Request, action)
                .because("a task of this id was loaded into it before, from another place or in another mode")
                .remedy(
                    "Give every task an id of its own: it is what tells a repeated attempt from new rows.",
                )
                .into());
        }
        let number = |name| found.value(row, name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let counts = Counts {
            loaded: number("ROWS_LOADED"),
            inserted: number("ROWS_INSERTED"),
            updated: number("ROWS_UPDATED"),
            deleted: number("ROWS_DELETED"),
        };
        tracing::warn!(
            task.id = %self.job.task, table = %key.table, rows = counts.loaded,
            "a load of this task is on record already; nothing is loaded again"
        );
        Ok(Some(self.receipt(key.table, counts, true)))
    }

    /// Runs COPY statements and compares the rows with those that were written. Returns them.
    pub(super) async fn copy(&self, into: &QualifiedName, statements: &[String]) -> Result<u64, Failure> {
        let mut loaded = Loaded::default();
        for sql in statements {
            let answer = self.execute(plain_inputs(sql), || format!("copy files into table {into}")).await?;
            loaded.add(&answer);
        }
        if loaded.rows == self.job.rows && loaded.first_error.is_none() {
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
        let action = format!("load into table {into}: {} rows were written and {rows} {what}", self.job.rows);
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
        self.try_execute(statement).await.map_err(|error| Failure::of(error, action()))
    }

    pub(super) async fn try_execute(&self, statement: Statement) -> Result<Table, Error> {
        // The zone in which moments get an offset, where a column keeps one.
        self.session.run(&statement.query_tag(&tag(self.job)).parameter("TIMEZONE", "UTC")).await
    }

    fn receipt(&self, table: &QualifiedName, counts: Counts, already_loaded: bool) -> LoadReceipt {
        LoadReceipt {
            table: table.to_string(),
            mode: self.job.request.spec.mode,
            rows_loaded: counts.loaded,
            rows_inserted: counts.inserted,
            rows_updated: counts.updated,
            rows_deleted: counts.deleted,
            already_loaded,
            purged: false,
        }
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
