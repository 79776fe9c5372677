//! Texts of any size and kind.

use proptest::prelude::*;

use super::super::SqlDialect::{PostgreSql, SqlServer, Sqlite};
use super::super::{MAX_QUERY_BYTES, SqlDialect, check};
use super::{BOTH, accepted, refused};

const ALL: [SqlDialect; 3] = [PostgreSql, Sqlite, SqlServer];

/// On a stack as small as the smallest that runs this code.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    thread.join().expect("no panic, and no overflow");
}

#[test]
fn deep_and_long_texts_do_not_exhaust_the_stack() {
    on_a_small_stack(|| {
        for (open, close) in [
            ("(", ")"),
            ("(SELECT ", ")"),
            ("f(", ")"),
            ("CASE WHEN ", " THEN 1 END"),
            ("NOT ", ""),
            ("- ", ""),
            ("", "+1"),
            ("", "::int"),
            ("", "[1]"),
            ("", "[1,1]"),
            ("", " ISNULL"),
            ("", ",1"),
            ("", " OR x=1"),
            ("", " UNION SELECT 1,1"),
            ("", " IN (1,2)"),
            ("", " JOIN a ON 1=1"),
            ("", " COLLATE x"),
        ] {
            for count in [10, 100, 1_000, 2_600, 7_000, 100_000] {
                let sql = format!("SELECT {}1{}", open.repeat(count), close.repeat(count));
                for dialect in BOTH {
                    let _ = check(&sql, dialect);
                }
            }
        }
    });
}

#[test]
fn long_lists_are_accepted_and_texts_over_the_limit_are_not() {
    let list = format!("SELECT * FROM t WHERE id IN (0{})", ", 123456".repeat(100_000));
    accepted(&list, PostgreSql);
    let chain = format!("SELECT * FROM t WHERE id = 0{}", " OR id = 1".repeat(1_500));
    accepted(&chain, PostgreSql);
    let nested = format!("SELECT {}1{}", "(".repeat(50), ")".repeat(50));
    accepted(&nested, PostgreSql);
    let long = format!("SELECT '{}'", "x".repeat(MAX_QUERY_BYTES));
    assert!(refused(&long, PostgreSql).contains("longer"));
    let many = format!("SELECT * FROM t WHERE id IN (0{})", ",1".repeat(500_000));
    assert!(refused(&many, PostgreSql).contains("more than 250000 words"));
}

/// Pieces that a lexer can get wrong, glued in any order.
fn token_soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WITH",
        "AS",
        "VALUES",
        "TABLE",
        "INTO",
        "DELETE",
        "UPDATE",
        "INSERT",
        "UNION",
        "a",
        "e",
        "E",
        "U&",
        "x",
        "1",
        "1e",
        "0x",
        ".",
        ",",
        ";",
        "(",
        ")",
        "[",
        "]",
        "{",
        "'",
        "''",
        "\"",
        "`",
        "\\",
        "$",
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "/",
        "*",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "::",
        "?",
        "@",
        "#",
        "|",
        "=",
        "<",
        "é",
        "\u{a0}",
        "FOR UPDATE",
        "CASE",
        "END",
        "CAST",
        "INTERVAL",
        "ARRAY",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>()) {
        for dialect in ALL {
            let _ = check(&text, dialect);
        }
    }

    #[test]
    fn what_is_accepted_from_a_soup_is_still_accepted_between_parentheses(soup in token_soup()) {
        for dialect in BOTH {
            for text in [soup.clone(), format!("SELECT {soup}")] {
                let Ok(query) = check(&text, dialect) else { continue };
                let inner = query.as_str();
                prop_assert!(text.contains(inner));
                let embedded = format!("SELECT * FROM ({inner}) AS q");
                let again = check(&embedded, dialect).map(|query| query.as_str().to_owned());
                prop_assert_eq!(again.ok(), Some(embedded));
            }
        }
    }

    #[test]
    fn a_literal_never_reaches_a_message(content in "[a-zA-Z0-9 ;()-]{8,40}", soup in token_soup()) {
        let text = format!("SELECT 'qqqq{content}' {soup}");
        if let Err(fault) = check(&text, PostgreSql) {
            prop_assert!(!fault.chain().contains("qqqq"));
        }
    }
}
