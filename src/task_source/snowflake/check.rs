//! Looks at the queue before the first task does.

use super::procedures::Procedures;
use crate::config::{SnowflakeProcedures, SnowflakeQueueSettings};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::Client;

/// Every server side has these.
const NEEDED: [&str; 4] = ["PULL_TASKS", "COMPLETE_TASK", "FAIL_TASK", "REFRESH_LEASES"];
/// That of `docs/snowflake` has these too.
const MORE: [&str; 5] = ["EXTEND_LEASES", "RELEASE_TASK", "REJECT_TASK", RECORD, DEPTH];
const RECORD: &str = "RECORD_HISTORY";
const DEPTH: &str = "QUEUE_DEPTH";

/// Logs in, looks which procedures there are, and asks how many tasks wait. Leases nothing. Returns in words
/// what is there.
pub async fn check(
    client: Client,
    settings: &SnowflakeQueueSettings,
    affinity: Option<&str>,
) -> Result<String, Fault> {
    let procedures = Procedures::new(client, &settings.procedures, affinity);
    procedures.log_in().await?;
    let names = procedures.names().await?;
    let missing = |wanted: &[&'static str]| -> Vec<&str> {
        wanted.iter().filter(|name| !names.contains(**name)).copied().collect()
    };
    let needed = missing(&NEEDED);
    if !needed.is_empty() {
        return Err(missed(format!("use the queue {} in Snowflake", procedures.place()), &needed.join(", ")));
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

/// The same for an agent that takes no task there and writes its history only. Writes nothing.
pub async fn check_history(client: Client, settings: &SnowflakeProcedures) -> Result<String, Fault> {
    let procedures = Procedures::new(client, settings, None);
    procedures.log_in().await?;
    if !procedures.names().await?.contains(RECORD) {
        return Err(missed(format!("write the history to {} in Snowflake", procedures.place()), RECORD));
    }
    Ok(format!("logged in; {RECORD} of {} is there", procedures.place()))
}

fn missed(action: String, procedures: &str) -> Fault {
    Fault::new(FaultKind::Request, action).because(format!("this role sees no {procedures} there")).remedy(
        "Check `database` and `schema` of task_source.snowflake_stored_procedure, and that the role has USAGE on the \
         procedures there; docs/snowflake/setup.sql creates them.",
    )
}
