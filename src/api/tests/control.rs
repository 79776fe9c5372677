//! The routes of version 1.2.0.

use super::*;

#[tokio::test]
async fn handling_is_stopped_and_started_by_get_and_post() {
    let agent = Agent::start().await;
    for method in [Method::GET, Method::POST] {
        let started = Answer::of(agent.request(method.clone(), "/handle_tasks")).await;
        assert_eq!(started.body, json!({"message": "Task manager started", "handling_tasks": true}));
        assert_eq!(agent.get("/get_handling_tasks_status").await.body, json!({"handling_tasks": true}));
        let stopped = Answer::of(agent.request(method, "/stop")).await;
        assert_eq!(stopped.body, json!({"message": "Task manager stopped", "handling_tasks": false}));
        assert_eq!(agent.get("/get_handling_tasks_status").await.body, json!({"handling_tasks": false}));
    }
}

#[tokio::test]
async fn stopping_lets_the_running_task_end_and_starts_no_other() {
    let agent = Agent::start().await;
    agent.post("/handle_tasks").await;
    agent.submit(&nested("first")).await;
    agent.wait_for("first", "running").await;
    agent.post("/stop").await;
    agent.submit(&nested("second")).await;
    assert_eq!(agent.get("/tasks/first").await.body["status"], "running");
    agent.delete("/tasks/first").await;
    agent.wait_for("first", "cancelled").await;
    assert_eq!(agent.get("/tasks/second").await.body["status"], "queued");
    agent.post("/handle_tasks").await;
    agent.wait_for("second", "running").await;
}

#[tokio::test]
async fn tasks_are_counted() {
    let agent = Agent::start().await;
    for number in 1..=3 {
        agent.submit(&nested(&number.to_string())).await;
    }
    agent.delete("/tasks/3").await;
    let expected = json!({
        "tasks_count": 2,
        "worker_pid": std::process::id(),
        "tasks_by_status": {"queued": 2, "running": 0, "completed": 0, "failed": 0, "cancelled": 1}
    });
    assert_eq!(agent.get("/get_tasks_count").await.body, expected);
    assert_eq!(agent.get("/tasks_processed").await.body, json!({"tasks_processed": 0}));
}
