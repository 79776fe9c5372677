//! What ends an extraction early: its caller, the server, the network, a row.

use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use data_exchange_agent::config::{PostgresSource, SslMode};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{BatchLimits, Query, Source};
use futures::future::{Either, select};
use sqlx::AssertSqlSafe;

use crate::support::extraction::{configuration, count, limits, open, query, read, source, table, transfer};
use crate::support::postgres::{self, Database, Options, Postgres};

/// Never ends by itself, and produces no row before.
const ENDLESS: &str =
    "SELECT count(*) AS n FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b";
/// More rows than any buffer on the way holds.
const LONG: &str = "SELECT i AS id, repeat('x', 100) AS filler FROM generate_series(1, 100000000) AS i";

/// Sees what the agent's sessions in a database do.
struct Observer {
    connection: sqlx::PgConnection,
}

impl Observer {
    async fn new(database: &Database) -> Self {
        Self { connection: database.connect().await }
    }

    /// Sessions of the agent for which `condition` holds.
    async fn sessions(&mut self, condition: &str) -> i64 {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'data-exchange-agent tests' AND {condition}"
        );
        let counted = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection);
        counted.await.expect("the server's activity")
    }

    async fn until(&mut self, condition: &str, wanted: i64) {
        while self.sessions(condition).await != wanted {}
    }

    /// Waits until all sessions of the agent have ended.
    async fn until_gone(&mut self) {
        self.until("true", 0).await;
    }

    /// Runs `work` until the server executes a statement for it, then drops it.
    async fn drop_when_running<T>(&mut self, work: impl Future<Output = T>, statement: &str) {
        let running = format!("state = 'active' AND query LIKE '{statement}%'");
        match select(pin!(work), pin!(self.until(&running, 1))).await {
            Either::Left(_) => panic!("it has no end"),
            Either::Right(_) => {}
        }
    }

    async fn terminate(&mut self) {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'data-exchange-agent tests'";
        let ended: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.connection).await.expect("terminate");
        assert!(ended > 0, "there was a session");
    }
}

fn few_rows() -> BatchLimits {
    BatchLimits { rows: count(100), ..limits() }
}

#[tokio::test]
async fn a_statement_without_a_row_yet_is_cancelled_when_its_caller_goes() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let over_tcp = configuration(&database.url());
    let over_socket = PostgresSource {
        host: server.socket_folder().to_str().expect("UTF-8").to_owned(),
        ..over_tcp.clone()
    };
    for configuration in [over_tcp, over_socket] {
        for sql in
            ["SELECT pg_sleep(600)", ENDLESS, "SELECT i FROM generate_series(1, 1000000000) AS i ORDER BY -i"]
        {
            let extraction =
                open(configuration.clone()).prepare(&query(sql), count(1)).await.expect("prepare");
            observer.drop_when_running(extraction.open(0, limits()), "COPY").await;
            drop(extraction);
            observer.until_gone().await;
        }
    }
}

#[tokio::test]
async fn a_statement_over_tls_is_cancelled_as_well() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options { tls: true, ..Options::default() }).await;
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let configuration = PostgresSource {
        host: "localhost".into(),
        ssl_mode: SslMode::VerifyFull,
        ssl_root_certificate: Some(server.authorities().right.clone()),
        ..configuration(&database.url())
    };
    let extraction = open(configuration).prepare(&query(ENDLESS), count(1)).await.expect("prepare");
    observer.drop_when_running(extraction.open(0, limits()), "COPY").await;
    observer.until_gone().await;
}

#[tokio::test]
async fn the_search_for_ranges_is_cancelled_when_its_caller_goes() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let source = source(&database);
    let query = Query { slice_column: Some("n".into()), ..query(ENDLESS) };
    observer.drop_when_running(source.prepare(&query, count(4)), "SELECT DISTINCT b.value").await;
    observer.until_gone().await;
}

#[tokio::test]
async fn a_dropped_stream_cancels_its_statement() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let source = source(&database);
    let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, few_rows()).await.expect("open");
    assert_eq!(stream.next().await.expect("rows").expect("a batch").num_rows(), 100);
    assert_eq!(observer.sessions("true").await, 1);

    drop(stream);

    observer.until_gone().await;
}

#[tokio::test]
async fn an_extraction_that_is_never_read_leaves_no_session() {
    let Some(_installed) = postgres::server_if_installed().await else { return };
    // The log of the shared server also has the sessions of tests that ended in the middle.
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let query = Query {
        slice_column: Some("id".into()),
        ..query("SELECT i AS id FROM generate_series(1, 100) AS i")
    };
    let extraction = source(&database).prepare(&query, count(5)).await.expect("prepare");
    assert_eq!(observer.sessions("state = 'idle in transaction'").await, 5);
    let _one_of_them = extraction.open(3, limits()).await.expect("open");

    drop(extraction);
    drop(_one_of_them);

    observer.until_gone().await;
    assert!(
        !server.log().contains("unexpected EOF on client connection with an open transaction"),
        "goodbye"
    );
}

