//! Ways to log in to SQL Server, to the server that is meant and to no other.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use data_exchange_agent::config::{Secret, SqlServerEncryption, SqlServerLogin, SqlServerSource};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::Source;
use tokio::net::{TcpListener, UdpSocket};

use crate::support::extraction::{column, query, read};
use crate::support::server::free_address;
use crate::support::sqlserver::{self, open};
use crate::support::tds::{
    Certificate, Column, Encryption, PASSWORD, Script, Seen, TdsServer, USERNAME, utf16,
};

fn script() -> Script {
    Script::of(vec![Column::nvarchar("one")], vec![vec![Some(utf16("1"))]])
}

async fn one(configuration: SqlServerSource) -> Result<Option<String>, Fault> {
    let found = read(&open(configuration), &query("SELECT one FROM t"), 1).await?;
    Ok(column(&found, "one").remove(0))
}

fn logins(server: &TdsServer) -> Vec<(String, bool, bool)> {
    let login = |seen| match seen {
        Seen::Login { username, read_only, encrypted, .. } => Some((username, read_only, encrypted)),
        Seen::Principal(_) | Seen::Batch(_) | Seen::Call | Seen::Attention | Seen::Closed => None,
    };
    server.seen().into_iter().filter_map(login).collect()
}

#[tokio::test]
async fn the_right_password_is_taken_and_no_other() {
    let server = TdsServer::start(script()).await;
    let mut right = server.configuration();
    right.reads_only = true;
    assert_eq!(one(right.clone()).await.expect("the right password").as_deref(), Some("1"));
    let expected = Seen::Login {
        username: USERNAME.into(),
        database: "tests".into(),
        application: "data-exchange-agent tests".into(),
        read_only: true,
        encrypted: false,
        packet_bytes: SqlServerSource::DEFAULT_PACKET_BYTES.get().into(),
    };
    assert_eq!(server.seen()[0], expected);

    for wrong in ["wrong", ""] {
        let login = SqlServerLogin::Password { username: USERNAME.into(), password: Secret::new(wrong) };
        let wrong = SqlServerSource { login, ..right.clone() };
        let fault = open(wrong).check().await.expect_err("a wrong password");
        assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
        assert!(fault.chain().contains("error 18456, state 1, class 14"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("password"), "{:?}", fault.hint());
    }
    assert!(!format!("{right:?}").contains(PASSWORD));
}

#[tokio::test]
async fn every_kind_of_encryption_is_agreed_on() {
    let certificate = Certificate::new();
    use SqlServerEncryption::{Mandatory, Optional, Strict};
    for (offered, wanted, encrypted) in [
        (Encryption::Off, Optional, Some(true)),
        (Encryption::On, Optional, Some(true)),
        (Encryption::Required, Optional, Some(true)),
        (Encryption::NotSupported, Optional, Some(false)),
        (Encryption::Off, Mandatory, Some(true)),
        (Encryption::On, Mandatory, Some(true)),
        (Encryption::NotSupported, Mandatory, None),
        (Encryption::Strict, Strict, Some(true)),
    ] {
        let script = Script { encryption: offered, certificate: Some(certificate.clone()), ..script() };
        let server = TdsServer::start(script).await;
        let configuration = SqlServerSource {
            encryption: wanted,
            root_certificate: Some(certificate.file()),
            ..server.configuration()
        };
        match (one(configuration).await, encrypted) {
            (Ok(found), Some(encrypted)) => {
                assert_eq!(found.as_deref(), Some("1"), "{offered:?} {wanted:?}");
                assert_eq!(logins(&server)[0].2, encrypted, "{offered:?} {wanted:?}");
            }
            (Err(fault), None) => {
                assert_eq!(fault.kind(), FaultKind::Credentials);
                assert!(fault.hint().unwrap_or_default().contains("encrypt"), "{:?}", fault.hint());
                assert_eq!(logins(&server), [], "no login goes out in the open");
            }
            (Ok(_), None) => panic!("{offered:?} {wanted:?}: in the open"),
            (Err(fault), Some(_)) => panic!("{offered:?} {wanted:?}: {}", fault.chain()),
        }
    }
}

#[tokio::test]
async fn a_certificate_is_checked_unless_the_configuration_says_otherwise() {
    let certificate = Certificate::new();
    let encrypted = Script { encryption: Encryption::On, certificate: Some(certificate.clone()), ..script() };
    let server = TdsServer::start(encrypted).await;
    let base = SqlServerSource { encryption: SqlServerEncryption::Mandatory, ..server.configuration() };
    let fault = one(SqlServerSource { root_certificate: Some(Certificate::new().file()), ..base.clone() })
        .await
        .expect_err("signed by somebody else");
    assert_eq!(fault.kind(), FaultKind::Credentials);
    assert!(fault.hint().unwrap_or_default().contains("root_certificate"), "{:?}", fault.hint());

    let trusted = SqlServerSource { root_certificate: Some(certificate.file()), ..base.clone() };
    let other = SqlServerSource { host_name_in_certificate: Some("other.example".into()), ..trusted.clone() };
    let fault = one(other).await.expect_err("a certificate for another name");
    assert_eq!(fault.kind(), FaultKind::Credentials);
    assert_eq!(logins(&server), [], "no password reaches a server that nobody trusts");

    let named = SqlServerSource { host_name_in_certificate: Some("localhost".into()), ..trusted };
    one(named).await.expect("the name that is in the certificate");
    one(SqlServerSource { trusts_any_certificate: true, ..base }).await.expect("nothing is checked");
}

#[tokio::test]
async fn a_login_follows_to_the_server_that_it_is_sent_on_to() {
    let second = TdsServer::start(script()).await;
    let first = TdsServer::start(Script { route: Some(second.address), ..script() }).await;
    one(first.configuration()).await.expect("the second server");
    assert_eq!(first.batches(), Vec::<String>::new());
    assert_eq!(logins(&second).len(), 1);

    // In a circle.
    let lost = TdsServer::start(Script { route: Some(free_address()), ..script() }).await;
    let fault = one(lost.configuration()).await.expect_err("nobody listens there");
    assert_eq!(fault.kind(), FaultKind::Transient);
}

#[tokio::test]
async fn an_instance_is_found_by_its_name() {
    let server = TdsServer::start(script()).await;
    let browser = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let configuration = SqlServerSource {
        instance: Some("SALES".into()),
        port: 1,
        browser_port: browser.local_addr().unwrap().port(),
        ..server.configuration()
    };
    let answer = async {
        let mut request = [0; 64];
        let (length, client) = browser.recv_from(&mut request).await.unwrap();
        assert_eq!(&request[..length], b"\x04SALES\0");
        let text = format!("ServerName;DB;InstanceName;SALES;tcp;{};;", server.address.port());
        let message = [&[5, text.len() as u8, 0][..], text.as_bytes()].concat();
        browser.send_to(&message, client).await.unwrap();
    };
    let ((), found) = tokio::join!(answer, one(configuration));
    assert_eq!(found.expect("the port of the instance").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_handshake_that_is_cut_is_tried_again() {
    let server = TdsServer::start(Script { encryption: Encryption::Cut, ..script() }).await;
    for encryption in [SqlServerEncryption::Mandatory, SqlServerEncryption::Optional] {
        let configuration = SqlServerSource { encryption, ..server.configuration() };
        let fault = one(configuration).await.expect_err("the connection ends");
        assert_eq!(fault.kind(), FaultKind::Transient, "{encryption:?}: {}", fault.chain());
    }
    // TLS before anything else.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let configuration = SqlServerSource {
        encryption: SqlServerEncryption::Strict,
        port: listener.local_addr().unwrap().port(),
        ..server.configuration()
    };
    let cut = async { drop(listener.accept().await.unwrap()) };
    let ((), result) = tokio::join!(cut, one(configuration));
    let fault = result.expect_err("the connection ends");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
}

#[tokio::test]
async fn a_login_that_nobody_answers_says_what_to_look_at() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let browser = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = TdsServer::start(script()).await;
    let by_port = SqlServerSource {
        port: listener.local_addr().unwrap().port(),
        connect_timeout: std::time::Duration::from_millis(300),
        ..server.configuration()
    };
    let by_name = SqlServerSource {
        instance: Some("SALES".into()),
        browser_port: browser.local_addr().unwrap().port(),
        ..by_port.clone()
    };
    for (configuration, place, hint) in [
        (by_port.clone(), format!("127.0.0.1:{}", by_port.port), "host, port and firewalls"),
        (by_name, "127.0.0.1\\SALES".to_owned(), "SQL Server Browser"),
    ] {
        let fault = open(configuration).check().await.expect_err("nobody answers");
        assert_eq!(fault.kind(), FaultKind::Transient);
        assert!(fault.chain().contains(&place), "{}", fault.chain());
        assert!(fault.chain().contains("no answer within 300ms"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains(hint), "{:?}", fault.hint());
    }
}

#[tokio::test]
async fn an_answer_to_the_login_that_never_ends_is_not_gathered() {
    let server = TdsServer::start(Script { floods_login: true, ..script() }).await;
    let fault = open(server.configuration()).check().await.expect_err("no login");
    assert_eq!(fault.kind(), FaultKind::Transient);
    assert!(fault.chain().contains("longer than any server sends"), "{}", fault.chain());
}

/// An authority that grants a token to the right secret, and counts how often.
#[expect(clippy::disallowed_methods, reason = "the double is no part of the agent, no stop waits for it")]
async fn authority(token: &'static str, lifetime: u64) -> (String, Arc<AtomicUsize>) {
    async fn grant(
        State((token, lifetime, count)): State<(&'static str, u64, Arc<AtomicUsize>)>,
        body: String,
    ) -> (StatusCode, String) {
        count.fetch_add(1, Ordering::SeqCst);
        let form: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(value("grant_type"), Some("client_credentials"));
        assert_eq!(value("scope"), Some("https://database.windows.net/.default"));
        assert_eq!(value("client_id"), Some("application"));
        if value("client_secret") != Some("s&cret") {
            let refusal =
                r#"{"error": "invalid_client", "error_description": "x", "error_codes": [7000215]}"#;
            return (StatusCode::UNAUTHORIZED, refusal.to_owned());
        }
        let granted =
            format!(r#"{{"token_type": "Bearer", "expires_in": {lifetime}, "access_token": "{token}"}}"#);
        (StatusCode::OK, granted)
    }
    let count = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route("/directory/oauth2/v2.0/token", post(grant)).with_state((
        token,
        lifetime,
        Arc::clone(&count),
    ));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, count)
}

#[tokio::test]
async fn entra_id_logs_in_with_a_token_or_as_an_application() {
    const TOKEN: &str = "header.payload.signature";
    let certificate = Certificate::new();
    let script = Script {
        token: Some(TOKEN.into()),
        encryption: Encryption::On,
        certificate: Some(certificate.clone()),
        ..script()
    };
    let server = TdsServer::start(script).await;
    let base = SqlServerSource { root_certificate: Some(certificate.file()), ..server.configuration() };
    let login = SqlServerLogin::Token(Secret::new(TOKEN));
    one(SqlServerSource { login, ..base.clone() }).await.expect("a token");
    let login = SqlServerLogin::Token(Secret::new("another"));
    let fault = one(SqlServerSource { login, ..base.clone() }).await.expect_err("a wrong token");
    assert_eq!(fault.kind(), FaultKind::Credentials);

    let principal = |authority: &str, secret: &str| SqlServerLogin::ServicePrincipal {
        authority: authority.to_owned(),
        tenant_id: "directory".into(),
        client_id: "application".into(),
        client_secret: Secret::new(secret),
    };
    // An hour, as Entra ID has it, and more than any clock can count.
    for lifetime in [3599, u64::MAX] {
        let (authority, asked) = authority(TOKEN, lifetime).await;
        let source = open(SqlServerSource { login: principal(&authority, "s&cret"), ..base.clone() });
        for _time in 0..3 {
            source.check().await.expect("a token that was fetched");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "a token is used while it is good");
    }
    let (authority, _asked) = authority(TOKEN, 3599).await;

    let fault = one(SqlServerSource { login: principal(&authority, "wrong"), ..base })
        .await
        .expect_err("a wrong secret");
    assert_eq!(fault.kind(), FaultKind::Credentials);
    assert!(fault.chain().contains("invalid_client AADSTS7000215"), "{}", fault.chain());
    assert!(!fault.chain().contains("wrong"), "{}", fault.chain());
}

#[tokio::test]
async fn a_real_server_refuses_a_wrong_password_and_answers_a_right_one() {
    let Some(configuration) = sqlserver::configuration() else { return };
    open(configuration.clone()).check().await.expect("the URL of the environment is right");
    if let SqlServerLogin::Password { username, .. } = &configuration.login {
        let login = SqlServerLogin::Password { username: username.clone(), password: Secret::new("wrong") };
        let wrong = SqlServerSource { login, ..configuration.clone() };
        let fault = open(wrong).check().await.expect_err("a wrong password");
        assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    }
    for encryption in [SqlServerEncryption::Optional, SqlServerEncryption::Mandatory] {
        let configuration =
            SqlServerSource { encryption, trusts_any_certificate: true, ..configuration.clone() };
        let found = one_of(configuration, "SELECT CAST(1 AS int) AS one").await;
        assert_eq!(
            found.unwrap_or_else(|fault| panic!("{encryption:?}: {}", fault.chain())).as_deref(),
            Some("1")
        );
    }
}

async fn one_of(configuration: SqlServerSource, sql: &str) -> Result<Option<String>, Fault> {
    let found = read(&open(configuration), &query(sql), 1).await?;
    Ok(column(&found, "one").remove(0))
}
