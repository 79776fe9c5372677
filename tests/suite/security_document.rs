//! `docs/SECURITY.md` claims what tests hold.

use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../../docs/SECURITY.md");

/// The texts of all Rust files below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_and_file_that_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("tests"), &mut text);
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
