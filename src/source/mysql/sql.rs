//! The SQL that is sent for an extraction: pure text, from parts that are quoted here.

use super::types::ColumnDescription;
use crate::fault::{Fault, FaultKind};

/// Modes that change where literals and names end, or bring such modes with them. The session runs
/// without them, so that a text means to the server what the check of it has read.
const READING_MODES: &[&str] = &[
    "ANSI",
    "ANSI_QUOTES",
    "DB2",
    "IGNORE_SPACE",
    "MAXDB",
    "MSSQL",
    "NO_BACKSLASH_ESCAPES",
    "ORACLE",
    "POSTGRESQL",
];

/// `name` in backticks.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `text` as a literal, with escapes as the session reads them.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The modes of a server that the session keeps.
pub(super) fn kept_modes(server: &str) -> String {
    let modes: Vec<&str> = server.split(',').filter(|mode| !READING_MODES.contains(mode)).collect();
    modes.join(",")
}

/// The columns that a task wants, in its order; all when it does not say.
pub(super) fn choose(
    all: &[ColumnDescription],
    wanted: Option<&[String]>,
) -> Result<Vec<ColumnDescription>, Fault> {
    let Some(wanted) = wanted else { return Ok(all.to_vec()) };
    wanted.iter().map(|name| find(all, name, &format!("choose column `{name}`")).cloned()).collect()
}

/// The one column of this name.
pub(super) fn find<'a>(
    all: &'a [ColumnDescription],
    name: &str,
    action: &str,
) -> Result<&'a ColumnDescription, Fault> {
    let mut matching = all.iter().filter(|column| column.name == *name);
    match (matching.next(), matching.next()) {
        (Some(column), None) => Ok(column),
        (None, _) => {
            let known: Vec<String> = all.iter().map(|column| format!("`{}`", column.name)).collect();
            Err(Fault::new(FaultKind::Request, format!("{action}: the result has no such column"))
                .remedy(format!("Choose among {}.", known.join(", "))))
        }
        (Some(_), Some(_)) => {
            Err(Fault::new(FaultKind::Request, format!("{action}: several columns have this name"))
                .remedy("Give each column a name of its own with AS."))
        }
    }
}

/// What the rows of an extraction are selected from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A proven query.
    Query(String),
    /// A table or view, quoted.
    Table(String),
}

impl Base {
    /// All columns of all rows.
    pub(super) fn everything(&self) -> String {
        match self {
            Self::Query(text) => text.clone(),
            Self::Table(name) => format!("SELECT * FROM {name}"),
        }
    }

    /// The same as something to select from. A line end closes no comment, since none can be last.
    pub(super) fn relation(&self) -> String {
        match self {
            Self::Query(text) => format!("({text}) AS s"),
            Self::Table(name) => format!("{name} AS s"),
        }
    }

    /// `columns` of the rows for which `condition` holds; all, when there is nothing to say.
    pub(super) fn select(&self, columns: Option<&[ColumnDescription]>, condition: Option<&str>) -> String {
        if columns.is_none() && condition.is_none() {
            // A query stands alone where it can: a derived table may be copied first.
            return self.everything();
        }
        let columns = match columns {
            Some(columns) => {
                let names: Vec<String> =
                    columns.iter().map(|column| format!("s.{}", identifier(&column.name))).collect();
                names.join(", ")
            }
            None => "s.*".into(),
        };
        let condition = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        format!("SELECT {columns} FROM {}{condition}", self.relation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_stay_what_they_are() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }

    #[test]
    fn modes_that_change_how_a_text_is_read_are_left_out() {
        assert_eq!(
            kept_modes("REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI,STRICT_TRANS_TABLES"),
            "REAL_AS_FLOAT,PIPES_AS_CONCAT,STRICT_TRANS_TABLES"
        );
        assert_eq!(kept_modes(""), "");
    }

    #[test]
    fn a_query_stands_alone_where_it_can() {
        let base = Base::Query("SELECT 1 AS a".into());
        assert_eq!(base.select(None, None), "SELECT 1 AS a");
        assert_eq!(
            base.select(None, Some("s.`a` > 1")),
            "SELECT s.* FROM (SELECT 1 AS a) AS s WHERE s.`a` > 1"
        );
        assert_eq!(Base::Table("`t`".into()).select(None, None), "SELECT * FROM `t`");
    }
}
