//! S3 as destination, and S3 that fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use data_exchange_agent::config::{S3Encryption, S3Target};
use data_exchange_agent::destination::Destination;
use data_exchange_agent::destination::s3::S3Destination;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;

use crate::destinations::{Reader, check_destination, commit_files, content, part, target, write};
use crate::support::proxy::{Operation, Proxy, Treatment, always, first, in_turn};
use crate::support::s3::{Bucket, PART_SIZE, server_address};
use crate::support::server::free_address;

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

/// Writes a file of several parts and a small one, and checks that exactly these are there.
async fn check_attempt(bucket: &Bucket, destination: &dyn Destination) {
    let contents = [content(1, 2 * PART_SIZE + 17), content(2, 1000)];
    let receipts = commit_files(destination, &target("a", "p"), &contents).await;
    assert_eq!(receipts.len(), 2);
    let found = bucket.visible("p").await;
    assert_eq!(found.len(), 2);
    for (found, content) in found.values().zip(&contents) {
        assert!(found == content, "a file has another content");
    }
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
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

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_throttled_are_repeated() {
    for operation in [Operation::Create, Operation::UploadPart, Operation::Complete] {
        let treat = first(2, operation, Treatment::Refuse(503, "SlowDown"));
        let (bucket, _proxy, destination) = through_proxy(treat).await;
        check_attempt(&bucket, &destination).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_opened_again() {
    for operation in [Operation::Create, Operation::UploadPart, Operation::Complete, Operation::ListObjects] {
        let (bucket, _proxy, destination) = through_proxy(first(1, operation, Treatment::Cut)).await;
        check_attempt(&bucket, &destination).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_not_a_request_that_is_lost() {
    for operation in [Operation::Create, Operation::UploadPart, Operation::Complete] {
        let (bucket, _proxy, destination) = through_proxy(first(1, operation, Treatment::CutAnswer)).await;
        check_attempt(&bucket, &destination).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_answer_cannot_be_read_is_settled_by_the_object() {
    let treat = first(1, Operation::Complete, Treatment::GarbleAnswer);
    let (bucket, _proxy, destination) = through_proxy(treat).await;
    check_attempt(&bucket, &destination).await;
}

/// AWS answers a repeated completion like the first one; other stores have forgotten the upload.
const FORGOTTEN: Treatment = Treatment::Refuse(404, "NoSuchUpload");

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_upload_counts_as_completed_when_its_object_is_there() {
    let treat = in_turn(Operation::Complete, &[Treatment::CutAnswer, FORGOTTEN]);
    let (bucket, proxy, destination) = through_proxy(treat).await;
    let contents = [content(1, 1000)];
    commit_files(&destination, &target("a", "p"), &contents).await;
    assert_eq!(proxy.count(Operation::Complete), 2);
    assert_eq!(bucket.visible("p").await.into_values().collect::<Vec<_>>(), contents);
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_upload_is_not_mistaken_for_the_object_of_another_attempt() {
    // The earlier attempt is completed; the upload of the later one is refused.
    let treat = in_turn(Operation::Complete, &[Treatment::Forward, FORGOTTEN]);
    let (bucket, proxy, destination) = through_proxy(treat).await;
    let own = target("a", "p");
    commit_files(&destination, &own, &[content(1, 1000)]).await;
    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(2, 1000), 1000).await;
    let fault = upload.commit(vec![stored]).await.expect_err("the object has the size, not the content");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert_eq!(proxy.count(Operation::Complete), 2);
    let found = bucket.visible("p").await;
    assert!(found["task_a_result_001.parquet"] == content(1, 1000), "the earlier file stays");
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_hangs_is_repeated_after_its_time_limit() {
    for operation in [Operation::Create, Operation::UploadPart, Operation::Complete] {
        let bucket = Bucket::new().await;
        let proxy = Proxy::start(server_address(), first(1, operation, Treatment::Hang)).await;
        let target_of_test =
            S3Target { request_timeout: Duration::from_secs(2), ..bucket.target(proxy.address) };
        let destination = destination(&target_of_test).await;
        let contents = [content(1, 1000)];
        commit_files(&destination, &target("a", "p"), &contents).await;
        assert!(proxy.count(operation) >= 2);
        assert_eq!(bucket.visible("p").await.into_values().collect::<Vec<_>>(), contents);
        assert_eq!(bucket.hidden().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_failing_fails_the_attempt_and_the_abort_leaves_nothing() {
    let treat = always(Operation::UploadPart, Treatment::Refuse(500, "InternalError"));
    let (bucket, _proxy, destination) = through_proxy(treat).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut writer = upload.create(&part(&own, 1)).await.expect("create");
    writer.write(vec![0; 1000].into()).await.expect("a part is not full yet");
    let fault = writer.finish(1).await.expect_err("no part can be stored");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.chain().contains("InternalError"), "{}", fault.chain());
    upload.abort().await;
    assert_eq!(bucket.visible("p").await, BTreeMap::new());
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_is_told_by_a_later_write() {
    let treat = always(Operation::UploadPart, Treatment::Refuse(403, "AccessDenied"));
    let (_bucket, _proxy, destination) = through_proxy(treat).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut writer = upload.create(&part(&own, 1)).await.expect("create");
    let mut result = Ok(());
    // Three parts may be on their way before the first answer has to be looked at.
    for _ in 0..5 {
        result = writer.write(vec![0; PART_SIZE].into()).await;
        if result.is_err() {
            break;
        }
    }
    let fault = result.expect_err("no part can be stored");
    assert_eq!(fault.kind(), FaultKind::Permission);
    assert!(fault.hint().is_some_and(|hint| hint.contains("s3:PutObject")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_leaves_no_unfinished_upload() {
    let treat = always(Operation::Complete, Treatment::Refuse(403, "AccessDenied"));
    let (bucket, _proxy, destination) = through_proxy(treat).await;
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(1, 1000), 1000).await;
    let fault = upload.commit(vec![stored]).await.expect_err("nothing can be completed");
    assert_eq!(fault.kind(), FaultKind::Permission);
    assert_eq!(bucket.visible("p").await, BTreeMap::new());
    assert_eq!(bucket.hidden().await, Vec::<String>::new());
}

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
async fn a_missing_right_to_list_does_not_fail_the_task() {
    for (status, code) in [(403, "AccessDenied"), (501, "NotImplemented")] {
        let treat = always(Operation::ListUploads, Treatment::Refuse(status, code));
        let (bucket, proxy, destination) = through_proxy(treat).await;
        check_attempt(&bucket, &destination).await;
        assert!(proxy.count(Operation::ListUploads) >= 1);
    }
    let treat = always(Operation::ListObjects, Treatment::Refuse(403, "AccessDenied"));
    let (bucket, _proxy, destination) = through_proxy(treat).await;
    check_attempt(&bucket, &destination).await;
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
async fn a_missing_bucket_is_named_with_a_remedy() {
    let bucket = Bucket::new().await;
    let missing = S3Target { bucket_name: "no-such-bucket".to_owned(), ..bucket.target(server_address()) };
    let destination = destination(&missing).await;
    for fault in [
        destination.check().await.expect_err("missing"),
        destination.begin(&target("a", "p")).await.err().expect("missing"),
    ] {
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.to_string().contains("no-such-bucket"), "{fault}");
        assert!(fault.hint().is_some_and(|hint| hint.contains("bucket_name")), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_reached_may_come_back() {
    let bucket = Bucket::new().await;
    let nobody: SocketAddr = free_address();
    let fault = destination(&bucket.target(nobody)).await.check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.hint().is_some_and(|hint| hint.contains("endpoint")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_carry_type_and_encryption() {
    let bucket = Bucket::new().await;
    let encrypted = S3Target { encryption: Some(S3Encryption::Aes256), ..bucket.target(server_address()) };
    let destination = destination(&encrypted).await;
    commit_files(&destination, &target("a", "p"), &[content(1, 1000)]).await;
    let head = bucket.head("exports/p/task_a_result_001.parquet").await;
    assert_eq!(head.content_type(), Some("application/vnd.apache.parquet"));
    assert_eq!(head.server_side_encryption().map(ToString::to_string).as_deref(), Some("AES256"));

    let key_id = "arn:aws:kms:us-east-1:123456789012:key/0b1f3a5c-0000-4000-8000-000000000000";
    let kms = S3Encryption::Kms { key_id: Some(key_id.to_owned()) };
    let encrypted = S3Target { encryption: Some(kms), ..bucket.target(server_address()) };
    commit_files(&self::destination(&encrypted).await, &target("b", "p"), &[content(1, 1000)]).await;
    let head = bucket.head("exports/p/task_b_result_001.parquet").await;
    assert_eq!(head.server_side_encryption().map(ToString::to_string).as_deref(), Some("aws:kms"));
    assert_eq!(head.ssekms_key_id(), Some(key_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_leaves_the_prefix_is_refused_by_name() {
    let bucket = Bucket::new().await;
    let destination = destination(&bucket.target(server_address())).await;
    let fault = destination.begin(&target("a", "../elsewhere")).await.err().expect("refused");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.to_string().contains("../elsewhere"), "{fault}");
}
