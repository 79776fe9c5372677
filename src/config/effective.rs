//! The configuration as it applies: every value, defaults included, and where it was written.
//!
//! Secrets are not in it: a value that is read as a secret, or whose key has the name of one, is shown
//! as three stars. What a reference stands for is shown only where the whole value is one variable of
//! the environment and the key is no secret.

use std::path::Path;

use ::config::{Value, ValueKind};

use super::keys::{self, REQUIRED};
use super::known::Known;
use super::problem::Place;
use super::raw::join;
use super::{Environment, Overrides, Problems, Warning};
use crate::nearest::normal;

/// In the place of a secret, as a TOML text.
const STARS: &str = "\"***\"";

/// One value that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The section, `connections.source.sales` for example; empty for the first level.
    pub section: String,
    /// The key in it.
    pub key: String,
    /// The value as TOML; three stars for a secret.
    pub shown: String,
    place: Option<Place>,
    /// The reference that the value was written as.
    reference: Option<String>,
}

impl Effective {
    /// Section and key, as messages name them.
    #[must_use]
    pub fn path(&self) -> String {
        join(&self.section, &self.key)
    }

    /// Where the value was written, in words.
    #[must_use]
    pub fn origin(&self) -> String {
        let place = self.place.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
        match &self.reference {
            Some(reference) => format!("{place}, {reference}"),
            None => place,
        }
    }

    /// True when nobody wrote it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.place.is_none()
    }
}

