//! The blocks that are not run: each says why, is a script, and its options exist.

use std::fs;
use std::path::{Path, PathBuf};

use super::{REASONS, document, documents, is_shell, output_of, program, root};
use crate::support::document::{blocks, rust_files};
use crate::support::folder::Folder;
use crate::support::foreign_reader;

/// Documents with tests of their own for every block: `command_line_guide` has this one.
const ELSEWHERE: [&str; 1] = ["docs/COMMAND_LINE.md"];

#[test]
fn every_shell_example_is_run_or_says_why_not() {
    for (name, text) in documents().iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
        for block in blocks(text).iter().filter(|block| is_shell(block)) {
            let is_known = block.is("run")
                || block.is("variables")
                || block
                    .setting("unrun")
                    .is_some_and(|reason| REASONS.iter().any(|(known, _)| *known == reason));
            assert!(
                is_known,
                "{name}:{}: is ```{} run in a test? Write `run`, or `unrun=` and one of {REASONS:?}",
                block.line, block.info
            );
        }
    }
}

/// The commands of a script as words, roughly: enough to find programs and their options.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    let lines = script.lines().map(|line| line.split(" #").next().unwrap_or_default());
    lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split("&&").flat_map(|part| part.split(" | ")))
        .map(|part| part.trim().trim_start_matches("eval \"$(").trim_start_matches("export "))
        .map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<String>>())
        .map(|words| words.into_iter().skip_while(|word| is_assignment(word)).collect::<Vec<String>>())
        .filter(|words| !words.is_empty())
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    })
}

/// The long options of a command are options of its program.
fn assert_options(place: &str, words: &[String]) {
    let mut words: Vec<&str> = words.iter().map(|word| word.trim_matches(['"', '\'', ')'])).collect();
    let own = [env!("CARGO_BIN_EXE_data-exchange-agent")];
    // A toolchain is no part of the command.
    words.retain(|word| !word.starts_with('+'));
    if words[0] == "perf" {
        let profiled = words.iter().position(|word| word.ends_with("/data-exchange-agent"));
        // A report profiles nothing.
        let Some(profiled) = profiled else { return };
        words.drain(..profiled);
    }
    if words.starts_with(&["cargo", "run"]) {
        let arguments = words.iter().position(|word| *word == "--").map_or(words.len(), |at| at + 1);
        words.splice(..arguments, ["data-exchange-agent"]);
    }
    let (program, command) = match words[0] {
        "data-exchange-agent" => (PathBuf::from(own[0]), 1),
        name if name.ends_with("/data-exchange-agent") => (PathBuf::from(own[0]), 1),
        name if name.contains('/') => (root().join(name), 0),
        "python3" | "python" => {
            let Some(python) = foreign_reader::python() else { return };
            (python, 1)
        }
        name => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found =
                std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
            // A program that nobody has here: kubectl.
            let Some(found) = found else { return };
            (found, usize::from(["buildah", "cargo", "docker", "systemctl"].contains(&name)))
        }
    };
    let is_own = program == Path::new(own[0]);
    let options: Vec<&str> = words[1..]
        .iter()
        .take_while(|word| **word != "--")
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split('=').next().unwrap_or_default())
        .collect();
    let mut help: Vec<&str> = words[1..]
        .iter()
        .take_while(|word| !word.starts_with('-'))
        .take(if is_own { 2 } else { command })
        .copied()
        .collect();
    if is_own {
        // A command of two words, such as `tasks list`, or one with an argument.
        help.retain(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
        let all = output_of(&program, &["--help"]);
        if let Some(command) = help.first() {
            assert!(
                all.contains(&format!("\n  {command} ")) || ["test", "doctor", "help"].contains(command),
                "{place}: there is no command `{command}`"
            );
        }
        help.truncate(if matches!(help.first(), Some(&("tasks" | "config"))) { 2 } else { 1 });
    }
    if options.is_empty() {
        return;
    }
    help.extend(["--help"]);
    if program.ends_with("curl") {
        help.push("all");
    }
    let text = output_of(&program, &help);
    if text.contains("no such command") || text.contains("is not installed") {
        // A part of cargo, or a toolchain, that the line before installs.
        return;
    }
    for option in options {
        assert!(text.contains(option), "{place}: `{}` has no {option}:\n{text}", words.join(" "));
    }
}

#[test]
fn what_is_not_run_is_a_script_whose_options_exist() {
    let shellcheck = program("shellcheck");
    let folder = Folder::new();
    let mut checked = 0;
    for (name, text) in documents() {
        for block in blocks(&text).iter().filter(|block| is_shell(block) && !block.is("run")) {
            if ELSEWHERE.contains(&name.as_str()) {
                continue;
            }
            let place = format!("{name}:{}", block.line);
            let file = folder.path().join("block.sh");
            fs::write(&file, &block.text).unwrap();
            let said = output_of(Path::new("bash"), &["-n", file.to_str().unwrap()]);
            assert_eq!(said, "", "{place}");
            if let Some(shellcheck) = &shellcheck {
                // A block is no whole program: its variables are used elsewhere, its folders are the reader's.
                let said =
                    output_of(shellcheck, &["-s", "bash", "-e", "SC2034,SC2164", file.to_str().unwrap()]);
                assert_eq!(said, "", "{place}");
            }
            for words in commands(&block.text) {
                assert_options(&place, &words);
                checked += 1;
            }
        }
        for span in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("data-exchange-agent "))
        {
            for words in commands(span) {
                assert_options(&format!("{name}: `{span}`"), &words);
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn the_command_for_a_real_sql_server_runs_every_test_that_asks_one() {
    let document = document("docs/TESTING.md");
    let found = blocks(&document);
    let command = found.iter().find(|block| block.text.starts_with("SQLSERVER_URL=")).expect("there is one");
    let filters: Vec<&str> =
        command.text.split_once(" -- ").expect("names of tests").1.split_whitespace().collect();
    let suite = root().join("tests/suite");
    // Written so that this file does not have the word itself.
    let asks = concat!("RealServer", "::if_named");
    let mut tests = 0;
    for path in rust_files(&suite) {
        let text = fs::read_to_string(&path).unwrap();
        let module = path.strip_prefix(&suite).unwrap().display().to_string();
        // A function that asks for the tests of its file goes by the name of the file.
        let functions = text.split("\nasync fn ").filter(|function| function.contains(asks));
        for function in functions {
            let name = function.split('(').next().unwrap_or_default();
            let is_run = |filter: &&str| module.contains(*filter) || name.contains(*filter);
            assert!(filters.iter().any(is_run), "{module}: {name} is not run by {filters:?}");
            tests += 1;
        }
    }
    assert!(tests > 5, "{tests}");
}
