//! Tokens that somebody else has made: OAuth, programmatic access, container services.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::connection::LoginParts;
use super::super::private_file;
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The configuration.
    Text(Secret),
    /// A file that somebody rewrites: it is read at every login.
    File(PathBuf),
}

impl TokenSource {
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// The token, without the line end that editors leave behind it.
    pub(super) async fn read(&self) -> Result<Secret, Fault> {
        let token = match self {
            Self::Text(token) => token.clone(),
            Self::File(path) => private_file::read(path, "the token file").await?,
        };
        let trimmed = token.expose().trim();
        if trimmed.is_empty() {
            let place = match self {
                Self::Text(_) => "the token of the connection".to_owned(),
                Self::File(path) => format!("the token file {}", path.display()),
            };
            return Err(Fault::new(FaultKind::Credentials, format!("use {place}: it is empty"))
                .remedy("Write a token there."));
        }
        Ok(Secret::new(trimmed))
    }
}

/// A token of an OAuth server, made by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthToken {
    /// The user; the token says it when `None`.
    pub user: Option<String>,
    /// The token.
    pub token: TokenSource,
}

impl OAuthToken {
    pub(super) async fn login_parts(&self) -> Result<LoginParts, Fault> {
        Ok(token_parts("OAUTH", self.user.as_deref(), &self.token.read().await?))
    }
}

/// A programmatic access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgrammaticAccessToken {
    /// The user; the token says it when `None`.
    pub user: Option<String>,
    /// The token.
    pub token: TokenSource,
}

impl ProgrammaticAccessToken {
    pub(super) async fn login_parts(&self) -> Result<LoginParts, Fault> {
        Ok(token_parts("PROGRAMMATIC_ACCESS_TOKEN", self.user.as_deref(), &self.token.read().await?))
    }
}

/// The token that Snowpark Container Services put into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpcsToken {
    /// The file, which the platform rewrites every few minutes.
    pub path: PathBuf,
}

impl SpcsToken {
    pub(super) async fn login_parts(&self) -> Result<LoginParts, Fault> {
        let token = TokenSource::File(self.path.clone()).read().await.map_err(|fault| {
            fault.while_doing("log in as the service of this container").remedy(
                "Run the agent inside Snowpark Container Services, without mountSessionToken: false, or name another connection.",
            )
        })?;
        Ok(token_parts("OAUTH", None, &token))
    }
}

/// The members of a login with a token. An absent user is sent as an empty name.
pub(super) fn token_parts(authenticator: &str, user: Option<&str>, token: &Secret) -> LoginParts {
    let mut parts = LoginParts::default();
    parts.data.insert("AUTHENTICATOR".into(), json!(authenticator));
    parts.data.insert("LOGIN_NAME".into(), json!(user.unwrap_or_default()));
    parts.data.insert("TOKEN".into(), json!(token.expose()));
    parts
}

/// Adds the token by which the platform knows its own containers. The login goes on without it: only
/// the server knows whether it asks for it.
pub(super) async fn add_service_token(path: &Path, parts: &mut LoginParts) {
    match TokenSource::File(path.to_owned()).read().await {
        Ok(token) => {
            parts.data.insert("SPCS_TOKEN".into(), json!(token.expose()));
        }
        Err(fault) => tracing::warn!(
            path = %path.display(), error = fault.chain(),
            "cannot read the service token of the container; the login goes on without it"
        ),
    }
}
