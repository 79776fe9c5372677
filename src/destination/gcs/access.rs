//! How a bucket knows who asks: a bearer token.

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::identity::Identity;
use super::judge::judge;
use crate::config::GoogleCredentials;
use crate::destination::cloud::failure::Judgement;
use crate::destination::cloud::http::{Access, Call};
use crate::destination::cloud::token::Tokens;
use crate::fault::{Fault, FaultKind};

/// What proves who the agent is.
pub(super) struct GoogleAccess(Tokens);

impl GoogleAccess {
    pub(super) fn new(credentials: &GoogleCredentials) -> Result<Self, Fault> {
        Ok(Self(Tokens::new(Identity::new(credentials)?)))
    }
}

#[async_trait]
impl Access for GoogleAccess {
    async fn authorize(&self, call: &mut Call) -> Result<(), Fault> {
        let token = self.0.get().await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
            Fault::new(FaultKind::Credentials, "use a token of Google Cloud")
                .because("it contains a character that no header can carry")
        })?;
        value.set_sensitive(true);
        call.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    async fn renew(&self, call: &Call) -> bool {
        let sent = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = sent.and_then(|value| value.strip_prefix("Bearer ")) {
            self.0.forget(token).await;
        }
        true
    }

    fn is_refusal(&self, code: &str, status: u16) -> bool {
        status == 401 || code == "ExpiredToken"
    }

    fn is_final(&self, code: &str) -> bool {
        code == "NoSuchUpload"
    }

    fn judge(&self, code: &str, status: u16) -> Judgement {
        judge(code, status)
    }
}
