//! What hangs around the running program holds neither its work nor its stop: a log that nobody reads, a secret that
//! takes its time, a collector that does not answer. And what fails is seen, at whichever level of the log.

use std::fs;

use data_exchange_agent::shutdown::spawn_blocking;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::agent_operations::{ITEMS, listen, place, systemd, task};
use crate::support::agent::{PATIENCE, Place, eventually};
use crate::support::postgres;
use crate::support::server::free_address;

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_the_agent_nor_its_stop() {
    let mut agent = place()
        .await
        .section("log", "level = \"debug\"\nfiles = false")
        .without_reader_of_stderr()
        .start()
        .await;
    // Several times as many lines as fit into a pipe.
    for _ in 0..2_000 {
        let live = tokio::time::timeout(PATIENCE, agent.try_request(Method::GET, "/live", None)).await;
        assert_eq!(live.expect("it answers").unwrap().status, 200);
    }
    agent.submit(task("done", ITEMS)).await;
    agent.wait_until("done", "completed").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_takes_its_time_at_a_reload_delays_neither_signals_nor_signs_of_life() {
    let place = place().await;
    let (folder, path) = (place.path().to_owned(), place.path().join("notify"));
    let (gate, asked) = (folder.join("gate"), folder.join("asked"));
    let script = folder.join("secret.sh");
    let waits = "[ -e gate ] && touch asked; while [ -e gate ]; do sleep 0.1; done; echo secret\n";
    fs::write(&script, format!("cd {:?}\n{waits}", folder.display())).unwrap();
    let section = format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"u\"\ndatabase = \"d\"\n\
         password = \"${{cmd:sh {}}}\"\n",
        free_address().port(),
        script.display()
    );
    let socket = systemd(&path);
    let mut agent = place
        .section("secrets", "allow_command_secrets = true\n")
        .connection("source.sales", &section)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", "1000000")
        .start()
        .await;
    listen(&socket, "READY=1");
    fs::write(&gate, "").unwrap();
    agent.signal("HUP");
    listen(&socket, "RELOADING=1");
    eventually("the secret to be asked for", async || asked.exists().then_some(())).await;
    for _ in 0..2 {
        let heard = listen(&socket, "WATCHDOG=1");
        assert!(!heard.iter().any(|message| message.contains("READY=1")), "{heard:?}");
    }
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(!agent.log().contains("the new configuration has problems"), "it waited for the secret");
    fs::remove_file(&gate).unwrap();
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_no_stop() {
    // It takes connections, as the system does for it, and says nothing.
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let section = format!(
        "endpoint = \"http://{}\"\nmetrics_interval = \"1s\"\ntimeout = \"2m\"",
        collector.local_addr().unwrap()
    );
    let mut agent = place().await.section("otlp", &section).start().await;
    agent.submit(task("done", ITEMS)).await;
    agent.wait_until("done", "completed").await;
    let accepted = spawn_blocking(move || (collector.accept().unwrap(), collector));
    let _kept = tokio::time::timeout(PATIENCE, accepted).await.expect("it is asked").unwrap();
    agent.signal("TERM");
    // With code 1 when something did not end by itself.
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
    assert!(!agent.log().contains("the agent aborts"), "{}", agent.log());
}

#[tokio::test]
async fn a_task_without_attempts_left_counts_as_failed_and_is_told_so_at_every_level() {
    let section = format!(
        "kind = \"postgresql\"\nhost = \"127.0.0.1\"\nport = {}\nusername = \"u\"\ndatabase = \"d\"\npassword = \"p\"\n",
        free_address().port()
    );
    let place = place().await.section("log", "format = \"json\"\nlevel = \"warn\"");
    let agent = place.connection("source.away", &section).start().await;
    let mut away = task("away", "SELECT 1");
    away["source_config"]["database"] = json!("away");
    agent.submit(away).await;
    let ended = agent.wait_until("away", "failed").await;
    assert_eq!(ended["attempts"][0]["error"]["kind"], "transient", "{ended}");
    for (outcome, count) in [("failed", 1.0), ("retry", 0.0)] {
        let sample = format!("data_exchange_agent_attempts_total{{outcome=\"{outcome}\"}}");
        assert_eq!(agent.metric(&sample).await, count, "{outcome}");
    }
    let lines: Vec<Value> = eventually("the line of the failure", async || {
        let lines: Vec<Value> =
            agent.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().any(|line| line["message"] == "task failed").then_some(lines)
    })
    .await;
    let failed = lines.iter().find(|line| line["message"] == "task failed").unwrap();
    let span = &failed["span"];
    assert_eq!((&span["task.id"], &span["attempt"]), (&json!("away"), &json!(1)), "{failed}");
    assert!(lines.iter().all(|line| line["level"] != "INFO"), "{lines:?}");
    let kept = agent.get("/tasks/away/logs").await;
    let messages: Vec<&Value> =
        kept["lines"].as_array().unwrap().iter().map(|line| &line["message"]).collect();
    assert_eq!(*messages[messages.len() - 1], "task failed");
}

#[tokio::test]
async fn a_task_asks_for_no_more_slices_than_the_memory_has_room_for() {
    let place = place().await.application("memory_limit = \"300 MiB\"").application("workers = 2");
    let agent = place.start().await;
    let mut wide = task("wide", ITEMS);
    wide["source_config"]["slices"] = json!(64);
    agent.submit(wide).await;
    agent.wait_until("wide", "completed").await;
    eventually("a line about it", async || {
        agent.log().contains("the task is read in fewer slices than it asks for").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_begins_while_another_program_holds_the_history() {
    let mut agent = place().await.start().await;
    agent.submit(task("before", ITEMS)).await;
    agent.wait_until("before", "completed").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0));
    let file = agent.place.path().join("data/history.sqlite");
    let mut other =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    agent.start_again().await;
    agent.submit(task("now", ITEMS)).await;
    agent.wait_until("now", "completed").await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("both runs", async || {
        let runs = agent.get("/runs").await;
        let tasks: Vec<Value> =
            runs["runs"].as_array().unwrap().iter().map(|run| run["task"].clone()).collect();
        (tasks == ["now", "before"]).then_some(())
    })
    .await;
    assert!(!file.with_file_name("history.sqlite.unreadable").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_gets_no_sign_of_life_while_the_queue_cannot_be_written() {
    const BROKEN: &str = "systemd gets no sign of life";
    let place = place().await;
    let path = place.path().join("notify");
    let socket = systemd(&path);
    let mut agent = place
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .environment("WATCHDOG_USEC", "1000000")
        .start()
        .await;
    listen(&socket, "WATCHDOG=1");
    let file = agent.place.path().join("data/queue.sqlite");
    let mut other =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let broken = async |count: usize| {
        eventually("a look that finds the queue broken", async || {
            (agent.log().matches(BROKEN).count() >= count).then_some(())
        })
        .await;
    };
    // A look that was under way may have ended well; those after the first bad one have begun too late for that.
    let before = agent.log().matches(BROKEN).count();
    broken(before + 1).await;
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1_024];
    while socket.recv(&mut buffer).is_ok() {}
    broken(before + 4).await;
    let heard = socket.recv(&mut buffer).unwrap_err();
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock, "three looks, and not a word");
    assert_eq!(agent.ask("/live").await.status, 200, "the process itself answers");

    // What is whole again is told again.
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    socket.set_nonblocking(false).unwrap();
    listen(&socket, "WATCHDOG=1");
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code(), Some(0), "{}", agent.log());
}

#[tokio::test]
async fn what_tasks_have_used_goes_back_to_the_system_when_nothing_runs() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let agent = Place::new().database(&database).application("workers = 4").start().await;
    agent.get("/health").await;
    let before = agent.anonymous_memory();
    let query = "SELECT id, md5(id::text) AS text, md5((id + 1)::text) AS other \
                 FROM (SELECT generate_series(1, 300000) AS id) AS numbers";
    let ids: Vec<String> = (0..8).map(|number| format!("task-{number}")).collect();
    for id in &ids {
        agent
            .submit(json!({
                "id": id,
                "source_config": {"database": "sales", "query": query},
                "destination_config": {"type": "local", "path": id},
            }))
            .await;
    }
    for id in &ids {
        agent.wait_until(id, "completed").await;
    }
    // What stays is pools, caches and stacks; four tasks of this kind have some ten times as much.
    let kept = 24 << 20;
    eventually("memory that goes back", async || (agent.anonymous_memory() < before + kept).then_some(()))
        .await;
}
