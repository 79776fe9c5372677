//! Removing files that are loaded.

use super::LoadIdentity;
use crate::snowflake::{Client, Statement};

/// Removes the files one by one, each by its whole name. They are loaded: what cannot be removed
/// costs storage only, so it is said in the log and in the receipt. One that is gone already is
/// removed.
pub(super) async fn purge(client: &Client, identity: &LoadIdentity<'_>, files: &[String]) -> bool {
    for file in files {
        let statement = Statement::new(identity.stage.remove(file)).query_tag(&identity.tag());
        if let Err(error) = client.run(&statement).await {
            tracing::warn!(
                task.id = %identity.task, stage = %identity.stage, file, %error,
                "loaded files could not be removed from their stage"
            );
            return false;
        }
    }
    true
}
