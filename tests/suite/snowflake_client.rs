//! The Snowflake client: against an emulator for SQL and its results, and against a double of the
//! protocol for what goes wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_exchange_agent::config::Secret;
use data_exchange_agent::fault::{Fault as AgentFault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::snowflake::authentication::{Authentication, Password};
use data_exchange_agent::snowflake::connection::Protocol;
use data_exchange_agent::snowflake::{
    Binding, Client, Connection, Error, QueryStatus, QueryTag, Statement, Table,
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::account::Account;
use crate::support::agent::eventually;
use crate::support::folder::Folder;
use crate::support::snowflake::query::{Answer, ChunkReply};
use crate::support::snowflake::{Fault, SnowflakeDouble, connection_to};

const QUERY: &str = "/queries/v1/query-request";
const LOGIN: &str = "/session/v1/login-request";

fn texts(table: &Table) -> Vec<Vec<&str>> {
    table.rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()).collect()
}

#[tokio::test]
async fn statements_and_their_rows_come_back_from_the_emulator() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    client.run(&Statement::new("CREATE TABLE T (ID INT, PRICE NUMBER(10, 2), NAME TEXT, SEEN TIMESTAMP_NTZ, DAY DATE, OK BOOLEAN)")).await.unwrap();
    let insert = Statement::new("INSERT INTO T SELECT ?, 12.50, ?, ?, ?, ?")
        .bind(7_i64)
        .bind("it's é")
        .bind(Binding::TimestampNtz(1_709_251_199_123_456_000))
        .bind(Binding::Date(19_782))
        .bind(true);
    let inserted = client.run(&insert).await.unwrap();
    assert_eq!(inserted.changed_rows(), Some(1));
    let table = client.run(&Statement::new("SELECT * FROM T")).await.unwrap();
    assert_eq!(
        texts(&table),
        [["7", "12.50", "it's é", "2024-02-29 23:59:59.123456000", "2024-02-29", "true"]]
    );
    assert_eq!(table.value(&table.rows[0], "name"), Some("it's é"));
    assert!(table.query_id.is_some());
    let empty = client.run(&Statement::new("SELECT * FROM T WHERE ID = 0")).await.unwrap();
    assert_eq!((empty.rows.len(), empty.columns.len()), (0, 6));
    client.close().await;
    account.close().await;
}

#[tokio::test]
async fn a_missing_table_is_named_with_its_code() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    let error = client.run(&Statement::new("SELECT * FROM NOWHERE")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Some(2003), FaultKind::Request), "{error}");
    assert!(error.is_missing_object() && error.hint().is_some());
    account.close().await;
}

#[tokio::test]
async fn a_transaction_in_a_session_of_its_own_is_rolled_back_with_it() {
    let Some(account) = Account::open().await else { return };
    let client = account.client();
    client.run(&Statement::new("CREATE TABLE T (ID INT)")).await.unwrap();
    let session = client.session().await.unwrap();
    session.run(&Statement::new("BEGIN")).await.unwrap();
    session.run(&Statement::new("INSERT INTO T VALUES (1)")).await.unwrap();
    session.run(&Statement::new("ROLLBACK")).await.unwrap();
    session.close().await;
    let count = client.run(&Statement::new("SELECT count(*) AS N FROM T")).await.unwrap();
    assert_eq!(count.single(), Some("0"));
    account.close().await;
}

/// A double that answers `SELECT 1`, and a client of it.
async fn double() -> (SnowflakeDouble, Client) {
    let double = SnowflakeDouble::start().await;
    double.answer("SELECT 1", Answer::value("1"));
    let client = client_of(double.connection());
    (double, client)
}

fn client_of(connection: Connection) -> Client {
    Client::new(connection, &Shutdown::new()).unwrap()
}

fn select() -> Statement {
    Statement::new("SELECT 1")
}

async fn select_many(client: &Client, count: usize) {
    for result in join_all((0..count).map(|_| async { client.run(&select()).await })).await {
        assert_eq!(result.unwrap().single(), Some("1"));
    }
}

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
async fn a_long_statement_is_followed_through_renewals_and_logins() {
    let (double, client) = double().await;
    double.answer("LONG", Answer::value("done").after_polls(6));
    double.expire_after_uses(3);
    assert_eq!(client.run(&Statement::new("LONG")).await.unwrap().single(), Some("done"));
    assert_eq!((double.executed().len(), double.logins()), (1, 1));
    assert!(double.renewals() > 0);
}

