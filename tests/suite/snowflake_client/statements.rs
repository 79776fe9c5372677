//! Statements: what travels with them, those that go on alone, and those of several results.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::snowflake::{Binding, QueryStatus, QueryTag, Statement, Table};
use serde_json::{Value, json};

use super::{QUERY, double, select, select_many};
use crate::support::snowflake::query::Answer;

#[tokio::test]
async fn a_long_statement_is_followed_through_renewals_and_logins() {
    let (double, client) = double().await;
    double.answer("LONG", Answer::value("done").after_polls(6));
    double.expire_after_uses(3);
    assert_eq!(client.run(&Statement::new("LONG")).await.unwrap().single(), Some("done"));
    assert_eq!((double.executed().len(), double.logins()), (1, 1));
    assert!(double.renewals() > 0);
}

#[tokio::test]
async fn a_submitted_statement_goes_on_alone() {
    let (double, client) = double().await;
    double.answer("LONG", Answer::value("done").after_polls(2));
    double.answer("FAILS", Answer::error("100072", "22000", "NULL result in column SALARY").after_polls(1));
    let submitted = client.submit(&Statement::new("LONG")).await.unwrap();
    assert!(!submitted.has_ended());
    let query_id = submitted.query_id().to_owned();
    assert!(matches!(client.status(&query_id).await.unwrap(), QueryStatus::Running));
    assert_eq!(client.result(submitted).await.unwrap().single(), Some("done"));
    assert!(matches!(client.status(&query_id).await.unwrap(), QueryStatus::Succeeded));
    assert_eq!(client.fetch(&query_id).await.unwrap().single(), Some("done"));
    assert!(matches!(client.status("01-unknown").await.unwrap(), QueryStatus::Unknown));

    let submitted = client.submit(&Statement::new("FAILS")).await.unwrap();
    let query_id = submitted.query_id().to_owned();
    assert_eq!(client.result(submitted).await.unwrap_err().kind(), FaultKind::Data);
    let QueryStatus::Failed(error) = client.status(&query_id).await.unwrap() else { panic!("it has failed") };
    assert_eq!((error.code(), error.query_id()), (Some(100_072), Some(query_id.as_str())));
    assert!(!error.to_string().contains("SALARY"), "{error}");
    assert_eq!(client.fetch("../login").await.unwrap_err().kind(), FaultKind::Request);
    assert!(double.aborted().is_empty());
}

#[tokio::test]
async fn several_statements_in_one_text_give_a_table_each() {
    let (double, client) = double().await;
    let first = client.run(&select()).await.unwrap().query_id.unwrap();
    double.answer(
        "TWO",
        Answer::data(json!({"resultIds": format!("{first},{first}"), "resultTypes": "4096,4096"})),
    );
    let tables = client.run_all(&Statement::new("TWO").multiple(2)).await.unwrap();
    assert_eq!(tables.iter().map(Table::single).collect::<Vec<_>>(), [Some("1"), Some("1")]);
    assert_eq!(double.seen(QUERY)[1].body["parameters"]["MULTI_STATEMENT_COUNT"], 2);
}

#[tokio::test]
async fn bindings_and_the_tag_travel_beside_the_text() {
    let (double, client) = double().await;
    double.on(|call| {
        let tag: Value = serde_json::from_str(call.parameters["QUERY_TAG"].as_str()?).ok()?;
        let user = &call.session.login["LOGIN_NAME"];
        let text = format!("{:?} {} {user} {}", call.bindings, tag["task"], call.body["asyncExec"]);
        (call.sql == "ECHO ?, ?").then(|| Answer::value(&text))
    });
    let tag = QueryTag { agent: Some("a".into()), task: Some("t-1".into()), attempt: Some(2) };
    let statement = Statement::new("ECHO ?, ?").bind("it's").bind(Binding::Null).query_tag(&tag);
    let table = client.run(&statement).await.unwrap();
    assert_eq!(table.single(), Some("[Some(\"it's\"), None] \"t-1\" \"tester\" false"));
    assert_eq!(double.seen(QUERY)[0].body["bindings"]["1"], json!({"type": "TEXT", "value": "it's"}));
}

#[tokio::test]
async fn what_the_server_wants_to_hear_again_is_said_again() {
    let (double, client) = double().await;
    double.session_parameter("QUERY_CONTEXT_CACHE_SIZE", 5);
    let entry = json!({"id": 0, "timestamp": 7, "priority": 0, "context": "b3BhcXVl"});
    double.answer("WRITE", Answer::data(json!({"queryContext": {"entries": [entry]}})));
    client.run(&Statement::new("WRITE")).await.unwrap();
    select_many(&client, 1).await;
    let requests = double.seen(QUERY);
    assert!(requests[0].body.get("queryContextDTO").is_none());
    let entry = json!({"id": 0, "timestamp": 7, "priority": 0, "context": {"base64Data": "b3BhcXVl"}});
    assert_eq!(requests[1].body["queryContextDTO"], json!({"entries": [entry]}));
}
