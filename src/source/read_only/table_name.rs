//! Names of tables in tasks, and names in SQL.

use super::SqlDialect;
use crate::fault::{Fault, FaultKind};

/// A table or view, as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema; where the database looks by default when `None`.
    pub schema: Option<String>,
    /// The table or view.
    pub name: String,
}

impl TableName {
    /// The name in SQL, with every part in double quotes.
    #[must_use]
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote_identifier(schema), quote_identifier(&self.name)),
            None => quote_identifier(&self.name),
        }
    }
}

/// Puts `name` in double quotes, so that it is one identifier, whatever it contains.
///
/// No identifier can hold a zero byte; both servers refuse the statement then.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reads `name` or `schema.name`. Parts in double quotes, for MySQL also in backticks, are taken as
/// they are, with `""` for a quote, and for SQL Server parts in brackets, with `]]` for one; other
/// parts are words, which PostgreSQL and Redshift fold to lower case, Oracle and Db2 to upper case.
pub fn parse_table_name(text: &str, dialect: SqlDialect) -> Result<TableName, Fault> {
    let text = text.trim();
    let (first, rest) = part(text, dialect)?;
    let Some(rest) = rest.strip_prefix('.') else {
        return if rest.is_empty() { Ok(TableName { schema: None, name: first }) } else { Err(refused()) };
    };
    match part(rest, dialect)? {
        (name, "") => Ok(TableName { schema: Some(first), name }),
        (_, _) => Err(refused()),
    }
}

/// Takes one part from the beginning of `text`; returns it with what follows.
fn part(text: &str, dialect: SqlDialect) -> Result<(String, &str), Fault> {
    let (name, rest) = match text.chars().next() {
        Some('"') => quoted_part(&text[1..], '"')?,
        Some('`') if dialect == SqlDialect::MySql => quoted_part(&text[1..], '`')?,
        Some('[') if dialect == SqlDialect::SqlServer => quoted_part(&text[1..], ']')?,
        _ => word_part(text, dialect),
    };
    if name.is_empty() || name.contains('\0') { Err(refused()) } else { Ok((name, rest)) }
}

fn quoted_part(text: &str, quote: char) -> Result<(String, &str), Fault> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote).ok_or_else(refused)?;
        name.push_str(before);
        match after.strip_prefix(quote) {
            Some(after_doubled) => {
                name.push(quote);
                rest = after_doubled;
            }
            None => return Ok((name, after)),
        }
    }
}

fn word_part(text: &str, dialect: SqlDialect) -> (String, &str) {
    let allowed = |(index, character): (usize, char)| {
        character == '_'
            || character.is_alphabetic()
            || (index > 0 && (character.is_alphanumeric() || character == '$'))
    };
    let length =
        text.char_indices().find(|position| !allowed(*position)).map_or(text.len(), |(index, _)| index);
    let (word, rest) = text.split_at(length);
    let name = match dialect {
        // Only ASCII: what the server does with other letters depends on its locale.
        SqlDialect::PostgreSql | SqlDialect::Redshift => word.to_ascii_lowercase(),
        SqlDialect::Oracle | SqlDialect::Db2 => word.to_ascii_uppercase(),
        SqlDialect::MySql
        | SqlDialect::Sqlite
        | SqlDialect::SqlServer
        | SqlDialect::Teradata
        | SqlDialect::Ansi => word.to_owned(),
    };
    (name, rest)
}

fn refused() -> Fault {
    Fault::new(FaultKind::Request, "read the name of the table: it is not `name` or `schema.name`")
        .remedy("Put a part with other characters than letters, digits and _ in double quotes, for example \"order items\".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(schema: Option<&str>, name: &str) -> TableName {
        TableName { schema: schema.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn postgres_folds_words_and_keeps_quoted_parts() {
        for (text, expected) in [
            ("Orders", name(None, "orders")),
            (" sales.Orders ", name(Some("sales"), "orders")),
            ("\"Order Items\"", name(None, "Order Items")),
            ("Sales.\"a\"\"b.c\"", name(Some("sales"), "a\"b.c")),
            ("\"S\".\"T\"", name(Some("S"), "T")),
            ("_a$1", name(None, "_a$1")),
            ("GRÖSSE", name(None, "grÖsse")),
        ] {
            let parsed = parse_table_name(text, SqlDialect::PostgreSql).expect(text);
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn sqlite_keeps_the_case_of_words() {
        let parsed = parse_table_name("main.Orders", SqlDialect::Sqlite).expect("a name");
        assert_eq!(parsed, name(Some("main"), "Orders"));
        assert_eq!(parsed.quoted(), "\"main\".\"Orders\"");
    }

    #[test]
    fn sql_server_has_names_in_brackets_too() {
        for (text, expected) in [
            ("dbo.Orders", name(Some("dbo"), "Orders")),
            ("[dbo].[Order ]] Items]", name(Some("dbo"), "Order ] Items")),
            ("dbo.\"a.b\"", name(Some("dbo"), "a.b")),
        ] {
            assert_eq!(parse_table_name(text, SqlDialect::SqlServer).expect(text), expected);
        }
        for text in ["[a", "[]", "[a]b", "a.b.c", "#t", "@t"] {
            parse_table_name(text, SqlDialect::SqlServer).expect_err(text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_remedy() {
        for text in [
            "", " ", ".", "a.", ".a", "a.b.c", "a b", "a;b", "a--b", "\"a", "\"a\"b", "\"\"", "a.\"\"", "1a",
            "a-b", "a. b", "a'b", "\"a\0\"", "(a)", "a\"b\"", "[a]",
        ] {
            let fault = parse_table_name(text, SqlDialect::Sqlite).expect_err(text);
            assert_eq!(fault.kind(), FaultKind::Request, "{text}");
            assert!(fault.hint().is_some_and(|hint| hint.contains("double quotes")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_reads_back_as_itself(schema in "[^\0]{1,12}", table in "[^\0]{1,12}") {
            let text = format!("{}.{}", quote_identifier(&schema), quote_identifier(&table));
            let parsed = parse_table_name(&text, SqlDialect::PostgreSql).expect("quoted parts");
            prop_assert_eq!(parsed.quoted(), text);
            prop_assert_eq!(parsed, TableName { schema: Some(schema), name: table });
        }

        #[test]
        fn no_text_makes_the_name_parser_panic(text in any::<String>()) {
            let _ = parse_table_name(&text, SqlDialect::PostgreSql);
        }
    }
}
