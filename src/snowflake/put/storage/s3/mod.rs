//! Amazon S3: a multipart upload for each file, completed when it is published.
//!
//! S3 wants the metadata of an object when its upload is created. A file of one block is complete
//! by then, so that its digest is known; a longer one carries none. See
//! `docs/adr/0009-digests-of-stage-files.md`.

mod client;
mod failure;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

pub use self::client::S3Clients;
use self::client::under;
use self::failure::Failure;
use super::{Found, Metadata, StagedFile, Storage};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::answer::Place;
use crate::snowflake::put::grant::Grant;

/// Blocks of one file that are on their way at the same time.
const PARALLEL_BLOCKS: usize = 2;
/// A block may take one second more for each of these many bytes.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// S3 puts the parts together while it answers; allowed for each part.
const COMPLETE_PER_PART: Duration = Duration::from_millis(50);
/// S3 takes no more parts in one file.
const MAX_PARTS: u32 = 10_000;
/// Ends a listing of a storage that repeats its pages for ever.
const MAX_PAGES: usize = 100;
/// How often an upload is aborted: a part that was on its way can arrive after the first time.
const ABORT_ROUNDS: usize = 3;
/// Entry of the metadata that tells whose upload made an object.
const UPLOAD_MARK: &str = "data-exchange-upload";
const DIGEST: &str = "sfc-digest";
const WRAPPED_KEY: &str = "x-amz-key";
const VECTOR: &str = "x-amz-iv";
const DESCRIPTION: &str = "x-amz-matdesc";

pub(super) struct S3Storage(Arc<Bucket>);

struct Bucket {
    client: Client,
    grant: Arc<Grant>,
    place: Place,
    timeout: Duration,
}

struct S3File {
    bucket: Arc<Bucket>,
    key: String,
    mark: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
    /// Set by discard: an upload that is created later is aborted at once.
    is_discarded: bool,
}

impl S3Storage {
    pub(super) fn new(client: Client, grant: Arc<Grant>, place: Place, timeout: Duration) -> Self {
        Self(Arc::new(Bucket { client, grant, place, timeout }))
    }
}

impl Bucket {
    fn key(&self, file_name: &str) -> String {
        format!("{}{file_name}", self.place.prefix)
    }

    fn name(&self) -> &str {
        &self.place.container
    }

    /// Makes a request one of the grant; `extra` is what its body may take.
    fn granted(&self, extra: Duration) -> Builder {
        under(&self.grant, self.timeout + extra)
    }

    async fn head(&self, key: &str) -> Result<Option<(Found, HashMap<String, String>)>, Failure> {
        let request = self.client.head_object().bucket(self.name()).key(key).customize();
        let request = request.config_override(self.granted(Duration::ZERO)).send();
        match Box::pin(request).await.map_err(Failure::of) {
            Ok(answer) => {
                let metadata = answer.metadata.unwrap_or_default();
                Ok(Some((found(&metadata, answer.content_length), metadata)))
            }
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn abort(&self, key: &str, upload_id: &str) {
        for _ in 0..ABORT_ROUNDS {
            let request =
                self.client.abort_multipart_upload().bucket(self.name()).key(key).upload_id(upload_id);
            let request = request.customize().config_override(self.granted(Duration::ZERO)).send();
            match Box::pin(request).await.map_err(Failure::of) {
                // Asking again shows whether a late part has come after it.
                Ok(_) => {}
                Err(failure) if failure.is("NoSuchUpload") => return,
                Err(failure) => {
                    let fault = failure.fault("abort an upload to the storage of the stage");
                    tracing::warn!(
                        upload.id = upload_id,
                        error = fault.chain(),
                        "an unfinished upload is left on the storage of the stage; nobody sees it, and \
                         Snowflake's own rules remove it"
                    );
                    return;
                }
            }
        }
    }

    async fn unfinished(&self, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut uploads = Vec::new();
        let mut after: (Option<String>, Option<String>) = (None, None);
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(self.name())
                .prefix(prefix)
                .set_key_marker(after.0.clone())
                .set_upload_id_marker(after.1.clone())
                .customize()
                .config_override(self.granted(Duration::ZERO))
                .send();
            let page = Box::pin(request).await.map_err(Failure::of)?;
            uploads.extend(
                page.uploads()
                    .iter()
                    .filter_map(|upload| Some((upload.key()?.to_owned(), upload.upload_id()?.to_owned()))),
            );
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || next == after {
                break;
            }
            after = next;
        }
        Ok(uploads)
    }
}

fn found(metadata: &HashMap<String, String>, bytes: Option<i64>) -> Found {
    let entry = |name| metadata.get(name).filter(|text: &&String| !text.is_empty()).cloned();
    Found {
        digest: entry(DIGEST),
        key: entry(WRAPPED_KEY).zip(entry(VECTOR)),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    }
}

#[async_trait]
impl Storage for S3Storage {
    fn create(&self, file_name: &str) -> Result<Arc<dyn StagedFile>, Fault> {
        let key = self.0.key(file_name);
        let mark = uuid::Uuid::new_v4().to_string();
        Ok(Arc::new(S3File { bucket: Arc::clone(&self.0), key, mark, state: Mutex::default() }))
    }

