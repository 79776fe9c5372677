//! `check`: what an operator runs before the first task.

use std::fs;

use serde_json::Value;

use crate::support::agent::{Place, files_below};
use crate::support::s3::{Bucket, server_address};
use crate::support::server::free_address;

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
    for expected in ["configuration", "data directory", "memory", "source shop", "target local", "target s3"]
    {
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
