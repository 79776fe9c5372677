//! `task_<id>_result_001.parquet`: the file names of version 1.2.0.

use std::fmt;
use std::num::NonZeroU32;

use crate::task::{Compression, FileFormat, TaskId};

/// The name of one file of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartName {
    number: u32,
    text: String,
}

impl PartName {
    /// File `number` (from 1) of a task. At least three digits; more when needed.
    #[must_use]
    pub fn new(task: &TaskId, number: NonZeroU32, format: FileFormat, compression: Compression) -> Self {
        let extension = match (format, compression) {
            (FileFormat::Parquet, _) => "parquet",
            (FileFormat::Csv, Compression::Gzip) => "csv.gz",
            (FileFormat::Csv, Compression::Zstd) => "csv.zst",
            (FileFormat::Csv, Compression::None | Compression::Snappy) => "csv",
        };
        let number = number.get();
        Self { number, text: format!("task_{task}_result_{number:03}.{extension}") }
    }

    /// The number, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The file name, without a directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What every file name of `task` begins with.
    #[must_use]
    pub fn prefix(task: &TaskId) -> String {
        format!("task_{task}_result_")
    }

    /// True when `file_name` is a file of `task`, of any number and format: the test that decides
    /// what a commit may remove. Strict, because the id `a` is also the beginning of `a_result_001`.
    #[must_use]
    pub fn belongs_to(file_name: &str, task: &TaskId) -> bool {
        let Some(rest) = file_name.strip_prefix(&Self::prefix(task)) else { return false };
        let Some((number, extension)) = rest.split_once('.') else { return false };
        number.len() >= 3
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(extension, "parquet" | "csv" | "csv.gz" | "csv.zst")
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).expect("valid id")
    }

    #[test]
    fn names_are_those_of_version_1_2() {
        let name = |number, format, compression| {
            PartName::new(&id("42"), NonZeroU32::new(number).expect("from 1"), format, compression)
                .to_string()
        };
        assert_eq!(name(1, FileFormat::Parquet, Compression::Zstd), "task_42_result_001.parquet");
        assert_eq!(name(1000, FileFormat::Parquet, Compression::Zstd), "task_42_result_1000.parquet");
        assert_eq!(name(2, FileFormat::Csv, Compression::None), "task_42_result_002.csv");
        assert_eq!(name(2, FileFormat::Csv, Compression::Gzip), "task_42_result_002.csv.gz");
    }

    #[test]
    fn only_files_of_the_task_itself_belong_to_it() {
        for own in ["task_a_result_001.parquet", "task_a_result_1234.csv", "task_a_result_002.csv.zst"] {
            assert!(PartName::belongs_to(own, &id("a")), "{own}");
        }
        for other in [
            "task_a_result_001_result_001.parquet",
            "task_ab_result_001.parquet",
            "task_a_result_01.parquet",
            "task_a_result_001.parquet.tmp",
            "task_a_result_.parquet",
            "task_a_result_001",
            "x_task_a_result_001.parquet",
        ] {
            assert!(!PartName::belongs_to(other, &id("a")), "{other}");
        }
    }
}
