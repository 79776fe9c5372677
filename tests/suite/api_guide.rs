//! docs/API.md: the requests in it are sent to a real agent, and its answers have the fields that the
//! document shows, with values of the same kinds.

use reqwest::Method;
use serde_json::{Value, json};

use super::documents::place;
use crate::support::agent::{Agent, eventually};
use crate::support::document::blocks;

const GUIDE: &str = include_str!("../../docs/API.md");
/// Objects whose names are those of connections, task sources or whatever is logged.
const OPEN: [&str; 5] =
    ["running", "database_connections", "destination_connections", "unavailable", "fields"];

/// The examples of bodies that have not been looked at.
struct Examples(Vec<Value>);

impl Examples {
    fn of_the_guide() -> Self {
        let found = blocks(GUIDE);
        let bodies = found.iter().filter(|block| block.language() == "json");
        Self(bodies.map(|block| serde_json::from_str(&block.text).unwrap()).collect())
    }

    /// The first one that has all of these fields.
    fn take(&mut self, fields: &[&str]) -> Value {
        let place = self.0.iter().position(|body| fields.iter().all(|field| body.get(field).is_some()));
        self.0.remove(place.unwrap_or_else(|| panic!("no example has {fields:?}")))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The same fields with values of the same kinds; nothing is what a field can always be.
#[track_caller]
fn assert_alike(place: &str, example: &Value, real: &Value) {
    match (example, real) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(shown), Value::Object(found)) => {
            let is_open = OPEN.iter().any(|name| place.ends_with(&format!("/{name}")));
            if !is_open {
                let names = |object: &serde_json::Map<String, Value>| {
                    let mut names: Vec<String> = object.keys().cloned().collect();
                    names.sort();
                    names
                };
                assert_eq!(names(shown), names(found), "{place} in the document, and of the agent");
            }
            for (name, value) in shown {
                if let Some(found) = found.get(name) {
                    assert_alike(&format!("{place}/{name}"), value, found);
                }
            }
        }
        (Value::Array(shown), Value::Array(found)) => {
            if let (Some(shown), Some(found)) = (shown.first(), found.first()) {
                assert_alike(&format!("{place}/0"), shown, found);
            }
        }
        _ => assert_eq!(kind(example), kind(real), "{place}: {example} in the document, {real} of the agent"),
    }
}

async fn post(agent: &Agent, path: &str, body: &Value) -> Value {
    let answer = agent.post(path, Some(body)).await;
    assert!(answer.status < 300, "POST {path}: {answer:?}");
    answer.json()
}

