//! `[bulk_utility.<name>]` with `kind = "command"`.

use std::sync::Arc;

use super::Command;
use crate::bulk::kind::{self, Kind, Own, OwnSettings};
use crate::bulk::{BulkUtility, template, terminator};
use crate::config::{BulkUtilitySettings, REQUIRED, Section, key};

/// A utility by any name, as the registry knows it.
pub(in crate::bulk) const KIND: Kind = Kind {
    name: "command",
    keys: &[
        kind::WHICH,
        key(
            "executable",
            "path, or a name that is in `PATH`",
            REQUIRED,
            "The program, started without a shell.",
        ),
        key(
            "arguments",
            "string",
            "\"\"",
            "The arguments, separated by blanks; quotes keep blanks together. No shell reads them. `{query}`, `{host}`, \
             `{port}`, `{database}`, `{username}` and `{output}` are replaced, each within its argument.",
        ),
        key("format", "`\"csv\"`, `\"delimited\"`", "\"csv\"", "What the program writes."),
        key(
            "delimiter",
            "string of ASCII",
            "",
            "Between two fields; a comma when absent, and U+001F for `delimited`.",
        ),
        key(
            "row_terminator",
            "string of ASCII",
            "",
            "After a row, a line end when absent; for `delimited` only.",
        ),
        key("null", "string", "", "The text that is NULL, an empty one when absent; for `delimited` only."),
        key("header", "boolean", "", "The first row has the names of the columns; for `csv` only."),
        key(
            "reports_rows",
            "boolean",
            "false",
            "The program ends its messages with the line `rows N`, which is compared with the rows that arrived.",
        ),
        kind::TIMEOUT,
        kind::LONGEST_ROW,
        kind::VARIABLES,
    ],
    is_there_without_a_section: false,
    prove: |section| prove(section).map(Own::new),
};

/// What a program of the user may ask for in its arguments.
const PLACEHOLDERS: [&str; 6] = ["query", "host", "port", "database", "username", "output"];

/// A section with `kind = "command"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandSettings {
    /// The arguments, with placeholders.
    pub(super) arguments: Vec<String>,
    /// How the output tells fields and rows apart.
    pub(super) format: CommandFormat,
    /// The last line of its messages says how many rows there were.
    pub(super) reports_rows: bool,
}

/// What the user's own program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommandFormat {
    /// RFC 4180: quotes where they are needed; an empty field without quotes is NULL.
    Csv {
        /// Between two fields.
        delimiter: String,
        /// The first row has the names of the columns.
        header: bool,
    },
    /// No quotes: terminators that no value has.
    Delimited {
        /// Between two fields.
        delimiter: String,
        /// After a row.
        row_terminator: String,
        /// The text that is NULL.
        null: String,
    },
}

impl OwnSettings for CommandSettings {
    fn utility(&self, name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        Arc::new(Command::new(name, settings, self.clone()))
    }
}

/// `None` after a problem of the arguments.
fn prove(section: &mut Section<'_, '_>) -> Option<CommandSettings> {
    let arguments = section.parsed("arguments", "arguments whose quotes are closed", template::words);
    let arguments = arguments.unwrap_or_default();
    for word in &arguments {
        for name in template::placeholders(word) {
            if !PLACEHOLDERS.contains(&name) {
                let message = format!("has the placeholder {{{name}}}, which stands for nothing");
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                section.problem("arguments", message, Some(&format!("Known are {known}.")));
                return None;
            }
        }
    }
    let is_csv = section.choice("format", &[("csv", true), ("delimited", false)]).unwrap_or(true);
    let delimiter = section.parsed("delimiter", terminator::EXPECTED, terminator::read);
    let row_terminator = section.parsed("row_terminator", terminator::EXPECTED, terminator::read);
    let null = section.text_or_empty("null");
    let header = section.boolean("header");
    let misplaced: &[&str] = if is_csv { &["row_terminator", "null"] } else { &["header"] };
    for key in misplaced {
        if section.has(key) {
            let message =
                format!("means nothing for format = \"{}\"", if is_csv { "csv" } else { "delimited" });
            section.problem(key, message, Some("Remove it."));
        }
    }
    let format = if is_csv {
        let delimiter = delimiter.unwrap_or_else(|| ",".into());
        if delimiter.len() != 1 || delimiter == "\n" || delimiter == "\r" {
            section.problem("delimiter", "is no delimiter of CSV; expected one character", None);
        }
        CommandFormat::Csv { delimiter, header: header.unwrap_or_default() }
    } else {
        let delimiter = delimiter.unwrap_or_else(|| "\u{1f}".into());
        let row_terminator = row_terminator.unwrap_or_else(|| "\n".into());
        terminator::prove(section, &delimiter, &row_terminator);
        CommandFormat::Delimited { delimiter, row_terminator, null: null.unwrap_or_default() }
    };
    let reports_rows = section.boolean("reports_rows").unwrap_or_default();
    Some(CommandSettings { arguments, format, reports_rows })
}
