//! The requests that this agent sends, one method each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;

use super::client::timeouts;
use super::failure::Failure;
use crate::config::{S3Encryption, S3Target};
use crate::destination::key;
use crate::destination::multipart::{Created, MultipartStore};
use crate::shutdown::Shutdown;

/// Name of the user metadata entry that tells whose upload made an object.
const UPLOAD_MARK: &str = "data-exchange-upload";
/// A part may take one second more for each of these many bytes: slower than any link that a
/// task of such a size could finish on.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// S3 puts the parts together while it answers; allowed for each part.
const COMPLETE_PER_PART: Duration = Duration::from_millis(50);
/// Ends a listing of a store that repeats its pages for ever; S3 needs fewer for any real prefix.
const MAX_PAGES: usize = 10_000;

/// One bucket.
pub(super) struct Store {
    client: Client,
    bucket: String,
    encryption: Option<S3Encryption>,
    part_size: usize,
    parallel_parts: usize,
    request_timeout: Duration,
    shutdown: Shutdown,
    /// A missing right to list is told once, not for every task.
    told_about_listing: AtomicBool,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn new(client: Client, target: &S3Target, shutdown: Shutdown) -> Self {
        Self {
            client,
            bucket: target.bucket_name.clone(),
            encryption: target.encryption.clone(),
            part_size: target.part_size.get(),
            parallel_parts: target.parallel_parts.get(),
            request_timeout: target.request_timeout,
            shutdown,
            told_about_listing: AtomicBool::new(false),
        }
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) async fn head_bucket(&self) -> Result<(), Failure> {
        let request = self.client.head_bucket().bucket(&self.bucket).send();
        Box::pin(request).await.map_err(Failure::of)?;
        Ok(())
    }
}

#[async_trait]
impl MultipartStore for Store {
    type Failure = Failure;
    type Part = CompletedPart;

    const MAX_PARTS: u32 = 10_000;
    const LISTING_HINT: &'static str = "Allow s3:ListBucket and s3:ListBucketMultipartUploads, or keep every \
                                         task's path to itself.";

    fn place(&self) -> String {
        format!("s3://{}", self.bucket)
    }

    fn part_size(&self) -> usize {
        self.part_size
    }

    fn parallel_parts(&self) -> usize {
        self.parallel_parts
    }

    fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    fn tell_about_listing(&self) -> bool {
        !self.told_about_listing.swap(true, Ordering::Relaxed)
    }

    async fn create_upload(&self, key: &str, mark: &str) -> Result<Created, Failure> {
        let sent = Arc::new(AtomicU32::new(0));
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .content_type(key::content_type(key))
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .metadata(UPLOAD_MARK, mark);
        request = match &self.encryption {
            None => request,
            Some(S3Encryption::Aes256) => request.server_side_encryption(ServerSideEncryption::Aes256),
            Some(S3Encryption::Kms { key_id }) => {
                request.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key_id.clone())
            }
        };
        let request = request.customize().interceptor(CountAttempts(Arc::clone(&sent))).send();
        let answer = Box::pin(request).await.map_err(Failure::of)?;
        let upload_id = answer.upload_id.unwrap_or_default();
        Ok(Created { upload_id, is_only_one: sent.load(Ordering::Relaxed) == 1 })
    }

    /// The body is protected by its CRC-32C, which is signed, and by TLS; it is not hashed again
    /// for the signature, which would take as long as hashing the file, on a thread of the runtime.
    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<CompletedPart, Failure> {
        let number = i32::try_from(number).expect("at most 10,000 parts");
        let extra = Duration::from_secs(body.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let limits = Builder::new().timeout_config(timeouts(self.request_timeout + extra));
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .body(ByteStream::from(body))
            .customize()
            .config_override(limits)
            .disable_payload_signing()
            .send();
        let answer = Box::pin(request).await.map_err(Failure::of)?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            // Only stores that answered with it want to see it again.
            .set_checksum_crc32_c(answer.checksum_crc32_c)
            .build())
    }

    /// Makes the object visible.
    async fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), Failure> {
        let extra = COMPLETE_PER_PART.saturating_mul(u32::try_from(parts.len()).unwrap_or(u32::MAX));
        let limits = Builder::new().timeout_config(timeouts(self.request_timeout + extra));
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(limits)
            .send();
        Box::pin(request).await.map_err(Failure::of)?;
        Ok(())
    }

    async fn is_object_of(&self, key: &str, mark: &str, bytes: u64) -> Result<bool, Failure> {
        let request = self.client.head_object().bucket(&self.bucket).key(key).send();
        let answer = match Box::pin(request).await.map_err(Failure::of) {
            Ok(answer) => answer,
            Err(failure) if failure.is("NotFound") || failure.is("NoSuchKey") => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let has_mark =
            answer.metadata().and_then(|entries| entries.get(UPLOAD_MARK)).is_some_and(|found| found == mark);
        let has_size = answer.content_length().and_then(|length| u64::try_from(length).ok()) == Some(bytes);
        Ok(has_mark && has_size)
    }

    async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), Failure> {
        let request =
            self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload_id).send();
        match Box::pin(request).await.map_err(Failure::of) {
            Err(failure) if !failure.is("NoSuchUpload") => Err(failure),
            _ => Ok(()),
        }
    }

    async fn upload_exists(&self, key: &str, upload_id: &str) -> Result<bool, Failure> {
        let request =
            self.client.list_parts().bucket(&self.bucket).key(key).upload_id(upload_id).max_parts(1).send();
        match Box::pin(request).await.map_err(Failure::of) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is("NoSuchUpload") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        let mut after: (Option<String>, Option<String>) = (None, None);
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(after.0.clone())
                .set_upload_id_marker(after.1.clone())
                .send();
            let page = Box::pin(request).await.map_err(Failure::of)?;
            found.extend(
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
        Ok(found)
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_continuation_token(after.clone())
                .send();
            let page = Box::pin(request).await.map_err(Failure::of)?;
            found.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            let next = page.next_continuation_token;
            if page.is_truncated != Some(true) || next.is_none() || next == after {
                break;
            }
            after = next;
        }
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key).send();
        match Box::pin(request).await.map_err(Failure::of) {
            Err(failure) if !failure.is("NoSuchKey") => Err(failure),
            _ => Ok(()),
        }
    }
}

/// Counts how often a request was sent.
#[derive(Debug)]
struct CountAttempts(Arc<AtomicU32>);

impl Intercept for CountAttempts {
    fn name(&self) -> &'static str {
        "count attempts"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _configuration: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
