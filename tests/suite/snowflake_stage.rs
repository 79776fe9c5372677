//! Snowflake stages as destination, on the storage of each cloud.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_exchange_agent::config::TransferSettings;
use data_exchange_agent::destination::snowflake_stage::SnowflakeStageDestination;
use data_exchange_agent::destination::{Destination, PartName, Target, Upload};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection, Statement};
use data_exchange_agent::task::{
    DestinationKind, DestinationSpec, FileFormat, Progress, Read, SourceSpec, Task, TaskId, TaskSpec,
};
use data_exchange_agent::transfer::Transfer;
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::destinations::{Reader, check_destination, commit_files, content, part, target, write};
use crate::support::agent::{Place, eventually};
use crate::support::folder::Folder;
use crate::support::proxy::Treatment;
use crate::support::snowflake::query::Answer;
use crate::support::snowflake::stage::{STAGE, Stage};
use crate::support::snowflake::stage_storage::Backend;
use crate::support::snowflake::{SnowflakeDouble, front};
use crate::support::{extraction, fakesnow, postgres, s3};

/// More than two blocks, and no whole number of them.
const SEVERAL_BLOCKS: usize = 16 * 1024 * 1024 + 5;

/// Takes paths as other destinations do, and puts the stage before them.
struct OnStage(SnowflakeStageDestination);

fn on_stage(target: &Target) -> Target {
    Target { path: format!("{STAGE}/{}", target.path), ..target.clone() }
}

#[async_trait]
impl Destination for OnStage {
    async fn check(&self) -> Result<(), Fault> {
        self.0.check().await
    }

    fn part_buffer_bytes(&self) -> usize {
        self.0.part_buffer_bytes()
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        self.0.begin(&on_stage(target)).await
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        self.0.delete(&on_stage(target), name).await
    }
}

#[async_trait]
impl Reader for Stage {
    async fn visible(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut found = BTreeMap::new();
        for name in self.backend.names(path).await {
            let content = self.read(&format!("{folder}{name}")).await;
            found.insert(name, content);
        }
        found
    }

    async fn hidden(&self) -> Vec<String> {
        self.backend.hidden().await
    }

    fn shows_hidden(&self) -> bool {
        matches!(self.backend, Backend::S3 { .. })
    }

    fn location(&self, path: &str, name: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        format!("{STAGE}/{path}{separator}{name}")
    }
}

async fn on(backend: Backend, key_bytes: Option<usize>) -> (Arc<Stage>, OnStage) {
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, backend, key_bytes);
    (stage, OnStage(destination(double.connection())))
}

fn destination(connection: Connection) -> SnowflakeStageDestination {
    let shutdown = Shutdown::new();
    let client = Client::new(connection, &shutdown).expect("a good connection");
    SnowflakeStageDestination::new(client, &shutdown).expect("nothing is opened yet")
}

fn forward(_: &str) -> Treatment {
    Treatment::Forward
}

