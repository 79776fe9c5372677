//! Tokens of the default credential, looked for in the order of Azure's own libraries: client secret,
//! workload identity, managed identity, and the Azure command line of a person.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;

use super::command_line;
use crate::config::{AzureIdentity, ManagedIdentity, Secret};
use crate::destination::cloud::http::{built, read};
use crate::destination::cloud::token::{Token, TokenSource};
use crate::fault::{Fault, FaultKind};
use crate::retry::Backoff;

/// For whom tokens are good.
pub(super) const RESOURCE: &str = "https://storage.azure.com";
/// Attempts for one token.
const MAX_ATTEMPTS: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(8) };
/// Longest time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// On a machine of Azure the metadata service answers at once; elsewhere nobody does.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The default credential.
pub(super) struct Identity {
    settings: AzureIdentity,
    client: Client,
    /// Metadata services are on the machine itself: never through a proxy.
    local_client: Client,
}

impl Identity {
    pub(super) fn new(settings: &AzureIdentity) -> Result<Self, Fault> {
        let builder = || Client::builder().timeout(REQUEST_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            settings: settings.clone(),
            client: built(builder())?,
            local_client: built(builder().no_proxy().connect_timeout(METADATA_CONNECT_TIMEOUT))?,
        })
    }

    async fn by_secret(&self, tenant: &str, client: &str, secret: &Secret) -> Result<Token, Fault> {
        let form = [
            ("client_id", client),
            ("client_secret", secret.expose()),
            ("scope", &format!("{RESOURCE}/.default")),
            ("grant_type", "client_credentials"),
        ];
        let body = form_body(&form);
        let what = "ask Microsoft Entra for a token of the client in AZURE_CLIENT_ID";
        let hint = "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.";
        let url = self.token_url(tenant);
        ask(what, hint, || posted(&self.client, &url, &body)).await
    }

    async fn by_workload(&self, tenant: &str, client: &str, file: &Path) -> Result<Token, Fault> {
        let what = "ask Microsoft Entra for a token of the workload identity";
        // Read each time: the file is renewed by the cluster.
        let assertion = tokio::fs::read_to_string(file).await.map_err(|error| {
            Fault::new(FaultKind::Credentials, what)
                .because(format!("{}: {error}", file.display()))
                .remedy("Check AZURE_FEDERATED_TOKEN_FILE and the volume that it points to.")
        })?;
        let form = [
            ("client_id", client),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.trim()),
            ("scope", &format!("{RESOURCE}/.default")),
            ("grant_type", "client_credentials"),
        ];
        let body = form_body(&form);
        let hint = "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the federated credential of that application.";
        let url = self.token_url(tenant);
        ask(what, hint, || posted(&self.client, &url, &body)).await
    }

    fn token_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.settings.authority_host)
    }

    /// The managed identity; `None` when there is no metadata service here.
    async fn by_managed_identity(&self) -> Option<Result<Token, Fault>> {
        let mut query = vec![("resource", RESOURCE)];
        if let Some(client_id) = &self.settings.client_id {
            query.push(("client_id", client_id));
        }
        let what = "ask for a token of the managed identity";
        let hint = "Assign a managed identity to this machine; with several, set AZURE_CLIENT_ID to the one to use.";
        match &self.settings.managed_identity {
            ManagedIdentity::AppService { endpoint, header } => {
                query.push(("api-version", "2019-08-01"));
                let request = || {
                    let request = self.local_client.get(format!("{endpoint}?{}", form_body(&query)));
                    request.header("x-identity-header", header.expose())
                };
                Some(ask(what, hint, request).await)
            }
            ManagedIdentity::Machine { endpoint } => {
                query.push(("api-version", "2018-02-01"));
                let url = format!("{endpoint}/metadata/identity/oauth2/token");
                let with_query = format!("{url}?{}", form_body(&query));
                let request = || self.local_client.get(&with_query).header("metadata", "true");
                // Without the header the service refuses at once; that it answers is what counts.
                self.local_client.get(&url).send().await.ok()?;
                Some(ask(what, hint, request).await)
            }
        }
    }
}

#[async_trait]
impl TokenSource for Identity {
    async fn fetch(&self) -> Result<Token, Fault> {
        let AzureIdentity { tenant_id, client_id, client_secret, federated_token_file, .. } = &self.settings;
        match (tenant_id, client_id, client_secret, federated_token_file) {
            (Some(tenant), Some(client), Some(secret), _) => self.by_secret(tenant, client, secret).await,
            (Some(tenant), Some(client), None, Some(file)) => self.by_workload(tenant, client, file).await,
            _ => match self.by_managed_identity().await {
                Some(token) => token,
                None => command_line::token(tenant_id.as_deref()).await,
            },
        }
    }
}

fn posted(client: &Client, url: &str, body: &str) -> RequestBuilder {
    client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())
}

fn form_body(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The answer of every token service of Azure. Numbers are texts in some of them.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<serde_json::Value>,
    /// Seconds since 1970.
    expires_on: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: Option<String>,
    error_description: Option<String>,
}

fn seconds(value: &serde_json::Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl TokenAnswer {
    fn token(self) -> Token {
        let until = |end: i64| end.saturating_sub(Timestamp::now().as_second());
        let lifetime = self
            .expires_in
            .as_ref()
            .and_then(seconds)
            .or_else(|| self.expires_on.as_ref().and_then(seconds).map(until))
            .and_then(|seconds| u64::try_from(seconds).ok());
        Token { text: Secret::new(self.access_token), lifetime: Duration::from_secs(lifetime.unwrap_or(600)) }
    }
}

/// Asks a token service, and again when it is away or throttles.
async fn ask(
    what: &'static str,
    hint: &'static str,
    request: impl Fn() -> RequestBuilder + Send + Sync,
) -> Result<Token, Fault> {
    let mut attempt = 1;
    loop {
        let fault = match ask_once(what, hint, request()).await {
            Ok(token) => return Ok(token),
            Err(fault) => fault,
        };
        if !fault.kind().is_retryable() || attempt >= MAX_ATTEMPTS {
            return Err(fault);
        }
        tokio::time::sleep(BACKOFF.wait(attempt)).await;
        attempt += 1;
    }
}

async fn ask_once(what: &'static str, hint: &'static str, request: RequestBuilder) -> Result<Token, Fault> {
    let away = |error: reqwest::Error| {
        Fault::new(FaultKind::Transient, what)
            .because(error.without_url())
            .remedy("Check that the service that gives the tokens can be reached from here.")
    };
    let response = request.send().await.map_err(away)?;
    let status = response.status().as_u16();
    let body = read(response).await.map_err(|failure| failure.fault(what))?;
    if status == 200 {
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            // What was received may be a token in another form.
            Fault::new(FaultKind::Transient, what).because("the answer is not the JSON that it should be")
        })?;
        return Ok(answer.token());
    }
    let refusal: Option<TokenRefusal> = serde_json::from_slice(&body).ok();
    let mut cause = format!("the token service answered {status}");
    let words = refusal.map(|refusal| [refusal.error, refusal.error_description]).into_iter().flatten().flatten();
    for word in words {
        cause.push_str(": ");
        cause.extend(word.lines().next().unwrap_or_default().chars().take(300));
    }
    let kind = match status {
        429 => FaultKind::Throttled,
        // The metadata service answers 404 and 410 while it starts.
        404 | 408 | 410 | 500.. => FaultKind::Transient,
        _ => FaultKind::Credentials,
    };
    Err(Fault::new(kind, what).because(cause).remedy(hint))
}
