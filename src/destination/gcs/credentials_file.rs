//! Credentials files of Google Cloud, of the kinds that <https://google.aip.dev/auth/4110> names.

use std::path::Path;

use serde::Deserialize;

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// Bytes of the longest file that is read.
const LONGEST: u64 = 1 << 20;

/// What a file holds.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum CredentialsFile {
    ServiceAccount(ServiceAccount),
    AuthorizedUser(AuthorizedUser),
    ExternalAccount(ExternalAccount),
}

/// The key of a service account.
#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    pub(super) private_key_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    pub(super) private_key: Secret,
    pub(super) token_uri: Option<String>,
}

/// The login of a person.
#[derive(Deserialize)]
pub(super) struct AuthorizedUser {
    pub(super) client_id: String,
    #[serde(deserialize_with = "secret")]
    pub(super) client_secret: Secret,
    #[serde(deserialize_with = "secret")]
    pub(super) refresh_token: Secret,
    pub(super) token_uri: Option<String>,
}

/// Workload identity federation: the token of somebody else, exchanged.
#[derive(Deserialize)]
pub(super) struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    pub(super) credential_source: CredentialSource,
    pub(super) service_account_impersonation_url: Option<String>,
}

/// Where the token of somebody else is.
#[derive(Deserialize)]
pub(super) struct CredentialSource {
    pub(super) file: Option<String>,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(super) format: SourceFormat,
}

/// How it is written there.
#[derive(Default, Deserialize)]
pub(super) struct SourceFormat {
    pub(super) subject_token_field_name: Option<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Reads a file.
pub(super) async fn read(path: &Path) -> Result<CredentialsFile, Fault> {
    let fault = |cause: String| {
        Fault::new(FaultKind::Credentials, format!("read the Google credentials in `{}`", path.display()))
            .because(cause)
            .remedy(
                "Name a key file of a service account in `service_account_file`, or one of the kinds \
                 service_account, authorized_user and external_account in GOOGLE_APPLICATION_CREDENTIALS.",
            )
    };
    let metadata = tokio::fs::metadata(path).await.map_err(|error| fault(error.to_string()))?;
    if metadata.len() > LONGEST {
        return Err(fault(format!("it has more than {LONGEST} bytes")));
    }
    let bytes = tokio::fs::read(path).await.map_err(|error| fault(error.to_string()))?;
    // What serde says is dropped: it can quote the file.
    serde_json::from_slice(&bytes).map_err(|error| {
        fault(format!("it is not one of the known kinds of credentials (line {})", error.line()))
    })
}
