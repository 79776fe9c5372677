//! Azure Blob Storage.
//!
//! A file is a list of blocks: they are durable as soon as they are sent, and nobody sees them before
//! the list is committed, which happens in the commit alone. What is never committed is seen by
//! nobody, and Azure forgets it after a week: there is no request that does it earlier. See
//! `docs/adr/0011-blocks-and-parts-in-azure-and-google.md`.
//!
//! Memory: a file holds back one block that fills and `parallel_parts` that are on their way.
//! Retries: requests are repeated here (throttling, broken connections, hanging answers, expired
//! tokens); everything that is left becomes a fault, and the task's lease repeats the attempt.

mod access;
mod command_line;
mod container;
mod identity;
mod judge;
mod shared_key;
mod upload;

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;

use self::container::Container;
use self::identity::Identity;
use self::upload::AzureUpload;
use super::cloud::token::TokenSource;
use super::multipart::StoreFailure;
use super::{Destination, PartName, Target, Upload, key};
use crate::config::{AzureBlobTarget, AzureIdentity, Secret};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// A token of the default credential, for another service of Azure than storage.
pub(crate) async fn token(identity: &AzureIdentity, resource: &str) -> Result<Secret, Fault> {
    Identity::new(identity, resource, Shutdown::new())?.fetch().await.map(|token| token.text)
}

/// Writes below one prefix of one container.
#[derive(Debug)]
pub struct AzureBlobDestination {
    container: Arc<Container>,
    prefix: String,
}

impl AzureBlobDestination {
    /// Sends nothing yet. Blocks are sent by tasks of `shutdown`.
    pub fn new(target: &AzureBlobTarget, shutdown: &Shutdown) -> Result<Self, Fault> {
        let container = Container::new(target, shutdown.clone())?;
        Ok(Self { container: Arc::new(container), prefix: target.prefix.clone() })
    }
}

#[async_trait]
impl Destination for AzureBlobDestination {
    async fn check(&self) -> Result<(), Fault> {
        let opened = self.container.look(&self.prefix).await;
        opened.map_err(|failure| failure.fault(format!("open the container `{}`", self.container.url())))
    }

    fn server(&self) -> Option<String> {
        Some(self.container.url().to_owned())
    }

    fn part_buffer_bytes(&self) -> usize {
        self.container.part_size().saturating_mul(self.container.parallel_parts().saturating_add(1))
    }

    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        let blocks = u64::from(upload::MAX_BLOCKS);
        NonZeroU64::new((self.container.part_size() as u64).saturating_mul(blocks))
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        let directory = key::directory(&self.prefix, &target.path)?;
        // Nothing of an earlier attempt has to be removed here, but what would fail every request of
        // this one is better known before rows are read than after.
        match self.container.look(&directory).await {
            Ok(()) => {}
            Err(failure) => {
                // A firewall, unlike a missing right to list, stops every request.
                let is_shut_out = failure.is("AuthorizationFailure");
                let fault = failure.fault(format!("open the container `{}`", self.container.url()));
                if is_shut_out || matches!(fault.kind(), FaultKind::Request | FaultKind::Credentials) {
                    return Err(fault);
                }
                tracing::debug!(task.id = %target.task, error = fault.chain(), "cannot list the container");
            }
        }
        Ok(Arc::new(AzureUpload::new(Arc::clone(&self.container), target.task.clone(), directory)))
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        let key = format!("{}{name}", key::directory(&self.prefix, &target.path)?);
        let deleted = self.container.delete(&key, None).await;
        deleted.map_err(|failure| failure.fault(format!("delete `{}`", self.container.url_of(&key))))
    }
}
