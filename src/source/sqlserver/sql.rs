//! The SQL that is sent for an extraction: pure text, from parts that are quoted here.

use super::types::Select;
use crate::fault::{Fault, FaultKind};
use crate::source::read_only::ReadOnlyQuery;

/// A column of a described result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    /// The type in the server's words, for example `decimal(15,2)`.
    pub(super) type_name: String,
    /// The type is one of the common language runtime.
    pub(super) is_clr: bool,
    pub(super) nullable: bool,
}

/// A column of the result and what is selected for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// Which one of the described columns, from 0.
    pub(super) position: usize,
    pub(super) name: String,
    pub(super) select: Select,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A table or view, quoted, and a hint for it.
    Table {
        name: String,
        hint: Option<String>,
    },
    Query(ReadOnlyQuery),
}

/// `name` in brackets.
pub(super) fn identifier(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// `text` as a literal of `nvarchar`.
///
/// A backslash before a line end continues a literal on the next line and vanishes, so there the
/// literal is put together from two. The first piece makes it `nvarchar(max)`: the sum of short
/// literals would be cut at 4000 characters.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if !["\\\n", "\\\r"].iter().any(|end| quoted.contains(end)) {
        return format!("N'{quoted}'");
    }
    let apart = quoted.replace("\\\n", "\\' + N'\n").replace("\\\r", "\\' + N'\r");
    format!("CAST(N'' AS nvarchar(max)) + N'{apart}'")
}

/// The columns that a task wants, in its order; all when it does not say.
pub(super) fn choose(
    all: &[Described],
    wanted: Option<&[String]>,
    select: impl Fn(&Described) -> Select,
) -> Result<Vec<Selected>, Fault> {
    let selected = |position: usize| Selected {
        position,
        name: all[position].name.clone(),
        select: select(&all[position]),
    };
    let Some(wanted) = wanted else { return Ok((0..all.len()).map(selected).collect()) };
    wanted.iter().map(|name| position_of(all, name, "choose column").map(selected)).collect()
}

/// The only column of the name.
pub(super) fn position_of(all: &[Described], name: &str, doing: &str) -> Result<usize, Fault> {
    let mut matching = all.iter().enumerate().filter(|(_, column)| column.name == *name);
    match (matching.next(), matching.next()) {
        (Some((position, _)), None) => Ok(position),
        (None, _) => {
            let known: Vec<String> = all.iter().map(|column| format!("`{}`", column.name)).collect();
            let action = format!("{doing} `{name}`: the result has no such column");
            Err(Fault::new(FaultKind::Request, action)
                .remedy(format!("Choose among {}; case matters here.", known.join(", "))))
        }
        (Some(_), Some(_)) => {
            let action = format!("{doing} `{name}`: several columns have this name");
            Err(Fault::new(FaultKind::Request, action).remedy("Give each column a name of its own with AS."))
        }
    }
}

impl Base {
    /// The text that is described.
    pub(super) fn whole(&self) -> String {
        match self {
            Self::Table { name, .. } => format!("SELECT * FROM {name}"),
            Self::Query(query) => query.as_str().to_owned(),
        }
    }

    /// A statement that selects `selected` of the rows for which `condition` holds: the user's own
    /// text when nothing is asked of it.
    pub(super) fn select(&self, all: &[Described], selected: &[Selected], condition: Option<&str>) -> String {
        let is_whole = selected.len() == all.len()
            && selected
                .iter()
                .enumerate()
                .all(|(position, selected)| selected.position == position && selected.select == Select::AsIs);
        match self {
            Self::Query(query) if is_whole && condition.is_none() => query.as_str().to_owned(),
            Self::Query(_) | Self::Table { .. } => {
                self.statement(all, &self.expressions(all, selected), condition)
            }
        }
    }

    /// The same statement without rows, for the types of its columns.
    pub(super) fn probe(&self, all: &[Described], selected: &[Selected]) -> String {
        self.statement(all, &format!("TOP (0) {}", self.expressions(all, selected)), None)
    }

    /// A statement that selects `expressions` of the rows for which `condition` holds.
    ///
    /// A query stands between parentheses, its columns under names of our own, so that unnamed ones
    /// and equally named ones can be told apart; `WITH` stays before the statement, where T-SQL wants
    /// it.
    pub(super) fn statement(&self, all: &[Described], expressions: &str, condition: Option<&str>) -> String {
        let (with, select) = self.select_of(all, expressions, condition);
        format!("{with}{select}")
    }

    /// A statement that selects every row as `texts`. bcp asks for its columns with FMTONLY, which not
    /// every server that speaks TDS knows for more than `SELECT *`.
    pub(super) fn statement_of_texts(&self, all: &[Described], texts: &[String]) -> String {
        let aliased =
            texts.iter().enumerate().map(|(position, text)| format!("{text} AS {}", alias(position)));
        let (with, select) = self.select_of(all, &aliased.collect::<Vec<_>>().join(", "), None);
        format!("{with}SELECT * FROM ({select}) AS t")
    }

