//! The check of queries against the seeds of its fuzzer, and what is close to them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::read_only::{SqlDialect, check};

/// What holds for any text. The target `read_only_sql` in `tests/fuzz` says the same.
fn check_text(text: &str) {
    for dialect in [SqlDialect::PostgreSql, SqlDialect::MySql, SqlDialect::Sqlite] {
        if let Ok(query) = check(text, dialect) {
            assert!(text.contains(query.as_str()), "the text is the user's own");
            let again = check(query.as_str(), dialect).expect("what was accepted is accepted again");
            assert_eq!(again, query);
        }
    }
}

fn seeds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/read_only_sql");
    let files = fs::read_dir(folder).expect("the seeds are part of the repository");
    files.map(|file| fs::read_to_string(file.expect("an entry").path()).expect("a seed")).collect()
}

#[test]
fn every_seed_of_the_fuzzer_is_checked() {
    assert!(seeds().len() > 10);
    for seed in seeds() {
        check_text(&seed);
    }
}

proptest! {
    #[test]
    fn two_halves_of_queries_never_panic(
        (first, second) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        (end, begin) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        between in "[-;'\"()$/*\\\\EeUuXx&\n ]{0,4}",
    ) {
        let seeds = seeds();
        let piece = |text: &str, range: std::ops::Range<usize>| -> String {
            text.chars().skip(range.start).take(range.len()).collect()
        };
        let (first, second) = (first.get(&seeds), second.get(&seeds));
        let end = end.index(first.chars().count() + 1);
        let begin = begin.index(second.chars().count() + 1);
        check_text(&format!("{}{between}{}", piece(first, 0..end), piece(second, begin..usize::MAX)));
    }
}
