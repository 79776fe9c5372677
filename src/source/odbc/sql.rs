//! The SQL that is sent for an extraction: pure text, from parts that are quoted here.

use super::types::Described;
use crate::config::SqlDialect;
use crate::fault::{Fault, FaultKind};
use crate::source::read_only::{ReadOnlyQuery, parse_table_name, quote_identifier};

/// The name under which a query of the task is selected from.
const QUERY_NAME: &str = "query_of_the_task";

/// `name` as an identifier of this dialect.
pub(super) fn identifier(name: &str, dialect: SqlDialect) -> String {
    match dialect {
        SqlDialect::MySql => format!("`{}`", name.replace('`', "``")),
        SqlDialect::SqlServer => format!("[{}]", name.replace(']', "]]")),
        _ => quote_identifier(name),
    }
}

/// A table of a task as SQL. Words stay words, so that the server folds them as it does.
pub(super) fn table(text: &str, dialect: SqlDialect) -> Result<String, Fault> {
    let name = parse_table_name(text, dialect)?;
    if dialect != SqlDialect::MySql {
        return Ok(text.trim().to_owned());
    }
    let quoted = identifier(&name.name, dialect);
    Ok(match name.schema {
        Some(schema) => format!("{}.{quoted}", identifier(&schema, dialect)),
        None => quoted,
    })
}

/// What the rows of an extraction are selected from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A proven query.
    Query(ReadOnlyQuery),
    /// A table or view, as SQL.
    Table(String),
}

impl Base {
    /// All columns of all rows.
    pub(super) fn everything(&self) -> String {
        match self {
            Self::Query(query) => query.as_str().to_owned(),
            Self::Table(name) => format!("SELECT * FROM {name}"),
        }
    }

    /// `expressions` of the rows for which `condition` holds. The base is called `s`.
    pub(super) fn select(&self, expressions: &str, condition: Option<&str>, dialect: SqlDialect) -> String {
        let condition = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        let query = match self {
            Self::Table(name) => return format!("SELECT {expressions} FROM {name} s{condition}"),
            Self::Query(query) => query,
        };
        let (with, body) = query.parts();
        // Behind OFFSET an ORDER BY is allowed between parentheses; it changes no row.
        let offset = match dialect == SqlDialect::SqlServer && query.needs_offset() {
            true => " OFFSET 0 ROWS",
            false => "",
        };
        // Oracle has no AS before the name of a table.
        match with {
            Some(with) => format!(
                "{with}, {QUERY_NAME} AS ({body}{offset}\n) SELECT {expressions} FROM {QUERY_NAME} s{condition}"
            ),
            None => format!("SELECT {expressions} FROM ({body}{offset}\n) s{condition}"),
        }
    }
}

/// The columns that a task wants, as SQL; `None` when it wants all.
pub(super) fn chosen(
    all: &[Described],
    wanted: Option<&[String]>,
    dialect: SqlDialect,
) -> Result<Option<String>, Fault> {
    let Some(wanted) = wanted else { return Ok(None) };
    let mut names = Vec::new();
    for name in wanted {
        let position = position_of(all, name, "choose column")?;
        names.push(column(&all[position], dialect));
    }
    Ok(Some(names.join(", ")))
}

/// A column of the base.
pub(super) fn column(described: &Described, dialect: SqlDialect) -> String {
    format!("s.{}", identifier(&described.name, dialect))
}

/// The only column of the name: exactly so, or else without regard to case, because some servers
/// fold names and people do not.
pub(super) fn position_of(all: &[Described], name: &str, doing: &str) -> Result<usize, Fault> {
    let find = |is_it: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let positions = all.iter().enumerate().filter(|(_, column)| is_it(&column.name));
        positions.map(|(position, _)| position).collect()
    };
    let mut found = find(&|other| other == name);
    if found.is_empty() {
        found = find(&|other| other.eq_ignore_ascii_case(name));
    }
    match found.as_slice() {
        [position] => Ok(*position),
        [] => {
            let known: Vec<String> = all.iter().map(|column| format!("`{}`", column.name)).collect();
            let action = format!("{doing} `{name}`: the result has no such column");
            Err(Fault::new(FaultKind::Request, action).remedy(format!("Choose among {}.", known.join(", "))))
        }
        _ => {
            let action = format!("{doing} `{name}`: several columns have this name");
            Err(Fault::new(FaultKind::Request, action).remedy("Give each column a name of its own with AS."))
        }
    }
}

#[cfg(test)]
mod tests {
    use odbc_api::DataType;

    use super::*;
    use crate::source::read_only::check;

    fn base(sql: &str, dialect: SqlDialect) -> Base {
        Base::Query(check(sql, dialect).expect(sql))
    }

    fn described(names: &[&str]) -> Vec<Described> {
        let column = |name: &&str| Described {
            name: (*name).to_owned(),
            data_type: DataType::Integer,
            is_unsigned: false,
            display_size: None,
        };
        names.iter().map(column).collect()
    }

    #[test]
    fn names_are_quoted_as_the_server_reads_them() {
        assert_eq!(identifier("a\"b", SqlDialect::Oracle), "\"a\"\"b\"");
        assert_eq!(identifier("a`b", SqlDialect::MySql), "`a``b`");
        assert_eq!(identifier("a]b", SqlDialect::SqlServer), "[a]]b]");
    }

    #[test]
    fn words_of_table_names_are_left_to_the_server() {
        assert_eq!(table(" hr.Orders ", SqlDialect::Oracle).expect("a name"), "hr.Orders");
        assert_eq!(table("\"Order Items\"", SqlDialect::Db2).expect("a name"), "\"Order Items\"");
        assert_eq!(table("shop.orders", SqlDialect::MySql).expect("a name"), "`shop`.`orders`");
        for text in ["a; DROP TABLE b", "a b", "a.b.c.d", "(SELECT 1)"] {
            table(text, SqlDialect::Teradata).expect_err(text);
        }
    }

    #[test]
    fn a_query_between_parentheses_keeps_its_with() {
        let teradata = SqlDialect::Teradata;
        assert_eq!(
            base("SELECT a FROM t", teradata).select("s.\"a\"", Some("s.\"a\" > 1"), teradata),
            "SELECT s.\"a\" FROM (SELECT a FROM t\n) s WHERE s.\"a\" > 1"
        );
        assert_eq!(
            base("WITH x AS (SELECT 1 AS a FROM dual) SELECT a FROM x", SqlDialect::Oracle).select(
                "s.*",
                None,
                SqlDialect::Oracle
            ),
            "WITH x AS (SELECT 1 AS a FROM dual), query_of_the_task AS ( SELECT a FROM x\n) SELECT s.* FROM query_of_the_task s"
        );
        let sqlserver = SqlDialect::SqlServer;
        assert_eq!(
            base("SELECT a FROM t ORDER BY a", sqlserver).select("s.[a]", None, sqlserver),
            "SELECT s.[a] FROM (SELECT a FROM t ORDER BY a OFFSET 0 ROWS\n) s"
        );
    }

    #[test]
    fn a_column_is_found_exactly_or_else_in_any_case() {
        let columns = described(&["ID", "name", "NAME"]);
        assert_eq!(position_of(&columns, "id", "choose column").ok(), Some(0));
        assert_eq!(position_of(&columns, "name", "choose column").ok(), Some(1));
        for name in ["Name", "x"] {
            let fault = position_of(&columns, name, "choose column").expect_err(name);
            assert_eq!(fault.kind(), FaultKind::Request);
            assert!(fault.hint().is_some());
        }
    }
}
