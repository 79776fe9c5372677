//! Tokens of the default credential, looked for in the order of Azure's own libraries: client secret,
//! workload identity, managed identity, and the Azure command line of a person.

use std::path::Path;

use async_trait::async_trait;

use super::command_line;
use crate::config::{AzureIdentity, ManagedIdentity, Secret};
use crate::destination::cloud::token::{Token, TokenSource};
use crate::destination::cloud::token_service::{Question, TokenAnswer, TokenServices, encoded};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// For whom the tokens of a storage account are good.
pub(super) const RESOURCE: &str = "https://storage.azure.com";

/// The default credential.
pub(super) struct Identity {
    settings: AzureIdentity,
    services: TokenServices,
    resource: String,
    shutdown: Shutdown,
}

impl Identity {
    /// An identity whose tokens are good for `resource`.
    pub(super) fn new(settings: &AzureIdentity, resource: &str, shutdown: Shutdown) -> Result<Self, Fault> {
        let resource = resource.to_owned();
        Ok(Self { settings: settings.clone(), services: TokenServices::new()?, resource, shutdown })
    }

    fn scope(&self) -> String {
        format!("{}/.default", self.resource)
    }

    fn token_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.settings.authority_host)
    }

    async fn by_secret(&self, tenant: &str, client: &str, secret: &Secret) -> Result<Token, Fault> {
        let question = Question {
            action: "ask Microsoft Entra for a token of the client in AZURE_CLIENT_ID",
            remedy: "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.",
        };
        let url = self.token_url(tenant);
        let form = [
            ("client_id", client),
            ("client_secret", secret.expose()),
            ("scope", &self.scope()),
            ("grant_type", "client_credentials"),
        ];
        let answer: TokenAnswer = question.ask(|| self.services.form(&url, &form)).await?;
        Ok(answer.token())
    }

    async fn by_workload(&self, tenant: &str, client: &str, file: &Path) -> Result<Token, Fault> {
        let question = Question {
            action: "ask Microsoft Entra for a token of the workload identity",
            remedy: "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the federated credential of that application.",
        };
        // Read each time: the file is renewed by the cluster.
        let assertion = tokio::fs::read_to_string(file).await.map_err(|error| {
            Fault::new(FaultKind::Credentials, question.action)
                .because(format!("{}: {error}", file.display()))
                .remedy("Check AZURE_FEDERATED_TOKEN_FILE and the volume that it points to.")
        })?;
        let url = self.token_url(tenant);
        let form = [
            ("client_id", client),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.trim()),
            ("scope", &self.scope()),
            ("grant_type", "client_credentials"),
        ];
        let answer: TokenAnswer = question.ask(|| self.services.form(&url, &form)).await?;
        Ok(answer.token())
    }

    /// The managed identity; `None` when there is no metadata service here.
    async fn by_managed_identity(&self) -> Option<Result<Token, Fault>> {
        let question = Question {
            action: "ask for a token of the managed identity",
            remedy: "Assign a managed identity to this machine; with several, set AZURE_CLIENT_ID to one of them.",
        };
        let mut query = vec![("resource", self.resource.as_str())];
        if let Some(client_id) = &self.settings.client_id {
            query.push(("client_id", client_id));
        }
        let client = &self.services.local;
        let answer: Result<TokenAnswer, Fault> = match &self.settings.managed_identity {
            ManagedIdentity::AppService { endpoint, header } => {
                query.push(("api-version", "2019-08-01"));
                let url = format!("{endpoint}?{}", encoded(&query));
                question.ask(|| client.get(&url).header("x-identity-header", header.expose())).await
            }
            ManagedIdentity::Machine { endpoint } => {
                query.push(("api-version", "2018-02-01"));
                let service = format!("{endpoint}/metadata/identity/oauth2/token");
                // Without its header the service refuses at once; that somebody answers is what counts.
                client.get(&service).send().await.ok()?;
                let url = format!("{service}?{}", encoded(&query));
                question.ask(|| client.get(&url).header("metadata", "true")).await
            }
        };
        Some(answer.map(TokenAnswer::token))
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
                None => command_line::token(tenant_id.as_deref(), &self.resource, &self.shutdown).await,
            },
        }
    }
}
