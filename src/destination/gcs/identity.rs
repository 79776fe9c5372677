//! Tokens for Google Cloud: from a credentials file, or of the machine.

use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::credentials_file::{
    self, AuthorizedUser, CredentialSource, CredentialsFile, ExternalAccount, ServiceAccount,
};
use crate::config::GoogleCredentials;
use crate::destination::cloud::token::{Token, TokenSource};
use crate::destination::cloud::token_service::{self, Question, TokenAnswer, TokenServices, until};
use crate::fault::{Fault, FaultKind};

/// Reads, writes and deletes objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// What impersonation asks for first; the scope of the result is the one above.
const PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_SERVICE: &str = "https://oauth2.googleapis.com/token";
/// Google takes no longer ones.
const ASSERTION_SECONDS: i64 = 3600;
const NOBODY: &str = "Set `service_account_file` or GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth \
    application-default login`, or give the machine a service account.";

/// Where tokens come from.
pub(super) struct Identity {
    credentials: GoogleCredentials,
    services: TokenServices,
}

impl Identity {
    pub(super) fn new(credentials: &GoogleCredentials) -> Result<Self, Fault> {
        Ok(Self { credentials: credentials.clone(), services: TokenServices::new()? })
    }

    async fn by_file(&self, path: &Path) -> Result<Token, Fault> {
        // Read each time: keys are rotated.
        match credentials_file::read(path).await? {
            CredentialsFile::ServiceAccount(account) => self.by_service_account(&account).await,
            CredentialsFile::AuthorizedUser(user) => self.by_user(&user).await,
            CredentialsFile::ExternalAccount(account) => self.by_external_account(&account).await,
        }
    }

    async fn by_service_account(&self, account: &ServiceAccount) -> Result<Token, Fault> {
        let question = Question {
            action: "ask Google for a token of the service account",
            remedy: "Check that the service account and its key exist and are enabled, and the clock of this machine.",
        };
        let url = account.token_uri.as_deref().unwrap_or(TOKEN_SERVICE);
        let assertion = assertion(account, url)?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        let answer: TokenAnswer = question.ask(|| self.services.form(url, &form)).await?;
        Ok(answer.token())
    }