/// Every kind of storage that is installed, with a key of this many bytes.
async fn stages(key_bytes: Option<usize>) -> Vec<(Arc<Stage>, OnStage)> {
    let mut stages = vec![
        on(Backend::s3(forward).await, key_bytes).await,
        on(Backend::gcs(false).await, key_bytes).await,
        on(Backend::gcs(true).await, key_bytes).await,
    ];
    if let Some(azure) = Backend::azure(forward).await {
        stages.push(on(azure, key_bytes).await);
    }
    stages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_s3_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::s3(forward).await, Some(16)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_azure_keeps_the_contract_of_a_destination() {
    let Some(azure) = Backend::azure(forward).await else { return };
    let (stage, destination) = on(azure, Some(32)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_google_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::gcs(false).await, Some(32)).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_with_signed_urls_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::gcs(true).await, None).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_an_emulator_in_a_directory_keeps_the_contract_of_a_destination() {
    let (stage, destination) = on(Backend::directory(), None).await;
    check_destination(&destination, &*stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_length_and_none_are_used() {
    for key_bytes in [Some(16), Some(32), None] {
        for (stage, destination) in stages(key_bytes).await {
            let contents = [content(1, SEVERAL_BLOCKS), content(2, 8 << 20), content(3, 100), Vec::new()];
            commit_files(&destination, &target("a", "p"), &contents).await;
            let found: Vec<_> = stage.visible("p").await.into_values().collect();
            assert!(found == contents, "with a key of {key_bytes:?} bytes, a file has another content");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_is_in_it() {
    for (stage, destination) in stages(Some(16)).await {
        let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS)];
        commit_files(&destination, &target("a", "p"), &contents).await;
        for (number, content) in (1..).zip(&contents) {
            let object =
                stage.backend.get(&format!("p/task_a_result_00{number}.parquet")).await.expect("stored");
            let digest = STANDARD.encode(Sha256::digest(content));
            match &stage.backend {
                // S3 wants to know it before the first block is sent.
                Backend::S3 { .. } if number == 2 => assert_eq!(object.digest, None),
                _ => assert_eq!(object.digest, Some(digest)),
            }
            if let Backend::Azure { .. } = &stage.backend {
                let md5 = STANDARD.encode(Md5::digest(&object.content));
                assert_eq!(object.metadata.get("content-md5"), Some(&md5));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_with_the_same_content_stays_as_it_is() {
    for (stage, destination) in stages(Some(16)).await {
        let own = target("a", "p");
        let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS), content(3, 500)];
        let receipts = commit_files(&destination, &own, &contents).await;
        let before = stage.backend.list("p/").await;

        let again = commit_files(&destination, &own, &contents).await;
        assert_eq!(again, receipts);
        assert_eq!(stage.backend.list("p/").await, before, "nothing was stored anew");
        // A long file on S3 has no digest, and is read to know what is in it.
        if let Backend::S3 { .. } = stage.backend {
            assert_eq!(stage.count("GET"), 1);
        }
        assert_eq!(stage.backend.hidden().await, Vec::<String>::new());

        // The same lengths, and one other content.
        let changed = [contents[0].clone(), content(9, SEVERAL_BLOCKS), content(8, 500)];
        commit_files(&destination, &own, &changed).await;
        let after = stage.backend.list("p/").await;
        let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        assert_eq!(same, [true, false, false]);
        let found: Vec<_> = stage.visible("p").await.into_values().collect();
        assert!(found == changed, "a file has another content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stage_that_is_measured_is_a_stage_like_the_others() {
    let Backend::S3 { bucket, .. } = Backend::s3(forward).await else { panic!("it is S3") };
    let endpoint = format!("http://{}", s3::server_address());
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, Backend::store(&endpoint, &bucket.name, ["key", "secret"]), Some(16));
    let destination = OnStage(destination(double.connection()));
    let contents = [content(1, 1000), content(2, SEVERAL_BLOCKS)];
    commit_files(&destination, &target("a", "p"), &contents).await;
    assert!(stage.visible("p").await.into_values().eq(contents), "a file has another content");
    // A login, PUT and LIST.
    assert_eq!(double.requests(), 3);
    assert!(double.busy() > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_task_costs_few_statements() {
    for (stage, destination) in stages(Some(16)).await {
        commit_files(&destination, &target("a", "p"), &[content(1, 1000)]).await;
        let counts = ["PUT", "LIST", "REMOVE", "GET"].map(|verb| stage.count(verb));
        let expected = match &stage.backend {
            // Where blocks can be discarded, nobody has to look twice.
            Backend::S3 { .. } | Backend::Azure { .. } => [1, 1, 0, 0],
            Backend::Gcs { is_presigned: false, .. } => [1, 2, 0, 0],
            Backend::Gcs { is_presigned: true, .. } => [2, 2, 0, 0],
            Backend::Directory { .. } | Backend::Store { .. } => panic!("it is none of them"),
        };
        assert_eq!(counts, expected);
    }
}

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

/// What only the vendor's own reader can say: that it can read the files.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_decrypted_by_the_connector_of_snowflake() {
    let Some(python) = fakesnow::python_if_installed() else { return };
    let folder = Folder::new();
    for key_bytes in [16, 32] {
        let mut wanted = Vec::new();
        let mut expected = Vec::new();
        for (number, (stage, destination)) in stages(Some(key_bytes)).await.into_iter().enumerate() {
            let contents = [content(1, SEVERAL_BLOCKS), content(2, 4096), content(3, 13)];
            commit_files(&destination, &target("a", "p"), &contents).await;
            for (name, content) in stage.backend.names("p").await.into_iter().zip(contents) {
                let object = stage.backend.get(&format!("p/{name}")).await.expect("stored");
                let file = folder.path().join(format!("{number}-{name}"));
                let output = folder.path().join(format!("{number}-{name}.decrypted"));
                std::fs::write(&file, &object.content).unwrap();
                let description = object.description.expect("it is encrypted");
                wanted.push(json!({
                    "file": file, "output": output, "key": object.key, "iv": object.vector,
                    "master_key": stage.master_key(&description), "matdesc": description,
                }));
                expected.push((output, object.digest, content));
            }
        }
        let found = run_python(&python, &Value::from(wanted));
        for ((output, digest, content), found) in expected.iter().zip(found.as_array().unwrap()) {
            assert!(std::fs::read(output).unwrap() == *content, "{} has another content", output.display());
            if let Some(digest) = digest {
                assert_eq!(found["digest"], *digest);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn run_python(python: &str, input: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/stage_reader.py");
    let mut reader = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    serde_json::to_writer(reader.stdin.take().expect("it is piped"), input).expect("the script reads");
    let output = reader.wait_with_output().expect("wait for Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script writes JSON")
}

/// A target section for `double`.
fn section(double: &SnowflakeDouble) -> String {
    let address = double.address();
    format!(
        "kind = \"snowflake\"\naccount = \"test-account\"\nhost = \"{}\"\nport = {}\nprotocol = \"http\"\n\
         user = \"tester\"\npassword = \"hunter2\"\n",
        address.ip(),
        address.port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_removes_its_file_from_a_stage_or_says_that_it_may_not() {
    for is_allowed in [true, false] {
        let double = SnowflakeDouble::start().await;
        if !is_allowed {
            let text = "SQL access control error: Insufficient privileges to operate on stage 'My Stage'";
            double.on(move |call| {
                call.sql.starts_with("REMOVE ").then(|| Answer::error("003001", "42501", text))
            });
        }
        let stage = Stage::on(&double, Backend::s3(forward).await, Some(16));
        let place = Place::new().connection("target.snowflake", &section(&double));
        let configuration = place.configuration();
        let arguments =
            ["check", "--config", configuration.to_str().expect("plain"), "--json", "--stage", STAGE];
        let finished = place.run(&arguments).await;
        let findings: Vec<Value> = serde_json::from_str(&finished.stdout).expect("JSON");
        let mut findings = findings.iter();
        let finding = findings.find(|finding| finding["check"] == "target snowflake").expect("a finding");
        assert_eq!(finding["ok"], is_allowed, "{finding}");
        let detail = finding["detail"].as_str().expect("a text");
        let left: Vec<String> = stage.backend.list("").await.into_iter().map(|(name, ..)| name).collect();
        if is_allowed {
            assert_eq!(detail, "opened, wrote a file and deleted it");
            assert_eq!(left, Vec::<String>::new());
        } else {
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert_eq!(left.len(), 1, "{left:?}");
            assert!(detail.contains(&format!("{}` is left", left[0])), "{finding}: {left:?}");
            let remedy = finding["remedy"].as_str().expect("a remedy");
            assert!(remedy.contains("WRITE on the stage"), "{finding}");
        }
        assert_eq!(stage.hidden().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_between_upload_and_commit_leaves_nothing_visible() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let double = SnowflakeDouble::start().await;
    let stage = Stage::on(&double, Backend::s3(forward).await, Some(16));
    // The commit begins with a look at what is there.
    double.hold("LIST ");
    let place = Place::new().database(&database).connection("target.snowflake", &section(&double));
    let mut agent = place.start().await;
    let id = agent
        .submit(json!({
            "source_config": {"database": "sales", "query": "SELECT g AS id FROM generate_series(1, 1000) AS g"},
            "destination_config": {"type": "snowflake_stage", "stage": format!("{STAGE}/killed/"), "format": "csv"},
        }))
        .await;
    eventually("a commit", async || {
        double.executed().iter().any(|sql| sql.starts_with("LIST ")).then_some(())
    })
    .await;
    assert_eq!(stage.hidden().await.len(), 1, "the file is stored");
    agent.kill().await;
    assert_eq!(stage.visible("killed").await, BTreeMap::new(), "and not seen");

    double.release();
    agent.start_again().await;
    let task = agent.wait_until(&id, "completed").await;
    let files = stage.visible("killed").await;
    let lines: Vec<&str> = files.values().map(|file| std::str::from_utf8(file).unwrap()).collect();
    assert_eq!(lines.concat().lines().count(), 1001, "a header and each row once");
    assert_eq!(task["receipt"]["files"].as_array().unwrap().len(), files.len());
    assert_eq!(stage.hidden().await, Vec::<String>::new(), "the next attempt removed what was left");
    assert!(!agent.log().contains("secret-of-the-stage"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_get_from_postgresql_over_a_stage_into_a_table() {
    let (Some(emulator), Some(server)) =
        (fakesnow::address_if_installed(), postgres::server_if_installed().await)
    else {
        return;
    };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE orders AS SELECT g AS id, (g * 7 % 1000) / 100.0::numeric(12,2) AS price, \
             'name ' || g AS name, DATE '2026-01-01' + g % 300 AS day FROM generate_series(1, 20000) AS g",
        )
        .await;
    database.execute("ALTER TABLE orders ALTER price TYPE numeric(12,2)").await;
    let connection = fakesnow::connection(front::start(emulator).await);
    let client = Client::new(connection.clone(), &Shutdown::new()).unwrap();
    let run = async |sql: &str| client.run(&Statement::new(sql)).await.expect(sql);
    run("CREATE STAGE EXPORTS").await;
    run("CREATE TABLE ORDERS (ID INT, PRICE NUMBER(12,2), NAME TEXT, DAY DATE)").await;

    let destination = destination(connection);
    let source = extraction::source(&database);
    let task = Task {
        id: TaskId::generate(),
        spec: TaskSpec {
            source: SourceSpec {
                connection: "tests".into(),
                read: Read::Table("orders".into()),
                columns: None,
                slices: Some(2),
                slice_column: None,
                batch_size: None,
                method: None,
            },
            destination: DestinationSpec {
                kind: DestinationKind::SnowflakeStage,
                connection: None,
                path: "@EXPORTS/orders/dt=2026-11-20".into(),
                format: FileFormat::Parquet,
                compression: None,
                max_file_size: None,
                load: None,
            },
            max_attempts: 1,
            timeout: None,
            priority: 0,
            trace: Default::default(),
        },
    };
    let progress = Arc::new(Progress::default());
    let settings = TransferSettings::default();
    let transfer = Transfer::open(&source, &destination, &task, &settings, &progress).await.expect("open");
    let written = transfer.write(&CancellationToken::new()).await.expect("write").expect("nobody stops it");
    let receipt = transfer.commit(written, Instant::now()).await.expect("commit");
    assert_eq!(receipt.files.iter().map(|file| file.rows).sum::<u64>(), 20_000);

    run("COPY INTO ORDERS FROM @EXPORTS/orders/ FILE_FORMAT=(TYPE=PARQUET) MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE")
        .await;
    let sums = "SELECT count(*)::text AS a, sum(id)::bigint::text AS b, (sum(price) * 100)::bigint::text AS c, \
                count(DISTINCT name)::text AS d, min(day)::text || max(day)::text AS e FROM orders";
    let loaded = run(sums).await;
    let loaded: Vec<String> = loaded.rows[0].iter().map(|cell| cell.clone().unwrap()).collect();
    let mut read = Vec::new();
    for column in ["a", "b", "c", "d", "e"] {
        read.push(database.value::<String>(&format!("SELECT {column} FROM ({sums}) AS s")).await);
    }
    assert_eq!(loaded, read);
}
