//! The typed reader of one section: every wrong key, type and value becomes a problem, and reading
//! goes on.

mod values;

use std::collections::BTreeMap;

use ::config::{Value, ValueKind};

use super::keys::key_names;
use super::known::Known;
use super::problem::Place;
use super::raw::{Table, join};
use super::reference;
use super::report::Report;

struct Entry {
    /// As it was written, for messages.
    path: String,
    value: Value,
}

/// A text and where it comes from.
struct Text {
    text: String,
    /// How it may be shown: its own text, or the reference that it comes from.
    shown: String,
    /// True when the type is for the reader to find out: environment, command line, references.
    is_untyped: bool,
}

/// One section while it is read.
pub(crate) struct Section<'r, 'e> {
    path: String,
    entries: BTreeMap<&'static str, Entry>,
    /// How each key was written, also after it was read.
    paths: BTreeMap<&'static str, String>,
    known: Known,
    /// True when the section itself was wrong, so that nothing is missing from it.
    is_broken: bool,
    report: &'r mut Report<'e>,
}

impl<'r, 'e> Section<'r, 'e> {
    /// Opens a section; an absent one is empty.
    pub(super) fn open(report: &'r mut Report<'e>, path: &str, value: Option<Value>, known: Known) -> Self {
        let mut section = Self {
            path: path.to_owned(),
            entries: BTreeMap::new(),
            paths: BTreeMap::new(),
            known,
            is_broken: false,
            report,
        };
        // What nobody has asked for, below the first level, is not there at all.
        if value.is_some() || !path.contains('.') {
            section.report.effective.open(path, known);
        }
        if let Some(value) = value {
            match section.report.table(path, value) {
                Some(table) => section.absorb(path, table, known),
                None => section.is_broken = true,
            }
        }
        section
    }

    /// Takes in the entries of a table that belong to this section.
    fn absorb(&mut self, path: &str, table: Table, known: Known) {
        let mut written: Vec<(String, Value)> = table.into_iter().collect();
        written.sort_by(|left, right| left.0.cmp(&right.0));
        for (name, value) in written {
            let path = join(path, &name);
            if let Some(key) = known.find(&name) {
                if let Some(earlier) = self.paths.get(key.name) {
                    let message = format!("is given twice, as {earlier} too");
                    self.report.problem(&path, message, Some("Keep one of them.".into()));
                } else {
                    let place = self.report.place(&path);
                    self.report.effective.found(&self.path, key, &value, place);
                    self.paths.insert(key.name, path.clone());
                    self.entries.insert(key.name, Entry { path, value });
                }
            } else if known.is_ignored(&name) {
                self.report.warning(&path, "is a driver option that this version does not use", None);
            } else {
                self.report.unknown(&path, &name, key_names(known.keys).chain(key_names(known.driver)));
            }
        }
    }

    /// Reads the table of driver options as if they stood beside the other keys.
    pub(super) fn absorb_options(&mut self, key: &str) {
        let Some(Entry { path, value }) = self.take(key) else { return };
        let known = Known { keys: &[], ..self.known };
        if let Some(table) = self.report.table(&path, value) {
            self.absorb(&path, table, known);
        }
    }

    /// Takes an entry out.
    ///
    /// Invariant: nothing reads a key that the section does not list, so that the lists of `keys`
    /// are complete.
    fn take(&mut self, key: &str) -> Option<Entry> {
        let is_listed =
            key_names(self.known.keys).chain(key_names(self.known.driver)).any(|name| name == key);
        debug_assert!(is_listed, "{key} is read in {} and not listed", self.path);
        self.entries.remove(key)
    }

    /// Takes out a value that has a proof of its own.
    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        self.take(key).map(|entry| entry.value)
    }

    /// Takes out a key that nobody reads. True when it was there.
    pub(super) fn skip(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// True when the key was written, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.paths.contains_key(key)
    }

    /// The path of a key of this section, for messages.
    pub(super) fn path_of(&self, key: &str) -> String {
        self.paths.get(key).cloned().unwrap_or_else(|| join(&self.path, key))
    }

    pub(super) fn report(&mut self) -> &mut Report<'e> {
        self.report
    }

    /// A problem of this key in this section.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>, remedy: Option<&str>) {
        let path = self.path_of(key);
        self.report.problem(&path, message, remedy.map(str::to_owned));
    }

    /// The same for what the agent can live with.
    pub(crate) fn warning(&mut self, key: &str, message: &str, remedy: Option<&str>) {
        let path = self.path_of(key);
        self.report.warning(&path, message, remedy.map(str::to_owned));
    }

    /// Passes a required value on, or says that it is missing.
    /// A wrong value is not missing too.
    pub(crate) fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(key) && !self.is_broken {
            // A URL is a section without a path.
            let place = if self.path.is_empty() { "URL" } else { "section" };
            self.problem(key, "is missing", Some(&format!("Add {key} to the {place}.")));
        }
        value
    }

    fn wrong(&mut self, path: &str, shown: &str, expected: &str) {
        self.report.problem(path, format!("is {shown}; expected {expected}"), None);
    }

    /// The text of an entry, its references replaced.
    fn text_of(&mut self, path: &str, value: Value, expected: &str) -> Option<Text> {
        let ValueKind::String(written) = value.kind else {
            self.wrong(path, type_name(&value.kind), expected);
            return None;
        };
        let text = self.resolve(path, &written)?;
        if let Some((key, _)) = self.paths.iter().find(|(_, written)| *written == path) {
            self.report.effective.followed(&self.path, key, &text.text);
        }
        Some(text)
    }

    fn resolve(&mut self, path: &str, written: &str) -> Option<Text> {
        match reference::resolve(written, self.report.environment, &self.report.stores) {
            Ok(resolved) => {
                let is_elsewhere =
                    matches!(self.report.place(path), Some(Place::Variable(_) | Place::Argument(_)));
                let (shown, is_untyped) = match resolved.reference {
                    Some(reference) => (format!("what {reference} stands for"), true),
                    None if is_elsewhere => (quoted(&resolved.text), true),
                    None => (format!("the string {}", quoted(&resolved.text)), false),
                };
                Some(Text { text: resolved.text, shown, is_untyped })
            }
            Err(broken) => {
                self.report.problem(path, broken.message, Some(broken.remedy));
                None
            }
        }
    }
}

impl Report<'_> {
    /// The entries of a section, or a problem when it is none.
    pub(super) fn table(&mut self, path: &str, value: Value) -> Option<Table> {
        match value.kind {
            ValueKind::Table(table) => Some(table),
            other => {
                let message = format!("is {}; expected a table", type_name(&other));
                self.problem(path, message, Some(format!("Write it as a section: [{path}].")));
                None
            }
        }
    }
}

/// A text in quotes, cut when it is long: only its beginning says which one it is.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

pub(super) fn type_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "an integer",
        ValueKind::Float(_) => "a float",
        ValueKind::String(_) => "a string",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "an array",
    }
}
