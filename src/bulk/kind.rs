//! What each utility says of itself to the configuration: an entry of the registry.
//!
//! A utility keeps its keys, their proof and what comes out of it in its own file. Configuration and
//! registry know this form of it only.

use std::any::Any;
use std::fmt::Debug;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::BulkUtility;
use crate::config::{BulkUtilitySettings, Key, Section, key};

/// A utility, as registry and configuration know it.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// What `kind` of a section says, and the name of a section that has no `kind`.
    pub(crate) name: &'static str,
    /// The keys of its section, in the order of the documentation: its own, and those that every
    /// utility has.
    pub(crate) keys: &'static [Key],
    /// Everything has a default, so that tasks can ask for it without a section. Where that is not so, a
    /// section has to name the executable.
    pub(crate) is_there_without_a_section: bool,
    /// Reads the keys that only it has; an empty section has their defaults. `None` after a problem
    /// with which there is no use in reading on.
    pub(crate) prove: fn(&mut Section<'_, '_>) -> Option<Own>,
}

/// What only the section of one utility says.
#[derive(Clone, Debug)]
pub(crate) struct Own(Arc<dyn OwnSettings>);

impl Own {
    pub(crate) fn new(settings: impl OwnSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// The utility that these settings are of.
    pub(super) fn utility(&self, name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
        self.0.utility(name, settings)
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same(&*other.0)
    }
}

impl Eq for Own {}

/// The settings that one utility has besides those of all. Their type says which utility it is.
pub(crate) trait OwnSettings: Same + Debug + Send + Sync {
    /// Makes the utility: `name` is that of its section, `settings` are those that every utility has.
    fn utility(&self, name: &str, settings: BulkUtilitySettings) -> Arc<dyn BulkUtility>;
}

/// Equality of settings whose types are not known. Whatever is [`PartialEq`] has it.
pub(crate) trait Same: Any {
    fn is_same(&self, other: &dyn Any) -> bool;
}

impl<T: Any + PartialEq> Same for T {
    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>() == Some(self)
    }
}

/// The keys that every utility has: this one and [`executable`] before its own, the others after them.
pub(super) const WHICH: Key = key("kind", "string", "the name of the section", "Which utility.");

pub(super) const TIMEOUT: Key = key(
    "timeout",
    "duration, 1s to 30d",
    "\"6h\"",
    "Longest time from the start of the program to its end; then it is ended and the attempt fails.",
);

pub(super) const LONGEST_ROW: Key = key(
    "longest_row",
    "size, 1 KiB to 1 GiB",
    "\"64 MiB\"",
    "A longer row fails the attempt. Rows are held in memory, so this comes on top of the memory that tasks plan with.",
);

pub(super) const VARIABLES: Key = key(
    "variables",
    "string",
    "\"\"",
    "Variables of the agent that the program sees beside those of the system, separated by blanks; `ORACLE_*` are all \
     that begin so.",
);

/// The key of the program of a utility that has one by default.
pub(super) const fn executable(meaning: &'static str) -> Key {
    key("executable", "path, or a name that is in `PATH`", "", meaning)
}

/// A proven number that fits, and is not zero.
pub(super) fn small(number: i64) -> Option<NonZeroU16> {
    NonZeroU16::new(u16::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct One(u8);

    #[derive(Debug, PartialEq)]
    struct Other(u8);

    impl OwnSettings for One {
        fn utility(&self, _name: &str, _settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
            unreachable!("nobody asks for it")
        }
    }

    impl OwnSettings for Other {
        fn utility(&self, _name: &str, _settings: BulkUtilitySettings) -> Arc<dyn BulkUtility> {
            unreachable!("nobody asks for it")
        }
    }

    #[test]
    fn settings_are_the_same_when_type_and_values_are() {
        let own = Own::new(One(1));
        assert_eq!(own, own.clone());
        assert_eq!(own, Own::new(One(1)));
        assert_ne!(own, Own::new(One(2)));
        assert_ne!(own, Own::new(Other(1)));
    }
}
