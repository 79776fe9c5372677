//! The storage behind the stage of the double: S3 (moto), Azure (Azurite), Google (a double).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::proxy::{Proxy, Treatment};
use super::super::s3::{Bucket, server_address};
use super::stage::Issued;

/// Where the stage is in its bucket.
const PREFIX: &str = "stages/1/";

/// An object as it is stored.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) content: Vec<u8>,
    pub(crate) digest: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) vector: Option<String>,
    pub(crate) description: Option<String>,
}

pub(crate) enum Backend {
    S3 {
        bucket: Bucket,
        /// Keeps an eye on the credentials, and makes faults.
        proxy: Proxy,
        issued: Arc<Issued>,
    },
}

impl Backend {
    /// A bucket of moto, behind a proxy that refuses expired credentials and asks `treat`.
    pub(crate) async fn s3(treat: impl Fn(&str) -> Treatment + Send + Sync + 'static) -> Self {
        let issued = Arc::new(Issued::default());
        let known = Arc::clone(&issued);
        let proxy = Proxy::watching(server_address(), move |head| {
            let number = head.split_once("Credential=id-").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
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

    pub(crate) fn issued(&self) -> &Issued {
        match self {
            Self::S3 { issued, .. } => issued,
        }
    }

    /// The `stageInfo` of an answer about a directory.
    pub(super) fn stage_info(&self, directory: &str, _file_name: &str) -> Value {
        match self {
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
        }
    }

    pub(super) fn presigned_for_reading(&self, _path: &str) -> Value {
        match self {
            Self::S3 { .. } => Value::Null,
        }
    }

    /// Name, size and what stands for the MD5 of every object below the stage that begins with
    /// `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> Vec<(String, u64, String)> {
        match self {
            Self::S3 { bucket, .. } => {
                let listed = bucket.list(&format!("{PREFIX}{prefix}")).await.into_iter();
                listed.map(|(key, size, tag)| (key[PREFIX.len()..].to_owned(), size, tag)).collect()
            }
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Object> {
        match self {
            Self::S3 { bucket, .. } => {
                let (content, metadata) = bucket.get(&format!("{PREFIX}{name}")).await?;
                let entry = |name: &str| metadata.get(name).cloned();
                Some(Object {
                    content,
                    digest: entry("sfc-digest"),
                    key: entry("x-amz-key"),
                    vector: entry("x-amz-iv"),
                    description: entry("x-amz-matdesc"),
                })
            }
        }
    }

    pub(super) async fn delete(&self, name: &str) {
        match self {
            Self::S3 { bucket, .. } => bucket.delete(&format!("{PREFIX}{name}")).await,
        }
    }

    /// What is stored and not visible.
    pub(crate) async fn hidden(&self) -> Vec<String> {
        match self {
            Self::S3 { bucket, .. } => bucket.unfinished_uploads().await,
        }
    }

    /// Names below the stage directly in `directory`.
    pub(crate) async fn names(&self, directory: &str) -> Vec<String> {
        let folder = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let listed: BTreeMap<String, ()> =
            self.list(&folder).await.into_iter().map(|(name, ..)| (name[folder.len()..].to_owned(), ())).collect();
        listed.into_keys().filter(|name| !name.contains('/')).collect()
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
