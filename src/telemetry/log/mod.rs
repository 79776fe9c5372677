//! Log lines: on stderr, as text or JSON, and in files that follow each other.
//!
//! Every line within an attempt has its task and its attempt, because the runner opens a span with
//! them and `shutdown` takes it along into every task and thread. The level can be changed while the
//! agent runs.

mod control;
mod level;
mod lines;
mod rotation;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

pub use control::{Change, CurrentLevel, LogControl};
pub use level::{LevelError, LogLevel};
pub use lines::LogGuard;
pub use rotation::RotationSettings;

use self::lines::LineWriter;
use super::{AttemptLog, otlp};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the log is.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are.
    pub level: LogLevel,
    /// The files, besides stderr.
    pub files: Option<RotationSettings>,
    /// Spans, besides lines.
    pub traces: Option<SdkTracer>,
}

/// The span that the runner opens.
const ATTEMPT: &str = "attempt";

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

/// Starts logging to stderr, for a command that ends by itself. A second call changes nothing.
pub fn init_logging(format: LogFormat, debug: bool) {
    let options = LogOptions { format, level: LogLevel::standard(debug), files: None, traces: None };
    // Written by whoever logs: nothing is left at the end, and the caller waits for its reader.
    start(options, None, None);
}

/// Starts the log of a service, whose work waits for no reader of its lines. A second call changes nothing.
/// What is not written yet is written when the guards are dropped.
#[must_use]
pub fn start_logging(mut options: LogOptions) -> Vec<LogGuard> {
    let started = [Some(LineWriter::stderr()), options.files.take().map(LineWriter::start)];
    let mut guards = Vec::new();
    let mut failure = None;
    let [stderr, file] = started.map(|started| match started? {
        Ok((writer, guard)) => {
            guards.push(guard);
            Some(writer)
        }
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    start(options, stderr, file);
    if let Some(error) = failure {
        tracing::warn!(
            %error,
            "a thread that writes log lines could not be started; lines go to stderr only, and work waits for them"
        );
    }
    guards
}

fn start(options: LogOptions, stderr: Option<LineWriter>, file: Option<LineWriter>) {
    let LogOptions { format, level, traces, .. } = options;
    let (filter, handle) = reload::Layer::new(level.filter());
    // Not without a terminal, and not where NO_COLOR or CLICOLOR say so: as for the tables of the commands.
    let has_colours = console::colors_enabled_stderr();
    let on_stderr = match stderr.clone() {
        Some(writer) => lines(format, writer, has_colours),
        None => lines(format, std::io::stderr, has_colours),
    };
    let in_file = file.clone().map(|writer| lines(format, writer, false));
    let kept = on_stderr.and_then(in_file).and_then(AttemptLog).with_filter(kept(filter));
    let spans = traces.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_location(false).with_threads(false).with_filter(filter_fn(otlp::is_sent))
    });
    let subscriber = tracing_subscriber::registry().with(kept).with(spans);
    // An error means that a logger is set already, by a test for example.
    if subscriber.try_init().is_ok() {
        LogControl::new(Some(handle), stderr, file, level).set_as_process();
    }
}

/// What lines are made of: the events of a level, and at every level the span of an attempt, but not those
/// of its stages. With the lines of warnings only, one has to see all the same whose warning it is.
fn kept(level: reload::Layer<Targets, Registry>) -> impl Filter<Registry> {
    let attempt = filter_fn(|metadata| metadata.is_span() && metadata.name() == ATTEMPT)
        .with_max_level_hint(LevelFilter::INFO);
    attempt.or(level.and(filter_fn(|metadata| metadata.is_event())))
}

fn lines<S, W>(format: LogFormat, writer: W, ansi: bool) -> Lines<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(ansi);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written_at(level: &str, handle_to: &str) -> Vec<serde_json::Value> {
        let level: LogLevel = level.parse().unwrap();
        let (filter, handle) = reload::Layer::new(level.filter());
        let written = Written::default();
        let writer = written.clone();
        let layer = lines(LogFormat::Json, move || writer.clone(), false).with_filter(kept(filter));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let level: LogLevel = handle_to.parse().unwrap();
            handle.reload(level.filter()).unwrap();
            let _attempt = tracing::info_span!("attempt", task.id = "7", attempt = 2).entered();
            let _stage = tracing::debug_span!("extract").entered();
            tracing::info!("small");
            tracing::error!("grave");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_have_their_task_and_attempt_at_every_level() {
        for (level, later, expected) in [
            ("info", "info", &["small", "grave"][..]),
            ("debug", "debug", &["small", "grave"]),
            ("warn", "warn", &["grave"]),
            ("error", "error", &["grave"]),
            ("info", "error,hyper=off", &["grave"]),
            ("error", "info", &["small", "grave"]),
            ("off", "off", &[]),
        ] {
            let lines = written_at(level, later);
            let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
            assert_eq!(messages, expected, "{level}, then {later}");
            for line in &lines {
                let span = (&line["span"]["name"], &line["span"]["task.id"], &line["span"]["attempt"]);
                assert_eq!(span, (&"attempt".into(), &"7".into(), &2.into()), "{level}: {line}");
            }
        }
    }
}