#[tokio::test]
async fn the_token_goes_to_no_other_server_for_a_result() {
    let (double, client) = double().await;
    let elsewhere = SnowflakeDouble::start().await;
    let url = format!("http://{}/queries/1/result", elsewhere.address());
    let answer = json!({"success": true, "code": "333333", "data": {"queryId": "1", "getResultUrl": url}});
    double.fail_next(QUERY, Fault::Answer(answer));
    let error = client.run(&select()).await.unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
    assert!(elsewhere.seen("/").is_empty());
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

/// `data` of a result whose first row is inside and whose others are in `chunks`, with their rows.
fn chunked(chunks: &[(String, usize)], more: Value) -> Value {
    let total = 1 + chunks.iter().map(|(_, rows)| rows).sum::<usize>();
    let chunks: Vec<_> = chunks
        .iter()
        .map(|(url, rows)| json!({"url": url, "rowCount": rows, "uncompressedSize": 9}))
        .collect();
    let mut data = json!({
        "rowtype": [{"name": "N", "type": "fixed", "scale": 0}],
        "rowset": [["0"]], "queryResultFormat": "json", "total": total, "returned": total, "chunks": chunks,
    });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}

fn body(text: &str) -> ChunkReply {
    ChunkReply::Body(text.into())
}

#[tokio::test]
async fn chunks_are_put_together_in_order_and_counted() {
    let (double, client) = double().await;
    let chunks: Vec<_> = (0..20)
        .map(|index| {
            let rows = format!("[\"{}\"],\n[\"{}\"]", 2 * index + 1, 2 * index + 2);
            let reply = if index % 2 == 0 { body(&rows) } else { ChunkReply::gzip(rows.as_bytes()) };
            // A storage service has bad moments.
            let replies = if index == 7 { vec![ChunkReply::Status(503), reply] } else { vec![reply] };
            (double.put_chunk(replies, &[("x-amz-server-side-encryption-customer-key", "cXJtaw==")]), 2)
        })
        .collect();
    double.answer("BY KEY", Answer::data(chunked(&chunks, json!({"qrmk": "cXJtaw=="}))));
    let headers = json!({"chunkHeaders": {"x-amz-server-side-encryption-customer-key": "cXJtaw=="}});
    double.answer("BY HEADERS", Answer::data(chunked(&chunks, headers)));
    for sql in ["BY KEY", "BY HEADERS"] {
        let table = client.run(&Statement::new(sql)).await.unwrap();
        let numbers: Vec<usize> = texts(&table).iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(numbers, (0..=40).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_short_chunk_is_fetched_once_more_and_never_believed() {
    let (double, client) = double().await;
    let mended = double.put_chunk(vec![body("[\"1\"]"), body("[\"1\"],[\"2\"]")], &[]);
    let broken = double.put_chunk(vec![body("[\"1\"]")], &[]);
    let garbled = double.put_chunk(vec![body("[\"1\"],[")], &[]);
    double.answer("MENDED", Answer::data(chunked(&[(mended, 2)], json!({}))));
    double.answer("BROKEN", Answer::data(chunked(&[(broken, 2)], json!({}))));
    double.answer("GARBLED", Answer::data(chunked(&[(garbled, 2)], json!({}))));
    double.answer("INLINE", Answer::data(chunked(&[], json!({"total": 2}))));
    let table = client.run(&Statement::new("MENDED")).await.unwrap();
    assert_eq!(texts(&table), [["0"], ["1"], ["2"]]);
    for (sql, words) in [
        ("BROKEN", "chunk 1 of the result should have 2 rows and has 1"),
        ("GARBLED", "no JSON"),
        ("INLINE", "should have 2 rows"),
    ] {
        let error = client.run(&Statement::new(sql)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.kind() == FaultKind::Transient && error.query_id().is_some(), "{error}");
        assert!(!format!("{error:?}").contains("5ec2e7"), "{error:?}");
    }
}

#[tokio::test]
async fn expired_chunks_are_signed_anew() {
    let (double, client) = double().await;
    let chunk = double.put_chunk(vec![ChunkReply::Status(403), body("[\"1\"]")], &[]);
    let gone = double.put_chunk(vec![ChunkReply::Status(403)], &[]);
    double.answer("EXPIRED", Answer::data(chunked(&[(chunk, 1)], json!({}))));
    double.answer("GONE", Answer::data(chunked(&[(gone, 1)], json!({}))));
    assert_eq!(texts(&client.run(&Statement::new("EXPIRED")).await.unwrap()), [["0"], ["1"]]);
    let error = client.run(&Statement::new("GONE")).await.unwrap_err();
    assert!(error.to_string().contains("HTTP status 403"), "{error}");
    let looks = double.seen("/queries/").iter().filter(|seen| seen.path.ends_with("/result")).count();
    assert_eq!(looks, 2, "each result was asked for once more");
}

/// A server with a certificate that nobody has signed but itself, and how often it was connected to.
#[expect(clippy::disallowed_methods, reason = "the server is no part of the agent, no stop waits for it")]
async fn untrusted_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("openssl")
        .args("req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(file("key.pem"))
        .arg("-out")
        .arg(file("certificate.pem"))
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(file("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            // The client ends the handshake.
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_tried_again() {
    let (address, connections) = untrusted_server().await;
    let client = client_of(Connection { protocol: Protocol::Https, ..connection_to(address) });
    let fault = AgentFault::from(client.run(&select()).await.unwrap_err());
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    assert!(fault.hint().unwrap().contains("certificate"), "{}", fault.chain());
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nothing_secret_is_in_what_can_be_printed() {
    let (double, client) = double().await;
    let gone = "http://127.0.0.1:1/chunk?X-Amz-Signature=5ec2e7".to_owned();
    double.answer("GONE", Answer::data(chunked(&[(gone, 1)], json!({"qrmk": "5ec2e7"}))));
    let statement = Statement::new("GONE").timeout(Duration::from_millis(500)).bind("hunter2");
    let error = client.run(&statement).await.unwrap_err();
    let session = client.session().await.unwrap();
    let printed = format!("{error:?} {error} {client:?} {session:?} {statement:?} {:?}", client.connection());
    for secret in ["5ec2e7", "hunter2", "session-1", "master-1"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
