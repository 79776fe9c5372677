//! The control table: which task was loaded into which table. Its rows are what makes a load happen
//! once.
//!
//! A row is opened before the load, outside its transaction, and claimed by the last statement before
//! the commit: `UPDATE ... WHERE STATE = 'OPEN'`. Updates of one row wait for each other, so of two
//! attempts that load at the same time one finds nothing left to claim, and rolls back. Because the
//! claim comes last, it is held for the length of a commit only, and loads into other tables do not
//! wait for each other.

use super::name::{QualifiedName, string_literal};
use crate::snowflake::Statement;
use crate::task::{FileReceipt, LoadMode, TaskId};

/// Name of the control table, in the schema of the table that is loaded, unless configured.
pub const DEFAULT_NAME: &str = "DATA_EXCHANGE_AGENT_LOADS";

/// One task's load into one table.
#[derive(Clone, Debug)]
pub(super) struct LoadKey<'a> {
    /// The control table.
    pub(super) control: &'a QualifiedName,
    /// Whose load.
    pub(super) task: &'a TaskId,
    /// Into which table.
    pub(super) table: &'a QualifiedName,
}

/// What a load did, as its row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows in the files.
    pub(super) loaded: u64,
    /// Rows that the table got.
    pub(super) inserted: u64,
    /// Rows that were changed.
    pub(super) updated: u64,
    /// Rows that were removed.
    pub(super) deleted: u64,
}

/// Makes the control table. `docs/snowflake/setup.sql` has the same.
pub(super) fn create_sql(control: &QualifiedName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {control} (\
         TASK_ID VARCHAR NOT NULL, TARGET_TABLE VARCHAR NOT NULL, STATE VARCHAR NOT NULL, \
         MODE VARCHAR NOT NULL, STAGE VARCHAR NOT NULL, FILES NUMBER(38,0) NOT NULL, \
         ROWS_LOADED NUMBER(38,0), ROWS_INSERTED NUMBER(38,0), ROWS_UPDATED NUMBER(38,0), \
         ROWS_DELETED NUMBER(38,0), RECEIPT VARCHAR, AGENT_VERSION VARCHAR, OPENED_AT TIMESTAMP_LTZ, LOADED_AT TIMESTAMP_LTZ) \
         COMMENT = {}",
        string_literal("Loads of the data exchange agent: one row for each task and table")
    )
}

impl LoadKey<'_> {
    /// Reads the row of a load that is done; no row when there is none.
    pub(super) fn find(&self) -> Statement {
        Statement::new(format!(
            "SELECT MODE, STAGE, ROWS_LOADED, ROWS_INSERTED, ROWS_UPDATED, ROWS_DELETED, RECEIPT FROM {} \
             WHERE TASK_ID = ? AND TARGET_TABLE = ? AND STATE = 'LOADED'",
            self.control
        ))
        .bind(self.task.as_str())
        .bind(self.table.to_string())
    }

    /// Opens the row, unless there is one. Two attempts at the same time may open two; they are
    /// claimed together.
    pub(super) fn open(&self, mode: LoadMode, stage: &str, files: usize) -> Statement {
        Statement::new(format!(
            "INSERT INTO {control} (TASK_ID, TARGET_TABLE, STATE, MODE, STAGE, FILES, AGENT_VERSION, OPENED_AT) \
             SELECT ?, ?, 'OPEN', ?, ?, ?, ?, CURRENT_TIMESTAMP() FROM (SELECT 1 AS ONE) AS one \
             WHERE NOT EXISTS (SELECT 1 FROM {control} WHERE TASK_ID = ? AND TARGET_TABLE = ?)",
            control = self.control
        ))
        .bind(self.task.as_str())
        .bind(self.table.to_string())
        .bind(mode.as_str())
        .bind(stage)
        .bind(i64::try_from(files).unwrap_or(i64::MAX))
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(self.task.as_str())
        .bind(self.table.to_string())
    }

    /// Claims the row, in the transaction of the load. No row updated: another attempt has loaded.
    /// The files go with it, so that a repeated attempt can tell them without writing them again.
    pub(super) fn claim(
        &self,
        mode: LoadMode,
        stage: &str,
        files: &[FileReceipt],
        counts: Counts,
    ) -> Statement {
        let receipt = serde_json::to_string(files).expect("receipts are made of texts and numbers");
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Statement::new(format!(
            "UPDATE {control} SET STATE = 'LOADED', MODE = ?, STAGE = ?, FILES = ?, ROWS_LOADED = ?, \
             ROWS_INSERTED = ?, ROWS_UPDATED = ?, ROWS_DELETED = ?, RECEIPT = ?, AGENT_VERSION = ?, \
             LOADED_AT = CURRENT_TIMESTAMP() \
             WHERE TASK_ID = ? AND TARGET_TABLE = ? AND STATE = 'OPEN' \
             AND NOT EXISTS (SELECT 1 FROM {control} AS done WHERE done.TASK_ID = ? \
             AND done.TARGET_TABLE = ? AND done.STATE = 'LOADED')",
            control = self.control
        ))
        .bind(mode.as_str())
        .bind(stage)
        .bind(i64::try_from(files.len()).unwrap_or(i64::MAX))
        .bind(number(counts.loaded))
        .bind(number(counts.inserted))
        .bind(number(counts.updated))
        .bind(number(counts.deleted))
        .bind(receipt)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(self.task.as_str())
        .bind(self.table.to_string())
        .bind(self.task.as_str())
        .bind(self.table.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_table_is_the_one_of_the_setup() {
        let setup = include_str!("../../../docs/snowflake/setup.sql");
        let (_, rest) = setup.split_once(&format!("CREATE TABLE IF NOT EXISTS {DEFAULT_NAME} (\n")).unwrap();
        let (documented, _) = rest.split_once("\n) COMMENT").unwrap();
        let column =
            |line: &str| line.split(" COMMENT '").next().unwrap().trim().trim_end_matches(',').to_owned();
        let documented: Vec<String> = documented.lines().map(column).collect();
        let name = QualifiedName { database: "D".into(), schema: "S".into(), table: DEFAULT_NAME.into() };
        let made = create_sql(&name);
        let (_, rest) = made.split_once(" (").unwrap();
        let (made, _) = rest.split_once(") COMMENT").unwrap();
        assert_eq!(made.split(", ").collect::<Vec<_>>(), documented);
        assert!(documented.len() > 10, "{documented:?}");
        let grant =
            format!("GRANT SELECT, INSERT, UPDATE ON TABLE {DEFAULT_NAME} TO ROLE DATA_EXCHANGE_AGENT;");
        assert!(setup.contains(&grant));
        let teardown = include_str!("../../../docs/snowflake/teardown.sql");
        assert!(teardown.contains(&format!("DROP TABLE IF EXISTS {DEFAULT_NAME};")));
    }
}
