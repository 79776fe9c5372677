//! Looks at the queue before the first task does.

use super::procedures::Procedures;
use crate::config::SnowflakeQueueSettings;
use crate::fault::{Fault, FaultKind};
use crate::snowflake::Client;

/// Every server side has these.
const NEEDED: [&str; 4] = ["PULL_TASKS", "COMPLETE_TASK", "FAIL_TASK", "REFRESH_LEASES"];
/// That of `docs/snowflake` has these too.
const MORE: [&str; 5] = ["EXTEND_LEASES", "RELEASE_TASK", "REJECT_TASK", "RECORD_HISTORY", DEPTH];
const DEPTH: &str = "QUEUE_DEPTH";

/// Logs in, looks which procedures there are, and asks how many tasks wait. Leases nothing. Returns in words
/// what is there.
pub async fn check(
    client: Client,
    settings: &SnowflakeQueueSettings,
    affinity: Option<&str>,
) -> Result<String, Fault> {
    let procedures = Procedures::new(client, settings, affinity);
    procedures.log_in().await?;
    let names = procedures.names().await?;
    let missing = |wanted: &[&'static str]| -> Vec<&str> {
        wanted.iter().filter(|name| !names.contains(**name)).copied().collect()
    };
    let needed = missing(&NEEDED);
    if !needed.is_empty() {
        let action = format!("use the queue {} in Snowflake", procedures.place());
        return Err(Fault::new(FaultKind::Request, action)
            .because(format!("this role sees no {} there", needed.join(", ")))
            .remedy(
                "Check `database` and `schema` of task_source.snowflake_stored_procedure, and that the role has \
                 USAGE on the procedures there; docs/snowflake/setup.sql creates them.",
            ));
    }
    let more = missing(&MORE);
    // Asked for only where it is there, or its answer is wanted.
    let depth = if settings.depth_interval.is_some() || !more.contains(&DEPTH) {
        format!("; tasks that wait: {}", procedures.depth().await?)
    } else {
        String::new()
    };
    let without = if more.is_empty() { String::new() } else { format!(", without {}", more.join(", ")) };
    Ok(format!("logged in; the procedures of {} are there{without}{depth}", procedures.place()))
}
