//! What ends an extraction from MySQL or MariaDB early: its caller, the server, the network.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use data_exchange_agent::config::{MysqlSource, SslMode};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{BatchLimits, Query, Source};
use futures::future::{Either, select};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::extraction::{count, limits, query, read, table, transfer};
use crate::support::mysql::{self, Database, Server, Session, USER, open};

/// Never ends by itself, and produces no row before.
const ENDLESS: &str = "SELECT COUNT(*) AS n FROM numbers AS a, numbers AS b, numbers AS c, numbers AS d, numbers AS e, \
                       numbers AS f WHERE a.i + b.i + c.i + d.i + e.i + f.i < 0";
/// More rows than any buffer on the way holds.
const LONG: &str =
    "SELECT a.i AS id, REPEAT('x', 100) AS filler FROM numbers AS a, numbers AS b, numbers AS c";

async fn prepared(database: &Database<'_>) {
    let ones = vec!["(1)"; 1000].join(",");
    database.run(&format!("CREATE TABLE numbers (i int); INSERT INTO numbers VALUES {ones}")).await;
}

/// Sees what the agent's sessions in a database do.
struct Observer {
    session: Session,
    database: String,
}

impl Observer {
    async fn new(database: &Database<'_>) -> Self {
        Self { session: database.session().await, database: database.name().to_owned() }
    }

    /// Ids of the agent's sessions for which `condition` holds: those that came over TCP.
    async fn sessions(&mut self, condition: &str) -> Vec<String> {
        let sql = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{}' AND ID <> CONNECTION_ID() \
             AND HOST LIKE '127.0.0.1:%' AND {condition}",
            self.database
        );
        self.session.run(&sql).await.into_iter().flatten().collect()
    }

    async fn until(&mut self, condition: &str, wanted: usize) {
        while self.sessions(condition).await.len() != wanted {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until all sessions of the agent have ended.
    async fn until_gone(&mut self) {
        self.until("TRUE", 0).await;
    }

    /// Runs `work` until the server executes a statement for it, then drops it.
    async fn drop_when_running<T>(&mut self, work: impl Future<Output = T>, statement: &str) {
        let running = format!("COMMAND IN ('Query', 'Execute') AND INFO LIKE '{statement}%'");
        match select(pin!(work), pin!(self.until(&running, 1))).await {
            Either::Left(_) => panic!("it has no end"),
            Either::Right(_) => {}
        }
    }

    async fn kill(&mut self, how: &str) {
        let ids = self.sessions("TRUE").await;
        assert!(!ids.is_empty(), "there was a session");
        for id in ids {
            self.session.run(&format!("KILL {how} {id}")).await;
        }
    }
}

fn few_rows() -> BatchLimits {
    BatchLimits { rows: count(100), ..limits() }
}

#[tokio::test]
async fn a_statement_without_a_row_yet_is_ended_when_its_caller_goes() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut observer = Observer::new(&database).await;
        for sql in ["SELECT SLEEP(600) AS s", ENDLESS] {
            for mode in [SslMode::Prefer, SslMode::Disable] {
                let source = open(MysqlSource { ssl_mode: mode, ..database.configuration() });
                let extraction = source.prepare(&query(sql), count(1)).await.expect("prepare");
                observer.drop_when_running(extraction.open(0, limits()), "SELECT").await;
                drop(extraction);
                observer.until_gone().await;
            }
        }
    }
}

#[tokio::test]
async fn the_search_for_ranges_is_ended_when_its_caller_goes() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut observer = Observer::new(&database).await;
        let source = database.source();
        let query = Query { slice_column: Some("n".into()), ..query(ENDLESS) };
        observer.drop_when_running(source.prepare(&query, count(4)), "SELECT CAST(FLOOR(MIN").await;
        observer.until_gone().await;
    }
}

#[tokio::test]
async fn a_dropped_stream_ends_its_statement() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut observer = Observer::new(&database).await;
        let source = database.source();
        let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
        let mut stream = extraction.open(0, few_rows()).await.expect("open");
        assert_eq!(stream.next().await.expect("rows").expect("a batch").num_rows(), 100);
        assert_eq!(observer.sessions("TRUE").await.len(), 1);

        drop(stream);

        observer.until_gone().await;
    }
}

