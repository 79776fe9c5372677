//! Ways to log in, to the server that is meant and to no other.

use std::net::Ipv4Addr;
use std::path::Path;

use data_exchange_agent::config::{PostgresSource, Secret, SslMode};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::Source;
use data_exchange_agent::source::postgres::Postgres as PostgresDatabase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::extraction::{column, configuration, open, query, read, source};
use crate::support::postgres::{self, Options, Postgres};

async fn one(configuration: PostgresSource, sql: &str) -> Result<Option<String>, Fault> {
    let found = read(&open(configuration), &query(sql), 1).await?;
    Ok(column(&found, "one").remove(0))
}

#[tokio::test]
async fn every_method_takes_the_right_password_and_no_other() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for user in [postgres::SCRAM_USER, postgres::MD5_USER, postgres::CLEAR_TEXT_USER] {
        let right = configuration(&database.url_as(user));
        assert_eq!(right.password.as_ref().map(Secret::expose), Some(user.1));
        let name = one(right.clone(), "SELECT current_user::text AS one").await.expect("the right password");
        assert_eq!(name.as_deref(), Some(user.0));

        for wrong in ["wrong", ""] {
            let wrong = PostgresSource { password: Some(Secret::new(wrong)), ..right.clone() };
            let fault = open(wrong).check().await.expect_err("a wrong password");
            assert_eq!(fault.kind(), FaultKind::Credentials, "{}: {}", user.0, fault.chain());
            assert!(fault.hint().unwrap_or_default().contains("password"), "{:?}", fault.hint());
        }
        let none = PostgresSource { password: None, ..right.clone() };
        let fault = open(none).check().await.expect_err("no password");
        assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("${env:PGPASSWORD}"), "{:?}", fault.hint());
        let said = format!("{right:?} {fault:?}");
        assert!(!said.contains("pass/w"), "{said}");
    }
    // Trust: a password that nobody asks for does no harm.
    let trusted = PostgresSource { password: Some(Secret::new("unused")), ..configuration(&database.url()) };
    open(trusted).check().await.expect("trust");
}

#[tokio::test]
async fn who_cannot_log_in_is_told_why() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let role = format!("limited_of_{}", database.name());
    database
        .execute(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 0; CREATE ROLE {role}_2 NOLOGIN"))
        .await;
    let with =
        |username: &str| PostgresSource { username: username.into(), ..configuration(&database.url()) };
    for (username, kind, expected) in [
        ("nobody_of_that_name", FaultKind::Credentials, "nobody_of_that_name"),
        (role.as_str(), FaultKind::Throttled, "53300"),
        (&format!("{role}_2"), FaultKind::Credentials, "not permitted to log in"),
        (postgres::TLS_USER, FaultKind::Credentials, "pg_hba.conf"),
    ] {
        let fault = open(with(username)).check().await.expect_err("refused");
        assert_eq!(fault.kind(), kind, "{}", fault.chain());
        assert!(fault.chain().contains(expected), "{}", fault.chain());
        assert!(fault.hint().is_some(), "{username}");
    }
    database.execute(&format!("DROP ROLE {role}; DROP ROLE {role}_2")).await;
}

#[tokio::test]
async fn a_path_as_host_is_a_unix_socket() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let host = server.socket_folder().to_str().expect("UTF-8").to_owned();
    for ssl_mode in [SslMode::Prefer, SslMode::VerifyFull] {
        // There is nobody in between that TLS could keep out.
        let configuration = PostgresSource { host: host.clone(), ssl_mode, ..configuration(&database.url()) };
        let address = one(configuration, "SELECT inet_client_addr()::text AS one").await.expect("a session");
        assert_eq!(address, None, "no TCP");
    }
    let absent = PostgresSource { host: "/no/such/folder".into(), ..configuration(&database.url()) };
    let fault = open(absent).check().await.expect_err("no socket there");
    assert_eq!(fault.kind(), FaultKind::Transient);
    assert!(fault.to_string().contains("/no/such/folder"), "{fault}");
}

#[tokio::test]
async fn the_server_sees_the_name_of_the_application() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let configuration =
        PostgresSource { application_name: "nightly é".into(), ..configuration(&database.url()) };
    let name =
        one(configuration, "SELECT current_setting('application_name') AS one").await.expect("a session");
    assert!(name.as_deref().is_some_and(|name| name.starts_with("nightly ")), "{name:?}");
}

