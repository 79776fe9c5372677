//! Azure Blob Storage as destination, and Azure that fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use data_exchange_agent::config::{AzureBlobTarget, AzureCredentials, Secret};
use data_exchange_agent::destination::Destination;
use data_exchange_agent::destination::azure_blob::AzureBlobDestination;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;

use crate::destination_faults::{Store, check_attempt, survives};
use crate::destinations::{
    Reader, check_destination, commit_files, content, part, target, write, write_chunks,
};
use crate::support::azurite::ACCOUNT;
use crate::support::blob_container::{Container, shared_access_signature};
use crate::support::proxy::{Operation, Proxy, Treatment, always};
use crate::support::server::free_address;

/// Bytes of a block in these tests.
const BLOCK: usize = 4 << 20;

#[async_trait]
impl Reader for Container {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = if path.is_empty() { "exports/".to_owned() } else { format!("exports/{path}/") };
        let blobs = self.blobs(&folder).await.into_iter();
        let named = blobs.map(|(key, content)| (key[folder.len()..].to_owned(), content));
        named.filter(|(name, _)| !name.contains('/')).collect()
    }

    /// Uncommitted blocks cannot be deleted; tests of their own say what becomes of them.
    async fn hidden(&self) -> Vec<String> {
        Vec::new()
    }

    fn shows_hidden(&self) -> bool {
        false
    }

    fn location(&self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        let key = format!("exports/{path}{separator}{name}");
        let segments: Vec<String> = key
            .split('/')
            .map(|segment| url::form_urlencoded::byte_serialize(segment.as_bytes()).collect::<String>())
            .collect();
        let path = segments.join("/").replace('+', "%20");
        format!("http://{}/{ACCOUNT}/{}/{path}", self.service(), self.name)
    }
}

#[async_trait]
impl Store for Container {
    const PART_SIZE: usize = BLOCK;
    const WRITES: &'static [Operation] = &[Operation::UploadPart, Operation::Complete];
    const QUESTIONS: &'static [Operation] = &[Operation::ListObjects, Operation::Head];
    const LISTS: &'static [Operation] = &[Operation::ListObjects];
    const HANGS: &'static [Treatment] = &[Treatment::Hang, Treatment::HoldAnswer];
    const TRIES: usize = 6;
    const THROTTLED: Treatment = Treatment::Refuse(503, "ServerBusy");
    const FORBIDDEN: Treatment = Treatment::Refuse(403, "AuthorizationPermissionMismatch");
    const FORGOTTEN: Treatment = Treatment::Refuse(400, "InvalidBlockList");
    const RIGHT_TO_WRITE: &'static str = "Storage Blob Data Contributor";
    const KEY_OF_NAME: &'static str = "container_name";

    async fn set_up() -> Option<Self> {
        Self::new().await
    }

    fn service(&self) -> SocketAddr {
        Container::service(self)
    }

    async fn destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        Box::new(destination(&self.target(address)))
    }

    async fn impatient_destination(&self, address: SocketAddr) -> Box<dyn Destination> {
        let target = AzureBlobTarget { request_timeout: Duration::from_secs(2), ..self.target(address) };
        Box::new(destination(&target))
    }

    async fn misnamed_destination(&self) -> Box<dyn Destination> {
        let container_name = "no-such-place".to_owned();
        Box::new(destination(&AzureBlobTarget { container_name, ..self.target(Container::service(self)) }))
    }

    /// A commit removes what earlier attempts left, the blocks of its own files included.
    async fn left_over(&self) -> Vec<String> {
        self.uncommitted().await
    }

    async fn media_type(&self, key: &str) -> Option<String> {
        self.header(key, "content-type").await
    }
}

fn destination(target: &AzureBlobTarget) -> AzureBlobDestination {
    AzureBlobDestination::new(target, &Shutdown::new()).expect("the configuration is complete")
}

