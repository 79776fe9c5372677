//! The storage behind the stage of the double: S3 (moto), Azure (Azurite), Google (a double).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::azurite::{self, Container};
use super::super::folder::Folder;
use super::super::gcs::GcsServer;
use super::super::proxy::{Proxy, Treatment};
use super::super::s3::{Bucket, server_address};
use super::stage::Issued;

/// Where the stage is in its bucket.
const PREFIX: &str = "stages/1/";
const GCS_BUCKET: &str = "gcs-bucket";
/// Another encoding than the agent would choose, and just as good.
const SIGNED_PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'_').remove(b'.');

/// An object as it is stored.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) vector: Option<String>,
    pub(crate) description: Option<String>,
    /// All metadata, with the names that the storage has for them.
    pub(crate) metadata: HashMap<String, String>,
}

pub(crate) enum Backend {
    S3 {
        bucket: Bucket,
        /// Keeps an eye on the credentials, and makes faults.
        proxy: Proxy,
        issued: Arc<Issued>,
    },
    /// A bucket of a server that somebody else runs, with keys that last.
    Store {
        bucket: Bucket,
        endpoint: String,
        keys: [String; 2],
        issued: Issued,
    },
    Azure {
        container: Container,
        proxy: Proxy,
        issued: Arc<Issued>,
        lifetime: Mutex<Duration>,
    },
    Gcs {
        server: GcsServer,
        issued: Arc<Issued>,
        /// URLs for single files in place of a token.
        is_presigned: bool,
    },
    Directory {
        folder: Folder,
        issued: Issued,
    },
}

impl Backend {
    /// A bucket of moto, behind a proxy that refuses expired credentials and asks `treat`.
    pub(crate) async fn s3(treat: impl Fn(&str) -> Treatment + Send + Sync + 'static) -> Self {
        let issued = Arc::new(Issued::default());
        let known = Arc::clone(&issued);
        let proxy = Proxy::watching(server_address(), move |head| {
            let number =
                head.split_once("Credential=id-").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
            let token = format!("x-amz-security-token: token-{}\r\n", number.unwrap_or_default());
            assert!(head.to_ascii_lowercase().contains(&token), "the token belongs to the key: {head}");
            match number {
                Some(number) if known.admit(number) => treat(head),
                _ => Treatment::Refuse(400, "ExpiredToken"),
            }
        })
        .await;
        Self::S3 { bucket: Bucket::new().await, proxy, issued }
    }

    /// A bucket that is there.
    pub(crate) fn store(endpoint: &str, name: &str, keys: [&str; 2]) -> Self {
        let bucket = Bucket::at(endpoint, name, keys);
        let keys = keys.map(str::to_owned);
        Self::Store { bucket, endpoint: endpoint.to_owned(), keys, issued: Issued::default() }
    }

    /// A container of Azurite, behind a proxy that asks `treat`. `None` when it is not installed.
    pub(crate) async fn azure(treat: impl Fn(&str) -> Treatment + Send + Sync + 'static) -> Option<Self> {
        let address = azurite::address_if_installed()?;
        Some(Self::Azure {
            container: Container::new(address).await,
            proxy: Proxy::watching(address, treat).await,
            issued: Arc::default(),
            lifetime: Mutex::new(Duration::from_secs(24 * 60 * 60)),
        })
    }

    /// A double of Google's storage.
    pub(crate) async fn gcs(is_presigned: bool) -> Self {
        let issued = Arc::new(Issued::default());
        Self::Gcs { server: GcsServer::start(Arc::clone(&issued)).await, issued, is_presigned }
    }

    /// A directory of this machine.
    pub(crate) fn directory() -> Self {
        Self::Directory { folder: Folder::new(), issued: Issued::default() }
    }

    pub(crate) fn issued(&self) -> &Issued {
        match self {
            Self::Directory { issued, .. } | Self::Store { issued, .. } => issued,
            Self::S3 { issued, .. } | Self::Azure { issued, .. } | Self::Gcs { issued, .. } => issued,
        }
    }

