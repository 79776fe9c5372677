//! Logins: refused, with a password that was replaced, without an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_exchange_agent::config::Secret;
use data_exchange_agent::fault::{Fault as AgentFault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::authentication::{Authentication, Password};
use data_exchange_agent::snowflake::{Client, Connection, Error};
use futures::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use super::{LOGIN, client_of, double, select, select_many};
use crate::support::agent::eventually;
use crate::support::snowflake::{Fault, SnowflakeDouble};

#[tokio::test]
async fn refused_credentials_are_not_tried_again_at_once() {
    let (double, client) = double().await;
    double.refuse_logins(Some(("390100", "Incorrect username or password was specified.")));
    let errors: Vec<Error> =
        join_all((0..5).map(|_| async { client.run(&select()).await.unwrap_err() })).await;
    assert_eq!(double.seen(LOGIN).len(), 1, "Snowflake locks users after a few wrong passwords");
    let fault = AgentFault::from(errors[4].clone());
    assert_eq!(fault.kind(), FaultKind::Credentials);
    assert_eq!(
        fault.chain(),
        "log in to Snowflake: Snowflake error 390100 (08001): Incorrect username or password was specified."
    );
    assert!(fault.hint().unwrap().starts_with("Check user and password"));
}

fn with_password(connection: Connection, password: &str) -> Connection {
    let password = Password {
        user: "tester".to_owned(),
        password: Secret::new(password),
        passcode: None,
        passcode_in_password: false,
    };
    Connection { authentication: Authentication::Password(password), ..connection }
}

#[tokio::test]
async fn a_password_that_was_replaced_is_taken_up_by_all_sessions_of_a_client() {
    let (double, client) = double().await;
    let stored = Arc::new(Mutex::new("hunter2"));
    let (read, connection) = (Arc::clone(&stored), double.connection());
    client.renew_from(Arc::new(move || Ok(Some(with_password(connection.clone(), *read.lock().unwrap())))));
    select_many(&client, 1).await;
    double.admit(|data| data["PASSWORD"] == "changed");
    double.expire_masters();
    // Nothing is newer yet, and the wrong password is not sent again.
    for _ in 0..3 {
        let error = client.run(&select()).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::Credentials, "{error}");
    }
    assert_eq!(double.seen(LOGIN).len(), 2);
    *stored.lock().unwrap() = "changed";
    let renewed = eventually("the new password", async || client.run(&select()).await.ok()).await;
    assert_eq!(renewed.single(), Some("1"));
    client.session().await.unwrap().close().await;
    select_many(&client, 20).await;
    assert_eq!(double.seen(LOGIN).len(), 4, "one for the shared session, and one for that of its own");
    assert!(*client.connection() == with_password(double.connection(), "changed"));
}

#[tokio::test]
async fn a_newer_password_that_is_wrong_too_is_tried_once() {
    let (double, client) = double().await;
    let connection = double.connection();
    client.renew_from(Arc::new(move || Ok(Some(with_password(connection.clone(), "wrong-too")))));
    double.admit(|_| false);
    for _ in 0..5 {
        let error = client.run(&select()).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::Credentials, "{error}");
    }
    let sent: Vec<_> = double.seen(LOGIN).iter().map(|seen| seen.body["data"]["PASSWORD"].clone()).collect();
    assert_eq!(sent, ["hunter2", "wrong-too"]);
}

/// Far below the time for logins of a test, and far above what anything takes.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A client that would wait for an hour for the answer to its login, which never comes.
fn client_without_answers(double: &SnowflakeDouble, shutdown: &Shutdown) -> Client {
    double.hold_requests(LOGIN);
    let limit = Duration::from_secs(3_600);
    let patient = Connection { login_timeout: limit, socket_timeout: limit, ..double.connection() };
    Client::new(patient, shutdown).unwrap()
}

#[tokio::test]
async fn a_login_that_is_not_answered_ends_with_the_agent() {
    let (double, shutdown) = (SnowflakeDouble::start().await, Shutdown::new());
    let client = client_without_answers(&double, &shutdown);
    let statement = select();
    let (shared, own, ()) = tokio::join!(client.run(&statement), client.session(), async {
        eventually("both logins", async || (double.seen(LOGIN).len() == 2).then_some(())).await;
        shutdown.begin_abort();
    });
    for error in [shared.unwrap_err(), own.unwrap_err()] {
        assert_eq!(error.kind(), FaultKind::Transient);
        assert!(!error.is_outcome_unknown() && error.to_string().contains("the agent stops"), "{error}");
    }
    // What begins later waits for nothing either.
    timeout(AT_ONCE, client.run(&statement)).await.expect("it ends").unwrap_err();
    timeout(AT_ONCE, client.close()).await.expect("it ends");
    assert!(shutdown.finished(AT_ONCE).await, "no login is left");
}

#[tokio::test]
async fn a_login_whose_caller_has_gone_holds_up_no_drain() {
    let (double, shutdown) = (SnowflakeDouble::start().await, Shutdown::new());
    let client = client_without_answers(&double, &shutdown);
    let statement = select();
    {
        // As the attempt of a task that is cancelled: whoever waits is dropped.
        let mut waiting = Box::pin(async { tokio::join!(client.run(&statement), client.session()) });
        let logins = eventually("both logins", async || (double.seen(LOGIN).len() == 2).then_some(()));
        tokio::select! {
            _ = &mut waiting => panic!("nobody has answered"),
            () = logins => {}
        }
    }
    shutdown.begin_drain();
    assert!(shutdown.finished(AT_ONCE).await, "no login is left");
}

#[tokio::test]
async fn a_login_without_a_verdict_is_tried_again_within_its_time() {
    let (double, client) = double().await;
    for fault in [Fault::Status(503), Fault::LoseRequest, Fault::Garble] {
        double.fail_next(LOGIN, fault);
    }
    select_many(&client, 1).await;
    assert_eq!(double.seen(LOGIN).len(), 4);

    let client = client_of(Connection { login_timeout: Duration::from_millis(400), ..double.connection() });
    double.fail(LOGIN, &Fault::Status(503), 100);
    let error = client.run(&select()).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::Transient, "{error}");
}

#[tokio::test]
async fn a_login_that_is_forbidden_or_wants_a_person_fails_at_once() {
    let (double, client) = double().await;
    // No verdict on the credentials, so the next statement logs in.
    double.fail_next(LOGIN, Fault::Status(403));
    let error = client.run(&select()).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::Permission, "{error}");
    assert!(error.hint().unwrap().contains("network policy"));
    let answer = json!({"success": false, "code": null, "data": {"nextAction": "EXT_AUTHN_DUO_ALL"}});
    double.fail_next(LOGIN, Fault::Answer(answer));
    let error = client.run(&select()).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::Credentials);
    assert!(error.to_string().contains("second factor"), "{error}");
    assert_eq!(double.seen(LOGIN).len(), 2);
}
