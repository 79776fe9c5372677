//! `[bulk_utility.<name>]`.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use ::config::Value;

use super::super::bulk_utility::{
    BcpDialect, BcpSettings, BulkUtilityKind, BulkUtilitySettings, CommandFormat, CommandSettings,
    PasswordBy, TptSettings,
};
use super::super::keys::{self, Key};
use super::super::known::Known;
use super::super::raw::PREFIX;
use super::super::report::Report;
use super::super::section::Section;
use super::connections::{kind_of, named};
use crate::bulk::template;

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// The utilities, in the order of the documentation. All but the last have a default for everything,
/// so that they are there without a section.
const KINDS: &[&str] = &["bcp", "psql", "mysql", "tpt", "command"];

/// Names that a method of reading has already.
const TAKEN: [&str; 4] = ["auto", "native", "odbc", "jdbc"];

/// What a program of the user may ask for in its arguments.
const PLACEHOLDERS: [&str; 6] = ["query", "host", "port", "database", "username", "output"];

type Utilities = BTreeMap<String, BulkUtilitySettings>;

pub(super) fn prove_bulk_utilities(report: &mut Report<'_>, value: Option<Value>) -> Utilities {
    let mut utilities: Utilities = [
        ("bcp", BulkUtilityKind::Bcp(BcpSettings::default())),
        ("psql", BulkUtilityKind::Psql),
        ("mysql", BulkUtilityKind::Mysql),
        ("tpt", BulkUtilityKind::Tpt(TptSettings::default())),
    ]
    .into_iter()
    .map(|(name, kind)| (name.to_owned(), BulkUtilitySettings::new(kind)))
    .collect();
    for (name, path, value) in named(report, "bulk_utility", value) {
        let Some(kind) = kind_of(report, &name, &path, &value, KINDS, |_| false) else { continue };
        if TAKEN.contains(&name.as_str()) {
            let message = format!("has the name `{name}`, which means something else as a method");
            report.problem(&path, message, Some("Give the utility another name.".into()));
            continue;
        }
        if let Some(settings) = prove_one(report, &path, &kind, value) {
            utilities.insert(name, settings);
        }
    }
    utilities
}

fn prove_one(report: &mut Report<'_>, path: &str, kind: &str, value: Value) -> Option<BulkUtilitySettings> {
    let known: &'static [Key] = match kind {
        "bcp" => keys::BCP,
        "psql" => keys::PSQL,
        "mysql" => keys::MYSQL_CLIENT,
        "tpt" => keys::TPT,
        _ => keys::COMMAND,
    };
    let mut section = Section::open(report, path, Some(value), Known::exactly(known));
    section.skip("kind");
    let executable = section.path("executable");
    let timeout = section.duration("timeout", SECOND..=MONTH);
    let longest_row = section.size("longest_row", KIB..=GIB);
    let longest_row = longest_row.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
    let variables = section.parsed("variables", VARIABLES, variables).unwrap_or_default();
    let kind = match kind {
        "bcp" => BulkUtilityKind::Bcp(prove_bcp(&mut section)),
        "psql" => BulkUtilityKind::Psql,
        "mysql" => BulkUtilityKind::Mysql,
        "tpt" => BulkUtilityKind::Tpt(TptSettings {
            max_sessions: section.integer("max_sessions", 1..=1000).and_then(small),
        }),
        _ => BulkUtilityKind::Command(prove_command(&mut section, executable.is_some())?),
    };
    Some(BulkUtilitySettings {
        executable,
        timeout: timeout.unwrap_or(BulkUtilitySettings::DEFAULT_TIMEOUT),
        longest_row: longest_row.unwrap_or(BulkUtilitySettings::DEFAULT_LONGEST_ROW),
        variables,
        has_section: true,
        kind,
    })
}

fn small(number: i64) -> Option<NonZeroU16> {
    NonZeroU16::new(u16::try_from(number).ok()?)
}

fn prove_bcp(section: &mut Section<'_, '_>) -> BcpSettings {
    let default = BcpSettings::default();
    let dialect =
        section.choice("dialect", &[("microsoft", BcpDialect::Microsoft), ("freetds", BcpDialect::FreeTds)]);
    let delimiter = section.parsed("delimiter", TERMINATOR, terminator);
    let row_terminator = section.parsed("row_terminator", TERMINATOR, terminator);
    section.parsed("encoding", "\"UTF8\"", |text| {
        matches!(text.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "65001").then_some(())
    });
    for (key, written) in [("delimiter", &delimiter), ("row_terminator", &row_terminator)] {
        if written.as_ref().is_some_and(|text| {
            text.bytes().all(|byte| byte >= b' ' || byte == b'\t' || byte == b'\n' || byte == b'\r')
        }) {
            let path = section.path_of(key);
            let remedy = "A value that has it fails the attempt. Leave the key out: the default is a control character.";
            section.report().warning(&path, "is a text that values can have", Some(remedy.into()));
        }
    }
    let delimiter = delimiter.unwrap_or(default.delimiter);
    let row_terminator = row_terminator.unwrap_or(default.row_terminator);
    prove_terminators(section, &delimiter, &row_terminator);
    BcpSettings {
        dialect,
        delimiter,
        row_terminator,
        trusted_connection: section.boolean("trusted_connection").unwrap_or_default(),
        encrypt: section.boolean("encrypt"),
        packet_size: section.integer("packet_size", 512..=32_767).and_then(small),
        password_by: section
            .choice("password_by", &[("input", PasswordBy::Input), ("argument", PasswordBy::Argument)])
            .unwrap_or(default.password_by),
    }
}

