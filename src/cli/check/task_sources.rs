//! The task sources beside the local queue. Nothing is leased.

use std::time::Instant;

use super::{Finding, limited};
use crate::config::Config;
use crate::snowflake::Clients;
use crate::task_source::{remote_api, snowflake as queue};

/// One finding for each task source, and one for where the history goes without one.
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
    let (procedures, history, api) = tokio::join!(Box::pin(procedures), Box::pin(history), api);
    procedures.into_iter().chain(history).chain(api).collect()
}
