//! Loading the files of a task into a table, once for each task.
//!
//! ```text
//! find the task's row in the control table        loaded already: done, with its files and counts;
//!                                                 asked before the rows are read, and again here
//! make or widen the table, open the row           DDL commits, so it comes before the transaction
//! staging table, COPY into it                     only for merge, and for JSON that is parsed
//! BEGIN
//!   DELETE                                        replace
//!   COPY | INSERT from staging | MERGE            counts compared with what was written
//!   UPDATE the row, if it is still open           no row: somebody else has loaded; ROLLBACK
//! COMMIT
//! REMOVE the files                                purge
//! ```
//!
//! The rows and the control row become visible together or not at all, so an agent may die between
//! any two of these, and an answer may be lost: the next attempt of the task finds either its row or
//! an unchanged table. Snowflake's own memory of loaded files is not relied on: it ends after 64
//! days, and a file that is uploaded again under its name counts as another file.

mod control;
mod copy;
mod merge;
mod name;
mod prepare;
mod purge;
mod record;
mod run;
mod table;
mod types;

pub use control::DEFAULT_NAME as DEFAULT_CONTROL_TABLE;
pub use copy::LoadPlace;
pub use name::{InvalidTableName, QualifiedName, TableName, quote_identifier, string_literal};
pub use record::{RecordedLoad, recorded};
pub use run::run;

use crate::destination::LoadRequest;
use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::StageLocation;
use crate::task::{FileReceipt, LoadSpec, TaskId};

/// Which load: what tells it from every other one, and what it must have in common with a row of
/// the control table.
#[derive(Clone, Copy, Debug)]
pub struct LoadIdentity<'a> {
    /// Whose files.
    pub task: &'a TaskId,
    /// Number of the attempt, for the tags of statements.
    pub attempt: u32,
    /// What was asked for.
    pub spec: &'a LoadSpec,
    /// The directory of the files.
    pub stage: &'a StageLocation,
    /// The control table; [`DEFAULT_CONTROL_TABLE`] in the schema of the table when `None`.
    pub control_table: Option<&'a TableName>,
}

impl LoadIdentity<'_> {
    /// The name of a file below the directory.
    fn file_name<'f>(&self, file: &'f FileReceipt) -> &'f str {
        file.location.strip_prefix(&self.stage.to_string()).unwrap_or(&file.location)
    }
}

/// One load.
#[derive(Clone, Debug)]
pub struct LoadJob<'a> {
    /// Whose files.
    pub task: &'a TaskId,
    /// Number of the attempt, for the tags of statements.
    pub attempt: u32,
    /// What was asked for.
    pub request: &'a LoadRequest,
    /// The directory of the files.
    pub stage: &'a StageLocation,
    /// The files in it, in order.
    pub files: &'a [FileReceipt],
    /// The control table; [`DEFAULT_CONTROL_TABLE`] in the schema of the table when `None`.
    pub control_table: Option<&'a TableName>,
}

impl LoadJob<'_> {
    /// Which load it is.
    fn identity(&self) -> LoadIdentity<'_> {
        LoadIdentity {
            task: self.task,
            attempt: self.attempt,
            spec: &self.request.spec,
            stage: self.stage,
            control_table: self.control_table,
        }
    }

    /// The names of the files.
    fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|file| self.identity().file_name(file).to_owned()).collect()
    }

    /// Rows in all files.
    fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// Refuses what can never be loaded, without asking Snowflake: before a row is read.
pub fn check(request: &LoadRequest) -> Result<(), Fault> {
    table_name(&request.spec)?;
    let columns = request.schema.columns();
    table::new_columns(&request.schema)?;
    match request.spec.keys.iter().find(|key| !columns.iter().any(|column| column.name == **key)) {
        None => Ok(()),
        Some(key) => {
            let names: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
            let action = format!("merge by column `{key}`: the result has no such column");
            Err(Fault::new(FaultKind::Request, action)
                .remedy(format!("Correct `keys` of the load. Columns of the result: {}.", names.join(", "))))
        }
    }
}

fn table_name(spec: &LoadSpec) -> Result<TableName, Fault> {
    let text = &spec.table;
    TableName::parse(text)
        .map_err(|error| Fault::new(FaultKind::Request, format!("load into table `{text}`")).because(error))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::destination::FileLayout;
    use crate::schema::{Column, TableSchema};
    use crate::task::{Compression, FileFormat, LoadMode, LoadSpec};

    fn request(keys: &[&str], data_type: DataType) -> LoadRequest {
        let column =
            Column { name: "id".into(), source_type: "numeric(50,2)".into(), data_type, nullable: true };
        LoadRequest {
            spec: LoadSpec {
                table: "d.s.t".into(),
                mode: LoadMode::Merge,
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                create: true,
                evolve: true,
                purge: false,
            },
            schema: TableSchema::new(vec![column]).unwrap(),
            layout: FileLayout {
                format: FileFormat::Parquet,
                compression: Compression::Zstd,
                csv_delimiter: b',',
                csv_line_end: "\n".into(),
                csv_header: true,
            },
        }
    }

    #[test]
    fn what_can_never_be_loaded_is_refused_before_a_row_is_read() {
        assert!(check(&request(&["id"], DataType::Int64)).is_ok());
        let key = check(&request(&["ID"], DataType::Int64)).expect_err("names are matched exactly");
        assert!(key.chain().contains("`ID`") && key.hint().unwrap().contains("`id`"), "{}", key.chain());
        let wide = check(&request(&["id"], DataType::Decimal256(50, 2))).expect_err("too many digits");
        assert!(wide.chain().contains("numeric(50,2)"), "{}", wide.chain());
        let mut wrong = request(&["id"], DataType::Int64);
        wrong.spec.table = "a b".into();
        assert!(check(&wrong).expect_err("no name").chain().contains("`a b`"));
    }
}
