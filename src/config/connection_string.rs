//! ODBC connection strings: built from attributes, and read back.
//!
//! The grammar is that of `SQLDriverConnect`: `name=value` pairs between semicolons, where a value in
//! braces may hold anything, with `}}` for a closing brace. A value is put in braces here as soon as
//! any driver is known to read it differently without: some decode `%` and `+`, others cut at `;`.

use std::fmt;

use super::Secret;

/// Attributes whose values a message may show. Everything else may be a secret: drivers have words of
/// their own for passwords, tokens and keys.
const HARMLESS: &[&str] = &["driver", "dsn", "server", "servername", "host", "hostname", "dbcname", "port"];

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    name: String,
    value: Secret,
}

/// The attributes of a connection string, in order. Where one comes twice, the first counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionString(Vec<Attribute>);

/// Why a text is no connection string. Says nothing about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An attribute without `=`.
    #[error("an attribute has no `=`")]
    NoValue,
    /// Nothing before `=`.
    #[error("an attribute has no name")]
    NoName,
    /// `{` without its `}`.
    #[error("a brace is not closed")]
    OpenBrace,
    /// Something between a closing brace and the next semicolon.
    #[error("text follows a closing brace")]
    AfterBrace,
    /// A zero byte ends the string for the driver manager.
    #[error("it holds a zero byte")]
    ZeroByte,
    /// There is no attribute at all.
    #[error("it has no attribute")]
    Empty,
}

impl ConnectionString {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('\0') {
            return Err(Malformed::ZeroByte);
        }
        let mut attributes = Vec::new();
        let mut rest =
            text.trim_start_matches(|character: char| character == ';' || character.is_whitespace());
        while !rest.is_empty() {
            let end = rest.find([';', '=']).ok_or(Malformed::NoValue)?;
            if rest.as_bytes()[end] == b';' {
                return Err(Malformed::NoValue);
            }
            let name = rest[..end].trim();
            if name.is_empty() {
                return Err(Malformed::NoName);
            }
            let (value, after) = value(rest[end + 1..].trim_start())?;
            attributes.push(Attribute { name: name.to_owned(), value: Secret::new(value) });
            rest = after.trim_start_matches(|character: char| character == ';' || character.is_whitespace());
        }
        if attributes.is_empty() { Err(Malformed::Empty) } else { Ok(Self(attributes)) }
    }

    /// Adds an attribute, unless there is one of this name.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        if self.get(&name).is_none() {
            self.0.push(Attribute { name, value: Secret::new(value) });
        }
    }

    /// The same for a value that there may be.
    pub fn add_if(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// The value of an attribute, whatever the case of its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name));
        found.map(|attribute| attribute.value.expose())
    }

    /// The text for the driver manager.
    #[must_use]
    pub fn build(&self) -> Secret {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|attribute| format!("{}={};", attribute.name, quoted(attribute.value.expose())))
            .collect();
        Secret::new(pairs.concat())
    }

    /// Removes the values that may be secrets from a message of a driver, which may quote them.
    #[must_use]
    pub fn redacted(&self, message: &str) -> String {
        /// What is shorter stands in every second message by chance.
        const SHORTEST: usize = 3;
        let mut text = message.to_owned();
        for attribute in self.0.iter().filter(|attribute| !is_harmless(&attribute.name)) {
            let value = attribute.value.expose();
            if value.len() >= SHORTEST && !is_name(&attribute.name) {
                text = text.replace(&quoted(value), "***").replace(value, "***");
            }
        }
        text
    }
}

/// Shows names, and the values that are no secrets.
impl fmt::Debug for ConnectionString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|attribute| {
            let is_shown = is_harmless(&attribute.name);
            (&attribute.name, if is_shown { attribute.value.expose() } else { "***" })
        });
        formatter.debug_map().entries(shown).finish()
    }
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(name))
}

