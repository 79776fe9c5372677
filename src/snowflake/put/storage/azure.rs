//! Azure Blob Storage: the blocks of a file are stored uncommitted, and the list of them is
//! committed when the file is published, with metadata and MD5.
//!
//! Uncommitted blocks are seen by nobody. They cannot be deleted; Azure forgets them after a week,
//! or when another list of blocks is committed to the same blob. The latter also makes an attempt
//! fail that was overtaken by a newer one.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use reqwest::{RequestBuilder, Response, StatusCode};

use super::http::{Call, Http, Refusal, Refused};
use super::object::{Headers, body, checked_base};
use super::{Found, Metadata, StagedFile, Storage, key};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::answer::{Credentials, Place, is_url};
use crate::snowflake::put::grant::Grant;

/// Blocks of one file that are on their way at the same time.
const PARALLEL_BLOCKS: usize = 2;
/// Azure takes no more blocks in one file.
const MAX_BLOCKS: u32 = 50_000;
const CODE: &str = "x-ms-error-code";
const HEADERS: Headers = Headers {
    digest: "x-ms-meta-sfcdigest",
    encryption: "x-ms-meta-encryptiondata",
    description: "x-ms-meta-matdesc",
    algorithm: "AES_CBC_128",
};

/// `https://account.blob.core.windows.net/container/prefix/`.
pub(super) fn base_url(place: &Place, account: &str, endpoint: Option<&str>) -> Result<String, Fault> {
    let endpoint = endpoint.unwrap_or("blob.core.windows.net");
    let host = match is_url(endpoint) {
        true => endpoint.trim_end_matches('/').to_owned(),
        false => format!("https://{account}.blob.{}", endpoint.strip_prefix("blob.").unwrap_or(endpoint)),
    };
    checked_base(format!("{host}/{}/{}", place.container, key::encoded(&place.prefix)))
}

pub(super) struct AzureStorage(Arc<Container>);

struct Container {
    http: Http,
    grant: Arc<Grant>,
    base: String,
}

struct AzureFile {
    container: Arc<Container>,
    name: String,
    /// Blocks of two attempts never have the same id.
    attempt: uuid::Uuid,
    numbers: Mutex<Vec<u32>>,
}

impl AzureStorage {
    pub(super) fn new(http: Http, grant: Arc<Grant>, base: String) -> Self {
        Self(Arc::new(Container { http, grant, base }))
    }
}

impl Container {
    /// Sends a request for a blob; `query` is what comes before the signature.
    async fn send(
        &self,
        file_name: &str,
        what: &str,
        bytes: u64,
        query: &str,
        build: impl Fn(&reqwest::Client, String) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, Refused> {
        let action = format!("{what} `{file_name}` on the storage of the stage");
        let call = Call { grant: &self.grant, action: action.into(), bytes, refusal, code_header: CODE };
        self.http
            .send(call, |client, credentials| {
                let Credentials::AzureSas(signature) = credentials else {
                    return Err(Fault::new(
                        FaultKind::Transient,
                        "use the credentials of the stage's storage",
                    )
                    .because("the stage is not on Azure any more"));
                };
                let between = if query.is_empty() { "" } else { "&" };
                let name = key::encoded(file_name);
                Ok(build(client, format!("{}{name}?{query}{between}{}", self.base, signature.expose())))
            })
            .await
    }
}

/// A signature that has ended is refused with 403 and the code of one that is wrong; which of the
/// two codes it is depends on the implementation. New credentials show what was meant.
fn refusal(response: &Response) -> Refusal {
    let code = response.headers().get(CODE).and_then(|code| code.to_str().ok());
    match (response.status(), code) {
        (
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED,
            None | Some("AuthenticationFailed" | "AuthorizationFailure"),
        ) => Refusal::Expired,
        _ => Refusal::Other,
    }
}

#[async_trait]
impl Storage for AzureStorage {
    fn create(&self, file_name: &str) -> Result<Arc<dyn StagedFile>, Fault> {
        Ok(Arc::new(AzureFile {
            container: Arc::clone(&self.0),
            name: file_name.to_owned(),
            attempt: uuid::Uuid::new_v4(),
            numbers: Mutex::default(),
        }))
    }

