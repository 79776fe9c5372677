//! Connections through ODBC: logins, columns, slices, batches, and what ends an extraction early.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use data_exchange_agent::config::{ConnectionString, OdbcConsistency, OdbcSource};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{BatchLimits, Query, Source};
use futures::future::{Either, select};
use sqlx::AssertSqlSafe;

use crate::support::extraction::{self, column, count, limits, query, read, refused, table, transfer};
use crate::support::mysql;
use crate::support::odbc::{self, open};
use crate::support::postgres::{self, Database, Options, Postgres, SCRAM_USER};

/// Never ends by itself, and produces no row before.
const ENDLESS: &str =
    "SELECT count(*) AS n FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b";
/// More rows than any buffer on the way holds.
const LONG: &str =
    "SELECT i AS id, repeat('x', 100)::varchar(100) AS filler FROM generate_series(1, 100000000) AS i";

/// Sees what the agent's sessions in a database do.
struct Observer {
    connection: sqlx::PgConnection,
}

impl Observer {
    async fn new(database: &Database) -> Self {
        Self { connection: database.connect().await }
    }

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
    async fn drop_when_running<T>(&mut self, work: impl Future<Output = T>) {
        let running = "state = 'active' AND query ILIKE '%generate_series%'";
        match select(pin!(work), pin!(self.until(running, 1))).await {
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

#[tokio::test]
async fn passwords_with_every_sign_of_a_connection_string_log_in() {
    let server = postgres::server().await;
    let database = server.create_database().await;
    let Some(string) = odbc::postgres_connection(&database) else { return };
    let with_login = |user: &str, password: &str| {
        let mut login = ConnectionString::new();
        login.add("UID", user);
        login.add("PWD", password);
        for name in ["Driver", "Servername", "Port", "Database", "UseDeclareFetch"] {
            login.add_if(name, string.get(name));
        }
        odbc::configuration(login)
    };
    for (user, password) in
        [("odd_a", "a;b"), ("odd_b", "100%25+x"), ("odd_c", "{a'b\"c=d"), ("odd_d", "größe [1]")]
    {
        // Users belong to the cluster and not to the database, so the names are this test's.
        let quoted = password.replace('\'', "''");
        let password_sql =
            format!("DROP ROLE IF EXISTS {user}; CREATE ROLE {user} LOGIN PASSWORD '{quoted}'");
        database.execute(&password_sql).await;
        open(with_login(user, password))
            .check()
            .await
            .unwrap_or_else(|fault| panic!("{password}: {}", fault.chain()));
        database.execute(&format!("DROP ROLE {user}")).await;
    }
    open(with_login(SCRAM_USER.0, SCRAM_USER.1)).check().await.expect("the right password");
    let fault =
        open(with_login(SCRAM_USER.0, "wrong password 4711")).check().await.expect_err("the wrong one");
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert!(!format!("{} {fault:?}", fault.chain()).contains("4711"), "{}", fault.chain());
}

#[tokio::test]
async fn columns_batches_and_tables() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else { return };
    database
        .execute("CREATE TABLE items AS SELECT i AS id, 'name ' || i AS name, i * 1.5 AS price FROM generate_series(1, 10000) AS i")
        .await;
    let source = open(configuration);
    let chosen = Query { columns: Some(vec!["NAME".into(), "id".into()]), ..table("items") };
    let found = read(&source, &chosen, 1).await.expect("two columns");
    assert_eq!(
        found.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["name", "id"]
    );
    assert_eq!(found.num_rows(), 10_000);

    let extraction =
        source.prepare(&query("SELECT id, name::varchar(20) FROM items ORDER BY id"), count(1)).await;
    let extraction = extraction.expect("prepare");
    let few = BatchLimits { rows: count(300), bytes: count(4096) };
    let mut stream = extraction.open(0, few).await.expect("open");
    let mut rows = 0;
    while let Some(batch) = stream.next().await.expect("rows") {
        assert!(batch.num_rows() <= 300 && batch.num_rows() > 0);
        assert!(batch.get_array_memory_size() < 4 * 4096, "{}", batch.get_array_memory_size());
        rows += batch.num_rows();
    }
    assert_eq!(rows, 10_000);
    assert!(extraction.open(0, limits()).await.is_ok(), "a slice of its own connection");

    for (asked, text) in [
        (query("SELECT nothing FROM items"), "42"),
        (query("SELECT * FROM no_such_table"), "no_such_table"),
        (query("SELECT 1 / 0 AS x FROM items"), "22"),
        (query("UPDATE items SET id = 1"), "UPDATE"),
        (Query { columns: Some(vec!["x".into()]), ..table("items") }, "`x`"),
    ] {
        let fault = read(&source, &asked, 1).await.expect_err(text);
        assert!(fault.chain().contains(text), "{}", fault.chain());
        assert!(matches!(fault.kind(), FaultKind::Request | FaultKind::Data), "{}", fault.chain());
    }
}

#[tokio::test]
async fn slices_are_ranges_when_they_may_be_independent_and_one_otherwise() {
    let database = postgres::server().await.create_database().await;
    let Some(serial) = odbc::postgres(&database) else { return };
    database
        .execute(
            "CREATE TABLE parts AS SELECT i AS id, date '2020-01-01' + i AS day, timestamp '2020-01-01' + i * interval '1.5 h' AS moment, \
             (i / 4.0)::numeric(10,2) AS price FROM generate_series(-1000, 1000) AS i; \
             INSERT INTO parts VALUES (NULL, NULL, NULL, NULL)",
        )
        .await;
    let independent = OdbcSource { consistency: OdbcConsistency::Independent, ..serial.clone() };
    for name in ["id", "day", "moment", "price"] {
        let asked = Query { slice_column: Some(name.into()), ..table("parts") };
        let extraction = open(serial.clone()).prepare(&asked, count(4)).await.expect("prepare");
        assert_eq!(extraction.slice_count(), 1);
        let source = open(independent.clone());
        let extraction = source.prepare(&asked, count(4)).await.expect("prepare");
        assert_eq!(extraction.slice_count(), 4, "{name}");
        let mut ids = Vec::new();
        for slice in 0..4 {
            let rows = extraction::read_slice(&*extraction, slice).await.expect("a slice");
            assert!(rows.num_rows() > 300, "{name}: {}", rows.num_rows());
            ids.extend(column(&rows, "id"));
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2002, "{name}: every row once");
    }
    let asked = Query {
        slice_column: Some("id".into()),
        ..query("SELECT id, 'x'::varchar(1) AS x FROM parts ORDER BY id")
    };
    let found = transfer(&open(independent.clone()), &asked, 3).await.expect("three slices");
    assert_eq!(found.rows.num_rows(), 2002);
    let differing =
        Query { read: query("SELECT id FROM parts ORDER BY random() LIMIT 50").read, ..asked.clone() };
    let extraction = open(independent.clone()).prepare(&differing, count(3)).await.expect("prepare");
    assert_eq!(extraction.slice_count(), 1, "each slice would draw its own rows");
    let fault = refused(&open(independent), &Query { slice_column: Some("x".into()), ..asked }, 2).await;
    assert!(fault.hint().is_some_and(|hint| hint.contains("slice_column")), "{fault:?}");
}

#[tokio::test]
async fn slices_are_read_at_the_same_time() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else { return };
    database.execute("CREATE TABLE ids AS SELECT i AS id FROM generate_series(1, 100) AS i").await;
    let source = open(OdbcSource { consistency: OdbcConsistency::Independent, ..configuration });
    let sql = "SELECT id, (SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b) AS n FROM ids";
    let asked = Query { slice_column: Some("id".into()), ..query(sql) };
    let extraction = source.prepare(&asked, count(2)).await.expect("prepare");
    let streams = [
        extraction.open(0, limits()).await.expect("open"),
        extraction.open(1, limits()).await.expect("open"),
    ];
    let mut observer = Observer::new(&database).await;
    // A driver manager that lets one call through at a time would never have two of them run.
    observer.until("state = 'active' AND query ILIKE '%generate_series%'", 2).await;
    drop(streams);
    observer.until_gone().await;
}

#[tokio::test]
async fn a_statement_is_ended_on_the_server_when_its_caller_goes() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else { return };
    let mut observer = Observer::new(&database).await;
    let source = open(configuration.clone());

