//! Hands the lines that are logged within an attempt to whoever keeps them.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Lines of other crates are not kept: nobody knows what is in them.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// Longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 4_096;
/// Longest text of a field that is kept, in bytes.
const MAX_TEXT: usize = 2_048;
/// Fields that are kept.
const MAX_FIELDS: usize = 32;

/// One line that an attempt logged.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptLine {
    /// When.
    pub time: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// Which part of the agent.
    pub target: String,
    /// In words.
    pub message: String,
    /// In figures.
    pub fields: Map<String, Value>,
}

/// Keeps lines. Called wherever something is logged: it must neither block nor log.
pub trait LineSink: fmt::Debug + Send + Sync {
    /// Takes a line.
    fn line(&self, line: AttemptLine);
}

/// What a span knows of its sink.
struct Attached(Arc<dyn LineSink>);

/// The layer that finds the sink of a line: that of the innermost span which has one.
#[derive(Debug, Default)]
pub struct AttemptLog;

impl AttemptLog {
    /// Sends the lines within `span` to `sink`, as long as the span is open. Without effect when
    /// logging was not started.
    pub fn attach(span: &Span, sink: Arc<dyn LineSink>) {
        span.with_subscriber(|(id, dispatch)| {
            let span = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id));
            if let Some(span) = span {
                span.extensions_mut().replace(Attached(sink));
            }
        });
    }
}

#[cfg(test)]
impl AttemptLog {
    /// Makes this the subscriber of all tests: one of a single thread does not hear of what another
    /// thread has met first.
    pub(crate) fn keep_in_tests() {
        use tracing_subscriber::layer::SubscriberExt;
        use tracing_subscriber::util::SubscriberInitExt;
        // An error means that a logger is set already, which has this layer too.
        drop(tracing_subscriber::registry().with(Self).try_init());
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for AttemptLog {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let is_own =
            metadata.target().strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        if !is_own {
            return;
        }
        let Some(scope) = context.event_scope(event) else { return };
        let sink = scope
            .into_iter()
            .find_map(|span| span.extensions().get::<Attached>().map(|Attached(sink)| Arc::clone(sink)));
        let Some(sink) = sink else { return };
        let mut line = AttemptLine {
            time: Timestamp::now(),
            level: name(*metadata.level()),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: Map::new(),
        };
        event.record(&mut Reader(&mut line));
        sink.line(line);
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Reader<'l>(&'l mut AttemptLine);

impl Reader<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        if self.0.fields.len() < MAX_FIELDS {
            self.0.fields.insert(field.name().to_owned(), value);
        }
    }

    fn text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.0.message = cut(text, MAX_MESSAGE);
        } else {
            self.put(field, Value::String(cut(text, MAX_TEXT)));
        }
    }
}

fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
    text
}

impl Visit for Reader<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Lines(Mutex<Vec<AttemptLine>>);

    impl LineSink for Lines {
        fn line(&self, line: AttemptLine) {
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn only_own_lines_within_the_span_are_kept_with_their_fields() {
        let lines = Arc::new(Lines::default());
        AttemptLog::keep_in_tests();
        let span = tracing::info_span!("attempt");
        AttemptLog::attach(&span, Arc::clone(&lines) as Arc<dyn LineSink>);
        tracing::info!("before");
        span.in_scope(|| {
            let inner = tracing::info_span!("inner");
            inner.in_scope(|| tracing::warn!(rows = 7_u64, part.name = "a", error = %"broken", "part {}", 1));
            tracing::warn!(target: "sqlx::query", "SELECT 'secret'");
            tracing::warn!(target: "data_exchange_agent_impostor", "no");
        });
        tracing::info!("after");
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!((line.level, line.message.as_str()), ("warn", "part 1"));
        assert_eq!(line.target, "data_exchange_agent::telemetry::attempt_log::tests");
        let expected = serde_json::json!({"rows": 7, "part.name": "a", "error": "broken"});
        assert_eq!(Value::Object(line.fields.clone()), expected);
    }

    #[test]
    fn long_texts_are_cut_between_two_characters() {
        assert_eq!(cut("é".repeat(10), 5), "éé…");
        assert_eq!(cut("short".to_owned(), 5), "short");
    }
}
