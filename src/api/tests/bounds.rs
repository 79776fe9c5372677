//! What the tasks of a caller may do.

use super::authentication::server;
use super::*;
use crate::bounds::{PathPrefix, TablePattern, TaskBounds};
use crate::config::{self, ApiKey, Scope, Secret};

const BOUNDED: &str = "bounded-key-0123456789";
const FREE: &str = "free-key-0123456789";

fn bounds() -> TaskBounds {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let prefixes = ["orders", "@db.public.lake/orders/"].map(|prefix| PathPrefix::parse(prefix).unwrap());
    TaskBounds {
        sources: names(&["sales", "not-configured"]),
        destinations: names(&["local", "warehouse"]),
        path_prefixes: Some(prefixes.into()),
        load_tables: Some(vec![TablePattern::parse("DB.PUBLIC.*").unwrap()]),
    }
}

async fn agent() -> Agent {
    let key = |name: &str, key| ApiKey::new(name, &Secret::new(key), Scope::ALL.to_vec());
    let keys = vec![key("bounded", BOUNDED).bounded(bounds()), key("free", FREE)];
    Agent::start_with(Access::new(&config::Server { api_keys: keys, ..server() })).await
}

async fn submit(agent: &Agent, key: &str, body: &Value) -> Answer {
    Answer::of(agent.request(Method::POST, "/tasks").json(body).bearer_auth(key)).await
}

fn stage(id: &str, stage: &str, table: &str) -> Value {
    json!({
        "id": id,
        "source_config": {"database": "sales", "table": "orders"},
        "destination_config": {"type": "snowflake_stage", "stage": stage, "load": {"table": table}},
    })
}

/// Checks that exactly these places are refused.
#[track_caller]
fn assert_refused(answer: &Answer, task: &Value, places: &[&str]) {
    answer.assert_problem(403, "out-of-bounds");
    let errors = answer.body["errors"].as_array().unwrap();
    let found: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(found, places, "{}", answer.text);
    for secret in ["ledger", "archive", "sales_db"] {
        // What the caller has written may be repeated.
        let is_told = answer.text.contains(&format!("`{secret}`"));
        assert!(!is_told || task.to_string().contains(secret), "{}", answer.text);
    }
}

