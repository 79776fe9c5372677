//! What an error of the file system means for the task.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::fault::{Fault, FaultKind};

/// A fault that names the path; its kind and remedy follow from the error.
pub(super) fn io_fault(action: &str, path: &Path, error: io::Error) -> Fault {
    let (kind, remedy) = judge(error.kind());
    let fault = Fault::new(kind, format!("{action} `{}`", path.display())).because(error);
    match remedy {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}

fn judge(kind: ErrorKind) -> (FaultKind, Option<&'static str>) {
    match kind {
        // Somebody may make room before the next attempt.
        ErrorKind::StorageFull => {
            (FaultKind::Transient, Some("The disk is full: make room, or choose another root directory."))
        }
        ErrorKind::QuotaExceeded => {
            (FaultKind::Transient, Some("The disk quota is used up: make room, or raise the quota."))
        }
        ErrorKind::FileTooLarge => {
            (FaultKind::Request, Some("The file system does not take files of this size: set max_file_size."))
        }
        ErrorKind::PermissionDenied => (
            FaultKind::Permission,
            Some("Give the user of the agent the right to write and list this directory."),
        ),
        ErrorKind::ReadOnlyFilesystem => (
            FaultKind::Permission,
            Some("The file system is mounted read-only: choose another root directory."),
        ),
        ErrorKind::InvalidFilename => (FaultKind::Request, Some("Choose a shorter path.")),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            (FaultKind::Request, Some("A file and a directory have the same name: choose another path."))
        }
        ErrorKind::NotFound => (
            FaultKind::Transient,
            Some("Something else removed it: another attempt of the same task, or a person."),
        ),
        _ => (FaultKind::Transient, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_remedy_follow_from_the_error() {
        for (error, kind, word) in [
            (ErrorKind::StorageFull, FaultKind::Transient, "full"),
            (ErrorKind::PermissionDenied, FaultKind::Permission, "right"),
            (ErrorKind::NotADirectory, FaultKind::Request, "another path"),
        ] {
            let fault = io_fault("write the file", Path::new("/data/x"), error.into());
            assert_eq!(fault.kind(), kind);
            assert!(fault.hint().is_some_and(|hint| hint.contains(word)), "{fault:?}");
            assert!(fault.to_string().contains("`/data/x`"), "{fault}");
        }
    }
}
