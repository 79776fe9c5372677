//! The table: what it has, what the result needs, and what lies between.

use super::name::{QualifiedName, column_identifier, quote_identifier, same_ignoring_case};
use super::types::{ColumnType, Conversion, Fit};
use crate::fault::{Fault, FaultKind};
use crate::schema::TableSchema;

/// One column of a table, as `DESCRIBE TABLE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableColumn {
    /// The name, exactly.
    pub(super) name: String,
    /// The type.
    pub(super) column_type: ColumnType,
    /// Whether it takes NULL.
    pub(super) nullable: bool,
}

/// A column of the result and its column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The name in the result, and in its files.
    pub(super) source: String,
    /// The name in the table.
    pub(super) table: String,
    /// The type that the values of the file have.
    pub(super) column_type: ColumnType,
    /// How they become values of the column.
    pub(super) conversion: Conversion,
}

/// A change of a table that loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A column that the table does not have.
    Add(TableColumn),
    /// A column that is too narrow, with its new type.
    Widen(String, ColumnType),
}

impl Change {
    /// The statement. Safe to repeat, and safe beside another one that does the same.
    #[must_use]
    pub(super) fn sql(&self, table: &QualifiedName) -> String {
        match self {
            Self::Add(column) => format!(
                "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {}",
                quote_identifier(&column.name),
                column.column_type
            ),
            Self::Widen(name, column_type) => format!(
                "ALTER TABLE {table} ALTER COLUMN {} SET DATA TYPE {column_type}",
                quote_identifier(name)
            ),
        }
    }
}

/// How a result is loaded into a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Every column of the result, in its order.
    pub(super) pairs: Vec<Pair>,
    /// What has to change in the table first; empty without `evolve`.
    pub(super) changes: Vec<Change>,
}

impl Mapping {
    /// Whether COPY can write into the table itself: it converts nothing.
    #[must_use]
    pub(super) fn is_direct(&self) -> bool {
        self.pairs.iter().all(|pair| pair.conversion == Conversion::Direct)
    }
}

/// The columns of a table made for `schema`. Refuses a schema that no table can have: Snowflake
/// finds the columns of a file without looking at case, so two names must differ in more.
pub(super) fn new_columns(schema: &TableSchema) -> Result<Vec<TableColumn>, Fault> {
    let mut columns: Vec<TableColumn> = Vec::with_capacity(schema.columns().len());
    for column in schema.columns() {
        let name = column_identifier(&column.name);
        if let Some(other) = columns.iter().find(|other| same_ignoring_case(&other.name, &name)) {
            let action =
                format!("load columns `{}` and `{}`: they differ in case only", other.name, column.name);
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Give one of them another name with AS in the task's query."));
        }
        if name.is_empty() || name.chars().count() > 255 || name.contains('\0') {
            let action = "load a column whose name has not 1 to 255 characters";
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Give it another name with AS in the task's query."));
        }
        let column_type = ColumnType::of(column)?.for_new_column();
        columns.push(TableColumn { name, column_type, nullable: true });
    }
    Ok(columns)
}

/// `CREATE TABLE IF NOT EXISTS`. NOT NULL is not carried over: the next task may read the same
/// columns from a query, where nothing is known to be NOT NULL.
#[must_use]
pub(super) fn create_sql(table: &QualifiedName, columns: &[TableColumn]) -> String {
    format!("CREATE TABLE IF NOT EXISTS {table} ({})", definitions(columns))
}

/// The staging table of one attempt: it ends with the session.
#[must_use]
pub(super) fn create_staging_sql(table: &QualifiedName, pairs: &[Pair]) -> String {
    let columns: Vec<TableColumn> = pairs
        .iter()
        .map(|pair| TableColumn {
            name: pair.table.clone(),
            column_type: pair.column_type.for_new_column(),
            nullable: true,
        })
        .collect();
    format!("CREATE TEMPORARY TABLE {table} ({})", definitions(&columns))
}

fn definitions(columns: &[TableColumn]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", quote_identifier(&column.name), column.column_type))
        .collect();
    columns.join(", ")
}

