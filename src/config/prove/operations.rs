//! `[log]`, `[queue]`, `[history]`, `[guards]`, `[idle_shutdown]` and `[otlp]`.

use std::time::Duration;

use ::config::Value;

use super::super::Secret;
use super::super::keys;
use super::super::known::Known;
use super::super::operations::{GuardSettings, HistorySettings, LogSettings, OtlpSettings, QueueSettings};
use super::super::report::Report;
use super::super::section::Section;
use crate::telemetry::{LogFormat, LogLevel};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const TEN_YEARS: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
const LARGEST_FILE: u64 = 1 << 40;

pub(super) fn prove_log(report: &mut Report<'_>, value: Option<Value>) -> LogSettings {
    let mut section = Section::open(report, "log", value, Known::exactly(keys::LOG));
    let default = LogSettings::default();
    LogSettings {
        level: section.parsed(
            "level",
            "error, warn, info, debug, trace or off, or directives such as \"info,worker=debug\" (libraries: \
             warn at most, since they log statements below it)",
            |text| text.parse::<LogLevel>().ok(),
        ),
        format: section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        files: section.boolean("files").unwrap_or(default.files),
        directory: section.path("directory"),
        max_file_size: section.size("max_file_size", 1_000..=LARGEST_FILE).unwrap_or(default.max_file_size),
        max_files: section
            .integer("max_files", 0..=1_000)
            .and_then(|files| u32::try_from(files).ok())
            .unwrap_or(default.max_files),
    }
}

pub(super) fn prove_queue(report: &mut Report<'_>, value: Option<Value>) -> QueueSettings {
    let mut section = Section::open(report, "queue", value, Known::exactly(keys::QUEUE));
    let default = QueueSettings::default();
    let keep = section.duration("keep", Duration::ZERO..=TEN_YEARS);
    if keep.is_some_and(|keep| !keep.is_zero() && keep < HOUR) {
        // A repeated submission, or report of an outcome, would find nothing any more.
        section.problem("keep", "is shorter than 1h", Some("Write 0 to keep ended tasks for ever."));
    }
    let max_tasks = section.integer("max_tasks", 0..=1_000_000_000).map(i64::unsigned_abs);
    QueueSettings {
        keep: keep.map_or(default.keep, |keep| (!keep.is_zero()).then_some(keep)),
        max_tasks: max_tasks.map_or(default.max_tasks, |tasks| (tasks > 0).then_some(tasks)),
    }
}

pub(super) fn prove_history(report: &mut Report<'_>, value: Option<Value>) -> HistorySettings {
    let mut section = Section::open(report, "history", value, Known::exactly(keys::HISTORY));
    let default = HistorySettings::default();
    HistorySettings {
        keep: section.duration("keep", HOUR..=TEN_YEARS).unwrap_or(default.keep),
        max_runs: section.integer("max_runs", 1..=100_000_000).map_or(default.max_runs, i64::unsigned_abs),
        max_lines: section
            .integer("max_lines", 0..=1_000_000_000)
            .map_or(default.max_lines, i64::unsigned_abs),
    }
}

pub(super) fn prove_guards(report: &mut Report<'_>, value: Option<Value>) -> GuardSettings {
    let mut section = Section::open(report, "guards", value, Known::exactly(keys::GUARDS));
    let default = GuardSettings::default();
    GuardSettings {
        min_free_disk: section.size("min_free_disk", 0..=u64::MAX).unwrap_or(default.min_free_disk),
        min_available_memory: section
            .size("min_available_memory", 0..=u64::MAX)
            .unwrap_or(default.min_available_memory),
    }
}

/// Longest time without anything to do; `None` when the agent stays.
pub(super) fn prove_idle_shutdown(report: &mut Report<'_>, value: Option<Value>) -> Option<Duration> {
    let mut section = Section::open(report, "idle_shutdown", value, Known::exactly(keys::IDLE_SHUTDOWN));
    let minutes = section.integer("minutes", 0..=100_000).map_or(0, i64::unsigned_abs);
    (minutes > 0).then(|| Duration::from_secs(minutes * 60))
}

/// Where traces and metrics are sent to; `None` when nothing is.
pub(super) fn prove_otlp(report: &mut Report<'_>, value: Option<Value>) -> Option<OtlpSettings> {
    let mut section = Section::open(report, "otlp", value, Known::exactly(keys::OTLP));
    let endpoint = section.parsed("endpoint", "a URL such as \"http://127.0.0.1:4318\"", endpoint);
    let headers = section.secret("headers");
    let headers = match headers.as_ref().map(|headers| pairs(headers.expose())) {
        None => Vec::new(),
        Some(Some(headers)) => headers,
        Some(None) => {
            section.problem("headers", "is not a list of name=value, separated by commas", None);
            Vec::new()
        }
    };
    let settings = OtlpSettings {
        endpoint: String::new(),
        headers,
        service_name: section.text("service_name").unwrap_or_else(|| "data-exchange-agent".to_owned()),
        traces: section.boolean("traces").unwrap_or(true),
        metrics: section.boolean("metrics").unwrap_or(true),
        metrics_interval: section
            .duration("metrics_interval", SECOND..=DAY)
            .unwrap_or(Duration::from_secs(60)),
        timeout: section.duration("timeout", SECOND..=5 * MINUTE).unwrap_or(Duration::from_secs(10)),
    };
    Some(OtlpSettings { endpoint: endpoint?, ..settings })
}

fn endpoint(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.fragment().is_none();
    (is_plain && is_http && url.has_host()).then(|| text.trim_end_matches('/').to_owned())
}

fn pairs(text: &str) -> Option<Vec<(String, Secret)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        is_name.then(|| (name.to_owned(), Secret::new(value.trim())))
    };
    text.split(',').map(pair).collect()
}
