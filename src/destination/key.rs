//! Keys of objects: paths in stores that know no directories.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::destination::PartName;
use crate::fault::{Fault, FaultKind};
use crate::task::TaskId;

/// Longest key that S3, Azure and Google take, in bytes. (Azure counts characters.)
const MAX_KEY: usize = 1024;
/// Room for the file name: the fixed words, the longest id, ten digits and the longest extension.
const MAX_NAME: usize = "task__result_.parquet".len() + TaskId::MAX_LENGTH + 10;

/// The part of the key before the file name: empty, or ending in `/`.
///
/// `prefix` is empty or ends in `/`; slashes at both ends of `path` have no meaning. `.` and `..`
/// are refused: they are plain text to S3, but stores and clients in front of it resolve them, and
/// then the key is not below the prefix.
pub(super) fn directory(prefix: &str, path: &str) -> Result<String, Fault> {
    let refuse = |why: &str| {
        Fault::new(FaultKind::Request, format!("use the path {path:?} as a key prefix: {why}"))
            .remedy("Choose a path below the prefix of the connection, such as `sales/2026`.")
    };
    if path.chars().any(char::is_control) {
        return Err(refuse("it contains a control character"));
    }
    let path = path.trim_matches('/');
    if path.split('/').any(|component| matches!(component, "." | "..")) {
        return Err(refuse("`.` and `..` are not names"));
    }
    let directory = if path.is_empty() { prefix.to_owned() } else { format!("{prefix}{path}/") };
    if directory.len() + MAX_NAME > MAX_KEY {
        return Err(refuse("a key has at most 1024 bytes"));
    }
    Ok(directory)
}

/// True when `key` is a file of `task` in `directory` itself, not below it.
pub(super) fn is_file_of(key: &str, directory: &str, task: &TaskId) -> bool {
    key.strip_prefix(directory).is_some_and(|name| PartName::belongs_to(name, task))
}

/// Everything but unreserved characters (RFC 3986) and the slash between segments.
const SEGMENTS: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A key as the path of a URL.
pub(super) fn encoded(key: &str) -> String {
    utf8_percent_encode(key, &SEGMENTS).to_string()
}

/// The media type of a file.
pub(super) fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, extension)| extension) {
        Some("parquet") => "application/vnd.apache.parquet",
        Some("gz") => "application/gzip",
        Some("zst") => "application/zstd",
        _ => "text/csv",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_path_and_name_are_joined_by_one_slash() {
        for (prefix, path, expected) in [
            ("", "", ""),
            ("", "/", ""),
            ("exports/", "", "exports/"),
            ("exports/", "/sales/2026/", "exports/sales/2026/"),
            ("", "it's \"ünï\" =&+", "it's \"ünï\" =&+/"),
            ("", "a//b", "a//b/"),
        ] {
            assert_eq!(directory(prefix, path).expect(path), expected);
        }
    }

    #[test]
    fn a_path_that_others_could_read_as_another_place_is_refused() {
        let long = "x".repeat(1000);
        for path in ["..", "a/../b", "./a", "a/.", "a\0b", "a\nb", &long] {
            assert_eq!(directory("p/", path).expect_err(path).kind(), FaultKind::Request);
        }
    }

    #[test]
    fn a_key_in_a_url_keeps_its_slashes_only() {
        assert_eq!(encoded("a-b.c_d~e/f g%#?&=+ü"), "a-b.c_d~e/f%20g%25%23%3F%26%3D%2B%C3%BC");
    }

    #[test]
    fn files_below_the_directory_and_of_other_tasks_are_not_its_files() {
        let task = TaskId::parse("a").expect("valid id");
        assert!(is_file_of("d/task_a_result_001.parquet", "d/", &task));
        for other in [
            "d/e/task_a_result_001.parquet",
            "task_a_result_001.parquet",
            "d/task_a_result_001_result_001.parquet",
            "d/task_a_result_001.parquet/x",
        ] {
            assert!(!is_file_of(other, "d/", &task), "{other}");
        }
    }
}
