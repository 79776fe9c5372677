//! What is wrong with a configuration: everything at once, each with its place and its remedy.

use std::error::Error;
use std::fmt;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the configuration file.
    Line {
        /// The file, as it was named.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// An argument of the command line.
    Argument(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(formatter, "{file}:{line}"),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Argument(name) => formatter.write_str(name),
        }
    }
}

/// Something that keeps the agent from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; none for what is missing altogether.
    pub place: Option<Place>,
    /// The key, `application.workers` for example.
    pub key: String,
    /// What is wrong with it, so that key and message read as one sentence without its full stop.
    pub message: String,
    /// What to do: a sentence.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(formatter, self.place.as_ref(), &self.key, &self.message, self.remedy.as_deref())
    }
}

/// Something that the operator should know and that keeps nothing from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it was written; none for what is missing altogether.
    pub place: Option<Place>,
    /// The key, `task_source.api.key` for example.
    pub key: String,
    /// What to know, so that key and message read as one sentence without its full stop.
    pub message: String,
    /// What to do: a sentence.
    pub remedy: Option<String>,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(formatter, self.place.as_ref(), &self.key, &self.message, self.remedy.as_deref())
    }
}

fn write_line(
    formatter: &mut fmt::Formatter<'_>,
    place: Option<&Place>,
    key: &str,
    message: &str,
    remedy: Option<&str>,
) -> fmt::Result {
    if let Some(place) = place {
        write!(formatter, "{place}: ")?;
    }
    write!(formatter, "{key} {message}")?;
    if let Some(remedy) = remedy {
        write!(formatter, ". {remedy}")?;
    }
    Ok(())
}

/// Every problem of one configuration, in the order of the file; never empty when returned as an
/// error. `Display` writes one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The one problem of `key`.
    pub(super) fn one(key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (key, message) = (key.into(), message.into());
        Self(vec![Problem { place: None, key, message, remedy: Some(remedy.into()) }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl Error for Problems {}