/// Compares a result with the table it is loaded into.
pub(super) fn map(
    schema: &TableSchema,
    table_name: &QualifiedName,
    table: &[TableColumn],
    evolve: bool,
) -> Result<Mapping, Fault> {
    let refuse = |what: String, remedy: &'static str| {
        Fault::new(FaultKind::Request, format!("load into table {table_name}: {what}")).remedy(remedy)
    };
    let wanted = new_columns(schema)?;
    let mut mapping = Mapping { pairs: Vec::new(), changes: Vec::new() };
    for (column, new) in schema.columns().iter().zip(wanted) {
        let column_type = ColumnType::of(column)?;
        let mut found = table.iter().filter(|other| same_ignoring_case(&other.name, &column.name));
        let conversion = match (found.next(), found.next()) {
            (Some(first), Some(second)) => {
                return Err(refuse(
                    format!("its columns `{}` and `{}` differ in case only", first.name, second.name),
                    "Rename one of them: columns are found without looking at case.",
                ));
            }
            (Some(has), None) => match column_type.fit(&has.column_type, &column.source_type) {
                Fit::Fits(conversion) => Some((has.name.clone(), conversion)),
                Fit::Widen(to) => {
                    // Without `evolve` Snowflake refuses the values that are too long, if there are
                    // any; most tables that are narrower were made so on purpose.
                    if evolve {
                        mapping.changes.push(Change::Widen(has.name.clone(), to));
                    }
                    Some((has.name.clone(), Conversion::Direct))
                }
                Fit::Never(remedy) => {
                    let (name, source_type) = (&column.name, &column.source_type);
                    let what = format!(
                        "column `{name}` of type {source_type} does not fit into {}",
                        has.column_type
                    );
                    return Err(refuse(what, remedy));
                }
            },
            (None, _) => None,
        };
        let (table_column, conversion) = match conversion {
            Some(found) => found,
            None if evolve => {
                let name = new.name.clone();
                mapping.changes.push(Change::Add(new));
                (name, Conversion::Direct)
            }
            None => {
                return Err(refuse(
                    format!("it has no column `{}`", column.name),
                    "Add the column, set `evolve` in the task, or leave the column out of the query.",
                ));
            }
        };
        mapping.pairs.push(Pair {
            source: column.name.clone(),
            table: table_column,
            column_type,
            conversion,
        });
    }
    let missing =
        table.iter().find(|has| !has.nullable && !mapping.pairs.iter().any(|pair| pair.table == has.name));
    match missing {
        Some(column) => Err(refuse(
            format!("its column `{}` is NOT NULL, and the result has no such column", column.name),
            "Add the column to the query, or let the table's column be NULL.",
        )),
        None => Ok(mapping),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::schema::Column;

    fn schema(columns: &[(&str, DataType, &str)]) -> TableSchema {
        let column = |(name, data_type, source_type): &(&str, DataType, &str)| Column {
            name: (*name).into(),
            source_type: (*source_type).into(),
            data_type: data_type.clone(),
            nullable: false,
        };
        TableSchema::new(columns.iter().map(column).collect()).unwrap()
    }

    fn table(columns: &[(&str, &str)]) -> Vec<TableColumn> {
        let column = |(name, text): &(&str, &str)| {
            let (text, nullable) = match text.strip_suffix(" NOT NULL") {
                Some(text) => (text, false),
                None => (*text, true),
            };
            TableColumn { name: (*name).into(), column_type: ColumnType::parse(text), nullable }
        };
        columns.iter().map(column).collect()
    }

    fn orders() -> TableSchema {
        schema(&[
            ("id", DataType::Int64, "bigint"),
            ("Total", DataType::Decimal64(15, 2), "numeric(15,2)"),
            ("ship to", DataType::Utf8, "character varying(40)"),
        ])
    }

    fn name() -> QualifiedName {
        QualifiedName { database: "D".into(), schema: "s".into(), table: "a\"b".into() }
    }

    fn changes(schema: &TableSchema, has: &[(&str, &str)]) -> Vec<String> {
        let mapping = map(schema, &name(), &table(has), true).unwrap();
        mapping.changes.iter().map(|change| change.sql(&name())).collect()
    }

    fn refusal(schema: &TableSchema, has: &[(&str, &str)], evolve: bool) -> String {
        let fault = map(schema, &name(), &table(has), evolve).expect_err("refused");
        assert_eq!(fault.kind(), FaultKind::Request);
        assert!(fault.hint().is_some(), "{fault}");
        fault.chain()
    }

    #[test]
    fn a_table_is_created_with_the_columns_of_the_result() {
        assert_eq!(
            create_sql(&name(), &new_columns(&orders()).unwrap()),
            "CREATE TABLE IF NOT EXISTS \"D\".\"s\".\"a\"\"b\" \
             (\"ID\" NUMBER(38,0), \"TOTAL\" NUMBER(15,2), \"ship to\" VARCHAR)"
        );
    }

    #[test]
    fn a_table_that_was_created_for_a_result_takes_it_without_a_change() {
        let columns = new_columns(&orders()).unwrap();
        let mapping = map(&orders(), &name(), &columns, true).unwrap();
        assert_eq!(mapping.changes, []);
        assert!(mapping.is_direct());
        let names: Vec<&str> = mapping.pairs.iter().map(|pair| pair.table.as_str()).collect();
        assert_eq!(names, ["ID", "TOTAL", "ship to"]);
    }

    #[test]
    fn columns_are_added_and_widened_when_the_table_may_change() {
        let has = [("ID", "NUMBER(10,0)"), ("total", "NUMBER(10,4)"), ("SHIP TO", "VARCHAR(20)")];
        assert_eq!(
            changes(&orders(), &has),
            [
                "ALTER TABLE \"D\".\"s\".\"a\"\"b\" ALTER COLUMN \"ID\" SET DATA TYPE NUMBER(19,0)",
                "ALTER TABLE \"D\".\"s\".\"a\"\"b\" ALTER COLUMN \"total\" SET DATA TYPE NUMBER(17,4)",
                "ALTER TABLE \"D\".\"s\".\"a\"\"b\" ALTER COLUMN \"SHIP TO\" SET DATA TYPE VARCHAR(40)",
            ]
        );
        assert_eq!(
            changes(&orders(), &[("ID", "NUMBER(38,0)"), ("TOTAL", "NUMBER(38,2)")]),
            ["ALTER TABLE \"D\".\"s\".\"a\"\"b\" ADD COLUMN IF NOT EXISTS \"ship to\" VARCHAR"]
        );
    }

    #[test]
    fn a_table_that_may_not_change_is_refused_where_a_column_is_missing_only() {
        let narrow = [("ID", "NUMBER(5,0)"), ("TOTAL", "NUMBER(10,2)"), ("ship to", "VARCHAR(4)")];
        assert_eq!(map(&orders(), &name(), &table(&narrow), false).unwrap().changes, []);
        assert!(refusal(&orders(), &narrow[..2], false).ends_with("it has no column `ship to`"));
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_the_column_and_a_remedy() {
        let one = |data_type, source_type| schema(&[("id", data_type, source_type)]);
        let text = one(DataType::Utf8, "text");
        assert!(
            refusal(&text, &[("ID", "NUMBER(38,0)")], true)
                .contains("`id` of type text does not fit into NUMBER(38,0)")
        );
        assert!(
            refusal(&text, &[("ID", "VARCHAR"), ("id", "VARCHAR")], true)
                .contains("`ID` and `id` differ in case")
        );
        assert!(
            refusal(&text, &[("ID", "VARCHAR"), ("X", "DATE NOT NULL")], true).contains("`X` is NOT NULL")
        );
        let twins = schema(&[("id", DataType::Utf8, "text"), ("ID", DataType::Utf8, "text")]);
        assert!(refusal(&twins, &[("ID", "VARCHAR")], true).contains("differ in case only"));
    }

    #[test]
    fn json_for_a_variant_needs_a_staging_table_with_texts() {
        let documents = schema(&[("id", DataType::Int32, "integer"), ("body", DataType::Utf8, "jsonb")]);
        let has = table(&[("ID", "NUMBER(38,0)"), ("BODY", "VARIANT")]);
        let mapping = map(&documents, &name(), &has, false).unwrap();
        assert!(!mapping.is_direct());
        assert_eq!(
            create_staging_sql(&name().sibling("S"), &mapping.pairs),
            "CREATE TEMPORARY TABLE \"D\".\"s\".\"S\" (\"ID\" NUMBER(38,0), \"BODY\" VARCHAR)"
        );
    }
}
