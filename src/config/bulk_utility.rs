//! `[bulk_utility.<name>]`, proven: what is the same for every utility. What only one has is in its own file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::bulk::Own;

/// The settings of one utility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkUtilitySettings {
    /// A path, or a name that is looked up in `PATH`; the utility's own when `None`.
    pub executable: Option<PathBuf>,
    /// Longest time from the start of the program to its end.
    pub timeout: Duration,
    /// Bytes of the longest row.
    pub longest_row: NonZeroUsize,
    /// Variables of the agent that the program sees beside those of the system: names, or their beginnings
    /// before a `*`.
    pub variables: Vec<String>,
    /// There is a section for it: somebody wants it, so `check` looks for its program.
    pub has_section: bool,
    /// What only this utility has, and with that which one it is.
    pub(crate) own: Own,
}

impl BulkUtilitySettings {
    /// Longest time of a run that no configuration says.
    const DEFAULT_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
    /// Bytes of the longest row when no configuration says.
    const DEFAULT_LONGEST_ROW: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");

    /// A utility with every setting at its default but its own.
    pub(crate) fn new(own: Own) -> Self {
        Self {
            executable: None,
            timeout: Self::DEFAULT_TIMEOUT,
            longest_row: Self::DEFAULT_LONGEST_ROW,
            variables: Vec::new(),
            has_section: false,
            own,
        }
    }
}
