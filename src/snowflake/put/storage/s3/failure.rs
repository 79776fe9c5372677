//! What an answer of S3, or the lack of one, means for the task.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::fault::{Fault, FaultKind};

const REACH: &str = "Check that the storage of the stage can be reached from here: \
    SELECT SYSTEM$ALLOWLIST() lists its hosts.";

/// A request that failed after all its retries.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FaultKind,
    code: Option<String>,
    status: Option<u16>,
    remedy: Option<String>,
    cause: String,
}

impl Failure {
    /// Judges an error of the SDK. Keeps its code and message, nothing of the request.
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let SdkError::ServiceError(refusal) = &error else { return Self::without_answer(&error) };
        let status = refusal.raw().status().as_u16();
        let code = refusal.err().code();
        let mut cause = format!("the storage answered {status}");
        for (before, text) in
            [(" ", code), (": ", refusal.err().message()), (", request id ", error.request_id())]
        {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                cause.push_str(before);
                cause.extend(text.chars().take(500));
            }
        }
        let (kind, remedy) = judge(code.unwrap_or_default(), status);
        Self {
            kind,
            code: code.map(str::to_owned),
            status: Some(status),
            remedy: remedy.map(str::to_owned),
            cause,
        }
    }

    fn without_answer(error: &(dyn Error + 'static)) -> Self {
        let mut cause = String::new();
        let (mut kind, mut remedy) = (FaultKind::Transient, Some(REACH.to_owned()));
        let mut next = Some(error);
        while let Some(error) = next {
            // Snowflake did not renew the credentials: that is what matters.
            if let Some(fault) = error.downcast_ref::<Fault>() {
                (kind, remedy) = (fault.kind(), fault.hint().map(str::to_owned));
            }
            let text = error.to_string();
            if !cause.ends_with(&text) {
                if !cause.is_empty() {
                    cause.push_str(": ");
                }
                cause.push_str(&text);
            }
            next = error.source();
        }
        Self { kind, code: None, status: None, remedy, cause }
    }

    /// True when the storage answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// True when there is no such object.
    pub(super) fn is_absent(&self) -> bool {
        self.status == Some(404) && !self.is("NoSuchBucket")
    }

    /// True when the storage refuses this kind of request to these credentials, or knows none.
    pub(super) fn is_refusal(&self) -> bool {
        self.kind == FaultKind::Permission || matches!(self.status, Some(405 | 501))
    }

    /// True when the storage may have done what it was asked: the answer was lost, or could not be
    /// read, or says that an earlier try has changed something.
    pub(super) fn leaves_doubt(&self) -> bool {
        self.is("NoSuchUpload") || self.status.is_none_or(|status| !(300..500).contains(&status))
    }

    /// The fault while doing `action`.
    pub(super) fn fault(self, action: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
        let fault = Fault::new(self.kind, action).because(self.cause);
        match self.remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        }
    }
}

/// Kind and remedy for a code and a status. An answer to HEAD has no code, hence the status.
fn judge(code: &str, status: u16) -> (FaultKind, Option<&'static str>) {
    use FaultKind::{Permission, Request, Throttled, Transient};
    match (code, status) {
        // The next attempt gets new ones.
        ("ExpiredToken" | "TokenRefreshRequired" | "InvalidToken", _) => {
            (Transient, Some("Snowflake's credentials for the stage expire faster than they are renewed."))
        }
        ("RequestTimeTooSkewed", _) => (FaultKind::Credentials, Some("Set the clock of this machine.")),
        ("SlowDown" | "Throttling" | "TooManyRequests" | "RequestLimitExceeded", _) | (_, 429 | 503) => {
            (Throttled, None)
        }
        ("EntityTooLarge", _) => (Request, Some("Set a smaller `max_file_size`.")),
        // Somebody else aborted it.
        ("NoSuchUpload", _) => {
            (Transient, Some("Another attempt of the task, or a rule of the storage, aborted the upload."))
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed", _) | (_, 301 | 307) => {
            (Request, Some("Snowflake named another region than that of the stage's bucket."))
        }
        ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch", _) | (_, 401 | 403) => (
            Permission,
            Some(
                "Snowflake's own credentials were refused by the storage: check network policies and \
                 private endpoints between this machine and the stage.",
            ),
        ),
        ("NoSuchBucket", _) => (Request, Some("The storage that Snowflake named is not there.")),
        ("RequestTimeout" | "InternalError" | "OperationAborted" | "BadDigest", _)
        | (_, 200..=299 | 408 | 409 | 500..) => (Transient, None),
        _ => (Request, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_decide_what_happens_next() {
        use FaultKind::{Permission, Request, Throttled, Transient};
        for (code, status, expected) in [
            ("ExpiredToken", 400, Transient),
            ("NoSuchUpload", 404, Transient),
            ("AccessDenied", 403, Permission),
            ("", 403, Permission),
            ("SlowDown", 503, Throttled),
            ("", 500, Transient),
            ("InternalError", 200, Transient),
            ("PermanentRedirect", 301, Request),
            ("InvalidArgument", 400, Request),
        ] {
            assert_eq!(judge(code, status).0, expected, "{code} {status}");
        }
    }
}
