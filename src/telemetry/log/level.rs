//! Which lines are logged: one word, or directives for single parts of the agent.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The name under which the agent logs.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// Libraries log statements and headers below this.
const LIBRARIES: LevelFilter = LevelFilter::WARN;
/// Longest text.
const MAX_LENGTH: usize = 512;
/// The parts of the agent that have lines of their own.
const PARTS: [&str; 31] = [
    "agent",
    "api",
    "bounds",
    "bulk",
    "catalog",
    "cli",
    "clock",
    "config",
    "console",
    "destination",
    "fault",
    "guards",
    "heap",
    "history",
    "idle",
    "observer",
    "pipeline",
    "reload",
    "renewal",
    "retry",
    "schema",
    "secrets",
    "shutdown",
    "snowflake",
    "source",
    "supervisor",
    "task",
    "task_source",
    "telemetry",
    "transfer",
    "worker",
];

/// Which lines are logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLevel {
    /// As it was written.
    text: String,
    filter: Targets,
}

/// Why a text says no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// Too long, or nothing.
    #[error("expected 1 to {MAX_LENGTH} characters")]
    Length,
    /// Not one of the words.
    #[error("`{0}` is no level; expected one of error, warn, info, debug, trace, off")]
    Word(String),
    /// A name that nothing has.
    #[error("`{0}` is no part of the agent; expected a name such as worker, transfer, source::postgres")]
    Part(String),
    /// A library that would show what must not be seen.
    #[error("`{0}` is a library: it logs statements and headers below warn, so expected warn, error or off")]
    Library(String),
}

impl LogLevel {
    /// What is logged when nobody says anything, in detail or not.
    #[must_use]
    pub fn standard(debug: bool) -> Self {
        let text = if debug { "debug" } else { "info" };
        text.parse().expect("both are levels")
    }

    /// The filter.
    pub(super) fn filter(&self) -> Targets {
        self.filter.clone()
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for LogLevel {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(LevelError::Length);
        }
        let info = LevelFilter::INFO;
        let mut filter = Targets::new().with_default(LIBRARIES).with_target(OWN, info);
        for directive in text.split(',').map(str::trim) {
            let Some((target, level)) = directive.split_once('=') else {
                let level = level_of(directive)?;
                filter = filter.with_target(OWN, level).with_default(level.min(LIBRARIES));
                continue;
            };
            let (target, level) = (target.trim(), level_of(level.trim())?);
            filter = filter.with_target(full_name(target, level)?, level);
        }
        Ok(Self { text: text.to_owned(), filter })
    }
}

fn level_of(word: &str) -> Result<LevelFilter, LevelError> {
    let is_word = !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphabetic());
    let level = word.parse().ok().filter(|_| is_word);
    level.ok_or_else(|| LevelError::Word(word.to_owned()))
}

/// The whole name of what a directive is about.
fn full_name(target: &str, level: LevelFilter) -> Result<String, LevelError> {
    let is_name = !target.is_empty()
        && target.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:-".contains(letter));
    if !is_name {
        return Err(LevelError::Part(target.to_owned()));
    }
    let first = target.split("::").next().unwrap_or_default();
    if first == OWN {
        Ok(target.to_owned())
    } else if PARTS.contains(&first) {
        Ok(format!("{OWN}::{target}"))
    } else if level <= LIBRARIES {
        Ok(target.to_owned())
    } else {
        Err(LevelError::Library(target.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, Level, bool)]) {
        let level: LogLevel = text.parse().unwrap();
        for (target, line, shown) in expected {
            assert_eq!(level.filter.would_enable(target, line), *shown, "{text}: {target} {line}");
        }
        assert_eq!(level.to_string(), text);
    }

    #[test]
    fn a_word_is_for_the_agent_and_libraries_stay_at_warn() {
        let worker = "data_exchange_agent::worker::runner";
        check("info", &[(worker, Level::INFO, true), (worker, Level::DEBUG, false)]);
        check(
            "trace",
            &[
                (worker, Level::TRACE, true),
                ("sqlx::query", Level::WARN, true),
                ("sqlx::query", Level::INFO, false),
            ],
        );
        check(
            "error",
            &[(worker, Level::WARN, false), ("hyper", Level::WARN, false), ("hyper", Level::ERROR, true)],
        );
        check("off", &[(worker, Level::ERROR, false), ("hyper", Level::ERROR, false)]);
    }

    #[test]
    fn directives_are_for_parts_of_the_agent() {
        check(
            "warn,worker=debug,source::postgres=trace,hyper=off",
            &[
                ("data_exchange_agent::worker::pool", Level::DEBUG, true),
                ("data_exchange_agent::source::postgres::copy", Level::TRACE, true),
                ("data_exchange_agent::source::mysql", Level::INFO, false),
                ("hyper::proto", Level::ERROR, false),
                ("sqlx", Level::WARN, true),
            ],
        );
        check(
            "data_exchange_agent::api=debug",
            &[
                ("data_exchange_agent::api::tasks", Level::DEBUG, true),
                ("data_exchange_agent::worker", Level::INFO, true),
            ],
        );
    }

    #[test]
    fn what_is_no_level_is_told() {
        for (text, expected) in [
            ("", LevelError::Length),
            ("loud", LevelError::Word("loud".into())),
            ("3", LevelError::Word("3".into())),
            ("worker=", LevelError::Word(String::new())),
            ("info,,", LevelError::Word(String::new())),
            ("=info", LevelError::Part(String::new())),
            ("worker[{task}]=info", LevelError::Part("worker[{task}]".into())),
            ("sqlx=debug", LevelError::Library("sqlx".into())),
            ("elsewhere=debug", LevelError::Library("elsewhere".into())),
        ] {
            assert_eq!(text.parse::<LogLevel>().unwrap_err(), expected, "{text}");
        }
        assert_eq!("x".repeat(513).parse::<LogLevel>().unwrap_err(), LevelError::Length);
    }

    #[test]
    fn every_part_of_the_agent_is_known() {
        let modules = include_str!("../../lib.rs").lines().filter_map(|line| {
            line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')
        });
        for module in modules.filter(|module| !["nearest", "quantity"].contains(module)) {
            assert!(PARTS.contains(&module), "{module} is missing in PARTS");
        }
    }
}
