//! A token of the person who is logged in to the Azure command line, `az`.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::destination::cloud::token::Token;
use crate::destination::cloud::token_service::{self, until};
use crate::fault::{Fault, FaultKind};

/// `az` is a Python program that may ask Entra itself.
const TIMEOUT: Duration = Duration::from_secs(45);
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
pub(super) async fn token(tenant: Option<&str>, resource: &str) -> Result<Token, Fault> {
    let fault = |kind, cause: String| {
        Fault::new(kind, "get a token of the Azure command line").because(cause).remedy(REMEDY)
    };
    let mut command = program();
    command.args(["account", "get-access-token", "--output", "json", "--resource", resource]);
    if let Some(tenant) = tenant {
        command.args(["--tenant", tenant]);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            let cause = "no credential is in the environment, no metadata service answers, and there is no \
                         program `az`";
            return Err(fault(FaultKind::Credentials, cause.to_owned()));
        }
        Ok(Err(error)) => return Err(fault(FaultKind::Credentials, error.to_string())),
        Err(_) => return Err(fault(FaultKind::Transient, format!("`az` did not end within {TIMEOUT:?}"))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line: String =
            said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().chars().take(300).collect();
        return Err(fault(FaultKind::Credentials, format!("`az` ended with {}: {line}", output.status)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| fault(FaultKind::Credentials, "`az` printed something else than a token".to_owned()))?;
    Ok(token_service::token(answer.access_token, answer.end.map(until)))
}

#[cfg(not(windows))]
fn program() -> Command {
    Command::new("az")
}

/// `az` is a batch file there.
#[cfg(windows)]
fn program() -> Command {
    let mut command = Command::new("cmd");
    command.args(["/C", "az"]);
    command
}
