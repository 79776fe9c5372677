//! `/log_level`.

use super::*;

async fn put(agent: &Agent, body: &Value) -> Answer {
    Answer::of(agent.request(Method::PUT, "/log_level").json(body)).await
}

#[tokio::test]
async fn the_level_is_shown_and_changed() {
    let agent = Agent::start().await;
    let shown = agent.get("/log_level").await;
    assert_eq!(shown.body, json!({"level": "info", "configured": "info", "until": null}));
    let changed = put(&agent, &json!({"level": "warn,worker=debug", "for": 10})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(changed.body["level"], "warn,worker=debug");
    let until: jiff::Timestamp = changed.body["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((500..=600).contains(&left), "{left}");
    assert_eq!(agent.get("/log_level").await.body, changed.body);
    let stays = put(&agent, &json!({"level": "debug"})).await;
    assert_eq!(stays.body, json!({"level": "debug", "configured": "info", "until": null}));
}

#[tokio::test]
async fn what_is_no_level_is_named() {
    let agent = Agent::start().await;
    put(&agent, &json!({})).await.assert_errors(&[("/level", "missing")]);
    put(&agent, &json!([])).await.assert_errors(&[("", "an object")]);
    put(&agent, &json!({"level": "loud", "for": 0, "minutes": 1})).await.assert_errors(&[
        ("/level", "`loud` is no level"),
        ("/for", "from 1 to 10080"),
        ("/minutes", "unknown"),
    ]);
    put(&agent, &json!({"level": "sqlx=debug"})).await.assert_errors(&[("/level", "library")]);
    let text = agent.request(Method::PUT, "/log_level").body("debug");
    Answer::of(text).await.assert_problem(415, "media-type");
    assert_eq!(agent.get("/log_level").await.body["level"], "info");
}