#[tokio::test]
async fn a_tls_handshake_that_is_cut_is_worth_another_try() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("postgresql://u@{}/d", listener.local_addr().unwrap());
    let source = open(PostgresSource { ssl_mode: SslMode::Require, ..configuration(&url) });
    let cutting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"S").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(source.check(), cutting);
    let fault = outcome.expect_err("it is cut");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
}

#[tokio::test]
async fn tls_is_as_strict_as_its_mode() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options { tls: true, ..Options::default() }).await;
    let database = server.create_database().await;
    let authorities = server.authorities();
    let (right, wrong) = (Some(authorities.right.as_path()), Some(authorities.wrong.as_path()));
    let encrypted = async |user: &str, host: &str, ssl_mode, authority: Option<&Path>| {
        let configuration = PostgresSource {
            host: host.into(),
            username: user.into(),
            ssl_mode,
            ssl_root_certificate: authority.map(Path::to_owned),
            ..configuration(&database.url())
        };
        let sql = "SELECT ssl::text AS one FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        one(configuration, sql).await.map(|one| one.as_deref() == Some("true"))
    };
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let (name, address) = ("localhost", "127.0.0.1");
    for (user, host, mode, authority, expected) in [
        (postgres::USER, name, Disable, None, Some(false)),
        (postgres::USER, name, Prefer, None, Some(true)),
        (postgres::USER, name, Require, None, Some(true)),
        (postgres::USER, address, Require, right, Some(true)),
        // As libpq: with an authority at hand, `require` checks it.
        (postgres::USER, name, Require, wrong, None),
        (postgres::USER, name, VerifyCa, right, Some(true)),
        (postgres::USER, address, VerifyCa, right, Some(true)),
        (postgres::USER, name, VerifyCa, wrong, None),
        (postgres::USER, name, VerifyFull, right, Some(true)),
        (postgres::USER, address, VerifyFull, right, None),
        (postgres::USER, name, VerifyFull, wrong, None),
        // The system's authorities do not know this one.
        (postgres::USER, name, VerifyFull, None, None),
        (postgres::TLS_USER, name, Require, None, Some(true)),
        (postgres::TLS_USER, name, Prefer, None, Some(true)),
        (postgres::TLS_USER, name, Disable, None, None),
    ] {
        let found = encrypted(user, host, mode, authority).await;
        let place = format!("{user} at {host}, {mode:?}, {authority:?}");
        match (found, expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected, "{place}"),
            (Err(fault), None) => {
                assert_eq!(fault.kind(), FaultKind::Credentials, "{place}: {}", fault.chain());
                assert!(fault.hint().is_some(), "{place}");
            }
            (Ok(_), None) => panic!("{place}: not refused"),
            (Err(fault), Some(_)) => panic!("{place}: {}", fault.chain()),
        }
    }
    // Passwords inside TLS, and a result of more than one record.
    let scram = PostgresSource {
        host: name.into(),
        ssl_mode: VerifyFull,
        ssl_root_certificate: right.map(Path::to_owned),
        ..configuration(&database.url_as(postgres::SCRAM_USER))
    };
    let sql = "SELECT i::text AS one FROM generate_series(1, 200000) AS i ORDER BY i";
    let found = read(&open(scram), &query(sql), 1).await.expect("a result over TLS");
    assert_eq!(column(&found, "one")[199_999].as_deref(), Some("200000"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    source(&database).check().await.expect("`prefer` takes what there is");
    for ssl_mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let configuration = PostgresSource { ssl_mode, ..configuration(&database.url()) };
        // Without a root certificate of the system there is nothing to trust, which is refused before.
        let fault = match PostgresDatabase::new(configuration, Shutdown::new()) {
            Ok(source) => source.check().await.expect_err("no TLS there"),
            Err(fault) => fault,
        };
        assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
        assert!(fault.hint().is_some());
    }
}

#[tokio::test]
async fn a_root_certificate_that_cannot_be_read_is_named() {
    for (path, content) in [("/no/such/file.pem", None), ("/proc/self/status", Some("no certificate"))] {
        let configuration = PostgresSource {
            ssl_mode: SslMode::VerifyFull,
            ssl_root_certificate: Some(path.into()),
            ..configuration("postgresql://somebody@localhost:1/nothing")
        };
        let fault = PostgresDatabase::new(configuration, Shutdown::new()).err().expect("unreadable");
        assert_eq!(fault.kind(), FaultKind::Credentials, "{content:?}");
        assert!(fault.hint().unwrap_or_default().contains("sslrootcert"), "{:?}", fault.hint());
    }
}