    // Before the first row.
    let extraction = source.prepare(&query(ENDLESS), count(1)).await.expect("prepare");
    let reading = async {
        let mut stream = extraction.open(0, limits()).await.expect("open");
        stream.next().await.map(|_batch| ())
    };
    observer.drop_when_running(reading).await;
    drop(extraction);
    observer.until_gone().await;

    // While the ranges are searched for.
    let independent = open(OdbcSource { consistency: OdbcConsistency::Independent, ..configuration });
    let asked = Query { slice_column: Some("n".into()), ..query(ENDLESS) };
    observer.drop_when_running(independent.prepare(&asked, count(4))).await;
    observer.until_gone().await;

    // Between rows.
    let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, limits()).await.expect("open");
    assert!(stream.next().await.expect("rows").is_some());
    drop(stream);
    observer.until_gone().await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled() {
    let database = postgres::server().await.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else { return };
    let source = open(OdbcSource { statement_timeout: Some(Duration::from_secs(2)), ..configuration });
    let fault = read(&source, &query(ENDLESS), 1).await.expect_err("it has no end");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    Observer::new(&database).await.until_gone().await;
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_is_a_passing_fault_and_leaves_no_file() {
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    let Some(configuration) = odbc::postgres(&database) else { return };
    let source = open(configuration);
    // A session that is ended.
    let mut observer = Observer::new(&database).await;
    let extraction = source.prepare(&query(LONG), count(1)).await.expect("prepare");
    let mut stream = extraction.open(0, limits()).await.expect("open");
    assert!(stream.next().await.expect("rows").is_some());
    observer.terminate().await;
    let fault = loop {
        match stream.next().await {
            Ok(Some(_batch)) => {}
            Ok(None) => panic!("the result has no end"),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
    drop(observer);

    // A server that is not there. Not one that is shut down in the middle: psqlODBC 13.02 can crash then, in
    // its SQLFetch, and takes the process with it.
    drop(stream);
    server.stop_immediately().await;
    let fault = source.check().await.expect_err("nobody listens");
    assert_eq!(fault.kind(), FaultKind::Transient, "{}", fault.chain());
}

#[tokio::test]
async fn a_statement_of_mariadb_is_ended_when_its_caller_goes() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        let Some(configuration) = odbc::mariadb(&database) else { return };
        let source = open(configuration);
        let extraction = source.prepare(&query("SELECT SLEEP(600) AS s"), count(1)).await.expect("prepare");
        let mut stream = extraction.open(0, limits()).await.expect("open");
        let mut session = database.session().await;
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{}' AND INFO LIKE 'SELECT SLEEP%'",
            database.name()
        );
        let mut running = async |wanted: &str| {
            while session.run(&sql).await.into_iter().flatten().next().as_deref() != Some(wanted) {
                tokio::task::yield_now().await;
            }
        };
        match select(pin!(stream.next()), pin!(running("1"))).await {
            Either::Left((answer, _)) => panic!("it sleeps: {answer:?}"),
            Either::Right(_) => {}
        }
        drop(stream);
        running("0").await;
    }
}