    fn parallel_blocks(&self) -> usize {
        PARALLEL_BLOCKS
    }

    async fn look(&self, file_name: &str) -> Result<Option<Found>, Fault> {
        match self.0.head(&self.0.key(file_name)).await {
            Ok(found) => Ok(found.map(|(found, _)| found)),
            Err(failure) if failure.is_refusal() => Ok(None),
            Err(failure) => Err(failure.fault(format!("look at `{file_name}` on the storage of the stage"))),
        }
    }

    async fn read(
        &self,
        file_name: &str,
    ) -> Result<(Found, BoxStream<'static, Result<Bytes, Fault>>), Fault> {
        let action = format!("read `{file_name}` on the storage of the stage");
        let request = self.0.client.get_object().bucket(self.0.name()).key(self.0.key(file_name)).customize();
        let request = request.config_override(self.0.granted(Duration::ZERO)).send();
        let answer = Box::pin(request).await.map_err(|error| Failure::of(error).fault(action.clone()))?;
        let found = found(&answer.metadata.unwrap_or_default(), answer.content_length);
        let body =
            futures::stream::unfold(answer.body, |mut body| async move { Some((body.next().await?, body)) });
        let body = body.map(move |chunk| {
            chunk.map_err(|error| Fault::new(FaultKind::Transient, action.clone()).because(error))
        });
        Ok((found, body.boxed()))
    }

    async fn discard_earlier(
        &self,
        prefix: &str,
        is_chosen: &(dyn for<'n> Fn(&'n str) -> bool + Sync),
    ) -> bool {
        let directory = &self.0.place.prefix;
        let uploads = match self.0.unfinished(&format!("{directory}{prefix}")).await {
            Ok(uploads) => uploads,
            Err(failure) => {
                // The credentials of a stage need not allow it, and nobody sees what is left.
                let fault = failure.fault("list the unfinished uploads of a stage");
                tracing::debug!(
                    error = fault.chain(),
                    "cannot look for unfinished uploads of an earlier attempt"
                );
                return false;
            }
        };
        for (key, id) in uploads {
            if key.strip_prefix(directory.as_str()).is_some_and(is_chosen) {
                self.0.abort(&key, &id).await;
            }
        }
        true
    }
}

impl S3File {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn action(&self, what: &str) -> String {
        let name = self.key.rsplit('/').next().unwrap_or_default();
        format!("{what} `{name}` on the storage of the stage")
    }

    fn upload_id(&self) -> Result<String, Fault> {
        let id = self.state().upload_id.clone();
        id.ok_or_else(|| {
            Fault::new(FaultKind::Bug, self.action("write")).because("it was not begun, or discarded")
        })
    }

