//! The storage behind a stage: Amazon S3, Azure Blob Storage, Google Cloud Storage, or a directory.
//!
//! A file is stored in blocks that nobody sees, and becomes visible when it is published. S3 and
//! Azure keep the blocks; for the others they are spooled on this machine until then.

mod azure;
mod directory;
mod gcs;
mod http;
mod key;
mod object;
mod s3;
mod spool;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::http::Http;
pub use self::s3::S3Clients;
use super::answer::{Answer, Credentials, StageStore, is_url};
use super::digest::ContentDigest;
use super::encryption::KeyMetadata;
use super::grant::Grant;
use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// What all transfers share: connections to stores.
#[derive(Clone, Debug)]
pub struct Connections {
    /// To Azure and Google.
    pub http: Http,
    /// To S3.
    pub s3: S3Clients,
    /// Whether the server may name storage without TLS: where it has none itself.
    pub allows_plain: bool,
    /// Whether the server may name a directory of this machine: emulators on this machine only.
    pub allows_directory: bool,
}

/// What an object says about itself besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// How to decrypt it; none on a stage without client-side encryption.
    pub key: Option<KeyMetadata>,
    /// Digest of the content; none where it was not known when the store wanted it.
    pub digest: Option<ContentDigest>,
    /// MD5 of what is stored, in base64.
    pub stored_md5: Option<String>,
}

/// What is known about a visible file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `sfc-digest`.
    pub digest: Option<String>,
    /// The wrapped key and the initialization vector.
    pub key: Option<(String, String)>,
    /// Bytes, as stored.
    pub bytes: Option<u64>,
}

/// The place of the files of one statement.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Begins a file; sends nothing.
    fn create(&self, file_name: &str) -> Result<Arc<dyn StagedFile>, Fault>;

    /// Blocks of one file that may be on their way at the same time.
    fn parallel_blocks(&self) -> usize;

    /// Whether the store wants the MD5 of a file.
    fn wants_md5(&self) -> bool {
        false
    }

    /// A visible file; `None` when there is none, or when the store does not tell.
    async fn look(&self, file_name: &str) -> Result<Option<Found>, Fault>;

    /// The content of a visible file, as stored.
    async fn read(&self, file_name: &str)
    -> Result<(Found, BoxStream<'static, Result<Bytes, Fault>>), Fault>;

    /// Removes blocks of files that were begun earlier and never published: those whose name begins
    /// with `prefix` and for which `is_chosen` says yes. True when the store lets them be removed,
    /// so that an attempt that is overtaken by a newer one fails when it publishes.
    async fn discard_earlier(
        &self,
        prefix: &str,
        is_chosen: &(dyn for<'n> Fn(&'n str) -> bool + Sync),
    ) -> bool;
}

/// One file on its way.
#[async_trait]
pub trait StagedFile: Send + Sync {
    /// Called once, before the first block, with what is known then.
    async fn begin(&self, _metadata: &Metadata) -> Result<(), Fault> {
        Ok(())
    }

    /// Stores block `number` (from 1), durably and invisibly. Up to
    /// [`Storage::parallel_blocks`] at the same time, begun in the order of their numbers.
    async fn store(&self, number: u32, block: Bytes) -> Result<(), Fault>;

    /// Makes the file visible, with everything that is known about it. Called once, after all
    /// blocks were stored.
    async fn publish(&self, metadata: &Metadata) -> Result<(), Fault>;

    /// Forgets the file, also in the middle of it, as far as the store can be reached.
    async fn discard(&self);
}

/// Opens the storage that a grant is for.
pub fn open(grant: Arc<Grant>, connections: &Connections) -> Result<Arc<dyn Storage>, Fault> {
    if !connections.allows_plain && is_plain(grant.answer()) {
        return Err(Fault::new(FaultKind::Request, "use the storage of the stage")
            .because("the server named a place that would be spoken to without TLS"));
    }
    Ok(match grant.answer().store.clone() {
        StageStore::S3 { place, region, endpoint } => {
            let client = connections.s3.client(region.as_deref(), endpoint.as_deref())?;
            Arc::new(s3::S3Storage::new(client, grant, place, connections.s3.timeout()))
        }
        StageStore::Azure { place, account, endpoint } => {
            let base = azure::base_url(&place, &account, endpoint.as_deref())?;
            Arc::new(azure::AzureStorage::new(connections.http.clone(), grant, base))
        }
        StageStore::Gcs { place, region, endpoint, is_virtual, is_regional } => {
            let base =
                gcs::base_url(&place, region.as_deref(), endpoint.as_deref(), is_virtual, is_regional)?;
            Arc::new(gcs::GcsStorage::new(connections.http.clone(), grant, base, connections.allows_plain))
        }
        StageStore::LocalDirectory(directory) => {
            directory::refuse_unless(connections.allows_directory, &directory)?;
            if !grant.answer().encryption.is_empty() {
                return Err(Fault::new(FaultKind::Request, "use the storage of the stage")
                    .because("a directory keeps no metadata, so nobody could decrypt the files"));
            }
            Arc::new(directory::DirectoryStorage::new(directory.into()))
        }
    })
}

/// True when something of an answer is a URL without TLS.
fn is_plain(answer: &Answer) -> bool {
    let endpoint = match &answer.store {
        StageStore::S3 { endpoint, .. }
        | StageStore::Azure { endpoint, .. }
        | StageStore::Gcs { endpoint, .. } => endpoint.as_deref(),
        StageStore::LocalDirectory(_) => None,
    };
    let signed = match &answer.credentials {
        Credentials::Presigned(url) => url.as_ref(),
        Credentials::Aws { .. } | Credentials::AzureSas(_) | Credentials::GcsToken(_) | Credentials::None => {
            None
        }
    };
    let urls = signed.into_iter().chain(&answer.presigned_urls).map(Secret::expose);
    urls.chain(endpoint.filter(|endpoint| is_url(endpoint))).any(|url| !url.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_without_tls_is_seen_wherever_it_stands() {
        let answer = |endpoint: &str, signed: &str, list: &[&str]| {
            let answer = json!({
                "command": "DOWNLOAD", "presignedUrls": list,
                "stageInfo": {"locationType": "GCS", "location": "b/", "endPoint": endpoint, "presignedUrl": signed},
            });
            Answer::read(&answer).expect("a good answer")
        };
        assert!(!is_plain(&answer("", "https://host/x", &[])));
        assert!(!is_plain(&answer("storage.example", "", &["https://host/x"])));
        assert!(is_plain(&answer("http://host", "https://host/x", &[])));
        assert!(is_plain(&answer("", "http://host/x", &[])));
        assert!(is_plain(&answer("", "", &["https://host/x", "http://host/y"])));
    }
}
