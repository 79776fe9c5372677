//! The environment of the process, as a value: the only reader of the real one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Variables, home directory and working directory.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    directory: PathBuf,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out: no key, path or
    /// password of the configuration can be written that way.
    #[must_use]
    pub fn process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, home: std::env::home_dir(), directory: PathBuf::new() }
    }

    /// An environment of these variables alone, without a home directory.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, home: None, directory: PathBuf::new() }
    }

    /// The same with this home directory.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// The same with this directory in which `configuration.toml` is looked for; it begins as the
    /// working directory of the process.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The value of a variable that says something; an empty one counts as not set.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Name and value of every variable, sorted by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Name and value of every variable whose name begins with `prefix`, sorted by name.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names of the variables that are the agent's own configuration.
    pub(crate) fn own(&self) -> impl Iterator<Item = &str> {
        self.with_prefix(super::raw::PREFIX).map(|(name, _)| name)
    }

    /// The same without them.
    pub(super) fn without_own(&self) -> Self {
        let mut environment = self.clone();
        environment.variables.retain(|name, _| !name.starts_with(super::raw::PREFIX));
        environment
    }

    /// The home directory of the user.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Where relative names of the file search begin.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces a leading `~` by the home directory; `None` when there is none.
    pub(crate) fn expand_home(&self, path: &str) -> Option<PathBuf> {
        if path == "~" {
            return self.home.clone();
        }
        match path.strip_prefix("~/") {
            Some(rest) => self.home.as_ref().map(|home| home.join(rest)),
            None => Some(PathBuf::from(path)),
        }
    }
}

/// Values of variables can be secrets, so only their names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("home", &self.home)
            .field("directory", &self.directory)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_names_of_variables_and_no_value() {
        let shown = format!("{:?}", Environment::of([("PGPASSWORD", "hunter2")]));
        assert!(shown.contains("PGPASSWORD") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_tilde_is_the_home_directory_only_at_the_beginning() {
        let environment = Environment::default().with_home("/home/agent");
        let expand = |path| environment.expand_home(path).unwrap();
        assert_eq!(expand("~/data"), Path::new("/home/agent/data"));
        assert_eq!(expand("~"), Path::new("/home/agent"));
        assert_eq!(expand("/a/~/b"), Path::new("/a/~/b"));
        assert_eq!(expand("~other/x"), Path::new("~other/x"));
        assert_eq!(Environment::default().expand_home("~/data"), None);
    }

    #[test]
    fn the_environment_of_the_process_has_its_variables() {
        assert!(Environment::process().filled("PATH").is_some());
        assert_eq!(Environment::default().filled("PATH"), None);
        assert_eq!(Environment::of([("EMPTY", "")]).filled("EMPTY"), None);
    }
}