/// A container behind a proxy, and a destination that goes through it.
async fn through_proxy(
    treat: impl Fn(Operation) -> Treatment + Send + Sync + 'static,
) -> Option<(Container, Proxy, AzureBlobDestination)> {
    let container = Container::new().await?;
    let proxy = Proxy::start(container.service(), treat).await;
    let destination = destination(&container.target(proxy.address));
    Some((container, proxy, destination))
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract_of_a_destination() {
    let Some(container) = Container::new().await else { return };
    let destination = destination(&container.target(container.service()));
    assert_eq!(destination.part_buffer_bytes(), 4 * BLOCK);
    let limit = destination.max_file_bytes().expect("50,000 blocks in a file");
    assert_eq!(limit.get(), 50_000 * BLOCK as u64);
    check_destination(&destination, &container).await;
}

survives!(Container);

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_leaves_nothing_but_blocks_that_nobody_sees_and_the_next_commit_removes() {
    let Some(container) = Container::new().await else { return };
    let destination = destination(&container.target(container.service()));
    let own = target("a", "p");
    let key = "exports/p/task_a_result_001.parquet";
    let upload = destination.begin(&own).await.expect("begin");
    let mut writer = upload.create(&part(&own, 1)).await.expect("create");
    write_chunks(&mut *writer, &content(1, 2 * BLOCK), 1 << 20).await;
    writer.finish(1).await.expect("finish");
    upload.abort().await;
    assert_eq!(container.visible("p").await, BTreeMap::new());
    assert_eq!(container.uncommitted().await, [key]);
    assert_eq!(container.uncommitted_blocks(key).await, 2);

    commit_files(&destination, &own, &[content(2, 1000)]).await;
    assert!(container.visible("p").await["task_a_result_001.parquet"] == content(2, 1000));
    assert_eq!(container.uncommitted().await, Vec::<String>::new());
    assert_eq!(container.uncommitted_blocks(key).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_attempts_that_write_at_the_same_time_do_not_mix() {
    let Some(container) = Container::new().await else { return };
    let destination = destination(&container.target(container.service()));
    let own = target("a", "p");
    let (one, two) = (destination.begin(&own).await.unwrap(), destination.begin(&own).await.unwrap());
    let contents = [content(1, 2 * BLOCK + 1), content(2, 2 * BLOCK + 2)];
    let name = part(&own, 1);
    let (from_one, from_two) =
        tokio::join!(write(&*one, &name, &contents[0], 1 << 20), write(&*two, &name, &contents[1], 1 << 20),);
    two.commit(vec![from_two]).await.expect("commit");
    let fault = one.commit(vec![from_one]).await.expect_err("the other attempt has committed");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.chain().contains("InvalidBlockList"), "{}", fault.chain());
    assert!(container.visible("p").await["task_a_result_001.parquet"] == contents[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_attempt_of_more_files_shows_none_of_them() {
    let Some(container) = Container::new().await else { return };
    let destination = destination(&container.target(container.service()));
    let own = target("a", "p");
    let late = destination.begin(&own).await.expect("begin");
    let mut parts = Vec::new();
    for number in 1..=3 {
        parts.push(write(&*late, &part(&own, number), &content(1, 100), 1000).await);
    }
    commit_files(&destination, &own, &[content(2, 200)]).await;
    late.commit(parts).await.expect_err("a newer attempt has committed");
    let expected = BTreeMap::from([("task_a_result_001.parquet".to_owned(), content(2, 200))]);
    assert_eq!(container.visible("p").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_overtaken_in_its_commit_takes_its_other_files_back() {
    // The look at the first file finds it replaced: what it got from the store is somebody else's.
    let treat = always(Operation::Head, Treatment::Refuse(404, "BlobNotFound"));
    let Some((container, proxy, destination)) = through_proxy(treat).await else { return };
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut parts = Vec::new();
    for number in 1..=3 {
        parts.push(write(&*upload, &part(&own, number), &content(1, 100), 1000).await);
    }
    let fault = upload.commit(parts).await.expect_err("the first file is not this attempt's any more");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert_eq!(proxy.count(Operation::Delete), 2);
    let left: Vec<String> = container.visible("p").await.into_keys().collect();
    assert_eq!(left, ["task_a_result_001.parquet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_stop_the_attempt_at_its_begin_and_are_not_repeated() {
    let Some(container) = Container::new().await else { return };
    let key = "c2VjcmV0LXdyaXRlci1rZXk=";
    let signature = shared_access_signature().replace("sig=", "sig=AAAA");
    for credentials in [
        AzureCredentials::AccountKey { account_name: ACCOUNT.to_owned(), account_key: Secret::new(key) },
        AzureCredentials::SharedAccessSignature(Secret::new(&signature)),
    ] {
        let wrong = AzureBlobTarget { credentials, ..container.target(container.service()) };
        let fault = destination(&wrong).begin(&target("a", "p")).await.err().expect("refused");
        // Azurite answers with the code that Azure has for firewalls.
        assert_eq!(fault.kind(), FaultKind::Permission, "{}", fault.chain());
        let said = format!("{} {:?}", fault.chain(), fault);
        assert!(!said.contains(key) && !said.contains("sig="), "{said}");
    }
    let treat = always(Operation::ListObjects, Treatment::Refuse(403, "AuthenticationFailed"));
    let Some((_container, proxy, destination)) = through_proxy(treat).await else { return };
    let fault = destination.begin(&target("a", "p")).await.err().expect("refused");
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert_eq!(proxy.count(Operation::ListObjects), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_access_signature_is_enough_and_never_shown() {
    let Some(container) = Container::new().await else { return };
    let credentials = AzureCredentials::SharedAccessSignature(Secret::new(shared_access_signature()));
    let by_signature = AzureBlobTarget { credentials, ..container.target(container.service()) };
    check_attempt(&container, &destination(&by_signature)).await;
    let nobody = AzureBlobTarget {
        endpoint_url: format!("http://{}/{ACCOUNT}", free_address()),
        request_timeout: Duration::from_secs(1),
        ..by_signature
    };
    let fault = destination(&nobody).check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(!format!("{} {fault:?}", fault.chain()).contains("sig="), "{fault:?}");
}