/// Reads the configuration as [`super::load`] does, and returns every value of it in the order of its
/// sections.
///
/// # Errors
/// Every problem, when the agent would not start with it.
pub fn effective(
    explicit: Option<&Path>,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<(Vec<Effective>, Vec<Warning>), Problems> {
    super::load_with(explicit, overrides, environment, |report| report.effective.take())
        .map(|(_, _, warnings, values)| (values, warnings))
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Effective>);

impl Values {
    /// A section begins: until a value of it is read, its defaults apply.
    pub(super) fn open(&mut self, section: &str, known: Known) {
        if self.0.iter().any(|value| value.section == section) {
            return;
        }
        for key in known.keys.iter().chain(known.driver) {
            if let Some(shown) = default_of(section, key) {
                let (section, key) = (section.to_owned(), key.name.to_owned());
                self.0.push(Effective { section, key, shown, place: None, reference: None });
            }
        }
    }

    /// Everything, sections in the order in which the first level is documented.
    pub(super) fn take(&mut self) -> Vec<Effective> {
        let mut values = std::mem::take(&mut self.0);
        values.sort_by_key(|value| {
            let first = value.section.split('.').next().unwrap_or_default();
            keys::TOP.iter().position(|key| key.name == first)
        });
        values
    }

    /// A value was found. Tables and lists have values of their own.
    pub(super) fn found(
        &mut self,
        section: &str,
        key: &'static keys::Key,
        value: &Value,
        place: Option<Place>,
    ) {
        let (shown, reference) = match &value.kind {
            ValueKind::String(text) if is_secret_name(key) => (STARS.to_owned(), reference_in(text)),
            ValueKind::String(text) => (shown_text(text), reference_in(text)),
            ValueKind::Boolean(truth) => (truth.to_string(), None),
            ValueKind::I64(number) => (number.to_string(), None),
            ValueKind::Float(number) => (number.to_string(), None),
            _ => return,
        };
        let value = Effective {
            section: section.to_owned(),
            key: key.name.to_owned(),
            shown,
            // Without a place of its own a value still was written somewhere.
            place: place.or(Some(Place::Argument("configuration"))),
            reference,
        };
        match self.find(section, key.name) {
            Some(default) => *default = value,
            None => {
                let behind = self.0.iter().rposition(|other| other.section == section);
                self.0.insert(behind.map_or(self.0.len(), |position| position + 1), value);
            }
        }
    }

    /// The value turned out to be this, after its references were followed.
    pub(super) fn resolved(&mut self, section: &str, key: &str, shown: String) {
        if let Some(value) = self.find(section, key)
            && value.shown != STARS
        {
            value.shown = shown;
        }
    }

    /// The value is the text of this one variable.
    pub(super) fn followed(&mut self, section: &str, key: &str, text: &str) {
        let Some(value) = self.find(section, key) else { return };
        let is_one_variable = value
            .reference
            .as_deref()
            .is_some_and(|reference| reference.starts_with("${env:") && value.shown == quoted(reference));
        if is_one_variable && value.shown != STARS {
            value.shown = shown_text(text);
        }
    }

    /// The value is a secret.
    pub(super) fn redact(&mut self, section: &str, key: &str) {
        if let Some(value) = self.find(section, key)
            && !value.is_default()
        {
            value.shown = STARS.to_owned();
        }
    }

    fn find(&mut self, section: &str, key: &str) -> Option<&mut Effective> {
        self.0.iter_mut().find(|value| value.section == section && value.key == key)
    }
}

/// The default of a key, where it is a value and not a sentence.
fn default_of(section: &str, key: &keys::Key) -> Option<String> {
    if key.name == "kind" {
        // Without a kind, the name of a connection is its kind.
        return section.rsplit('.').next().map(quoted);
    }
    let is_value = format!("key = {}", key.default).parse::<toml::Table>().is_ok();
    (is_value && key.default != REQUIRED).then(|| key.default.to_owned())
}

fn is_secret_name(key: &keys::Key) -> bool {
    let mut names = std::iter::once(&key.name).chain(key.also);
    key.kind.contains("secret")
        || names.any(|name| keys::SECRETS.iter().any(|secret| normal(secret) == normal(name)))
}

/// The first reference of a text, as it was written.
fn reference_in(text: &str) -> Option<String> {
    let begin = ["${env:", "${file:", "${"].iter().find_map(|opening| text.find(opening))?;
    let end = text[begin..].find('}')?;
    let reference = &text[begin..=begin + end];
    // The arguments of a program may hold a secret themselves.
    Some(match reference.strip_prefix("${cmd:").and_then(|line| line.split_whitespace().next()) {
        Some(program) => format!("${{cmd:{} ...}}", program.trim_end_matches('}')),
        None => reference.to_owned(),
    })
}

/// A text as TOML, without passwords in URLs and connection strings.
fn shown_text(text: &str) -> String {
    let plain = normal(text).replace(' ', "");
    if ["password=", "pwd=", "accountkey=", "sharedaccesssignature=", "sig="]
        .iter()
        .any(|word| plain.contains(word))
    {
        return STARS.to_owned();
    }
    let Some((before, after)) = text.split_once("://") else { return quoted(text) };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => quoted(&format!("{before}://{user}:***@{host}{}", &after[authority.len()..])),
        None => quoted(text),
    }
}

/// JSON's escapes are TOML's, too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written as JSON").replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_shown_without_the_arguments_of_a_program() {
        for (text, expected) in [
            ("a ${env:X} b", "${env:X}"),
            ("${vault:db#password}", "${vault:db#password}"),
            ("${cmd:pass show hunter2}", "${cmd:pass ...}"),
            ("${cmd:pass}", "${cmd:pass ...}"),
        ] {
            assert_eq!(reference_in(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn passwords_inside_texts_are_not_shown() {
        for (text, expected) in [
            ("plain \"text\"", r#""plain \"text\"""#),
            ("https://host/path", r#""https://host/path""#),
            ("https://user:hunter2@host/path?a=b", r#""https://user:***@host/path?a=b""#),
            ("https://user:hunt@er2@host", r#""https://user:***@host""#),
            ("DRIVER=x;UID=a;Pwd = hunter2", STARS),
            ("https://x.blob.core.windows.net/c?sv=1&sig=abc", STARS),
        ] {
            assert_eq!(shown_text(text), expected, "{text}");
        }
    }
}
