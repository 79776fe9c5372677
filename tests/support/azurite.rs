//! A real emulator of Azure Blob Storage (Azurite), one for all tests, and a container for each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::server::Server;

pub(crate) const ACCOUNT: &str = "stageaccount";
/// What the emulator is started with; it protects nothing.
const KEY: &[u8] = b"a key that is known to the tests";
const VERSION: &str = "2019-12-12";

/// The key of the account, as the portal would show it.
pub(crate) fn account_key() -> String {
    STANDARD.encode(KEY)
}

/// Where the server listens. Starts it the first time. `None` when `TEST_AZURITE` is not set, and
/// the test is to be skipped.
///
/// # Panics
///
/// When there is none and `REQUIRE_SERVERS` is set.
#[expect(clippy::print_stderr, reason = "the person who runs the tests should know")]
pub(crate) fn address_if_installed() -> Option<SocketAddr> {
    static RUNNING: OnceLock<Option<(Server, SocketAddr)>> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        let Some(program) = setting("TEST_AZURITE") else {
            assert!(setting("REQUIRE_SERVERS").is_none(), "TEST_AZURITE is not set; run tests/run.sh");
            eprintln!("skipped: Azurite is not installed; see docs/TESTING.md");
            return None;
        };
        let account = format!("AZURITE_ACCOUNTS={ACCOUNT}:{}", STANDARD.encode(KEY));
        let options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"];
        let quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"];
        let arguments: Vec<&str> =
            [account.as_str(), &program].into_iter().chain(options).chain(quiet).collect();
        let server = Server::start(Path::new("env"), &arguments);
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
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A container of one test, and a reader of it that is not the agent's code.
pub(crate) struct Container {
    pub(crate) name: String,
    address: SocketAddr,
    client: reqwest::Client,
}

impl Container {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        let name = format!("container-{}", uuid::Uuid::new_v4());
        // Azurite closes idle connections, which a new request can meet.
        let client =
            reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        let container = Self { name, address, client };
        let created =
            container.client.put(container.url("", "restype=container")).header("content-length", 0);
        let answer = created.send().await.expect("Azurite answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        container
    }

    /// The account, as its URL in `endPoint`.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> String {
        format!("http://{address}/{ACCOUNT}")
    }

    /// A shared access signature for this container: for writing and looking, as Snowflake's.
    pub(crate) fn signature(&self, lifetime: Duration) -> String {
        let end = end_after(lifetime);
        let resource = format!("/blob/{ACCOUNT}/{}", self.name);
        // Permissions, start, end, resource, identifier, addresses, protocol, version, kind of
        // resource, time of a snapshot, and five headers of answers.
        let text = format!("rcw\n\n{end}\n{resource}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n");
        let signature = sign(&text);
        format!("sv={VERSION}&sr=c&sp=rcw&se={}&sig={signature}", encoded(&end))
    }

    /// Waits until a signature has ended.
    pub(crate) async fn wait_until_refused(&self, signature: &str) {
        let url = format!("{}/{}/none?{signature}", self.endpoint(self.address), self.name);
        loop {
            let answer = self.client.head(&url).send().await.expect("Azurite answers");
            if answer.status() == reqwest::StatusCode::FORBIDDEN {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A URL of this container for the administrator.
    fn url(&self, name: &str, query: &str) -> String {
        let end = end_after(Duration::from_secs(24 * 60 * 60));
        let text = format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{end}\n\n\n{VERSION}\n");
        let signature = sign(&text);
        let path: Vec<String> = name.split('/').map(encoded).collect();
        format!(
            "http://{}/{ACCOUNT}/{}/{}?{query}&sv={VERSION}&ss=b&srt=sco&sp=rwdlac&se={}&sig={signature}",
            self.address,
            self.name,
            path.join("/"),
            encoded(&end)
        )
        .replace("/?", "?")
    }

    /// Name, size and MD5 of every blob that begins with `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> Vec<(String, u64, String)> {
        let query = format!("restype=container&comp=list&prefix={}", encoded(prefix));
        let answer = self.client.get(self.url("", &query)).send().await.expect("Azurite answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        let text = answer.text().await.expect("a listing is text");
        let entries = text.split("<Blob>").skip(1);
        let element = |entry: &str, name: &str| {
            let (_, rest) = entry.split_once(&format!("<{name}>"))?;
            Some(unescaped(rest.split_once("</")?.0))
        };
        entries
            .map(|entry| {
                let size = element(entry, "Content-Length").expect("a size").parse().expect("a number");
                let md5 = element(entry, "Content-MD5").unwrap_or_default();
                (element(entry, "Name").expect("a name"), size, md5)
            })
            .collect()
    }

    /// Content and headers of a blob.
    pub(crate) async fn get(&self, name: &str) -> Option<(Vec<u8>, HashMap<String, String>)> {
        let answer = self.client.get(self.url(name, "")).send().await.expect("Azurite answers");
        if !answer.status().is_success() {
            return None;
        }
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Some((answer.bytes().await.expect("read a blob").to_vec(), headers))
    }

    pub(crate) async fn delete(&self, name: &str) {
        let answer = self.client.delete(self.url(name, "")).send().await.expect("Azurite answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

/// The end of a signature; it has whole seconds, and is rounded down.
fn end_after(lifetime: Duration) -> String {
    let lifetime = SignedDuration::try_from(lifetime).expect("short");
    (Timestamp::now() + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn sign(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    encoded(&STANDARD.encode(hmac::sign(&key, text.as_bytes())))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn unescaped(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&amp;", "&")
}
