//! What a configuration or a connection file says about a connection, before it is proven.
//!
//! The configuration of the agent and the files of Snowflake's own tools have the same keys. Both are
//! read into [`Settings`], laid over each other where one refers to the other, and proven in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::Secret;

/// One value, as typed as its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    Text(String),
    Secret(Secret),
    Path(PathBuf),
    Integer(i64),
    Boolean(bool),
    Duration(Duration),
    Parameters(BTreeMap<String, Value>),
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingKind {
    Text,
    Secret,
    Path,
    /// From 1 to 65535.
    Port,
    Boolean,
    /// Zero is the longest.
    Duration,
    /// A table of session parameters.
    Parameters,
}

/// A key, its other spellings, and what it holds.
#[derive(Debug)]
pub(crate) struct SettingKey {
    pub name: &'static str,
    pub also: &'static [&'static str],
    pub kind: SettingKind,
}

const fn key(name: &'static str, kind: SettingKind) -> SettingKey {
    SettingKey { name, also: &[], kind }
}

/// The longest duration; also what zero stands for, since other drivers read it as "no limit".
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Every key of a connection.
pub(crate) const KEYS: &[SettingKey] = &[
    key("account", SettingKind::Text),
    key("host", SettingKind::Text),
    key("port", SettingKind::Port),
    key("protocol", SettingKind::Text),
    key("region", SettingKind::Text),
    SettingKey { name: "user", also: &["username"], kind: SettingKind::Text },
    key("password", SettingKind::Secret),
    key("passcode", SettingKind::Secret),
    key("passcode_in_password", SettingKind::Boolean),
    key("authenticator", SettingKind::Text),
    key("token", SettingKind::Secret),
    key("token_file_path", SettingKind::Path),
    SettingKey { name: "private_key", also: &["private_key_raw"], kind: SettingKind::Secret },
    SettingKey { name: "private_key_file", also: &["private_key_path"], kind: SettingKind::Path },
    SettingKey { name: "private_key_file_pwd", also: &["private_key_passphrase"], kind: SettingKind::Secret },
    key("role", SettingKind::Text),
    key("warehouse", SettingKind::Text),
    key("database", SettingKind::Text),
    key("schema", SettingKind::Text),
    key("secondary_roles", SettingKind::Text),
    key("session_parameters", SettingKind::Parameters),
    key("autocommit", SettingKind::Boolean),
    key("timezone", SettingKind::Text),
    key("oauth_client_id", SettingKind::Text),
    key("oauth_client_secret", SettingKind::Secret),
    key("oauth_scope", SettingKind::Text),
    key("oauth_token_request_url", SettingKind::Text),
    key("oauth_credentials_in_body", SettingKind::Boolean),
    key("workload_identity_provider", SettingKind::Text),
    key("workload_identity_entra_resource", SettingKind::Text),
    key("workload_identity_impersonation_path", SettingKind::Text),
    key("workload_identity_host", SettingKind::Text),
    key("login_timeout", SettingKind::Duration),
    key("network_timeout", SettingKind::Duration),
    key("socket_timeout", SettingKind::Duration),
    key("client_session_keep_alive", SettingKind::Boolean),
    key("client_session_keep_alive_heartbeat_frequency", SettingKind::Duration),
    key("application", SettingKind::Text),
];

/// The values of one connection by the names of their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Setting>,
    /// True when the token is that of the container which the agent runs in.
    pub is_service: bool,
}

impl Settings {
    pub(crate) fn set(&mut self, key: &'static str, value: Setting) {
        self.values.insert(key, value);
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The same, with what `over` says in place of what is said here. A way to log in replaces the
    /// other one as a whole.
    pub(crate) fn under(mut self, over: Self) -> Self {
        const CREDENTIALS: [&str; 9] = [
            "authenticator",
            "password",
            "token",
            "token_file_path",
            "private_key",
            "private_key_file",
            "oauth_client_id",
            "oauth_client_secret",
            "workload_identity_provider",
        ];
        // The path of the container's own token may be given alone.
        let is_token_path_only =
            self.is_service && CREDENTIALS.iter().all(|key| *key == "token_file_path" || !over.has(key));
        if !is_token_path_only && CREDENTIALS.iter().any(|key| over.has(key)) {
            self.values.retain(|key, _| !CREDENTIALS.contains(key));
            self.is_service = false;
        }
        self.is_service |= over.is_service;
        for (key, value) in over.values {
            match (self.values.get_mut(key), value) {
                (Some(Setting::Parameters(below)), Setting::Parameters(over)) => below.extend(over),
                (_, value) => self.set(key, value),
            }
        }
        self
    }

    /// Invariant of the readers: a value has the type of its key.
    fn get(&self, key: &str) -> Option<&Setting> {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key} is not a key of a connection");
        self.values.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Setting::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    pub(crate) fn secret(&self, key: &str) -> Option<Secret> {
        match self.get(key)? {
            Setting::Secret(secret) => Some(secret.clone()),
            _ => None,
        }
    }

    pub(crate) fn path(&self, key: &str) -> Option<&Path> {
        match self.get(key)? {
            Setting::Path(path) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn port(&self, key: &str) -> Option<u16> {
        match self.get(key)? {
            Setting::Integer(port) => u16::try_from(*port).ok(),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Setting::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)? {
            Setting::Duration(duration) if duration.is_zero() => Some(LONGEST),
            Setting::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    pub(crate) fn parameters(&self, key: &str) -> BTreeMap<String, Value> {
        match self.get(key) {
            Some(Setting::Parameters(parameters)) => parameters.clone(),
            _ => BTreeMap::new(),
        }
    }
}
