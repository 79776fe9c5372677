//! How the agent logs in to MySQL and MariaDB.

use std::time::Duration;

use data_exchange_agent::config::{MysqlSource, Secret, SslMode};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::Source;

use crate::support::mysql::{self, Flavor, PASSWORD_USER, Server, TLS_USER, open};

async fn check(configuration: &MysqlSource) -> Result<(), Fault> {
    open(configuration.clone()).check().await
}

#[tokio::test]
async fn a_password_is_proven_over_tls_and_over_a_socket() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let right = database.configuration_as(PASSWORD_USER);
        let over_socket = MysqlSource { host: server.socket(), ..right.clone() };
        for configuration in [&right, &over_socket] {
            check(configuration)
                .await
                .unwrap_or_else(|fault| panic!("{:?}: {}", server.flavor, fault.chain()));
            // The second login takes the short way, where there is one.
            check(configuration).await.expect("again");
            let wrong = MysqlSource { password: Some(Secret::new("wrong")), ..configuration.clone() };
            let fault = check(&wrong).await.expect_err("refused");
            assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
            assert!(fault.chain().contains("1045"), "{}", fault.chain());
            let none = MysqlSource { password: None, ..configuration.clone() };
            assert_eq!(check(&none).await.expect_err("refused").kind(), FaultKind::Credentials);
        }
    }
}

#[tokio::test]
async fn without_tls_a_password_needs_the_servers_key() {
    for flavor in mysql::flavors() {
        if flavor != Flavor::MySql {
            continue;
        }
        // A server that has seen no login yet, so that each one is a full one.
        let server = Server::private(flavor, false).await;
        let database = server.create_database().await;
        let plain = MysqlSource { ssl_mode: SslMode::Disable, ..database.configuration_as(PASSWORD_USER) };

        let fault = check(&plain).await.expect_err("nothing protects the password");
        assert_eq!(fault.kind(), FaultKind::Credentials);
        assert!(fault.hint().unwrap_or_default().contains("server_public_key"), "{:?}", fault.hint());

        let key = tempfile_copy(&server.data_file("public_key.pem"));
        let with_key = MysqlSource { server_public_key: Some(key.clone()), ..plain.clone() };
        check(&with_key).await.unwrap_or_else(|fault| panic!("{}", fault.chain()));
        std::fs::remove_file(key).expect("a file of this test");
        // The server remembers the user now, and needs no password any more.
        check(&plain).await.expect("the short way");

        database.run("FLUSH PRIVILEGES").await;
        let asking = MysqlSource { allow_public_key_retrieval: true, ..plain.clone() };
        check(&asking).await.unwrap_or_else(|fault| panic!("{}", fault.chain()));
        database.run("FLUSH PRIVILEGES").await;
        let wrong = MysqlSource { password: Some(Secret::new("wrong")), ..asking };
        let fault = check(&wrong).await.expect_err("refused");
        assert!(fault.chain().contains("1045"), "{}", fault.chain());
    }
}

/// A copy that this process may read, whoever owns the original.
fn tempfile_copy(path: &std::path::Path) -> std::path::PathBuf {
    let copy = std::env::temp_dir().join(format!("data-exchange-{}.pem", uuid::Uuid::new_v4().simple()));
    std::fs::copy(path, &copy).expect("copy the key");
    copy
}

#[tokio::test]
async fn certificates_are_checked_as_the_mode_says() {
    for flavor in mysql::flavors() {
        let server = Server::private(flavor, true).await;
        let database = server.create_database().await;
        let base = database.configuration_as(TLS_USER);
        let (right, wrong) = (&server.authorities().right, &server.authorities().wrong);
        for (host, mode, authority, works) in [
            ("127.0.0.1", SslMode::Prefer, None, true),
            ("127.0.0.1", SslMode::Require, None, true),
            ("127.0.0.1", SslMode::Disable, None, false),
            ("127.0.0.1", SslMode::VerifyCa, Some(right), true),
            ("127.0.0.1", SslMode::VerifyCa, Some(wrong), false),
            ("127.0.0.1", SslMode::VerifyFull, Some(right), false),
            ("localhost", SslMode::VerifyFull, Some(right), true),
            ("localhost", SslMode::VerifyFull, Some(wrong), false),
        ] {
            let configuration = MysqlSource {
                host: host.into(),
                ssl_mode: mode,
                ssl_ca: authority.cloned(),
                allow_public_key_retrieval: true,
                ..base.clone()
            };
            let outcome = check(&configuration).await;
            let chain = outcome.as_ref().err().map(Fault::chain);
            assert_eq!(outcome.is_ok(), works, "{flavor:?} {host} {mode:?}: {chain:?}");
            if let Err(fault) = outcome {
                assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
                assert!(fault.hint().is_some());
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_no_database_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for server in mysql::servers().await {
        let database = server.create_database().await;
        // Nobody accepts: the connection waits in the queue.
        let silent =
            MysqlSource { port, connect_timeout: Duration::from_millis(50), ..database.configuration() };
        let fault = check(&silent).await.expect_err("silence");
        assert_eq!(fault.kind(), FaultKind::Transient);
        assert!(fault.hint().unwrap_or_default().contains("connect_timeout"), "{:?}", fault.hint());

        let unknown = MysqlSource { database: Some("nowhere_at_all".into()), ..database.configuration() };
        let fault = check(&unknown).await.expect_err("no such database");
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("`database`"), "{:?}", fault.hint());

        let missing = MysqlSource { host: "/nowhere/at/all".into(), ..database.configuration() };
        assert_eq!(check(&missing).await.expect_err("no socket").kind(), FaultKind::Transient);
    }
}
