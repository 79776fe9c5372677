//! The OpenAPI document says what the routes do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::*;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(openapi()).unwrap());

const METHODS: [&str; 7] = ["get", "post", "delete", "put", "patch", "options", "trace"];

/// The documented path of a request's path.
fn template(path: &str) -> Option<&'static str> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(wanted, part)| wanted == "{id}" && !part.is_empty() || wanted == part)
    };
    paths.keys().map(String::as_str).find(|template| fits(template))
}

/// An answer has a documented status, or says that the request itself is not documented.
#[track_caller]
pub(super) fn check_documented(method: &Method, path: &str, status: StatusCode) {
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let Some(template) = template(path) else {
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} is not documented");
        return;
    };
    let operation = &DOCUMENT["paths"][template][&method];
    if operation.is_null() {
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {template} is not documented");
        return;
    }
    let response = &operation["responses"][status.as_str()];
    assert!(!response.is_null(), "{method} {template}: {status} is not documented");
}

#[tokio::test]
async fn every_route_answers_and_no_other_method_does() {
    let agent = Agent::start().await;
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        let documented: BTreeSet<String> = operations
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| METHODS.contains(&name.as_str()))
            .map(|name| name.to_uppercase())
            .collect();
        assert!(!documented.is_empty(), "{path}");
        let path = path.replace("{id}", "unknown");
        for method in METHODS {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = Answer::of(agent.request(method.clone(), &path)).await;
            if documented.contains(method.as_str()) {
                assert_ne!(answer.status, 405, "{method} {path}");
                assert_ne!(answer.body["type"], "urn:data-exchange-agent:problem:unknown-route", "{path}");
                continue;
            }
            answer.assert_problem(405, "method-not-allowed");
            let allowed: BTreeSet<String> =
                answer.header("allow").split(',').filter(|name| *name != "HEAD").map(str::to_owned).collect();
            assert_eq!(allowed, documented, "{path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_served_and_is_openapi_3_1() {
    let agent = Agent::start().await;
    let answer = agent.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, *DOCUMENT);
    assert_eq!(answer.body["openapi"], "3.1.0");
}

#[test]
fn every_operation_has_an_id_a_tag_words_and_described_responses() {
    let mut ids = BTreeMap::new();
    for (path, operations) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let place = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert_eq!(ids.insert(id, place.clone()), None, "{place}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{place}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{place}: {parameter}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].is_string(), "{place} {status}");
                assert!(response["headers"]["x-request-id"].is_object(), "{place} {status}");
                assert_eq!(response["content"].is_object(), status != "204", "{place} {status}");
            }
        }
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&DOCUMENT, &mut found);
    assert!(found.contains("#/components/schemas/TaskRequest"));
    assert!(found.contains("#/components/schemas/FlatTaskRequest"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn optional_fields_of_a_task_are_not_required() {
    for (schema, required) in [
        ("TaskRequest", json!(["source_config", "destination_config"])),
        ("SourceRequest", json!(["database"])),
        ("DestinationRequest", json!(["type"])),
        ("FlatTaskRequest", json!(["engine", "statement", "upload_type", "upload_path"])),
    ] {
        assert_eq!(DOCUMENT["components"]["schemas"][schema]["required"], required, "{schema}");
    }
}
