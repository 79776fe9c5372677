//! What a connection logs in with: replaced when a login is refused and there is something newer, so that
//! a password or a key can be exchanged while the agent runs.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::renewal::{Read, read_again};

/// The places where secrets lie are asked at most this often: many who are refused at
/// once, one after the other, are no reason to ask a Vault as often.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Reads the connection again.
pub type ReadConnection = Read<Connection>;

/// The connection as it is logged in with now.
pub(super) struct Credentials {
    current: RwLock<Arc<Connection>>,
    /// Where newer secrets come from; several when the same connection is configured in several places.
    origins: Mutex<Vec<Arc<ReadConnection>>>,
    /// When the origins were asked; one asks, and the others wait for it.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Credentials {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            current: RwLock::new(Arc::new(connection)),
            origins: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn current(&self) -> Arc<Connection> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read_from(&self, origin: Arc<ReadConnection>) {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).push(origin);
    }

    /// The connection with newer secrets than `refused`; `None` when there are none.
    pub(super) async fn newer_than(&self, refused: &Arc<Connection>) -> Option<Arc<Connection>> {
        let mut asked = self.asked.lock().await;
        let current = self.current();
        // Somebody else was refused at the same time, and has asked.
        if !Arc::ptr_eq(&current, refused) {
            return Some(current);
        }
        if asked.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return None;
        }
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for origin in origins {
            let read = read_again(&current.host, origin).await;
            *asked = Some(Instant::now());
            let newer = match read {
                Some(newer) if newer.authentication != current.authentication => newer,
                Some(_) | None => continue,
            };
            let elsewhere = Connection { authentication: current.authentication.clone(), ..newer.clone() };
            if elsewhere != *current {
                // Secrets of another account, host or role are not tried here.
                tracing::warn!(
                    host = current.host,
                    "a connection to Snowflake has changed in more than its secrets: that takes a restart"
                );
                continue;
            }
            let newer = Arc::new(newer);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&newer);
            tracing::info!(
                host = newer.host,
                user = newer.authentication.user().unwrap_or("of the token"),
                "a login to Snowflake was refused, and there are new secrets for it"
            );
            return Some(newer);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::{Problems, Secret};
    use crate::snowflake::account::AccountName;
    use crate::snowflake::authentication::{Authentication, Password};
    use crate::snowflake::connection::Protocol;

    fn with_password(password: &str) -> Connection {
        let password = Password {
            user: "agent".to_owned(),
            password: Secret::new(password),
            passcode: None,
            passcode_in_password: false,
        };
        Connection {
            account: AccountName::parse("test-account").unwrap(),
            host: "localhost".to_owned(),
            port: 443,
            protocol: Protocol::Https,
            authentication: Authentication::Password(password),
            role: None,
            warehouse: None,
            database: None,
            schema: None,
            secondary_roles: None,
            session_parameters: BTreeMap::new(),
            login_timeout: Duration::from_secs(1),
            network_timeout: None,
            socket_timeout: Duration::from_secs(1),
            application: "test".to_owned(),
            keep_alive: false,
            heartbeat_interval: None,
            service_token_file: None,
        }
    }

    #[tokio::test]
    async fn newer_secrets_are_read_once_for_all_who_were_refused() {
        let credentials = Credentials::new(with_password("old"));
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        credentials.read_from(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Some(with_password("new")))
        }));
        let refused = credentials.current();
        let begun = Instant::now();
        let both = tokio::join!(credentials.newer_than(&refused), credentials.newer_than(&refused));
        assert_eq!(both.0.as_deref(), Some(&with_password("new")));
        assert_eq!(both.1, both.0);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        // There is nothing newer than that, and it is not looked for again at once.
        assert_eq!(credentials.newer_than(&credentials.current()).await, None);
        let is_soon = begun.elapsed() < READ_EVERY;
        assert!(reads.load(Ordering::Relaxed) == 1 || !is_soon);
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_leads_elsewhere_is_passed_over() {
        let credentials = Credentials::new(with_password("old"));
        credentials.read_from(Arc::new(|| Err(Problems::default())));
        credentials.read_from(Arc::new(|| Ok(None)));
        credentials.read_from(Arc::new(|| Ok(Some(with_password("old")))));
        credentials.read_from(Arc::new(|| {
            Ok(Some(Connection { host: "elsewhere.example".to_owned(), ..with_password("new") }))
        }));
        assert_eq!(credentials.newer_than(&credentials.current()).await, None);
        let credentials = Credentials::new(with_password("old"));
        credentials.read_from(Arc::new(|| Ok(Some(with_password("old")))));
        credentials.read_from(Arc::new(|| Ok(Some(with_password("new")))));
        assert!(credentials.newer_than(&credentials.current()).await.is_some());
    }
}
