//! How the agent logs in to MySQL and MariaDB.

use std::time::Duration;

use data_exchange_agent::config::{MysqlSource, Secret, SslMode};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::Source;

use crate::support::certificates::Authority;
use crate::support::mysql::{self, Flavor, PASSWORD_USER, READER, Server, TLS_USER, open};
use crate::support::mysql_double::{MysqlDouble, Step, acceptor, greeting, packet};

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
        for (host, mode, authority, works) in server.tls_modes() {
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

/// The configuration of a connection to a double.
fn to(double: &MysqlDouble) -> MysqlSource {
    MysqlSource {
        host: "localhost".into(),
        port: double.port,
        database: None,
        username: "reader".into(),
        password: Some(Secret::new("hunter2")),
        ssl_mode: SslMode::Prefer,
        ssl_ca: None,
        server_public_key: None,
        allow_public_key_retrieval: false,
        application_name: "data-exchange-agent tests".into(),
        statement_timeout: None,
        connect_timeout: Duration::from_secs(60),
        consistency: Default::default(),
        zero_dates: Default::default(),
        time: Default::default(),
        tinyint1: Default::default(),
        longest_row: MysqlSource::DEFAULT_LONGEST_ROW,
        odbc_connection: None,
    }
}

#[tokio::test]
async fn a_readable_password_is_for_a_server_that_has_proven_its_name() {
    let authority = Authority::new();
    let certificate = authority.server("localhost");
    for plugin in ["mysql_clear_password", "dialog"] {
        let switch = [b"\xfe", plugin.as_bytes(), b"\0"].concat();
        let asks = |acceptor| {
            vec![
                Step::Send(greeting()),
                Step::Take,
                Step::StartTls(acceptor),
                Step::Take,
                Step::Send(packet(3, &switch)),
                Step::Take,
                Step::Send(packet(5, &[0, 0, 0, 2, 0, 0, 0])),
                Step::Take,
                Step::Wait,
            ]
        };
        for (mode, proven) in [
            (SslMode::Prefer, false),
            (SslMode::Require, false),
            (SslMode::VerifyCa, true),
            (SslMode::VerifyFull, true),
        ] {
            let double = MysqlDouble::start(asks(acceptor(&certificate))).await;
            let ssl_ca = proven.then(|| authority.file());
            let configuration = MysqlSource { ssl_mode: mode, ssl_ca, ..to(&double) };
            // After the login the double answers nothing.
            let configuration = MysqlSource { connect_timeout: Duration::from_secs(60), ..configuration };
            let source = open(configuration);
            let outcome = match proven {
                // The double has the password, and says nothing to what is asked next.
                true => {
                    let checked = std::pin::pin!(source.check());
                    let seen = std::pin::pin!(async {
                        while double.taken().len() < 4 {
                            tokio::task::yield_now().await;
                        }
                    });
                    futures::future::select(checked, seen).await;
                    Ok(())
                }
                false => source.check().await,
            };
            let is_told =
                double.taken().iter().any(|packet| packet.windows(7).any(|text| text == b"hunter2"));
            assert_eq!(is_told, proven, "{plugin} {mode:?}");
            if let Err(fault) = outcome {
                assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
                assert!(fault.hint().unwrap_or_default().contains("verify_identity"), "{:?}", fault.hint());
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_that_is_cut_is_worth_another_try_and_one_that_is_refused_is_not() {
    let until_tls = vec![Step::Send(greeting()), Step::Take];
    let garbage = Step::Send(b"this is no handshake of TLS at all".to_vec());
    let refused = vec![Step::Send(greeting()), Step::Take, garbage, Step::Wait];
    for (steps, kind) in [(until_tls, FaultKind::Transient), (refused, FaultKind::Credentials)] {
        let double = MysqlDouble::start(steps).await;
        let fault =
            check(&MysqlSource { ssl_mode: SslMode::Require, ..to(&double) }).await.expect_err("no TLS");
        assert_eq!(fault.kind(), kind, "{}", fault.chain());
        assert!(fault.chain().contains("start TLS") && fault.hint().is_some(), "{}", fault.chain());
    }
}

#[tokio::test]
async fn nobody_unknown_makes_the_agent_wait_for_a_long_packet() {
    // A header that announces 16 MiB, of which nothing comes.
    let double = MysqlDouble::start(vec![Step::Send(vec![0xfe, 0xff, 0xff, 0]), Step::Wait]).await;
    let fault = check(&to(&double)).await.expect_err("it is no greeting");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.chain().contains("longer than any"), "{}", fault.chain());
}

#[tokio::test]
async fn a_server_in_offline_mode_is_worth_another_try() {
    for flavor in mysql::flavors() {
        if flavor != Flavor::MySql {
            continue;
        }
        let server = Server::private(flavor, false).await;
        let database = server.create_database().await;
        let reader = MysqlSource { host: server.socket(), ..database.configuration_as(READER) };
        check(&reader).await.expect("it is online");
        database.run("SET GLOBAL offline_mode = ON").await;
        let fault = check(&reader).await.expect_err("it is offline");
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
        assert!(fault.chain().contains("3032"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("offline_mode"), "{:?}", fault.hint());
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