#[tokio::test]
async fn answers_have_the_fields_that_the_guide_shows() {
    let mut examples = Examples::of_the_guide();
    let agent = place().await.start().await;

    // The first form writes to a store that is not here; its fields are accepted by the tests of the API.
    examples.take(&["task_type", "source_config", "max_attempts", "timeout"]);
    let mut flat = examples.take(&["engine", "statement"]);
    // A file of SQLite is no database with a name.
    flat["database"] = Value::Null;
    assert_alike(
        "POST /tasks",
        &examples.take(&["id_task", "location"]),
        &post(&agent, "/tasks", &flat).await,
    );
    // What has no effect is noted; without it there is nothing to note, and the task is the same.
    flat["schema"] = Value::Null;
    let first = flat.clone();
    flat["id"] = json!(43);
    let several = post(&agent, "/tasks", &json!([first, flat])).await;
    assert_alike("POST /tasks, several", &examples.take(&["message", "tasks"]), &several);
    assert_eq!(several["tasks"][0]["message"], "Task already exists");

    let preview = examples.take(&["source_config", "rows"]);
    assert_alike(
        "POST /preview",
        &examples.take(&["columns", "more"]),
        &post(&agent, "/preview", &preview).await,
    );

    let id = "orders-2026-11-20";
    let task = json!({
        "id": id,
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "local", "connection": "local", "path": "orders", "format": "parquet"},
        "timeout": "30m",
    });
    agent.submit(task).await;
    let mut real = agent.wait_until(id, "completed").await;
    let mut example = examples.take(&["attempts", "receipt"]);
    // Whether a query or a table is read, its field has another name.
    for request in [&mut real["request"], &mut example["request"]] {
        for field in ["query", "table"] {
            request["source_config"].as_object_mut().unwrap().remove(field);
        }
    }
    assert_alike("GET /tasks/{id}", &example, &real);
    assert_alike("GET /tasks", &examples.take(&["tasks", "next_cursor"]), &agent.get("/tasks?limit=1").await);
    let path = format!("/runs?task={id}");
    assert_alike("GET /runs", &examples.take(&["runs"]), &agent.get(&path).await);
    let mut shown = examples.take(&["lines"]);
    let message = shown["lines"][0]["message"].clone();
    let line = eventually("the line that the guide shows", async || {
        let log = agent.get(&format!("/tasks/{id}/logs")).await;
        log["lines"].as_array().unwrap().iter().find(|line| line["message"] == message).cloned()
    })
    .await;
    let example = shown["lines"][0].take();
    assert_alike("GET /tasks/{id}/logs", &example, &line);
    assert_eq!((&example["level"], &example["target"]), (&line["level"], &line["target"]));
    let names = |line: &Value| line["fields"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&example), names(&line));

    let mut health = examples.take(&["status", "service"]);
    // Here everything that is configured is served, and works.
    for names in ["unavailable", "database_faults"] {
        assert!(health.as_object_mut().unwrap().remove(names).is_some_and(|names| names.is_object()));
    }
    agent.submit_endless().await;
    let busy = eventually("a worker to be busy", async || {
        let health = agent.ask("/health").await.json();
        (health["workers"]["busy"] == 1 && health.get("database_faults").is_none()).then_some(health)
    })
    .await;
    assert_alike("GET /health", &health, &busy);
    assert!(agent.delete("/tasks/endless").await.status < 300);
    assert_alike(
        "GET /connections",
        &examples.take(&["sources", "targets"]),
        &agent.get("/connections").await,
    );
    let throughput = eventually("a sample", async || {
        let answer = agent.get("/throughput").await;
        (!answer["samples"].as_array().unwrap().is_empty()).then_some(answer)
    })
    .await;
    assert_alike("GET /throughput", &examples.take(&["samples"]), &throughput);

    let change = examples.take(&["level", "for"]);
    let changed = agent.try_request(Method::PUT, "/log_level", Some(&change)).await.unwrap();
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_alike("PUT /log_level", &examples.take(&["level", "until"]), &changed.json());

    let wrong = json!({
        "source_config": {"database": "sales", "query": "SELECT 1", "slices": 65},
        "destination_config": {"type": "local", "path": "x", "fromat": "csv"},
    });
    let problem = agent.post("/tasks", Some(&wrong)).await.problem(422);
    let example = examples.take(&["type", "errors"]);
    assert_alike("a problem", &example, &problem);
    assert_eq!(example["errors"], problem["errors"]);
    assert_eq!((&example["title"], &example["detail"]), (&problem["title"], &problem["detail"]));

    // The rows of the table of old routes show their answers.
    for route in ["get_handling_tasks_status", "get_tasks_count", "tasks_processed"] {
        let row =
            GUIDE.lines().find(|line| line.starts_with(&format!("| `GET /{route}`")) && line.contains("`{"));
        let row = row.unwrap_or_else(|| panic!("no row shows the answer of {route}"));
        let shown = row.split('`').find(|span| span.starts_with('{')).unwrap();
        assert_alike(route, &serde_json::from_str(shown).unwrap(), &agent.get(&format!("/{route}")).await);
    }
    assert_eq!(examples.0, [Value::Null; 0], "nobody has compared these with an agent");
}
