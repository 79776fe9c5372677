//! The ways to log in.

use std::path::PathBuf;

use url::Url;

use super::super::account;
use super::super::authentication::{
    Authentication, AzureFederation, AzureIdentity, ClientCredentials, ExternalBrowser, KeyPair, KeySource,
    OAuthToken, Password, ProgrammaticAccessToken, SpcsToken, TokenSource, WorkloadIdentity,
    WorkloadProvider,
};
use super::super::{private_file, spcs};
use super::{MISSING, Proof};
use crate::config::Secret;
use crate::nearest;

/// Who gets the attestation of a workload unless told otherwise: Snowflake's own application in
/// Microsoft's directory.
const ENTRA_RESOURCE: &str = "api://fd3f753b-eed3-462c-b6a7-a4b5bb650aad";

/// The ways to log in, by the names that Snowflake's tools have for them.
const AUTHENTICATORS: &[(&str, Way)] = &[
    ("SNOWFLAKE", Way::Password),
    ("USERNAME_PASSWORD_MFA", Way::SecondFactor),
    ("SNOWFLAKE_JWT", Way::KeyPair),
    ("OAUTH", Way::OAuthToken),
    ("PROGRAMMATIC_ACCESS_TOKEN", Way::ProgrammaticAccessToken),
    ("OAUTH_CLIENT_CREDENTIALS", Way::ClientCredentials),
    ("WORKLOAD_IDENTITY", Way::WorkloadIdentity),
    ("EXTERNALBROWSER", Way::ExternalBrowser),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Password,
    SecondFactor,
    KeyPair,
    OAuthToken,
    ProgrammaticAccessToken,
    ClientCredentials,
    WorkloadIdentity,
    ExternalBrowser,
}

