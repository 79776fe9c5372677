//! The requests that this agent sends, one method each.

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use reqwest::Method;
use url::Url;

use super::access::GoogleAccess;
use crate::config::GcsTarget;
use crate::destination::cloud::failure::Failure;
use crate::destination::cloud::http::{Answer, Call, Http};
use crate::destination::cloud::xml::{self, Element};
use crate::destination::key;
use crate::destination::multipart::{Created, MultipartStore};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::{self, Shutdown};

/// The metadata entry that tells whose upload made an object.
const UPLOAD_MARK: &str = "x-goog-meta-data-exchange-upload";
/// The store puts the parts together while it answers; allowed for each part.
const COMPLETE_PER_PART: Duration = Duration::from_millis(50);
/// Ends a listing of a store that repeats its pages for ever.
const MAX_PAGES: usize = 10_000;

/// One bucket.
pub(super) struct Bucket {
    http: Http,
    access: GoogleAccess,
    name: String,
    /// Without a slash at its end.
    url: Url,
    part_size: usize,
    parallel_parts: usize,
    shutdown: Shutdown,
    told_about_listing: AtomicBool,
}

/// A part that is stored.
#[derive(Clone)]
pub(super) struct Part {
    number: u32,
    tag: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bucket").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn new(target: &GcsTarget, shutdown: Shutdown) -> Result<Self, Fault> {
        let url = format!("{}/{}", target.endpoint_url, target.bucket_name);
        let url = Url::parse(&url)
            .map_err(|error| Fault::new(FaultKind::Request, format!("use the URL `{url}`")).because(error))?;
        Ok(Self {
            http: Http::new(target.request_timeout)?,
            access: GoogleAccess::new(&target.credentials)?,
            name: target.bucket_name.clone(),
            url,
            part_size: target.part_size.get(),
            parallel_parts: target.parallel_parts.get(),
            shutdown,
            told_about_listing: AtomicBool::new(false),
        })
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn send(&self, call: &Call) -> Result<Answer, Failure> {
        self.http.send(call, &self.access).await
    }

    fn call(&self, method: Method, key: &str, query: &[(&str, &str)]) -> Call {
        let mut url = self.url.clone();
        if !key.is_empty() {
            url.set_path(&format!("{}/{}", self.url.path(), key::encoded(key)));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Call::new(method, url)
    }

    /// A page of a listing.
    async fn page(&self, query: &[(&str, &str)], root: &str) -> Result<Element, Failure> {
        let answer = self.send(&self.call(Method::GET, "", query)).await?;
        let page = xml::parse(answer.text()?)?;
        if page.is(root) {
            Ok(page)
        } else {
            Err(Failure::unreadable("the answer to a listing is no listing"))
        }
    }

    /// Proves that the bucket is there and can be listed. (To ask for the bucket itself needs a right
    /// that the roles for objects have not.)
    pub(super) async fn look(&self, prefix: &str) -> Result<(), Failure> {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
        self.page(&query, "ListBucketResult").await?;
        Ok(())
    }
}

fn is_truncated(page: &Element) -> bool {
    page.text("IsTruncated") == Some("true")
}

/// A failure that says: it is not there.
fn gone(failure: &Failure, code: &str) -> bool {
    failure.is(code) || failure.is("") && failure.has_status(404)
}

#[async_trait]
impl MultipartStore for Bucket {
    type Failure = Failure;
    type Part = Part;

    const MAX_PARTS: u32 = 10_000;
    const LISTING_HINT: &'static str = "Grant storage.objects.list and storage.multipartUploads.list, or keep \
                                         every task's path to itself.";