    /// The `stageInfo` of an answer about a directory.
    pub(super) fn stage_info(&self, directory: &str, file_name: &str) -> Value {
        match self {
            Self::Directory { folder, .. } => json!({
                "locationType": "LOCAL_FS",
                "location": format!("{}/{PREFIX}{directory}", folder.path().display()), "creds": {},
            }),
            Self::S3 { bucket, proxy, issued } => {
                let number = issued.issue();
                json!({
                    "locationType": "S3", "location": format!("{}/{PREFIX}{directory}", bucket.name),
                    "region": "us-east-1", "endPoint": url(proxy.address), "isClientSideEncrypted": true,
                    "creds": {
                        "AWS_KEY_ID": format!("id-{number}"), "AWS_SECRET_KEY": "secret-of-the-stage",
                        "AWS_TOKEN": format!("token-{number}"),
                    },
                })
            }
            Self::Store { bucket, endpoint, keys: [key, secret], .. } => json!({
                "locationType": "S3", "location": format!("{}/{PREFIX}{directory}", bucket.name),
                "region": "us-east-1", "endPoint": endpoint, "isClientSideEncrypted": true,
                "creds": {"AWS_KEY_ID": key, "AWS_SECRET_KEY": secret, "AWS_TOKEN": "lasting"},
            }),
            Self::Azure { container, proxy, issued, lifetime } => {
                issued.issue();
                let lifetime = *lifetime.lock().expect("no holder panics");
                json!({
                    "locationType": "AZURE", "location": format!("{}/{PREFIX}{directory}", container.name),
                    "endPoint": container.endpoint(proxy.address), "storageAccount": "stageaccount",
                    "creds": {"AZURE_SAS_TOKEN": format!("?{}", container.signature(lifetime))},
                })
            }
            Self::Gcs { server, issued, is_presigned } => {
                let mut info = json!({
                    "locationType": "GCS", "location": format!("{GCS_BUCKET}/{PREFIX}{directory}"),
                    "endPoint": url(server.address), "creds": {},
                });
                if *is_presigned {
                    let path = signed_path(&format!("{directory}{file_name}"));
                    info["presignedUrl"] = json!(server.sign(Method::PUT, &path));
                } else {
                    info["creds"] = json!({"GCS_ACCESS_TOKEN": format!("token-{}", issued.issue())});
                }
                info
            }
        }
    }

    pub(super) fn presigned_for_reading(&self, path: &str) -> Value {
        match self {
            Self::Gcs { server, is_presigned: true, .. } => {
                json!([server.sign(Method::GET, &signed_path(path))])
            }
            Self::S3 { .. }
            | Self::Store { .. }
            | Self::Azure { .. }
            | Self::Gcs { .. }
            | Self::Directory { .. } => Value::Null,
        }
    }

