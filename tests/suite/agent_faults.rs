//! A store or a database that fails, and what it may cost in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::s3_section;
use crate::support::agent::{Agent, Place, eventually};
use crate::support::gate::{Gate, gated_query};
use crate::support::postgres::{self, Options, Postgres};
use crate::support::proxy::{Operation, Proxy, Treatment, always, first, in_turn};
use crate::support::s3::{Bucket, server_address};

fn states(task: &Value) -> Vec<&str> {
    task["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_store_that_hangs() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let hangs = Arc::new(AtomicBool::new(true));
    let is_hanging = Arc::clone(&hangs);
    let proxy = Proxy::start(server_address(), move |operation| match operation {
        Operation::UploadPart | Operation::Abort if is_hanging.load(Ordering::SeqCst) => Treatment::Hang,
        _ => Treatment::Forward,
    })
    .await;
    let place = Place::new().database(&database).bucket(&bucket, proxy.address);
    let mut agent = place.application("stop_grace = \"1s\"").start().await;
    let mut task = many_files("hangs");
    task["max_attempts"] = json!(1);
    agent.submit(task).await;
    eventually("a part under way", async || (proxy.count(Operation::UploadPart) > 0).then_some(())).await;
    agent.signal("TERM");
    // The uploads could not be aborted in time: the agent says so, and the next attempt tidies up.
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(agent.log().contains("did not abort all uploads in time"), "{}", agent.log());
    assert!(bucket.objects("").await.is_empty());

    hangs.store(false, Ordering::SeqCst);
    agent.start_again().await;
    let task = agent.wait_until("hangs", "completed").await;
    assert_eq!(states(&task), ["released", "completed"]);
    assert_one_set(&bucket, &task, 4_000).await;
}

/// Six files or more.
fn many_files(id: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "sales", "query": gated_query(0, 4_000, 64), "batch_size": 100},
        "destination_config": {"type": "s3", "path": id, "max_file_size": "48KiB", "format": "csv"},
    })
}

/// Proves that the bucket has the objects of the receipt and nothing else.
async fn assert_one_set(bucket: &Bucket, task: &Value, rows: usize) {
    let objects = bucket.objects("").await;
    let files = task["receipt"]["files"].as_array().unwrap();
    let locations: Vec<&str> = files.iter().map(|file| file["location"].as_str().unwrap()).collect();
    let expected: Vec<String> = objects.keys().map(|key| format!("s3://{}/{key}", bucket.name)).collect();
    assert_eq!(expected, locations);
    let mut lines: Vec<&str> = Vec::new();
    for content in objects.values() {
        lines.extend(std::str::from_utf8(content).unwrap().lines().skip(1));
    }
    let mut ids: Vec<usize> =
        lines.iter().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=rows).collect::<Vec<_>>(), "each row once");
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
}

/// The faults of the first requests of each kind; later ones are forwarded.
fn troubled() -> impl Fn(Operation) -> Treatment + Send + Sync + 'static {
    use Treatment::{Cut, CutAnswer, Forward, Hang, Refuse};
    const ERROR: Treatment = Refuse(500, "InternalError");
    const SLOW_DOWN: Treatment = Refuse(503, "SlowDown");
    let plan: [(Operation, &[Treatment]); 4] = [
        (Operation::Create, &[ERROR, Forward, Cut, Forward, CutAnswer]),
        (Operation::UploadPart, &[SLOW_DOWN, Forward, Hang, Forward, CutAnswer, Forward, Cut]),
        (Operation::Complete, &[CutAnswer, ERROR, Cut]),
        (Operation::ListObjects, &[SLOW_DOWN]),
    ];
    let counters: [AtomicUsize; 4] = Default::default();
    move |operation| {
        let Some(index) = plan.iter().position(|(planned, _)| *planned == operation) else { return Forward };
        let turn = counters[index].fetch_add(1, Ordering::SeqCst);
        plan[index].1.get(turn).copied().unwrap_or(Forward)
    }
}

#[tokio::test]
async fn a_store_that_fails_throttles_hangs_and_cuts_gets_every_row_once() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let proxy = Proxy::start(server_address(), troubled()).await;
    let section = s3_section(&bucket, proxy.address, "writer-secret") + "request_timeout = 5\n";
    let agent = Place::new().database(&database).connection("target.s3", &section).start().await;
    agent.submit(many_files("troubled")).await;
    let task = agent.wait_until("troubled", "completed").await;
    assert_eq!(states(&task), ["completed"], "requests are repeated, not the attempt");
    assert!(task["receipt"]["files"].as_array().unwrap().len() >= 6);
    assert_one_set(&bucket, &task, 4_000).await;
}

