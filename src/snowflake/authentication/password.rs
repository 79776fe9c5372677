//! Name and password.

use serde_json::json;

use super::super::connection::LoginParts;
use crate::config::Secret;

/// Name and password, with a passcode when the user has a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The user.
    pub user: String,
    /// The password, or a programmatic access token in its place.
    pub password: Secret,
    /// A one-time passcode, sent beside the password.
    pub passcode: Option<Secret>,
    /// True when the passcode stands at the end of the password.
    pub passcode_in_password: bool,
}

impl Password {
    pub(super) fn login_parts(&self) -> LoginParts {
        let mut parts = LoginParts::default();
        let data = &mut parts.data;
        data.insert("LOGIN_NAME".into(), json!(self.user));
        data.insert("PASSWORD".into(), json!(self.password.expose()));
        if self.passcode_in_password {
            data.insert("EXT_AUTHN_DUO_METHOD".into(), json!("passcode"));
        } else if let Some(passcode) = &self.passcode {
            data.insert("EXT_AUTHN_DUO_METHOD".into(), json!("passcode"));
            data.insert("PASSCODE".into(), json!(passcode.expose()));
        }
        parts
    }
}
