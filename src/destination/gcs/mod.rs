//! Google Cloud Storage, by its XML API.
//!
//! A file is one multipart upload: its parts are durable as soon as they are sent, and nobody sees
//! them before the upload is completed, which happens in the commit alone. An abort, and the next
//! attempt of the same task, abort what is left. The JSON API has resumable uploads only, whose parts
//! come one after the other and which nobody can list. See
//! `docs/adr/0011-blocks-and-parts-in-azure-and-google.md`.
//!
//! Memory: a file holds back one part that fills and `parallel_parts` that are on their way.
//! Retries: requests are repeated here (throttling, broken connections, hanging answers, expired
//! tokens); everything that is left becomes a fault, and the task's lease repeats the attempt.

mod access;
mod bucket;
mod credentials_file;
mod identity;
mod judge;

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;

use self::bucket::Bucket;
use super::multipart::{self, MultipartStore, StoreFailure};
use super::{Destination, PartName, Target, Upload};
use crate::config::GcsTarget;
use crate::fault::Fault;
use crate::shutdown::Shutdown;

/// Writes below one prefix of one bucket.
#[derive(Debug)]
pub struct GcsDestination {
    bucket: Arc<Bucket>,
    prefix: String,
}

impl GcsDestination {
    /// Sends nothing yet. Parts are sent by tasks of `shutdown`.
    pub fn new(target: &GcsTarget, shutdown: &Shutdown) -> Result<Self, Fault> {
        let bucket = Bucket::new(target, shutdown.clone())?;
        Ok(Self { bucket: Arc::new(bucket), prefix: target.prefix.clone() })
    }
}

#[async_trait]
impl Destination for GcsDestination {
    async fn check(&self) -> Result<(), Fault> {
        let opened = self.bucket.look(&self.prefix).await;
        opened.map_err(|failure| failure.fault(format!("open the bucket `{}`", self.bucket.place())))
    }

    fn server(&self) -> Option<String> {
        Some(self.bucket.url().to_owned())
    }

    fn part_buffer_bytes(&self) -> usize {
        self.bucket.part_size().saturating_mul(self.bucket.parallel_parts().saturating_add(1))
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        NonZeroU64::new((self.bucket.part_size() as u64).saturating_mul(u64::from(Bucket::MAX_PARTS)))
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        multipart::begin(&self.bucket, &self.prefix, target).await
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        multipart::delete(&*self.bucket, &self.prefix, target, name).await
    }
}
