//! A client of the API that remembers every answer.

use std::sync::PoisonError;
use std::time::Instant;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Agent, LOOK, PATIENCE, eventually};

/// One answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body of a problem document, whose form is checked.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}

impl Agent {
    /// Every body that the API has answered with.
    pub(crate) fn answers_seen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Sends a request; an error is one of the connection.
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, self.url(path)).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.take(request.send().await?).await
    }

    /// Reads an answer to its end.
    pub(crate) async fn take(&self, response: reqwest::Response) -> Result<Answer, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_str(&text);
        seen.push('\n');
        Ok(Answer { status, headers, text })
    }

    /// The HTTP client.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let described = format!("{method} {path}");
        match self.try_request(method, path, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{described}: {error:?}\n{}", self.log()),
        }
    }

    /// `GET`, whatever the status.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    /// `GET` that is answered with 200.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// `POST` with or without a body, whatever the status.
    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Answer {
        self.request(Method::POST, path, body).await
    }

    /// `DELETE`, whatever the status.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// Posts a new task and returns its id.
    pub(crate) async fn submit(&self, task: Value) -> String {
        let answer = self.post("/tasks", Some(&task)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id_task"].as_str().expect("an id").to_owned()
    }

    /// Submits the task `endless`, which reads from the SQLite source `sales` for as long as anybody looks.
    pub(crate) async fn submit_endless(&self) {
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        self.submit(json!({
            "id": "endless",
            "source_config": {"database": "sales", "query": endless},
            "destination_config": {"type": "local", "path": "endless"},
        }))
        .await;
    }

    /// `GET /health` once it calls a connection connected: on a busy machine the first look at one can take
    /// longer than the agent waits.
    pub(crate) async fn health_when(&self, connections: &str, name: &str) -> Value {
        eventually(&format!("{name} to be connected"), async || {
            let health = self.ask("/health").await.json();
            (health[connections][name] == "connected").then_some(health)
        })
        .await
    }

    /// A task.
    pub(crate) async fn task(&self, id: &str) -> Value {
        self.get(&format!("/tasks/{id}")).await
    }

    /// Waits until a task is in this state. Fails when it ends in another one.
    pub(crate) async fn wait_until(&self, id: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let task = self.task(id).await;
            let found = task["status"].as_str().expect("a status");
            if found == state {
                return task;
            }
            let has_ended = ["completed", "failed", "cancelled"].contains(&found);
            assert!(
                !has_ended && begun.elapsed() < PATIENCE,
                "task {id} is {found}, not {state}: {task:#}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every task that there is has ended.
    pub(crate) async fn wait_until_idle(&self) {
        eventually("every task to end", async || {
            let count = self.get("/get_tasks_count").await;
            (count["tasks_count"] == 0).then_some(())
        })
        .await;
    }

    /// `GET` with an API key, answered with 200.
    pub(crate) async fn ask_with_key(&self, key: &str, path: &str) -> Value {
        let request = self.http.get(self.url(path)).bearer_auth(key).timeout(PATIENCE);
        let answer = self.take(request.send().await.expect("an answer")).await.expect("a whole answer");
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// Waits until a task of an agent that asks for a key is in this state.
    pub(crate) async fn wait_with_key(&self, key: &str, id: &str, state: &str) {
        eventually("the task to get there", async || {
            let task = self.ask_with_key(key, &format!("/tasks/{id}")).await;
            (task["status"] == state).then_some(())
        })
        .await;
    }

    /// Reads the events of a task until the stream ends, and tells `watcher` each one.
    pub(crate) async fn watch(&self, id: &str, mut watcher: impl AsyncFnMut(&Value)) -> Vec<Value> {
        let mut response =
            self.http.get(self.url(&format!("/tasks/{id}/events"))).send().await.expect("the stream opens");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Vec::new();
        let mut text = String::new();
        let reading = async {
            while let Some(chunk) = response.chunk().await.expect("the stream ends in good order") {
                text.push_str(std::str::from_utf8(&chunk).expect("JSON here is ASCII"));
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    if let Some(data) = data {
                        let event: Value = serde_json::from_str(data).expect("an event is JSON");
                        watcher(&event).await;
                        events.push(event);
                    }
                    text = rest.to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends");
        events
    }

    /// The value of a sample of `/metrics`, by its name and labels as they are written there.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let answer = self.ask("/metrics").await;
        assert_eq!(answer.status, 200);
        let value = answer.text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in\n{}", answer.text)).parse().expect("a number")
    }
}
