//! Reads the fields of a JSON object and collects everything that is wrong, not only the first.
//!
//! Values of wrong fields are never repeated in an answer: they may be anything, also a secret
//! that was put into the wrong place.

use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::problem::{FieldError, Problem};
use crate::{nearest, quantity};

/// Errors that one answer lists at most; the others are only counted.
const MAX_ERRORS: usize = 100;
/// Characters of an unknown name that an answer repeats.
const MAX_NAME: usize = 64;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<FieldError>,
    more: usize,
    /// Fields that are right and not allowed.
    refused: Vec<FieldError>,
}

impl Findings {
    /// Adds a wrong field of the body.
    pub(super) fn add(&mut self, pointer: String, detail: impl Into<String>) {
        self.push(FieldError { pointer: Some(pointer), parameter: None, detail: detail.into() });
    }

    /// Adds a field of the body that leads out of the bounds of the caller.
    pub(super) fn refuse(&mut self, pointer: String, detail: impl Into<String>) {
        if self.refused.len() < MAX_ERRORS {
            self.refused.push(FieldError { pointer: Some(pointer), parameter: None, detail: detail.into() });
        }
    }

    /// Adds a wrong query parameter.
    pub(super) fn add_parameter(&mut self, name: &str, detail: impl Into<String>) {
        self.push(FieldError { pointer: None, parameter: Some(shorten(name)), detail: detail.into() });
    }

    fn push(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    /// How many fields are wrong.
    pub(super) fn count(&self) -> usize {
        self.errors.len() + self.more + self.refused.len()
    }

    /// Everything that is wrong, as pointer and detail; what was only counted comes last.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        let more = (self.more > 0).then(|| (String::new(), format!("{} more fields are wrong", self.more)));
        let pair = |error: FieldError| (error.pointer.unwrap_or_default(), error.detail);
        self.refused.into_iter().chain(self.errors).map(pair).chain(more).collect()
    }

    /// Passes `value` on when nothing is wrong. What is not allowed is said alone.
    pub(super) fn or_problem<T>(self, value: T) -> Result<T, Problem> {
        if !self.refused.is_empty() {
            return Err(Problem::out_of_bounds(self.refused));
        }
        if self.errors.is_empty() { Ok(value) } else { Err(Problem::validation(self.errors, self.more)) }
    }
}

/// A JSON object at a place of the body.
#[derive(Debug)]
pub(super) struct Object<'v> {
    fields: &'v Map<String, Value>,
    pointer: String,
}

impl<'v> Object<'v> {
    /// Opens `value`, and reports every field that is not in `known`.
    pub(super) fn open(
        value: &'v Value,
        pointer: &str,
        known: &[&str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let Value::Object(fields) = value else {
            findings.add(pointer.to_owned(), expected("an object", value));
            return None;
        };
        let object = Self { fields, pointer: pointer.to_owned() };
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            findings.add(object.pointer_to(name), unknown("field", name, known));
        }
        Some(object)
    }

    /// Where a field is.
    pub(super) fn pointer_to(&self, name: &str) -> String {
        let name = shorten(name).replace('~', "~0").replace('/', "~1");
        format!("{}/{name}", self.pointer)
    }

    /// The value of a field; `null` is the same as none.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Reads a field that may be missing.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        findings: &mut Findings,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.get(name)?) {
            Ok(value) => Some(value),
            Err(detail) => {
                findings.add(self.pointer_to(name), detail);
                None
            }
        }
    }

    /// Reads a field that must be there; `what` says what it is, for the one who forgot it.
    pub(super) fn required<T>(
        &self,
        name: &str,
        what: &str,
        findings: &mut Findings,
        read: impl FnOnce(&'v Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            findings.add(self.pointer_to(name), format!("missing: {what}"));
            return None;
        }
        self.optional(name, findings, read)
    }
}

/// A text of 1 to `longest` characters that are not control characters.
pub(super) fn line(longest: usize) -> impl Fn(&Value) -> Result<String, String> {
    move |value| {
        let text = value.as_str().ok_or_else(|| expected("a string", value))?;
        if text.trim().is_empty() {
            return Err("expected a text; it is empty".to_owned());
        }
        short_line(text, longest)?;
        Ok(text.to_owned())
    }
}

/// Checks that a text has at most `longest` characters, none of them a control character.
pub(super) fn short_line(text: &str, longest: usize) -> Result<(), String> {
    if text.chars().nth(longest).is_some() {
        return Err(format!("longer than the {longest} characters that are allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character".to_owned());
    }
    Ok(())
}

/// A text of any length, with line breaks, that is not blank.
pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| expected("a string", value))?;
    if text.trim().is_empty() {
        return Err("expected a text; it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    Ok(text.to_owned())
}

/// A whole number within bounds.
pub(super) fn integer<T>(bounds: RangeInclusive<T>) -> impl Fn(&Value) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let what = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        if !value.is_number() {
            return Err(expected(&what, value));
        }
        let number = value.as_i64().and_then(|number| T::try_from(number).ok());
        number.filter(|number| bounds.contains(number)).ok_or_else(|| format!("expected {what}"))
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("`true` or `false`", value))
}

