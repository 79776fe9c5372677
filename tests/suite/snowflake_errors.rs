//! What a person is told when Snowflake refuses: one sentence with its code, what to do, and whether the
//! task is tried again.

use serde_json::{Value, json};

use crate::snowflake_queue::numbers;
use crate::support::agent::{Agent, Place, eventually};
use crate::support::snowflake::SnowflakeDouble;
use crate::support::snowflake::query::Answer;

/// How Snowflake refuses, and what comes of it.
struct Refusal {
    /// Statements that begin so are refused.
    statement: &'static str,
    code: &'static str,
    state: &'static str,
    message: &'static str,
    /// `failed`, or `queued` when there will be another attempt.
    task: &'static str,
    kind: &'static str,
    hint: &'static str,
}

const REFUSALS: [Refusal; 7] = [
    Refusal {
        statement: "PUT ",
        code: "003001",
        state: "42501",
        message: "SQL access control error: Insufficient privileges to operate on stage 'FILES'",
        task: "failed",
        kind: "permission",
        hint: "Grant the missing right to the role",
    },
    Refusal {
        statement: "PUT ",
        code: "002003",
        state: "02000",
        message: "SQL compilation error: Stage 'FILES' does not exist or not authorized.",
        task: "failed",
        kind: "request",
        hint: "the role of the connection has the rights on it",
    },
    Refusal {
        statement: "SELECT ",
        code: "000606",
        state: "57P03",
        message: "No active warehouse selected in the current session.  Select an active warehouse with the \
                  'use warehouse' command.",
        task: "failed",
        kind: "request",
        hint: "when it is suspended, set AUTO_RESUME = TRUE",
    },
    Refusal {
        statement: "SELECT ",
        code: "000606",
        state: "57P03",
        message: "No active warehouse selected in the current session.",
        task: "failed",
        kind: "request",
        hint: "QUERY_WAREHOUSE of the service",
    },
    Refusal {
        statement: "SELECT ",
        code: "090073",
        state: "22000",
        message: "Warehouse 'WH' cannot be resumed because resource monitor 'QUOTA' has exceeded its quota.",
        task: "failed",
        kind: "permission",
        hint: "Raise the quota",
    },
    Refusal {
        statement: "SELECT ",
        code: "003001",
        state: "42501",
        message: "SQL access control error: Insufficient privileges to operate on table 'LOADS'",
        task: "failed",
        kind: "permission",
        hint: "Grant the missing right to the role",
    },
    Refusal {
        statement: "PUT ",
        code: "000604",
        state: "57014",
        message: "SQL execution canceled",
        task: "queued",
        kind: "transient",
        hint: "The statement was cancelled",
    },
];

fn lake(double: &SnowflakeDouble) -> String {
    double.section() + "database = \"DB\"\nschema = \"PUBLIC\"\n"
}

async fn agent(double: &SnowflakeDouble) -> Agent {
    numbers(Place::new()).await.connection("target.lake", &lake(double)).start().await
}

fn task(id: &str, load: Option<Value>) -> Value {
    let mut task = json!({
        "id": id,
        "source_config": {"database": "numbers", "query": "SELECT * FROM numbers"},
        "destination_config": {"type": "snowflake_stage", "stage": "@FILES/"},
        // One that is tried again waits for its next attempt whenever somebody looks.
        "max_attempts": 50,
    });
    if let Some(load) = load {
        task["destination_config"]["load"] = load;
    }
    task
}

/// The task after its first attempt.
async fn after_one_attempt(agent: &Agent, id: &str) -> Value {
    eventually("the end of an attempt", async || {
        let task = agent.task(id).await;
        let has_ended = !task["attempts"][0]["error"].is_null();
        (has_ended && task["status"] != "running").then_some(task)
    })
    .await
}

fn check(task: &Value, wanted: &Refusal, agent: &Agent) {
    let error = &task["attempts"][0]["error"];
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    let code = format!("Snowflake error {}", wanted.code);
    assert!(message.contains(&code) && !message.contains('\n'), "{message}");
    assert!(hint.contains(wanted.hint), "{hint}");
    assert_eq!((&error["kind"], &task["status"]), (&json!(wanted.kind), &json!(wanted.task)), "{task:#}");
    assert_eq!(task["next_attempt_at"].is_null(), wanted.task == "failed", "{task:#}");
    assert!(!agent.log().contains("hunter2"));
}

#[tokio::test]
async fn every_refusal_is_one_sentence_with_its_code_and_what_follows() {
    for (number, wanted) in REFUSALS.iter().enumerate() {
        let double = SnowflakeDouble::start().await;
        double.on(|call| {
            let answer = Answer::error(wanted.code, wanted.state, wanted.message);
            call.sql.starts_with(wanted.statement).then_some(answer)
        });
        let agent = agent(&double).await;
        let load = (wanted.statement == "SELECT ").then(|| json!({"table": "DB.PUBLIC.T"}));
        let id = agent.submit(task(&format!("refused-{number}"), load)).await;
        check(&after_one_attempt(&agent, &id).await, wanted, &agent);
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_key_are_told_without_being_tried_again() {
    let refusals = [
        ("390100", "Incorrect username or password was specified.", "Check user and password"),
        ("390144", "JWT token is invalid. [0f6f2c5e]", "Check the key pair"),
        (
            "390422",
            "Incoming request with IP/Token 10.0.0.1 is not allowed to access Snowflake.",
            "network policy",
        ),
    ];
    for (number, (code, message, hint)) in refusals.into_iter().enumerate() {
        let double = SnowflakeDouble::start().await;
        double.refuse_logins(Some((code, message)));
        let agent = agent(&double).await;
        let id = agent.submit(task(&format!("login-{number}"), None)).await;
        let task = agent.wait_until(&id, "failed").await;
        let kind = if code == "390422" { "permission" } else { "credentials" };
        let wanted = Refusal { statement: "", code, state: "", message, task: "failed", kind, hint };
        check(&task, &wanted, &agent);
        assert_eq!(double.seen("/session/v1/login-request").len(), 1, "{code}");
    }
}

#[tokio::test]
async fn an_unknown_connection_name_lists_the_known_ones() {
    let double = SnowflakeDouble::start().await;
    let agent = agent(&double).await;
    let mut wanted = task("elsewhere", None);
    wanted["destination_config"]["connection"] = json!("lakes");
    let problem = agent.post("/tasks", Some(&wanted)).await.problem(422);
    let text = problem.to_string();
    assert!(text.contains("no target connection `lakes`; known: `lake`"), "{text}");

    let place = numbers(Place::new())
        .await
        .connection("target.lake", &lake(&double))
        .top("selected_task_source = \"snowflake_stored_procedure\"")
        .section("task_source.snowflake_stored_procedure", "connection_name = \"lakes\"\n");
    let folder = place.path().join(".snowflake");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("connections.toml");
    std::fs::write(&file, "[pond]\naccount = \"a\"\n[river]\naccount = \"b\"\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let configuration = place.configuration().display().to_string();
    let ended = place.run(&["run", "--port", "0", "--config", &configuration]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("connection_name") && said.contains("`pond`, `river`"), "{said}");
    assert!(said.contains("can be named too: `lake`"), "{said}");
}