/// Two terminators that are found where they were written, whatever stands before them.
fn prove_terminators(section: &mut Section<'_, '_>, delimiter: &str, row_terminator: &str) {
    const REMEDY: &str = "Characters could move from one value to the next. Choose terminators of one character, \
                          or of several that all differ.";
    if delimiter == row_terminator {
        section.problem("delimiter", "is the same as row_terminator", Some("Choose two that differ."));
        return;
    }
    for (key, written) in [("delimiter", delimiter), ("row_terminator", row_terminator)] {
        if is_found_too_early(written, written) {
            let message = "begins as it ends, so that nobody can tell where it begins behind some values";
            section.problem(key, message, Some(REMEDY));
        }
    }
    if is_found_too_early(delimiter, row_terminator) || is_found_too_early(row_terminator, delimiter) {
        let message = "overlaps row_terminator, so that nobody can tell where one of them begins";
        section.problem("delimiter", message, Some(REMEDY));
    }
}

/// True when there is a text without `found` in it after which `written` looks as if `found` were there, or
/// ended before it does.
fn is_found_too_early(found: &str, written: &str) -> bool {
    let is_same = found == written;
    // The end of what is found is the beginning of what is written: `a|` before `||`.
    let most = if is_same { written.len() - 1 } else { written.len() };
    let spans = (1..=most.min(found.len() - 1)).any(|length| found.ends_with(&written[..length]));
    // It stands inside, before the end.
    let inside = !is_same && written.find(found).is_some_and(|place| place + found.len() < written.len());
    spans || inside
}

const VARIABLES: &str =
    "names of variables, separated by blanks, with a * at the end or without, and none of the agent's own";

fn variables(text: &str) -> Option<Vec<String>> {
    let is_name = |word: &str| {
        let name = word.strip_suffix('*').unwrap_or(word);
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let reaches_own = name.starts_with(PREFIX) || (word.ends_with('*') && PREFIX.starts_with(name));
        is_plain && !name.is_empty() && !reaches_own
    };
    text.split_ascii_whitespace().map(|word| is_name(word).then(|| word.to_owned())).collect()
}

const TERMINATOR: &str = "one to eight characters of ASCII, not beginning with 0x";

/// A terminator as bcp reads it.
fn terminator(text: &str) -> Option<String> {
    let mut read = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        read.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '\\' => '\\',
                _ => return None,
            },
            letter => letter,
        });
    }
    let is_plain = read.bytes().all(|byte| byte.is_ascii() && byte != 0 && byte != b'"');
    ((1..=8).contains(&read.len()) && is_plain && !read.starts_with("0x")).then_some(read)
}

/// `None` after a problem.
fn prove_command(section: &mut Section<'_, '_>, has_executable: bool) -> Option<CommandSettings> {
    section.required("executable", has_executable.then_some(()));
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
    let delimiter = section.parsed("delimiter", TERMINATOR, terminator);
    let row_terminator = section.parsed("row_terminator", TERMINATOR, terminator);
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
        prove_terminators(section, &delimiter, &row_terminator);
        CommandFormat::Delimited { delimiter, row_terminator, null: null.unwrap_or_default() }
    };
    let reports_rows = section.boolean("reports_rows").unwrap_or_default();
    has_executable.then_some(CommandSettings { arguments, format, reports_rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminators_that_overlap_are_told_from_those_that_do_not() {
        let overlap = |delimiter: &str, row_terminator: &str| {
            let pairs =
                [(delimiter, delimiter), (row_terminator, row_terminator), (delimiter, row_terminator)];
            pairs.iter().any(|(a, b)| is_found_too_early(a, b))
                || is_found_too_early(row_terminator, delimiter)
        };
        for (delimiter, row_terminator) in
            [(",", "\n"), ("\u{1f}", "\u{1e}"), ("\t", "\r\n"), ("|~", "\n"), ("<f>", "<r>"), ("ab", "cd")]
        {
            assert!(!overlap(delimiter, row_terminator), "{delimiter:?} {row_terminator:?}");
        }
        for (delimiter, row_terminator) in [
            ("||", "\n"),
            ("|~|", "\n"),
            (",", "\n\n"),
            ("|~", "~\n"),
            ("\n", "\r\n"),
            ("|", "|\n"),
            ("|", "a|b"),
        ] {
            assert!(overlap(delimiter, row_terminator), "{delimiter:?} {row_terminator:?}");
        }
    }
}
