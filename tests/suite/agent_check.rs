//! `check`: what an operator runs before the first task.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use data_exchange_agent::snowflake::Statement;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::snowflake_queue;
use crate::support::account::Account;
use crate::support::agent::{Place, s3_section};
use crate::support::azurite::{ACCOUNT, account_key};
use crate::support::blob_container::Container;
use crate::support::cloud_front::{Cloud, Front};
use crate::support::proxy::{Operation, Proxy, Treatment, always};
use crate::support::s3::{Bucket, server_address};
use crate::support::server::free_address;
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::QueueServer;

/// What is said of a target that a file was written to.
const WRITTEN: &str = "opened, wrote a file and deleted it";

/// Exit code and findings of a check.
async fn check(place: &Place) -> (Option<i32>, Value) {
    let configuration = place.configuration();
    let finished = place.run(&["check", "--config", configuration.to_str().expect("plain"), "--json"]).await;
    let findings =
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    (finished.code, findings)
}

fn named<'f>(findings: &'f Value, name: &str) -> &'f Value {
    let mut all = findings.as_array().expect("a list").iter();
    all.find(|finding| finding["check"] == name).unwrap_or_else(|| panic!("{name}: {findings:#}"))
}

/// How many files and directories are in the root of the target `local`.
fn entries(place: &Place) -> usize {
    fs::read_dir(place.output()).expect("the root stays").count()
}

/// The target `blob`: a container of this test, reached through `address`.
fn in_azure(place: Place, container: &Container, address: SocketAddr) -> Place {
    let section = format!(
        "container_name = {:?}\nprefix = \"exports\"\nendpoint_url = \"http://{address}/{ACCOUNT}\"\n\
         account_name = \"{ACCOUNT}\"\naccount_key = {:?}\n",
        container.name,
        account_key()
    );
    place.connection("target.blob", &section)
}

