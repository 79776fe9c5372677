//! What an answer of the store, or the lack of one, means for the task.

use std::borrow::Cow;
use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::destination::multipart::StoreFailure;
use crate::fault::{Fault, FaultKind};

const REACH: &str = "Check that the endpoint of the store can be reached from here, and its certificate.";
const NO_SUCH_HOST: &str = "Nobody here knows this host. Where the store has no host name for each bucket, set \
    `path_style = true` of the connection; else correct `endpoint_url`.";
const NO_CREDENTIALS: &str = "Set `access_key_id` and `secret_access_key`, or `profile_name`, or give the agent \
    credentials by environment, web identity or instance role.";

/// A request that failed after all its retries.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FaultKind,
    /// The code of the store, such as `NoSuchUpload`.
    code: Option<String>,
    /// The status of the answer, if there was one.
    status: Option<u16>,
    remedy: Option<Cow<'static, str>>,
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
        let (kind, remedy) = judge(code.unwrap_or_default(), status);
        let mut cause = format!("the store answered {status}");
        for (before, text) in
            [(" ", code), (": ", refusal.err().message()), (", request id ", error.request_id())]
        {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                cause.push_str(before);
                cause.extend(text.chars().take(500));
            }
        }
        Self { kind, code: code.map(str::to_owned), status: Some(status), remedy, cause }
    }

    fn without_answer(error: &(dyn Error + 'static)) -> Self {
        let mut cause = String::new();
        let mut kind = FaultKind::Transient;
        let mut remedy = REACH;
        let mut next = Some(error);
        while let Some(error) = next {
            match error.downcast_ref::<CredentialsError>() {
                Some(CredentialsError::CredentialsNotLoaded(_)) => {
                    (kind, remedy) = (FaultKind::Credentials, NO_CREDENTIALS);
                }
                Some(CredentialsError::InvalidConfiguration(_)) => {
                    let hint = "Correct the AWS configuration files or variables that the message names.";
                    (kind, remedy) = (FaultKind::Credentials, hint);
                }
                Some(_) => remedy = "Check that the service that gives the credentials can be reached.",
                None => {}
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
        // The words of the HTTP client, which has no type for it.
        if remedy == REACH && cause.contains("dns error") {
            remedy = NO_SUCH_HOST;
        }
        Self { kind, code: None, status: None, remedy: Some(remedy.into()), cause }
    }

    /// True when the store answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl StoreFailure for Failure {
    fn leaves_doubt(&self) -> bool {
        self.is("NoSuchUpload") || self.status.is_none_or(|status| !(300..500).contains(&status))
    }

    fn is_forbidden(&self) -> bool {
        self.kind == FaultKind::Permission
    }

    fn is_unknown_to_the_store(&self) -> bool {
        ["NotImplemented", "MethodNotAllowed", "XNotImplemented"].iter().any(|code| self.is(code))
    }

    fn fault(self, action: impl Into<Cow<'static, str>>) -> Fault {
        let fault = Fault::new(self.kind, action).because(self.cause);
        match self.remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        }
    }
}

/// Kind and remedy for a code and a status. An answer to HEAD has no code, hence the status.
fn judge(code: &str, status: u16) -> (FaultKind, Option<Cow<'static, str>>) {
    use FaultKind::{Credentials, Permission, Request, Throttled, Transient};
    let (kind, remedy) = match (code, status) {
        ("NoSuchBucket", _) | ("NotFound" | "", 404) => {
            (Request, "Create the bucket, or correct `bucket_name` of the connection.")
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
        | (_, 301 | 307) => (Request, "The bucket is in another region: correct `region_name`."),
        ("InvalidBucketName", _) => (Request, "Correct `bucket_name` of the connection."),
        ("EntityTooLarge", _) => (Request, "Set a smaller `max_file_size`."),
        ("EntityTooSmall", _) => {
            (Request, "Raise `part_size` of the connection: the store takes no parts as small.")
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity", _) => {
            (Credentials, "Correct the access key, secret key or session token of the connection.")
        }
        ("ExpiredToken" | "TokenRefreshRequired", _) => {
            (Credentials, "Log in again: the session of these credentials is over.")
        }
        ("RequestTimeTooSkewed", _) => (Credentials, "Set the clock of this machine."),
        ("KMS.NotFoundException" | "KMS.DisabledException" | "KMS.InvalidStateException", _) => {
            (Request, "Correct the KMS key of the connection's encryption.")
        }
        (
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "TooManyRequestsException",
            _,
        )
        | (_, 429 | 503) => return (Throttled, None),
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidObjectState", _)
        | (_, 401 | 403) => (
            Permission,
            "Allow the agent s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload, \
                s3:ListBucket and s3:ListBucketMultipartUploads here, and the use of the KMS key if there is one.",
        ),
        // Somebody else aborted it: a newer attempt of the task, or a life-cycle rule.
        ("NoSuchUpload", _) => {
            (Transient, "Another attempt of the task, or a life-cycle rule, aborted the upload.")
        }
        ("RequestTimeout" | "InternalError" | "OperationAborted" | "BadDigest", _)
        | (_, 200..=299 | 408 | 409 | 500..) => {
            return (Transient, None);
        }
        _ => return (Request, None),
    };
    (kind, Some(remedy.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_decide_what_happens_next() {
        use FaultKind::{Credentials, Permission, Request, Throttled, Transient};
        for (code, status, expected) in [
            ("NoSuchBucket", 404, Request),
            ("", 404, Request),
            ("PermanentRedirect", 301, Request),
            ("AccessDenied", 403, Permission),
            ("", 403, Permission),
            ("InvalidAccessKeyId", 403, Credentials),
            ("SignatureDoesNotMatch", 403, Credentials),
            ("ExpiredToken", 400, Credentials),
            ("SlowDown", 503, Throttled),
            ("", 503, Throttled),
            ("", 429, Throttled),
            ("InternalError", 500, Transient),
            ("InternalError", 200, Transient),
            ("", 200, Transient),
            ("", 502, Transient),
            ("RequestTimeout", 400, Transient),
            ("NoSuchUpload", 404, Transient),
            ("InvalidArgument", 400, Request),
        ] {
            assert_eq!(judge(code, status).0, expected, "{code} {status}");
        }
    }

    #[test]
    fn a_host_that_nobody_knows_comes_with_the_key_that_most_stores_need() {
        for (error, expected) in
            [("dns error: Name or service not known", "path_style"), ("connection refused", "can be reached")]
        {
            let failure = Failure::without_answer(&std::io::Error::other(error));
            let remedy = failure.remedy.unwrap_or_default();
            assert!(remedy.contains(expected), "{error}: {remedy}");
            assert_eq!(failure.kind, FaultKind::Transient);
        }
    }

    #[test]
    fn a_missing_bucket_comes_with_a_remedy() {
        let (_, remedy) = judge("NoSuchBucket", 404);
        assert!(remedy.is_some_and(|text| text.contains("bucket_name")));
    }
}
