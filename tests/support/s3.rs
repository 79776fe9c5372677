//! A real S3-compatible server (moto), one for all tests, and a bucket for each.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use data_exchange_agent::config::{S3Target, Secret};

use super::server::Server;

/// The smallest part that S3 takes.
pub(crate) const PART_SIZE: usize = 5 * 1024 * 1024;

/// Where the server listens. Starts it the first time.
pub(crate) fn server_address() -> SocketAddr {
    static RUNNING: OnceLock<(Server, SocketAddr)> = OnceLock::new();
    let (_, address) = RUNNING.get_or_init(|| {
        // Port 0: the system chooses a free one and the server says which, so nobody can take it
        // in between.
        let server = Server::start(&program(), &["-H", "127.0.0.1", "-p", "0"]);
        let address = server.wait_for("address", |server| {
            let output = server.output();
            let (_, rest) = output.split_once("Running on http://")?;
            rest.split_once('\n')?.0.trim().parse().ok()
        });
        (server, address)
    });
    *address
}

#[expect(clippy::disallowed_methods, reason = "tests/run.sh says where the server is installed")]
fn program() -> PathBuf {
    if let Ok(path) = std::env::var("TEST_MOTO_SERVER") {
        return PathBuf::from(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("moto_server")).find(|file| file.is_file()).expect(
        "the tests against S3 need the program `moto_server`, on PATH or named by TEST_MOTO_SERVER: \
         run tests/run.sh, which installs it",
    )
}

/// A bucket of one test, and a reader of it that is not the agent's code.
pub(crate) struct Bucket {
    pub(crate) name: String,
    client: Client,
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        let name = format!("bucket-{}", uuid::Uuid::new_v4());
        let bucket = Self::at(&format!("http://{}", server_address()), &name, ["reader", "reader"]);
        bucket.client.create_bucket().bucket(&name).send().await.expect("create the bucket of the test");
        bucket
    }

    /// A bucket that is there, on any server.
    pub(crate) fn at(endpoint: &str, name: &str, [key, secret]: [&str; 2]) -> Self {
        let configuration = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(key, secret, None, None, "test"))
            .build();
        Self { name: name.to_owned(), client: Client::from_conf(configuration) }
    }

    /// How the agent is told to use this bucket, through `address`.
    pub(crate) fn target(&self, address: SocketAddr) -> S3Target {
        S3Target {
            bucket_name: self.name.clone(),
            prefix: "exports/".to_owned(),
            profile_name: None,
            region_name: Some("us-east-1".to_owned()),
            endpoint_url: Some(format!("http://{address}")),
            path_style: true,
            access_key_id: Some("writer".to_owned()),
            secret_access_key: Some(Secret::new("writer")),
            session_token: None,
            encryption: None,
            part_size: NonZeroUsize::new(PART_SIZE).expect("not zero"),
            parallel_parts: NonZeroUsize::new(3).expect("not zero"),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Keys below `prefix` and what is in them.
    pub(crate) async fn objects(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let page = request.send().await.expect("list the objects");
        assert_ne!(page.is_truncated, Some(true), "tests write fewer than a page of objects");
        let mut objects = BTreeMap::new();
        for object in page.contents() {
            let key = object.key().expect("an object has a key");
            let request = self.client.get_object().bucket(&self.name).key(key);
            let body = request.send().await.expect("get an object").body;
            let content = body.collect().await.expect("read an object").to_vec();
            objects.insert(key.to_owned(), content);
        }
        objects
    }

    /// Key, size and entity tag of every object below `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> Vec<(String, u64, String)> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let page = request.send().await.expect("list the objects");
        assert_ne!(page.is_truncated, Some(true), "tests write fewer than a page of objects");
        let entry = |object: &aws_sdk_s3::types::Object| {
            let size = object.size().and_then(|size| u64::try_from(size).ok()).expect("an object has a size");
            let key = object.key().expect("an object has a key").to_owned();
            (key, size, object.e_tag().unwrap_or_default().to_owned())
        };
        page.contents().iter().map(entry).collect()
    }

    /// Content and metadata of an object.
    pub(crate) async fn get(&self, key: &str) -> Option<(Vec<u8>, HashMap<String, String>)> {
        let answer = self.client.get_object().bucket(&self.name).key(key).send().await.ok()?;
        let content = answer.body.collect().await.expect("read an object").to_vec();
        Some((content, answer.metadata.unwrap_or_default()))
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(&self.name).key(key).send().await.expect("delete an object");
    }

    /// Keys of the uploads that are neither completed nor aborted.
    pub(crate) async fn unfinished_uploads(&self) -> Vec<String> {
        let answer = self.client.list_multipart_uploads().bucket(&self.name).send().await;
        let answer = answer.expect("list the uploads");
        answer.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect()
    }

    pub(crate) async fn head(&self, key: &str) -> HeadObjectOutput {
        self.client.head_object().bucket(&self.name).key(key).send().await.expect("the object is there")
    }
}
