//! Tokens of Entra ID for an application: OAuth 2.0, client credentials.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// What the token is for: every database of Azure SQL.
const SCOPE: &str = "https://database.windows.net/.default";
/// A token is not used in its last minutes: a login takes time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(300);
/// A token is taken for good this long at most, whatever the answer says.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time for one request.
const LIMIT: Duration = Duration::from_secs(30);

/// Fetches tokens of one application, and keeps the last one while it is good.
#[derive(Debug)]
pub(super) struct Tokens {
    client: reqwest::Client,
    url: String,
    client_id: String,
    client_secret: Secret,
    last: Mutex<Option<(Secret, Instant)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

/// The error's name and its numbers; the description can hold names of people and is left out.
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_codes: Vec<i64>,
}

impl Tokens {
    pub(super) fn new(
        authority: &str,
        tenant_id: &str,
        client_id: &str,
        client_secret: &Secret,
    ) -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            // A redirect would carry the secret to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Fault::new(FaultKind::Bug, "set up the client for Entra ID").because(error))?;
        Ok(Self {
            client,
            url: format!("{authority}/{tenant_id}/oauth2/v2.0/token"),
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
            last: Mutex::new(None),
        })
    }

    /// A token that is good for some minutes at least.
    pub(super) async fn token(&self) -> Result<Secret, Fault> {
        // Held over the request: connections that start together share one.
        let mut last = self.last.lock().await;
        if let Some((token, _)) = last.as_ref().filter(|(_, end)| Instant::now() + MARGIN < *end) {
            return Ok(token.clone());
        }
        let (token, lifetime) = self.fetch().await?;
        *last = Some((token.clone(), Instant::now() + lifetime));
        Ok(token)
    }

    async fn fetch(&self) -> Result<(Secret, Duration), Fault> {
        let action = "get a token from Entra ID";
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", self.client_secret.expose())
            .append_pair("scope", SCOPE)
            .finish();
        let request = self
            .client
            .post(&self.url)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let unreachable = |error: reqwest::Error| {
            Fault::new(FaultKind::Transient, action)
                .because(error.without_url())
                .remedy("Check that the agent reaches `authority` of the connection.")
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            let granted: Granted = serde_json::from_slice(&body).map_err(|_not_json| {
                Fault::new(FaultKind::Request, action)
                    .because("the answer is no token")
                    .remedy("Check `authority` and `tenant_id` of the connection.")
            })?;
            let lifetime = Duration::from_secs(granted.expires_in).min(LONGEST_LIFETIME);
            return Ok((Secret::new(granted.access_token), lifetime));
        }
        let kind = match status.as_u16() {
            429 => FaultKind::Throttled,
            500.. => FaultKind::Transient,
            _ => FaultKind::Credentials,
        };
        let reason = match serde_json::from_slice::<Refused>(&body) {
            Ok(Refused { error, error_codes }) => {
                let codes: Vec<String> = error_codes.iter().map(|code| format!("AADSTS{code}")).collect();
                format!("HTTP status {}, {error} {}", status.as_u16(), codes.join(" "))
            }
            Err(_not_json) => format!("HTTP status {}", status.as_u16()),
        };
        Err(Fault::new(kind, action)
            .because(reason.trim_end().to_owned())
            .remedy("Check `tenant_id`, `client_id` and `client_secret` of the connection."))
    }
}
