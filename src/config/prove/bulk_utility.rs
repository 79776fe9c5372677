//! `[bulk_utility.<name>]`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use ::config::Value;

use super::super::bulk_utility::BulkUtilitySettings;
use super::super::known::Known;
use super::super::raw::{PREFIX, join};
use super::super::report::Report;
use super::super::section::Section;
use super::connections::{kind_of, named};
use crate::bulk::Kind;

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Names that a method of reading has already.
const TAKEN: [&str; 4] = ["auto", "native", "odbc", "jdbc"];

type Utilities = BTreeMap<String, BulkUtilitySettings>;

/// Every utility of the registry that needs no section, and those that have one.
pub(in crate::config) fn prove_bulk_utilities(
    report: &mut Report<'_>,
    value: Option<Value>,
    kinds: &[Kind],
) -> Utilities {
    let mut utilities = Utilities::new();
    for kind in kinds.iter().filter(|kind| kind.is_there_without_a_section) {
        // A section that is not there has the default of every key.
        let settings = prove_one(report, &join("bulk_utility", kind.name), kind, None);
        utilities.extend(settings.map(|settings| (kind.name.to_owned(), settings)));
    }
    let names: Vec<&'static str> = kinds.iter().map(|kind| kind.name).collect();
    for (name, path, value) in named(report, "bulk_utility", value) {
        let Some(written) = kind_of(report, &name, &path, &value, &names, |_| false) else { continue };
        let Some(kind) = kinds.iter().find(|kind| kind.name == written) else { continue };
        if TAKEN.contains(&name.as_str()) {
            let message = format!("has the name `{name}`, which means something else as a method");
            report.problem(&path, message, Some("Give the utility another name.".into()));
            continue;
        }
        if let Some(settings) = prove_one(report, &path, kind, Some(value)) {
            utilities.insert(name, settings);
        }
    }
    utilities
}

fn prove_one(
    report: &mut Report<'_>,
    path: &str,
    kind: &Kind,
    value: Option<Value>,
) -> Option<BulkUtilitySettings> {
    let has_section = value.is_some();
    let mut section = Section::open(report, path, value, Known::exactly(kind.keys));
    section.skip("kind");
    let executable = section.path("executable");
    let timeout = section.duration("timeout", SECOND..=MONTH);
    let longest_row = section.size("longest_row", KIB..=GIB);
    let longest_row = longest_row.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
    let variables = section.parsed("variables", VARIABLES, variables).unwrap_or_default();
    let needs_executable = !kind.is_there_without_a_section;
    if needs_executable {
        section.required("executable", executable.as_ref());
    }
    let default = BulkUtilitySettings::new((kind.prove)(&mut section)?);
    if needs_executable && executable.is_none() {
        return None;
    }
    Some(BulkUtilitySettings {
        executable,
        timeout: timeout.unwrap_or(default.timeout),
        longest_row: longest_row.unwrap_or(default.longest_row),
        variables,
        has_section,
        own: default.own,
    })
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
