//! What the keys of a section are: texts, numbers, durations, words.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::config::ValueKind;

use super::{Entry, Section, Text, quoted};
use crate::config::Secret;
use crate::quantity;

impl Section<'_, '_> {
    /// A text that is not blank.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        let Entry { path, value } = self.take(key)?;
        let text = self.text_of(&path, value, "a string")?.text;
        if text.trim().is_empty() || text.contains('\0') {
            self.report.problem(&path, "is blank; expected a text", None);
            return None;
        }
        Some(text)
    }

    /// A text that may be empty.
    pub(crate) fn text_or_empty(&mut self, key: &str) -> Option<String> {
        let Entry { path, value } = self.take(key)?;
        Some(self.text_of(&path, value, "a string")?.text)
    }

    pub(crate) fn required_text(&mut self, key: &str) -> Option<String> {
        let text = self.text(key);
        self.required(key, text)
    }

    /// A secret; it is never part of a message. An empty text is none, as in version 1.2.0; an empty
    /// one behind a reference is a mistake.
    pub(crate) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.report.effective.redact(&self.path, key);
        let Entry { path, value } = self.take(key)?;
        let Text { text, shown, is_untyped } = self.text_of(&path, value, "a string")?;
        if text.is_empty() && is_untyped {
            self.report.problem(&path, format!("is {shown}, and that is empty"), None);
        }
        if text.is_empty() { None } else { Some(Secret::new(text)) }
    }

    /// A path; `~` at its beginning is the home directory.
    pub(crate) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path_of(key);
        let text = self.text(key)?;
        let expanded = self.report.environment.expand_home(&text);
        if expanded.is_none() {
            let remedy = "Write an absolute path, or set HOME.";
            self.report.problem(&path, "begins with ~, and there is no home directory", Some(remedy.into()));
        }
        expanded
    }

    pub(crate) fn required_path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path(key);
        self.required(key, path)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
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

    pub(crate) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
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
    pub(crate) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
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
    pub(crate) fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
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
    pub(crate) fn choice<T: Clone>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
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
    pub(crate) fn parsed<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let entry = self.take(key)?;
        self.understood(entry, expected, parse)
    }

    fn understood<T>(
        &mut self,
        Entry { path, value }: Entry,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text_of(&path, value, expected)?;
        let found = parse(&text.text);
        if found.is_none() {
            self.wrong(&path, &text.shown, expected);
        }
        found
    }

    /// The same for a key that version 1.2.0 has as a boolean and other tools as a text; `parse` sees
    /// `true` or `false` for a boolean.
    pub(crate) fn parsed_or_boolean<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let entry = self.take(key)?;
        if let ValueKind::Boolean(truth) = entry.value.kind {
            return parse(if truth { "true" } else { "false" });
        }
        self.understood(entry, expected, parse)
    }

    /// A text that `parse` understands and that no message shows, since a secret may hide in it.
    pub(crate) fn parsed_unseen<T>(
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
    pub(crate) fn address(&mut self, key: &str) -> Option<IpAddr> {
        self.parsed(key, "an IP address such as \"127.0.0.1\", or \"localhost\"", |text| match text {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            text => text.parse().ok(),
        })
    }
}
