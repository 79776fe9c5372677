//! Bearer tokens: kept while they are good, renewed before they end and when a store refuses them.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// A token is renewed this long before its end, so that a request can still finish with it.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// Longest time for a source: token services answer within seconds, tries included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A token as it was given.
#[derive(Clone, Debug)]
pub(in crate::destination) struct Token {
    pub(in crate::destination) text: Secret,
    pub(in crate::destination) lifetime: Duration,
}

/// Who gives tokens.
#[async_trait]
pub(in crate::destination) trait TokenSource: Send + Sync {
    /// Asks for a new token.
    async fn fetch(&self) -> Result<Token, Fault>;
}

/// The token of one connection.
pub(in crate::destination) struct Tokens {
    source: Box<dyn TokenSource>,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    text: Secret,
    renew_at: Instant,
    end: Instant,
}

impl Tokens {
    pub(in crate::destination) fn new(source: impl TokenSource + 'static) -> Self {
        Self { source: Box::new(source), cached: Mutex::default() }
    }

    /// A token that is good, as far as its source said.
    pub(in crate::destination) async fn get(&self) -> Result<Secret, Fault> {
        // Held while fetching, so that many waiting requests ask the source once.
        let mut cached = self.cached.lock().await;
        if let Some(known) = cached.as_ref()
            && Instant::now() < known.renew_at
        {
            return Ok(known.text.clone());
        }
        let fetched = match tokio::time::timeout(FETCH_TIMEOUT, self.source.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Fault::new(FaultKind::Transient, "ask for a token of the store")
                .because(format!("no answer within {FETCH_TIMEOUT:?}"))),
        };
        match (fetched, cached.as_ref()) {
            (Ok(token), _) => {
                let now = Instant::now();
                let margin = MARGIN.min(token.lifetime / 2);
                let end = now + token.lifetime;
                *cached = Some(Cached { text: token.text.clone(), renew_at: end - margin, end });
                Ok(token.text)
            }
            // The margin bridges a source that is away for a moment.
            (Err(_), Some(known)) if Instant::now() < known.end => Ok(known.text.clone()),
            (Err(fault), _) => Err(fault),
        }
    }

    /// Drops the token that a store refused, unless it was replaced meanwhile.
    pub(in crate::destination) async fn forget(&self, refused: &str) {
        let mut cached = self.cached.lock().await;
        if cached.as_ref().is_some_and(|known| known.text.expose() == refused) {
            *cached = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Counted(Arc<AtomicU32>, Duration);

    #[async_trait]
    impl TokenSource for Counted {
        async fn fetch(&self) -> Result<Token, Fault> {
            let fetches = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Token { text: Secret::new(format!("token-{fetches}")), lifetime: self.1 })
        }
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_refused() {
        let tokens = Tokens::new(Counted(Arc::default(), Duration::from_secs(3600)));
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-0");
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-0");
        tokens.forget("another").await;
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-0");
        tokens.forget("token-0").await;
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-1");
    }

    #[tokio::test]
    async fn a_token_that_has_ended_is_renewed() {
        let tokens = Tokens::new(Counted(Arc::default(), Duration::ZERO));
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-0");
        assert_eq!(tokens.get().await.expect("a token").expose(), "token-1");
    }
}
