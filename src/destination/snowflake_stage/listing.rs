//! What is on the stage: LIST and REMOVE, as far as they concern one task.

use std::collections::BTreeMap;

use futures::{TryStreamExt, stream};

use crate::destination::PartName;
use crate::fault::Fault;
use crate::snowflake::put::StageLocation;
use crate::snowflake::{Client, QueryTag, Statement};
use crate::task::TaskId;

/// Statements of one attempt that run at the same time.
const PARALLEL_STATEMENTS: usize = 4;

/// The files of one task in one directory of a stage, by name.
pub(super) type Listing = BTreeMap<String, Listed>;

/// A file on the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// As stored.
    pub(super) bytes: Option<u64>,
    /// What changes when somebody stores the file again.
    version: [Option<String>; 2],
}

/// Speaks of one task's files.
#[derive(Clone, Debug)]
pub(super) struct StageFiles {
    pub(super) client: Client,
    pub(super) location: StageLocation,
    pub(super) task: TaskId,
    pub(super) attempt: u32,
}

impl StageFiles {
    /// Who asks, for Snowflake's query history.
    pub(super) fn tag(&self) -> QueryTag {
        QueryTag { agent: None, task: Some(self.task.to_string()), attempt: Some(self.attempt) }
    }

    pub(super) async fn list(&self) -> Result<Listing, Fault> {
        let prefix = PartName::prefix(&self.task);
        let statement = Statement::new(self.location.list(&prefix)).query_tag(&self.tag());
        let table = self.client.run(&statement).await.map_err(|error| {
            Fault::from(error).while_doing(format!("list the files of the task in `{}`", self.location))
        })?;
        let mut listing = Listing::new();
        for row in &table.rows {
            let value = |column: &str| table.value(row, column).map(str::to_owned);
            let Some(name) = value("name") else { continue };
            let Some(file_name) = self.location.listed_file(&name, &prefix) else { continue };
            if PartName::belongs_to(file_name, &self.task) {
                let bytes = value("size").and_then(|size| size.parse().ok());
                let version = [value("md5"), value("last_modified")];
                listing.insert(file_name.to_owned(), Listed { bytes, version });
            }
        }
        Ok(listing)
    }

    /// Removes files. One that is gone already is removed.
    pub(super) async fn remove(&self, file_names: Vec<String>) -> Result<(), Fault> {
        stream::iter(file_names.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL_STATEMENTS, |file_name| async move {
                let statement = Statement::new(self.location.remove(&file_name)).query_tag(&self.tag());
                let removed = self.client.run(&statement).await;
                removed.map(drop).map_err(|error| {
                    Fault::from(error).while_doing(format!("remove `{}{file_name}`", self.location))
                })
            })
            .await
    }
}
