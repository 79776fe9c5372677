//! What the codes of Azure mean for the task.

use crate::destination::cloud::failure::Judgement;
use crate::fault::FaultKind::{Credentials, Permission, Request, Throttled, Transient};

const RIGHTS: &str = "Give the identity the role Storage Blob Data Contributor, or the shared access \
    signature the rights read, write, delete and list on the container.";
const KEYS: &str = "Correct `account_key`, `sas_token` or `connection_string`; a shared access signature \
    may have ended, or the clock of this machine be wrong.";

/// Kind and remedy for a code and a status. An answer may come without a code.
pub(super) fn judge(code: &str, status: u16) -> Judgement {
    let (kind, remedy) = match (code, status) {
        ("ContainerNotFound" | "ResourceNotFound" | "AccountNotFound" | "", 404) => {
            (Request, "Create the container, or correct `container_name` or the account of the connection.")
        }
        ("InvalidResourceName" | "OutOfRangeInput", 400) => {
            (Request, "Correct `container_name` of the connection.")
        }
        // The blocks are gone: another list was committed to the same blob, or a week has passed.
        ("InvalidBlockList" | "InvalidBlockId", 400) => {
            (Transient, "Another attempt of the task has stored the file meanwhile.")
        }
        ("InvalidBlobOrBlock", 400) => (
            Request,
            "Another program has left blocks under the file's name: delete that blob, or wait until Azure \
             forgets them after a week.",
        ),
        ("InvalidBlobType", 409) => {
            (Request, "Delete the blob at the file's name: it is a page or append blob.")
        }
        ("RequestBodyTooLarge" | "BlockListTooLong" | "BlockCountExceedsLimit", _) | (_, 413) => {
            (Request, "Set a smaller `part_size` or `max_file_size`.")
        }
        ("KeyBasedAuthenticationNotPermitted", _) => {
            (Credentials, "This account takes no keys: set `use_default_credential = true`.")
        }
        ("AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation", _)
        | (_, 401) => (Credentials, KEYS),
        ("AuthorizationFailure" | "AuthorizationSourceIPMismatch", _) => (
            Permission,
            "Let this machine through the firewall of the storage account, and grant the rights.",
        ),
        ("AuthorizationProtocolMismatch" | "AccountRequiresHttps", _) => {
            (Permission, "Use an endpoint that begins with https.")
        }
        ("AccountIsDisabled", _) => (Permission, "Enable the storage account."),
        ("LeaseIdMissing", _) => (Permission, "Break the lease that somebody holds on the blob."),
        ("BlobImmutableDueToPolicy", _) => (
            Permission,
            "The container has an immutability policy: write to a path of its own for each task.",
        ),
        (_, 403) => (Permission, RIGHTS),
        ("ServerBusy" | "TooManyRequests", _) | (_, 429 | 503) => return (Throttled, None),
        ("Md5Mismatch", _) | (_, 200..=299 | 408 | 409 | 412 | 500..) => return (Transient, None),
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
            ("ContainerNotFound", 404, Request),
            ("", 404, Request),
            ("InvalidBlockList", 400, Transient),
            ("Md5Mismatch", 400, Transient),
            ("AuthenticationFailed", 403, Credentials),
            ("InvalidAuthenticationInfo", 401, Credentials),
            ("KeyBasedAuthenticationNotPermitted", 403, Credentials),
            ("AuthorizationPermissionMismatch", 403, Permission),
            ("", 403, Permission),
            ("ServerBusy", 503, Throttled),
            ("", 429, Throttled),
            ("OperationTimedOut", 500, Transient),
            ("", 502, Transient),
            ("ContainerBeingDeleted", 409, Transient),
            ("InvalidHeaderValue", 400, Request),
        ] {
            assert_eq!(judge(code, status).0, expected, "{code} {status}");
        }
    }
}
