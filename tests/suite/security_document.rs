//! `docs/SECURITY.md` claims what tests hold.

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
