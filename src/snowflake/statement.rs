//! A statement: its text, the values bound to it, and the parameters that hold for it alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Longest `QUERY_TAG`, in characters (Snowflake's parameter reference).
const LONGEST_QUERY_TAG: usize = 2000;
/// What a timestamp with a time zone adds to the offset in minutes, so that it is never negative.
pub(super) const OFFSET_BASE: i64 = 1440;

/// SQL with bound values. Values never become part of the text.
#[derive(Clone, PartialEq)]
pub struct Statement {
    sql: String,
    bindings: Vec<Binding>,
    parameters: BTreeMap<String, Value>,
    tag: Option<QueryTag>,
    timeout: Option<Duration>,
}

impl Statement {
    /// A statement; values go into `?` by [`Statement::bind`].
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), bindings: Vec::new(), parameters: BTreeMap::new(), tag: None, timeout: None }
    }

    /// Binds the next `?`.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Binding>) -> Self {
        self.bindings.push(value.into());
        self
    }

    /// Sets a session parameter for this statement only.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Says in Snowflake's query history who runs this, as JSON.
    #[must_use]
    pub fn query_tag(mut self, tag: &QueryTag) -> Self {
        self.tag = Some(tag.clone());
        self
    }

    /// Allows `count` statements in the text, separated by semicolons; 0 allows any number.
    #[must_use]
    pub fn multiple(self, count: u32) -> Self {
        self.parameter("MULTI_STATEMENT_COUNT", count)
    }

    /// The longest time for the statement with all its rows, on this side and on the server.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The longest time, when there is one.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// The body of the request, without what belongs to the session. `agent` is who asks, for a tag
    /// that does not say it.
    pub(super) fn body(&self, agent: Option<&str>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("sqlText".to_owned(), json!(self.sql));
        let mut parameters: Map<String, Value> = self.parameters.clone().into_iter().collect();
        if let Some(tag) = &self.tag {
            let agent = tag.agent.as_deref().or(agent).map(str::to_owned);
            parameters.insert("QUERY_TAG".to_owned(), json!(QueryTag { agent, ..tag.clone() }.to_text()));
        }
        if let Some(limit) = self.timeout {
            // The server stops what nobody waits for any more, even when the abort does not reach it.
            let seconds = limit.as_secs_f64().ceil().max(1.0);
            parameters.entry("STATEMENT_TIMEOUT_IN_SECONDS").or_insert_with(|| json!(seconds as u64));
        }
        if !parameters.is_empty() {
            body.insert("parameters".to_owned(), Value::Object(parameters));
        }
        if !self.bindings.is_empty() {
            let bindings = self.bindings.iter().zip(1_usize..);
            let bindings = bindings.map(|(binding, place)| (place.to_string(), binding.to_json()));
            body.insert("bindings".to_owned(), Value::Object(bindings.collect()));
        }
        body
    }
}

/// The text can have literals and the values are data, so neither is shown.
impl fmt::Debug for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.sql.split_whitespace().next().unwrap_or_default();
        let verb: String = verb.chars().filter(char::is_ascii_alphabetic).take(20).collect();
        formatter
            .debug_struct("Statement")
            .field("verb", &verb)
            .field("bindings", &self.bindings.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A value for one `?`.
#[derive(Clone, PartialEq)]
pub enum Binding {
    /// NULL of type TEXT, which converts to every type.
    Null,
    /// TEXT.
    Text(String),
    /// FIXED.
    Fixed(i128),
    /// A decimal number too long for an integer, as text.
    Decimal(String),
    /// REAL.
    Real(f64),
    /// BOOLEAN.
    Boolean(bool),
    /// DATE, in days since 1970-01-01.
    Date(i32),
    /// TIME, in nanoseconds since midnight.
    Time(u64),
    /// TIMESTAMP_NTZ, in nanoseconds since 1970-01-01T00:00:00 without a time zone.
    TimestampNtz(i128),
    /// TIMESTAMP_LTZ, in nanoseconds since 1970-01-01T00:00:00Z.
    TimestampLtz(i128),
    /// TIMESTAMP_TZ.
    TimestampTz {
        /// Nanoseconds since 1970-01-01T00:00:00Z.
        nanoseconds: i128,
        /// Minutes east of UTC.
        offset_minutes: i32,
    },
    /// BINARY.
    Binary(Vec<u8>),
    /// One column of several rows, for INSERT only. The type of the first value holds for all; a
    /// value of another type is sent as it would be for its own.
    Rows(Vec<Binding>),
}

impl Binding {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A text, or NULL.
    pub fn optional_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// A value as JSON text, for `PARSE_JSON(?)`.
    pub fn json(value: &Value) -> Self {
        Self::Text(value.to_string())
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Null | Self::Text(_) => "TEXT",
            Self::Fixed(_) | Self::Decimal(_) => "FIXED",
            Self::Real(_) => "REAL",
            Self::Boolean(_) => "BOOLEAN",
            Self::Date(_) => "DATE",
            Self::Time(_) => "TIME",
            Self::TimestampNtz(_) => "TIMESTAMP_NTZ",
            Self::TimestampLtz(_) => "TIMESTAMP_LTZ",
            Self::TimestampTz { .. } => "TIMESTAMP_TZ",
            Self::Binary(_) => "BINARY",
            Self::Rows(rows) => {
                rows.iter().find(|row| !matches!(row, Self::Null)).map_or("TEXT", Self::type_name)
            }
        }
    }

    fn value(&self) -> Value {
        const DAY_IN_MILLISECONDS: i64 = 86_400_000;

        Value::String(match self {
            Self::Null => return Value::Null,
            Self::Rows(rows) => return Value::Array(rows.iter().map(Self::value).collect()),
            Self::Text(text) | Self::Decimal(text) => text.clone(),
            Self::Fixed(number) => number.to_string(),
            Self::Real(number) if number.is_infinite() => {
                if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
            }
            Self::Real(number) => number.to_string(),
            Self::Boolean(truth) => truth.to_string(),
            Self::Date(days) => (i64::from(*days) * DAY_IN_MILLISECONDS).to_string(),
            Self::Time(nanoseconds) => nanoseconds.to_string(),
            Self::TimestampNtz(nanoseconds) | Self::TimestampLtz(nanoseconds) => nanoseconds.to_string(),
            Self::TimestampTz { nanoseconds, offset_minutes } => {
                format!("{nanoseconds} {}", i64::from(*offset_minutes) + OFFSET_BASE)
            }
            Self::Binary(bytes) => hexadecimal(bytes),
        })
    }

    fn to_json(&self) -> Value {
        json!({"type": self.type_name(), "value": self.value()})
    }
}

