//! From settings to a proven connection.

mod authentication;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::account::{self, AccountName, InvalidName};
use super::connection::{Connection, Protocol, SecondaryRoles};
use super::settings::Settings;
use super::spcs;
use crate::config::Environment;

/// Time for a login with its attempts, when nobody says.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// A long poll is answered within about a minute; the silence before it must be longer.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(120);
const APPLICATION: &str = "data-exchange-agent";
/// The message about a key that has to be there.
const MISSING: &str = "is missing";

/// Something that keeps a connection from being made: key and message read as one sentence without
/// its full stop. A value of a secret is in none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} {message}{}", .remedy.as_ref().map(|remedy| format!(". {remedy}")).unwrap_or_default())]
pub(crate) struct SettingProblem {
    /// The key.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// What to do: a sentence.
    pub remedy: Option<String>,
}

/// Proves the settings of a connection; every problem at once.
pub(crate) fn prove(
    settings: &Settings,
    environment: &Environment,
) -> Result<Connection, Vec<SettingProblem>> {
    let mut proof = Proof { settings, environment, problems: Vec::new() };
    let connection = proof.connection();
    match connection {
        Some(connection) if proof.problems.is_empty() => Ok(connection),
        _ => Err(proof.problems),
    }
}

struct Proof<'a> {
    settings: &'a Settings,
    environment: &'a Environment,
    problems: Vec<SettingProblem>,
}

impl Proof<'_> {
    fn problem(&mut self, key: &'static str, message: impl Into<String>, remedy: Option<&str>) {
        let remedy = remedy.map(str::to_owned);
        self.problems.push(SettingProblem { key, message: message.into(), remedy });
    }

    fn required<T>(&mut self, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.problem(key, MISSING, Some(&format!("Add {key}.")));
        }
        value
    }

    fn connection(&mut self) -> Option<Connection> {
        let settings = self.settings;
        let place = self.account_and_host();
        let protocol = self.protocol();
        let port = settings.port("port").unwrap_or(match protocol {
            Protocol::Http => 80,
            Protocol::Https => 443,
        });
        let authentication = self.authentication(place.as_ref().map(|(_, host)| host.as_str()));
        let secondary_roles = self.secondary_roles();
        let (account, host) = place?;
        // Set by the platform, and only there.
        let is_inside = self.environment.filled("SNOWFLAKE_RUNNING_INSIDE_SPCS").is_some();
        Some(Connection {
            account,
            host,
            port,
            protocol,
            authentication: authentication?,
            role: settings.owned("role"),
            warehouse: settings.owned("warehouse"),
            database: settings.owned("database"),
            schema: settings.owned("schema"),
            secondary_roles,
            session_parameters: self.session_parameters(),
            login_timeout: settings.duration("login_timeout").unwrap_or(LOGIN_TIMEOUT),
            network_timeout: settings.duration("network_timeout"),
            socket_timeout: settings.duration("socket_timeout").unwrap_or(SOCKET_TIMEOUT),
            application: settings
                .owned("application")
                .or_else(|| self.environment.filled("SF_PARTNER").map(str::to_owned))
                .unwrap_or_else(|| APPLICATION.to_owned()),
            keep_alive: settings.boolean("client_session_keep_alive").unwrap_or(true),
            heartbeat_interval: settings.duration("client_session_keep_alive_heartbeat_frequency"),
            service_token_file: is_inside.then(|| spcs::SERVICE_TOKEN_FILE.into()),
        })
    }

    fn account_and_host(&mut self) -> Option<(AccountName, String)> {
        let region = self.settings.text("region");
        let host = self.settings.text("host").map(account::explicit_host);
        if let Some(Err(error)) = host {
            self.problem(
                "host",
                error.to_string(),
                Some("Write host = \"myorg-account1.snowflakecomputing.com\"."),
            );
        }
        let text = self.settings.text("account");
        let account = self.required("account", text)?;
        let account = match AccountName::parse(account) {
            Ok(account) => account,
            Err(error) => {
                let remedy = match (error, account.split_once(".snowflakecomputing.")) {
                    (InvalidName::AccountIsHost, Some((account, _))) => {
                        format!("Write account = {account:?}.")
                    }
                    _ => "Write account = \"myorg-account1\".".to_owned(),
                };
                self.problem("account", error.to_string(), Some(&remedy));
                return None;
            }
        };
        let host = match host {
            Some(host) => host.ok()?,
            None => match account::host_of(&account, region) {
                Ok(host) => host,
                Err(error) => {
                    let key = if error == InvalidName::Region { "region" } else { "account" };
                    self.problem(key, error.to_string(), None);
                    return None;
                }
            },
        };
        Some((account, host))
    }

    fn protocol(&mut self) -> Protocol {
        match self.settings.text("protocol").map(str::to_ascii_lowercase).as_deref() {
            None | Some("https") => Protocol::Https,
            Some("http") => Protocol::Http,
            Some(_) => {
                self.problem("protocol", "is neither \"https\" nor \"http\"", None);
                Protocol::Https
            }
        }
    }

    fn secondary_roles(&mut self) -> Option<SecondaryRoles> {
        match self.settings.text("secondary_roles")?.to_ascii_uppercase().as_str() {
            "ALL" => Some(SecondaryRoles::All),
            "NONE" => Some(SecondaryRoles::None),
            _ => {
                self.problem("secondary_roles", "is neither \"ALL\" nor \"NONE\"", None);
                None
            }
        }
    }

    fn session_parameters(&self) -> BTreeMap<String, Value> {
        let mut parameters = self.settings.parameters("session_parameters");
        if let Some(autocommit) = self.settings.boolean("autocommit") {
            parameters.entry("AUTOCOMMIT".into()).or_insert(autocommit.into());
        }
        if let Some(timezone) = self.settings.text("timezone") {
            parameters.entry("TIMEZONE".into()).or_insert(timezone.into());
        }
        parameters
    }
}
