//! Characters that the server cannot turn into Unicode.
//!
//! Texts arrive as UTF-8: the server converts them by its own tables, and where these have nothing, it puts
//! a `?` in place of the character and says no word. In every character set but the wide ones of Unicode,
//! which lose nothing, a `?` is the byte 0x3F, and that byte is no part of any other character. So a text
//! has lost something exactly when there are more `?` in it than such bytes in the column's own.
//!
//! The server could be asked that of every value, at a price for every row. It is asked once instead, for the
//! rows of a slice and in its transaction, after a `?` has come in a column of such a set: few have one.

use super::connection::Connection;
use super::sql::{Base, identifier};
use super::types::{ColumnDescription, Wire};
use crate::fault::{Fault, FaultKind};

/// Columns of a result whose texts can lose characters, and how the server is asked about one slice of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Positions and quoted names.
    columns: Vec<(usize, String)>,
    relation: String,
    condition: Option<String>,
}

impl Doubt {
    /// About the rows of `base` for which `condition` holds.
    pub(super) fn new(
        positions: &[usize],
        columns: &[ColumnDescription],
        base: &Base,
        condition: Option<String>,
    ) -> Self {
        let named = positions.iter().map(|position| (*position, identifier(&columns[*position].name)));
        Self { columns: named.collect(), relation: base.relation(), condition }
    }

    /// Positions of the columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|(position, _)| *position)
    }

    /// Asks the server about those of the columns in which a `?` has come. In the transaction of the
    /// slice, after its rows.
    pub(super) async fn settle(&self, connection: &mut Connection, seen: &[usize]) -> Result<(), Fault> {
        let names: Vec<&str> = self
            .columns
            .iter()
            .filter(|(position, _)| seen.contains(position))
            .map(|(_, name)| name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let tests: Vec<String> = names.iter().map(|name| format!("MAX({})", has_lost(name))).collect();
        let condition =
            self.condition.as_ref().map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        let sql = format!("SELECT {} FROM {}{condition}", tests.join(", "), self.relation);
        let action = "look for characters without a counterpart in Unicode";
        let rows = connection.query_at(super::error::Stage::Run, &sql, action).await?;
        let answers = rows.into_iter().flatten();
        match names.iter().zip(answers).find(|(_, answer)| answer.as_deref() == Some("1")) {
            Some((name, _)) => Err(lost(name)),
            None => Ok(()),
        }
    }
}

/// True in SQL when the column's text has a `?` that is none of its own.
fn has_lost(name: &str) -> String {
    let count = |text: &str| format!("LENGTH({text}) - LENGTH(REPLACE({text}, '?', ''))");
    let (converted, own) =
        (count(&format!("CONVERT(s.{name} USING utf8mb4)")), count(&format!("CAST(s.{name} AS BINARY)")));
    format!("CHARSET(s.{name}) NOT IN ('ucs2', 'utf16', 'utf16le', 'utf32') AND {converted} <> {own}")
}

fn lost(name: &str) -> Fault {
    Fault::new(FaultKind::Data, format!("decode column {name}"))
        .because(
            "a text has a character that the server cannot turn into Unicode, and for which it sends a question mark",
        )
        .remedy(format!(
            "Select CAST({name} AS BINARY) in the query to get the bytes, in the column's own character set."
        ))
}

/// Positions of the columns of `sql` whose texts the server converts from a set that has more, or other,
/// characters than Unicode.
pub(super) async fn convertible(
    connection: &mut Connection,
    sql: &str,
    wires: impl Iterator<Item = Wire>,
) -> Result<Vec<usize>, Fault> {
    let texts: Vec<usize> =
        wires.enumerate().filter(|(_, wire)| *wire == Wire::Text).map(|(position, _)| position).collect();
    if texts.is_empty() {
        return Ok(texts);
    }
    // As long as results are not converted, columns are described with their own character sets.
    let action = "look at the character sets of the columns";
    connection.run("SET SESSION character_set_results = NULL", action).await?;
    let columns = connection.describe(sql).await?;
    connection.run("SET SESSION character_set_results = utf8mb4", action).await?;
    let is_doubtful =
        |position: &usize| columns.get(*position).is_none_or(|column| !loses_nothing(column.character_set));
    Ok(texts.into_iter().filter(is_doubtful).collect())
}

/// True for the numbers of collations of `utf8mb3`, `utf8mb4` and `latin1`, which are in Unicode as a whole.
/// Others of that kind only cost a question that is answered with no.
fn loses_nothing(collation: u16) -> bool {
    matches!(
        collation,
        // latin1
        5 | 8 | 15 | 31 | 47 | 48 | 49 | 94
        // utf8mb3
        | 33 | 76 | 83 | 192..=223
        // utf8mb4
        | 45 | 46 | 224..=247 | 255..=323
        // MariaDB's collations by version 14 of the standard
        | 2048..
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_have_more_than_unicode_are_doubted() {
        // sjis, gbk, euckr, hp8, cp1257, big5, ujis, gb18030 and cp932, each in its first collation.
        for collation in [13, 28, 19, 6, 29, 1, 12, 248, 95, 11] {
            assert!(!loses_nothing(collation), "{collation}");
        }
        for collation in [45, 255, 33, 8, 224, 2304] {
            assert!(loses_nothing(collation), "{collation}");
        }
    }
}
