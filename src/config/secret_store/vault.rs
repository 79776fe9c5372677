//! HashiCorp Vault and OpenBao: the engine KV, version 2.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::Secret;
use super::super::model::{VaultLogin, VaultSettings};
use super::http::{Question, client, shortened};
use crate::fault::{Fault, FaultKind};

/// What may stand in a path as it is.
const SEGMENTS: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const UNREACHABLE: &str =
    "Check secrets.vault.address, and that Vault can be reached from here and is not sealed.";

#[derive(Deserialize)]
struct LoginAnswer {
    auth: Option<Login>,
}

#[derive(Deserialize)]
struct Login {
    client_token: String,
}

#[derive(Deserialize)]
struct SecretAnswer {
    data: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    data: Option<Map<String, Value>>,
}

/// A token to read with.
pub(super) async fn log_in(settings: &VaultSettings) -> Result<Secret, Fault> {
    let (mount, body) = match &settings.login {
        VaultLogin::Token(token) => return Ok(token.clone()),
        VaultLogin::AppRole { mount, role_id, secret_id } => {
            (mount, json!({"role_id": role_id, "secret_id": secret_id.as_ref().map(Secret::expose)}))
        }
        VaultLogin::Kubernetes { mount, role, token_file } => {
            (mount, json!({"role": role, "jwt": service_account(token_file).await?}))
        }
    };
    let question = Question {
        action: format!("log in to Vault at auth/{mount}"),
        unreachable: UNREACHABLE,
        judge: &|status, body| {
            (
                refused(status, body),
                "Check the role and its credentials in [secrets.vault], and their policies.",
            )
        },
    };
    let client = client(settings.authority.as_deref())?;
    let url = format!("{}/v1/auth/{}/login", settings.address, encoded(mount));
    let answer: LoginAnswer =
        question.ask(|| with_namespace(settings, client.post(&url)).json(&body)).await?;
    match answer.auth {
        Some(login) => Ok(Secret::new(login.client_token)),
        None => Err(Fault::new(FaultKind::Credentials, question.action).because("it gave no token")),
    }
}

/// All fields of a secret, as a JSON object.
pub(super) async fn read(settings: &VaultSettings, token: &Secret, path: &str) -> Result<Secret, Fault> {
    let mount = &settings.mount;
    let question = Question {
        action: format!("read the secret `{path}` of the engine `{mount}` in Vault"),
        unreachable: UNREACHABLE,
        judge: &|status, body| match status {
            403 => (
                refused(status, body),
                "Give the token a policy with `read` on <mount>/data/<path>, or a token that has not ended.",
            ),
            404 => (
                "there is no such secret, or its version was deleted".to_owned(),
                "Check path and secrets.vault.mount; the path has neither the mount nor `data/` in it.",
            ),
            _ => (refused(status, body), UNREACHABLE),
        },
    };
    let client = client(settings.authority.as_deref())?;
    let url = format!("{}/v1/{}/data/{}", settings.address, encoded(mount), encoded(path));
    let request = || with_namespace(settings, client.get(&url)).header("x-vault-token", sensitive(token));
    let answer: SecretAnswer = question.ask(request).await?;
    let fields = answer.data.and_then(|version| version.data).ok_or_else(|| {
        Fault::new(FaultKind::Request, question.action.clone())
            .because("the answer has no data of version 2 of the engine KV")
            .remedy("Check secrets.vault.mount: it has to be an engine KV of version 2.")
    })?;
    Ok(Secret::new(Value::Object(fields).to_string()))
}

async fn service_account(file: &Path) -> Result<String, Fault> {
    let token = tokio::fs::read_to_string(file).await.map_err(|error| {
        Fault::new(
            FaultKind::Credentials,
            format!("read the token of the service account in {}", file.display()),
        )
        .because(error)
        .remedy("Run the agent in a pod with a service account, or set secrets.vault.token_file.")
    })?;
    Ok(token.trim().to_owned())
}

fn with_namespace(settings: &VaultSettings, request: RequestBuilder) -> RequestBuilder {
    // Vault wants it from everything that is no browser's page.
    let request = request.header("x-vault-request", "true");
    match &settings.namespace {
        Some(namespace) => request.header("x-vault-namespace", namespace),
        None => request,
    }
}

/// A token that no log shows. One with characters that no header can carry is refused by Vault.
fn sensitive(token: &Secret) -> reqwest::header::HeaderValue {
    let mut value = reqwest::header::HeaderValue::from_str(token.expose().trim())
        .unwrap_or_else(|_| reqwest::header::HeaderValue::from_static("invalid"));
    value.set_sensitive(true);
    value
}

/// Vault's words about a refusal hold no secret.
fn refused(status: u16, body: &[u8]) -> String {
    let errors = serde_json::from_slice::<Value>(body).ok();
    let first = errors.as_ref().and_then(|answer| answer.pointer("/errors/0")).and_then(Value::as_str);
    match first {
        Some(words) => format!("Vault answered {status}: {}", shortened(words)),
        None => format!("Vault answered {status}"),
    }
}

fn encoded(path: &str) -> String {
    utf8_percent_encode(path.trim_matches('/'), &SEGMENTS).to_string()
}