/// The target `gcs`: a bucket of this test, reached through `address`. Its tokens come from the front.
fn in_google(place: Place, bucket: &Bucket, front: &Front, address: SocketAddr) -> Place {
    let key_file = place.path().join("key.json");
    fs::write(&key_file, front.service_account()).expect("the folder takes new files");
    let section = format!(
        "bucket_name = {:?}\nprefix = \"exports\"\nendpoint_url = \"http://{address}\"\n\
         service_account_file = {key_file:?}\n",
        bucket.name
    );
    place.connection("target.gcs", &section)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_works_is_said_to_work_and_nothing_is_left_behind() {
    let bucket = Bucket::new().await;
    let place = Place::new().bucket(&bucket, server_address());
    let database = place.path().join("source.db");
    fs::write(&database, "").expect("an empty file is an empty database");
    let place = place.connection("source.shop", &format!("kind = \"sqlite\"\npath = {database:?}\n"));
    let (code, findings) = check(&place).await;
    assert_eq!(code, Some(0), "{findings:#}");
    for expected in [
        "configuration",
        "data directory",
        "memory",
        "space of the data directory",
        "space of the target local",
        "source shop",
        "target local",
        "target s3",
        "clock",
    ] {
        assert_eq!(named(&findings, expected)["ok"], true);
    }
    let clock = named(&findings, "clock")["detail"].as_str().expect("a text");
    assert!(clock.starts_with("differs by") && clock.contains(&server_address().to_string()), "{clock}");
    for target in ["target local", "target s3"] {
        assert_eq!(named(&findings, target)["detail"], WRITTEN);
    }
    assert!(bucket.objects("").await.is_empty() && bucket.unfinished_uploads().await.is_empty());
    assert_eq!(entries(&place), 0, "not even a directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_leaves_nothing_in_azure_and_google_not_even_what_nobody_sees() {
    let Some(container) = Container::new().await else { return };
    let front = Front::start(Cloud::Google).await.expect("moto is always there");
    let bucket = Bucket::new().await;
    let place = in_azure(Place::new(), &container, container.service());
    let place = in_google(place, &bucket, &front, front.address);
    let (code, findings) = check(&place).await;
    assert_eq!(code, Some(0), "{findings:#}");
    for target in ["target blob", "target gcs"] {
        assert_eq!(named(&findings, target)["detail"], WRITTEN);
    }
    let clocks = findings.as_array().expect("a list").iter().filter(|finding| finding["check"] == "clock");
    let clocks: String = clocks.filter_map(|finding| finding["detail"].as_str()).collect();
    for server in [container.service(), front.address] {
        assert_eq!(clocks.matches(&format!("that of http://{server}")).count(), 1, "{clocks}");
    }
    assert_eq!(container.blobs("").await, BTreeMap::new());
    assert_eq!(container.uncommitted().await, Vec::<String>::new());
    assert_eq!(bucket.objects("").await, BTreeMap::new());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
}

/// A server that says yes to everything, and whose clock has stopped.
#[expect(clippy::disallowed_methods, reason = "the server is no part of the agent, no stop waits for it")]
async fn server_of_the_past() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let router = Router::new().fallback(|| async { [("date", "Tue, 01 Jan 2019 00:00:00 GMT")] });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_a_store_would_not_believe_is_found() {
    let address = server_of_the_past().await;
    let section = format!(
        "bucket_name = \"lake\"\nregion_name = \"us-east-1\"\nendpoint_url = \"http://{address}\"\n\
         path_style = true\naccess_key_id = \"writer\"\nsecret_access_key = \"writer-secret\"\n"
    );
    let place = Place::new().connection("target.s3", &section);
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");
    let finished = place.run(&["check", "--config", configuration, "--json", "--without-writing"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let findings = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(named(&findings, "target s3")["ok"], true);
    let clock = named(&findings, "clock");
    assert_eq!(clock["ok"], false, "{clock}");
    let detail = clock["detail"].as_str().expect("a text");
    assert!(detail.contains("ahead of") && detail.contains(&address.to_string()), "{clock}");
    assert!(clock["remedy"].as_str().is_some_and(|remedy| remedy.contains("Set the clock")), "{clock}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_at_the_same_moment_do_not_disturb_each_other() {
    let bucket = Bucket::new().await;
    // Two names for one place in the bucket.
    let again = s3_section(&bucket, server_address(), "writer-secret");
    let place = Place::new().bucket(&bucket, server_address()).connection("target.again", &again);
    let configuration = place.configuration();
    let arguments = ["check", "--config", configuration.to_str().expect("plain")];
    for finished in join_all([place.run(&arguments), place.run(&arguments), place.run(&arguments)]).await {
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    assert_eq!(bucket.objects("").await, BTreeMap::new());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
    assert_eq!(entries(&place), 0);
}

async fn keys(bucket: &Bucket) -> Vec<String> {
    bucket.objects("").await.into_keys().collect()
}

/// A way to `server` on which nobody may delete.
async fn without_right_to_delete(server: SocketAddr, code: &'static str) -> Proxy {
    Proxy::start(server, always(Operation::Delete, Treatment::Refuse(403, code))).await
}

/// Checks that the finding about `target` names the only file that is left, and the missing right.
async fn check_refusal(place: &Place, target: &str, right: &str, left: impl AsyncFn() -> Vec<String>) {
    let (code, findings) = check(place).await;
    assert_eq!(code, Some(1), "{findings:#}");
    let finding = named(&findings, target);
    assert_eq!(finding["ok"], false, "{finding}");
    let [detail, remedy] = ["detail", "remedy"].map(|field| finding[field].as_str().expect("a text"));
    assert!(remedy.contains(right) && remedy.ends_with("Then delete this file."), "{finding}");
    let left = left().await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("exports/.data-exchange-check-"), "{left:?}");
    assert!(detail.contains(&format!("{}` is left", left[0])), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_delete_is_found_with_the_file_that_is_left() {
    let bucket = Bucket::new().await;
    let proxy = without_right_to_delete(server_address(), "AccessDenied").await;
    let place = Place::new().bucket(&bucket, proxy.address);
    check_refusal(&place, "target s3", "s3:DeleteObject", async || keys(&bucket).await).await;

    let bucket = Bucket::new().await;
    let front = Front::start(Cloud::Google).await.expect("moto is always there");
    let proxy = without_right_to_delete(front.address, "AccessDenied").await;
    let place = in_google(Place::new(), &bucket, &front, proxy.address);
    check_refusal(&place, "target gcs", "storage.objects.delete", async || keys(&bucket).await).await;

    let Some(container) = Container::new().await else { return };
    let proxy = without_right_to_delete(container.service(), "AuthorizationPermissionMismatch").await;
    let place = in_azure(Place::new(), &container, proxy.address);
    let left = async || container.blobs("").await.into_keys().collect::<Vec<_>>();
    check_refusal(&place, "target blob", "Storage Blob Data Contributor", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_made_visible_leaves_nothing() {
    let bucket = Bucket::new().await;
    let treat = always(Operation::Complete, Treatment::Refuse(403, "AccessDenied"));
    let proxy = Proxy::start(server_address(), treat).await;
    let (code, findings) = check(&Place::new().bucket(&bucket, proxy.address)).await;
    assert_eq!(code, Some(1), "{findings:#}");
    let finding = named(&findings, "target s3");
    assert!(finding["detail"].as_str().is_some_and(|detail| detail.contains("make `s3://")), "{finding}");
    assert!(finding["remedy"].as_str().is_some_and(|remedy| remedy.contains("s3:PutObject")), "{finding}");
    assert_eq!(bucket.objects("").await, BTreeMap::new());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_has_a_cause_and_a_remedy_and_does_not_hide_the_rest() {
    let nobody = free_address();
    let section = format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"u\"\ndatabase = \"d\"\npassword = \"hunter2\"\n",
        nobody.port()
    );
    let place = Place::new().connection("source.sales", &section);
    let configuration = place.configuration();
    let arguments = ["doctor", "--config", configuration.to_str().expect("plain")];
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let line = |name: &str| {
        finished.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    };
    assert!(line("source sales").contains("FAILED"), "{}", finished.stdout);
    assert!(line("target local").contains(" ok "), "{}", finished.stdout);
    assert!(
        finished.stdout.contains("refused") && !finished.stdout.contains("hunter2"),
        "{}",
        finished.stdout
    );

    fs::write(&configuration, "[application]\nworkers = 1000\n").expect("write");
    let finished = place.run(&arguments).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stdout.contains("application.workers"), "{}", finished.stdout);
}

#[tokio::test]
async fn what_is_short_on_this_machine_is_told_by_every_name_of_the_command() {
    let place = Place::new()
        .section("guards", "min_free_disk = \"1000 TiB\"")
        .application("memory_limit = \"64 MiB\"")
        .application("workers = 50");
    let configuration = place.configuration();
    for name in ["check", "test", "doctor"] {
        let finished = place.run(&[name, "--config", configuration.to_str().expect("plain")]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let line = |name: &str| {
            finished.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
        };
        let memory = line("memory ");
        assert!(memory.contains("FAILED") && memory.contains("application.memory_limit"), "{memory}");
        for place in ["the data directory", "the target local"] {
            let space = line(&format!("space of {place} "));
            assert!(space.contains("FAILED") && space.contains("are wanted"), "{place}: {space}");
        }
        assert!(finished.stdout.contains("lower guards.min_free_disk"), "{}", finished.stdout);
    }
}

#[tokio::test]
async fn a_program_reads_names_as_they_are_and_a_person_a_table() {
    let source = format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"u\"\ndatabase = \"d\"\n\
         password = \"hunter2\"\nmethod = \"psql\"\n",
        free_address().port()
    );
    // A key of an API that is not there is worth a warning.
    let place = Place::new()
        .connection("source.sales", &source)
        .section("task_source.api", "key = \"a key that nobody asks for\"\n");
    let (code, findings) = check(&place).await;
    assert_eq!(code, Some(1), "{findings:#}");
    let all = findings.as_array().expect("a list");
    for finding in all {
        let name = finding["check"].as_str().expect("a name");
        assert_eq!(name.trim(), name);
        assert!(finding["warning"].is_boolean(), "{finding}");
        assert!(finding["ok"] == true || finding["warning"] == false, "{finding}");
    }
    let is_expected = |finding: &Value| {
        let detail = finding["detail"].as_str().unwrap_or_default();
        finding["check"] == "warning" && finding["warning"] == true && detail.contains("task_source.api.key")
    };
    assert!(all.iter().any(is_expected), "{findings:#}");
    assert_eq!(named(&findings, "psql for sales")["ok"], true);

    let configuration = place.configuration();
    let finished = place.run(&["check", "--config", configuration.to_str().expect("plain")]).await;
    for name in ["  warning ", "  psql for sales "] {
        assert!(finished.stdout.lines().any(|line| line.starts_with(name)), "{name}: {}", finished.stdout);
    }
}

#[tokio::test]
async fn a_stage_that_is_named_is_written_to_and_left_as_it_was() {
    let Some(account) = Account::open().await else { return };
    let place = account.target(Place::new(), "warehouse");
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");
    let target = async |arguments: &[&str]| {
        let arguments = [&["check", "--config", configuration, "--json"], arguments].concat();
        let finished = place.run(&arguments).await;
        let findings: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        let findings = findings.as_array().expect("a list").clone();
        let names: Vec<_> = findings.iter().map(|finding| finding["check"].clone()).collect();
        assert!(names.contains(&"clock".into()), "{names:?}");
        findings.into_iter().find(|finding| finding["check"] == "target warehouse").expect("a finding")
    };
    let opened = target(&[]).await;
    assert_eq!((&opened["ok"], &opened["detail"]), (&true.into(), &"opened".into()), "{opened}");
    let client = account.client();
    client.run(&Statement::new("CREATE STAGE STG")).await.unwrap();
    let written = target(&["--stage", "@STG"]).await;
    assert_eq!(written["ok"], true, "{written}");
    assert_eq!(written["detail"], WRITTEN, "{written}");
    let wrong = target(&["--stage", "no stage"]).await;
    assert_eq!(wrong["ok"], false, "{wrong}");
    match &account.relay {
        // The emulator does not carry it out.
        Some(relay) => {
            let statements = relay.take_statements();
            let removals =
                statements.iter().filter(|sql| sql.starts_with("REMOVE @STG/.data-exchange-check-"));
            assert_eq!(removals.count(), 1, "{statements:?}");
        }
        None => {
            let left = client.run(&Statement::new("LIST @STG")).await.unwrap();
            assert!(left.rows.is_empty(), "{left:?}");
        }
    }
    client.close().await;
    account.close().await;
}

#[tokio::test]
async fn the_queue_in_snowflake_is_looked_at_and_nothing_is_taken_from_it() {
    for (version, expected) in [
        (Version::Ours, " are there; tasks that wait: 1"),
        (Version::Old, "without EXTEND_LEASES, RELEASE_TASK, REJECT_TASK, RECORD_HISTORY, QUEUE_DEPTH"),
    ] {
        let server = QueueServer::start(version).await;
        server.queue.enqueue("waits", &json!({}));
        let place = snowflake_queue::place(&server, "").await;
        let (_, findings) = check(&place).await;
        let queue = named(&findings, "queue in Snowflake");
        assert_eq!(queue["ok"], true, "{queue}");
        assert!(queue["detail"].as_str().is_some_and(|detail| detail.contains(expected)), "{queue}");
        assert_eq!(named(&findings, "clock")["ok"], true);
        let row = server.queue.row("waits").expect("it is there");
        assert_eq!((row.state, row.attempt), (State::Queued, 0));
    }
}
