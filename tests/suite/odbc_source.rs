//! Connections through ODBC: logins, columns, slices, batches, what ends an extraction early, and what an
//! operator sees of a missing driver.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use arrow::array::RecordBatch;
use data_exchange_agent::agent;
use data_exchange_agent::config::{
    ConnectionString, Environment, OdbcConsistency, OdbcSource, Overrides, PostgresSource, SourceConnection,
    SqlDialect,
};
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::{BatchLimits, Query, Source, read_only};
use futures::future::{Either, select};
use sqlx::AssertSqlSafe;

use crate::support::agent::{Place, files_below};
use crate::support::bulk;
use crate::support::document::blocks;
use crate::support::extraction::{self, column, count, limits, query, read, refused, table, transfer};
use crate::support::mysql;
use crate::support::odbc::{self, Driver, data_source, open, registered};
use crate::support::postgres::{self, Database, Options, Postgres, SCRAM_USER, setting};

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

#[tokio::test]
async fn an_unknown_driver_is_named_with_those_that_are_there() {
    let folder = crate::support::folder::Folder::new();
    let missing = |text: &str| open(OdbcSource::new(ConnectionString::parse(text).expect("right"), None));
    let fault = missing("Driver={No Such Driver};PWD=hunter2").check().await.expect_err("no such driver");
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    assert!(
        fault.chain().contains("No Such Driver") && fault.chain().contains("odbcinst.ini"),
        "{}",
        fault.chain()
    );
    assert!(fault.hint().is_some_and(|hint| hint.contains("odbcinst -q -d")), "{fault:?}");
    let library = folder.path().join("nothing.so");
    let fault = missing(&format!("Driver={}", library.display())).check().await.expect_err("no such file");
    assert!(fault.chain().contains("nothing.so") && fault.hint().is_some(), "{}", fault.chain());
    // A file that is no library.
    std::fs::write(&library, "no library").expect("write");
    let fault = missing(&format!("Driver={}", library.display())).check().await.expect_err("no library");
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    let fault = missing("DSN=no_such_dsn").check().await.expect_err("no such data source");
    assert!(fault.chain().contains("IM002"), "{}", fault.chain());
}