/// Values are data, so only the type is shown.
impl fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.type_name())
    }
}

impl From<&str> for Binding {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Binding {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Binding {
    fn from(number: i64) -> Self {
        Self::Fixed(number.into())
    }
}

impl From<bool> for Binding {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl<T: Into<Self>> From<Option<T>> for Binding {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Upper-case hexadecimal text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// What `QUERY_TAG` says about a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryTag {
    /// Identifier of the agent; that of the client when `None`.
    pub agent: Option<String>,
    /// Identifier of the task.
    pub task: Option<String>,
    /// Number of the attempt, from 1.
    pub attempt: Option<u32>,
}

impl QueryTag {
    /// The JSON text, never longer than Snowflake takes: names that are too long are cut.
    fn to_text(&self) -> String {
        let mut longest = LONGEST_QUERY_TAG;
        loop {
            let cut = |text: &String| text.chars().take(longest).collect::<String>();
            let mut tag = Map::new();
            if let Some(agent) = &self.agent {
                tag.insert("agent".to_owned(), json!(cut(agent)));
            }
            tag.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
            if let Some(task) = &self.task {
                tag.insert("task".to_owned(), json!(cut(task)));
            }
            if let Some(attempt) = self.attempt {
                tag.insert("attempt".to_owned(), json!(attempt));
            }
            let text = Value::Object(tag).to_string();
            // Escapes make a text longer than its characters, so the bound shrinks until it fits.
            if text.chars().count() <= LONGEST_QUERY_TAG {
                return text;
            }
            longest /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_bound_as_the_protocol_writes_it() {
        let cases = [
            (Binding::Null, json!({"type": "TEXT", "value": null})),
            (Binding::text("é'"), json!({"type": "TEXT", "value": "é'"})),
            (Binding::Fixed(-7), json!({"type": "FIXED", "value": "-7"})),
            (Binding::Decimal("1.50".into()), json!({"type": "FIXED", "value": "1.50"})),
            (Binding::Real(0.5), json!({"type": "REAL", "value": "0.5"})),
            (Binding::Real(f64::NEG_INFINITY), json!({"type": "REAL", "value": "-Infinity"})),
            (Binding::Real(f64::NAN), json!({"type": "REAL", "value": "NaN"})),
            (Binding::Boolean(true), json!({"type": "BOOLEAN", "value": "true"})),
            (Binding::Date(-1), json!({"type": "DATE", "value": "-86400000"})),
            (Binding::Time(1), json!({"type": "TIME", "value": "1"})),
            (Binding::TimestampNtz(-1), json!({"type": "TIMESTAMP_NTZ", "value": "-1"})),
            (
                Binding::TimestampTz { nanoseconds: 5, offset_minutes: -90 },
                json!({"type": "TIMESTAMP_TZ", "value": "5 1350"}),
            ),
            (Binding::Binary(vec![0, 255]), json!({"type": "BINARY", "value": "00FF"})),
            (
                Binding::Rows(vec![Binding::Null, Binding::Fixed(2)]),
                json!({"type": "FIXED", "value": [null, "2"]}),
            ),
        ];
        for (binding, wanted) in cases {
            assert_eq!(binding.to_json(), wanted);
        }
    }

    #[test]
    fn a_time_limit_also_holds_on_the_server() {
        let statement = Statement::new("SELECT 1").timeout(Duration::from_millis(1200)).bind(1_i64);
        let body = Value::Object(statement.body(None));
        assert_eq!(body["parameters"], json!({"STATEMENT_TIMEOUT_IN_SECONDS": 2}));
        assert_eq!(body["bindings"]["1"]["value"], "1");
    }

    #[test]
    fn a_query_tag_is_json_of_bounded_length() {
        let tag = QueryTag { agent: Some("a".into()), task: Some("\"t\u{1}".repeat(3000)), attempt: Some(2) };
        let text = tag.to_text();
        assert!(text.chars().count() <= 2000);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["agent"], &value["attempt"]), (&json!("a"), &json!(2)));
    }

    #[test]
    fn debug_shows_no_values() {
        let statement = Statement::new("INSERT INTO t VALUES ('hunter2', ?)").bind("hunter3");
        assert!(!format!("{statement:?}").contains("hunter"));
    }
}
