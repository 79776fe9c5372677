//! `POST /preview`, as far as it can be seen without a database: tests/suite has the rest.

use super::*;

fn preview(agent: &Agent, body: &Value) -> reqwest::RequestBuilder {
    agent.request(Method::POST, "/preview").json(body)
}

fn of(source: Value) -> Value {
    json!({"source_config": source})
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let agent = Agent::start().await;
    let check = async |body: Value, expected: &[(&str, &str)]| {
        Answer::of(preview(&agent, &body)).await.assert_errors(expected);
    };
    check(json!([]), &[("", "expected an object")]).await;
    check(json!({}), &[("/source_config", "missing")]).await;
    check(
        json!({"source_config": {"database": 7}, "rows": 101, "limit": 1}),
        &[
            ("/source_config/database", "string"),
            ("/source_config/query", "one of `query` and `table`"),
            ("/rows", "100"),
            ("/limit", "unknown field"),
        ],
    )
    .await;
    check(
        of(json!({"database": "slaes", "table": "orders"})),
        &[("/source_config/database", "known: `ledger`, `sales`")],
    )
    .await;
    check(of(json!({"database": "sales", "query": "DELETE FROM orders"})), &[("/source_config/query", "")])
        .await;
    check(of(json!({"database": "sales", "table": "a.b.c.d.e"})), &[("/source_config/table", "")]).await;
    let large = of(json!({"database": "sales", "query": format!("SELECT '{}'", "x".repeat(70_000))}));
    Answer::of(preview(&agent, &large)).await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn previews_are_bounded_in_number_and_end_with_the_agent() {
    let agent = Agent::start().await;
    // Its queries wait for ever.
    let body = of(json!({"database": "sales", "query": "SELECT 1"}));
    let mut waiting: futures::stream::FuturesUnordered<_> =
        (0..5).map(|_| Answer::of(preview(&agent, &body))).collect();
    let first = futures::StreamExt::next(&mut waiting).await.unwrap();
    first.assert_problem(503, "unavailable");
    assert!(first.text.contains("4 previews run already"), "{}", first.text);
    agent.shutdown.begin_drain();
    while let Some(answer) = futures::StreamExt::next(&mut waiting).await {
        answer.assert_problem(422, "preview-failed");
        assert!(answer.text.contains("the agent stops"), "{}", answer.text);
    }
}
