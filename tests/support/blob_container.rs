//! A container of the destination `blob` in Azurite, and a reader of it that sees what is not committed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_exchange_agent::config::{AzureBlobTarget, AzureCredentials, Secret};
use reqwest::{Client, Method, Response};
use url::Url;

use super::azurite::{ACCOUNT, account_key, address_if_installed};

/// A signature of the account that may do everything, without `?`.
pub(crate) fn shared_access_signature() -> String {
    let (version, end) = ("2020-08-04", "2099-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{end}\n\nhttps,http\n{version}\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(account_key()).expect("base64"));
    let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("sv", version), ("ss", "b"), ("srt", "sco"), ("sp", "rwdlac"), ("se", end)])
        .extend_pairs([("spr", "https,http"), ("sig", &signature)])
        .finish()
}

/// A container of one test, and a reader of it that is not the agent's code.
pub(crate) struct Container {
    pub(crate) name: String,
    service: SocketAddr,
    client: Client,
}

impl Container {
    /// A new one; `None` where the service is not installed.
    pub(crate) async fn new() -> Option<Self> {
        let service = address_if_installed()?;
        // Azurite closes idle connections, which a new request can meet.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        let container = Self { name: format!("container-{}", uuid::Uuid::new_v4()), service, client };
        container.request(Method::PUT, "", "restype=container").await;
        Some(container)
    }

    pub(crate) fn service(&self) -> SocketAddr {
        self.service
    }

    async fn request(&self, method: Method, key: &str, query: &str) -> Response {
        let mut url: Url = format!("http://{}/{ACCOUNT}/{}", self.service, self.name).parse().expect("a URL");
        if !key.is_empty() {
            url.path_segments_mut().expect("an HTTP URL has a path").extend(key.split('/'));
        }
        url.set_query(Some(&format!("{query}&{}", shared_access_signature())));
        let request = self.client.request(method, url).header("content-length", 0);
        let response = request.send().await.expect("Azurite answers");
        assert!(response.status().is_success(), "{}", response.text().await.unwrap_or_default());
        response
    }

    /// How the agent is told to use this container, through `address`.
    pub(crate) fn target(&self, address: SocketAddr) -> AzureBlobTarget {
        AzureBlobTarget {
            endpoint_url: format!("http://{address}/{ACCOUNT}"),
            container_name: self.name.clone(),
            prefix: "exports/".to_owned(),
            credentials: AzureCredentials::AccountKey {
                account_name: ACCOUNT.to_owned(),
                account_key: Secret::new(account_key()),
            },
            part_size: NonZeroUsize::new(4 << 20).expect("not zero"),
            parallel_parts: NonZeroUsize::new(3).expect("not zero"),
            request_timeout: Duration::from_secs(30),
        }
    }

    async fn keys(&self, prefix: &str, include: &str) -> Vec<String> {
        let prefix: String = url::form_urlencoded::byte_serialize(prefix.as_bytes()).collect();
        let query = format!("restype=container&comp=list&prefix={prefix}{include}");
        let page = self.request(Method::GET, "", &query).await.text().await.expect("a listing");
        let unescaped = |text: &str| {
            let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            text.replace("&apos;", "'").replace("&amp;", "&")
        };
        let names = page.split("<Name>").skip(1);
        names.map(|rest| unescaped(rest.split("</Name>").next().expect("split gives one"))).collect()
    }

    /// Keys below `prefix` and what is in them.
    pub(crate) async fn blobs(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let mut blobs = BTreeMap::new();
        for key in self.keys(prefix, "").await {
            let content = self.request(Method::GET, &key, "").await.bytes().await.expect("a blob");
            blobs.insert(key, content.to_vec());
        }
        blobs
    }

    /// Keys for which blocks are stored and none was ever committed.
    pub(crate) async fn uncommitted(&self) -> Vec<String> {
        let committed = self.keys("", "").await;
        let all = self.keys("", "&include=uncommittedblobs").await;
        all.into_iter().filter(|key| !committed.contains(key)).collect()
    }

    /// Number of the blocks at `key` that were never committed.
    pub(crate) async fn uncommitted_blocks(&self, key: &str) -> usize {
        let answer = self.request(Method::GET, key, "comp=blocklist&blocklisttype=uncommitted").await;
        answer.text().await.expect("a list of blocks").matches("<Block>").count()
    }

    /// A header of the blob at `key`.
    pub(crate) async fn header(&self, key: &str, name: &str) -> Option<String> {
        let answer = self.request(Method::HEAD, key, "").await;
        Some(answer.headers().get(name)?.to_str().expect("plain").to_owned())
    }
}