#[tokio::test]
async fn rows_arrive_while_the_query_still_runs() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut gate = database.session().await;
        let name = database.name();
        gate.run(&format!("SELECT GET_LOCK('gate of {name}', 0)")).await;
        // A thousand rows of 1 KB; the 900th waits until the gate is opened.
        let sql = format!(
            "SELECT REPEAT('x', 1000) AS filler, IF(n = 900, GET_LOCK('gate of {name}', 1000), 0) AS gate \
             FROM (SELECT ROW_NUMBER() OVER () AS n FROM numbers) AS q"
        );
        let source = database.source();
        let extraction = source.prepare(&query(sql), count(1)).await.expect("prepare");
        let mut stream = extraction.open(0, few_rows()).await.expect("open");

        let first = stream.next().await.expect("rows").expect("a batch").num_rows();

        let mut observer = Observer::new(&database).await;
        observer.until("STATE = 'User lock'", 1).await;
        gate.run(&format!("SELECT RELEASE_LOCK('gate of {name}')")).await;
        let mut rows = first;
        while let Some(batch) = stream.next().await.expect("rows") {
            rows += batch.num_rows();
        }
        assert_eq!((first, rows), (100, 1000));
    }
}

/// Forwards connections to a server that can be exchanged.
struct Switch {
    port: u16,
    target: Arc<AtomicU16>,
    ended: Arc<AtomicUsize>,
}

impl Switch {
    #[expect(clippy::disallowed_methods, reason = "the switch is no part of the agent, no stop waits for it")]
    async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (target, ended) = (Arc::new(AtomicU16::new(target)), Arc::new(AtomicUsize::new(0)));
        let (now, count) = (Arc::clone(&target), Arc::clone(&ended));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, count) = (now.load(Ordering::SeqCst), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", target)).await.expect("it runs");
                    let _either_may_go = copy_bidirectional(&mut client, &mut server).await;
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, target, ended }
    }
}

#[tokio::test]
async fn a_session_of_somebody_else_that_has_the_same_number_is_not_ended() {
    for flavor in mysql::flavors() {
        let server = Server::private(flavor, false).await;
        let other = Server::private(flavor, false).await;
        let database = server.create_database().await;
        let elsewhere = other.create_database().await;
        prepared(&database).await;
        elsewhere.run(&format!("CREATE DATABASE {}", database.name())).await;
        let id = async |session: &mut Session| -> u64 {
            let rows = session.run("SELECT CONNECTION_ID()").await;
            rows[0][0].parse().expect("a number")
        };
        // Somebody's session there gets a number that is still to come here, and that is the one which the
        // agent's session gets here.
        let newest = id(&mut database.session().await).await;
        let mut somebody = elsewhere.session().await;
        while id(&mut somebody).await < newest + 3 {
            somebody = elsewhere.session().await;
        }
        let number = id(&mut somebody).await;
        while id(&mut database.session().await).await + 1 < number {}
        let switch = Switch::start(database.configuration().port).await;
        let source = open(MysqlSource { port: switch.port, ..database.configuration() });
        let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
        let mut stream = extraction.open(0, few_rows()).await.expect("open");
        stream.next().await.expect("rows");
        let mut observer = Observer::new(&database).await;
        assert_eq!(observer.sessions("TRUE").await, [number.to_string()]);

        switch.target.store(elsewhere.configuration().port, Ordering::SeqCst);
        drop((stream, extraction));

        // The agent's own connection, and the one by which it would end the session.
        while switch.ended.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(id(&mut somebody).await, number, "it still lives");
        observer.until_gone().await;
    }
}

#[tokio::test]
async fn an_extraction_that_is_never_read_leaves_no_session() {
    for flavor in mysql::flavors() {
        let server = Server::private(flavor, false).await;
        let database = server.create_database().await;
        database
            .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4), (5)")
            .await;
        let mut observer = Observer::new(&database).await;
        let query = Query { slice_column: Some("id".into()), ..table("t") };
        let before = database.value("SHOW GLOBAL STATUS LIKE 'Aborted_clients'").await;
        let extraction = database.source().prepare(&query, count(5)).await.expect("prepare");
        observer.until("TRUE", 5).await;
        let one_of_them = extraction.open(3, limits()).await.expect("open");

        drop(extraction);
        drop(one_of_them);

        observer.until_gone().await;
        let after = database.run("SHOW GLOBAL STATUS LIKE 'Aborted_clients'").await;
        // The one that was being read may count; the others have said goodbye.
        let aborted: u64 = after[0][1].parse().expect("a number");
        assert!(aborted <= 1, "{before} -> {after:?}");
    }
}

