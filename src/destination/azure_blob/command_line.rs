//! A token of the person who is logged in to the Azure command line, `az`.

use std::time::Duration;

use serde::Deserialize;

use crate::bulk::{Inherited, Program};
use crate::destination::cloud::token::Token;
use crate::destination::cloud::token_service::{self, until};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// `az` is a Python program that may ask Entra itself.
const TIMEOUT: Duration = Duration::from_secs(45);
/// A token has a few thousand.
const MOST_BYTES: usize = 1 << 20;
const REMEDY: &str = "Give the agent an identity: AZURE_TENANT_ID and AZURE_CLIENT_ID with AZURE_CLIENT_SECRET \
    or AZURE_FEDERATED_TOKEN_FILE, a managed identity, or `az login`; or set `account_key` or `sas_token`.";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    access_token: String,
    /// Seconds since 1970. (`expiresOn` beside it is in local time.)
    #[serde(rename = "expires_on")]
    end: Option<i64>,
}

/// Runs `az account get-access-token`.
pub(super) async fn token(tenant: Option<&str>, resource: &str, shutdown: &Shutdown) -> Result<Token, Fault> {
    const HINT: &str = "no credential is in the environment, and no metadata service answers";
    let mut program = Program::new("az", "az".into(), TIMEOUT, REMEDY);
    let arguments = ["account", "get-access-token", "--output", "json", "--resource", resource];
    program.inherited = Inherited::All;
    program.arguments = arguments
        .into_iter()
        .chain(tenant.into_iter().flat_map(|id| ["--tenant", id]))
        .map(str::to_owned)
        .collect();
    let action = "get a token of the Azure command line";
    let (written, exit) = program.output(shutdown, MOST_BYTES).await.map_err(|fault| match fault.kind() {
        FaultKind::Transient => fault.while_doing(action),
        _ => Fault::new(FaultKind::Credentials, action)
            .because(format!("{HINT}: {}", fault.chain()))
            .remedy(REMEDY),
    })?;
    let refused = |cause: String| Fault::new(FaultKind::Credentials, action).because(cause).remedy(REMEDY);
    if !exit.is_success() {
        return Err(refused(exit.describe()));
    }
    let answer: Answer = serde_json::from_slice(&written)
        .map_err(|_| refused("`az` printed something else than a token".to_owned()))?;
    Ok(token_service::token(answer.access_token, answer.end.map(until)))
}
