//! The task sources beside the local queue, and the clock that they go by. Nothing is leased.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::future::join_all;

use super::{Finding, clock, limited};
use crate::config::{Config, TargetConnection};
use crate::snowflake::Clients;
use crate::task_source::{remote_api, snowflake as queue};

/// One finding for each task source, and one for each server whose clock matters.
pub(super) async fn check(config: &Config, snowflake: &Clients) -> Vec<Finding> {
    let procedures = async {
        let settings = config.task_sources.snowflake.as_ref()?;
        let begun = Instant::now();
        let affinity = config.application.affinity.as_deref();
        let check = async {
            queue::check(snowflake.client(&settings.procedures.connection)?, settings, affinity).await
        };
        Some(Finding::new("queue in Snowflake", begun, limited(check).await))
    };
    let history = async {
        // What the queue lacks for it is said there.
        let settings = config.task_sources.snowflake_history.as_ref();
        let settings = settings.filter(|_| config.task_sources.snowflake.is_none())?;
        let begun = Instant::now();
        let check = async { queue::check_history(snowflake.client(&settings.connection)?, settings).await };
        Some(Finding::new("history in Snowflake", begun, limited(check).await))
    };
    let api = async {
        let settings = config.task_sources.api.as_ref()?;
        let begun = Instant::now();
        Some(Finding::new("remote API", begun, limited(remote_api::check(settings)).await))
    };
    let clocks = join_all(servers(config).into_iter().map(async |url| {
        let begun = Instant::now();
        let compared = tokio::time::timeout(clock::LIMIT, clock::compare(&url)).await;
        let compared = compared.unwrap_or_else(|_elapsed| Ok(format!("{url} does not answer; see there")));
        Finding::new("clock", begun, compared)
    }));
    let (procedures, history, api, clocks) =
        tokio::join!(Box::pin(procedures), Box::pin(history), api, clocks);
    procedures.into_iter().chain(history).chain(api).chain(clocks).collect()
}

/// Addresses of the servers that go by the clock of their callers.
fn servers(config: &Config) -> BTreeSet<String> {
    let queue = config.task_sources.snowflake.iter().map(|settings| &settings.procedures.connection);
    let history = config.task_sources.snowflake_history.iter().map(|settings| &settings.connection);
    let targets = config.targets.values().filter_map(|target| match target {
        TargetConnection::Snowflake(target) => Some(&target.connection),
        _ => None,
    });
    let accounts = queue.chain(history).chain(targets).map(|connection| connection.base_url());
    let api = config.task_sources.api.iter().map(|settings| settings.base_url.clone());
    accounts.chain(api).collect()
}
