//! Credentials that are loaded again when the store says that they have expired.
//!
//! The SDK loads credentials again shortly before they say that they expire. A session that ends
//! earlier (revoked, a clock that is wrong, a profile file that somebody rewrote) is refused with
//! `ExpiredToken`, and the SDK would go on sending it. Here such an answer empties the cache, and
//! the request is repeated with what the provider gives then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use tokio::sync::Mutex;

/// Credentials that name no end are loaded again after this time: a profile file may have changed.
const LONGEST_USE: Duration = Duration::from_secs(15 * 60);
/// Credentials are loaded again this long before their end, so that a request can still finish.
const MARGIN: Duration = Duration::from_secs(60);
/// Longest time for a provider: metadata services and token exchanges answer within seconds.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A cache in front of a provider; clones share it.
#[derive(Clone, Debug)]
pub(super) struct RenewedCredentials {
    provider: SharedCredentialsProvider,
    cached: Arc<Mutex<Option<Cached>>>,
    refused: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Cached {
    credentials: Credentials,
    renew_at: SystemTime,
}

impl RenewedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, cached: Arc::default(), refused: Arc::default() }
    }

    async fn load(&self) -> Result {
        // Held while loading, so that many waiting requests ask the provider once.
        let mut cached = self.cached.lock().await;
        let now = SystemTime::now();
        let was_refused = self.refused.swap(false, Ordering::AcqRel);
        if let Some(known) = cached.as_ref()
            && !was_refused
            && now < known.renew_at
        {
            return Ok(known.credentials.clone());
        }
        let loading = tokio::time::timeout(LOAD_TIMEOUT, self.provider.provide_credentials());
        let loaded = match loading.await {
            Ok(loaded) => loaded,
            Err(_) => Err(CredentialsError::provider_timed_out(LOAD_TIMEOUT)),
        };
        match (loaded, cached.as_ref()) {
            (Ok(credentials), _) => {
                let renew_at = credentials.expiry().map_or(now + LONGEST_USE, |end| end - MARGIN);
                *cached = Some(Cached { credentials: credentials.clone(), renew_at });
                Ok(credentials)
            }
            // The margin bridges a provider that is away for a moment.
            (Err(_), Some(known))
                if !was_refused && known.credentials.expiry().is_some_and(|end| now < end) =>
            {
                Ok(known.credentials.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl ProvideCredentials for RenewedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

impl ClassifyRetry for RenewedCredentials {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let refused = context.response().is_some_and(|response| {
            response.status().is_client_error() && response.body().bytes().is_some_and(says_expired)
        });
        if !refused {
            return RetryAction::NoActionIndicated;
        }
        self.refused.store(true, Ordering::Release);
        RetryAction::transient_error()
    }

    fn name(&self) -> &'static str {
        "expired credentials"
    }
}

fn says_expired(body: &[u8]) -> bool {
    [b"<Code>ExpiredToken</Code>".as_slice(), b"<Code>TokenRefreshRequired</Code>"]
        .iter()
        .any(|code| body.windows(code.len()).any(|window| window == *code))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Counted {
        loads: Arc<AtomicUsize>,
        lifetime: Option<Duration>,
    }

    impl ProvideCredentials for Counted {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let load = self.loads.fetch_add(1, Ordering::Relaxed);
            let end = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
            future::ProvideCredentials::ready(Ok(Credentials::new(
                format!("key-{load}"),
                "secret",
                None,
                end,
                "test",
            )))
        }
    }

    async fn key(credentials: &RenewedCredentials) -> String {
        let loaded = credentials.provide_credentials().await.expect("the provider always answers");
        loaded.access_key_id().to_owned()
    }

    #[tokio::test]
    async fn credentials_are_loaded_once_until_the_store_refuses_them() {
        let renewed = RenewedCredentials::new(SharedCredentialsProvider::new(Counted::default()));
        assert_eq!(key(&renewed).await, "key-0");
        assert_eq!(key(&renewed).await, "key-0");
        renewed.refused.store(true, Ordering::Release);
        assert_eq!(key(&renewed).await, "key-1");
        assert_eq!(key(&renewed).await, "key-1");
    }

    #[tokio::test]
    async fn credentials_near_their_end_are_loaded_again() {
        let provider = Counted { lifetime: Some(MARGIN / 2), ..Counted::default() };
        let renewed = RenewedCredentials::new(SharedCredentialsProvider::new(provider));
        assert_eq!(key(&renewed).await, "key-0");
        assert_eq!(key(&renewed).await, "key-1");
    }

    #[test]
    fn only_the_codes_of_an_expired_session_count() {
        assert!(says_expired(b"<?xml?><Error><Code>ExpiredToken</Code><Message>x</Message></Error>"));
        assert!(!says_expired(b"<Error><Code>AccessDenied</Code><Message>ExpiredToken</Message></Error>"));
    }
}
