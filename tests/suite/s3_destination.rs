//! S3 as destination, and S3 that fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use data_exchange_agent::config::{S3Encryption, S3Target};
use data_exchange_agent::destination::Destination;
use data_exchange_agent::destination::s3::S3Destination;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;
use futures::future::{Either, join_all, select};

use crate::destination_faults::{Store, check_attempt, survives};
use crate::destinations::{Reader, check_destination, commit_files, content, part, target};
use crate::support::agent::eventually;
use crate::support::proxy::{Operation, Proxy, Treatment, always, first};
use crate::support::s3::{Bucket, PART_SIZE, server_address};

#[async_trait]
impl Reader for Bucket {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = if path.is_empty() { "exports/".to_owned() } else { format!("exports/{path}/") };
        let objects = self.objects(&folder).await.into_iter();
        let named = objects.map(|(key, content)| (key[folder.len()..].to_owned(), content));
        named.filter(|(name, _)| !name.contains('/')).collect()
    }

    async fn hidden(&self) -> Vec<String> {
        self.unfinished_uploads().await
    }

    fn location(&self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        format!("s3://{}/exports/{path}{separator}{name}", self.name)
    }
}

#[async_trait]
impl Store for Bucket {
    const PART_SIZE: usize = PART_SIZE;
    const WRITES: &'static [Operation] = &[Operation::Create, Operation::UploadPart, Operation::Complete];
    const QUESTIONS: &'static [Operation] = &[Operation::ListObjects];
    const LISTS: &'static [Operation] = &[Operation::ListUploads, Operation::ListObjects];
    const TRIES: usize = 6;
    const THROTTLED: Treatment = Treatment::Refuse(503, "SlowDown");
    const FORBIDDEN: Treatment = Treatment::Refuse(403, "AccessDenied");
    /// AWS answers a repeated completion like the first one; other stores have forgotten the upload.
    const FORGOTTEN: Treatment = Treatment::Refuse(404, "NoSuchUpload");
    const RIGHT_TO_WRITE: &'static str = "s3:PutObject";
    const KEY_OF_NAME: &'static str = "bucket_name";

    async fn set_up() -> Option<Self> {
        Some(Self::new().await)
    }

    fn service(&self) -> SocketAddr {
        server_address()
    }

    async fn destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        Box::new(destination(&self.target(address)).await)
    }

    async fn impatient_destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        let target = S3Target { request_timeout: Duration::from_secs(2), ..self.target(address) };
        Box::new(destination(&target).await)
    }

    async fn misnamed_destination(&self) -> Box<dyn Destination> {
        let bucket_name = "no-such-place".to_owned();
        Box::new(destination(&S3Target { bucket_name, ..self.target(server_address()) }).await)
    }

    async fn media_type(&self, key: &str) -> Option<String> {
        self.head(key).await.content_type
    }
}

async fn destination(target: &S3Target) -> S3Destination {
    S3Destination::new(target, &Shutdown::new()).await.expect("the configuration is complete")
}

