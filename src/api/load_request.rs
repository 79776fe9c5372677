//! `load` of a destination: the table that files of a stage are loaded into.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Findings, Object, boolean, choice, expected, line};
use crate::snowflake::load::TableName;
use crate::task::{LoadMode, LoadSpec};

/// Characters of a table's name: three identifiers of 255 characters, with quotes and dots.
const MAX_TABLE_NAME: usize = 800;
/// Characters of a column's name.
const MAX_NAME: usize = 255;
/// Columns that name a row.
const MAX_KEYS: usize = 64;

const FIELDS: [&str; 6] = ["table", "mode", "keys", "create", "evolve", "purge"];

/// A table of Snowflake that the files are loaded into, once for each task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TableLoadRequest {
    /// `table`, `schema.table` or `database.schema.table`; a part that is not a word needs double
    /// quotes. Words are folded to upper case, as in SQL. What is left out is that of the connection.
    #[schema(max_length = 800)]
    pub table: String,
    /// What becomes of the rows that the table has: they stay, they go, or those with the keys of a
    /// new row are updated.
    #[schema(required = false)]
    pub mode: LoadMode,
    /// Columns of the result whose values name a row: for `merge` only, and needed there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 64)]
    pub keys: Vec<String>,
    /// Make the table when it is missing.
    #[schema(required = false, default = true)]
    pub create: bool,
    /// Add columns that are missing, and widen those that are too narrow.
    #[schema(required = false, default = true)]
    pub evolve: bool,
    /// Remove the files from the stage after the load.
    #[schema(required = false, default = false)]
    pub purge: bool,
}

impl TableLoadRequest {
    /// Reads a load. `None` when something is wrong; `findings` then has it.
    pub(super) fn read(value: &Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let object = Object::open(value, pointer, &FIELDS, findings)?;
        let what = "the name of a table, such as `sales.public.orders`";
        let table = object.required("table", what, findings, table);
        let modes = [LoadMode::Append, LoadMode::Replace, LoadMode::Merge].map(|mode| (mode.as_str(), mode));
        let mode = object.optional("mode", findings, choice(&modes)).unwrap_or_default();
        let keys = match object.get("keys") {
            Some(value) => keys(value, &object.pointer_to("keys"), findings),
            None => Vec::new(),
        };
        let has_keys =
            object.get("keys").is_some_and(|keys| keys.as_array().is_none_or(|keys| !keys.is_empty()));
        match (mode, has_keys) {
            (LoadMode::Merge, false) => {
                let detail = "missing: `merge` needs the columns whose values name a row";
                findings.add(object.pointer_to("keys"), detail);
            }
            (LoadMode::Append | LoadMode::Replace, true) => {
                findings.add(object.pointer_to("keys"), "only `merge` looks at keys");
            }
            (LoadMode::Merge, true) | (LoadMode::Append | LoadMode::Replace, false) => {}
        }
        let mut flag = |name: &str, default| object.optional(name, findings, boolean).unwrap_or(default);
        let (create, evolve, purge) = (flag("create", true), flag("evolve", true), flag("purge", false));
        Some(Self { table: table?, mode, keys, create, evolve, purge })
    }
}

impl From<TableLoadRequest> for LoadSpec {
    fn from(request: TableLoadRequest) -> Self {
        let TableLoadRequest { table, mode, keys, create, evolve, purge } = request;
        Self { table, mode, keys, create, evolve, purge }
    }
}

impl From<LoadSpec> for TableLoadRequest {
    fn from(spec: LoadSpec) -> Self {
        let LoadSpec { table, mode, keys, create, evolve, purge } = spec;
        Self { table, mode, keys, create, evolve, purge }
    }
}

fn table(value: &Value) -> Result<String, String> {
    let name = line(MAX_TABLE_NAME)(value)?;
    TableName::parse(&name).map_err(|invalid| invalid.to_string())?;
    Ok(name)
}

fn keys(value: &Value, pointer: &str, findings: &mut Findings) -> Vec<String> {
    let Value::Array(values) = value else {
        findings.add(pointer.to_owned(), expected("an array of column names", value));
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::with_capacity(values.len());
    if values.len() > MAX_KEYS {
        findings.add(pointer.to_owned(), format!("expected 1 to {MAX_KEYS} column names"));
        return names;
    }
    for (index, value) in values.iter().enumerate() {
        match line(MAX_NAME)(value) {
            Ok(name) if names.contains(&name) => {
                findings.add(format!("{pointer}/{index}"), "the same column is there twice");
            }
            Ok(name) => names.push(name),
            Err(detail) => findings.add(format!("{pointer}/{index}"), detail),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<TableLoadRequest, Value> {
        let mut findings = Findings::default();
        let request = TableLoadRequest::read(&value, "/load", &mut findings);
        match findings.into_pairs().as_slice() {
            [] => Ok(request.expect("nothing was found to be wrong")),
            pairs => Err(json!(pairs)),
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let request = read(json!({"table": "sales.public.\"Orders\""})).unwrap();
        assert_eq!(
            LoadSpec::from(request),
            LoadSpec {
                table: "sales.public.\"Orders\"".into(),
                mode: LoadMode::Append,
                keys: Vec::new(),
                create: true,
                evolve: true,
                purge: false,
            }
        );
    }

    #[test]
    fn a_shown_load_is_the_same_load_again() {
        let full = json!({"table": "T", "mode": "merge", "keys": ["id", "Näme"], "create": false,
            "evolve": false, "purge": true});
        let request = read(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), full);
        assert_eq!(TableLoadRequest::from(LoadSpec::from(request.clone())), request);
    }

    #[test]
    fn everything_that_is_wrong_is_named_with_its_place() {
        for (value, pointer, detail) in [
            (json!({}), "/load/table", "missing"),
            (json!({"table": "a..b"}), "/load/table", "double quotes"),
            (json!({"table": "t; DROP TABLE u"}), "/load/table", "double quotes"),
            (json!({"table": 1}), "/load/table", "expected a string"),
            (json!({"table": "t", "mode": "upsert"}), "/load/mode", "`merge`"),
            (json!({"table": "t", "mode": "merge"}), "/load/keys", "`merge` needs"),
            (json!({"table": "t", "mode": "merge", "keys": "id"}), "/load/keys", "an array"),
            (json!({"table": "t", "mode": "merge", "keys": ["id", "id"]}), "/load/keys/1", "twice"),
            (json!({"table": "t", "mode": "merge", "keys": [""]}), "/load/keys/0", "empty"),
            (json!({"table": "t", "keys": ["id"]}), "/load/keys", "only `merge`"),
            (json!({"table": "t", "create": "yes"}), "/load/create", "expected `true` or `false`"),
            (json!({"table": "t", "overwrite": true}), "/load/overwrite", "unknown field"),
        ] {
            let problem = read(value.clone()).expect_err("wrong");
            assert_eq!(problem[0][0], pointer, "{value}: {problem}");
            assert!(problem[0][1].as_str().unwrap().contains(detail), "{value}: {problem}");
        }
        let empty = read(json!({"table": "t", "mode": "merge", "keys": []})).expect_err("wrong");
        assert_eq!(empty[0][0], "/load/keys");
    }
}
