//! Every way in which a call, an answer, a lease or an agent can get lost.

use std::time::Duration;

use super::{place, row_when, three_rows};
use crate::support::agent::eventually;
use crate::support::snowflake::queue::{State, Version};
use crate::support::snowflake::queue_server::{QueueServer, Trouble};

#[tokio::test]
async fn an_agent_killed_between_upload_and_complete_leaves_one_set_of_files() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("COMPLETE_TASK", [Trouble::Held]);
    server.queue.enqueue("1", &three_rows());
    let mut agent = place(&server, "agent_id = \"a\"\n").await.start().await;
    eventually("COMPLETE to be held", async || (server.held() == 1).then_some(())).await;
    assert_eq!(agent.visible_files(), ["out/task_1_result_001.parquet"], "the upload is committed");
    agent.kill().await;
    // The call of the dead agent is not answered any more, and its lease runs out.
    server.queue.expire_leases_of("a");
    server.let_go();
    agent.start_again().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.failures), (1, 0));
    eventually("one file", async || (agent.files() == ["out/task_1_result_001.parquet"]).then_some(())).await;
    assert_eq!(server.queue.calls("FAIL_TASK") + server.queue.calls("REJECT_TASK"), 0);
}

#[tokio::test]
async fn a_completion_whose_answer_is_lost_is_repeated_and_never_failed() {
    for version in [Version::Ours, Version::Old] {
        for trouble in [Trouble::AnswerLost, Trouble::AnswerLostAndForgotten] {
            let server = QueueServer::start(version).await;
            server.trouble("COMPLETE_TASK", [trouble, trouble]);
            server.queue.enqueue("1", &three_rows());
            let mut agent = place(&server, "").await.start().await;
            row_when(&server, "1", State::Completed, &agent).await;
            eventually("the troubles to pass", async || {
                (server.troubles_left("COMPLETE_TASK") == 0 || trouble == Trouble::AnswerLost).then_some(())
            })
            .await;
            agent.signal("TERM");
            assert!(agent.exit().await.success(), "{}", agent.log());
            let row = server.queue.row("1").unwrap();
            assert_eq!((row.state, row.completions), (State::Completed, 1), "{version:?} {trouble:?}");
            assert_eq!(server.queue.calls("FAIL_TASK") + server.queue.calls("REJECT_TASK"), 0);
        }
    }
}

#[tokio::test]
async fn a_completion_that_is_refused_is_kept_and_repeated() {
    let server = QueueServer::start(Version::Ours).await;
    server.trouble("COMPLETE_TASK", [Trouble::Refused; 3]);
    server.queue.enqueue("1", &three_rows());
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!((row.completions, row.attempt), (1, 1));
    eventually("the line about it", async || {
        agent.log().contains("outcome could not be recorded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lease_lost_during_the_upload_never_commits() {
    let server = QueueServer::start(Version::Ours).await;
    // The first question about the lease comes right before the commit.
    server.trouble("EXTEND_LEASES", [Trouble::Held]);
    server.queue.enqueue("1", &three_rows());
    let mut agent = place(&server, "").await.start().await;
    eventually("the question before the commit", async || (server.held() == 1).then_some(())).await;
    server.queue.change("1", |row| row.holder = Some("another agent".to_owned()));
    server.let_go();
    eventually("nothing to be left of the upload", async || agent.files().is_empty().then_some(())).await;
    agent.signal("TERM");
    assert!(agent.exit().await.success(), "{}", agent.log());
    assert_eq!(agent.files(), Vec::<String>::new());
    for call in ["COMPLETE_TASK", "FAIL_TASK", "REJECT_TASK", "RELEASE_TASK"] {
        assert_eq!(server.queue.calls(call), 0, "nothing is said about a task of somebody else: {call}");
    }
}

#[tokio::test]
async fn a_pull_whose_answer_is_lost_leases_once() {
    for version in [Version::Ours, Version::Old] {
        let server = QueueServer::start(version).await;
        server.queue.enqueue("1", &three_rows());
        server.trouble("PULL_TASKS", [Trouble::AnswerLost]);
        let agent = place(&server, "").await.start().await;
        let row = row_when(&server, "1", State::Completed, &agent).await;
        assert_eq!((row.attempt, row.completions), (1, 1), "the answer came with the repetition");
    }
}

#[tokio::test]
async fn a_queue_that_cannot_be_reached_for_a_while_loses_nothing() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.enqueue("1", &three_rows());
    server.trouble("COMPLETE_TASK", [Trouble::Held]);
    let agent = place(&server, "").await.start().await;
    eventually("COMPLETE to be held", async || (server.held() == 1).then_some(())).await;
    server.set_down(true);
    server.queue.enqueue("2", &three_rows());
    server.let_go();
    row_when(&server, "1", State::Completed, &agent).await;
    server.set_down(false);
    let row = row_when(&server, "2", State::Completed, &agent).await;
    assert_eq!(row.completions, 1);
}

#[tokio::test]
async fn the_clock_of_the_server_does_not_matter() {
    let server = QueueServer::start(Version::Ours).await;
    server.queue.advance(Duration::from_secs(10 * 365 * 86_400));
    server.queue.enqueue("1", &three_rows());
    let agent = place(&server, "").await.start().await;
    let row = row_when(&server, "1", State::Completed, &agent).await;
    assert_eq!(row.attempt, 1);
}