#[tokio::test]
async fn a_connection_of_another_kind_is_read_through_odbc_by_its_connection_string() {
    let database = postgres::server().await.create_database().await;
    let Some(string) = odbc::postgres_connection(&database) else { return };
    let native =
        PostgresSource { odbc_connection: Some(string), ..extraction::configuration(&database.url()) };
    let source = agent::odbc_source(&SourceConnection::Postgres(native.clone())).expect("there is one");
    let found = read(&*source, &query("SELECT 1 AS one"), 1).await.expect("one row");
    assert_eq!(column(&found, "one"), [Some("1".to_owned())]);
    let without = PostgresSource { odbc_connection: None, ..native };
    let fault = agent::odbc_source(&SourceConnection::Postgres(without)).err().expect("there is none");
    assert!(fault.hint().is_some_and(|hint| hint.contains("odbc_connection_string")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_reads_through_a_preset_and_says_which_driver_is_missing() {
    let database = postgres::server().await.create_database().await;
    let Some(library) = Driver::PostgreSql.library() else { return };
    database
        .execute("CREATE TABLE orders AS SELECT i AS id, 'x' AS name FROM generate_series(1, 1000) AS i")
        .await;
    let native = extraction::configuration(&database.url());
    let section = |driver: &str| {
        format!(
            "kind = \"redshift\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = {:?}\nusername = {:?}\n\
             password = \"hunter2\"\nsslmode = \"disable\"\ndriver = {driver:?}\n",
            native.port, native.database, native.username
        )
    };
    let place = Place::new().connection("source.sales", &section(Driver::PostgreSql.name()));
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let folder = place.path().display().to_string();
    let variables = [("ODBCSYSINI", folder.as_str())];
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");

    let finished =
        place.run_with(&["check", "--config", configuration, "--without-writing"], &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let arguments = [
        "extract",
        "--config",
        configuration,
        "--source",
        "sales",
        "--query",
        "SELECT id, name FROM orders",
        "--to",
        "local",
        "--path",
        "orders",
    ];
    let finished = place.run_with(&arguments, &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(files_below(&place.output()).len(), 1, "{finished:?}");

    let place = Place::new().connection("source.sales", &section("Amazon Redshift (x64)"));
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let folder = place.path().display().to_string();
    let configuration = place.configuration();
    let arguments = ["check", "--config", configuration.to_str().expect("plain"), "--without-writing"];
    let finished = place.run_with(&arguments, &[("ODBCSYSINI", &folder)]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for expected in ["Amazon Redshift (x64)", "PostgreSQL Unicode", "odbcinst -q -d"] {
        assert!(finished.stdout.contains(expected), "{expected}: {}", finished.stdout);
    }
    assert!(!finished.stdout.contains("hunter2"), "{}", finished.stdout);
}

/// Where the database is stands in `odbc.ini` alone, who reads it in the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_reads_through_a_data_source_of_the_driver_manager() {
    let database = postgres::server().await.create_database().await;
    let Some(library) = Driver::PostgreSql.library() else { return };
    database
        .execute("CREATE TABLE orders AS SELECT i AS id, 'größe' AS name FROM generate_series(1, 1000) AS i")
        .await;
    let native = extraction::configuration(&database.url());
    // The driver turns narrow texts into the character set of the locale, and nobody has set one for the program.
    let section =
        format!("kind = \"odbc\"\ndsn = \"sales\"\nusername = {:?}\ntext = \"utf8\"\n", native.username);
    let place = Place::new().connection("source.shop", &section);
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let (folder, port) = (place.path().display().to_string(), native.port.to_string());
    let attributes = [
        ("Driver", Driver::PostgreSql.name()),
        ("Servername", "127.0.0.1"),
        ("Port", port.as_str()),
        ("Database", native.database.as_str()),
        ("UseDeclareFetch", "1"),
    ];
    data_source(place.path(), "sales", &attributes);
    let variables = [("ODBCSYSINI", folder.as_str())];
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");
    let arguments = |path: &'static str| {
        let sql = "SELECT id, name FROM orders WHERE id > 990";
        [
            "extract",
            "--config",
            configuration,
            "--source",
            "shop",
            "--query",
            sql,
            "--to",
            "local",
            "--path",
            path,
            "--json",
        ]
    };
    let finished = place.run_with(&arguments("orders"), &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let receipt: serde_json::Value = serde_json::from_str(&finished.stdout).expect("a receipt");
    assert_eq!(receipt["rows"], 10, "{finished:?}");
    assert_eq!(files_below(&place.output()).len(), 1, "{finished:?}");

    // The name means nothing where nobody has registered it.
    data_source(place.path(), "other", &attributes);
    let finished = place.run_with(&arguments("again"), &variables).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("IM002"), "{finished:?}");
}

/// Databases that cannot be had here: connection strings of ODBC in variables. They are read, and nothing is made.
#[tokio::test]
async fn databases_that_the_environment_names() {
    for named in [
        // Neither a lock nor an export goes without a table; and an export takes no row by its key.
        Named {
            variable: "TERADATA_URL",
            dialect: SqlDialect::Teradata,
            from: " FROM dbc.dbcinfov WHERE infokey LIKE 'VERS%'",
            session: Some(("GETQUERYBAND()", "Group=tests")),
        },
        Named {
            variable: "ORACLE_URL",
            dialect: SqlDialect::Oracle,
            from: " FROM dual",
            session: Some(("SESSIONTIMEZONE", "UTC")),
        },
        Named {
            variable: "DB2_URL",
            dialect: SqlDialect::Db2,
            from: " FROM sysibm.sysdummy1",
            session: None,
        },
        Named {
            variable: "REDSHIFT_URL",
            dialect: SqlDialect::Redshift,
            from: "",
            session: Some(("CURRENT_SETTING('timezone')", "UTC")),
        },
    ] {
        let statements = [named.values(), named.numbers()].into_iter().chain(named.shown());
        for sql in statements {
            // What is asked passes the agent's own check, also where nobody is there to be asked.
            read_only::check(&sql, named.dialect).unwrap_or_else(|fault| panic!("{sql}: {}", fault.chain()));
        }
        named.read().await;
    }
}

/// A database that cannot be had here.
struct Named {
    variable: &'static str,
    dialect: SqlDialect,
    /// What one row that needs no table is selected from.
    from: &'static str,
    /// An expression, and what its text holds in a session that is set up.
    session: Option<(&'static str, &'static str)>,
}

impl Named {
    /// One row: a number, a text, a negative decimal, a date, a timestamp, an empty text, no text, a long one.
    fn values(&self) -> String {
        format!(
            "SELECT CAST(1 AS DECIMAL(9, 0)) AS c1, CAST('ä' AS VARCHAR(5)) AS c2, \
             CAST(-1.50 AS DECIMAL(18, 2)) AS c3, DATE '2024-02-29' AS c4, \
             TIMESTAMP '2024-02-29 23:59:59.123456' AS c5, CAST('' AS VARCHAR(5)) AS c6, \
             CAST(NULL AS VARCHAR(5)) AS c7, CAST(RPAD('x', 2000, 'x') AS VARCHAR(2000)) AS c8{}",
            self.from
        )
    }

    fn expected(&self) -> [Option<String>; 8] {
        // Oracle has no date without a clock, and no empty text.
        let is_oracle = self.dialect == SqlDialect::Oracle;
        let day = if is_oracle { "2024-02-29 00:00:00" } else { "2024-02-29" };
        let empty = (!is_oracle).then_some("");
        let long = "x".repeat(2000);
        let moment = "2024-02-29 23:59:59.123456";
        [Some("1"), Some("ä"), Some("-1.50"), Some(day), Some(moment), empty, None, Some(&*long)]
            .map(|text| text.map(str::to_owned))
    }

    /// A hundred rows, each with another number.
    fn numbers(&self) -> String {
        let digits: Vec<String> = (0..10).map(|digit| format!("SELECT {digit} AS d{}", self.from)).collect();
        let digits = digits.join(" UNION ALL ");
        format!(
            "SELECT CAST(a.d + 10 * b.d AS DECIMAL(9, 0)) AS id FROM ({digits}) a CROSS JOIN ({digits}) b"
        )
    }

    /// What the session says of itself.
    fn shown(&self) -> Option<String> {
        self.session.map(|(expression, _)| format!("SELECT {expression} AS shown{}", self.from))
    }

    fn told<T>(&self, result: Result<T, Fault>) -> T {
        let variable = self.variable;
        result.unwrap_or_else(|fault| panic!("{variable}: {}: {:?}", fault.chain(), fault.hint()))
    }

    /// Reads from the database, when its variable has a connection string.
    async fn read(&self) {
        let variable = self.variable;
        let Some(text) = setting(variable) else { return };
        let string =
            ConnectionString::parse(&text).unwrap_or_else(|malformed| panic!("{variable}: {malformed}"));
        let is_teradata = self.dialect == SqlDialect::Teradata;
        let configuration = OdbcSource {
            dialect: Some(self.dialect),
            query_band: is_teradata.then(|| "Group=tests;".to_owned()),
            reads_uncommitted_rows: is_teradata,
            consistency: OdbcConsistency::Independent,
            ..odbc::configuration(string)
        };
        let source = open(configuration.clone());
        self.told(source.check().await);

        let found = self.told(transfer(&source, &query(self.values()), 1).await);
        assert_eq!(first_row(&found.rows), self.expected(), "{variable}");

        if let (Some(sql), Some((_, expected))) = (self.shown(), self.session) {
            let found = self.told(read(&source, &query(sql), 1).await);
            let shown = first_row(&found);
            let is_set = shown[0].as_ref().is_some_and(|text| text.contains(expected));
            assert!(is_set, "{variable}: {shown:?}");
        }

        let asked = Query { slice_column: Some("id".into()), ..query(self.numbers()) };
        let extraction = self.told(source.prepare(&asked, count(4)).await);
        assert_eq!(extraction.slice_count(), 4, "{variable}");
        let mut ids = Vec::new();
        for slice in 0..4 {
            let rows = self.told(extraction::read_slice(&*extraction, slice).await);
            assert!(rows.num_rows() > 0, "{variable}: slice {slice}");
            let texts = extraction::texts(rows.column(0)).into_iter().flatten();
            ids.extend(texts.map(|text| text.parse::<u32>().expect("a number")));
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<u32>>(), "{variable}: every row once");

        if is_teradata && let Some(program) = bulk::found("tbuild") {
            let settings = bulk::settings("tpt", &program, "");
            let by_tpt =
                bulk::source(source, SourceConnection::Odbc(configuration), settings, &Shutdown::new());
            let found = self.told(read(&by_tpt, &query(self.values()), 1).await);
            assert_eq!(first_row(&found), self.expected(), "{variable}: by tbuild");
        }
    }
}

/// The texts of a result of one row.
fn first_row(found: &RecordBatch) -> Vec<Option<String>> {
    assert_eq!(found.num_rows(), 1);
    found.columns().iter().flat_map(|column| extraction::texts(column)).collect()
}

#[test]
fn the_sections_of_the_documentation_build_these_connection_strings() {
    let environment = Environment::of([("SALES_PASSWORD", "p;w}d")]).with_home("/home/agent");
    let documented = blocks(include_str!("../../docs/ODBC.md"));
    let documented = documented.iter().find(|block| block.language() == "toml").expect("it has an example");
    // The secret of the environment, and what the example leaves at its default.
    let text = documented
        .text
        .replace("${file:/run/secrets/sales}", "${env:SALES_PASSWORD}")
        .replace("query_band =", "locking_row_for_access = true\nquery_band =")
        + "[connections.source.dwh.attributes]\nMaxRespSize = 1048576\n";
    let (config, _) = data_exchange_agent::config::parse(&text, "text", &Overrides::default(), &environment)
        .expect("right");
    let SourceConnection::Odbc(vendor) = &config.sources["vendor"] else { panic!("{config:?}") };
    assert_eq!(
        vendor.connection.build().expose(),
        "Driver=Informix;Server=ol_prod;Database=stores;UID=reader;PWD={p;w}}d};"
    );
    assert_eq!(vendor.dialect, Some(SqlDialect::Ansi));
    let SourceConnection::Odbc(source) = &config.sources["dwh"] else { panic!("{config:?}") };
    assert_eq!(
        source.connection.build().expose(),
        "Driver={Teradata Database ODBC Driver 20.00};DBCName=td.example.com;TdmstPortNumber=1025;\
         DefaultDatabase=sales;MechanismName=LDAP;UID=etl;PWD={p;w}}d};CharacterSet=UTF8;MaxRespSize=1048576;"
    );
    assert_eq!((source.query_band.as_deref(), source.reads_uncommitted_rows), (Some("Group=night;"), true));
}
