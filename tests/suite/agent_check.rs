//! `check`: what an operator runs before the first task.

use std::fs;

use data_exchange_agent::snowflake::Statement;
use serde_json::{Value, json};

use super::snowflake_queue;
use crate::support::account::Account;
use crate::support::agent::{Place, files_below};
use crate::support::s3::{Bucket, server_address};
use crate::support::server::free_address;
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::QueueServer;

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_works_is_said_to_work_and_nothing_is_left_behind() {
    let bucket = Bucket::new().await;
    let place = Place::new().bucket(&bucket, server_address());
    let database = place.path().join("source.db");
    fs::write(&database, "").expect("an empty file is an empty database");
    let place = place.connection("source.shop", &format!("kind = \"sqlite\"\npath = {database:?}\n"));
    let configuration = place.configuration();
    let finished = place.run(&["check", "--config", configuration.to_str().expect("plain"), "--json"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let findings: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let names: Vec<&str> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| finding["check"].as_str().expect("text"))
        .collect();
    for expected in [
        "configuration",
        "data directory",
        "memory",
        "space of the data directory",
        "space of the target local",
        "source shop",
        "target local",
        "target s3",
    ] {
        assert!(names.contains(&expected), "{expected}: {findings:#}");
    }
    assert!(bucket.objects("").await.is_empty() && bucket.unfinished_uploads().await.is_empty());
    assert_eq!(files_below(&place.output()), Vec::<String>::new());
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
    assert!(written["detail"].as_str().is_some_and(|detail| detail.contains("removed it")), "{written}");
    let wrong = target(&["--stage", "no stage"]).await;
    assert_eq!(wrong["ok"], false, "{wrong}");
    let left = client.run(&Statement::new("LIST @STG")).await.unwrap();
    assert!(left.rows.is_empty(), "{left:?}");
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
        let configuration = place.configuration();
        let arguments = ["check", "--config", configuration.to_str().expect("plain"), "--json"];
        let finished = place.run(&arguments).await;
        let findings: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        let named = |name: &str| {
            let mut findings = findings.as_array().expect("a list").iter();
            findings
                .find(|finding| finding["check"] == name)
                .unwrap_or_else(|| panic!("{name}: {findings:#?}"))
        };
        let queue = named("queue in Snowflake");
        assert_eq!(queue["ok"], true, "{queue}");
        assert!(queue["detail"].as_str().is_some_and(|detail| detail.contains(expected)), "{queue}");
        assert_eq!(named("clock")["ok"], true, "{findings:#}");
        let row = server.queue.row("waits").expect("it is there");
        assert_eq!((row.state, row.attempt), (State::Queued, 0));
    }
}