    /// True when the visible object came from this upload.
    async fn is_published(&self) -> bool {
        match self.bucket.head(&self.key).await {
            Ok(found) => found.is_some_and(|(_, metadata)| metadata.get(UPLOAD_MARK) == Some(&self.mark)),
            Err(failure) => {
                let fault = failure.fault(self.action("look at"));
                tracing::warn!(error = fault.chain(), "cannot find out whether a file was made visible");
                false
            }
        }
    }
}

#[async_trait]
impl StagedFile for S3File {
    async fn begin(&self, metadata: &Metadata) -> Result<(), Fault> {
        let request = self.bucket.client.create_multipart_upload().bucket(self.bucket.name()).key(&self.key);
        let mut request = request
            .content_type("application/octet-stream")
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .metadata(UPLOAD_MARK, &self.mark);
        if let Some(digest) = metadata.digest {
            request = request.metadata(DIGEST, digest.to_base64());
        }
        if let Some(key) = &metadata.key {
            request = request
                .metadata(WRAPPED_KEY, &key.wrapped_key)
                .metadata(VECTOR, &key.initialization_vector)
                .metadata(DESCRIPTION, &key.material_description);
        }
        let request = request.customize().config_override(self.bucket.granted(Duration::ZERO)).send();
        let answer =
            Box::pin(request).await.map_err(|error| Failure::of(error).fault(self.action("create")))?;
        let upload_id = answer.upload_id.filter(|id| !id.is_empty());
        let upload_id = upload_id.ok_or_else(|| {
            Fault::new(FaultKind::Transient, self.action("create")).because("the storage gave no upload id")
        })?;
        let is_discarded = {
            let mut state = self.state();
            state.upload_id = Some(upload_id.clone());
            state.is_discarded
        };
        if is_discarded {
            self.bucket.abort(&self.key, &upload_id).await;
            return Err(Fault::new(FaultKind::Bug, self.action("create")).because("the attempt has ended"));
        }
        Ok(())
    }

    async fn store(&self, number: u32, block: Bytes) -> Result<(), Fault> {
        let upload_id = self.upload_id()?;
        if number > MAX_PARTS {
            return Err(Fault::new(FaultKind::Request, self.action("write"))
                .because(format!(
                    "a file on S3 has at most {MAX_PARTS} blocks, of {} bytes here",
                    block.len()
                ))
                .remedy("Set a smaller `max_file_size`."));
        }
        let extra = Duration::from_secs(block.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let number = i32::try_from(number).expect("at most 10,000");
        let request = self
            .bucket
            .client
            .upload_part()
            .bucket(self.bucket.name())
            .key(&self.key)
            .upload_id(upload_id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .body(ByteStream::from(block))
            .customize()
            .config_override(self.bucket.granted(extra))
            .disable_payload_signing()
            .send();
        let answer = Box::pin(request)
            .await
            .map_err(|error| Failure::of(error).fault(self.action(&format!("store block {number} of"))))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            // Only storages that answered with it want to see it again.
            .set_checksum_crc32_c(answer.checksum_crc32_c)
            .build();
        self.state().parts.push(part);
        Ok(())
    }

    async fn publish(&self, _metadata: &Metadata) -> Result<(), Fault> {
        let upload_id = self.upload_id()?;
        let mut parts = self.state().parts.clone();
        parts.sort_by_key(CompletedPart::part_number);
        let extra = COMPLETE_PER_PART.saturating_mul(u32::try_from(parts.len()).unwrap_or(u32::MAX));
        let request = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(self.bucket.name())
            .key(&self.key)
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(self.bucket.granted(extra))
            .send();
        match Box::pin(request).await.map_err(Failure::of) {
            Ok(_) => {}
            // Completed by a try whose answer was lost, or not completed: the object tells.
            Err(failure) if failure.leaves_doubt() && self.is_published().await => {}
            Err(failure) => return Err(failure.fault(self.action("make visible"))),
        }
        self.state().upload_id = None;
        Ok(())
    }

    async fn discard(&self) {
        let upload_id = {
            let mut state = self.state();
            state.is_discarded = true;
            state.upload_id.take()
        };
        if let Some(upload_id) = upload_id {
            self.bucket.abort(&self.key, &upload_id).await;
        }
    }
}
