//! The typed reader of one section: every wrong key, type and value becomes a problem, and reading
//! goes on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::keys::key_names;
use super::known::Known;
use super::problem::Place;
use super::raw::{Table, join};
use super::report::Report;
use super::{Secret, reference};
use crate::quantity;

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
pub(super) struct Section<'r, 'e> {
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
    pub(super) fn has(&self, key: &str) -> bool {
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
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>, remedy: Option<&str>) {
        let path = self.path_of(key);
        self.report.problem(&path, message, remedy.map(str::to_owned));
    }

    /// Passes a required value on, or says that it is missing.
    /// A wrong value is not missing too.
    pub(super) fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
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

    /// A text that is not blank.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let Entry { path, value } = self.take(key)?;
        let text = self.text_of(&path, value, "a string")?.text;
        if text.trim().is_empty() || text.contains('\0') {
            self.report.problem(&path, "is blank; expected a text", None);
            return None;
        }
        Some(text)
    }

    /// A text that may be empty.
    pub(super) fn text_or_empty(&mut self, key: &str) -> Option<String> {
        let Entry { path, value } = self.take(key)?;
        Some(self.text_of(&path, value, "a string")?.text)
    }

    pub(super) fn required_text(&mut self, key: &str) -> Option<String> {
        let text = self.text(key);
        self.required(key, text)
    }

    /// A secret; it is never part of a message. An empty text is none, as in version 1.2.0; an empty
    /// one behind a reference is a mistake.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.report.effective.redact(&self.path, key);
        let Entry { path, value } = self.take(key)?;
        let Text { text, shown, is_untyped } = self.text_of(&path, value, "a string")?;
        if text.is_empty() && is_untyped {
            self.report.problem(&path, format!("is {shown}, and that is empty"), None);
        }
        if text.is_empty() { None } else { Some(Secret::new(text)) }
    }

    /// A path; `~` at its beginning is the home directory.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path_of(key);
        let text = self.text(key)?;
        let expanded = self.report.environment.expand_home(&text);
        if expanded.is_none() {
            let remedy = "Write an absolute path, or set HOME.";
            self.report.problem(&path, "begins with ~, and there is no home directory", Some(remedy.into()));
        }
        expanded
    }

    pub(super) fn required_path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path(key);
        self.required(key, path)
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        const EXPECTED: &str = "true or false";
        let Entry { path, value } = self.take(key)?;
        if let ValueKind::Boolean(truth) = value.kind {
            return Some(truth);
        }
        let text = self.text_of(&path, value, EXPECTED)?;
        self.report.effective.resolved(&self.path, key, text.text.trim().to_ascii_lowercase());
        match text.text.trim().to_ascii_lowercase().as_str() {
            "true" if text.is_untyped => Some(true),
            "false" if text.is_untyped => Some(false),
            _ => {
                self.wrong(&path, &text.shown, EXPECTED);
                None
            }
        }
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let Entry { path, value } = self.take(key)?;
        let (number, shown) = match value.kind {
            ValueKind::I64(number) => (Some(number), number.to_string()),
            _ => {
                let text = self.text_of(&path, value, &expected)?;
                (text.text.trim().parse().ok().filter(|_| text.is_untyped), text.shown)
            }
        };
        let found = number.filter(|number| range.contains(number));
        match found {
            Some(number) => self.report.effective.resolved(&self.path, key, number.to_string()),
            None => self.wrong(&path, &shown, &expected),
        }
        found
    }

    /// A number of seconds, or a text with a unit.
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let expected = format!(
            "a duration from {} to {}, in seconds or as a text like \"90s\", \"5m\", \"2h\"",
            quantity::show_duration(*range.start()),
            quantity::show_duration(*range.end())
        );
        let seconds = |number: i64| u64::try_from(number).ok().map(Duration::from_secs);
        self.quantity(key, &expected, seconds, quantity::duration).and_then(|(path, shown, duration)| {
            let found = duration.filter(|duration| range.contains(duration));
            if found.is_none() {
                self.wrong(&path, &shown, &expected);
            }
            found
        })
    }

    /// A number of bytes, or a text with a unit.
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let bounds = match *range.end() {
            u64::MAX => format!("of at least {}", quantity::show_size(*range.start())),
            end => format!("from {} to {}", quantity::show_size(*range.start()), quantity::show_size(end)),
        };
        let expected = format!("a size {bounds}, in bytes or as a text like \"64 MiB\", \"8MB\"");
        let bytes = |number: i64| u64::try_from(number).ok();
        self.quantity(key, &expected, bytes, quantity::size).and_then(|(path, shown, size)| {
            let found = size.filter(|size| range.contains(size));
            if found.is_none() {
                self.wrong(&path, &shown, &expected);
            }
            found
        })
    }

    fn quantity<T>(
        &mut self,
        key: &str,
        expected: &str,
        plain: impl Fn(i64) -> Option<T>,
        with_unit: impl Fn(&str) -> Option<T>,
    ) -> Option<(String, String, Option<T>)> {
        let Entry { path, value } = self.take(key)?;
        if let ValueKind::I64(number) = value.kind {
            return Some((path, number.to_string(), plain(number)));
        }
        let Text { text, shown, is_untyped } = self.text_of(&path, value, expected)?;
        let number = text.trim().parse().ok().filter(|_| is_untyped);
        let found = number.map_or_else(|| with_unit(&text), plain);
        Some((path, shown, found))
    }

    /// One of some words, exactly as they are written.
    pub(super) fn choice<T: Clone>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let mut expected = String::from(if words.len() > 1 { "one of " } else { "" });
        for (index, (word, _)) in words.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(expected, "{comma}{}", quoted(word));
        }
        self.parsed(key, &expected, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone())
        })
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Entry { path, value } = self.take(key)?;
        let text = self.text_of(&path, value, expected)?;
        let found = parse(&text.text);
        if found.is_none() {
            self.wrong(&path, &text.shown, expected);
        }
        found
    }

    /// The same for a key that version 1.2.0 has as a boolean and other tools as a text; `parse` sees
    /// `true` or `false` for a boolean.
    pub(super) fn parsed_or_boolean<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Entry { path, value } = self.take(key)?;
        if let ValueKind::Boolean(truth) = value.kind {
            return parse(if truth { "true" } else { "false" });
        }
        let text = self.text_of(&path, value, expected)?;
        let found = parse(&text.text);
        if found.is_none() {
            self.wrong(&path, &text.shown, expected);
        }
        found
    }

    /// A text that `parse` understands and that no message shows, since a secret may hide in it.
    pub(super) fn parsed_unseen<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.report.effective.redact(&self.path, key);
        let Entry { path, value } = self.take(key)?;
        let text = self.text_of(&path, value, expected)?;
        let found = parse(&text.text);
        if found.is_none() {
            self.report.problem(&path, format!("is not {expected}"), None);
        }
        found
    }

    /// An address to listen on.
    pub(super) fn address(&mut self, key: &str) -> Option<IpAddr> {
        self.parsed(key, "an IP address such as \"127.0.0.1\", or \"localhost\"", |text| match text {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            text => text.parse().ok(),
        })
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
