//! x
use crate::fault::Fault;
/// d
#[derive(Clone, Copy)]
pub enum SqlDialect {
    /// d
    PostgreSql,
}
/// d
pub struct ReadOnlyQuery(String);
impl ReadOnlyQuery {
    /// d
    pub fn embeddable(&self) -> &str {
        &self.0
    }
}
/// d
pub fn check(sql: &str, _d: SqlDialect) -> Result<ReadOnlyQuery, Fault> {
    Ok(ReadOnlyQuery(sql.to_owned()))
}
/// d
pub struct TableName {
    /// d
    pub schema: Option<String>,
    /// d
    pub name: String,
}
/// d
pub fn parse_table_name(t: &str, _d: SqlDialect) -> Result<TableName, Fault> {
    Ok(TableName { schema: None, name: t.to_owned() })
}
