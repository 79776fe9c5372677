//! Documents whose examples are held against the program: their fenced blocks, and what they expect.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below a folder, whose text a document is held against.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// A fenced block of a document.
pub(crate) struct Block {
    /// What stands behind the fence: the language, then words for the tests, `console exit=2`.
    pub(crate) info: String,
    pub(crate) text: String,
    /// The line of the fence, from 1.
    pub(crate) line: usize,
}

/// All of them, in their order; those of a list are indented.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in document.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(info) => {
                is_open = true;
                blocks.push(Block { info: info.to_owned(), text: String::new(), line: number + 1 });
            }
            None if is_open => {
                let block = blocks.last_mut().expect("one is open");
                block.text += line;
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

impl Block {
    /// The first word.
    pub(crate) fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }

    /// Whether one of the words is this.
    pub(crate) fn is(&self, marker: &str) -> bool {
        self.info.split_whitespace().any(|word| word == marker)
    }

    /// The value of `<name>=<value>`.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.info.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Commands with what they print.
    pub(crate) fn commands(&self) -> Vec<(&str, Vec<&str>)> {
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in self.text.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => commands.push((command, Vec::new())),
                None => commands.last_mut().expect("output follows a command").1.push(line),
            }
        }
        commands
    }
}

/// A line without what differs from run to run: figures, ages, and how wide columns are.
fn plain(line: &str) -> String {
    let word = |word: &str| {
        let is_age = word.len() > 1
            && word.ends_with(['s', 'm', 'h', 'd'])
            && word[..word.len() - 1].chars().all(|letter| letter.is_ascii_digit());
        if is_age {
            return "0s".to_owned();
        }
        let mut text = String::new();
        for letter in word.chars() {
            let is_figure = letter.is_ascii_digit() || (matches!(letter, ',' | '.') && text.ends_with('0'));
            match is_figure {
                true if text.ends_with('0') => {}
                true => text.push('0'),
                false => text.push(letter),
            }
        }
        text
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// True when the line is the expected one, in which `...` stands for anything.
pub(crate) fn is_line(expected: &str, found: &str) -> bool {
    let found = plain(found);
    let parts: Vec<String> = expected.split("...").map(plain).collect();
    let [first, .., last] = parts.as_slice() else { return parts[0] == found };
    let mut rest = found.as_str();
    if !rest.starts_with(first.as_str()) || !rest.ends_with(last.as_str()) {
        return false;
    }
    for part in &parts {
        let Some(position) = rest.find(part.as_str()) else { return false };
        rest = &rest[position + part.len()..];
    }
    true
}

/// True when the lines are the expected ones, among which `...` stands for any number.
pub(crate) fn are_lines(expected: &[&str], found: &[&str]) -> bool {
    match expected {
        [] => found.is_empty(),
        ["...", rest @ ..] => (0..=found.len()).any(|skipped| are_lines(rest, &found[skipped..])),
        [line, rest @ ..] => {
            found.first().is_some_and(|other| is_line(line, other)) && are_lines(rest, &found[1..])
        }
    }
}

#[test]
fn an_expected_line_is_recognized() {
    assert!(is_line("a  1,000  5.14 KiB 3s", "a 999 4.0 KiB  12m"));
    assert!(is_line("a ... b", "a x y b"));
    assert!(!is_line("a ... b", "a x y c"));
    assert!(!is_line("a", "a b"));
    assert!(are_lines(&["a", "...", "b"], &["a", "x", "y", "b"]));
    assert!(!are_lines(&["a", "...", "b"], &["a", "x", "y"]));
}
