//! `config print`: the configuration as the agent understands it, and where each value comes from.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use console::Style;
use serde_json::json;

use super::output;
use crate::config::{Effective, Environment, Overrides, effective};

#[derive(Clone, Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigCommand {
    /// Print every value that applies, defaults included, and where it comes from; secrets as ***.
    Print(PrintArguments),
}

#[derive(Clone, Debug, Args)]
struct PrintArguments {
    /// Configuration file [default: ./configuration.toml, then ~/.data_exchange_agent/configuration.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Secrets are never shown; this says so
    #[arg(long)]
    redacted: bool,
    /// Leave out what is a default
    #[arg(long)]
    without_defaults: bool,
    /// Print JSON: an array of keys with values and origins
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ConfigArguments) -> ExitCode {
    let ConfigCommand::Print(arguments) = &arguments.command;
    let found = effective(arguments.config.as_deref(), &Overrides::default(), &Environment::process());
    let (mut values, warnings) = match found {
        Ok(found) => found,
        Err(problems) => {
            for problem in &problems.0 {
                output::note(format_args!("error: {problem}"));
            }
            return ExitCode::from(super::CANNOT_START);
        }
    };
    for warning in &warnings {
        output::note(format_args!("warning: {warning}"));
    }
    if arguments.without_defaults {
        values.retain(|value| !value.is_default());
    }
    if arguments.json {
        let entry = |value: &Effective| {
            // Texts, numbers and truths are written alike in TOML and JSON.
            let shown: serde_json::Value =
                serde_json::from_str(&value.shown).unwrap_or_else(|_| value.shown.as_str().into());
            json!({"key": value.path(), "value": shown, "origin": value.origin()})
        };
        let entries: Vec<serde_json::Value> = values.iter().map(entry).collect();
        output::line(serde_json::to_string_pretty(&entries).expect("texts can be written as JSON"));
    } else {
        output::write(&toml(&values));
    }
    ExitCode::SUCCESS
}

/// The values as a TOML file, with the origins as comments.
fn toml(values: &[Effective]) -> String {
    let line = |value: &Effective| format!("{} = {}", value.key, value.shown);
    let width = values.iter().map(|value| line(value).chars().count()).filter(|width| *width <= WIDEST).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    let mut section = "";
    for value in values {
        if value.section != section {
            section = &value.section;
            let before = if text.is_empty() { "" } else { "\n" };
            text += &format!("{before}{}\n", Style::new().bold().apply_to(format!("[{section}]")));
        }
        let origin = Style::new().dim().apply_to(format!("# {}", value.origin()));
        text += &format!("{:width$}  {origin}\n", line(value));
    }
    text
}

/// Comments begin behind the longest line of at most this many characters.
const WIDEST: usize = 60;
