//! Storage behind a stage that lets credentials expire, refuses, stumbles or hangs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use data_exchange_agent::destination::Destination;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::snowflake::Connection;

use super::{OnStage, SEVERAL_BLOCKS, destination, forward, on};
use crate::destinations::{Reader, commit_files, content, part, target, write};
use crate::support::proxy::Treatment;
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::stage::Stage;
use crate::support::snowflake::stage_storage::Backend;

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_are_renewed_once_for_all() {
    let (stage, destination) = on(Backend::s3(forward).await, Some(16)).await;
    stage.backend.issued().limit(5);
    let contents: Vec<_> = (1..5).map(|seed| content(seed, SEVERAL_BLOCKS)).collect();
    commit_files(&destination, &target("a", "p"), &contents).await;
    let found: Vec<_> = stage.visible("p").await.into_values().collect();
    assert!(found == contents, "a file has another content");
    // Each renewal is asked for once, however many blocks were refused together.
    let issued = stage.backend.issued().count();
    assert!((4..=8).contains(&issued), "about 22 requests, 5 for each credentials: {issued}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_signed_urls_that_expire_are_renewed() {
    for is_presigned in [false, true] {
        let (stage, destination) = on(Backend::gcs(is_presigned).await, Some(16)).await;
        let contents = [content(1, 1000), content(2, 2000), content(3, 3000)];
        let own = target("a", "p");
        let upload = destination.begin(&own).await.expect("begin");
        let mut parts = Vec::new();
        for (number, content) in (1..).zip(&contents) {
            parts.push(write(&*upload, &part(&own, number), content, 4096).await);
        }
        // A signed URL is made for each file; the first one of each has expired when it comes.
        stage.backend.issued().limit(1);
        stage.backend.issued().expire_first(usize::from(is_presigned));
        upload.commit(parts).await.expect("commit");
        let found: Vec<_> = stage.visible("p").await.into_values().collect();
        assert!(found == contents, "a file has another content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_azure_that_ends_is_renewed() {
    let Some(azure) = Backend::azure(forward).await else { return };
    let (stage, destination) = on(azure, Some(16)).await;
    let Backend::Azure { container, lifetime, .. } = &stage.backend else { panic!("it is Azure") };
    *lifetime.lock().unwrap() = Duration::from_secs(3);
    let own = target("a", "p");
    let upload = destination.begin(&own).await.expect("begin");
    let own_content = content(1, 1000);
    let stored = write(&*upload, &part(&own, 1), &own_content, 1000).await;
    let issued = stage.backend.issued().count();
    // As old as the newest signature of the attempt, or younger.
    container.wait_until_refused(&container.signature(Duration::from_secs(3))).await;
    // The next one lasts.
    *lifetime.lock().unwrap() = Duration::from_secs(24 * 60 * 60);
    upload.commit(vec![stored]).await.expect("commit");
    assert!(stage.visible("p").await["task_a_result_001.parquet"] == own_content);
    assert!(stage.backend.issued().count() > issued, "the signature has ended meanwhile");
}

/// Treats the first request for which `is_it` says yes.
fn once(
    treatment: Treatment,
    is_it: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> impl Fn(&str) -> Treatment + Send + Sync + 'static {
    let seen = AtomicUsize::new(0);
    move |head| {
        let is_first =
            is_it(head.lines().next().unwrap_or_default()) && seen.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { treatment } else { Treatment::Forward }
    }
}

/// Writes a file of two blocks and a small one, and checks that exactly these are there.
async fn check_attempt(stage: &Stage, destination: &dyn Destination) {
    let contents = [content(1, (8 << 20) + 100), content(2, 1000)];
    commit_files(destination, &target("a", "p"), &contents).await;
    let found: Vec<_> = stage.visible("p").await.into_values().collect();
    assert!(found == contents, "a file has another content");
    assert_eq!(stage.hidden().await, Vec::<String>::new());
}

/// The requests that store a file, by what their first lines have in them.
const S3_REQUESTS: [&str; 3] = ["?uploads", "partNumber=1", "?uploadId="];
const AZURE_REQUESTS: [&str; 2] = ["comp=block&", "comp=blocklist"];

/// Every storage with a fault in one of its requests, and one after the other in all of them.
async fn stumbling(treatment: Treatment) -> Vec<Backend> {
    let mut backends = Vec::new();
    for part in S3_REQUESTS {
        let is_it = move |line: &str| line.contains(part) && !line.starts_with("GET");
        backends.push(Backend::s3(once(treatment, is_it)).await);
    }
    for part in AZURE_REQUESTS {
        backends.extend(Backend::azure(once(treatment, move |line| line.contains(part))).await);
    }
    backends
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_stumbles_is_asked_again() {
    let treatments = [
        Treatment::Refuse(503, "SlowDown"),
        Treatment::Refuse(500, "InternalError"),
        Treatment::Cut,
        Treatment::CutAnswer,
    ];
    for treatment in treatments {
        for backend in stumbling(treatment).await {
            let (stage, destination) = on(backend, Some(16)).await;
            check_attempt(&stage, &destination).await;
        }
    }
    let (stage, destination) = on(Backend::gcs(false).await, Some(16)).await;
    let Backend::Gcs { server, .. } = &stage.backend else { panic!("it is Google's") };
    server.refuse(2);
    check_attempt(&stage, &destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_hangs_is_asked_again_after_a_while() {
    let attempts = stumbling(Treatment::Hang).await.into_iter().map(|backend| async move {
        let double = SnowflakeDouble::start().await;
        let stage = Stage::on(&double, backend, Some(16));
        let connection = Connection { socket_timeout: Duration::from_secs(10), ..double.connection() };
        let destination = OnStage(destination(connection));
        let contents = [content(1, 1000)];
        commit_files(&destination, &target("a", "p"), &contents).await;
        let found: Vec<_> = stage.visible("p").await.into_values().collect();
        assert_eq!(found, contents);
    });
    futures::future::join_all(attempts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_keeps_failing_fails_the_attempt_without_telling_secrets() {
    let refuse = |_: &str| Treatment::Refuse(403, "AuthorizationFailure");
    let mut backends = vec![Backend::s3(refuse).await];
    backends.extend(Backend::azure(refuse).await);
    for backend in backends {
        let (stage, destination) = on(backend, Some(16)).await;
        let own = target("a", "p");
        let upload = destination.begin(&own).await.expect("begin");
        let mut writer = upload.create(&part(&own, 1)).await.expect("create");
        writer.write(vec![0; 1000].into()).await.expect("a block is not full yet");
        let fault = writer.finish(1).await.expect_err("nothing can be stored");
        assert_eq!(fault.kind(), FaultKind::Permission, "{}", fault.chain());
        for secret in ["sig=", "secret-of-the-stage", "token-", "Signature"] {
            assert!(!format!("{fault:?} {}", fault.chain()).contains(secret), "{fault:?}");
        }
        upload.abort().await;
        assert_eq!(stage.visible("p").await, BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_not_there_is_told_before_anything_is_read() {
    let (_stage, destination) = on(Backend::gcs(false).await, None).await;
    for (path, expected) in [("@nowhere/x/", "2003"), ("nowhere", "begins with `@`")] {
        let missing = target("a", path);
        let fault = destination.0.begin(&missing).await.err().expect("it is not there");
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.chain().contains(expected), "{}", fault.chain());
        assert!(fault.hint().is_some());
    }
}