#[tokio::test]
async fn a_transfer_that_is_stopped_stops_on_the_server() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut observer = Observer::new(&database).await;
        let source = database.source();
        let query = query(ENDLESS);
        observer.drop_when_running(transfer(&source, &query, 1), "%numbers AS f").await;
        observer.until_gone().await;
    }
}

#[tokio::test]
async fn the_time_limit_of_a_statement_is_the_servers() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let limited =
            MysqlSource { statement_timeout: Some(Duration::from_millis(100)), ..database.configuration() };
        let limited = open(limited);
        let by_column = Query { slice_column: Some("n".into()), ..query(ENDLESS) };
        for (query, slices) in [(query(ENDLESS), 1), (by_column, 4)] {
            let fault = read(&limited, &query, slices).await.expect_err("it takes longer");
            assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
            assert!(fault.hint().unwrap_or_default().contains("statement_timeout"), "{:?}", fault.hint());
        }
        // A limit that a slow machine keeps as well.
        let patient =
            MysqlSource { statement_timeout: Some(Duration::from_secs(120)), ..database.configuration() };
        let found = read(&open(patient), &query("SELECT 1 AS a"), 1).await.expect("short enough");
        assert_eq!(found.num_rows(), 1);
    }
}

#[tokio::test]
async fn a_session_or_query_that_is_killed_in_the_middle_is_worth_another_try() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        prepared(&database).await;
        let mut observer = Observer::new(&database).await;
        let source = database.source();
        for how in ["QUERY", "CONNECTION"] {
            let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
            let mut stream = extraction.open(0, few_rows()).await.expect("open");
            stream.next().await.expect("rows");
            observer.kill(how).await;
            let fault = loop {
                match stream.next().await {
                    Ok(batch) => assert!(batch.is_some(), "the result has not ended"),
                    Err(fault) => break fault,
                }
            };
            assert_eq!(fault.kind(), FaultKind::Transient, "{how}: {}", fault.chain());
            drop((stream, extraction));
            observer.until_gone().await;
        }
        let waiting = source.prepare(&query("SELECT 1 AS a"), count(1)).await.expect("prepare");
        observer.kill("CONNECTION").await;
        observer.until_gone().await;
        let fault = waiting.open(0, limits()).await.err().expect("the session has ended");
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_worth_another_try() {
    for flavor in mysql::flavors() {
        let server = Server::private(flavor, false).await;
        let source = {
            let database = server.create_database().await;
            prepared(&database).await;
            database.source()
        };
        let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
        let mut stream = extraction.open(0, few_rows()).await.expect("open");
        stream.next().await.expect("rows");

        server.kill();

        let fault = loop {
            match stream.next().await {
                Ok(batch) => assert!(batch.is_some(), "the result has not ended"),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
        let fault = source.check().await.expect_err("nobody listens");
        assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
        assert!(fault.hint().is_some());

        assert!(server.start().await, "{}", server.log());
        let found = read(&source, &query("SELECT COUNT(*) AS n FROM numbers"), 1).await.expect("it is back");
        assert_eq!(found.num_rows(), 1);
    }
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_asked_to_slow_down() {
    for flavor in mysql::flavors() {
        let server = Server::private(flavor, false).await;
        let database = server.create_database().await;
        database
            .run(&format!(
                "ALTER USER {USER}@'%' WITH MAX_USER_CONNECTIONS 2; SET GLOBAL max_connections = 10"
            ))
            .await;
        let source = database.source();
        let mut held = Vec::new();
        let fault = loop {
            match source.prepare(&query("SELECT 1 AS a"), count(1)).await {
                Ok(extraction) => held.push(extraction),
                Err(fault) => break fault,
            }
            assert!(held.len() < 20, "{flavor:?} has a limit");
        };
        assert_eq!(fault.kind(), FaultKind::Throttled, "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("max_connections"), "{:?}", fault.hint());
    }
}
