//! Which keys a section may hold, and how they may be spelled.

use super::keys::Key;
use crate::nearest;

/// What a section may hold.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Written exactly so.
    pub keys: &'static [Key],
    /// Driver options: without regard to case and underscores.
    pub driver: &'static [Key],
    /// Accepted with a warning.
    pub ignored: &'static [&'static str],
}

impl Known {
    pub(super) const fn exactly(keys: &'static [Key]) -> Self {
        Self { keys, driver: &[], ignored: &[] }
    }

    pub(super) fn find(&self, written: &str) -> Option<&'static Key> {
        let plain = nearest::normal(written);
        let is_spelled = |key: &&Key| {
            nearest::normal(key.name) == plain || key.also.iter().any(|also| nearest::normal(also) == plain)
        };
        self.keys.iter().find(|key| key.name == written).or_else(|| self.driver.iter().find(is_spelled))
    }

    pub(super) fn is_ignored(&self, written: &str) -> bool {
        let plain = nearest::normal(written);
        self.ignored.iter().any(|name| nearest::normal(name) == plain)
    }
}