#[tokio::test]
async fn every_form_of_a_task_stays_inside_the_bounds_of_its_key() {
    let agent = agent().await;
    for (number, (task, places)) in [
        (nested("x"), vec![]),
        (flat("x"), vec![]),
        (with(nested("x"), "/destination_config/path", json!("/orders/2026/")), vec![]),
        (stage("x", "@db.public.lake/orders/2026", "db.public.orders"), vec![]),
        (with(nested("x"), "/source_config/database", json!("ledger")), vec!["/source_config/database"]),
        (with(nested("x"), "/source_config/database", json!("nobody")), vec!["/source_config/database"]),
        (with(flat("x"), "/engine", json!("ledger")), vec!["/engine"]),
        (with(with(flat("x"), "/engine", json!("ledger")), "/database", json!("guess")), vec!["/engine"]),
        (with(nested("x"), "/destination_config/type", json!("s3")), vec!["/destination_config/type"]),
        (
            with(
                with(nested("x"), "/destination_config/type", json!("s3")),
                "/destination_config/connection",
                json!("archive"),
            ),
            vec!["/destination_config/connection"],
        ),
        (with(flat("x"), "/upload_type", json!("s3")), vec!["/upload_type"]),
        (with(nested("x"), "/destination_config/path", json!("hr")), vec!["/destination_config/path"]),
        (with(nested("x"), "/destination_config/path", json!("")), vec!["/destination_config/path"]),
        (with(nested("x"), "/destination_config/path", json!("ordersx")), vec!["/destination_config/path"]),
        (with(nested("x"), "/destination_config/path", json!("orders//../hr").clone()), vec!["wrong"]),
        (
            with(nested("x"), "/destination_config/path", json!("orders/%2e%2e/hr")),
            vec!["/destination_config/path"],
        ),
        (
            with(nested("x"), "/destination_config/path", json!("orders//hr")),
            vec!["/destination_config/path"],
        ),
        (with(flat("x"), "/upload_path", json!("orders\\..\\hr")), vec!["/upload_path"]),
        (with(flat("x"), "/upload_path", json!("orders/./hr")), vec!["/upload_path"]),
        (stage("x", "@db.public.lake/hr", "db.public.orders"), vec!["/destination_config/stage"]),
        (stage("x", "@~/orders", "db.public.orders"), vec!["/destination_config/stage"]),
        (stage("x", "@lake/orders", "db.public.orders"), vec!["/destination_config/stage"]),
        (stage("x", "@db.public.lake/orders", "db.private.orders"), vec!["/destination_config/load/table"]),
        (stage("x", "@db.public.lake/orders", "orders"), vec!["/destination_config/load/table"]),
        (
            with(
                with(nested("x"), "/source_config/database", json!("ledger")),
                "/destination_config/path",
                json!("hr"),
            ),
            vec!["/source_config/database", "/destination_config/path"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let task = with(task, "/id", json!(format!("task-{number}")));
        let answer = submit(&agent, BOUNDED, &task).await;
        match places.as_slice() {
            [] => assert_eq!(answer.status, 202, "{task}\n{}", answer.text),
            ["wrong"] => _ = answer.assert_problem(422, "validation"),
            places => assert_refused(&answer, &task, places),
        }
        // One of many is enough to refuse all of them.
        if !matches!(places.as_slice(), [] | ["wrong"]) {
            let list = json!([nested("other"), with(task.clone(), "/id", json!(format!("list-{number}")))]);
            let places: Vec<String> = places.iter().map(|place| format!("/1{place}")).collect();
            let answer = submit(&agent, BOUNDED, &list).await;
            assert_refused(&answer, &task, &places.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    assert_eq!(
        agent.request(Method::GET, "/tasks/other").bearer_auth(FREE).send().await.unwrap().status(),
        404
    );
}

#[tokio::test]
async fn what_is_allowed_is_told_and_nothing_else_that_there_is() {
    let agent = agent().await;
    let refused =
        submit(&agent, BOUNDED, &with(nested("x"), "/source_config/database", json!("ledger"))).await;
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap();
    assert_eq!(detail, "source connection `ledger` is not allowed; allowed: `sales`, `not-configured`");
    // Allowed and not there: what is there is told as far as it is allowed.
    let missing = with(nested("x"), "/source_config/database", json!("not-configured"));
    let missing = submit(&agent, BOUNDED, &missing).await;
    missing.assert_errors(&[(
        "/source_config/database",
        "there is no source connection `not-configured`; known: `sales`",
    )]);
    assert!(!missing.text.contains("ledger"), "{}", missing.text);
    // A key without bounds does all of it.
    let free = submit(&agent, FREE, &with(nested("free"), "/source_config/database", json!("ledger"))).await;
    assert_eq!(free.status, 202, "{}", free.text);
}

#[tokio::test]
async fn a_preview_stays_inside_the_bounds_too() {
    let agent = agent().await;
    let look = |key: &'static str, source: &str| {
        let body = json!({"source_config": {"database": source, "query": "SELECT 1 FROM"}});
        Answer::of(agent.request(Method::POST, "/preview").json(&body).bearer_auth(key))
    };
    let refused = look(BOUNDED, "ledger").await;
    refused.assert_problem(403, "out-of-bounds");
    assert_eq!(refused.body["errors"][0]["pointer"], "/source_config/database");
    // Inside, the query itself is looked at.
    look(BOUNDED, "sales").await.assert_problem(422, "validation");
}

#[tokio::test]
async fn a_task_that_a_key_could_not_submit_is_not_its_to_retry_or_cancel() {
    let agent = agent().await;
    let foreign = with(nested("foreign"), "/destination_config/path", json!("hr"));
    assert_eq!(submit(&agent, FREE, &foreign).await.status, 202);
    assert_eq!(submit(&agent, BOUNDED, &nested("own")).await.status, 202);
    let ask = |method: Method, path: &str, key: &str| {
        Answer::of(agent.request(method, path).bearer_auth(key.to_owned()))
    };
    ask(Method::DELETE, "/tasks/foreign", BOUNDED).await.assert_problem(403, "out-of-bounds");
    assert_eq!(ask(Method::DELETE, "/tasks/foreign", FREE).await.status, 200);
    ask(Method::POST, "/tasks/foreign/retry", BOUNDED).await.assert_problem(403, "out-of-bounds");
    assert_eq!(ask(Method::DELETE, "/tasks/own", BOUNDED).await.status, 200);
    assert_eq!(ask(Method::POST, "/tasks/own/retry", BOUNDED).await.status, 202);
    ask(Method::DELETE, "/tasks/nobody", BOUNDED).await.assert_problem(404, "unknown-task");
}

#[test]
fn the_bounds_of_all_tasks_hold_when_a_task_runs_and_are_told_to_the_unbounded_only() {
    let mut catalog = catalog(&Arc::new(AtomicUsize::new(0)));
    catalog.set_bounds(TaskBounds { sources: Some(vec!["ledger".to_owned()]), ..TaskBounds::default() });
    let read = |task: &Value, bounds: &TaskBounds| {
        super::super::read_task(task, &catalog, FileFormat::Parquet, bounds).map(|task| task.spec)
    };
    let unbounded = TaskBounds::default();
    let refused = read(&nested("x"), &unbounded).unwrap_err();
    assert_eq!(
        refused,
        [(
            "/source_config/database".to_owned(),
            "source connection `sales` is not allowed; allowed: `ledger`".to_owned()
        )]
    );
    let refused = read(&nested("x"), &bounds()).unwrap_err();
    assert_eq!(refused[0].1, "source connection `sales` is not allowed");
    // One that was accepted before the bounds were written.
    let allowed = with(nested("x"), "/source_config/database", json!("ledger"));
    let mut spec = read(&allowed, &unbounded).unwrap();
    assert!(catalog.resolve(&spec).is_ok());
    spec.source.connection = "sales".to_owned();
    let Err(fault) = catalog.resolve(&spec) else { panic!("it is out of bounds") };
    assert_eq!(fault.kind(), FaultKind::Permission);
}

#[tokio::test]
async fn the_connections_that_a_key_may_not_use_are_not_shown_to_it() {
    let agent = agent().await;
    let ask = async |path: &str, key: &str| {
        Answer::of(agent.request(Method::GET, path).bearer_auth(key)).await.body
    };
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let (bounded, free) = (ask("/connections", BOUNDED).await, ask("/connections", FREE).await);
    assert_eq!(names(&bounded["sources"]), ["sales"]);
    assert_eq!(names(&bounded["targets"]), ["local", "warehouse"]);
    assert!(names(&free["sources"]).contains(&"ledger".to_owned()), "{free}");
    assert!(names(&free["targets"]).contains(&"archive".to_owned()), "{free}");

    let (bounded, free) = (ask("/health", BOUNDED).await, ask("/health", FREE).await);
    let keys = |map: &Value| -> Vec<String> { map.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&bounded["database_connections"]), ["sales"]);
    assert_eq!(keys(&bounded["destination_connections"]), ["local", "warehouse"]);
    assert!(keys(&free["database_connections"]).len() > 1, "{free}");
    assert_eq!(bounded.get("database_faults"), None);
    assert_eq!(keys(&free["database_faults"]), ["ledger"]);
}
