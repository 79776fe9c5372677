//! Log lines: on stderr, as text or JSON, and in files that follow each other.
//!
//! Every line within an attempt has its task and its attempt, because the runner opens a span with
//! them and `shutdown` takes it along into every task and thread. The level can be changed while the
//! agent runs.

mod control;
mod level;
mod lines;
mod rotation;

use std::io::IsTerminal;

use opentelemetry_sdk::trace::SdkTracer;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

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
    // Without files there is nothing left to write at the end.
    drop(start_logging(options));
}

/// Starts logging. A second call changes nothing. What the files have not got yet is written when the
/// guard is dropped.
pub fn start_logging(options: LogOptions) -> Option<LogGuard> {
    let LogOptions { format, level, files, traces } = options;
    let (filter, handle) = reload::Layer::new(level.filter());
    let (file, guard, failure) = match files.map(LineWriter::start) {
        None => (None, None, None),
        Some(Ok((writer, guard))) => (Some(writer), Some(guard), None),
        Some(Err(error)) => (None, None, Some(error)),
    };
    let stderr = lines(format, std::io::stderr, std::io::stderr().is_terminal());
    let in_file = file.clone().map(|writer| lines(format, writer, false));
    // Lines show the span of an attempt, and not those of its stages.
    let filter = filter.and(filter_fn(|metadata| metadata.is_event() || metadata.name() == ATTEMPT));
    let kept = stderr.and_then(in_file).and_then(AttemptLog).with_filter(filter);
    let spans = traces.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_location(false).with_threads(false).with_filter(filter_fn(otlp::is_sent))
    });
    let subscriber = tracing_subscriber::registry().with(kept).with(spans);
    // An error means that a logger is set already, by a test for example.
    if subscriber.try_init().is_ok() {
        LogControl::new(Some(handle), file, level).set_as_process();
    }
    if let Some(error) = failure {
        tracing::warn!(%error, "the thread for log files could not be started; lines go to stderr only");
    }
    guard
}

fn lines<S, W>(format: LogFormat, writer: W, ansi: bool) -> Lines<S>
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(ansi);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
