//! A real Azure Blob service (Azurite), one for all tests, and a container for each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_exchange_agent::config::{AzureBlobTarget, AzureCredentials, Secret};
use reqwest::{Client, Method, Response};
use url::Url;

use super::server::Server;

/// The account of every Azurite, as Microsoft publishes it.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
/// Its key.
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Where the service listens. Starts it the first time; `None` where the program is not installed.
pub(crate) fn address_if_installed() -> Option<SocketAddr> {
    static RUNNING: OnceLock<Option<(Server, SocketAddr)>> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        // Port 0: the system chooses a free one and the server says which.
        let arguments = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "0",
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--silent",
        ];
        let server = Server::start(&program()?, &arguments);
        let address = server.wait_for("address of Azurite", |server| {
            let output = server.output();
            let (_, rest) = output.split_once("successfully listens on http://")?;
            rest.split_once('\n')?.0.trim().parse().ok()
        });
        Some((server, address))
    });
    running.as_ref().map(|(_, address)| *address)
}

#[expect(clippy::disallowed_methods, reason = "tests/run.sh says where the server is installed")]
fn program() -> Option<PathBuf> {
    let program = std::env::var_os("TEST_AZURITE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let is_required = std::env::var("REQUIRE_SERVERS").is_ok_and(|value| !value.is_empty());
    assert!(program.is_some() || !is_required, "TEST_AZURITE has to name the program: run tests/run.sh");
    if program.is_none() {
        println!("skipped: TEST_AZURITE does not name the program");
    }
    program
}

/// A signature of the account that may do everything, without `?`.
pub(crate) fn shared_access_signature() -> String {
    let (version, end) = ("2020-08-04", "2099-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{end}\n\nhttps,http\n{version}\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY).expect("base64"));
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
        let client = Client::builder().no_proxy().build().expect("a client");
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
                account_key: Secret::new(KEY),
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
