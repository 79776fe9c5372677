//! How a container knows who asks: the key of the account, a shared access signature, or a token.

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::identity::{Identity, RESOURCE};
use super::judge::judge;
use super::shared_key::SharedKey;
use crate::config::{AzureCredentials, Secret};
use crate::destination::cloud::failure::Judgement;
use crate::destination::cloud::http::{Access, Call};
use crate::destination::cloud::token::Tokens;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// The version of the service whose rules the requests follow.
const VERSION: &str = "2023-11-03";

/// What proves who the agent is.
pub(super) enum AzureAccess {
    Key(Box<SharedKey>),
    /// The query of a URL, without `?`.
    Signature(Secret),
    Token(Tokens),
}

impl AzureAccess {
    pub(super) fn new(credentials: &AzureCredentials, shutdown: &Shutdown) -> Result<Self, Fault> {
        Ok(match credentials {
            AzureCredentials::AccountKey { account_name, account_key } => {
                Self::Key(Box::new(SharedKey::new(account_name, account_key.expose())?))
            }
            AzureCredentials::SharedAccessSignature(signature) => Self::Signature(signature.clone()),
            AzureCredentials::Default(settings) => {
                Self::Token(Tokens::new(Identity::new(settings, RESOURCE, shutdown.clone())?))
            }
        })
    }
}

/// A header value that no log shows.
fn secret_value(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Fault::new(FaultKind::Credentials, "use the credentials of the storage account")
            .because("they contain a character that no header can carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[async_trait]
impl Access for AzureAccess {
    async fn authorize(&self, call: &mut Call) -> Result<(), Fault> {
        let now = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let date = HeaderValue::from_str(&now).expect("a date is plain ASCII");
        call.headers.insert("x-ms-date", date);
        call.headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
        match self {
            Self::Key(key) => {
                let authorization = secret_value(&key.authorization(call))?;
                call.headers.insert(AUTHORIZATION, authorization);
            }
            Self::Signature(signature) => {
                let query = match call.url.query() {
                    Some(query) if !query.is_empty() => format!("{query}&{}", signature.expose()),
                    _ => signature.expose().to_owned(),
                };
                call.url.set_query(Some(&query));
            }
            Self::Token(tokens) => {
                let token = tokens.get().await?;
                call.headers.insert(AUTHORIZATION, secret_value(&format!("Bearer {}", token.expose()))?);
            }
        }
        Ok(())
    }

    async fn renew(&self, call: &Call) -> bool {
        let Self::Token(tokens) = self else { return false };
        let sent = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(token) = sent.and_then(|value| value.strip_prefix("Bearer ")) {
            tokens.forget(token).await;
        }
        true
    }

    fn is_refusal(&self, code: &str, status: u16) -> bool {
        status == 401 || code == "AuthenticationFailed"
    }

    fn is_final(&self, code: &str) -> bool {
        code == "InvalidBlockList"
    }

    fn judge(&self, code: &str, status: u16) -> Judgement {
        judge(code, status)
    }
}
