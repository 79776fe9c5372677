//! What an answer of a store, or the lack of one, means for the task.

use std::borrow::Cow;
use std::error::Error;

use crate::destination::multipart::StoreFailure;
use crate::fault::{Fault, FaultKind};

const REACH: &str = "Check that the endpoint of the store can be reached from here, and its certificate.";

/// What a code and a status of a store mean.
pub(in crate::destination) type Judgement = (FaultKind, Option<&'static str>);

/// A request that failed after all its repetitions.
#[derive(Debug)]
pub(in crate::destination) struct Failure {
    kind: FaultKind,
    /// The code of the store, such as `NoSuchUpload`.
    code: Box<str>,
    /// The status of the answer, if there was one.
    status: Option<u16>,
    remedy: Option<Box<str>>,
    cause: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// The store answered, and refused.
    pub(super) fn refused(judgement: Judgement, status: u16, code: &str, message: &str, id: &str) -> Self {
        let mut cause = format!("the store answered {status}");
        for (before, text) in [(" ", code), (": ", message), (", request id ", id)] {
            if !text.is_empty() {
                cause.push_str(before);
                cause.extend(without_signatures(text).chars().take(300));
            }
        }
        let (kind, remedy) = judgement;
        Self {
            kind,
            code: code.into(),
            status: Some(status),
            remedy: remedy.map(Box::from),
            cause: cause.into(),
        }
    }

    /// The store did not answer, or the answer broke off.
    pub(super) fn without_answer(error: reqwest::Error) -> Self {
        // The URL can hold a signature that gives access.
        Self::unreadable(error.without_url())
    }

    /// The answer cannot be what the store says.
    pub(in crate::destination) fn unreadable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (code, remedy) = (Box::default(), Some(REACH.into()));
        Self { kind: FaultKind::Transient, code, status: None, remedy, cause: cause.into() }
    }

    /// True when the store answered with this code.
    pub(in crate::destination) fn is(&self, code: &str) -> bool {
        *self.code == *code
    }

    /// True when the store answered with this status.
    pub(in crate::destination) fn has_status(&self, status: u16) -> bool {
        self.status == Some(status)
    }

    /// True when the same request can succeed without anybody acting.
    pub(super) fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

/// A text of a store, or of what stands before it, without the signatures of URLs: some repeat what they were
/// asked, and whoever has the signature has the access.
fn without_signatures(text: &str) -> String {
    const NAME: &str = "sig=";
    let mut pieces = text.split(NAME);
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_end = |letter: char| letter.is_whitespace() || "&;,\"'<>)]".contains(letter);
        clean.push_str(NAME);
        clean.push_str("***");
        clean.push_str(piece.find(is_end).map_or("", |end| &piece[end..]));
    }
    clean
}

impl StoreFailure for Failure {
    fn leaves_doubt(&self) -> bool {
        // The blocks or the upload are gone: perhaps because an earlier try has used them up.
        let is_gone = self.is("NoSuchUpload") || self.is("InvalidBlockList");
        is_gone || self.status.is_none_or(|status| !(300..500).contains(&status))
    }

    fn is_forbidden(&self) -> bool {
        self.kind == FaultKind::Permission
    }

    fn is_unknown_to_the_store(&self) -> bool {
        ["NotImplemented", "MethodNotAllowed"].iter().any(|code| self.is(code))
    }

    fn fault(self, action: impl Into<Cow<'static, str>>) -> Fault {
        let fault = Fault::new(self.kind, action).because(self.cause);
        match self.remedy {
            Some(remedy) => fault.remedy(remedy.into_string()),
            None => fault,
        }
    }
}

/// Credentials that could not be had: the request was not sent.
impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let remedy = fault.hint().map(Box::from);
        Self { kind: fault.kind(), code: Box::default(), status: None, remedy, cause: Box::new(fault) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_repeats_the_url_repeats_no_signature() {
        for (message, expected) in [
            ("refused /c/b?sv=2024&sig=a%2Fb%3D", "refused /c/b?sv=2024&sig=***"),
            ("'/b?sig=a%2Fb%3D&sp=rw' and \"/c?sig=x\"", "'/b?sig=***&sp=rw' and \"/c?sig=***\""),
            ("Signature did not match", "Signature did not match"),
        ] {
            let failure = Failure::refused((FaultKind::Credentials, None), 403, "Refused", message, "7");
            let chain = failure.fault("list").chain();
            assert_eq!(chain, format!("list: the store answered 403 Refused: {expected}, request id 7"));
        }
    }
}