    fn place(&self) -> String {
        format!("gs://{}", self.name)
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
        let call = self
            .call(Method::POST, key, &[("uploads", "")])
            .header("content-type", key::content_type(key))
            .header(UPLOAD_MARK, mark);
        let answer = self.send(&call).await?;
        let result = xml::parse(answer.text()?)?;
        let upload_id = result.text("UploadId").unwrap_or_default().to_owned();
        Ok(Created { upload_id, is_only_one: answer.attempts == 1 })
    }

    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<Part, Failure> {
        let content = body.clone();
        let checksum =
            shutdown::spawn_blocking(move || crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &content)).await;
        let checksum =
            checksum.map_err(|error| Fault::new(FaultKind::Bug, "compute a checksum").because(error))?;
        let checksum = u32::try_from(checksum).expect("a checksum of 32 bits");
        let query = [("partNumber", number.to_string()), ("uploadId", upload_id.to_owned())];
        let call = self
            .call(Method::PUT, key, &query.each_ref().map(|(name, value)| (*name, value.as_str())))
            .header("x-goog-hash", &format!("crc32c={}", STANDARD.encode(checksum.to_be_bytes())))
            .body(body);
        let answer = self.send(&call).await?;
        match answer.header("etag") {
            Some(tag) => Ok(Part { number, tag: tag.to_owned() }),
            None => Err(Failure::unreadable("the answer has no entity tag")),
        }
    }

    async fn complete_upload(&self, key: &str, upload_id: &str, parts: Vec<Part>) -> Result<(), Failure> {
        let mut list = String::from("<CompleteMultipartUpload>");
        for Part { number, tag } in &parts {
            let tag = quick_xml::escape::escape(tag.as_str());
            // Writing to a string cannot fail.
            _ = write!(list, "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        }
        list.push_str("</CompleteMultipartUpload>");
        let mut call = self
            .call(Method::POST, key, &[("uploadId", upload_id)])
            .header("content-type", "application/xml")
            .body(list);
        call.extra_time = COMPLETE_PER_PART * u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let answer = self.send(&call).await?;
        // A success is told before it is one, so that what follows can be an error.
        if xml::parse(answer.text()?)?.is("CompleteMultipartUploadResult") {
            return Ok(());
        }
        Err(Failure::unreadable("the answer does not say that the upload is completed"))
    }

    async fn is_object_of(&self, key: &str, mark: &str, bytes: u64) -> Result<bool, Failure> {
        let answer = match self.send(&self.call(Method::HEAD, key, &[])).await {
            Ok(answer) => answer,
            Err(failure) if failure.has_status(404) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let size = answer.header("x-goog-stored-content-length").or(answer.header("content-length"));
        let has_size = size.and_then(|size| size.parse().ok()) == Some(bytes);
        Ok(has_size && answer.header(UPLOAD_MARK) == Some(mark))
    }

    async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), Failure> {
        match self.send(&self.call(Method::DELETE, key, &[("uploadId", upload_id)])).await {
            Err(failure) if !gone(&failure, "NoSuchUpload") => Err(failure),
            _ => Ok(()),
        }
    }

    async fn upload_exists(&self, key: &str, upload_id: &str) -> Result<bool, Failure> {
        let query = [("uploadId", upload_id), ("max-parts", "1")];
        match self.send(&self.call(Method::GET, key, &query)).await {
            Ok(_) => Ok(true),
            Err(failure) if gone(&failure, "NoSuchUpload") => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn list_uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        let mut after: Option<(String, String)> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("uploads", ""), ("prefix", prefix)];
            if let Some((key, id)) = &after {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
            }
            let page = self.page(&query, "ListMultipartUploadsResult").await?;
            let uploads = page.all("Upload");
            found.extend(uploads.filter_map(|upload| {
                Some((upload.text("Key")?.to_owned(), upload.text("UploadId")?.to_owned()))
            }));
            let next = page
                .text("NextKeyMarker")
                .map(|key| (key.to_owned(), page.text("NextUploadIdMarker").unwrap_or_default().to_owned()));
            if !is_truncated(&page) || next.is_none() || next == after {
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
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            if let Some(after) = &after {
                query.push(("continuation-token", after));
            }
            let page = self.page(&query, "ListBucketResult").await?;
            found.extend(page.all("Contents").filter_map(|object| object.text("Key")).map(str::to_owned));
            let next = page.text("NextContinuationToken").map(str::to_owned);
            if !is_truncated(&page) || next.is_none() || next == after {
                break;
            }
            after = next;
        }
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.send(&self.call(Method::DELETE, key, &[])).await {
            Err(failure) if !gone(&failure, "NoSuchKey") => Err(failure),
            _ => Ok(()),
        }
    }
}