/// Attributes with names of users and databases, which make messages readable.
fn is_name(name: &str) -> bool {
    ["uid", "user", "username", "database", "db", "defaultdatabase", "dbq"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The value at the beginning of `text`, and what follows it.
fn value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(mut rest) = text.strip_prefix('{') else {
        let end = text.find(';').unwrap_or(text.len());
        return Ok((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    loop {
        let (before, after) = rest.split_once('}').ok_or(Malformed::OpenBrace)?;
        value.push_str(before);
        if let Some(after) = after.strip_prefix('}') {
            value.push('}');
            rest = after;
            continue;
        }
        let after = after.trim_start();
        return match after.is_empty() || after.starts_with(';') {
            true => Ok((value, after)),
            false => Err(Malformed::AfterBrace),
        };
    }
}

/// A value as it stands in a connection string.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/\\".contains(&byte);
    if value.bytes().all(is_plain) { value.to_owned() } else { format!("{{{}}}", value.replace('}', "}}")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn built(attributes: &[(&str, &str)]) -> String {
        let mut string = ConnectionString::new();
        for (name, value) in attributes {
            string.add(*name, *value);
        }
        string.build().expose().to_owned()
    }

    #[test]
    fn values_that_a_driver_could_misread_stand_in_braces() {
        for (value, expected) in [
            ("PostgreSQL Unicode", "X={PostgreSQL Unicode};"),
            ("/usr/lib/odbc/driver.so", "X=/usr/lib/odbc/driver.so;"),
            ("db.example.com", "X=db.example.com;"),
            ("", "X=;"),
            ("a;b", "X={a;b};"),
            ("{a", "X={{a};"),
            ("a}", "X={a}}};"),
            ("a=b", "X={a=b};"),
            ("a'b\"c", "X={a'b\"c};"),
            ("100%+", "X={100%+};"),
            (" a ", "X={ a };"),
            ("pässword", "X={pässword};"),
        ] {
            assert_eq!(built(&[("X", value)]), expected);
        }
    }

    #[test]
    fn a_text_is_read_as_driver_managers_read_it() {
        let string = ConnectionString::parse(
            " Driver = {A {b} }; ;SERVER=h;Pwd={x;y}}z} ; uid=me too ;UID=other; Empty=;",
        );
        assert_eq!(string.as_ref().map(|string| string.get("driver")), Err(&Malformed::AfterBrace));
        let string = ConnectionString::parse(
            " Driver = {A b};; SERVER=h;Pwd={x;y}}z} ; uid=me too ;UID=other; Empty=",
        )
        .expect("well formed");
        for (name, value) in
            [("DRIVER", "A b"), ("server", "h"), ("PWD", "x;y}z"), ("Uid", "me too"), ("empty", "")]
        {
            assert_eq!(string.get(name), Some(value), "{name}");
        }
        assert_eq!(string.get("port"), None);
    }

    #[test]
    fn what_is_no_connection_string_is_refused_without_quoting_it() {
        for (text, expected) in [
            ("", Malformed::Empty),
            (" ; ", Malformed::Empty),
            ("secret", Malformed::NoValue),
            ("a=1;secret;", Malformed::NoValue),
            ("=secret", Malformed::NoName),
            ("PWD={secret", Malformed::OpenBrace),
            ("PWD={a}secret", Malformed::AfterBrace),
            ("PWD=a\0b", Malformed::ZeroByte),
        ] {
            assert_eq!(ConnectionString::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let string =
            ConnectionString::parse("Driver={D x};Server=h;UID=reader;PWD={hunter;2}").expect("right");
        let shown = format!("{string:?} {:?}", string.build());
        assert!(shown.contains("D x") && !shown.contains("hunter"), "{shown}");
        assert_eq!(
            string.redacted("login of reader with hunter;2 (PWD={hunter;2}) failed at h"),
            "login of reader with *** (PWD=***) failed at h"
        );
    }

    proptest! {
        #[test]
        fn what_was_built_is_read_back(
            values in proptest::collection::vec("[^\0]{0,12}", 1..8),
            symbols in proptest::collection::vec("[;{}='\" %+a]{0,8}", 1..4),
        ) {
            let mut string = ConnectionString::new();
            for (position, value) in values.iter().chain(&symbols).enumerate() {
                string.add(format!("Name{position}"), value.clone());
            }
            let back = ConnectionString::parse(string.build().expose()).expect("it was built here");
            prop_assert_eq!(back, string);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>(), symbols in "[;{}= a]{0,30}") {
            for text in [text, symbols] {
                if let Ok(string) = ConnectionString::parse(&text) {
                    prop_assert_eq!(ConnectionString::parse(string.build().expose()), Ok(string));
                }
            }
        }
    }
}
