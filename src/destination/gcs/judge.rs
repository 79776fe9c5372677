//! What the codes of Google mean for the task.

use crate::destination::cloud::failure::Judgement;
use crate::fault::FaultKind::{Credentials, Permission, Request, Throttled, Transient};

/// Kind and remedy for a code and a status. An answer may come without a code.
pub(super) fn judge(code: &str, status: u16) -> Judgement {
    let (kind, remedy) = match (code, status) {
        ("NoSuchBucket", _) | ("NotFound" | "", 404) => {
            (Request, "Create the bucket, or correct `bucket_name` of the connection.")
        }
        ("InvalidBucketName", _) => (Request, "Correct `bucket_name` of the connection."),
        ("EntityTooLarge", _) | (_, 413) => (Request, "Set a smaller `part_size` or `max_file_size`."),
        ("EntityTooSmall", _) => {
            (Request, "Raise `part_size` of the connection: the store takes no parts as small.")
        }
        ("UserProjectMissing", _) => {
            (Request, "The bucket lets the requester pay, which this version does not support.")
        }
        // Somebody else aborted it: a newer attempt of the task, or a life-cycle rule.
        ("NoSuchUpload", _) => {
            (Transient, "Another attempt of the task, or a life-cycle rule, aborted the upload.")
        }
        ("AuthenticationRequired" | "ExpiredToken" | "InvalidSecurity", _) | (_, 401) => {
            (Credentials, "Correct `service_account_file`, or log in again: the token was refused.")
        }
        ("AccountProblem" | "UserProjectAccountProblem", _) => {
            (Permission, "Enable billing for the project of the bucket.")
        }
        ("ObjectUnderActiveHold" | "RetentionPolicyNotMet", _) => {
            (Permission, "The bucket retains its objects: write to a path of its own for each task.")
        }
        (_, 403) => (
            Permission,
            "Grant the account the role Storage Object User (roles/storage.objectUser) on the bucket.",
        ),
        ("SlowDown" | "RateLimitExceeded", _) | (_, 429 | 503) => return (Throttled, None),
        ("BadDigest" | "RequestTimeout" | "InternalError", _) | (_, 200..=299 | 408 | 409 | 412 | 500..) => {
            return (Transient, None);
        }
        _ => return (Request, None),
    };
    (kind, Some(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_decide_what_happens_next() {
        for (code, status, expected) in [
            ("NoSuchBucket", 404, Request),
            ("", 404, Request),
            ("NoSuchUpload", 404, Transient),
            ("AuthenticationRequired", 401, Credentials),
            ("", 401, Credentials),
            ("AccessDenied", 403, Permission),
            ("SlowDown", 429, Throttled),
            ("ServiceUnavailable", 503, Throttled),
            ("InternalError", 500, Transient),
            ("BadDigest", 400, Transient),
            ("", 502, Transient),
            ("InvalidArgument", 400, Request),
        ] {
            assert_eq!(judge(code, status).0, expected, "{code} {status}");
        }
    }
}
