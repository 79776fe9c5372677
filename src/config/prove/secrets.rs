//! `[secrets]`: where references lead besides environment and files.
//!
//! Proven before everything else. Its own values can come from environment and files only.

use std::path::PathBuf;

use ::config::Value;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{
    AwsSecretSettings, AzureSecretSettings, SecretSettings, VaultLogin, VaultSettings,
};
use super::super::report::Report;
use super::super::secret_store::SecretStores;
use super::super::section::Section;
use super::azure_blob::identity;
use super::stores;

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Proves the section, and opens the stores for the sections that follow.
pub(super) fn prove_secrets(report: &mut Report<'_>, value: Option<Value>) -> SecretSettings {
    let mut section = Section::open(report, "secrets", value, Known::exactly(keys::SECRET_STORES));
    let allow_commands = section.boolean("allow_command_secrets").unwrap_or(false);
    let [vault, aws, azure] = ["vault", "aws", "azure"].map(|name| section.value(name));
    let settings = SecretSettings {
        allow_commands,
        vault: vault.and_then(|value| prove_vault(report, value)),
        aws: prove_aws(report, aws),
        azure: prove_azure(report, azure),
    };
    report.stores = SecretStores::new(settings.clone(), identity(report.environment));
    settings
}

#[derive(Clone, Copy)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
}

fn prove_vault(report: &mut Report<'_>, value: Value) -> Option<VaultSettings> {
    let known = Known::exactly(keys::SECRETS_VAULT);
    let mut section = Section::open(report, "secrets.vault", Some(value), known);
    let expected = "a URL such as \"https://vault.example.com:8200\", without user, query and fragment";
    let address = section.parsed_unseen("address", expected, stores::endpoint);
    let address = section.required("address", address);
    let mount = section.text("mount").unwrap_or_else(|| "secret".to_owned());
    let namespace = section.text("namespace");
    let authority = section.path("certificate_authority");
    let methods =
        [("token", Method::Token), ("approle", Method::AppRole), ("kubernetes", Method::Kubernetes)];
    let method = section.choice("authentication", &methods).unwrap_or(Method::Token);
    let method_mount = section.text("authentication_mount");
    let token = section.secret("token");
    let role_id = section.text("role_id");
    let secret_id = section.secret("secret_id");
    let role = section.text("role");
    let token_file = section.path("token_file");
    let mounted = |name: &str| method_mount.clone().unwrap_or_else(|| name.to_owned());
    let login = match method {
        Method::Token => section.required("token", token).map(VaultLogin::Token),
        Method::AppRole => section.required("role_id", role_id).map(|role_id| VaultLogin::AppRole {
            mount: mounted("approle"),
            role_id,
            secret_id,
        }),
        Method::Kubernetes => section.required("role", role).map(|role| VaultLogin::Kubernetes {
            mount: mounted("kubernetes"),
            role,
            token_file: token_file.unwrap_or_else(|| PathBuf::from(SERVICE_ACCOUNT)),
        }),
    };
    let address = address?;
    if !stores::is_private(&address) {
        let remedy = "Use https, unless something else keeps this way private.";
        section.warning("address", "carries secrets over plain HTTP", Some(remedy));
    }
    let address = address.trim_end_matches('/').to_owned();
    Some(VaultSettings { address, mount, namespace, authority, login: login? })
}

fn prove_aws(report: &mut Report<'_>, value: Option<Value>) -> AwsSecretSettings {
    let mut section = Section::open(report, "secrets.aws", value, Known::exactly(keys::SECRETS_AWS));
    let expected = "a URL such as \"https://secretsmanager.example.com\", without user, query and fragment";
    let endpoint_url = section.parsed_unseen("endpoint_url", expected, stores::endpoint);
    if endpoint_url.as_deref().is_some_and(|url| !stores::is_private(url)) {
        let remedy = "Write an endpoint that begins with https.";
        section.problem("endpoint_url", "would carry secrets over plain HTTP", Some(remedy));
    }
    AwsSecretSettings {
        region_name: section.text("region_name"),
        profile_name: section.text("profile_name"),
        endpoint_url: endpoint_url.map(|url| url.trim_end_matches('/').to_owned()),
    }
}

fn prove_azure(report: &mut Report<'_>, value: Option<Value>) -> AzureSecretSettings {
    let mut section = Section::open(report, "secrets.azure", value, Known::exactly(keys::SECRETS_AZURE));
    let endpoint = |text: &str| {
        // The name of a vault has only letters that a URL keeps.
        stores::endpoint(&text.replace("{vault}", "vault-name"))?;
        Some(text.trim_end_matches('/').to_owned())
    };
    let expected = "a URL such as \"https://{vault}.vault.azure.net\", without user, query and fragment";
    let found = section.parsed_unseen("endpoint_url", expected, endpoint);
    match found {
        Some(endpoint_url) if !stores::is_private(&endpoint_url.replace("{vault}", "vault-name")) => {
            let remedy = "Write an endpoint that begins with https: tokens are as good as passwords.";
            section.problem("endpoint_url", "would carry tokens over plain HTTP", Some(remedy));
            AzureSecretSettings::default()
        }
        Some(endpoint_url) => AzureSecretSettings { endpoint_url },
        None => AzureSecretSettings::default(),
    }
}
