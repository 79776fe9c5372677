//! Where references to secrets lead besides environment and files.

use std::path::PathBuf;

use crate::config::Secret;

/// `[secrets]`: where references lead besides environment and files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretSettings {
    /// Whether a secret may be the output of a program.
    pub allow_commands: bool,
    /// `[secrets.vault]`.
    pub vault: Option<VaultSettings>,
    /// `[secrets.aws]`.
    pub aws: AwsSecretSettings,
    /// `[secrets.azure]`.
    pub azure: AzureSecretSettings,
}

/// `[secrets.vault]`: HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// URL without a slash at its end.
    pub address: String,
    /// Where the engine KV of version 2 is mounted.
    pub mount: String,
    /// Namespace, where the server has such.
    pub namespace: Option<String>,
    /// PEM file of authorities to trust besides those of the system.
    pub authority: Option<PathBuf>,
    /// How to log in.
    pub login: VaultLogin,
}

/// How the agent logs in to Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultLogin {
    /// With a token that somebody made.
    Token(Secret),
    /// With the id of a role and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// `role_id`.
        role_id: String,
        /// `secret_id`; roles can do without.
        secret_id: Option<Secret>,
    },
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role in Vault.
        role: String,
        /// The token of the service account.
        token_file: PathBuf,
    },
}

/// `[secrets.aws]`: AWS Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSecretSettings {
    /// Region; from profile or environment when `None`.
    pub region_name: Option<String>,
    /// Profile of the shared configuration files.
    pub profile_name: Option<String>,
    /// Another endpoint than Amazon's.
    pub endpoint_url: Option<String>,
}

/// `[secrets.azure]`: Azure Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSecretSettings {
    /// Endpoint, with `{vault}` in place of the vault's name, without a slash at its end.
    pub endpoint_url: String,
}

impl Default for AzureSecretSettings {
    fn default() -> Self {
        Self { endpoint_url: "https://{vault}.vault.azure.net".to_owned() }
    }
}
