//! Columns of a result: their names, their types in the source, and the Arrow types they become.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::fault::{Fault, FaultKind};

/// Key of the Parquet and Arrow metadata entry that keeps a column's type in the source.
pub const SOURCE_TYPE_KEY: &str = "source_type";

/// One column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name, as the source gives it.
    pub name: String,
    /// The type in the source's own words, for example `numeric(15,2)`.
    pub source_type: String,
    /// The type of the decoded column.
    pub data_type: DataType,
    /// False only when the source guarantees it.
    pub nullable: bool,
}

/// The columns of a result, in order. Names are unique.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    columns: Vec<Column>,
    arrow: SchemaRef,
}

impl TableSchema {
    /// Checks that there is a column and that no two share a name: readers of Parquet find
    /// columns by name, and one of two equal ones would be lost.
    pub fn new(columns: Vec<Column>) -> Result<Self, Fault> {
        if columns.is_empty() {
            return Err(Fault::new(FaultKind::Request, "describe the result: it has no columns")
                .remedy("Select at least one column."));
        }
        let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let action = format!("describe the result: two columns have the name `{}`", pair[0]);
            return Err(
                Fault::new(FaultKind::Request, action).remedy("Give one of them another name with AS.")
            );
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| {
                Field::new(&column.name, column.data_type.clone(), column.nullable)
                    .with_metadata([(SOURCE_TYPE_KEY.to_owned(), column.source_type.clone())])
            })
            .collect();
        let arrow = Arc::new(Schema::new(fields));
        Ok(Self { columns, arrow })
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The same columns, of which every one is a text.
    #[must_use]
    pub fn as_texts(&self) -> Self {
        let texts = self.columns.iter().cloned().map(|column| Column { data_type: DataType::Utf8, ..column });
        Self::new(texts.collect()).expect("the names are those of a schema")
    }

    /// The same as an Arrow schema, with [`SOURCE_TYPE_KEY`] on each field.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Column {
        Column { name: name.into(), source_type: "int4".into(), data_type: DataType::Int32, nullable: true }
    }

    #[test]
    fn two_columns_of_one_name_are_refused_with_a_remedy() {
        let fault = TableSchema::new(vec![column("id"), column("x"), column("id")]).expect_err("ambiguous");
        assert!(fault.to_string().contains("`id`"), "{fault}");
        assert_eq!(fault.kind(), FaultKind::Request);
    }

    #[test]
    fn the_arrow_schema_keeps_the_source_type() {
        let schema = TableSchema::new(vec![column("id")]).expect("one column");
        assert_eq!(schema.arrow().field(0).metadata()[SOURCE_TYPE_KEY], "int4");
    }
}