#[tokio::test]
async fn a_transfer_that_is_stopped_stops_on_the_server() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let source = source(&database);
    let query = query(ENDLESS);
    observer.drop_when_running(transfer(&source, &query, 1), "COPY").await;
    observer.until_gone().await;
}

#[tokio::test]
async fn the_time_limit_of_a_statement_is_the_servers() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let limited = open(PostgresSource {
        statement_timeout: Some(Duration::from_millis(50)),
        ..configuration(&database.url())
    });
    let by_column = Query { slice_column: Some("n".into()), ..query(ENDLESS) };
    for (query, slices) in [(query(ENDLESS), 1), (query("SELECT pg_sleep(600)"), 1), (by_column, 4)] {
        let fault = read(&limited, &query, slices).await.expect_err("it takes longer");
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
        assert!(fault.chain().contains("57014"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("statement_timeout"), "{:?}", fault.hint());
    }
    // A limit that a slow machine keeps as well.
    let patient = open(PostgresSource {
        statement_timeout: Some(Duration::from_secs(120)),
        ..configuration(&database.url())
    });
    let found = read(&patient, &query("SELECT 1 AS a"), 1).await.expect("short enough");
    assert_eq!(found.num_rows(), 1);
}

#[tokio::test]
async fn a_session_that_is_ended_in_the_middle_is_worth_another_try() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let mut observer = Observer::new(&database).await;
    let source = source(&database);

    let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, few_rows()).await.expect("open");
    stream.next().await.expect("rows");
    observer.terminate().await;
    let fault = loop {
        match stream.next().await {
            Ok(batch) => assert!(batch.is_some(), "the result has not ended"),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());

    let waiting = source.prepare(&query("SELECT 1 AS a"), count(1)).await.expect("prepare");
    observer.terminate().await;
    observer.until_gone().await;
    let fault = waiting.open(0, limits()).await.err().expect("the session has ended");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_worth_another_try() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    database.execute("CREATE TABLE kept AS SELECT i AS id, repeat('x', 100) AS filler FROM generate_series(1, 500000) AS i").await;
    let source = source(&database);
    let extraction = source.prepare(&table("kept"), count(2)).await.expect("prepare");
    let mut stream = extraction.open(1, few_rows()).await.expect("open");
    stream.next().await.expect("rows");

    server.stop_immediately().await;

    let fault = loop {
        match stream.next().await {
            Ok(batch) => assert!(batch.is_some(), "the result has not ended"),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    let fault = extraction.open(0, limits()).await.err().expect("the session has ended");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    let fault = source.check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    assert!(fault.to_string().contains(&format!("127.0.0.1:{}", server.port())), "{fault}");

    server.restart().await;
    assert_eq!(read(&source, &table("kept"), 2).await.expect("it is back").num_rows(), 500_000);
}

#[tokio::test]
async fn a_row_that_cannot_be_computed_fails_the_result_without_its_data() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let source = source(&database);
    let sql = "SELECT i, 4111 / (100000 - i) AS quotient FROM generate_series(1, 200000) AS i";
    let extraction = source.prepare(&query(sql), count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, few_rows()).await.expect("open");
    let mut rows = 0;
    let fault = loop {
        match stream.next().await {
            Ok(batch) => rows += batch.expect("not the end").num_rows(),
            Err(fault) => break fault,
        }
    };
    assert!((1..100_000).contains(&rows), "{rows}");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert_eq!(fault.chain(), "read rows: PostgreSQL reported 22012 (data exception)");
    assert!(fault.hint().unwrap_or_default().contains("by hand"), "{:?}", fault.hint());
    let fault = transfer(&source, &query(sql), 1).await.err().expect("no file of half a result");
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let configuration = PostgresSource {
        connect_timeout: Duration::from_millis(50),
        ..configuration(&format!("postgresql://nobody@127.0.0.1:{port}/nothing"))
    };
    for ssl_mode in [SslMode::Disable, SslMode::Prefer, SslMode::Require] {
        let fault =
            open(PostgresSource { ssl_mode, ..configuration.clone() }).check().await.expect_err("silence");
        assert_eq!(fault.kind(), FaultKind::Transient);
        assert!(fault.chain().contains("no answer within 50ms"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("connect_timeout"));
    }
    drop(silent);
    let fault = open(configuration).check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_than_postgresql_is_an_error() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"",
        b"N",
        b"NHTTP/1.1 400 Bad\r\n\r\n",
        b"S\x15\x03\x01",
        b"E\0\0\0\x05\0",
        b"NR\xff\xff\xff\xff",
        b"NR\0\0\0\x04",
        b"NR\0\0\0\x08\0\0\0\x0a",
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut client, _) = listener.accept().expect("a client");
            // Reading first keeps the answer from being lost with a reset.
            let mut request = [0; 8];
            client.read_exact(&mut request).expect("a request");
            let _client_may_be_gone = client.write_all(answer);
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        });
        let url = format!("postgresql://nobody@127.0.0.1:{port}/nothing");
        let fault = open(configuration(&url)).check().await.expect_err("not PostgreSQL");
        assert!(fault.to_string().contains("connect to PostgreSQL at 127.0.0.1"), "{}", fault.chain());
        server.join().expect("the server has served");
    }
}
