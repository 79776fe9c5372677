//! The requests that this agent sends, one method each.

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use reqwest::Method;
use url::Url;

use super::access::AzureAccess;
use crate::config::AzureBlobTarget;
use crate::destination::cloud::failure::Failure;
use crate::destination::cloud::http::{Answer, Call, Http};
use crate::destination::cloud::xml;
use crate::destination::key;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::{self, Shutdown};

/// The metadata entry that tells whose upload made a blob. Names have to be those of C#.
const UPLOAD_MARK: &str = "x-ms-meta-data_exchange_upload";
/// Ends a listing of a store that repeats its pages for ever.
const MAX_PAGES: usize = 10_000;

/// One container.
pub(super) struct Container {
    http: Http,
    access: AzureAccess,
    /// Without a slash at its end.
    url: Url,
    part_size: usize,
    parallel_parts: usize,
    shutdown: Shutdown,
    /// A missing right to list is told once, not for every task.
    told_about_listing: AtomicBool,
}

impl fmt::Debug for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Container").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Container {
    pub(super) fn new(target: &AzureBlobTarget, shutdown: Shutdown) -> Result<Self, Fault> {
        let url = format!("{}/{}", target.endpoint_url.trim_end_matches('/'), target.container_name);
        let url = Url::parse(&url)
            .map_err(|error| Fault::new(FaultKind::Request, format!("use the URL `{url}`")).because(error))?;
        Ok(Self {
            http: Http::new(target.request_timeout)?,
            access: AzureAccess::new(&target.credentials, &shutdown)?,
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

    /// The URL of a blob, as receipts and messages name it.
    pub(super) fn url_of(&self, key: &str) -> String {
        format!("{}/{}", self.url, key::encoded(key))
    }

    pub(super) fn part_size(&self) -> usize {
        self.part_size
    }

    pub(super) fn parallel_parts(&self) -> usize {
        self.parallel_parts
    }

    pub(super) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// True the first time it is asked.
    pub(super) fn tell_about_listing(&self) -> bool {
        !self.told_about_listing.swap(true, Ordering::Relaxed)
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

    /// Proves that the container is there and can be listed.
    pub(super) async fn look(&self, prefix: &str) -> Result<(), Failure> {
        let query = [("restype", "container"), ("comp", "list"), ("maxresults", "1"), ("prefix", prefix)];
        self.send(&self.call(Method::GET, "", &query)).await?;
        Ok(())
    }

    /// Stores a block that nobody sees; repeating it replaces the block.
    pub(super) async fn put_block(&self, key: &str, id: &str, block: Bytes) -> Result<(), Failure> {
        let content = block.clone();
        let md5 = shutdown::spawn_blocking(move || Md5::digest(&content)).await;
        let md5 = md5.map_err(|error| Fault::new(FaultKind::Bug, "compute a checksum").because(error))?;
        let call = self
            .call(Method::PUT, key, &[("comp", "block"), ("blockid", id)])
            .header("content-md5", &STANDARD.encode(md5))
            .body(block);
        self.send(&call).await?;
        Ok(())
    }

    /// Makes a blob of these blocks, in this order, and forgets every other block that was stored
    /// for it. Returns its entity tag. Repeating it is safe.
    pub(super) async fn put_block_list(
        &self,
        key: &str,
        ids: &[String],
        mark: &str,
    ) -> Result<Option<String>, Failure> {
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for id in ids {
            // Latest: also right when the answer to a first try was lost. Writing cannot fail.
            _ = write!(list, "<Latest>{id}</Latest>");
        }
        list.push_str("</BlockList>");
        let md5 = STANDARD.encode(Md5::digest(&list));
        let call = self
            .call(Method::PUT, key, &[("comp", "blocklist")])
            .header("content-md5", &md5)
            .header("content-type", "application/xml")
            .header("x-ms-blob-content-type", key::content_type(key))
            .header(UPLOAD_MARK, mark)
            .body(list);
        let answer = self.send(&call).await?;
        Ok(answer.header("etag").map(str::to_owned))
    }

    /// The entity tag of the blob at `key` when it came from the upload with this mark, in this size.
    pub(super) async fn tag_of(&self, key: &str, mark: &str, bytes: u64) -> Result<Option<String>, Failure> {
        let answer = match self.send(&self.call(Method::HEAD, key, &[])).await {
            Ok(answer) => answer,
            Err(failure) if failure.has_status(404) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let has_mark = answer.header(UPLOAD_MARK) == Some(mark);
        let has_size = answer.header("content-length").and_then(|length| length.parse().ok()) == Some(bytes);
        let tag = answer.header("etag").filter(|_| has_mark && has_size);
        Ok(tag.map(str::to_owned))
    }

    /// Every key that begins with `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut marker = String::new();
        for _ in 0..MAX_PAGES {
            let mut query = vec![("restype", "container"), ("comp", "list"), ("prefix", prefix)];
            if !marker.is_empty() {
                query.push(("marker", &marker));
            }
            let answer = self.send(&self.call(Method::GET, "", &query)).await?;
            let page = xml::parse(answer.text()?)?;
            if !page.is("EnumerationResults") {
                return Err(Failure::unreadable("the answer to a listing is no listing"));
            }
            let blobs = page.child("Blobs");
            let names = blobs.into_iter().flat_map(|blobs| blobs.all("Blob"));
            found.extend(names.filter_map(|blob| blob.text("Name")).map(str::to_owned));
            match page.text("NextMarker") {
                Some(next) if next != marker => marker = next.to_owned(),
                _ => break,
            }
        }
        Ok(found)
    }

    /// Deletes a blob, only if it has `tag` when one is given. One that is gone already is deleted,
    /// and so is one that was replaced meanwhile.
    pub(super) async fn delete(&self, key: &str, tag: Option<&str>) -> Result<(), Failure> {
        let mut call = self.call(Method::DELETE, key, &[]).header("x-ms-delete-snapshots", "include");
        if let Some(tag) = tag {
            call = call.header("if-match", tag);
        }
        match self.send(&call).await {
            Err(failure) if failure.has_status(404) || failure.is("ConditionNotMet") => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Ok(()),
        }
    }
}
