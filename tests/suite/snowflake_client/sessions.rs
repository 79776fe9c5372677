//! Sessions: made once, renewed when they expire, kept alive, closed.

use std::time::Duration;

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::{Client, Connection};
use futures::future::join_all;
use serde_json::json;

use super::{LOGIN, QUERY, client_of, double, select, select_many};
use crate::support::agent::eventually;
use crate::support::snowflake::query::Answer;
use crate::support::snowflake::{Fault, SnowflakeDouble};

#[tokio::test]
async fn many_statements_at_once_log_in_once_and_say_who_they_are() {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let client = client_of(Connection {
        role: Some("\"my role\"".to_owned()),
        warehouse: Some("WH".to_owned()),
        session_parameters: [("TIMEZONE".to_owned(), json!("UTC"))].into(),
        ..double.connection()
    });
    select_many(&client, 50).await;
    assert_eq!(double.logins(), 1);
    let login = &double.seen(LOGIN)[0];
    assert_eq!((login.query["roleName"].as_str(), login.query["warehouse"].as_str()), ("\"my role\"", "WH"));
    let data = &login.body["data"];
    assert_eq!((&data["LOGIN_NAME"], &data["ACCOUNT_NAME"]), (&json!("tester"), &json!("test-account")));
    assert_eq!(data["SESSION_PARAMETERS"]["TIMEZONE"], "UTC");
    let mut sequence: Vec<u64> =
        double.seen(QUERY).iter().map(|request| request.body["sequenceId"].as_u64().unwrap()).collect();
    sequence.sort_unstable();
    assert_eq!(sequence, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_expired_session_is_renewed_once_for_all_statements() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    double.expire_sessions();
    select_many(&client, 60).await;
    assert_eq!((double.logins(), double.renewals()), (1, 1));
}

#[tokio::test]
async fn a_session_that_expires_all_the_time_loses_no_statement() {
    let (double, client) = double().await;
    double.expire_after_uses(5);
    for _ in 0..20 {
        select_many(&client, 3).await;
    }
    assert_eq!((double.logins(), double.executed().len()), (1, 60));
    assert!(double.renewals() >= 10, "{}", double.renewals());
}

#[tokio::test]
async fn a_status_401_without_an_answer_renews_too() {
    let (double, client) = double().await;
    double.fail_next(QUERY, Fault::Status(401));
    select_many(&client, 1).await;
    assert_eq!((double.logins(), double.renewals()), (1, 1));
}

#[tokio::test]
async fn an_expired_master_token_means_one_new_login() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    double.expire_masters();
    select_many(&client, 30).await;
    assert_eq!((double.logins(), double.renewals()), (2, 0));
}

#[tokio::test]
async fn a_session_of_its_own_is_never_replaced_behind_its_back() {
    let (double, client) = double().await;
    let session = client.session().await.unwrap();
    session.run(&select()).await.unwrap();
    double.expire_sessions();
    session.run(&select()).await.expect("a renewal keeps the session");
    double.expire_masters();
    for _ in 0..2 {
        let error = session.run(&select()).await.unwrap_err();
        assert!(error.is_session_lost() && error.kind() == FaultKind::Transient, "{error}");
    }
    assert_eq!((double.logins(), double.renewals(), double.executed().len()), (1, 1, 2));
}

#[tokio::test]
async fn a_session_is_still_renewed_when_the_agent_aborts() {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let shutdown = Shutdown::new();
    let client = Client::new(double.connection(), &shutdown).unwrap();
    select_many(&client, 1).await;
    double.expire_sessions();
    shutdown.begin_abort();
    // Without it no lease could be given back.
    select_many(&client, 1).await;
    double.expire_masters();
    select_many(&client, 1).await;
    client.close().await;
    assert_eq!((double.logins(), double.renewals(), double.open_sessions()), (2, 1, 1));
}

#[tokio::test]
async fn statements_that_wait_for_one_renewal_share_its_failure() {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let client = client_of(double.connection());
    select_many(&client, 1).await;
    double.expire_sessions();
    let answer = json!({"success": false, "code": "000603", "message": "internal error"});
    double.fail_next("/session/token-request", Fault::Answer(answer));
    double.hold_requests("/session/token-request");
    let statement = select();
    let statements = join_all((0..20).map(|_| client.run(&statement)));
    let release = async {
        eventually("all statements", async || (double.seen(QUERY).len() == 21).then_some(())).await;
        // By the time that others come and go, all of them wait for the renewal.
        for _ in 0..5 {
            select_many(&client_of(double.connection()), 1).await;
        }
        double.release_requests();
    };
    let (results, ()) = tokio::join!(statements, release);
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 20);
    assert_eq!(double.seen("/session/token-request").len(), 1);
    select_many(&client, 20).await;
    assert_eq!((double.logins(), double.renewals()), (6, 1));
}

#[tokio::test]
async fn an_idle_session_is_kept_alive_until_it_is_closed() {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    // The shortest interval is a sixteenth of this.
    double.master_validity(1);
    let client = client_of(Connection {
        keep_alive: true,
        heartbeat_interval: Some(Duration::from_millis(1)),
        ..double.connection()
    });
    select_many(&client, 1).await;
    double.expire_sessions();
    eventually("heartbeats, and the renewal that one of them causes", async || {
        (double.seen("/session/heartbeat").len() >= 4 && double.renewals() == 1).then_some(())
    })
    .await;
    client.close().await;
    assert_eq!((double.closed_sessions(), double.open_sessions()), (vec![1], 0));
    let error = client.run(&select()).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    let beats = double.seen("/session/heartbeat").len();
    select_many(&client_of(double.connection()), 30).await;
    assert!(double.seen("/session/heartbeat").len() <= beats + 1, "one can have been on its way");
}

#[tokio::test]
async fn a_session_whose_token_has_expired_is_closed_all_the_same() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    double.expire_sessions();
    client.close().await;
    assert_eq!((double.renewals(), double.closed_sessions()), (1, vec![1]));
}

#[tokio::test]
async fn a_session_that_the_server_has_ended_is_closed_without_a_login() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    double.expire_masters();
    client.close().await;
    assert_eq!((double.logins(), double.renewals()), (1, 0));
}

#[tokio::test]
async fn heartbeats_end_with_the_drain_and_hold_up_no_stop() {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let shutdown = Shutdown::new();
    let client = Client::new(Connection { keep_alive: true, ..double.connection() }, &shutdown).unwrap();
    select_many(&client, 1).await;
    shutdown.begin_drain();
    assert!(shutdown.finished(Duration::from_secs(60)).await);
    select_many(&client, 1).await;
    client.close().await;
    assert_eq!(double.closed_sessions(), [1]);
}

#[tokio::test]
async fn sessions_that_are_dropped_are_closed() {
    let (double, client) = double().await;
    select_many(&client, 1).await;
    drop(client.session().await.unwrap());
    eventually("the end of the own session", async || (double.closed_sessions() == [2]).then_some(())).await;
    drop(client);
    eventually("the end of the shared session", async || (double.open_sessions() == 0).then_some(())).await;
}
