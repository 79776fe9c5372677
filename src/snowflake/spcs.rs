//! `@SPCS_CONNECTION`: the service that Snowpark Container Services run the agent as.

use std::path::PathBuf;

use super::settings::{Setting, Settings};
use crate::config::Environment;
use crate::fault::{Fault, FaultKind};

/// The name that stands for the service of the container.
pub const CONNECTION_NAME: &str = "@SPCS_CONNECTION";
/// Where the platform puts the token of the service, unless `sessionTokenConfig` says otherwise.
pub const TOKEN_FILE: &str = "/snowflake/session/token";
/// Where the platform puts the token by which it knows its containers.
pub const SERVICE_TOKEN_FILE: &str = "/snowflake/session/spcs_token";

/// What the platform says about the service. A `token_file_path` beside the name is another place of
/// the token; it is looked at by the login, not here, because the platform rewrites it.
pub(crate) fn settings(environment: &Environment) -> Result<Settings, Fault> {
    let variable = |name: &str| environment.filled(name).map(str::to_owned);
    let (Some(host), Some(account)) = (variable("SNOWFLAKE_HOST"), variable("SNOWFLAKE_ACCOUNT")) else {
        let missing: Vec<&str> = ["SNOWFLAKE_HOST", "SNOWFLAKE_ACCOUNT"]
            .into_iter()
            .filter(|name| environment.filled(name).is_none())
            .collect();
        let action = format!(
            "use {CONNECTION_NAME}: {} not set, so the agent does not run inside Snowpark Container Services",
            match missing.as_slice() {
                [one] => format!("{one} is"),
                names => format!("{} are", names.join(" and ")),
            }
        );
        return Err(Fault::new(FaultKind::Request, action).remedy(
            "Run the agent as a service or job of Snowpark Container Services, or name a connection of \
             ~/.snowflake/connections.toml.",
        ));
    };
    let mut settings = Settings::default();
    settings.is_service = true;
    settings.set("host", Setting::Text(host));
    settings.set("account", Setting::Text(account));
    settings.set("token_file_path", Setting::Path(PathBuf::from(TOKEN_FILE)));
    for (key, name) in [
        ("database", "SNOWFLAKE_DATABASE"),
        ("schema", "SNOWFLAKE_SCHEMA"),
        ("warehouse", "SNOWFLAKE_WAREHOUSE"),
    ] {
        if let Some(value) = variable(name) {
            settings.set(key, Setting::Text(value));
        }
    }
    if let Some(port) =
        variable("SNOWFLAKE_PORT").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0)
    {
        settings.set("port", Setting::Integer(i64::from(port)));
    }
    Ok(settings)
}
