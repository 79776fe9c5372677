//! Names and modes of files that are not visible yet, and of those that are.

use crate::destination::PartName;
use crate::task::TaskId;

const SUFFIX: &str = ".tmp";

/// A fresh hidden name: `.<part name>.<random>.tmp`.
pub(super) fn name(part: &PartName) -> String {
    format!(".{part}.{}{SUFFIX}", uuid::Uuid::new_v4().simple())
}

/// True when `file_name` is a temporary file of `task`. Strict, because such files are removed.
pub(super) fn belongs_to(file_name: &str, task: &TaskId) -> bool {
    let hidden = file_name.strip_prefix('.').and_then(|rest| rest.strip_suffix(SUFFIX));
    let Some((part, random)) = hidden.and_then(|rest| rest.rsplit_once('.')) else { return false };
    PartName::belongs_to(part, task)
        && random.len() == 32
        && random.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// 0644 less the umask of this process.
///
/// The umask can only be read by setting it, which is a race in a program with threads; Linux
/// shows it in `/proc`. Without that, 022 is assumed.
pub(super) fn visible_mode() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok())
        .unwrap_or(0o022);
    0o644 & !umask
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::task::{Compression, FileFormat};

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).expect("valid id")
    }

    #[test]
    fn a_temporary_name_belongs_to_its_own_task_only() {
        let part = PartName::new(&id("a"), NonZeroU32::MIN, FileFormat::Csv, Compression::Gzip);
        let own = name(&part);
        assert!(own.starts_with(".task_a_result_001.csv.gz."), "{own}");
        assert!(belongs_to(&own, &id("a")));
        assert!(!belongs_to(&own, &id("a_result_001")));
        assert!(!PartName::belongs_to(&own, &id("a")), "readers must not see {own}");
    }

    #[test]
    fn other_hidden_files_belong_to_no_task() {
        let random = "0123456789abcdef0123456789abcdef";
        for other in [
            "task_a_result_001.parquet".to_owned(),
            format!("task_a_result_001.parquet.{random}.tmp"),
            format!(".task_a_result_001.parquet.{random}"),
            format!(".task_a_result_001.{random}.tmp"),
            ".task_a_result_001.parquet.tmp".to_owned(),
            ".task_a_result_001.parquet.mine.tmp".to_owned(),
            format!(".task_a_result_001_result_001.parquet.{random}.tmp"),
        ] {
            assert!(!belongs_to(&other, &id("a")), "{other}");
        }
    }
}
