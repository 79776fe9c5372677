//! Who may do what, as the newest configuration says.

use std::sync::Arc;

use tokio::sync::watch;

use super::Access;

/// The doors of a running API, which a new configuration replaces; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Doors(watch::Sender<Arc<Access>>);

impl Doors {
    /// The doors as they are now: a request goes by those that it found.
    #[must_use]
    pub fn now(&self) -> Arc<Access> {
        Arc::clone(&self.0.borrow())
    }

    /// Tells of every replacement from now on, to answers that take long.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<Access>> {
        self.0.subscribe()
    }

    /// Replaces them for requests from now on. Whoever is signed in to the console stays so, as long as
    /// there is the key.
    pub fn replace(&self, access: Access) {
        self.0.send_modify(|doors| *doors = Arc::new(access.with_sessions_of(doors)));
    }
}

impl From<Access> for Doors {
    fn from(access: Access) -> Self {
        Self(watch::Sender::new(Arc::new(access)))
    }
}
