//! Hundreds of clients that watch tasks, and what they cost.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::agent::{Agent, PATIENCE, Place, eventually};
use crate::support::gate::{Gate, gated_query};
use crate::support::{foreign_reader, postgres};

/// Streams of a task that waits.
const IDLE: usize = 500;
/// Streams of a task that runs, whose clients take a byte now and then.
const SLOW: usize = 50;
/// Rows of the task that is watched.
const ROWS: u64 = 200_000;
const MIB: u64 = 1 << 20;

/// The streams, in a process of their own.
struct Streams {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Streams {
    /// Opens the streams, and waits until all are open.
    #[expect(clippy::disallowed_methods, reason = "tests start the programs that they talk to")]
    async fn open(agent: &Agent, idle: &str, slow: &str) -> Self {
        let url = agent.url("");
        let port = url.rsplit(':').next().expect("it has a port").to_owned();
        let mut command = Command::new(foreign_reader::python().expect("asked for before"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/event_streams.py"));
        command.args(["127.0.0.1", &port, idle, &IDLE.to_string(), slow, &SLOW.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("start Python");
        let input = process.stdin.take().expect("it is piped");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await.expect("they open").unwrap();
        assert_eq!(line.trim(), "ready", "{}", agent.log());
        Self { process, input, output }
    }

    /// Closes what is open still, and tells how many of both that was.
    async fn close(mut self) -> (usize, usize) {
        drop(self.input);
        let mut text = String::new();
        tokio::time::timeout(PATIENCE, self.output.read_to_string(&mut text))
            .await
            .expect("it ends")
            .unwrap();
        self.process.wait().await.unwrap();
        let mut counts = text.split_whitespace().map(|count| count.parse().unwrap());
        (counts.next().unwrap(), counts.next().unwrap())
    }
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("the agent runs").count()
}

#[tokio::test]
async fn hundreds_of_watchers_neither_stop_the_work_nor_cost_much_memory() {
    if !foreign_reader::is_installed() {
        return;
    }
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut gate = Gate::close(&database).await;
    let agent = Place::new().database(&database).application("workers = 1").start().await;
    let task = |id: &str, query: &str| {
        json!({
            "id": id,
            "source_config": {"database": "sales", "query": query},
            "destination_config": {"type": "local", "path": id, "format": "csv"},
        })
    };
    agent.submit(task("watched", &gated_query(ROWS / 2, ROWS, 64))).await;
    agent.submit(task("waits", "SELECT 1 AS one")).await;
    gate.wait_for(1).await;
    let (memory, files) = (agent.peak_memory(), descriptors(&agent));

    let streams = Streams::open(&agent, "waits", "watched").await;
    // A few others may have been closed since.
    assert!(descriptors(&agent) + 8 >= files + IDLE + SLOW, "they are all open at the same time");
    // While all of them are open, others are served and the work goes on.
    assert_eq!(agent.get("/ready").await["ready"], true);
    gate.open().await;
    let watched = agent.wait_until("watched", "completed").await;
    assert_eq!(watched["receipt"]["rows"], ROWS);
    agent.wait_until("waits", "completed").await;

    // An encoder's buffers and 550 connections of a few dozen KiB each; without a bound, events would
    // pile up for clients that do not take them.
    let growth = agent.peak_memory() - memory;
    assert!(growth < 160 * MIB, "{} MiB more than before", growth / MIB);
    // The tasks have ended, and so have the streams of clients that read.
    let (idle, _slow) = streams.close().await;
    assert_eq!(idle, 0, "a stream ends with its task");
    eventually("every descriptor to be given back", async || {
        (descriptors(&agent) <= files + 8).then_some(())
    })
    .await;
    // Nothing is held for clients that are gone.
    tokio::time::timeout(Duration::from_secs(60), agent.get("/health")).await.expect("an answer");
}

#[tokio::test]
async fn streams_never_take_the_last_connections() {
    let agent = Place::new()
        .server("max_connections = 4")
        .connection("source.sales", "kind = \"sqlite\"\npath = \"/nowhere/at/all\"\n")
        .start()
        .await;
    // Every client has connections of its own, and closes them.
    let client = || reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    assert_eq!(client().post(agent.url("/stop")).send().await.unwrap().status(), 200);
    let task = json!({
        "id": "waiting",
        "source_config": {"database": "sales", "query": "SELECT 1"},
        "destination_config": {"type": "local", "path": "x"},
    });
    assert_eq!(client().post(agent.url("/tasks")).json(&task).send().await.unwrap().status(), 202);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = client().get(agent.url("/tasks/waiting/events")).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        assert!(stream.chunk().await.unwrap().is_some());
        streams.push(stream);
    }
    for _ in 0..3 {
        let refused = client().get(agent.url("/tasks/waiting/events")).send().await.unwrap();
        assert_eq!(refused.status(), 503, "a stream more would be the last connection");
        assert!(refused.headers().contains_key("retry-after"));
        let served = client().get(agent.url("/tasks/waiting")).timeout(PATIENCE).send().await;
        assert_eq!(served.expect("there is a connection for requests").status(), 200);
    }
    drop(streams);
    eventually("a place for a stream", async || {
        let answer = client().get(agent.url("/tasks/waiting/events")).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}
