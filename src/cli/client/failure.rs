//! Why a request to an agent was not served, in the words of a person and as an exit code.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Deserialize;

use crate::cli::output::plain;

/// Arguments, a file or a configuration are wrong.
const WRONG_INPUT: u8 = 2;
/// No agent answers, or it cannot serve anybody now.
const UNREACHABLE: u8 = 3;
/// The agent refused: no right, no such task, or the task is in another state.
const REFUSED: u8 = 4;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// The request could not be made: a key file or a certificate is not there.
    #[error("{0}")]
    Setup(String),
    /// Nobody answered.
    #[error("{message}. {remedy}")]
    Unreachable {
        /// What was being done, and what went wrong.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// The agent answered with a problem document.
    #[error("{}", .0.text())]
    Refused(Box<Refusal>),
    /// What answered is no agent, or one of another age.
    #[error("{0}")]
    Unexpected(String),
}

/// A problem document, as the agent sends it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Refusal {
    #[serde(rename = "type")]
    pub(in crate::cli) kind: String,
    pub(in crate::cli) title: String,
    pub(in crate::cli) status: u16,
    pub(in crate::cli) detail: String,
    pub(in crate::cli) instance: String,
    pub(in crate::cli) errors: Vec<WrongField>,
    /// What a command knows besides.
    #[serde(skip)]
    pub(in crate::cli) hint: Option<String>,
}

/// One wrong field.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct WrongField {
    pub(in crate::cli) pointer: Option<String>,
    pub(in crate::cli) parameter: Option<String>,
    pub(in crate::cli) detail: String,
}

impl Refusal {
    /// True when the problem is of this kind, by the last part of its type.
    pub(in crate::cli) fn is(&self, kind: &str) -> bool {
        self.kind.rsplit(':').next() == Some(kind)
    }

    /// The document in the words of a terminal; every wrong field has a line.
    fn text(&self) -> String {
        let mut text = plain(&self.title);
        if !self.detail.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {}", plain(&self.detail));
        }
        for field in &self.errors {
            let place = match (&field.pointer, &field.parameter) {
                (Some(pointer), _) if pointer.is_empty() => "the whole body".to_owned(),
                (Some(pointer), _) => pointer.clone(),
                (None, Some(parameter)) => format!("parameter {parameter}"),
                (None, None) => String::new(),
            };
            let _ = write!(text, "\n  {}: {}", plain(&place), plain(&field.detail));
        }
        if self.status >= 500 && !self.instance.is_empty() {
            let id = self.instance.trim_start_matches("urn:uuid:");
            let _ = write!(text, "\n  the log of the agent has the reason under request.id={}", plain(id));
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\n  {}", plain(hint));
        }
        text
    }
}

impl ClientError {
    /// The exit code that says what kind of failure it is.
    pub(in crate::cli) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Setup(_) => WRONG_INPUT,
            Self::Unreachable { .. } | Self::Unexpected(_) => UNREACHABLE,
            Self::Refused(refusal) => match refusal.status {
                400 | 413 | 415 | 422 => WRONG_INPUT,
                429 | 500.. => UNREACHABLE,
                _ => REFUSED,
            },
        })
    }

    /// True when another try a little later may go better.
    pub(in crate::cli) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.status == 429 || refusal.status >= 500,
            Self::Setup(_) | Self::Unexpected(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_has_its_line() {
        let refusal: Refusal = serde_json::from_str(
            r#"{"type":"urn:data-exchange-agent:problem:validation","title":"The request has wrong fields","status":422,
                "detail":"2 fields are wrong; see `errors`","instance":"urn:uuid:1","errors":[
                {"pointer":"/0/id","detail":"expected a text"},{"pointer":"","detail":"unknown\u001b field"}]}"#,
        )
        .unwrap();
        assert!(refusal.is("validation"));
        let error = ClientError::Refused(Box::new(refusal));
        assert_eq!(
            error.to_string(),
            "The request has wrong fields: 2 fields are wrong; see `errors`\n  /0/id: expected a text\n  \
             the whole body: unknown  field"
        );
    }

    #[test]
    fn the_exit_code_says_whose_turn_it_is() {
        for (status, expected) in [
            (400, WRONG_INPUT),
            (401, REFUSED),
            (404, REFUSED),
            (409, REFUSED),
            (422, WRONG_INPUT),
            (429, UNREACHABLE),
            (503, UNREACHABLE),
        ] {
            let error = ClientError::Refused(Box::new(Refusal { status, ..Refusal::default() }));
            assert_eq!(
                format!("{:?}", error.exit_code()),
                format!("{:?}", ExitCode::from(expected)),
                "{status}"
            );
        }
    }
}
