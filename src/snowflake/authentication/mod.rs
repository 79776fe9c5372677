//! The ways to prove who logs in. Each makes the parts of the login body that belong to it.
//!
//! A service that would have to wait for a person fails at once and says so.

mod password;
mod token;

use super::connection::{Connection, LoginParts};
use crate::fault::Fault;

pub use password::Password;
pub use token::{OAuthToken, ProgrammaticAccessToken, SpcsToken, TokenSource};

/// Who logs in, and with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    /// Name and password, with a passcode when the user has a second factor.
    Password(Password),
    /// A token of an OAuth server, made by somebody else.
    OAuthToken(OAuthToken),
    /// A programmatic access token.
    ProgrammaticAccessToken(ProgrammaticAccessToken),
    /// The token that Snowpark Container Services put into the container.
    SpcsToken(SpcsToken),
}

impl Authentication {
    /// The parts of one login attempt. Reads token files and signs tokens anew each time. The fault
    /// says what was wrong with the credentials, and never what is in them.
    pub async fn login_parts(
        &self,
        connection: &Connection,
        http: &reqwest::Client,
    ) -> Result<LoginParts, Fault> {
        let _ = http;
        let mut parts = match self {
            Self::Password(password) => password.login_parts(),
            Self::OAuthToken(token) => token.login_parts().await?,
            Self::ProgrammaticAccessToken(token) => token.login_parts().await?,
            Self::SpcsToken(token) => token.login_parts().await?,
        };
        if let Some(path) = &connection.service_token_file {
            token::add_service_token(path, &mut parts).await;
        }
        Ok(parts)
    }

    /// Forgets a token that was fetched earlier, after the server has refused it (390303, 390318).
    /// True when another login fetches a new one, so that it is worth trying once.
    #[must_use]
    pub fn forget_token(&self) -> bool {
        match self {
            // The file may have been rewritten since it was read.
            Self::OAuthToken(token) => token.token.is_file(),
            Self::SpcsToken(_) => true,
            Self::Password(_) | Self::ProgrammaticAccessToken(_) => false,
        }
    }

    /// The user who logs in; `None` when the token says it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password(password) => Some(&password.user),
            Self::OAuthToken(token) => token.user.as_deref(),
            Self::ProgrammaticAccessToken(token) => token.user.as_deref(),
            Self::SpcsToken(_) => None,
        }
    }
}
