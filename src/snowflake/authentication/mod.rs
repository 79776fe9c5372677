//! The ways to prove who logs in. Each makes the parts of the login body that belong to it.
//!
//! A service that would have to wait for a person fails at once and says so. A fault says what was
//! wrong with the credentials, and never what is in them.

mod client_credentials;
mod external_browser;
mod key_pair;
mod password;
#[cfg(test)]
mod tests;
mod token;
mod workload_identity;

use url::form_urlencoded::Serializer;

use super::connection::{Connection, LoginParts};
use crate::fault::Fault;

pub use client_credentials::ClientCredentials;
pub use external_browser::ExternalBrowser;
pub use key_pair::{KeyPair, KeySource};
pub use password::Password;
pub use token::{OAuthToken, ProgrammaticAccessToken, SpcsToken, TokenSource};
pub use workload_identity::{AzureFederation, AzureIdentity, WorkloadIdentity, WorkloadProvider};

/// Names and values as a form or a query carries them.
fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Who logs in, and with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    /// Name and password, with a passcode when the user has a second factor.
    Password(Password),
    /// A private key whose public half Snowflake knows.
    KeyPair(KeyPair),
    /// A token of an OAuth server, made by somebody else.
    OAuthToken(OAuthToken),
    /// A programmatic access token.
    ProgrammaticAccessToken(ProgrammaticAccessToken),
    /// The token that Snowpark Container Services put into the container.
    SpcsToken(SpcsToken),
    /// A token that the agent fetches from an OAuth server.
    ClientCredentials(ClientCredentials),
    /// The platform that the agent runs on vouches for it.
    WorkloadIdentity(WorkloadIdentity),
    /// A person at a terminal.
    ExternalBrowser(ExternalBrowser),
}

impl Authentication {
    /// The parts of one login attempt. Reads token files and signs tokens anew each time.
    ///
    /// `http` follows no redirects and goes through the proxies of the environment.
    pub async fn login_parts(
        &self,
        connection: &Connection,
        http: &reqwest::Client,
    ) -> Result<LoginParts, Fault> {
        let mut parts = match self {
            Self::Password(password) => password.login_parts(),
            Self::KeyPair(key_pair) => key_pair.login_parts(&connection.account).await?,
            Self::OAuthToken(token) => token.login_parts().await?,
            Self::ProgrammaticAccessToken(token) => token.login_parts().await?,
            Self::SpcsToken(token) => token.login_parts().await?,
            Self::ClientCredentials(client) => client.login_parts(connection, http).await?,
            Self::WorkloadIdentity(identity) => Box::pin(identity.login_parts(connection)).await?,
            Self::ExternalBrowser(browser) => browser.login_parts(connection, http).await?,
        };
        if let Some(path) = &connection.service_token_file {
            token::add_service_token(path, &mut parts).await;
        }
        Ok(parts)
    }

    /// Forgets a token that was fetched earlier, after the server has refused it at a login (390303,
    /// 390318). True when another login brings a new one, so that it is worth trying once.
    #[must_use]
    pub fn forget_token(&self) -> bool {
        match self {
            Self::ClientCredentials(client) => {
                client.forget_token();
                true
            }
            // The file may have been rewritten since it was read.
            Self::OAuthToken(token) => token.token.is_file(),
            Self::SpcsToken(_) => true,
            Self::Password(_)
            | Self::KeyPair(_)
            | Self::ProgrammaticAccessToken(_)
            | Self::WorkloadIdentity(_)
            | Self::ExternalBrowser(_) => false,
        }
    }

    /// The user who logs in; `None` when the token says it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password(password) => Some(&password.user),
            Self::KeyPair(key_pair) => Some(&key_pair.user),
            Self::OAuthToken(token) => token.user.as_deref(),
            Self::ProgrammaticAccessToken(token) => token.user.as_deref(),
            Self::ClientCredentials(client) => client.user(),
            Self::ExternalBrowser(browser) => Some(&browser.user),
            Self::SpcsToken(_) | Self::WorkloadIdentity(_) => None,
        }
    }
}