/// One of a few names.
pub(super) fn choice<'c, T: Copy>(
    choices: &'c [(&'static str, T)],
) -> impl Fn(&Value) -> Result<T, String> + use<'c, T> {
    move |value| {
        let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let what = match known.as_slice() {
            [one] => format!("`{one}`"),
            known => format!("one of {}", list(known)),
        };
        let text = value.as_str().ok_or_else(|| expected(&what, value))?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| format!("expected {what}"))
    }
}

/// Longest time that a task can ask for: 30 days, in milliseconds.
pub(super) const MAX_TIMEOUT_MS: u64 = 30 * 86_400_000;

/// Seconds as a number, or a text such as `90s`, `5m`, `2h`. Whole milliseconds.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    const ALLOWED: &str = "seconds as a number, or a text such as `90s`, `5m` or `2h`; 1 ms to 30 days";
    let milliseconds = match value {
        Value::Number(seconds) => seconds.as_f64().map(|seconds| (seconds * 1000.0).round()).and_then(|ms| {
            // The comparison comes first: it makes the conversion exact.
            (ms >= 1.0 && ms <= MAX_TIMEOUT_MS as f64).then_some(ms as u64)
        }),
        Value::String(text) => {
            quantity::duration(text).and_then(|duration| u64::try_from(duration.as_millis()).ok())
        }
        other => return Err(expected(ALLOWED, other)),
    };
    milliseconds
        .filter(|ms| (1..=MAX_TIMEOUT_MS).contains(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("expected {ALLOWED}"))
}

/// Bytes as a number, or a text such as `64MiB`, within bounds.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let what =
            format!("bytes as a number, or a text such as `64MiB`; {} to {}", bounds.start(), bounds.end());
        let bytes = match value {
            Value::Number(bytes) => bytes.as_u64(),
            Value::String(text) => quantity::size(text),
            other => return Err(expected(&what, other)),
        };
        bytes.filter(|bytes| bounds.contains(bytes)).ok_or_else(|| format!("expected {what}"))
    }
}

/// "expected this; found an array".
pub(super) fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("expected {what}; found {found}")
}

/// What is said of a `what` that nobody knows: the name that was meant, or else all that there are.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest::nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what}; did you mean `{near}`?"),
        None => format!("unknown {what}; known here: {}", list(known)),
    }
}

/// Names in backticks, separated by commas.
pub(super) fn list(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(text, "{separator}`{name}`").expect("writing into a String does not fail");
    }
    text
}

fn shorten(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (value, milliseconds) in [
            (json!(90), Some(90_000)),
            (json!(0.5), Some(500)),
            (json!("90s"), Some(90_000)),
            (json!("250ms"), Some(250)),
            (json!("5 m"), Some(300_000)),
            (json!("2h"), Some(7_200_000)),
            (json!("30d"), Some(MAX_TIMEOUT_MS)),
            (json!("31d"), None),
            (json!(0), None),
            (json!("0s"), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!(0.0001), None),
            (json!("90"), None),
            (json!("soon"), None),
            (json!(""), None),
            (json!("99999999999999999999h"), None),
            (json!(true), None),
        ] {
            assert_eq!(duration(&value).ok(), milliseconds.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (value, bytes) in [
            (json!(4096), Some(4096)),
            (json!("64MiB"), Some(64 << 20)),
            (json!("8 MB"), Some(8_000_000)),
            (json!("2kib"), Some(2048)),
            (json!(1), None),
            (json!("2TiB"), None),
            (json!(4096.5), None),
            (json!(-4096), None),
            (json!("64"), None),
            (json!([]), None),
        ] {
            assert_eq!(size(1024..=(1 << 40))(&value).ok(), bytes, "{value}");
        }
    }

    #[test]
    fn an_answer_lists_a_bounded_number_of_errors_and_short_names() {
        let fields: Map<String, Value> =
            (0..250).map(|index| (format!("{index}{}", "x".repeat(1000)), Value::Null)).collect();
        let mut findings = Findings::default();
        let body = Value::Object(fields);
        assert!(Object::open(&body, "", &["id"], &mut findings).is_some());
        assert_eq!((findings.errors.len(), findings.more, findings.count()), (MAX_ERRORS, 150, 250));
        assert!(findings.errors.iter().all(|error| error.pointer.as_ref().unwrap().len() < 80));
        assert!(findings.or_problem(()).is_err());
    }

    #[test]
    fn pointers_are_escaped() {
        let body = json!({"a/b~c": 1});
        let mut findings = Findings::default();
        drop(Object::open(&body, "/0", &["id"], &mut findings));
        assert_eq!(findings.errors[0].pointer.as_deref(), Some("/0/a~1b~0c"));
    }
}
