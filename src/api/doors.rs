//! Who may do what, as the newest configuration says.

use std::sync::{Arc, PoisonError, RwLock};

use super::Access;

/// The doors of a running API, which a new configuration replaces; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<RwLock<Arc<Access>>>);

impl Doors {
    /// The doors as they are now: a request goes by those that it found.
    #[must_use]
    pub fn now(&self) -> Arc<Access> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces them for requests from now on. Whoever is signed in to the console stays so, as long as
    /// there is the key.
    pub fn replace(&self, access: Access) {
        let mut doors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *doors = Arc::new(access.with_sessions_of(&doors));
    }
}

impl From<Access> for Doors {
    fn from(access: Access) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(access))))
    }
}
