//! Methods through the whole program: tasks in both forms, the command line, and `check`.

use serde_json::json;

use crate::support::agent::{Place, eventually};
use crate::support::bulk::{installed, script};
use crate::support::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_how_its_rows_are_read_and_its_receipt_says_who_chose() {
    if installed("psql").is_none() {
        return;
    }
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let place = Place::new().database(&database);
    let agent = place.start().await;
    let nested = |id: &str, method: &str| {
        json!({"id": id,
            "source_config": {"database": "sales", "query": "SELECT 1 AS a", "method": method},
            "destination_config": {"type": "local", "path": id}})
    };
    let flat = json!({"id": "flat", "engine": "sales", "statement": "SELECT 1 AS a", "source_type": "psql",
        "upload_type": "local", "upload_path": "flat"});
    for (task, id, name, reason) in [
        (nested("asked", "psql"), "asked", "psql", "the task asks for it"),
        (nested("auto", "auto"), "auto", "native", "it is the default"),
        (flat, "flat", "psql", "the task asks for it"),
    ] {
        agent.submit(task).await;
        let task = agent.wait_until(id, "completed").await;
        assert_eq!(task["receipt"]["method"], json!({"name": name, "reason": reason}), "{task:#}");
        assert_eq!(task["receipt"]["rows"], 1);
    }
    // One that fails says so, too.
    let mut fails = nested("fails", "psql");
    fails["source_config"]["query"] = json!("SELECT 1 / (n - 1) AS a FROM generate_series(1, 2) AS t(n)");
    agent.submit(fails).await;
    let task = agent.wait_until("fails", "failed").await;
    let method = &task["attempts"][0]["error"]["method"];
    assert_eq!(*method, json!({"name": "psql", "reason": "the task asks for it"}), "{task:#}");
    for (method, expected) in [
        ("bcp", "it reads from connections to SQL Server only"),
        ("odbc", "cannot be read by `odbc`"),
        ("telepathy", "there is no method `telepathy`"),
    ] {
        let answer = agent.post("/tasks", Some(&nested("refused", method))).await;
        assert_eq!(answer.status, 422);
        let problem = answer.text;
        assert!(problem.contains("/source_config/method") && problem.contains(expected), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_extract_name_a_missing_program_with_the_way_to_get_it() {
    let place = Place::new().section("bulk_utility.bcp", "executable = \"/nowhere/bcp\"\n");
    let configuration = place.configuration();
    let finished = place.run(&["check", "--config", configuration.to_str().expect("plain")]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for expected in ["utility bcp", "there is no program `/nowhere/bcp`", "mssql-tools18", "freetds-bin"] {
        assert!(finished.stdout.contains(expected), "{expected}: {}", finished.stdout);
    }
}

fn exporter(place: &Place, text: &str, lines: &str) -> (&'static str, String) {
    let program = script(place.path(), "export", text).display().to_string();
    ("bulk_utility.exporter", format!("kind = \"command\"\nexecutable = {program:?}\n{lines}"))
}

fn by_exporter(id: &str) -> serde_json::Value {
    json!({"id": id,
        "source_config": {"database": "sales", "query": "SELECT 1 AS a", "method": "exporter"},
        "destination_config": {"type": "local", "path": id}})
}

/// The environment of the agent has the secrets of every connection in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_no_variable_of_the_agent_that_nobody_names() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let place = Place::new().database(&database);
    let seen = place.path().join("seen");
    let text = format!("env > '{}'; echo 1", seen.display());
    let (name, lines) = exporter(&place, &text, "variables = \"ORACLE_* NAMED\"\n");
    let mut place = place.section(name, &lines);
    for name in [
        "SNOWFLAKE_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AZURE_CLIENT_SECRET",
        "PGPASSWORD",
        "VAULT_TOKEN",
        "ORACLE_HOME",
        "NAMED",
        "LC_TIME",
    ] {
        place = place.environment(name, "planted");
    }
    let agent = place.start().await;
    agent.submit(by_exporter("seen")).await;
    agent.wait_until("seen", "completed").await;
    let seen = std::fs::read_to_string(seen).unwrap();
    let mut planted: Vec<&str> = seen.lines().filter_map(|line| line.strip_suffix("=planted")).collect();
    planted.sort_unstable();
    assert_eq!(planted, ["LC_TIME", "NAMED", "ORACLE_HOME"], "{seen}");
    assert!(seen.lines().any(|line| line.starts_with("PATH=")), "{seen}");
}

/// What a run has left behind, secrets included, goes away with the next start, and its processes do.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_what_the_programs_of_a_dead_one_have_left() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let place = Place::new().database(&database);
    // The first run waits for ever in a child that has left the group and everything else.
    let text = "cd \"$(dirname \"$0\")\"\nif mkdir first 2> /dev/null; then\n\
        setsid sh -c 'echo $$ > child; mv child child-is-there; exec sleep 100000' > /dev/null 2>&1 < /dev/null &\n\
        exec sleep 100000\nfi\necho 1 > \"$1\"";
    let (name, lines) = exporter(&place, text, "arguments = \"{output}\"\n");
    let mut agent = place.section(name, &lines).start().await;
    let path = agent.place.path().to_owned();
    let folders = || -> Vec<String> {
        let entries = std::fs::read_dir(&path).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("data-exchange-agent-")).collect()
    };
    agent.submit(by_exporter("left")).await;
    let child =
        eventually("a child", async || std::fs::read_to_string(path.join("child-is-there")).ok()).await;
    let left = folders();
    assert_eq!(left.len(), 1);
    agent.kill().await;
    assert!(std::path::Path::new(&format!("/proc/{}", child.trim())).exists());
    assert_eq!(folders(), left, "a killed agent cannot clean up");

    agent.start_again().await;
    eventually("the end of the child", async || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    })
    .await;
    assert!(folders().iter().all(|folder| !left.contains(folder)), "{:?}", folders());
    assert_eq!(agent.wait_until("left", "completed").await["receipt"]["rows"], 1);
    eventually("no folder", async || folders().is_empty().then_some(())).await;
    assert!(agent.log().contains("of an agent that died"), "{}", agent.log());
}
