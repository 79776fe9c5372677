//! What the control table says about a load: asked before anything is read, and again by the load
//! itself.

use super::control::{self, Counts, LoadKey};
use super::name::QualifiedName;
use super::run::Failure;
use super::{LoadIdentity, TableName, purge, table_name};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::{Client, Error, OwnSession, QueryTag, Statement, Table};
use crate::task::{FileReceipt, LoadReceipt};

/// A load that is done, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedLoad {
    /// The files that were loaded; none when the row does not name them.
    pub files: Vec<FileReceipt>,
    /// What was done with their rows.
    pub receipt: LoadReceipt,
}

/// Looks for a load that an earlier attempt of the task has committed, and makes up for its `purge`.
/// `None` when there is none: the load is still to be done. A task that can never be loaded, because
/// its id was used for another load, is refused.
pub async fn recorded(client: &Client, identity: &LoadIdentity<'_>) -> Result<Option<RecordedLoad>, Fault> {
    let records = Records { session: AnySession::Shared(client), identity: *identity };
    let found = async {
        let names = records.names().await?;
        records.find(&names.key(identity)).await
    };
    match found.await {
        Ok(Found::Loaded(mut recorded)) => {
            if identity.spec.purge {
                let names: Vec<String> =
                    recorded.files.iter().map(|file| identity.file_name(file).to_owned()).collect();
                recorded.receipt.purged = !names.is_empty() && purge::purge(client, identity, &names).await;
            }
            Ok(Some(recorded))
        }
        Ok(Found::Open | Found::NoTable) => Ok(None),
        Err(Failure::Lost(fault) | Failure::Refused(fault)) => Err(fault),
    }
}

/// The session that the control table is looked into with.
#[derive(Clone, Copy)]
pub(super) enum AnySession<'a> {
    /// That of everybody: nothing of it is needed by the next statement.
    Shared(&'a Client),
    /// That of the load.
    Own(&'a OwnSession),
}

/// What a look into the control table has found.
pub(super) enum Found {
    /// The load is done.
    Loaded(RecordedLoad),
    /// It is not done.
    Open,
    /// There is no control table, and the task allows to make it.
    NoTable,
}

/// The names that a load is about.
pub(super) struct Names {
    pub(super) table: QualifiedName,
    pub(super) control: QualifiedName,
}

impl Names {
    pub(super) fn key<'n>(&'n self, identity: &LoadIdentity<'n>) -> LoadKey<'n> {
        LoadKey { control: &self.control, task: identity.task, table: &self.table }
    }
}

/// Asks about one load.
pub(super) struct Records<'a> {
    pub(super) session: AnySession<'a>,
    pub(super) identity: LoadIdentity<'a>,
}

impl Records<'_> {
    pub(super) async fn execute(
        &self,
        statement: Statement,
        action: impl FnOnce() -> String,
    ) -> Result<Table, Failure> {
        self.try_execute(statement).await.map_err(|error| Failure::of(error, action()))
    }

    pub(super) async fn try_execute(&self, statement: Statement) -> Result<Table, Error> {
        let tag = self.identity.tag();
        // The zone in which moments get an offset, where a column keeps one.
        let statement = statement.query_tag(&tag).parameter("TIMEZONE", "UTC");
        match self.session {
            AnySession::Shared(client) => client.run(&statement).await,
            AnySession::Own(session) => session.run(&statement).await,
        }
    }

    /// Qualifies the names, with what the session has where the task leaves something open.
    pub(super) async fn names(&self) -> Result<Names, Failure> {
        let table = table_name(self.identity.spec)?;
        let control_table = self.identity.control_table;
        let mut open_places = !table.is_qualified();
        open_places |= control_table.is_some_and(|control| !control.is_qualified());
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
        let control = match control_table {
            Some(control) => qualify(control)?,
            None => table.sibling(control::DEFAULT_NAME),
        };
        Ok(Names { table, control })
    }

    /// Looks for the row of a load that is done.
    pub(super) async fn find(&self, key: &LoadKey<'_>) -> Result<Found, Failure> {
        let LoadIdentity { task, spec, stage, .. } = self.identity;
        let action = || format!("look into the control table {}", key.control);
        let found = match self.try_execute(key.find()).await {
            Ok(found) => found,
            Err(error) if error.is_missing_object() && spec.create => return Ok(Found::NoTable),
            Err(error) if error.is_missing_object() => {
                let fault = Fault::from(error).while_doing(action()).remedy(
                    "Create the control table (docs/snowflake/setup.sql has it) and grant SELECT, INSERT and UPDATE \
                     on it, or set `create` of the load and grant CREATE TABLE on the schema.",
                );
                return Err(Failure::Refused(fault));
            }
            Err(error) => return Err(Failure::of(error, action())),
        };
        let Some(row) = found.rows.first() else { return Ok(Found::Open) };
        let value = |name| found.value(row, name);
        if value("MODE") != Some(spec.mode.as_str()) || value("STAGE") != Some(&stage.to_string()) {
            let action = format!("load task `{task}` into table {}", key.table);
            return Err(Fault::new(FaultKind::Request, action)
                .because("a task of this id was loaded into it before, from another place or in another mode")
                .remedy(
                    "Give every task an id of its own: it is what tells a repeated attempt from new rows.",
                )
                .into());
        }
        let number = |name| value(name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let counts = Counts {
            loaded: number("ROWS_LOADED"),
            inserted: number("ROWS_INSERTED"),
            updated: number("ROWS_UPDATED"),
            deleted: number("ROWS_DELETED"),
        };
        // A row that a person wrote may have none.
        let files = value("RECEIPT").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        tracing::warn!(
            task.id = %task, table = %key.table, rows = counts.loaded,
            "a load of this task is on record already; nothing is loaded again"
        );
        Ok(Found::Loaded(RecordedLoad { files, receipt: receipt(spec.mode, key.table, counts, true) }))
    }
}

impl LoadIdentity<'_> {
    pub(super) fn tag(&self) -> QueryTag {
        QueryTag { agent: None, task: Some(self.task.to_string()), attempt: Some(self.attempt) }
    }
}

/// What a load did, for the task's receipt; the files are still there.
pub(super) fn receipt(
    mode: crate::task::LoadMode,
    table: &QualifiedName,
    counts: Counts,
    already_loaded: bool,
) -> LoadReceipt {
    LoadReceipt {
        table: table.to_string(),
        mode,
        rows_loaded: counts.loaded,
        rows_inserted: counts.inserted,
        rows_updated: counts.updated,
        rows_deleted: counts.deleted,
        already_loaded,
        purged: false,
    }
}
