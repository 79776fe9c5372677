//! The name of a task, safe to use in file names and URLs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with a dot.
///
/// The id is the idempotency key of `POST /tasks` and part of every file name, hence the narrow
/// alphabet: no separator, nothing that a shell, URL or file system reads as something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// Why a text is not a task id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a task id has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and does not start with '.'")]
pub struct InvalidTaskId;

impl TaskId {
    /// Longest id in characters.
    pub const MAX_LENGTH: usize = 128;

    /// A new id that sorts by time (UUID version 7).
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// Checks `text`.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidTaskId> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = (1..=Self::MAX_LENGTH).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if valid { Ok(Self(text)) } else { Err(InvalidTaskId) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_safe_in_file_names_are_accepted() {
        let longest = "x".repeat(TaskId::MAX_LENGTH);
        for text in ["1", "42", "orders-2026.11_a", "0197f0a0-7b1e-7000-8000-000000000000", &longest] {
            assert_eq!(TaskId::parse(text).map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let too_long = "x".repeat(TaskId::MAX_LENGTH + 1);
        for text in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\n", "a\0", "a:b", &too_long] {
            assert_eq!(TaskId::parse(text), Err(InvalidTaskId), "{text:?}");
        }
    }
}