/// A bucket behind a proxy, and a destination that goes through it.
async fn through_proxy(
    treat: impl Fn(Operation) -> Treatment + Send + Sync + 'static,
) -> (Bucket, Proxy, S3Destination) {
    let bucket = Bucket::new().await;
    let proxy = Proxy::start(server_address(), treat).await;
    let destination = destination(&bucket.target(proxy.address)).await;
    (bucket, proxy, destination)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_of_a_destination() {
    let bucket = Bucket::new().await;
    let destination = destination(&bucket.target(server_address())).await;
    assert_eq!(destination.part_buffer_bytes(), 4 * PART_SIZE);
    let limit = destination.max_file_bytes().expect("10,000 parts in a file");
    assert_eq!(limit.get(), 10_000 * PART_SIZE as u64);
    check_destination(&destination, &bucket).await;
}

survives!(Bucket, and a_completion_whose_answer_cannot_be_read_is_settled_by_the_object);

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_created_without_an_answer_is_aborted_too() {
    let (bucket, proxy, destination) = through_proxy(first(1, Operation::Create, Treatment::CutAnswer)).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    drop(upload.create(&part(&own, 1)).await.expect("the second try is answered"));
    assert_eq!(bucket.hidden().await.len(), 2);
    upload.abort().await;
    assert!(proxy.count(Operation::Abort) >= 2);
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_store_creates_while_the_attempt_ends_is_aborted() {
    // Nobody waits for the answer any more when the store begins with it.
    let late = first(1, Operation::Create, Treatment::Delay(Duration::from_secs(1)));
    let (bucket, proxy, destination) = through_proxy(late).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let name = part(&own, 1);
    let asked = eventually("the request", async || (proxy.count(Operation::Create) == 1).then_some(()));
    match select(pin!(upload.create(&name)), pin!(asked)).await {
        Either::Left(_) => panic!("it takes a second"),
        Either::Right(_) => {}
    }
    upload.abort().await;
    assert!(proxy.count(Operation::Abort) >= 1);
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_all_its_tries_however_many_others_failed() {
    const REQUESTS: u32 = 10;
    let refuse = always(Operation::Create, Treatment::Refuse(500, "InternalError"));
    let (_bucket, proxy, destination) = through_proxy(refuse).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let parts: Vec<_> = (1..=REQUESTS).map(|number| part(&own, number)).collect();
    let created = join_all(parts.iter().map(|part| upload.create(part))).await;
    assert!(created.iter().all(Result::is_err));
    assert_eq!(proxy.count(Operation::Create), REQUESTS as usize * Bucket::TRIES);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_aborted_when_a_store_that_fails_comes_back() {
    // More refusals than a request is repeated; the first list is that of the attempt's begin.
    let (creates, lists, aborts) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let is_among = |counter: &AtomicUsize, places: std::ops::Range<usize>| {
        places.contains(&counter.fetch_add(1, Ordering::SeqCst))
    };
    let treat = move |operation| match operation {
        Operation::Create if is_among(&creates, 0..1) => Treatment::CutAnswer,
        Operation::ListUploads if is_among(&lists, 1..9) => Treatment::Refuse(500, "InternalError"),
        Operation::Abort if is_among(&aborts, 0..8) => Treatment::Refuse(500, "InternalError"),
        _ => Treatment::Forward,
    };
    let (bucket, proxy, destination) = through_proxy(treat).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    drop(upload.create(&part(&own, 1)).await.expect("the second try is answered"));
    assert_eq!(bucket.hidden().await.len(), 2);
    upload.abort().await;
    assert!(proxy.count(Operation::ListUploads) > 9 && proxy.count(Operation::Abort) > 8);
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_list_uploads_does_not_fail_the_task() {
    let treat = always(Operation::ListUploads, Treatment::Refuse(501, "NotImplemented"));
    let (bucket, proxy, destination) = through_proxy(treat).await;
    check_attempt(&bucket, &destination).await;
    assert!(proxy.count(Operation::ListUploads) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_stop_the_attempt_at_its_begin() {
    let treat = always(Operation::ListUploads, Treatment::Refuse(403, "InvalidAccessKeyId"));
    let (_bucket, _proxy, destination) = through_proxy(treat).await;
    let fault = destination.begin(&target("a", "p")).await.err().expect("refused");
    assert_eq!(fault.kind(), FaultKind::Credentials);
    assert!(!fault.chain().contains("writer"), "keys are not repeated: {}", fault.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_carry_their_encryption() {
    let bucket = Bucket::new().await;
    let encrypted = S3Target { encryption: Some(S3Encryption::Aes256), ..bucket.target(server_address()) };
    let destination = destination(&encrypted).await;
    commit_files(&destination, &target("a", "p"), &[content(1, 1000)]).await;
    let head = bucket.head("exports/p/task_a_result_001.parquet").await;
    assert_eq!(head.server_side_encryption().map(ToString::to_string).as_deref(), Some("AES256"));

    let key_id = "arn:aws:kms:us-east-1:123456789012:key/0b1f3a5c-0000-4000-8000-000000000000";
    let kms = S3Encryption::Kms { key_id: Some(key_id.to_owned()) };
    let encrypted = S3Target { encryption: Some(kms), ..bucket.target(server_address()) };
    commit_files(&self::destination(&encrypted).await, &target("b", "p"), &[content(1, 1000)]).await;
    let head = bucket.head("exports/p/task_b_result_001.parquet").await;
    assert_eq!(head.server_side_encryption().map(ToString::to_string).as_deref(), Some("aws:kms"));
    assert_eq!(head.ssekms_key_id(), Some(key_id));
}
