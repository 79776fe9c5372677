//! API keys: who may do what.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Secret;
use crate::bounds::TaskBounds;

/// What the holder of an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// See tasks, health and metrics.
    Read,
    /// Submit, cancel and retry tasks.
    Submit,
    /// Start and stop the handling of tasks.
    Operate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Submit, Self::Operate];

    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
        }
    }
}

/// A key of `[server.api_keys.<name>]`. Only its hash is kept: what is not in memory cannot leak
/// from it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    name: String,
    digest: KeyDigest,
    scopes: Vec<Scope>,
    bounds: Arc<TaskBounds>,
}

impl ApiKey {
    /// Hashes a key.
    #[must_use]
    pub fn new(name: impl Into<String>, key: &Secret, scopes: Vec<Scope>) -> Self {
        Self {
            name: name.into(),
            digest: KeyDigest::of(key.expose().as_bytes()),
            scopes,
            bounds: Arc::default(),
        }
    }

    /// The same, for a holder whose tasks have these bounds.
    #[must_use]
    pub fn bounded(mut self, bounds: TaskBounds) -> Self {
        self.bounds = Arc::new(bounds);
        self
    }

    /// What the tasks of the holder may do.
    #[must_use]
    pub fn bounds(&self) -> &Arc<TaskBounds> {
        &self.bounds
    }

    /// The name, for logs and messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when this is the key that was hashed.
    #[must_use]
    pub fn is(&self, presented: &KeyDigest) -> bool {
        self.digest == *presented
    }

    /// Its hash.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// True when the holder may do this.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// What the holder may do.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiKey").field("name", &self.name).field("scopes", &self.scopes).finish()
    }
}

/// The SHA-256 of a key. Two are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Hashes what a caller presents.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        let differences =
            self.0.iter().zip(&other.0).fold(0, |all, (left, right)| black_box(all | (left ^ right)));
        differences == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_never_shown() {
        let key = ApiKey::new("orchestrator", &Secret::new("correct horse battery"), vec![Scope::Read]);
        assert!(key.is(&KeyDigest::of(b"correct horse battery")));
        for other in ["", "correct horse batter", "correct horse battery ", "Correct horse battery"] {
            assert!(!key.is(&KeyDigest::of(other.as_bytes())), "{other:?}");
        }
        assert!(key.allows(Scope::Read) && !key.allows(Scope::Submit) && !key.allows(Scope::Operate));
        assert_eq!(format!("{key:?}"), "ApiKey { name: \"orchestrator\", scopes: [Read] }");
    }
}
