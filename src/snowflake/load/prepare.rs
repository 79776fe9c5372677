//! What a load needs before its transaction: the table as it must be, and the staging table.

use super::copy;
use super::merge;
use super::name::QualifiedName;
use super::run::{Change, Failure, Load, Write, count};
use super::table::{self, Mapping, TableColumn};
use super::types::{ColumnType, Conversion};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::{Error, Statement};
use crate::task::LoadMode;

impl Load<'_> {
    /// Makes the table and changes it, as far as the task allows, and says how columns meet.
    pub(super) async fn prepare_table(&self, name: &QualifiedName) -> Result<Mapping, Failure> {
        let request = self.job.request;
        let spec = &request.spec;
        let columns = match self.describe(name).await {
            Ok(columns) => columns,
            Err(error) if error.is_missing_object() && spec.create => {
                let sql = table::create_sql(name, &table::new_columns(&request.schema)?);
                self.execute(Statement::new(sql), || format!("create table {name}")).await?;
                // Somebody else may have made another one.
                self.described(name).await?
            }
            Err(error) if error.is_missing_object() => {
                let fault = Fault::from(error).while_doing(format!("load into table {name}"));
                return Err(Failure::Refused(fault.remedy(
                    "Create the table and grant SELECT and INSERT on it, or set `create` of the load.",
                )));
            }
            Err(error) => return Err(Failure::of(error, format!("describe table {name}"))),
        };
        let mut mapping = table::map(&request.schema, name, &columns, spec.evolve)?;
        if !mapping.changes.is_empty() {
            for change in &mapping.changes {
                self.execute(Statement::new(change.sql(name)), || format!("change table {name}")).await?;
            }
            // What is there now counts, not what was asked for.
            mapping = table::map(&request.schema, name, &self.described(name).await?, false)?;
        }
        let converted_key = mapping
            .pairs
            .iter()
            .find(|pair| pair.conversion != Conversion::Direct && spec.keys.contains(&pair.source));
        if let Some(pair) = converted_key {
            let action =
                format!("merge into table {name}: its column `{}` has no values to compare", pair.table);
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Choose other `keys`: JSON is no key.")
                .into());
        }
        Ok(mapping)
    }

    async fn described(&self, name: &QualifiedName) -> Result<Vec<TableColumn>, Failure> {
        let described = self.describe(name).await;
        described.map_err(|error| Failure::of(error, format!("describe table {name}")))
    }

    async fn describe(&self, name: &QualifiedName) -> Result<Vec<TableColumn>, Error> {
        let described = self.try_execute(Statement::new(format!("DESCRIBE TABLE {name}"))).await?;
        let column = |row| {
            // Columns that are computed take no values.
            let is_stored = described.value(row, "kind").is_none_or(|kind| kind == "COLUMN");
            let name = described.value(row, "name").filter(|_name| is_stored)?;
            Some(TableColumn {
                name: name.to_owned(),
                column_type: ColumnType::parse(described.value(row, "type").unwrap_or_default()),
                nullable: described.value(row, "null?") != Some("N"),
            })
        };
        Ok(described.rows.iter().filter_map(column).collect())
    }

    /// Everything before the transaction that the transaction needs.
    pub(super) async fn prepare_change(
        &self,
        name: &QualifiedName,
        mapping: &Mapping,
    ) -> Result<Change, Failure> {
        let job = self.job;
        let (spec, layout) = (&job.request.spec, &job.request.layout);
        let delete = match spec.mode {
            // Not TRUNCATE, which also makes Snowflake forget the files it has loaded.
            LoadMode::Replace => Some(format!("DELETE FROM {name}")),
            LoadMode::Append | LoadMode::Merge => None,
        };
        if spec.mode != LoadMode::Merge && mapping.is_direct() {
            let statements = copy::statements(name, &mapping.pairs, job.stage, &job.file_names(), layout);
            return Ok(Change { delete, write: Write::Copy(statements) });
        }
        let staging = name.sibling(format!("DATA_EXCHANGE_AGENT_STAGING_{}", uuid::Uuid::new_v4().simple()));
        let create = Statement::new(table::create_staging_sql(&staging, &mapping.pairs));
        self.execute(create, || format!("create a staging table for {name}")).await?;
        let statements = copy::statements(&staging, &mapping.pairs, job.stage, &job.file_names(), layout);
        self.copy(&staging, &statements).await?;
        let sql = match spec.mode {
            LoadMode::Append | LoadMode::Replace => merge::insert_sql(name, &staging, &mapping.pairs),
            LoadMode::Merge => {
                self.check_keys(name, &staging, mapping).await?;
                merge::merge_sql(name, &staging, &mapping.pairs, &spec.keys)
            }
        };
        Ok(Change { delete, write: Write::Staged(sql) })
    }

    async fn check_keys(
        &self,
        name: &QualifiedName,
        staging: &QualifiedName,
        mapping: &Mapping,
    ) -> Result<(), Failure> {
        let keys = &self.job.request.spec.keys;
        let action = || format!("count the keys of the rows for table {name}");
        let counted =
            self.execute(Statement::new(merge::keys_sql(staging, &mapping.pairs, keys)), action).await?;
        let (nulls, doubles) = (count(&counted, "NULL_KEYS"), count(&counted, "DOUBLE_KEYS"));
        if nulls == 0 && doubles == 0 {
            return Ok(());
        }
        let list = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let action = format!("merge into table {name} by {list}");
        Err(Fault::new(FaultKind::Data, action)
            .because(format!("{nulls} rows have NULL in a key, and {doubles} keys have several rows"))
            .remedy("Leave one row for each key in the task's query (GROUP BY, DISTINCT ON), and none without one.")
            .into())
    }
}
