//! Names in SQL: tables of tasks, columns, and texts as literals.

use std::fmt;

/// Characters of one identifier, at most (Snowflake's own limit).
const MAX_IDENTIFIER: usize = 255;

/// Puts `name` in double quotes, so that it is one identifier, whatever it contains.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string constant. Snowflake reads backslash sequences in constants, so a backslash
/// is doubled as well as a quote.
#[must_use]
pub fn string_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The column that a new table gets for a column of a result: a plain word is folded to upper case,
/// as if it were written without quotes, so that people can write it without quotes; any other name
/// is kept as it is.
#[must_use]
pub(super) fn column_identifier(source_name: &str) -> String {
    let mut characters = source_name.chars();
    let is_word = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(is_word_character);
    if is_word { source_name.to_ascii_uppercase() } else { source_name.to_owned() }
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$')
}

/// Whether two names are one for a reader that does not look at case.
#[must_use]
pub(super) fn same_ignoring_case(left: &str, right: &str) -> bool {
    left == right || left.chars().flat_map(char::to_uppercase).eq(right.chars().flat_map(char::to_uppercase))
}

/// A table as a task names it: `table`, `schema.table` or `database.schema.table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The database; that of the session when `None`.
    pub database: Option<String>,
    /// The schema; that of the session when `None`.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

/// Why a text is not the name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTableName {
    /// A part is neither a word nor quoted.
    #[error(
        "expected `table`, `schema.table` or `database.schema.table`; a part that is not a word of A-Z, \
         0-9, `_` and `$` needs double quotes, with `\"\"` for a quote"
    )]
    Form,
    /// A part has no character, too many, or a NUL.
    #[error("each part of a table's name has 1 to 255 characters")]
    Length,
}

impl TableName {
    /// Reads a name by Snowflake's rules: a word is folded to upper case, a part in double quotes
    /// is kept as it is.
    pub fn parse(text: &str) -> Result<Self, InvalidTableName> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        loop {
            let (part, after) = part(rest)?;
            if part.is_empty() || part.chars().count() > MAX_IDENTIFIER || part.contains('\0') {
                return Err(InvalidTableName::Length);
            }
            parts.push(part);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => break,
                None => return Err(InvalidTableName::Form),
            }
        }
        let mut parts = parts.into_iter().rev();
        let table = parts.next().expect("the loop pushes before it ends");
        let (schema, database) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(InvalidTableName::Form);
        }
        Ok(Self { database, schema, table })
    }

    /// The name with the session's database and schema in the places that it leaves open. `None`
    /// when one of them is needed and the session has none.
    #[must_use]
    pub fn qualify(&self, database: Option<&str>, schema: Option<&str>) -> Option<QualifiedName> {
        let filled =
            |own: &Option<String>, default: Option<&str>| own.clone().or_else(|| default.map(str::to_owned));
        Some(QualifiedName {
            database: filled(&self.database, database)?,
            schema: filled(&self.schema, schema)?,
            table: self.table.clone(),
        })
    }

    /// Whether the session's database or schema is needed.
    #[must_use]
    pub fn is_qualified(&self) -> bool {
        self.database.is_some() && self.schema.is_some()
    }
}

/// Takes one part from the beginning of `text`; returns it with what follows.
fn part(text: &str) -> Result<(String, &str), InvalidTableName> {
    let Some(quoted) = text.strip_prefix('"') else {
        let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let length = text.find(|character| !is_word_character(character)).unwrap_or(text.len());
        return if starts {
            Ok((text[..length].to_ascii_uppercase(), &text[length..]))
        } else {
            Err(InvalidTableName::Form)
        };
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or(InvalidTableName::Form)?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(after_doubled) => {
                name.push('"');
                rest = after_doubled;
            }
            None => return Ok((name, after)),
        }
    }
}

