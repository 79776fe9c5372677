//! Google Cloud Storage as destination, and Google that fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use data_exchange_agent::config::{GcsTarget, GoogleCredentials};
use data_exchange_agent::destination::Destination;
use data_exchange_agent::destination::gcs::GcsDestination;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;

use crate::destination_faults::{Store, survives};
use crate::destinations::{Reader, check_destination, content, part, target, write};
use crate::support::cloud_front::{Cloud, Front};
use crate::support::folder::Folder;
use crate::support::proxy::{Operation, Treatment};
use crate::support::s3::{Bucket, PART_SIZE};
use crate::support::server::free_address;

/// A bucket of one test, the front through which it is reached, and the key file for it.
struct Place {
    bucket: Bucket,
    front: Front,
    folder: Folder,
}

impl Place {
    async fn new() -> Self {
        let front = Front::start(Cloud::Google).await.expect("moto is always there");
        let folder = Folder::new();
        std::fs::write(folder.path().join("key.json"), front.service_account()).unwrap();
        Self { bucket: Bucket::new().await, front, folder }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.json")
    }

    fn target(&self, address: SocketAddr) -> GcsTarget {
        GcsTarget {
            bucket_name: self.bucket.name.clone(),
            prefix: "exports/".to_owned(),
            endpoint_url: format!("http://{address}"),
            credentials: GoogleCredentials::File(self.key_file()),
            part_size: NonZeroUsize::new(PART_SIZE).expect("not zero"),
            parallel_parts: NonZeroUsize::new(3).expect("not zero"),
            request_timeout: Duration::from_secs(30),
        }
    }
}

#[async_trait]
impl Reader for Place {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        self.bucket.visible(path).await
    }

    async fn hidden(&self) -> Vec<String> {
        self.bucket.hidden().await
    }

    fn location(&self, path: &str, name: &str) -> String {
        self.bucket.location(path, name).replace("s3://", "gs://")
    }
}

#[async_trait]
impl Store for Place {
    const PART_SIZE: usize = PART_SIZE;
    const WRITES: &'static [Operation] = &[Operation::Create, Operation::UploadPart, Operation::Complete];
    const QUESTIONS: &'static [Operation] = &[Operation::ListObjects];
    const LISTS: &'static [Operation] = &[Operation::ListUploads, Operation::ListObjects];
    const TRIES: usize = 6;
    const THROTTLED: Treatment = Treatment::Refuse(429, "SlowDown");
    const FORBIDDEN: Treatment = Treatment::Refuse(403, "AccessDenied");
    const FORGOTTEN: Treatment = Treatment::Refuse(404, "NoSuchUpload");
    const RIGHT_TO_WRITE: &'static str = "storage.objectUser";
    const KEY_OF_NAME: &'static str = "bucket_name";

    async fn set_up() -> Option<Self> {
        Some(Self::new().await)
    }

    fn service(&self) -> SocketAddr {
        self.front.address
    }

    async fn destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        Box::new(destination(&self.target(address)))
    }

    async fn impatient_destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        let target = GcsTarget { request_timeout: Duration::from_secs(2), ..self.target(address) };
        Box::new(destination(&target))
    }

    async fn misnamed_destination(&self) -> Box<dyn Destination> {
        let bucket_name = "no-such-place".to_owned();
        Box::new(destination(&GcsTarget { bucket_name, ..self.target(self.service()) }))
    }

    async fn media_type(&self, key: &str) -> Option<String> {
        self.bucket.head(key).await.content_type
    }
}

fn destination(target: &GcsTarget) -> GcsDestination {
    GcsDestination::new(target, &Shutdown::new()).expect("the configuration is complete")
}

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_the_contract_of_a_destination() {
    let place = Place::new().await;
    let destination = destination(&place.target(place.front.address));
    assert_eq!(destination.part_buffer_bytes(), 4 * PART_SIZE);
    let limit = destination.max_file_bytes().expect("10,000 parts in a file");
    assert_eq!(limit.get(), 10_000 * PART_SIZE as u64);
    check_destination(&destination, &place).await;
}