    /// Name, size and what stands for the MD5 of every object below the stage that begins with
    /// `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> Vec<(String, u64, String)> {
        let prefix = format!("{PREFIX}{prefix}");
        let listed = match self {
            Self::Directory { folder, .. } => {
                let files = files_below(folder.path(), "");
                let listed = files.into_iter().filter(|name| name.starts_with(&prefix)).map(|name| {
                    let content = std::fs::read(folder.path().join(&name)).expect("it was just seen");
                    let digest = format!("{:x?}", Sha256::digest(&content));
                    (name, content.len() as u64, digest)
                });
                listed.collect()
            }
            Self::S3 { bucket, .. } | Self::Store { bucket, .. } => bucket.list(&prefix).await,
            Self::Azure { container, .. } => container.list(&prefix).await,
            Self::Gcs { server, .. } => {
                let objects = server.objects().into_iter().filter_map(|(name, (content, _))| {
                    let name = name.strip_prefix(GCS_BUCKET)?.strip_prefix('/')?.to_owned();
                    let digest = format!("{:x?}", Sha256::digest(&content));
                    name.starts_with(&prefix).then_some((name, content.len() as u64, digest))
                });
                objects.collect()
            }
        };
        listed.into_iter().map(|(name, size, tag)| (name[PREFIX.len()..].to_owned(), size, tag)).collect()
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Object> {
        let name = format!("{PREFIX}{name}");
        let (content, metadata) = match self {
            Self::Directory { folder, .. } => {
                (std::fs::read(folder.path().join(&name)).ok()?, HashMap::new())
            }
            Self::S3 { bucket, .. } | Self::Store { bucket, .. } => bucket.get(&name).await?,
            Self::Azure { container, .. } => container.get(&name).await?,
            Self::Gcs { server, .. } => server.objects().remove(&format!("{GCS_BUCKET}/{name}"))?,
        };
        let entry = |name: &str| metadata.get(name).cloned();
        let (digest, key, vector, description) = match self {
            Self::Directory { .. } => (None, None, None, None),
            Self::S3 { .. } | Self::Store { .. } => {
                (entry("sfc-digest"), entry("x-amz-key"), entry("x-amz-iv"), entry("x-amz-matdesc"))
            }
            Self::Azure { .. } => {
                let (key, vector) = key_and_vector(entry("x-ms-meta-encryptiondata"));
                (entry("x-ms-meta-sfcdigest"), key, vector, entry("x-ms-meta-matdesc"))
            }
            Self::Gcs { .. } => {
                let (key, vector) = key_and_vector(entry("x-goog-meta-encryptiondata"));
                (entry("x-goog-meta-sfc-digest"), key, vector, entry("x-goog-meta-matdesc"))
            }
        };
        Some(Object { content, digest, key, vector, description, metadata })
    }

    pub(super) async fn delete(&self, name: &str) {
        let name = format!("{PREFIX}{name}");
        match self {
            Self::Directory { folder, .. } => {
                std::fs::remove_file(folder.path().join(name)).expect("it is there")
            }
            Self::S3 { bucket, .. } | Self::Store { bucket, .. } => bucket.delete(&name).await,
            Self::Azure { container, .. } => container.delete(&name).await,
            Self::Gcs { server, .. } => server.delete(&format!("{GCS_BUCKET}/{name}")),
        }
    }

    /// What is stored and not visible, and can be removed.
    pub(crate) async fn hidden(&self) -> Vec<String> {
        match self {
            Self::S3 { bucket, .. } | Self::Store { bucket, .. } => bucket.unfinished_uploads().await,
            // Uncommitted blocks cannot be deleted; Azure forgets them.
            Self::Azure { .. } | Self::Gcs { .. } | Self::Directory { .. } => Vec::new(),
        }
    }

    /// Names below the stage directly in `directory`.
    pub(crate) async fn names(&self, directory: &str) -> BTreeSet<String> {
        let folder = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let listed = self.list(&folder).await.into_iter().map(|(name, ..)| name[folder.len()..].to_owned());
        listed.filter(|name| !name.contains('/')).collect()
    }
}

/// Names of all files below `folder`, with `/` between folders.
fn files_below(folder: &Path, before: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.expect("a folder can be read");
        let name = format!("{before}{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.path().is_dir() {
            names.extend(files_below(&entry.path(), &format!("{name}/")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

fn key_and_vector(data: Option<String>) -> (Option<String>, Option<String>) {
    let Some(data) = data else { return (None, None) };
    let data: Value = serde_json::from_str(&data).expect("the encryption data are JSON");
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    (text("/WrappedContentKey/EncryptedKey"), text("/ContentEncryptionIV"))
}

fn signed_path(name: &str) -> String {
    format!("/{GCS_BUCKET}/{}", utf8_percent_encode(&format!("{PREFIX}{name}"), &SIGNED_PATH))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
