//! Amazon S3, and stores that speak its protocol.
//!
//! A file is one multipart upload: its parts are durable as soon as they are sent, and nobody sees
//! them before the upload is completed, which happens in the commit alone. An abort, and the next
//! attempt of the same task, abort what is left. See `docs/adr/0004-s3-multipart-until-commit.md`.
//!
//! Memory: a file holds back one part that fills and `parallel_parts` that are on their way.
//! Retries: requests are repeated here (throttling, broken connections, hanging answers, expired
//! credentials); everything that is left becomes a fault, and the task's lease repeats the attempt.

mod cleanup;
mod client;
mod credentials;
mod failure;
mod key;
mod part_writer;
mod store;
mod upload;

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;

use self::store::Store;
use self::upload::S3Upload;
use super::{Destination, Target, Upload};
use crate::config::S3Target;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// Writes below one prefix of one bucket.
#[derive(Debug)]
pub struct S3Destination {
    store: Arc<Store>,
    prefix: String,
}

impl S3Destination {
    /// Reads the profile files and finds region and kind of credentials; sends nothing to the
    /// store. Parts are sent by tasks of `shutdown`.
    pub async fn new(target: &S3Target, shutdown: &Shutdown) -> Result<Self, Fault> {
        let client = Box::pin(client::connect(target)).await?;
        let store = Store::new(client, target, shutdown.clone());
        Ok(Self { store: Arc::new(store), prefix: target.prefix.clone() })
    }
}

#[async_trait]
impl Destination for S3Destination {
    async fn check(&self) -> Result<(), Fault> {
        self.store
            .head_bucket()
            .await
            .map_err(|failure| failure.fault(format!("open the bucket `{}`", self.store.bucket())))
    }

    fn part_buffer_bytes(&self) -> usize {
        self.store.part_size().saturating_mul(self.store.parallel_parts().saturating_add(1))
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        let parts = part_writer::MAX_PARTS.unsigned_abs();
        NonZeroU64::new((self.store.part_size() as u64).saturating_mul(u64::from(parts)))
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        let directory = key::directory(&self.prefix, &target.path)?;
        let begun = cleanup::abort_stale_uploads(&self.store, &target.task, &directory).await;
        match begun {
            Ok(()) => {}
            // Every request of this attempt would end the same way.
            Err(fault) if matches!(fault.kind(), FaultKind::Request | FaultKind::Credentials) => {
                return Err(fault);
            }
            // Housekeeping only: what is left costs storage, no reader sees it.
            Err(fault) => tracing::warn!(
                task.id = %target.task, bucket = self.store.bucket(), error = fault.chain(),
                "cannot look for unfinished uploads of an earlier attempt"
            ),
        }
        Ok(Arc::new(S3Upload::new(Arc::clone(&self.store), target.task.clone(), directory)))
    }
}