survives!(Place, and a_completion_whose_answer_cannot_be_read_is_settled_by_the_object);

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_renewed_in_the_middle_of_an_attempt() {
    let place = Place::new().await;
    let destination = destination(&place.target(place.front.address));
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let first = write(&*upload, &part(&own, 1), &content(1, 1000), 1000).await;
    place.front.revoke();
    let second = write(&*upload, &part(&own, 2), &content(2, 1000), 1000).await;
    place.front.revoke();
    upload.commit(vec![first, second]).await.expect("commit");
    assert_eq!(place.front.ways(), ["service account"; 3]);
    assert_eq!(place.visible("p").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_google_does_not_know_stops_the_attempt_at_its_begin() {
    let place = Place::new().await;
    let other = Front::start(Cloud::Google).await.expect("moto is always there");
    let foreign =
        other.service_account().replace(&other.address.to_string(), &place.front.address.to_string());
    std::fs::write(place.key_file(), foreign).unwrap();
    let destination = destination(&place.target(place.front.address));
    let fault = destination.begin(&target("a", "p")).await.err().expect("refused");
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert!(fault.chain().contains("invalid_grant"), "{}", fault.chain());
    assert!(!format!("{} {fault:?}", fault.chain()).contains("PRIVATE KEY"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_key_is_named_and_not_quoted() {
    let place = Place::new().await;
    let key = "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----";
    let broken_key =
        format!("{{\"type\": \"service_account\", \"client_email\": \"a@b\", \"private_key\": \"{key}\"}}");
    for text in ["", "hunter2", "{\"type\": \"hunter2\"}", &broken_key] {
        std::fs::write(place.key_file(), text).unwrap();
        let destination = destination(&place.target(place.front.address));
        let fault = destination.check().await.expect_err("no key");
        assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
        assert!(fault.hint().is_some(), "{fault:?}");
        assert!(!format!("{} {fault:?}", fault.chain()).contains("hunter2"), "{fault:?}");
    }
    std::fs::remove_file(place.key_file()).unwrap();
    let fault = destination(&place.target(place.front.address)).check().await.expect_err("no file");
    assert!(fault.chain().contains("key.json"), "{}", fault.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_credentials_gives_tokens() {
    let place = Place::new().await;
    let base = format!("http://{}", place.front.address);
    let subject = place.folder.path().join("subject.json");
    std::fs::write(&subject, "{\"token\": \"token-of-other\"}").unwrap();
    let person = serde_json::json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "refresh-of-person", "token_uri": format!("{base}/token"),
    });
    let federated = serde_json::json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pool", "token_url": format!("{base}/exchange"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "credential_source": {
            "file": subject, "format": {"type": "json", "subject_token_field_name": "token"},
        },
    });
    let mut impersonating = federated.clone();
    impersonating["service_account_impersonation_url"] = format!("{base}/impersonate").into();
    for (file, expected) in [
        (person, &["person"][..]),
        (federated, &["exchange"][..]),
        (impersonating, &["exchange", "impersonation"][..]),
    ] {
        let seen = place.front.ways().len();
        std::fs::write(place.key_file(), file.to_string()).unwrap();
        destination(&place.target(place.front.address)).check().await.expect("a token that is good");
        assert_eq!(place.front.ways()[seen..], *expected);
    }
    let seen = place.front.ways().len();
    let machine = GoogleCredentials::Default { user_file: None, metadata_endpoint: base };
    let by_machine = GcsTarget { credentials: machine, ..place.target(place.front.address) };
    destination(&by_machine).check().await.expect("a token that is good");
    assert_eq!(place.front.ways()[seen..], ["metadata server"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_at_all_are_said_at_once_with_a_remedy() {
    let place = Place::new().await;
    let nobody = GoogleCredentials::Default {
        user_file: Some(place.folder.path().join("missing.json")),
        metadata_endpoint: format!("http://{}", free_address()),
    };
    let without = GcsTarget { credentials: nobody, ..place.target(place.front.address) };
    let fault = destination(&without).check().await.expect_err("nobody gives a token");
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert!(fault.hint().is_some_and(|hint| hint.contains("service_account_file")), "{fault:?}");
}