#[tokio::test]
async fn a_store_that_breaks_an_attempt_gets_every_row_once_from_the_next_one() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    // An upload is made, and nobody learns its id: no repetition of the request can mend that.
    let garbled = first(1, Operation::Create, Treatment::GarbleAnswer);
    let creates = AtomicUsize::new(0);
    let treat = move |operation| match operation {
        // Two files are stored before.
        Operation::Create if creates.fetch_add(1, Ordering::SeqCst) < 2 => Treatment::Forward,
        other => garbled(other),
    };
    let proxy = Proxy::start(server_address(), treat).await;
    let agent = Place::new().database(&database).bucket(&bucket, proxy.address).start().await;
    agent.submit(many_files("broken")).await;
    let task = agent.wait_until("broken", "completed").await;
    assert_eq!(states(&task), ["failed", "completed"]);
    assert_eq!(task["attempts"][0]["error"]["kind"], "transient");
    assert_one_set(&bucket, &task, 4_000).await;
}

#[tokio::test]
async fn a_commit_that_fails_in_the_middle_leaves_no_visible_file_even_without_another_attempt() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    // Some of the files become visible before the right to write is taken away.
    let refused = Treatment::Refuse(403, "AccessDenied");
    let treat = in_turn(Operation::Complete, &[Treatment::Forward, Treatment::Forward, refused]);
    let proxy = Proxy::start(server_address(), treat).await;
    let agent = Place::new().database(&database).bucket(&bucket, proxy.address).start().await;
    agent.submit(many_files("halved")).await;
    let task = agent.wait_until("halved", "failed").await;
    assert_eq!(states(&task), ["failed"], "a missing right is no reason to try again");
    assert!(proxy.count(Operation::Complete) >= 6);
    assert_eq!(bucket.objects("").await.len(), 0, "{}", agent.log());
    assert_eq!(bucket.unfinished_uploads().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_goes_away_in_the_middle_is_read_again_from_the_start() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).start().await;
    let mut task = many_files("lost");
    task["source_config"]["query"] = json!(gated_query(3_500, 4_000, 64));
    task["destination_config"]["type"] = json!("local");
    // The server may take its time to come back.
    task["max_attempts"] = json!(100);
    agent.submit(task).await;
    gate.wait_for(1).await;
    eventually("several parts", async || (agent.files().len() > 2).then_some(())).await;
    server.stop_immediately().await;
    // The lock goes with the server.
    drop(gate);
    let failed_once = async || (states(&agent.task("lost").await)[0] == "failed").then_some(());
    eventually("the attempt to fail", failed_once).await;
    assert_eq!(agent.visible_files(), Vec::<String>::new());
    server.restart().await;

    let task = agent.wait_until("lost", "completed").await;
    let states = states(&task);
    assert_eq!((states.first(), states.last()), (Some(&"failed"), Some(&"completed")), "{states:?}");
    for attempt in &task["attempts"].as_array().unwrap()[..states.len() - 1] {
        assert_eq!(attempt["error"]["kind"], "transient", "{attempt}");
    }
    assert_eq!(task["receipt"]["rows"], 4_000);
    assert_eq!(agent.files().len(), task["receipt"]["files"].as_array().unwrap().len());
    let mut ids: Vec<u64> = agent.files().iter().flat_map(|file| ids_in(&agent, file)).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=4_000).collect::<Vec<_>>(), "each row once");
}

fn ids_in(agent: &Agent, file: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(agent.place.output().join(file)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn memory_stays_within_its_equation_however_slow_the_store_is() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let bucket = Bucket::new().await;
    let slow = always(Operation::UploadPart, Treatment::Delay(Duration::from_millis(150)));
    let proxy = Proxy::start(server_address(), slow).await;
    let section = s3_section(&bucket, proxy.address, "writer-secret") + "parallel_parts = 1\n";
    let agent = Place::new()
        .database(&database)
        .connection("target.s3", &section)
        .application("workers = 1")
        .transfer("batch_bytes = \"1 MiB\"")
        .transfer("row_group_bytes = \"4 MiB\"")
        .transfer("compression = \"none\"")
        .start()
        .await;
    agent.get("/health").await;
    let idle = agent.peak_memory();
    // About 100 MB of files; in the list of columns, because FROM would store the series first.
    let query = "SELECT id, hashtext(id::text)::bigint * 4711 AS noise, md5(id::text) AS text \
                 FROM (SELECT generate_series(1, 2000000) AS id) AS numbers";
    agent
        .submit(json!({
            "id": "large",
            "source_config": {"database": "sales", "query": query},
            "destination_config": {"type": "s3", "path": "large"},
        }))
        .await;
    let task = agent.wait_until("large", "completed").await;
    assert_eq!(task["receipt"]["rows"], 2_000_000);
    let written = task["receipt"]["bytes"].as_u64().unwrap();
    assert!(written > 80 * MIB, "{written}");

    // As in `transfer::plan`: five batches, the read buffer, two row groups, three chunks, and what
    // the store's client holds back: the part that is filled and the one that is on its way.
    let equation = (5 + 1 + 2 * 4 + 3 + 2 * 5) * MIB;
    // An allocator keeps more than is used, and code that runs for the first time is loaded.
    let generous = equation * 3 / 2 + 24 * MIB;
    let growth = agent.peak_memory() - idle;
    assert!(
        growth < generous && generous < written,
        "{} MiB more than idle ({} MiB), {} MiB allowed, {} MiB written",
        growth / MIB,
        idle / MIB,
        generous / MIB,
        written / MIB
    );
}
