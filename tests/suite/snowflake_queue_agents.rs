//! Two agents on one queue in Snowflake, killed at random: no task is lost, none is finished twice.

use std::path::Path;
use std::time::{Duration, Instant};

use super::snowflake_queue::{payload, place};
use crate::support::agent::{Agent, eventually};
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::QueueServer;

const TASKS: usize = 1_000;
const KILLS: usize = 12;
/// Without progress for this long the clock of the server is put ahead.
const STANDSTILL: Duration = Duration::from_secs(2);

async fn are_idle(agents: &[Agent]) -> bool {
    for agent in agents {
        if agent.ask("/health").await.json()["workers"]["busy"] != 0 {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_thousand_tasks_end_once_each_while_agents_are_killed() {
    let server = QueueServer::start(Version::Ours).await;
    for number in 0..TASKS {
        let sql = format!("SELECT id, text, {number} AS task FROM numbers");
        server.queue.enqueue(&format!("task-{number}"), &payload(&sql));
    }
    let names = ["agent-0", "agent-1"];
    let mut agents: Vec<Agent> = Vec::new();
    for name in names {
        let place = place(&server, &format!("agent_id = {name:?}\n")).await;
        agents.push(place.start().await);
    }
    for _ in 0..KILLS {
        let finished = server.queue.count(State::Completed);
        let wanted = (finished + rand::random_range(10..60)).min(TASKS);
        eventually("some more tasks", async || {
            (server.queue.count(State::Completed) >= wanted).then_some(())
        })
        .await;
        let victim = rand::random_range(0..agents.len());
        agents[victim].kill().await;
        server.queue.expire_leases_of(names[victim]);
        agents[victim].start_again().await;
    }
    let ended = || server.queue.count(State::Completed) + server.queue.count(State::Failed);
    // One after the other, so that only a standstill uses up the patience of one wait.
    while ended() < TASKS {
        let (before, begun) = (ended(), Instant::now());
        eventually("another task to end", async || {
            // A call of a dead agent can arrive after its leases ran out. Nobody knows of that lease, nobody
            // refreshes it, and it runs out too: five minutes that the test does not wait for. What is run keeps
            // its lease, however slow the machine is.
            let is_standing = begun.elapsed() > STANDSTILL && server.queue.count(State::Queued) == 0;
            if is_standing && are_idle(&agents).await {
                server.queue.expire_unrefreshed_leases();
            }
            (ended() > before).then_some(())
        })
        .await;
    }

    let logs = || agents.iter().map(Agent::log).collect::<Vec<_>>().join("\n");
    for (id, row) in server.queue.rows() {
        assert_eq!((row.state, row.completions, row.failures), (State::Completed, 1, 0), "{id}\n{}", logs());
        let name = format!("out/task_{id}_result_001.parquet");
        // A task whose agent died after the commit has the same file in both places.
        let is_there = |agent: &Agent| Path::new(&agent.place.output()).join(&name).is_file();
        assert!(agents.iter().any(is_there), "{name}");
        let receipt: serde_json::Value = serde_json::from_str(row.receipt.as_deref().unwrap()).unwrap();
        assert_eq!(receipt["rows"], 3);
    }
}