impl Proof<'_> {
    /// How to log in: what `authenticator` says, or else what the other keys can only mean.
    fn way(&mut self) -> Option<Way> {
        let settings = self.settings;
        let has_key = settings.has("private_key") || settings.has("private_key_file");
        let Some(written) = settings.text("authenticator") else {
            let has_token = settings.has("token") || settings.has("token_file_path");
            return Some(match () {
                () if has_key => Way::KeyPair,
                () if settings.has("workload_identity_provider") => Way::WorkloadIdentity,
                () if settings.has("oauth_client_id") => Way::ClientCredentials,
                () if has_token && !settings.has("password") => Way::OAuthToken,
                () => Way::Password,
            });
        };
        let found = AUTHENTICATORS.iter().find(|(name, _)| name.eq_ignore_ascii_case(written));
        match found.map(|(_, way)| *way) {
            // A key beside the word for the default is meant to be used.
            Some(Way::Password) if has_key => Some(Way::KeyPair),
            Some(way) => Some(way),
            None => {
                self.unknown_authenticator(written);
                None
            }
        }
    }

    fn unknown_authenticator(&mut self, written: &str) {
        let names = AUTHENTICATORS.iter().map(|(name, _)| *name);
        let upper = written.to_ascii_uppercase();
        let message = if upper.starts_with("HTTPS://") {
            "is the address of an identity provider, where a person has to log in".to_owned()
        } else if upper == "OAUTH_AUTHORIZATION_CODE" {
            "is \"OAUTH_AUTHORIZATION_CODE\", where a person has to agree in a browser".to_owned()
        } else {
            "is no way to log in that this agent knows".to_owned()
        };
        let remedy = match nearest::nearest(&upper, names.clone()) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => format!("Use one of {}.", names.collect::<Vec<_>>().join(", ")),
        };
        self.problem("authenticator", message, Some(&remedy));
    }

    pub(super) fn authentication(&mut self, host: Option<&str>) -> Option<Authentication> {
        if self.settings.is_service {
            let path =
                self.settings.path("token_file_path").map_or_else(|| spcs::TOKEN_FILE.into(), Into::into);
            return Some(Authentication::SpcsToken(SpcsToken { path }));
        }
        match self.way()? {
            Way::Password => self.password().map(Authentication::Password),
            Way::SecondFactor => {
                let has_passcode = self.settings.has("passcode")
                    || self.settings.boolean("passcode_in_password") == Some(true);
                if !has_passcode {
                    self.problem(
                        "authenticator",
                        "is \"USERNAME_PASSWORD_MFA\", which waits for a person to confirm each login",
                        Some("Use a key pair or a programmatic access token for a service."),
                    );
                    return None;
                }
                self.password().map(Authentication::Password)
            }
            Way::KeyPair => self.key_pair().map(Authentication::KeyPair),
            Way::OAuthToken => {
                let token = self.token()?;
                Some(Authentication::OAuthToken(OAuthToken { user: self.settings.owned("user"), token }))
            }
            Way::ProgrammaticAccessToken => {
                let token = self.programmatic_token()?;
                let user = self.settings.owned("user");
                Some(Authentication::ProgrammaticAccessToken(ProgrammaticAccessToken { user, token }))
            }
            Way::ClientCredentials => self.client_credentials().map(Authentication::ClientCredentials),
            Way::WorkloadIdentity => self.workload_identity(host).map(Authentication::WorkloadIdentity),
            Way::ExternalBrowser => {
                let user = self.required("user", self.settings.owned("user"))?;
                Some(Authentication::ExternalBrowser(ExternalBrowser::new(user)))
            }
        }
    }

    fn password(&mut self) -> Option<Password> {
        let user = self.required("user", self.settings.owned("user"));
        let password = self.settings.secret("password");
        if password.is_none() {
            let remedy = "Add password, private_key_file, token or another way to log in.";
            self.problem("password", MISSING, Some(remedy));
        }
        Some(Password {
            user: user?,
            password: password?,
            passcode: self.settings.secret("passcode"),
            passcode_in_password: self.settings.boolean("passcode_in_password").unwrap_or(false),
        })
    }

    fn key_pair(&mut self) -> Option<KeyPair> {
        let user = self.required("user", self.settings.owned("user"));
        let file = self.private_path("private_key_file", "the private key").map(KeySource::File);
        let key = file.or_else(|| self.settings.secret("private_key").map(KeySource::Text));
        let key = self.required("private_key_file", key);
        Some(KeyPair { user: user?, key: key?, passphrase: self.settings.secret("private_key_file_pwd") })
    }

    /// A file with a secret, with a warning when others can read it now.
    fn private_path(&self, key: &str, what: &'static str) -> Option<PathBuf> {
        let path = self.settings.path(key)?;
        private_file::warn_of_readers(path, what, self.environment);
        Some(path.to_owned())
    }

    /// A file wins over a text, as in Snowflake's tools.
    fn token_source(&self) -> Option<TokenSource> {
        let file = self.private_path("token_file_path", "the token file").map(TokenSource::File);
        file.or_else(|| self.settings.secret("token").map(TokenSource::Text))
    }

    fn token(&mut self) -> Option<TokenSource> {
        let source = self.token_source();
        self.required("token", source)
    }

    fn programmatic_token(&mut self) -> Option<TokenSource> {
        let source = self.token_source();
        let source = source.or_else(|| self.settings.secret("password").map(TokenSource::Text));
        self.required("token", source)
    }

    fn client_credentials(&mut self) -> Option<ClientCredentials> {
        let client_id = self.required("oauth_client_id", self.settings.owned("oauth_client_id"));
        let client_secret = self.required("oauth_client_secret", self.settings.secret("oauth_client_secret"));
        let token_url =
            match self.settings.text("oauth_token_request_url").map(|url| secure_url(url).ok_or(())) {
                None => None,
                Some(Ok(url)) => Some(url),
                Some(Err(())) => {
                    let remedy = "The client secret is sent there.";
                    self.problem(
                        "oauth_token_request_url",
                        "is no https URL without user and fragment",
                        Some(remedy),
                    );
                    return None;
                }
            };
        let scope = self.settings.owned("oauth_scope");
        let role = self.settings.text("role");
        Some(ClientCredentials::new(
            self.settings.owned("user"),
            client_id?,
            client_secret?,
            scope.or_else(|| role.map(|role| format!("session:role:{role}"))),
            token_url,
            self.settings.boolean("oauth_credentials_in_body").unwrap_or(false),
        ))
    }

    fn workload_identity(&mut self, host: Option<&str>) -> Option<WorkloadIdentity> {
        let provider = self.settings.text("workload_identity_provider");
        let provider = self.required("workload_identity_provider", provider)?;
        let impersonation_path: Vec<String> = self
            .settings
            .text("workload_identity_impersonation_path")
            .map(|path| {
                path.split(',').map(|step| step.trim().to_owned()).filter(|step| !step.is_empty()).collect()
            })
            .unwrap_or_default();
        let provider = match provider.to_ascii_uppercase().as_str() {
            "AWS" => {
                let sts_host = self.settings.text("workload_identity_host").map(account::explicit_host);
                if let Some(Err(error)) = sts_host {
                    self.problem("workload_identity_host", error.to_string(), None);
                }
                WorkloadProvider::Aws { sts_host: sts_host.and_then(Result::ok) }
            }
            "GCP" => WorkloadProvider::Gcp { metadata: self.metadata_url("GCE_METADATA_HOST") },
            "AZURE" => WorkloadProvider::Azure(Box::new(self.azure())),
            "OIDC" => WorkloadProvider::Oidc { token: self.token()? },
            _ => {
                let message = "is none of \"AWS\", \"GCP\", \"AZURE\" and \"OIDC\"";
                self.problem("workload_identity_provider", message, None);
                return None;
            }
        };
        let can_impersonate = matches!(provider, WorkloadProvider::Aws { .. } | WorkloadProvider::Gcp { .. });
        if !impersonation_path.is_empty() && !can_impersonate {
            let message = "works with the providers AWS and GCP only";
            self.problem("workload_identity_impersonation_path", message, Some("Leave it out."));
        }
        let suffixes = self.allowed_suffixes();
        if let Some(host) = host
            && !account::is_below(host, &suffixes)
        {
            self.problem(
                "host",
                "is not a host of Snowflake, and a workload identity is shown to nobody else",
                Some("Correct it, or add its suffix to SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES."),
            );
        }
        Some(WorkloadIdentity { provider, impersonation_path, allowed_suffixes: suffixes })
    }

    fn allowed_suffixes(&self) -> Vec<String> {
        let added = self.environment.filled("SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES").unwrap_or_default();
        let added = added.split(',').map(|suffix| suffix.trim().trim_matches('.').to_ascii_lowercase());
        account::KNOWN_SUFFIXES
            .iter()
            .map(|suffix| (*suffix).to_owned())
            .chain(added.filter(|suffix| !suffix.is_empty()))
            .collect()
    }

    /// A metadata server at another place than the cloud's own, as that cloud's libraries name it.
    fn metadata_url(&self, variable: &str) -> Option<Url> {
        let host = self.environment.filled(variable)?;
        let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Url::parse(&url).ok()
    }

    fn azure(&self) -> AzureIdentity {
        let variable = |name| self.environment.filled(name).map(str::to_owned);
        AzureIdentity {
            resource: self
                .settings
                .owned("workload_identity_entra_resource")
                .unwrap_or_else(|| ENTRA_RESOURCE.to_owned()),
            client_id: variable("MANAGED_IDENTITY_CLIENT_ID"),
            functions: variable("IDENTITY_ENDPOINT")
                .and_then(|endpoint| Url::parse(&endpoint).ok())
                .zip(variable("IDENTITY_HEADER").map(Secret::new)),
            federated: self.azure_federated(),
            metadata: self.metadata_url("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
        }
    }

    fn azure_federated(&self) -> Option<AzureFederation> {
        let variable = |name| self.environment.filled(name).map(str::to_owned);
        let authority = variable("AZURE_AUTHORITY_HOST");
        let authority = authority.as_deref().unwrap_or("https://login.microsoftonline.com/");
        Some(AzureFederation {
            token_file: variable("AZURE_FEDERATED_TOKEN_FILE")?.into(),
            tenant_id: variable("AZURE_TENANT_ID")?,
            client_id: variable("AZURE_CLIENT_ID")?,
            authority: secure_url(authority)?,
        })
    }
}

/// A URL that secrets may be sent to: with TLS, or on this machine.
fn secure_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_local = match url.host()? {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (is_secure && is_plain).then_some(url)
}
