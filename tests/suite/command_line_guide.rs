//! docs/COMMAND_LINE.md: every example in it is run, in order, and prints what the document says.

use std::fs;

use super::agent_commands::shop;
use crate::support::agent::PATIENCE;

/// A fenced block of the document.
struct Block {
    /// `console exit=2`, for example.
    info: String,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for line in document.lines() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(info) => {
                is_open = true;
                blocks.push(Block { info: info.to_owned(), text: String::new() });
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
    fn setting(&self, name: &str) -> Option<&str> {
        self.info.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Commands with what they print.
    fn commands(&self) -> Vec<(&str, Vec<&str>)> {
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
fn is_line(expected: &str, found: &str) -> bool {
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
fn are_lines(expected: &[&str], found: &[&str]) -> bool {
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

#[tokio::test]
async fn every_example_of_the_document_prints_what_it_says() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMMAND_LINE.md")).unwrap();
    let agent = shop().await.start().await;
    let url = agent.url("");
    let environment = [("DATA_EXCHANGE_AGENT_URL", url.as_str())];
    let mut commands_run = 0;
    for block in blocks(&document) {
        if let Some(name) = block.setting("file") {
            fs::write(agent.place.path().join(name), &block.text).unwrap();
        }
        if block.info.split_whitespace().next() != Some("console") {
            continue;
        }
        let code: i32 = block.setting("exit").map_or(0, |code| code.parse().unwrap());
        for (command, expected) in block.commands() {
            let finished =
                tokio::time::timeout(PATIENCE, agent.place.shell(command, &environment)).await.unwrap();
            assert_eq!(finished.code, Some(code), "{command}: {finished:?}");
            let all = format!("{}{}", finished.stdout, finished.stderr);
            let found: Vec<&str> = all.lines().collect();
            assert!(
                are_lines(&expected, &found),
                "{command} printed\n{all}\nand the document says\n{}",
                expected.join("\n")
            );
            commands_run += 1;
        }
    }
    assert!(commands_run > 10, "{commands_run}");
}

#[tokio::test]
async fn the_document_names_every_command() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMMAND_LINE.md")).unwrap();
    let place = crate::support::agent::Place::new();
    let help = place.run(&["--help"]).await.stdout;
    let listed = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(document.contains(&format!("`{name}")), "docs/COMMAND_LINE.md does not name {name}");
    }
}
