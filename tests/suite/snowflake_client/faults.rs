//! Statements that fail, whose answer is lost or late, or for which nobody waits.

use std::time::{Duration, Instant};

use data_exchange_agent::fault::{Fault as AgentFault, FaultKind};
use data_exchange_agent::snowflake::{Connection, Statement};

use super::{QUERY, client_of, double, select, select_many};
use crate::support::agent::eventually;
use crate::support::snowflake::Fault;
use crate::support::snowflake::query::Answer;

#[tokio::test]
async fn a_statement_whose_answer_is_lost_runs_once() {
    let (double, client) = double().await;
    double.answer("INSERT", Answer::value("1"));
    double.fail_next(QUERY, Fault::LoseAnswer);
    double.fail_next(QUERY, Fault::Garble);
    double.fail_next(QUERY, Fault::Status(504));
    client.run(&Statement::new("INSERT")).await.unwrap();
    assert_eq!(double.executed(), ["INSERT"]);
    let requests = double.seen(QUERY);
    let members = |name: &str| -> Vec<String> {
        requests.iter().map(|request| request.query.get(name).cloned().unwrap_or_default()).collect()
    };
    let identifiers = members("requestId");
    assert!(identifiers.iter().all(|identifier| *identifier == identifiers[0]));
    let mut guids = members("request_guid");
    guids.sort();
    guids.dedup();
    assert_eq!(guids.len(), 4, "each attempt has a name of its own");
    assert_eq!(members("retryCount"), ["", "1", "2", "3"]);
    assert_eq!(members("retryReason"), ["", "0", "200", "504"]);
    let started = members("clientStartTime");
    assert!(started[0].is_empty() && !started[1].is_empty() && started[1] == started[3]);
}

#[tokio::test]
async fn a_throttled_statement_waits_as_long_as_it_is_told() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    double.fail_next(QUERY, Fault::StatusAfter(429, 1));
    let started = Instant::now();
    select_many(&client, 1).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_with_the_outcome_unknown() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    let impatient =
        client_of(Connection { network_timeout: Some(Duration::from_millis(500)), ..double.connection() });
    double.fail(QUERY, &Fault::LoseAnswer, 1);
    double.fail(QUERY, &Fault::Status(503), 100);
    let error = impatient.run(&Statement::new("DELETE")).await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.kind() == FaultKind::Transient, "{error}");
    eventually("the abort of what may still run", async || {
        (!double.seen("/queries/v1/abort-request").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_statement_is_not_repeated() {
    let (double, client) = double().await;
    double.answer("BAD", Answer::error("001003", "42000", "syntax error unexpected 'hunter2'"));
    double.answer("NO WAREHOUSE", Answer::error("000606", "57P03", "No active warehouse selected"));
    let error = client.run(&Statement::new("BAD")).await.unwrap_err();
    assert_eq!((error.code(), error.sql_state()), (Some(1003), Some("42000")));
    assert!(error.query_id().is_some() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    let fault = AgentFault::from(client.run(&Statement::new("NO WAREHOUSE")).await.unwrap_err());
    assert!(!fault.kind().is_retryable());
    let hint = fault.hint().unwrap();
    assert!(hint.contains("`warehouse` of the connection") && hint.contains("DEFAULT_WAREHOUSE"), "{hint}");
    assert_eq!(double.executed().len(), 2);
    double.fail_next(QUERY, Fault::Status(404));
    let error = client.run(&select()).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::Request, "{error}");
    assert_eq!(double.seen(QUERY).len(), 3);
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_aborted() {
    let (double, client) = double().await;
    double.answer("HELD", Answer::value("1"));
    double.hold("HELD");
    {
        let statement = Statement::new("HELD");
        let run = client.run(&statement);
        tokio::pin!(run);
        let executed =
            eventually("the statement on the server", async || (!double.executed().is_empty()).then_some(()));
        tokio::select! {
            result = &mut run => panic!("a held statement has ended: {result:?}"),
            () = executed => {}
        }
    }
    eventually("its abort", async || (double.aborted() == ["HELD"]).then_some(())).await;

    // Whether the server sees the statement before the abort is a matter of luck.
    let error = client.run(&Statement::new("HELD").timeout(Duration::from_millis(50))).await.unwrap_err();
    assert!(error.kind() == FaultKind::Transient && error.is_outcome_unknown(), "{error}");
    eventually("the abort of the second", async || {
        (double.seen("/queries/v1/abort-request").len() == 2).then_some(())
    })
    .await;
    double.release();
    select_many(&client, 1).await;
}
