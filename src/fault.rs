//! What went wrong, as far as it changes what happens next.
//!
//! Every seam of the agent returns [`Fault`]. It says what was being done, to what, why it failed,
//! of which kind the failure is, and what a person can do about it. Policy (retry, give up, ask)
//! follows from the kind alone, in [`FaultKind::advice`].
//!
//! A fault never carries cell values, SQL literals or secrets: adapters drop the texts of a
//! database that can quote data, and keep its code.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Two faults share a kind when the same thing happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A connection broke, a server restarted, a time limit ran out: likely to pass by itself.
    Transient,
    /// The other side asked to slow down.
    Throttled,
    /// The credentials were refused.
    Credentials,
    /// The credentials are good, a right is missing.
    Permission,
    /// The task asks for something that cannot be: a syntax error, a missing table or bucket.
    Request,
    /// A value cannot be represented in the output.
    Data,
    /// A broken assumption inside the agent.
    Bug,
}

/// What to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Try again after a back-off.
    RetryLater,
    /// Try again after a longer back-off.
    SlowDown,
    /// Trying again changes nothing before a person has acted.
    AskOperator(&'static str),
    /// The task itself has to change.
    RejectTask,
    /// Trying again would repeat the defect.
    GiveUp,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Transient,
        Self::Throttled,
        Self::Credentials,
        Self::Permission,
        Self::Request,
        Self::Data,
        Self::Bug,
    ];

    /// The policy: exhaustive, so that a new kind must be decided here.
    #[must_use]
    pub fn advice(self) -> Advice {
        match self {
            Self::Transient => Advice::RetryLater,
            Self::Throttled => Advice::SlowDown,
            Self::Credentials => Advice::AskOperator("Check the credentials of this connection."),
            Self::Permission => Advice::AskOperator("Grant the missing right, then retry the task."),
            Self::Request | Self::Data => Advice::RejectTask,
            Self::Bug => Advice::GiveUp,
        }
    }

    /// True when another attempt can succeed without anybody acting.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self.advice(), Advice::RetryLater | Advice::SlowDown)
    }

    /// The name used in logs, metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
            Self::Permission => "permission",
            Self::Request => "request",
            Self::Data => "data",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// A failure at a seam: kind, action, remedy and cause.
///
/// `Display` is the action alone ("open a connection to `sales`"); [`Fault::chain`] adds the causes.
#[derive(Debug)]
pub struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: FaultKind,
    action: Cow<'static, str>,
    remedy: Option<Cow<'static, str>>,
    source: Option<Cause>,
}

impl Fault {
    /// A fault of `kind` while doing `action`: a lower-case fragment without a full stop.
    pub fn new(kind: FaultKind, action: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, action: action.into(), remedy: None, source: None }))
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Cause>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what a person can do: a sentence.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Puts a wider action around this fault; kind and remedy stay.
    #[must_use]
    pub fn while_doing(self, action: impl Into<Cow<'static, str>>) -> Self {
        let kind = self.0.kind;
        let remedy = self.0.remedy.clone();
        Self(Box::new(Inner { kind, action: action.into(), remedy, source: Some(Box::new(self)) }))
    }

    /// The kind, which decides what happens next.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.0.kind
    }

    /// What to do, in a sentence: the fault's own remedy, or that of its kind.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match (&self.0.remedy, self.0.kind.advice()) {
            (Some(remedy), _) => Some(remedy),
            (None, Advice::AskOperator(hint)) => Some(hint),
            (None, Advice::RetryLater | Advice::SlowDown | Advice::RejectTask | Advice::GiveUp) => None,
        }
    }

    /// The action and every cause, outermost first, joined by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let part = error.to_string();
            // Some libraries print their source themselves; saying it twice helps nobody.
            if !text.ends_with(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.action)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let fault = Fault::new(FaultKind::Transient, "read rows")
            .because("connection reset")
            .while_doing("extract slice 2");
        assert_eq!(fault.chain(), "extract slice 2: read rows: connection reset");
        assert_eq!(fault.kind(), FaultKind::Transient);
    }

    #[test]
    fn a_remedy_of_its_own_wins_over_that_of_the_kind() {
        let plain = Fault::new(FaultKind::Credentials, "log in");
        assert_eq!(plain.hint(), Some("Check the credentials of this connection."));
        assert_eq!(plain.remedy("Set PGPASSWORD.").while_doing("describe").hint(), Some("Set PGPASSWORD."));
    }
}
