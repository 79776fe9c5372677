//! Amazon S3, and stores that speak its protocol.
//!
//! A file is one multipart upload: its parts are durable as soon as they are sent, and nobody sees
//! them before the upload is completed, which happens in the commit alone. An abort, and the next
//! attempt of the same task, abort what is left. See `docs/adr/0004-s3-multipart-until-commit.md`.
//!
//! Memory: a file holds back one part that fills and `parallel_parts` that are on their way.
//! Retries: requests are repeated here (throttling, broken connections, hanging answers, expired
//! credentials); everything that is left becomes a fault, and the task's lease repeats the attempt.

mod client;
mod credentials;
mod failure;
mod store;

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;

use self::store::Store;
use super::multipart::{self, MultipartStore, StoreFailure};
use super::{Destination, PartName, Target, Upload};
use crate::config::S3Target;
use crate::fault::Fault;
use crate::shutdown::Shutdown;

/// Writes below one prefix of one bucket.
#[derive(Debug)]
pub struct S3Destination {
    store: Arc<Store>,
    prefix: String,
    /// Where requests go, without the bucket.
    server: String,
}

impl S3Destination {
    /// Reads the profile files and finds region and kind of credentials; sends nothing to the
    /// store. Parts are sent by tasks of `shutdown`.
    pub async fn new(target: &S3Target, shutdown: &Shutdown) -> Result<Self, Fault> {
        let (client, server) = Box::pin(client::connect(target)).await?;
        let store = Store::new(client, target, shutdown.clone());
        Ok(Self { store: Arc::new(store), prefix: target.prefix.clone(), server })
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

    fn server(&self) -> Option<String> {
        Some(self.server.clone())
    }

    fn part_buffer_bytes(&self) -> usize {
        self.store.part_size().saturating_mul(self.store.parallel_parts().saturating_add(1))
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        NonZeroU64::new((self.store.part_size() as u64).saturating_mul(u64::from(Store::MAX_PARTS)))
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        multipart::begin(&self.store, &self.prefix, target).await
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        multipart::delete(&*self.store, &self.prefix, target, name).await
    }
}
