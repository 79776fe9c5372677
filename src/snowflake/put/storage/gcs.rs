//! Google Cloud Storage: one PUT for each file, sent when the file is published, because an object
//! is visible as soon as its PUT ends. Until then the file is spooled.
//!
//! With an access token, one statement serves all files. Without it, the server signs one URL for
//! one file name and one upload, so each file is asked for when it is published.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use reqwest::{RequestBuilder, Response, StatusCode};

use super::http::{Call, Http, Refusal, Refused};
use super::object::{Headers, body, checked_base};
use super::spool::Spool;
use super::{Found, Metadata, StagedFile, Storage, key};
use crate::fault::{Fault, FaultKind};
use crate::snowflake::put::answer::{Command, Credentials, Place, is_url};
use crate::snowflake::put::grant::Grant;

const HEADERS: Headers = Headers {
    digest: "x-goog-meta-sfc-digest",
    encryption: "x-goog-meta-encryptiondata",
    description: "x-goog-meta-matdesc",
    algorithm: "AES_CBC_256",
};

/// `https://storage.googleapis.com/bucket/prefix/`.
pub(super) fn base_url(
    place: &Place,
    region: Option<&str>,
    endpoint: Option<&str>,
    is_virtual: bool,
    is_regional: bool,
) -> Result<String, Fault> {
    let region = region.unwrap_or_default().to_ascii_lowercase();
    let Place { container: bucket, prefix } = place;
    let bucket_url = match endpoint {
        Some(endpoint) if is_url(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        Some(endpoint) => format!("https://{endpoint}/{bucket}"),
        None if is_virtual => format!("https://{bucket}.storage.googleapis.com"),
        None if (is_regional && !region.is_empty()) || region == "me-central2" => {
            format!("https://storage.{region}.rep.googleapis.com/{bucket}")
        }
        None => format!("https://storage.googleapis.com/{bucket}"),
    };
    checked_base(format!("{bucket_url}/{}", key::encoded(prefix)))
}

pub(super) struct GcsStorage(Arc<Bucket>);

struct Bucket {
    http: Http,
    grant: Arc<Grant>,
    base: String,
    allows_plain: bool,
}

struct GcsFile {
    bucket: Arc<Bucket>,
    name: String,
    spool: Spool,
}

impl GcsStorage {
    pub(super) fn new(http: Http, grant: Arc<Grant>, base: String, allows_plain: bool) -> Self {
        Self(Arc::new(Bucket { http, grant, base, allows_plain }))
    }
}

impl Bucket {
    /// Sends a request for an object under `grant`.
    async fn send(
        &self,
        grant: &Grant,
        file_name: &str,
        what: &str,
        bytes: u64,
        build: impl Fn(&reqwest::Client, &str) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, Refused> {
        let action = format!("{what} `{file_name}` on the storage of the stage");
        let is_presigned = matches!(grant.access().credentials, Credentials::Presigned(_));
        let call = Call {
            grant,
            action: action.into(),
            bytes,
            refusal: if is_presigned { presigned_refusal } else { token_refusal },
            code_header: "x-goog-error-code",
        };
        let signed_for_reading = self.signed_for_reading(file_name);
        self.http
            .send(call, |client, credentials| match credentials {
                Credentials::GcsToken(token) => {
                    let url = format!("{}{}", self.base, key::encoded(file_name));
                    Ok(build(client, &url).bearer_auth(token.expose()))
                }
                // As it is: another encoding of the same path would have another signature.
                Credentials::Presigned(Some(url)) => Ok(build(client, url.expose())),
                Credentials::Presigned(None) if signed_for_reading.is_some() => {
                    Ok(build(client, signed_for_reading.as_deref().unwrap_or_default()))
                }
                _ => Err(Fault::new(FaultKind::Transient, "use the credentials of the stage's storage")
                    .because("the stage is not on Google Cloud Storage any more")),
            })
            .await
    }

    /// Of the URLs in an answer to GET, the one for this file.
    fn signed_for_reading(&self, file_name: &str) -> Option<String> {
        let answer = self.grant.answer();
        let is_it = |name: &&String| name.rsplit('/').next() == Some(file_name);
        let index = answer.files.iter().position(|name| is_it(&name))?;
        Some(answer.presigned_urls.get(index)?.expose().to_owned())
    }
}

/// An access token that has ended.
fn token_refusal(response: &Response) -> Refusal {
    match response.status() {
        StatusCode::UNAUTHORIZED => Refusal::Expired,
        _ => Refusal::Other,
    }
}

/// A signature that has ended is a bad request.
fn presigned_refusal(response: &Response) -> Refusal {
    match response.status() {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Expired,
        _ => Refusal::Other,
    }
}

#[async_trait]
impl Storage for GcsStorage {
    fn create(&self, file_name: &str) -> Result<Arc<dyn StagedFile>, Fault> {
        Ok(Arc::new(GcsFile {
            bucket: Arc::clone(&self.0),
            name: file_name.to_owned(),
            spool: Spool::default(),
        }))
    }

    fn parallel_blocks(&self) -> usize {
        1
    }

    async fn look(&self, file_name: &str) -> Result<Option<Found>, Fault> {
        let grant = &self.0.grant;
        // A URL that is signed for an upload cannot be used for anything else.
        if matches!(grant.access().credentials, Credentials::Presigned(_))
            && grant.answer().command == Command::Upload
        {
            return Ok(None);
        }
        HEADERS.look(self.0.send(grant, file_name, "look at", 0, |client, url| client.head(url)).await)
    }

    async fn read(
        &self,
        file_name: &str,
    ) -> Result<(Found, BoxStream<'static, Result<Bytes, Fault>>), Fault> {
        let response =
            self.0.send(&self.0.grant, file_name, "read", 0, |client, url| client.get(url)).await?;
        Ok((HEADERS.read(&response), body(response)))
    }

    async fn discard_earlier(&self, _: &str, _: &(dyn for<'n> Fn(&'n str) -> bool + Sync)) -> bool {
        false
    }
}

#[async_trait]
impl StagedFile for GcsFile {
    async fn store(&self, _number: u32, block: Bytes) -> Result<(), Fault> {
        self.spool.append(block).await
    }

    async fn publish(&self, metadata: &Metadata) -> Result<(), Fault> {
        let content = self.spool.content().await?;
        let own;
        let mut grant = &*self.bucket.grant;
        if matches!(grant.access().credentials, Credentials::Presigned(_)) {
            own = grant.for_file(&self.name).await?;
            if !self.bucket.allows_plain && super::is_plain(own.answer()) {
                return Err(Fault::new(FaultKind::Request, format!("store `{}` on the stage", self.name))
                    .because("the server named a place that would be spoken to without TLS"));
            }
            grant = &own;
        }
        self.bucket
            .send(grant, &self.name, "store", content.bytes, |client, url| {
                let request = client
                    .put(url)
                    .header("content-length", content.bytes)
                    .header("content-type", "application/octet-stream")
                    .body(reqwest::Body::wrap_stream(content.read()));
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
    fn the_url_follows_the_first_rule_that_fits() {
        let place = Place { container: "b".into(), prefix: "p q/".into() };
        let url = |region, endpoint, is_virtual, is_regional| {
            base_url(&place, region, endpoint, is_virtual, is_regional).expect("a good endpoint")
        };
        assert_eq!(url(None, None, false, false), "https://storage.googleapis.com/b/p%20q/");
        assert_eq!(url(Some("US"), Some("gcs.example"), true, true), "https://gcs.example/b/p%20q/");
        assert_eq!(url(Some("US"), None, true, true), "https://b.storage.googleapis.com/p%20q/");
        assert_eq!(
            url(Some("EUROPE-WEST1"), None, false, true),
            "https://storage.europe-west1.rep.googleapis.com/b/p%20q/"
        );
        assert_eq!(
            url(Some("me-central2"), None, false, false),
            "https://storage.me-central2.rep.googleapis.com/b/p%20q/"
        );
        assert_eq!(url(None, Some("http://127.0.0.1:1/"), false, false), "http://127.0.0.1:1/b/p%20q/");
    }
}