    /// What comes before the statement, and the statement.
    fn select_of(&self, all: &[Described], expressions: &str, condition: Option<&str>) -> (String, String) {
        let where_clause = condition.map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        match self {
            Self::Table { name, hint } => {
                let hint = hint.as_ref().map_or_else(String::new, |hint| format!(" WITH ({hint})"));
                (String::new(), format!("SELECT {expressions} FROM {name} AS q{hint}{where_clause}"))
            }
            Self::Query(query) => {
                let aliases: Vec<String> = (0..all.len()).map(alias).collect();
                let aliases = aliases.join(", ");
                let (with, body) = query.parts();
                // Behind OFFSET an ORDER BY is allowed between parentheses; it changes no row.
                let offset = if query.needs_offset() { " OFFSET 0 ROWS" } else { "" };
                match with {
                    Some(with) => (
                        format!("{with}, [query of the task]({aliases}) AS ({body}{offset}\n) "),
                        format!("SELECT {expressions} FROM [query of the task] AS q{where_clause}"),
                    ),
                    None => (
                        String::new(),
                        format!("SELECT {expressions} FROM ({body}{offset}\n) AS q({aliases}){where_clause}"),
                    ),
                }
            }
        }
    }

    fn expressions(&self, all: &[Described], selected: &[Selected]) -> String {
        let expressions: Vec<String> = selected
            .iter()
            .map(|selected| {
                let column = self.column(all, selected.position);
                let name = identifier(&selected.name);
                match selected.select {
                    Select::AsIs => format!("{column} AS {name}"),
                    Select::Text => format!("CAST({column} AS nvarchar(max)) AS {name}"),
                    Select::ClrText => format!("CAST({column}.ToString() AS nvarchar(max)) AS {name}"),
                    Select::WellKnownBinary => format!("{column}.STAsBinary() AS {name}"),
                }
            })
            .collect();
        expressions.join(", ")
    }

    /// The name of a described column inside of such a statement.
    pub(super) fn column(&self, all: &[Described], position: usize) -> String {
        match self {
            Self::Table { .. } => format!("q.{}", identifier(&all[position].name)),
            Self::Query(_) => format!("q.{}", alias(position)),
        }
    }
}

fn alias(position: usize) -> String {
    format!("[c{}]", position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_only::{SqlDialect, check};

    fn described(names: &[&str]) -> Vec<Described> {
        let column = |name: &&str| Described {
            name: (*name).to_owned(),
            type_name: "int".into(),
            is_clr: false,
            nullable: true,
        };
        names.iter().map(column).collect()
    }

    fn all(columns: &[Described]) -> Vec<Selected> {
        choose(columns, None, |_| Select::AsIs).expect("all of them")
    }

    fn base(sql: &str) -> Base {
        Base::Query(check(sql, SqlDialect::SqlServer).expect(sql))
    }

    #[test]
    fn a_query_of_which_nothing_is_asked_stays_as_it_is() {
        let columns = described(&["a", "a", ""]);
        let sql = "SELECT a, a, 1 FROM t ORDER BY a";
        assert_eq!(base(sql).select(&columns, &all(&columns), None), sql);
    }

    #[test]
    fn a_query_between_parentheses_keeps_its_with_and_its_order() {
        let columns = described(&["a", "b"]);
        let wanted = ["b".to_owned()];
        let chosen = choose(&columns, Some(&wanted), |_| Select::ClrText).expect("one");
        assert_eq!(
            base("WITH x AS (SELECT 1 AS a, 2 AS b) SELECT a, b FROM x ORDER BY a").select(
                &columns,
                &chosen,
                Some("q.[c1] > 1")
            ),
            "WITH x AS (SELECT 1 AS a, 2 AS b), [query of the task]([c1], [c2]) AS ( SELECT a, b FROM x \
             ORDER BY a OFFSET 0 ROWS\n) SELECT CAST(q.[c2].ToString() AS nvarchar(max)) AS [b] \
             FROM [query of the task] AS q WHERE q.[c1] > 1"
        );
        assert_eq!(
            base("SELECT a, b FROM x").probe(&columns, &all(&columns)),
            "SELECT TOP (0) q.[c1] AS [a], q.[c2] AS [b] FROM (SELECT a, b FROM x\n) AS q([c1], [c2])"
        );
    }

    #[test]
    fn a_table_is_read_by_the_names_of_its_columns() {
        let table = Base::Table { name: "[dbo].[t]".into(), hint: Some("NOLOCK".into()) };
        let columns = described(&["a]b", "b"]);
        assert_eq!(
            table.select(&columns, &all(&columns), None),
            "SELECT q.[a]]b] AS [a]]b], q.[b] AS [b] FROM [dbo].[t] AS q WITH (NOLOCK)"
        );
    }

    #[test]
    fn a_literal_loses_nothing_to_a_backslash_at_the_end_of_a_line() {
        assert_eq!(literal("it's"), "N'it''s'");
        assert_eq!(literal("a\\b"), "N'a\\b'");
        assert_eq!(literal("a\\\nb"), "CAST(N'' AS nvarchar(max)) + N'a\\' + N'\nb'");
    }
}
