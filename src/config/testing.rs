//! What tests of other modules need of the configuration: a directory of its own for each test, and sections that
//! are proven with another registry than the agent's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::Report;
use super::{BulkUtilitySettings, Environment, Overrides, Problems, prove, raw};
use crate::bulk::Kind;

/// The utilities of a configuration for an agent that has these kinds of them.
pub(crate) fn bulk_utilities(
    text: &str,
    kinds: &[Kind],
) -> Result<BTreeMap<String, BulkUtilitySettings>, Problems> {
    let environment = Environment::default().with_home("/home/agent");
    let mut report = Report::new(&environment);
    let file = Some((text, "configuration.toml"));
    let tree = raw::read(file, &Overrides::default(), &environment, &mut report);
    let section = tree.get("bulk_utility").cloned();
    let utilities = prove::prove_bulk_utilities(&mut report, section, kinds);
    match report.finish() {
        (problems, _) if problems.0.is_empty() => Ok(utilities),
        (problems, _) => Err(problems),
    }
}

/// A fresh directory that removes itself.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("data-exchange-agent-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
