//! `docs/SECURITY.md` claims what tests hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::document::rust_files;

const DOCUMENT: &str = include_str!("../../docs/SECURITY.md");

#[test]
fn every_test_and_file_that_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests"].into_iter().flat_map(|folder| rust_files(&root.join(folder)));
    let text: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let words: Vec<&str> = DOCUMENT.split('`').skip(1).step_by(2).collect();
    let is_test = |word: &&&str| {
        word.matches('_').count() >= 3
            && word
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    let tests: Vec<&str> = words.iter().filter(is_test).copied().collect();
    assert!(tests.len() > 15, "{tests:?}");
    for test in tests {
        assert!(text.contains(&format!("fn {test}(")), "there is no test {test}");
    }
    let is_file = |word: &&&str| ["src/", "tests/", "docs/", "."].iter().any(|start| word.starts_with(start));
    for file in words.iter().filter(is_file).filter(|word| !word.contains("..")) {
        assert!(root.join(file).exists(), "there is no {file}");
    }
}

#[test]
fn unsafe_code_is_where_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let row = DOCUMENT.lines().find(|line| line.starts_with("| memory errors |")).unwrap();
    let words = row.split('`').skip(1).step_by(2).filter(|word| word.starts_with("src/"));
    let named: BTreeSet<String> = words.map(str::to_owned).collect();
    // The lint is denied for the whole crate, so that an attribute names it wherever something is unsafe.
    let files = rust_files(&root.join("src")).into_iter();
    let is_unsafe = files.filter(|path| fs::read_to_string(path).unwrap().contains("(unsafe_code"));
    let found: BTreeSet<String> =
        is_unsafe.map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect();
    assert_eq!(found, named);
}
