//! Collects what is wrong while the proof goes on.

use super::Environment;
use super::effective::Values;
use super::problem::{Place, Problem, Problems, Warning};
use super::raw::Places;
use super::secret_store::SecretStores;
use crate::nearest;

/// Everything found so far, and what is needed to say where it is.
pub(super) struct Report<'e> {
    pub environment: &'e Environment,
    /// Where references lead besides environment and files, as far as it is known.
    pub stores: SecretStores,
    pub places: Places,
    /// Keys whose secrets stand in the configuration file itself.
    pub literal_secrets: Vec<String>,
    /// Every value that was read, and the defaults beside them.
    pub effective: Values,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl<'e> Report<'e> {
    pub(super) fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            stores: SecretStores::default(),
            places: Places::new(),
            literal_secrets: Vec::new(),
            effective: Values::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The place of a path, or of the innermost section around it that was written somewhere.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place.clone());
            }
            path = &path[..path.rfind('.')?];
        }
    }

    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>, remedy: Option<String>) {
        self.problem_at(self.place(path), path, message, remedy);
    }

    pub(super) fn problem_at(
        &mut self,
        place: Option<Place>,
        key: &str,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        self.problems.push(Problem { place, key: key.to_owned(), message: message.into(), remedy });
    }

    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>, remedy: Option<String>) {
        let (place, key) = (self.place(path), path.to_owned());
        self.warnings.push(Warning { place, key, message: message.into(), remedy });
    }

    /// How much is wrong so far.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// A key that nobody knows, with the nearest of those that are known there.
    pub(super) fn unknown<'a>(
        &mut self,
        path: &str,
        written: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) {
        let remedy = match nearest::nearest(written, known.clone()) {
            Some(near) => format!("Did you mean {near}?"),
            None => format!("Known here: {}.", known.collect::<Vec<_>>().join(", ")),
        };
        self.problem(path, "is not a known key", Some(remedy));
    }

    /// The file that holds the secrets is readable for others.
    pub(super) fn warn_of_literal_secrets(&mut self) {
        for path in std::mem::take(&mut self.literal_secrets) {
            self.warning(
                &path,
                "is a secret in a file that other users of this machine can open",
                Some("Run chmod 600 on the file, or write ${env:NAME} or ${file:/path} in its place.".into()),
            );
        }
    }

    /// Problems in the order of the file, then those of environment and command line; what has no
    /// place comes first. Warnings likewise.
    pub(super) fn finish(mut self) -> (Problems, Vec<Warning>) {
        self.problems.sort_by(|left, right| left.place.cmp(&right.place));
        self.warnings.sort_by(|left, right| left.place.cmp(&right.place));
        (Problems(self.problems), self.warnings)
    }
}
