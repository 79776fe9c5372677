//! The SQL that is sent for an extraction: pure text, from parts that are quoted here.

use super::connection::ColumnDescription;
use super::types::Select;
use crate::fault::{Fault, FaultKind};

/// A column of the result and what is selected for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) select: Select,
}

impl Selected {
    /// True when this is `column` itself.
    pub(super) fn is(&self, column: &ColumnDescription) -> bool {
        self.select == Select::AsIs && self.name == column.name
    }
}

/// `name` in double quotes.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a literal; `standard_conforming_strings` is on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The columns that a task wants, in its order; all when it does not say.
pub(super) fn choose(
    all: &[ColumnDescription],
    wanted: Option<&[String]>,
) -> Result<Vec<ColumnDescription>, Fault> {
    let Some(wanted) = wanted else { return Ok(all.to_vec()) };
    let find = |name: &String| {
        let mut matching = all.iter().filter(|column| column.name == *name);
        match (matching.next(), matching.next()) {
            (Some(column), None) => Ok(column.clone()),
            (None, _) => {
                let known: Vec<String> = all.iter().map(|column| format!("`{}`", column.name)).collect();
                let action = format!("choose column `{name}`: the result has no such column");
                Err(Fault::new(FaultKind::Request, action)
                    .remedy(format!("Choose among {}.", known.join(", "))))
            }
            (Some(_), Some(_)) => {
                let action = format!("choose column `{name}`: several columns have this name");
                Err(Fault::new(FaultKind::Request, action)
                    .remedy("Give each column a name of its own with AS."))
            }
        }
    };
    wanted.iter().map(find).collect()
}

/// `base` with columns chosen and cast. The columns of `base` get names of our own, so that
/// unnamed and equally named ones can be told apart.
pub(super) fn wrap(base: &str, all: &[ColumnDescription], selected: &[Selected]) -> String {
    let aliases: Vec<String> = (1..=all.len()).map(|number| format!("c{number}")).collect();
    let expressions: Vec<String> = selected
        .iter()
        .map(|selected| {
            let position = all.iter().position(|column| column.name == selected.name);
            let alias = &aliases[position.expect("a selected column was chosen among all")];
            let name = identifier(&selected.name);
            match selected.select {
                Select::AsIs => format!("q.{alias} AS {name}"),
                Select::Text => format!("q.{alias}::text AS {name}"),
                Select::Double => format!("q.{alias}::double precision AS {name}"),
                Select::Json => format!("to_json(q.{alias})::text AS {name}"),
            }
        })
        .collect();
    format!("SELECT {} FROM ({base}) AS q({})", expressions.join(", "), aliases.join(", "))
}
