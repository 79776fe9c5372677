//! Loading files of a stage into a table, once for each task.

mod copy;
mod merge;
mod name;
mod table;
mod types;

pub use name::{InvalidTableName, QualifiedName, TableName};