    async fn by_user(&self, user: &AuthorizedUser) -> Result<Token, Fault> {
        let question = Question {
            action: "ask Google for a token of the person who logged in",
            remedy: "Run `gcloud auth application-default login` again.",
        };
        let url = user.token_uri.as_deref().unwrap_or(TOKEN_SERVICE);
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", user.client_id.as_str()),
            ("client_secret", user.client_secret.expose()),
            ("refresh_token", user.refresh_token.expose()),
        ];
        let answer: TokenAnswer = question.ask(|| self.services.form(url, &form)).await?;
        Ok(answer.token())
    }

    async fn by_external_account(&self, account: &ExternalAccount) -> Result<Token, Fault> {
        let question = Question {
            action: "exchange a token of another identity provider at Google",
            remedy: "Check the workload identity pool and its provider, and the credentials file made for it.",
        };
        let subject = self.subject_token(question, &account.credential_source).await?;
        let scope = if account.service_account_impersonation_url.is_some() { PLATFORM_SCOPE } else { SCOPE };
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", account.audience.as_str()),
            ("scope", scope),
            ("subject_token_type", account.subject_token_type.as_str()),
            ("subject_token", subject.as_str()),
        ];
        let answer: TokenAnswer = question.ask(|| self.services.form(&account.token_url, &form)).await?;
        let token = answer.token();
        let Some(url) = &account.service_account_impersonation_url else { return Ok(token) };

        let question = Question {
            action: "impersonate the service account of the credentials file",
            remedy: "Grant the federated identity the role Workload Identity User on the service account.",
        };
        let body = json!({"scope": [SCOPE]});
        let answer: Impersonated = question
            .ask(|| self.services.remote.post(url).bearer_auth(token.text.expose()).json(&body))
            .await?;
        let end = answer.expire_time.parse::<Timestamp>().ok().map(|end| until(end.as_second()));
        Ok(token_service::token(answer.access_token, end))
    }

    /// The token of the other provider.
    async fn subject_token(&self, question: Question, source: &CredentialSource) -> Result<String, Fault> {
        let fault = |cause: String| {
            Fault::new(FaultKind::Credentials, question.action).because(cause).remedy(question.remedy)
        };
        let text = match (&source.file, &source.url) {
            (Some(file), _) => tokio::fs::read_to_string(file)
                .await
                .map_err(|error| fault(format!("the file `{file}` of the subject token: {error}")))?,
            (None, Some(url)) => {
                let mut request = self.services.local.get(url);
                for (name, value) in &source.headers {
                    request = request.header(name, value);
                }
                let response = request.send().await.and_then(reqwest::Response::error_for_status);
                let text = match response {
                    Ok(response) => response.text().await,
                    Err(error) => Err(error),
                };
                text.map_err(|error| {
                    Fault::new(FaultKind::Transient, question.action)
                        .because(error.without_url())
                        .remedy("Check that the service that the credentials file names can be reached.")
                })?
            }
            (None, None) => {
                return Err(fault("this version knows sources of kind `file` and `url` only".to_owned()));
            }
        };
        let Some(name) = &source.format.subject_token_field_name else { return Ok(text.trim().to_owned()) };
        let found = serde_json::from_str::<Value>(&text).ok();
        let token = found.as_ref().and_then(|value| value.get(name)?.as_str());
        token.map(str::to_owned).ok_or_else(|| fault(format!("the subject token has no field `{name}`")))
    }

    async fn by_machine(&self, endpoint: &str) -> Result<Token, Fault> {
        let question =
            Question { action: "ask the metadata server for a token of this machine", remedy: NOBODY };
        let client = &self.services.local;
        // That somebody answers is what counts: elsewhere than in Google Cloud nobody does.
        client.get(endpoint).header("metadata-flavor", "Google").send().await.map_err(|_| {
            Fault::new(FaultKind::Credentials, "find credentials for Google Cloud")
                .because("there is no credentials file, and no metadata server answers")
                .remedy(NOBODY)
        })?;
        let url = format!("{endpoint}/computeMetadata/v1/instance/service-accounts/default/token");
        let answer: TokenAnswer =
            question.ask(|| client.get(&url).header("metadata-flavor", "Google")).await?;
        Ok(answer.token())
    }
}

#[async_trait]
impl TokenSource for Identity {
    async fn fetch(&self) -> Result<Token, Fault> {
        match &self.credentials {
            GoogleCredentials::File(path) => self.by_file(path).await,
            GoogleCredentials::Default { user_file: Some(path), .. }
                if tokio::fs::try_exists(path).await.unwrap_or(false) =>
            {
                self.by_file(path).await
            }
            GoogleCredentials::Default { metadata_endpoint, .. } => self.by_machine(metadata_endpoint).await,
        }
    }
}

/// The answer of the service that lends service accounts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

/// What a service account says about itself, signed with its key.
fn assertion(account: &ServiceAccount, audience: &str) -> Result<String, Fault> {
    let fault = |cause: &'static str| {
        Fault::new(FaultKind::Credentials, "sign with the key of the service account")
            .because(cause)
            .remedy("Download the key file again from the Google Cloud console.")
    };
    // Causes are dropped: they could quote the key.
    let key = PrivateKeyDer::from_pem_slice(account.private_key.expose().as_bytes())
        .map_err(|_| fault("`private_key` is no PEM"))?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(fault("`private_key` is no RSA key")),
    };
    let key = key.map_err(|_| fault("`private_key` is no RSA key"))?;
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.private_key_id {
        header["kid"] = json!(id);
    }
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": audience,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    });
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| fault("signing failed"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
