//! Stores that fail, and what a destination makes of it: one check for each fault, run on every store
//! that is reached over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use data_exchange_agent::destination::Destination;
use data_exchange_agent::fault::FaultKind;

use crate::destinations::{Reader, commit_files, content, part, target, write};
use crate::support::proxy::{Operation, Proxy, Treatment, always, first, in_turn};
use crate::support::server::free_address;

/// A store of one test, and the words in which it says no.
#[async_trait]
pub(crate) trait Store: Reader + Sized {
    /// Bytes of one part of a file.
    const PART_SIZE: usize;
    /// The requests that store a file, in their order.
    const WRITES: &'static [Operation];
    /// The requests that only ask what is there.
    const QUESTIONS: &'static [Operation];
    /// The requests that look for what an earlier attempt left.
    const LISTS: &'static [Operation];
    /// The ways in which a request is not answered, as far as they are different here.
    const HANGS: &'static [Treatment] = &[Treatment::Hang];
    /// How often a part is sent that cannot be stored.
    const TRIES: usize;
    /// It wants fewer requests.
    const THROTTLED: Treatment;
    /// A right is missing.
    const FORBIDDEN: Treatment;
    /// What a repeated completion meets when the first one was carried out.
    const FORGOTTEN: Treatment;
    /// What the remedy for a missing right to write names.
    const RIGHT_TO_WRITE: &'static str;
    /// The key of the configuration that names bucket or container.
    const KEY_OF_NAME: &'static str;

    /// A place of its own; `None` where the store is not installed.
    async fn set_up() -> Option<Self>;

    /// Where it listens.
    fn service(&self) -> SocketAddr;

    /// A destination for this place that looks for the store at `address`.
    async fn destination(&self, address: SocketAddr) -> Box<dyn Destination>;

    /// The same, with a limit of two seconds for a request.
    async fn impatient_destination(&self, address: SocketAddr) -> Box<dyn Destination>;

    /// The same for a bucket or container `no-such-place`.
    async fn misnamed_destination(&self) -> Box<dyn Destination>;

    /// What is left of uploads when everything is committed.
    async fn left_over(&self) -> Vec<String> {
        self.hidden().await
    }

    /// The media type of an object.
    async fn media_type(&self, key: &str) -> Option<String>;
}

/// A test for each of the checks that every store has to pass, and for more of them, on one store.
macro_rules! survives {
    (only $store:ty: $($fault:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $fault() {
            $crate::destination_faults::$fault::<$store>().await;
        }
    )+};
    ($store:ty $(, and $more:ident)*) => {
        $crate::destination_faults::survives!(only $store:
            requests_that_are_throttled_are_repeated,
            connections_that_are_cut_are_opened_again,
            an_answer_that_is_lost_is_not_a_request_that_is_lost,
            a_forgotten_upload_counts_as_completed_when_its_object_is_there,
            a_forgotten_upload_is_not_mistaken_for_the_object_of_another_attempt,
            a_request_that_hangs_is_repeated_after_its_time_limit,
            a_question_that_hangs_is_asked_again_after_its_time_limit,
            a_store_that_keeps_failing_fails_the_attempt_and_the_abort_leaves_nothing,
            a_failed_part_is_told_by_a_later_write,
            a_commit_that_fails_leaves_no_unfinished_upload,
            a_commit_that_fails_in_the_middle_can_be_taken_back,
            a_missing_right_to_list_does_not_fail_the_task,
            a_file_is_deleted_without_the_right_to_list,
            a_missing_right_to_delete_is_told_with_the_file,
            a_place_that_is_missing_is_named_with_a_remedy,
            a_store_that_cannot_be_reached_may_come_back,
            a_path_that_leaves_the_prefix_is_refused_by_name,
            objects_carry_their_media_type,
            $($more,)*
        );
    };
}
pub(crate) use survives;

/// A store behind a proxy, and a destination that goes through it.
async fn through_proxy<S: Store>(
    treat: impl Fn(Operation) -> Treatment + Send + Sync + 'static,
) -> Option<(S, Proxy, Box<dyn Destination>)> {
    let store = S::set_up().await?;
    let proxy = Proxy::start(store.service(), treat).await;
    let destination = store.destination(proxy.address).await;
    Some((store, proxy, destination))
}

/// Writes a file of several parts and a small one, and checks that exactly these are there.
pub(crate) async fn check_attempt<S: Store>(store: &S, destination: &dyn Destination) {
    let contents = [content(1, 2 * S::PART_SIZE + 17), content(2, 1000)];
    let receipts = commit_files(destination, &target("a", "p"), &contents).await;
    assert_eq!(receipts.len(), 2);
    let found = store.visible("p").await;
    assert_eq!(found.len(), 2);
    for (found, content) in found.values().zip(&contents) {
        assert!(found == content, "a file has another content");
    }
    assert_eq!(store.left_over().await, Vec::<String>::new());
}

