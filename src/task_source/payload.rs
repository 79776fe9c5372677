//! Tasks as remote queues hand them out: the payload of version 1.2.0, its flat form, or the nested form
//! of `POST /tasks`.

use serde_json::{Map, Value};

use super::ReadTask;
use crate::fault::{Fault, FaultKind};
use crate::task::{InvalidTaskId, TaskSpec};

/// Keys of a payload of version 1.2.0 and the same in the flat form. `statement_location_id` is the SQL
/// text itself.
const PAYLOAD: [(&str, &str); 7] = [
    ("source_type", "engine"),
    ("database", "database"),
    ("schema", "schema"),
    ("statement_location_id", "statement"),
    ("target_type", "upload_type"),
    ("target_id", "upload_path"),
    ("suggested_batch_size", "suggested_batch_size"),
];
/// Keys that only a payload of version 1.2.0 has.
const PAYLOAD_ONLY: [&str; 3] = ["statement_location_id", "target_type", "target_id"];
/// Keys of the flat form, without its id: a remote queue names the task itself.
const FLAT: [&str; 8] = [
    "engine",
    "database",
    "schema",
    "statement",
    "source_type",
    "upload_type",
    "upload_path",
    "suggested_batch_size",
];

/// What a payload asks for. A fault says everything that is wrong with it, in words for whoever wrote it.
pub(super) fn understand(payload: &Value, read: &ReadTask) -> Result<TaskSpec, Fault> {
    let action = "understand the payload of the task";
    let Value::Object(fields) = payload else {
        return Err(Fault::new(FaultKind::Request, action).because("it is not a JSON object"));
    };
    let is_payload = PAYLOAD_ONLY.iter().any(|key| fields.contains_key(*key));
    let is_nested = fields.contains_key("source_config") || fields.contains_key("destination_config");
    let task = match (is_nested, is_payload) {
        // Our own form is read strictly: a misspelt option must not be ignored.
        (true, _) => nested(fields),
        // Other agents ignore what they do not know, and so may its writers.
        (false, true) => pick(fields, PAYLOAD),
        (false, false) => pick(fields, FLAT.map(|key| (key, key))),
    };
    read(&task).map(|task| task.spec).map_err(|findings| {
        let described = findings.iter().map(|(pointer, detail)| {
            let pointer = if is_payload { own_pointer(pointer) } else { pointer.clone() };
            if pointer.is_empty() { detail.clone() } else { format!("`{pointer}`: {detail}") }
        });
        Fault::new(FaultKind::Request, action)
            .because(described.collect::<Vec<_>>().join("; "))
            .remedy("Correct the task where it is put into the queue, then enqueue it again.")
    })
}

/// The same from JSON text.
pub(super) fn understand_text(payload: Option<&str>, read: &ReadTask) -> Result<TaskSpec, Fault> {
    let action = "read the payload of the task as JSON";
    let text = payload.ok_or_else(|| Fault::new(FaultKind::Request, action).because("there is none"))?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // The message of the parser itself quotes nothing; its place is enough to find the mistake.
        let place = format!("line {}, column {}", error.line(), error.column());
        Fault::new(FaultKind::Request, action).because(format!("it is no JSON at {place}"))
    })?;
    // A VARIANT that holds a text comes as a JSON string.
    match value {
        Value::String(inner) => match serde_json::from_str(&inner) {
            Ok(value) => understand(&value, read),
            Err(_) => understand(&Value::String(inner), read),
        },
        value => understand(&value, read),
    }
}

/// Why an id of a remote queue cannot be one here.
pub(super) fn wrong_id(invalid: InvalidTaskId) -> Fault {
    Fault::new(FaultKind::Request, "take over the id of the task, which becomes part of file names")
        .because(invalid)
        .remedy("Enqueue the task with another id.")
}

/// The nested form without its id and attempts, which are the remote queue's own.
fn nested(fields: &Map<String, Value>) -> Value {
    let is_kept = |(key, _): &(&String, &Value)| key.as_str() != "id";
    fields.iter().filter(is_kept).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn pick<const N: usize>(fields: &Map<String, Value>, keys: [(&str, &str); N]) -> Value {
    let found = keys.iter().filter_map(|(from, to)| Some(((*to).to_owned(), fields.get(*from)?.clone())));
    Value::Object(found.collect())
}

/// The pointer that the writer of a payload knows.
fn own_pointer(pointer: &str) -> String {
    let own = PAYLOAD.iter().find(|(_, flat)| pointer.strip_prefix('/') == Some(flat));
    own.map_or_else(|| pointer.to_owned(), |(own, _)| format!("/{own}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::task::{Task, TaskId, TaskSpec};

    /// A reader that remembers what it was given.
    fn reader() -> (ReadTask, Arc<Mutex<Vec<Value>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let read: ReadTask = Arc::new(move |value: &Value| {
            kept.lock().unwrap().push(value.clone());
            Ok(Task { id: TaskId::generate(), spec: TaskSpec::sample() })
        });
        (read, seen)
    }

    #[test]
    fn each_form_becomes_a_form_of_post_tasks() {
        let (read, seen) = reader();
        let payload = json!({"source_type": "sales", "database": "d", "schema": null,
            "statement_location_id": "SELECT 1", "target_type": "snowflake:stage", "target_id": "@s/p",
            "suggested_batch_size": 10, "workflow": "unknown to agents"});
        let flat = json!({"id": 7, "engine": "sales", "statement": "SELECT 1", "source_type": "jdbc",
            "upload_type": "s3", "upload_path": "p", "extra": 1});
        let nested = json!({"id": "x", "source_config": {"database": "sales"}, "destination_config": {},
            "unknown": 1});
        for value in [&payload, &flat, &nested] {
            understand(value, &read).unwrap();
        }
        let expected = [
            json!({"engine": "sales", "database": "d", "schema": null, "statement": "SELECT 1",
                "upload_type": "snowflake:stage", "upload_path": "@s/p", "suggested_batch_size": 10}),
            json!({"engine": "sales", "statement": "SELECT 1", "source_type": "jdbc", "upload_type": "s3",
                "upload_path": "p"}),
            json!({"source_config": {"database": "sales"}, "destination_config": {}, "unknown": 1}),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn a_text_inside_a_variant_is_read_too() {
        let (read, seen) = reader();
        let text = serde_json::to_string(&json!({"statement_location_id": "SELECT 1"}).to_string()).unwrap();
        understand_text(Some(&text), &read).unwrap();
        assert_eq!(*seen.lock().unwrap(), [json!({"statement": "SELECT 1"})]);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_writer() {
        let read: ReadTask = Arc::new(|_: &Value| {
            Err(vec![("/statement".into(), "missing".into()), ("/upload_type".into(), "unknown".into())])
        });
        let fault = understand(&json!({"target_id": "p"}), &read).unwrap_err();
        assert_eq!(
            fault.chain(),
            "understand the payload of the task: `/statement_location_id`: missing; `/target_type`: unknown"
        );
        let (read, _) = reader();
        for (text, expected) in [
            (Some("{\"a\": secret}"), "it is no JSON at line 1, column 7"),
            (Some("[]"), "it is not a JSON object"),
            (Some("\"words\""), "it is not a JSON object"),
            (None, "there is none"),
        ] {
            let fault = understand_text(text, &read).unwrap_err();
            assert!(fault.chain().ends_with(expected), "{}", fault.chain());
            assert_eq!(fault.kind(), FaultKind::Request);
        }
    }
}
