//! `/tasks`: list, show, cancel, retry.

use super::*;
use crate::task::{FileReceipt, Outcome, Receipt};

#[tokio::test]
async fn pages_follow_each_other_newest_first() {
    let agent = Agent::start().await;
    for number in 1..=7 {
        agent.submit(&nested(&number.to_string())).await;
    }
    let mut seen = Vec::new();
    let mut path = "/tasks?limit=3".to_owned();
    loop {
        let page = agent.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        seen.extend(
            page.body["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()),
        );
        // A task that arrives meanwhile moves nothing.
        agent.submit(&nested(&format!("late-{}", seen.len()))).await;
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            assert_eq!(page.header("link"), "");
            break;
        };
        let next = format!("/tasks?limit=3&cursor={cursor}");
        assert_eq!(page.header("link"), format!("<{next}>; rel=\"next\""));
        path = next;
    }
    assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"]);
}

#[tokio::test]
async fn a_page_can_be_larger_than_one_step_of_the_queue() {
    let agent = Agent::start().await;
    let tasks: Vec<Value> = (0..120).map(|number| nested(&number.to_string())).collect();
    agent.submit(&json!(tasks)).await;
    let page = agent.get("/tasks?limit=70").await.body;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 70);
    assert_eq!(page["tasks"][69]["id"], "50");
    let rest =
        agent.get(&format!("/tasks?limit=500&cursor={}", page["next_cursor"].as_str().unwrap())).await.body;
    assert_eq!(rest["tasks"].as_array().unwrap().len(), 50);
    assert_eq!(rest["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_page_of_heavy_tasks_is_short_and_tells_where_to_go_on() {
    let agent = Agent::start().await;
    let query = format!("SELECT 1 {}", " ".repeat(200_000));
    for number in 0..60 {
        agent.submit(&with(nested(&number.to_string()), "/source_config/query", json!(query))).await;
    }
    let mut count = 0;
    let mut pages = 0;
    let mut path = "/tasks?limit=500".to_owned();
    loop {
        let page = agent.get(&path).await;
        assert!(page.text.len() < 3 << 20);
        count += page.body["tasks"].as_array().unwrap().len();
        pages += 1;
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/tasks?limit=500&cursor={cursor}");
    }
    // Eleven of them weigh more than two megabytes.
    assert_eq!((count, pages), (60, 6));
}

#[tokio::test]
async fn a_page_of_long_receipts_is_short_too() {
    let agent = Agent::start().await;
    for number in 0..5 {
        agent.submit(&nested(&number.to_string())).await;
    }
    let file = FileReceipt {
        location: format!("s3://bucket/{}", "a".repeat(200)),
        rows: 1,
        bytes: 1,
        sha256: "0".repeat(64),
    };
    let receipt = Receipt { files: vec![file; 4_000], rows: 4_000, ..Receipt::default() };
    let outcome = Outcome::Completed(receipt);
    for lease in agent.queue.lease(NonZeroUsize::new(5).unwrap()).await.unwrap() {
        agent.queue.finish(&lease, &outcome).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut path = "/tasks".to_owned();
    loop {
        let page = agent.get(&path).await;
        let tasks = page.body["tasks"].as_array().unwrap();
        assert!((1..=2).contains(&tasks.len()), "{} tasks on a page", tasks.len());
        seen.extend(tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/tasks?cursor={cursor}");
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn a_listing_can_be_limited_to_a_status() {
    let agent = Agent::start().await;
    for number in 1..=4 {
        agent.submit(&nested(&number.to_string())).await;
    }
    agent.delete("/tasks/2").await;
    agent.delete("/tasks/4").await;
    let ids = async |path: &str| -> Vec<String> {
        let page = agent.get(path).await.body;
        page["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("/tasks?status=cancelled").await, ["4", "2"]);
    assert_eq!(ids("/tasks?status=queued").await, ["3", "1"]);
    assert_eq!(ids("/tasks?status=failed").await, [""; 0]);
    let page = agent.get("/tasks?status=queued&limit=1").await;
    assert!(
        page.header("link").starts_with("</tasks?status=queued&limit=1&cursor="),
        "{}",
        page.header("link")
    );
}

#[tokio::test]
async fn wrong_query_parameters_are_named() {
    let agent = Agent::start().await;
    for (query, name, text) in [
        ("status=done", "status", "one of `queued`, `running`, `completed`, `failed`, `cancelled`"),
        ("limit=0", "limit", "1 to 500"),
        ("limit=501", "limit", "1 to 500"),
        ("limit=ten", "limit", "1 to 500"),
        ("limit=1&limit=2", "limit", "twice"),
        ("cursor=xyz", "cursor", "`next_cursor`"),
        ("cursor=ffffffffffffffff", "cursor", "`next_cursor`"),
        ("state=queued", "state", "did you mean `status`?"),
        ("order=age", "order", "known here: `status`, `limit`, `cursor`"),
        ("%ff=1", "\u{fffd}", "unknown parameter"),
    ] {
        agent.get(&format!("/tasks?{query}")).await.assert_errors(&[(name, text)]);
    }
    agent.get("/tasks?limit=0&status=x&y").await.assert_errors(&[
        ("limit", ""),
        ("status", ""),
        ("y", "unknown"),
    ]);
}

#[tokio::test]
async fn a_waiting_task_is_cancelled_at_once_and_can_be_retried() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    agent.post("/tasks/1/retry").await.assert_problem(409, "task-state");
    let cancelled = agent.delete("/tasks/1").await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("cancelled")));
    assert_eq!(agent.delete("/tasks/1").await.status, 200);
    let retried = agent.post("/tasks/1/retry").await;
    assert_eq!((retried.status.as_u16(), &retried.body["status"]), (202, &json!("queued")));
    assert_eq!(retried.header("location"), "/tasks/1");
}

#[tokio::test]
async fn a_running_task_shows_progress_and_stops_when_it_is_cancelled() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    agent.submit(&nested("1")).await;
    let running = agent.wait_for("1", "running").await;
    assert_eq!(running["attempts"][0]["status"], "running");
    let progress = async {
        // On record before it is entered into the list of running attempts.
        loop {
            let shown = agent.get("/tasks/1").await.body;
            if shown["progress"].is_object() {
                return shown["progress"].clone();
            }
        }
    };
    let progress = tokio::time::timeout(PATIENCE, progress).await.unwrap();
    assert_eq!((&progress["rows"], &progress["parts"]), (&json!(0), &json!(0)));

    let asked = agent.delete("/tasks/1").await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(asked.header("location"), "/tasks/1");
    // Much sooner than the next beat of the attempt's keeper.
    let cancelled =
        tokio::time::timeout(Duration::from_secs(15), agent.wait_for("1", "cancelled")).await.unwrap();
    assert_eq!(cancelled["attempts"][0]["status"], "cancelled");
    assert_eq!((&cancelled["progress"], &cancelled["cancel_requested"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn a_task_that_has_failed_shows_why_and_cannot_be_cancelled() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    let body = with(with(nested("1"), "/timeout", json!("10ms")), "/max_attempts", json!(1));
    agent.submit(&body).await;
    let failed = agent.wait_for("1", "failed").await;
    let error = &failed["attempts"][0]["error"];
    assert_eq!(error["kind"], "transient");
    assert!(error["message"].as_str().unwrap().contains("longer than its timeout"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("timeout"), "{error}");
    let refused = agent.delete("/tasks/1").await;
    refused.assert_problem(409, "task-state");
    assert!(refused.body["detail"].as_str().unwrap().contains("failed"));
    agent.pool.stop_handling();
    assert_eq!(agent.post("/tasks/1/retry").await.status, 202);
}

#[tokio::test]
async fn a_task_that_waits_for_its_next_attempt_tells_when() {
    let agent = Agent::start().await;
    agent.pool.start_handling();
    agent.submit(&with(nested("1"), "/timeout", json!("10ms"))).await;
    let wait = async {
        loop {
            let shown = agent.get("/tasks/1").await.body;
            if shown["next_attempt_at"].is_string() {
                return shown;
            }
        }
    };
    let waiting = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    let moment = |name: &str| waiting[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(moment("next_attempt_at") > moment("updated_at"));
    assert_eq!(waiting["status"], "queued");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    for (path, status) in [("/tasks/1", 200), ("/tasks/2", 404), ("/health", 200)] {
        let answer = Answer::of(agent.request(Method::HEAD, path)).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, ""), "{path}");
    }
}
