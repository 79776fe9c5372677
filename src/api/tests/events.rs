//! `/tasks/{id}/events`.

use super::*;

/// The events of an open stream.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(agent: &Agent, id: &str) -> Self {
        Self::of(agent.request(Method::GET, &format!("/tasks/{id}/events"))).await
    }

    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(response.headers().contains_key("x-request-id"));
        Self { response, text: String::new() }
    }

    /// The next event as JSON, and its id; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(Value, Option<String>)> {
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    let field = |name: &str| {
                        event
                            .lines()
                            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                    };
                    let Some(data) = field("data") else { continue };
                    assert_eq!(field("event").as_deref(), Some("task"));
                    return Some((serde_json::from_str(&data).unwrap(), field("id")));
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an event, or the end of the stream")
    }

    /// Skips events until one has this status.
    async fn until(&mut self, status: &str) -> Value {
        loop {
            let (task, _) = self.next().await.expect("the stream has this status before its end");
            if task["status"] == status {
                return task;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_follows_a_task_to_its_end() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let mut events = Events::open(&agent, "1").await;
    let (first, _) = events.next().await.unwrap();
    assert_eq!(first, agent.get("/tasks/1").await.body);

    agent.pool.start_handling();
    events.until("running").await;
    // About once a second while it runs, without any change.
    let progress = async {
        let mut elapsed = Vec::new();
        while elapsed.len() < 2 {
            let (task, id) = events.next().await.unwrap();
            assert_eq!((task["status"].as_str(), id), (Some("running"), None));
            elapsed.extend(task["progress"]["elapsed_ms"].as_u64());
        }
        elapsed
    };
    let elapsed = progress.await;
    assert!(elapsed[1] > elapsed[0], "{elapsed:?}");

    agent.delete("/tasks/1").await;
    let last = loop {
        let (task, id) = events.next().await.unwrap();
        if task["status"] == "cancelled" {
            break id;
        }
    };
    assert_eq!(last.as_deref(), Some("end"));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn an_ended_task_is_one_event_and_a_browser_is_told_to_stay_away() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    agent.delete("/tasks/1").await;
    let mut events = Events::open(&agent, "1").await;
    assert_eq!(events.next().await.unwrap().0["status"], "cancelled");
    assert_eq!(events.next().await, None);
    let again = agent.request(Method::GET, "/tasks/1/events").header("last-event-id", "end");
    assert_eq!(Answer::of(again).await.status, 204);
    // After a retry there is something new to tell.
    agent.post("/tasks/1/retry").await;
    let again =
        agent.request(Method::GET, "/tasks/1/events").header("last-event-id", "end").send().await.unwrap();
    assert_eq!(again.status(), 200);
}

#[tokio::test]
async fn a_stream_survives_more_changes_than_it_can_hold() {
    let agent = Agent::start().await;
    agent.submit(&nested("watched")).await;
    let mut events = Events::open(&agent, "watched").await;
    events.next().await.unwrap();
    // Far more than the channel of changes holds.
    let others: Vec<Value> = (0..1000).map(|number| nested(&number.to_string())).collect();
    for round in 0..10 {
        let others: Vec<Value> = others
            .iter()
            .map(|task| with(task.clone(), "/id", json!(format!("{round}-{}", task["id"].as_str().unwrap()))))
            .collect();
        assert_eq!(agent.submit(&json!(others)).await.status, 202);
    }
    agent.delete("/tasks/watched").await;
    events.until("cancelled").await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_server_that_closes_ends_its_streams() {
    let mut agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let mut events = Events::open(&agent, "1").await;
    events.next().await.unwrap();
    agent.stop.cancel();
    assert_eq!(events.next().await, None);
    tokio::time::timeout(PATIENCE, &mut agent.server).await.expect("the server ends").unwrap().unwrap();
    assert!(agent.request(Method::GET, "/live").send().await.is_err());
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_taken_away() {
    use crate::config::{self, ApiKey, Scope, Secret};

    let access = |names: &[&str]| {
        let key = |name: &&str| {
            let secret = Secret::new(format!("{name}-key-0123456789"));
            ApiKey::new(*name, &secret, vec![Scope::Read, Scope::Submit])
        };
        let api_keys = names.iter().map(key).collect();
        Access::new(&config::Server { api_keys, ..super::authentication::server() })
    };
    let agent = Agent::start_with(access(&["old", "new"])).await;
    let with_key =
        |request: reqwest::RequestBuilder, name: &str| request.bearer_auth(format!("{name}-key-0123456789"));
    let submitted = with_key(agent.request(Method::POST, "/tasks").json(&nested("1")), "new");
    assert_eq!(Answer::of(submitted).await.status, 202);
    let watch = || agent.request(Method::GET, "/tasks/1/events");
    let mut old = Events::of(with_key(watch(), "old")).await;
    let mut new = Events::of(with_key(watch(), "new")).await;
    old.next().await.unwrap();
    new.next().await.unwrap();
    agent.doors.replace(access(&["new"]));
    assert_eq!(old.next().await, None);
    let cancelled = with_key(agent.request(Method::DELETE, "/tasks/1"), "new");
    assert_eq!(Answer::of(cancelled).await.status, 200);
    assert_eq!(new.next().await.unwrap().0["status"], "cancelled", "the other stream goes on");
}

#[tokio::test]
async fn an_agent_that_aborts_ends_its_streams() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let mut events = Events::open(&agent, "1").await;
    events.next().await.unwrap();
    agent.shutdown.begin_abort();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn the_number_of_streams_is_bounded() {
    let agent = Agent::start().await;
    agent.submit(&nested("1")).await;
    let mut streams = Vec::new();
    for _ in 0..MAX_WATCHERS {
        streams.push(Events::open(&agent, "1").await);
    }
    agent.get("/tasks/1/events").await.assert_problem(503, "unavailable");
    assert_eq!(agent.get("/tasks/1").await.status, 200);
    drop(streams);
    let free = async {
        while agent.request(Method::GET, "/tasks/1/events").send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("a closed stream makes room");
}
