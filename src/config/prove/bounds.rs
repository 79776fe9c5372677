//! What tasks may do: `[bounds]`, and the same keys of API keys and task sources.

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::report::Report;
use super::super::section::Section;
use crate::bounds::{PathPrefix, TablePattern, TaskBounds};

/// `[bounds]`.
pub(super) fn prove_bounds(report: &mut Report<'_>, value: Option<Value>) -> TaskBounds {
    read_bounds(&mut Section::open(report, "bounds", value, Known::exactly(keys::BOUNDS)))
}

/// The keys of bounds in a section that has others too.
pub(super) fn read_bounds(section: &mut Section<'_, '_>) -> TaskBounds {
    let name = |word: &str| Some(word.to_owned());
    let names = "names, separated by commas";
    TaskBounds {
        sources: section.parsed("sources", names, |text| list(text, name)),
        destinations: section.parsed("destinations", names, |text| list(text, name)),
        path_prefixes: section.parsed(
            "path_prefixes",
            "directories, key prefixes and stages such as \"sales/, @db.schema.stage/sales/\", separated by commas",
            |text| list(text, PathPrefix::parse),
        ),
        load_tables: section.parsed(
            "load_tables",
            "tables such as \"DB.PUBLIC.ORDERS, DB.STAGING.*\", separated by commas",
            |text| list(text, TablePattern::parse),
        ),
    }
}

/// The entries of a list; `None` when there is none, or one of them is wrong.
fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let entries: Vec<T> =
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(read).collect::<Option<_>>()?;
    (!entries.is_empty()).then_some(entries)
}
