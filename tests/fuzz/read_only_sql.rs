//! Any text as a query: no panic, and what is accepted is the user's own text, and stays accepted.
#![no_main]

use data_exchange_agent::source::read_only::{SqlDialect, check};

libfuzzer_sys::fuzz_target!(|text: &str| {
    for dialect in [SqlDialect::PostgreSql, SqlDialect::MySql, SqlDialect::Sqlite] {
        if let Ok(query) = check(text, dialect) {
            assert!(text.contains(query.as_str()));
            let again = check(query.as_str(), dialect).expect("what was accepted is accepted again");
            assert_eq!(again, query);
        }
    }
});
