//! docs/COMMAND_LINE.md: every example in it is run, in order, and prints what the document says.

use std::fs;

use super::agent_commands::shop;
use crate::support::agent::PATIENCE;
use crate::support::document::{are_lines, blocks};

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
