//! Azure Key Vault, with the same identity as Azure Blob Storage.

use serde::Deserialize;
use serde_json::Value;

use super::super::Secret;
use super::super::model::{AzureIdentity, AzureSecretSettings};
use super::http::{Question, client, shortened};
use crate::destination::azure_blob;
use crate::fault::{Fault, FaultKind};

const API_VERSION: &str = "7.4";
/// Where the name of the vault stands in the endpoint.
const PLACE: &str = "{vault}";
/// For whom tokens are good when the endpoint is one of its own.
const RESOURCE: &str = "https://vault.azure.net";

#[derive(Deserialize)]
struct Answer {
    value: Option<String>,
}

/// The current version of a secret.
pub(super) async fn read(
    settings: &AzureSecretSettings,
    identity: &AzureIdentity,
    vault: &str,
    name: &str,
) -> Result<Secret, Fault> {
    let action = format!("read the secret `{name}` of the Azure key vault `{vault}`");
    let is_name = |text: &str, longest| {
        (1..=longest).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // The token must not go to another host than that of a vault.
    if !is_name(vault, 24) || !is_name(name, 127) {
        return Err(Fault::new(FaultKind::Request, action)
            .because("names of vaults and secrets are letters, digits and hyphens")
            .remedy("Write ${azure-secret:vault/name}."));
    }
    let token = azure_blob::token(identity, &resource(&settings.endpoint_url))
        .await
        .map_err(|fault| fault.while_doing(action.clone()))?;
    let base = settings.endpoint_url.replace(PLACE, vault);
    let url = format!("{base}/secrets/{name}?api-version={API_VERSION}");
    let question = Question {
        action: action.clone(),
        unreachable: "Check the name of the vault and secrets.azure.endpoint_url, and the way to there.",
        judge: &judge,
    };
    let client = client(None)?;
    let answer: Answer = question.ask(|| client.get(&url).bearer_auth(token.expose())).await?;
    match answer.value {
        Some(value) => Ok(Secret::new(value)),
        None => Err(Fault::new(FaultKind::Request, action).because("the answer has no value")),
    }
}

/// The resource of the cloud whose vaults these are.
fn resource(endpoint: &str) -> String {
    endpoint
        .split_once("{vault}.")
        .map_or_else(|| RESOURCE.to_owned(), |(_, domain)| format!("https://{domain}"))
}

fn judge(status: u16, body: &[u8]) -> (String, &'static str) {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = |pointer| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let remedy = match status {
        404 => "Check the name of the secret, and that its current version is not deleted.",
        403 => "Give the identity of the agent the role `Key Vault Secrets User` on the vault.",
        _ => "Check the identity of the agent and secrets.azure.",
    };
    let words = format!("Azure answered {status} {} {}", text("/error/code"), text("/error/message"));
    (shortened(words.trim_end()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_vaults_of_the_cloud() {
        for (endpoint, expected) in [
            ("https://{vault}.vault.azure.net", "https://vault.azure.net"),
            ("https://{vault}.vault.azure.cn", "https://vault.azure.cn"),
            ("http://127.0.0.1:8443", "https://vault.azure.net"),
        ] {
            assert_eq!(resource(endpoint), expected, "{endpoint}");
        }
    }
}