/// A table with its database and schema. Displayed as SQL, every part in double quotes: that text
/// names one table and no other, so that records use it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QualifiedName {
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl QualifiedName {
    /// A table of another name in the same schema.
    #[must_use]
    pub(super) fn sibling(&self, table: impl Into<String>) -> Self {
        Self { database: self.database.clone(), schema: self.schema.clone(), table: table.into() }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}.{}.{}",
            quote_identifier(&self.database),
            quote_identifier(&self.schema),
            quote_identifier(&self.table)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(database: Option<&str>, schema: Option<&str>, table: &str) -> TableName {
        TableName {
            database: database.map(str::to_owned),
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
        }
    }

    #[test]
    fn words_are_folded_to_upper_case_and_quoted_parts_are_kept() {
        for (text, expected) in [
            ("orders", name(None, None, "ORDERS")),
            (" sales.orders ", name(None, Some("SALES"), "ORDERS")),
            ("Db.Sales.Orders_2$", name(Some("DB"), Some("SALES"), "ORDERS_2$")),
            ("db.\"my schema\".\"a\"\"b.c\"", name(Some("DB"), Some("my schema"), "a\"b.c")),
            ("\"orders\"", name(None, None, "orders")),
            ("_x", name(None, None, "_X")),
        ] {
            assert_eq!(TableName::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("\"{}\"", "x".repeat(256));
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a.b.c.d",
            "1a",
            "$a",
            "a b",
            "a;b",
            "a-b",
            "\"a",
            "\"\"",
            "a.\"\"",
            "\"a\"b",
            "t; DROP TABLE u",
            "é",
            "'a'",
            "a.b -- c",
            "\"\0\"",
            &long,
        ] {
            assert!(TableName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn open_places_are_those_of_the_session() {
        let text = |parsed: &str, database, schema| {
            TableName::parse(parsed).unwrap().qualify(database, schema).map(|name| name.to_string())
        };
        assert_eq!(text("t", Some("D"), Some("s")), Some("\"D\".\"s\".\"T\"".into()));
        assert_eq!(text("s.t", Some("D"), Some("x")), Some("\"D\".\"S\".\"T\"".into()));
        assert_eq!(text("d.s.t", None, None), Some("\"D\".\"S\".\"T\"".into()));
        assert_eq!(text("s.t", None, Some("x")), None);
        assert_eq!(text("t", Some("D"), None), None);
    }

    #[test]
    fn a_new_column_can_be_written_without_quotes_when_its_name_is_a_word() {
        for (source, expected) in [
            ("id", "ID"),
            ("Total_1", "TOTAL_1"),
            ("a$", "A$"),
            ("a b", "a b"),
            ("2nd", "2nd"),
            ("größe", "größe"),
        ] {
            assert_eq!(column_identifier(source), expected);
        }
    }

    /// What Snowflake makes of a string constant, as far as `string_literal` writes one.
    fn read_literal(text: &str) -> Option<String> {
        let mut inner = text.strip_prefix('\'')?.strip_suffix('\'')?.chars();
        let mut value = String::new();
        while let Some(character) = inner.next() {
            value.push(match character {
                '\'' => inner.next().filter(|next| *next == '\'')?,
                '\\' => inner.next().filter(|next| *next == '\\')?,
                other => other,
            });
        }
        Some(value)
    }

    proptest! {
        #[test]
        fn every_identifier_survives_quoting(parts in prop::collection::vec("[^\0]{1,40}", 1..=3)) {
            let text: Vec<String> = parts.iter().map(|part| quote_identifier(part)).collect();
            let parsed = TableName::parse(&text.join(".")).unwrap();
            let read: Vec<String> =
                [parsed.database, parsed.schema, Some(parsed.table)].into_iter().flatten().collect();
            prop_assert_eq!(read, parts);
        }

        #[test]
        fn every_text_survives_as_a_literal(text in "(['\\\\\"/.@ \n]|\\PC){0,40}") {
            prop_assert_eq!(read_literal(&string_literal(&text)), Some(text));
        }

        #[test]
        fn no_text_is_read_as_more_than_a_name(text in "[\"a.; '\\\\]{0,12}") {
            if let Ok(parsed) = TableName::parse(&text) {
                let qualified = parsed.qualify(Some("d"), Some("s")).unwrap().to_string();
                prop_assert_eq!(TableName::parse(&qualified).unwrap().table, parsed.table);
            }
        }
    }
}