/// Whole attempts, each of which meets one fault in one of the `operations`.
async fn check_attempts<S: Store>(count: usize, operations: &[Operation], treatment: Treatment) {
    for operation in operations {
        let treat = first(count, *operation, treatment);
        let Some((store, _proxy, destination)) = through_proxy::<S>(treat).await else { return };
        check_attempt(&store, &*destination).await;
    }
}

pub(crate) async fn requests_that_are_throttled_are_repeated<S: Store>() {
    check_attempts::<S>(2, S::WRITES, S::THROTTLED).await;
}

pub(crate) async fn connections_that_are_cut_are_opened_again<S: Store>() {
    check_attempts::<S>(1, S::WRITES, Treatment::Cut).await;
    check_attempts::<S>(1, S::QUESTIONS, Treatment::Cut).await;
}

pub(crate) async fn an_answer_that_is_lost_is_not_a_request_that_is_lost<S: Store>() {
    check_attempts::<S>(1, S::WRITES, Treatment::CutAnswer).await;
}

pub(crate) async fn a_completion_whose_answer_cannot_be_read_is_settled_by_the_object<S: Store>() {
    check_attempts::<S>(1, &[Operation::Complete], Treatment::GarbleAnswer).await;
}

pub(crate) async fn a_forgotten_upload_counts_as_completed_when_its_object_is_there<S: Store>() {
    let treat = in_turn(Operation::Complete, &[Treatment::CutAnswer, S::FORGOTTEN]);
    let Some((store, proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let contents = [content(1, 1000)];
    commit_files(&*destination, &target("a", "p"), &contents).await;
    assert_eq!(proxy.count(Operation::Complete), 2);
    assert_eq!(store.visible("p").await.into_values().collect::<Vec<_>>(), contents);
    assert_eq!(store.hidden().await, Vec::<String>::new());
}

pub(crate) async fn a_forgotten_upload_is_not_mistaken_for_the_object_of_another_attempt<S: Store>() {
    // The earlier attempt is completed; the upload of the later one is refused.
    let treat = in_turn(Operation::Complete, &[Treatment::Forward, S::FORGOTTEN]);
    let Some((store, proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    commit_files(&*destination, &own, &[content(1, 1000)]).await;
    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(2, 1000), 1000).await;
    let fault = upload.commit(vec![stored]).await.expect_err("the object has the size, not the content");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert_eq!(proxy.count(Operation::Complete), 2);
    let found = store.visible("p").await;
    assert!(found["task_a_result_001.parquet"] == content(1, 1000), "the earlier file stays");
    assert_eq!(store.hidden().await, Vec::<String>::new());
}

pub(crate) async fn a_request_that_hangs_is_repeated_after_its_time_limit<S: Store>() {
    for treatment in S::HANGS {
        for operation in S::WRITES {
            let Some(store) = S::set_up().await else { return };
            let proxy = Proxy::start(store.service(), first(1, *operation, *treatment)).await;
            let destination = store.impatient_destination(proxy.address).await;
            let contents = [content(1, 1000)];
            commit_files(&*destination, &target("a", "p"), &contents).await;
            assert!(proxy.count(*operation) >= 2);
            assert_eq!(store.visible("p").await.into_values().collect::<Vec<_>>(), contents);
            assert_eq!(store.hidden().await, Vec::<String>::new());
        }
    }
}

pub(crate) async fn a_question_that_hangs_is_asked_again_after_its_time_limit<S: Store>() {
    for operation in S::QUESTIONS {
        let Some(store) = S::set_up().await else { return };
        let proxy = Proxy::start(store.service(), first(1, *operation, Treatment::Hang)).await;
        let destination = store.impatient_destination(proxy.address).await;
        check_attempt(&store, &*destination).await;
    }
}

pub(crate) async fn a_store_that_keeps_failing_fails_the_attempt_and_the_abort_leaves_nothing<S: Store>() {
    let treat = always(Operation::UploadPart, Treatment::Refuse(500, "InternalError"));
    let Some((store, proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut writer = upload.create(&part(&own, 1)).await.expect("create");
    writer.write(vec![0; 1000].into()).await.expect("a part is not full yet");
    let fault = writer.finish(1).await.expect_err("no part can be stored");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.chain().contains("InternalError"), "{}", fault.chain());
    assert_eq!(proxy.count(Operation::UploadPart), S::TRIES);
    upload.abort().await;
    assert_eq!(store.visible("p").await, BTreeMap::new());
    assert_eq!(store.hidden().await, Vec::<String>::new());
}

pub(crate) async fn a_failed_part_is_told_by_a_later_write<S: Store>() {
    let treat = always(Operation::UploadPart, S::FORBIDDEN);
    let Some((_store, _proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut writer = upload.create(&part(&own, 1)).await.expect("create");
    let mut result = Ok(());
    // Three parts may be on their way before the first answer has to be looked at.
    for _ in 0..5 {
        result = writer.write(vec![0; S::PART_SIZE].into()).await;
        if result.is_err() {
            break;
        }
    }
    let fault = result.expect_err("no part can be stored");
    assert_eq!(fault.kind(), FaultKind::Permission);
    assert!(fault.hint().is_some_and(|hint| hint.contains(S::RIGHT_TO_WRITE)), "{fault:?}");
}

pub(crate) async fn a_commit_that_fails_leaves_no_unfinished_upload<S: Store>() {
    let treat = always(Operation::Complete, S::FORBIDDEN);
    let Some((store, _proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let stored = write(&*upload, &part(&own, 1), &content(1, 1000), 1000).await;
    let fault = upload.commit(vec![stored]).await.expect_err("nothing can be completed");
    assert_eq!(fault.kind(), FaultKind::Permission);
    assert!(fault.hint().is_some_and(|hint| hint.contains(S::RIGHT_TO_WRITE)), "{fault:?}");
    assert_eq!(store.visible("p").await, BTreeMap::new());
    assert_eq!(store.hidden().await, Vec::<String>::new());
}

pub(crate) async fn a_commit_that_fails_in_the_middle_can_be_taken_back<S: Store>() {
    // The other requests for a file are sent at the same time; which one of them is refused is not said.
    let treat = in_turn(Operation::Complete, &[Treatment::Forward, S::FORBIDDEN]);
    let Some((store, _proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let mut stored = Vec::new();
    for number in [1, 2] {
        stored.push(write(&*upload, &part(&own, number), &content(number.into(), 1000), 1000).await);
    }
    upload.commit(stored).await.expect_err("one of them cannot be completed");
    assert_eq!(store.visible("p").await.len(), 1, "a store has no commit of several files");
    destination.retract(&own).await.expect("retract");
    assert_eq!(store.visible("p").await, BTreeMap::new());
    assert_eq!(store.hidden().await, Vec::<String>::new());
}

pub(crate) async fn a_missing_right_to_list_does_not_fail_the_task<S: Store>() {
    for operation in S::LISTS {
        let treat = always(*operation, S::FORBIDDEN);
        let Some((store, proxy, destination)) = through_proxy::<S>(treat).await else { return };
        check_attempt(&store, &*destination).await;
        assert!(proxy.count(*operation) >= 1);
    }
}

pub(crate) async fn a_file_is_deleted_without_the_right_to_list<S: Store>() {
    for operation in S::LISTS {
        let treat = always(*operation, S::FORBIDDEN);
        let Some((store, proxy, destination)) = through_proxy::<S>(treat).await else { return };
        let own = target("a", "p");
        commit_files(&*destination, &own, &[content(1, 1000)]).await;
        destination.delete(&own, &part(&own, 1)).await.expect("nothing is listed for it");
        assert_eq!(proxy.count(Operation::Delete), 1);
        assert_eq!(store.visible("p").await, BTreeMap::new());
    }
}

pub(crate) async fn a_missing_right_to_delete_is_told_with_the_file<S: Store>() {
    let treat = always(Operation::Delete, S::FORBIDDEN);
    let Some((store, _proxy, destination)) = through_proxy::<S>(treat).await else { return };
    let own = target("a", "p");
    commit_files(&*destination, &own, &[content(1, 1000)]).await;
    let fault = destination.delete(&own, &part(&own, 1)).await.expect_err("it is refused");
    assert_eq!(fault.kind(), FaultKind::Permission);
    assert!(fault.to_string().contains("exports/p/task_a_result_001.parquet"), "{fault}");
    assert!(fault.hint().is_some_and(|hint| hint.contains(S::RIGHT_TO_WRITE)), "{fault:?}");
    assert_eq!(store.visible("p").await.len(), 1);
}

pub(crate) async fn a_place_that_is_missing_is_named_with_a_remedy<S: Store>() {
    let Some(store) = S::set_up().await else { return };
    let destination = store.misnamed_destination().await;
    for fault in [
        destination.check().await.expect_err("missing"),
        destination.begin(&target("a", "p")).await.err().expect("missing"),
    ] {
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.to_string().contains("no-such-place"), "{fault}");
        assert!(fault.hint().is_some_and(|hint| hint.contains(S::KEY_OF_NAME)), "{fault:?}");
    }
}

pub(crate) async fn a_store_that_cannot_be_reached_may_come_back<S: Store>() {
    let Some(store) = S::set_up().await else { return };
    let fault = store.destination(free_address()).await.check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.hint().is_some_and(|hint| hint.contains("endpoint")), "{fault:?}");
}

pub(crate) async fn a_path_that_leaves_the_prefix_is_refused_by_name<S: Store>() {
    let Some(store) = S::set_up().await else { return };
    let destination = store.destination(store.service()).await;
    let fault = destination.begin(&target("a", "../elsewhere")).await.err().expect("refused");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.to_string().contains("../elsewhere"), "{fault}");
}

pub(crate) async fn objects_carry_their_media_type<S: Store>() {
    let Some(store) = S::set_up().await else { return };
    let destination = store.destination(store.service()).await;
    commit_files(&*destination, &target("a", "p"), &[content(1, 1000)]).await;
    let found = store.media_type("exports/p/task_a_result_001.parquet").await;
    assert_eq!(found.as_deref(), Some("application/vnd.apache.parquet"));
}