    fn parallel_blocks(&self) -> usize {
        PARALLEL_BLOCKS
    }

    fn wants_md5(&self) -> bool {
        true
    }

    async fn look(&self, file_name: &str) -> Result<Option<Found>, Fault> {
        HEADERS.look(self.0.send(file_name, "look at", 0, "", |client, url| client.head(url)).await)
    }

    async fn read(
        &self,
        file_name: &str,
    ) -> Result<(Found, BoxStream<'static, Result<Bytes, Fault>>), Fault> {
        let response = self.0.send(file_name, "read", 0, "", |client, url| client.get(url)).await?;
        Ok((HEADERS.read(&response), body(response)))
    }

    async fn discard_earlier(&self, _: &str, _: &(dyn for<'n> Fn(&'n str) -> bool + Sync)) -> bool {
        true
    }
}

impl AzureFile {
    /// Base64 of 20 bytes, so that all ids of a blob have the same length.
    fn block_id(&self, number: u32) -> String {
        let mut id = self.attempt.as_bytes().to_vec();
        id.extend(number.to_be_bytes());
        STANDARD.encode(id)
    }
}

#[async_trait]
impl StagedFile for AzureFile {
    async fn store(&self, number: u32, block: Bytes) -> Result<(), Fault> {
        if number > MAX_BLOCKS {
            return Err(Fault::new(
                FaultKind::Request,
                format!("write `{}` on the storage of the stage", self.name),
            )
            .because(format!(
                "a file on Azure has at most {MAX_BLOCKS} blocks, of {} bytes here",
                block.len()
            ))
            .remedy("Set a smaller `max_file_size`."));
        }
        // Azure takes no empty block; a file without blocks is empty, which is what is meant.
        if !block.is_empty() {
            let query = format!("comp=block&blockid={}", key::encoded(&self.block_id(number)));
            let bytes = block.len() as u64;
            self.container
                .send(&self.name, "store a block of", bytes, &query, |client, url| {
                    client.put(url).body(block.clone())
                })
                .await?;
            self.numbers.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        }
        Ok(())
    }

    async fn publish(&self, metadata: &Metadata) -> Result<(), Fault> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        numbers.sort_unstable();
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for number in numbers {
            // Latest: also right when the answer to a first try was lost.
            let _ = write!(list, "<Latest>{}</Latest>", self.block_id(number));
        }
        list.push_str("</BlockList>");
        let bytes = list.len() as u64;
        self.container
            .send(&self.name, "make visible", bytes, "comp=blocklist", |client, url| {
                let mut request = client
                    .put(url)
                    .header("x-ms-blob-content-type", "application/octet-stream")
                    .body(list.clone());
                if let Some(md5) = &metadata.stored_md5 {
                    request = request.header("x-ms-blob-content-md5", md5);
                }
                HEADERS.write(request, metadata)
            })
            .await?;
        Ok(())
    }

    async fn discard(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_follows_the_endpoint() {
        let place = Place { container: "c".into(), prefix: "a b/".into() };
        for (endpoint, expected) in [
            (None, "https://acc.blob.core.windows.net/c/a%20b/"),
            (Some("blob.core.windows.net"), "https://acc.blob.core.windows.net/c/a%20b/"),
            (Some("core.chinacloudapi.cn"), "https://acc.blob.core.chinacloudapi.cn/c/a%20b/"),
            (Some("http://127.0.0.1:10000/acc/"), "http://127.0.0.1:10000/acc/c/a%20b/"),
        ] {
            assert_eq!(base_url(&place, "acc", endpoint).expect("a good endpoint"), expected);
        }
        base_url(&place, "acc", Some("x@evil.example")).expect_err("a user in a host name");
    }
}
