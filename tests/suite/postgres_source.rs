//! What is read, what is refused, and what a text of the database becomes.

use data_exchange_agent::config::PostgresSource;
use data_exchange_agent::fault::{Fault, FaultKind};
use data_exchange_agent::source::{Query, Source};
use sqlx::AssertSqlSafe;

use crate::support::extraction::{
    column, configuration, count, open, query, read, refused, source, table, transfer,
};
use crate::support::postgres::{self, Database};

/// The fault of reading `sql` to its end, whenever it comes.
async fn fault_of(database: &Database, sql: &str) -> Fault {
    read(&source(database), &query(sql), 1).await.err().unwrap_or_else(|| panic!("not refused: {sql}"))
}

#[tokio::test]
async fn columns_are_chosen_by_name_and_in_order() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute("CREATE TABLE chosen (a integer, \"B\" inet, \"c\"\"d\" text); INSERT INTO chosen VALUES (1, '::1', 'x')")
        .await;
    let source = source(&database);
    let with = |columns: &[&str], query: Query| Query {
        columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
        ..query
    };
    let sql = "SELECT *, 1 AS twice, 2 AS twice FROM chosen";
    for base in [table("chosen"), query(sql)] {
        let found = transfer(&source, &with(&["c\"d", "B"], base), 1).await.expect("a result");
        let schema = found.rows.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["c\"d", "B"]);
        assert_eq!(column(&found.rows, "B"), [Some("::1/128".to_owned())]);
    }
    for (columns, expected) in [
        (&["b"][..], "`b`: the result has no such column"),
        (&["a", "a"], "two columns have the name `a`"),
        (&["twice"], "several columns have this name"),
        (&[], "no columns"),
    ] {
        let fault = refused(&source, &with(columns, query(sql)), 1).await;
        assert_eq!(fault.kind(), FaultKind::Request);
        assert!(fault.to_string().contains(expected), "{columns:?}: {fault}");
        assert!(fault.hint().is_some());
    }
}

#[tokio::test]
async fn any_form_of_query_is_read() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute("CREATE TABLE t AS SELECT 1 AS a; CREATE VIEW v AS SELECT a, '::1'::inet AS b FROM t")
        .await;
    let source = source(&database);
    for sql in [
        "SELECT a FROM t",
        "  select a from t ; ",
        "-- first\nSELECT a /* ; /* nested */ */ FROM t -- last",
        "(SELECT a FROM t)",
        "((SELECT a FROM t) UNION ALL (SELECT a FROM t WHERE false)) ORDER BY a LIMIT 1",
        "WITH x AS (SELECT a FROM t) SELECT * FROM x",
        "WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) SELECT a FROM x",
        "TABLE t",
        "VALUES (1)",
        "SELECT a FROM v WHERE b = '::1' AND 'a;--' <> $$;\"$$",
        "SELECT max(a) AS a FROM t GROUP BY ROLLUP (a) HAVING count(*) > 0 ORDER BY 1 LIMIT 1",
    ] {
        let found =
            read(&source, &query(sql), 1).await.unwrap_or_else(|fault| panic!("{sql}: {}", fault.chain()));
        assert_eq!(crate::support::extraction::texts(found.column(0)), [Some("1".to_owned())], "{sql}");
    }
}

#[tokio::test]
async fn names_are_found_on_the_search_path() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE SCHEMA \"First One\"; CREATE SCHEMA second; CREATE TABLE \"First One\".t AS SELECT 'first' AS w;\
             CREATE TABLE second.t AS SELECT 'second' AS w; CREATE TABLE t AS SELECT 'public' AS w",
        )
        .await;
    let with = |path: &str| {
        open(PostgresSource { search_path: Some(path.into()), ..configuration(&database.url()) })
    };
    for (path, expected) in
        [("\"First One\", second", "first"), ("second,public", "second"), ("missing, public", "public")]
    {
        for query in [table("t"), query("SELECT * FROM t")] {
            let found = read(&with(path), &query, 1).await.expect("a result");
            assert_eq!(column(&found, "w"), [Some(expected.to_owned())], "{path}");
        }
    }
    let found = read(&source(&database), &table("second.t"), 1).await.expect("a result");
    assert_eq!(column(&found, "w"), [Some("second".to_owned())]);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_says_so() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let role = format!("reader_of_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN; CREATE TABLE private (id integer); CREATE MATERIALIZED VIEW stale AS SELECT 1 AS a WITH NO DATA")).await;
    let source = source(&database);
    for (query, expected) in [
        (table("nothing"), "\"nothing\""),
        (table("no_schema.nothing"), "\"no_schema\".\"nothing\""),
        (query("SELECT * FROM nothing"), "relation \"nothing\" does not exist"),
        (query("SELECT nothing FROM private"), "column \"nothing\" does not exist"),
        (query("SELECT nothing(1)"), "function nothing(integer) does not exist"),
        (query("SELECT 1 FROM private GROUP BY nothing.id"), "42P01"),
        (query("SELECT count(*) AS n FROM private WHERE id = 'a' || 1"), "42"),
    ] {
        let fault = refused(&source, &query, 1).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{query:?}");
        assert!(fault.chain().contains(expected), "{query:?}: {}", fault.chain());
    }
    // Folded to lower case, as the server does.
    read(&source, &table("Private"), 1).await.expect("the table exists");
    let stale = fault_of(&database, "SELECT * FROM stale").await;
    assert_eq!(stale.kind(), FaultKind::Request, "{}", stale.chain());

    let url = database.url().replace("tester@", &format!("{role}@"));
    for query in [table("private"), query("SELECT * FROM private")] {
        let fault = read(&open(configuration(&url)), &query, 1).await.expect_err("no right to read it");
        assert_eq!(fault.kind(), FaultKind::Permission, "{}", fault.chain());
        assert!(fault.chain().contains("permission denied for table private"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("SELECT"));
    }
    database.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn nothing_is_written_whatever_a_query_tries() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE SEQUENCE numbers; CREATE TABLE t (a integer); INSERT INTO t VALUES (1);\
             CREATE FUNCTION write() RETURNS integer LANGUAGE sql AS 'INSERT INTO t VALUES (2) RETURNING a';\
             CREATE FUNCTION write_procedurally() RETURNS integer LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (3); RETURN 3; END';\
             CREATE FUNCTION unlock() RETURNS integer LANGUAGE plpgsql AS \
             'BEGIN SET transaction_read_only = off; INSERT INTO t VALUES (4); RETURN 4; END';\
             CREATE FUNCTION commit_first() RETURNS integer LANGUAGE plpgsql AS 'BEGIN COMMIT; INSERT INTO t VALUES (5); RETURN 5; END'",
        )
        .await;
    for sql in [
        "SELECT nextval('numbers')",
        "SELECT setval('numbers', 100)",
        "SELECT write()",
        "SELECT write_procedurally()",
        "SELECT unlock()",
        "SELECT set_config('transaction_read_only', 'off', true), write_procedurally()",
        "SELECT * FROM (SELECT set_config('transaction_read_only', 'off', false) OFFSET 0) AS x, write()",
    ] {
        let fault = fault_of(&database, sql).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{sql}: {}", fault.chain());
        let chain = fault.chain();
        assert!(chain.contains("25006") || chain.contains("25001"), "{sql}: {chain}");
        let hint = fault.hint().unwrap_or_default();
        assert!(hint.contains("only reads") || chain.contains("25001"), "{sql}: {hint}");
    }
    // Before version 16 the server lets it happen; it ends with the transaction.
    let _either = read(&source(&database), &query("SELECT lo_create(0)"), 1).await;
    for sql in [
        "SELECT commit_first()",
        "INSERT INTO t VALUES (9)",
        "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
        "SELECT a INTO u FROM t",
        "SELECT a FROM t FOR UPDATE",
        "SELECT 1; DELETE FROM t",
        "SELECT 1) TO STDOUT; DELETE FROM t; COPY (SELECT 1",
        "COPY t TO '/tmp/never'",
        "EXPLAIN ANALYZE DELETE FROM t",
        "CALL something()",
        "SET transaction_read_only = off",
        "COMMIT",
    ] {
        let fault = fault_of(&database, sql).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{sql}: {}", fault.chain());
    }
    assert_eq!(database.value::<i64>("SELECT sum(a) FROM t").await, 1);
    assert!(!database.value::<bool>("SELECT is_called FROM numbers").await);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM pg_largeobject_metadata").await, 0);
}

#[tokio::test]
async fn a_parameter_is_refused() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let fault = fault_of(&database, "SELECT $1::integer").await;
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.hint().unwrap_or_default().contains("value"), "{:?}", fault.hint());
}

#[tokio::test]
async fn notices_between_rows_take_no_row_away() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE FUNCTION chatty(i integer) RETURNS integer LANGUAGE plpgsql AS \
             $$ BEGIN RAISE NOTICE 'row %', i; IF i % 3 = 0 THEN RAISE WARNING 'again'; END IF; \
             IF i % 5 = 0 THEN PERFORM set_config('application_name', 'row ' || i, true); END IF; RETURN i; END $$",
        )
        .await;
    let sql = "SELECT chatty(i) AS id FROM generate_series(1, 5000) AS i";
    let found = read(&source(&database), &query(sql), 1).await.expect("a result");
    let expected: Vec<Option<String>> = (1..=5000).map(|id: i32| Some(id.to_string())).collect();
    assert!(column(&found, "id") == expected);
}

#[tokio::test]
async fn other_encodings_become_utf_8_or_an_error_that_names_the_column() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let (latin, ascii) = (format!("{}_latin1", database.name()), format!("{}_ascii", database.name()));
    database.execute(&format!("CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0")).await;
    database.execute(&format!("CREATE DATABASE {ascii} ENCODING 'SQL_ASCII' TEMPLATE template0")).await;
    let url = |name: &str| database.url().replace(database.name(), name);

    let sql =
        "SELECT convert_from('\\xe4f6fc', 'LATIN1') AS text, ARRAY[convert_from('\\xdf', 'LATIN1')] AS list";
    let found = read(&open(configuration(&url(&latin))), &query(sql), 1).await.expect("a result");
    assert_eq!(column(&found, "text"), [Some("äöü".to_owned())]);
    assert_eq!(column(&found, "list"), [Some("[\"ß\"]".to_owned())]);
    // What the database cannot store cannot be asked for either.
    let fault = read(&open(configuration(&url(&latin))), &query("SELECT '日本' AS text"), 1).await;
    assert_eq!(fault.expect_err("not LATIN1").kind(), FaultKind::Request);

    let unchecked = open(configuration(&url(&ascii)));
    let found = read(&unchecked, &query("SELECT 'äöü' AS text"), 1).await.expect("valid UTF-8 is welcome");
    assert_eq!(column(&found, "text"), [Some("äöü".to_owned())]);
    let broken = "SELECT i, CASE i WHEN 3 THEN chr(228) || chr(246) || chr(252) ELSE 'good' END AS \"the text\" \
                  FROM generate_series(1, 5) AS i";
    let fault = read(&unchecked, &query(broken), 1).await.expect_err("not UTF-8");
    assert_eq!(fault.kind(), FaultKind::Data, "{}", fault.chain());
    assert!(fault.chain().contains("`the text`"), "{}", fault.chain());
    // The remedy works.
    let hint = fault.hint().expect("a remedy");
    assert!(hint.contains("convert_to(\"the text\", 'SQL_ASCII')"), "{hint}");
    let remedy =
        format!("SELECT convert_to(\"the text\", 'SQL_ASCII') AS bytes FROM ({broken}) AS q WHERE i = 3");
    let found = read(&unchecked, &query(remedy), 1).await.expect("bytes");
    assert_eq!(column(&found, "bytes"), [Some("\\xe4f6fc".to_owned())]);

    for name in [latin, ascii] {
        let mut connection = database.connect().await;
        loop {
            let dropped =
                sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name}"))).execute(&mut connection).await;
            // The sessions of the extractions end on their own.
            match dropped {
                Ok(_) => break,
                Err(error) => {
                    assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("55006"))
                }
            }
        }
    }
}

/// A value that is in the rows and in the literals of these statements, and nowhere else.
const SECRET: &str = "hunter2-4111";

#[tokio::test]
async fn no_fault_quotes_a_value_of_the_database_or_a_literal_of_the_query() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(&format!(
            "CREATE TABLE cards (number text, document text, small numeric); INSERT INTO cards VALUES ('{SECRET}', '{{\"a\": {SECRET}}}', 41114111);\
             CREATE FUNCTION tell(code text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'card %', (SELECT number FROM cards) USING ERRCODE = code, DETAIL = '{SECRET}', HINT = '{SECRET}', \
             TABLE = '{SECRET}', COLUMN = '{SECRET}', CONSTRAINT = '{SECRET}'; END $$;\
             CREATE DOMAIN short AS text CHECK (length(VALUE) < 3)"
        ))
        .await;
    let mut statements = vec![
        "SELECT number::integer FROM cards".to_owned(),
        "SELECT number::date FROM cards".into(),
        "SELECT number::uuid FROM cards".into(),
        "SELECT number::inet FROM cards".into(),
        "SELECT number::short FROM cards".into(),
        "SELECT number::regclass FROM cards".into(),
        "SELECT number::regtype FROM cards".into(),
        "SELECT document::jsonb FROM cards".into(),
        "SELECT to_timestamp(number, 'YYYY') FROM cards".into(),
        "SELECT to_number(number, number) FROM cards".into(),
        "SELECT small::smallint FROM cards".into(),
        "SELECT small::numeric(3,0) FROM cards".into(),
        "SELECT now() AT TIME ZONE number FROM cards".into(),
        "SELECT set_config(number, 'x', true) FROM cards".into(),
        "SELECT set_config('work_mem', number, true) FROM cards".into(),
        "SELECT query_to_xml(number, true, true, '') FROM cards".into(),
        "SELECT regexp_replace('x', '(' || number, '') FROM cards".into(),
        "SELECT convert_from('\\xff', number) FROM cards".into(),
        "SELECT pg_read_file(number) FROM cards".into(),
        "SELECT currval(number) FROM cards".into(),
        format!("SELECT '{SECRET}'::integer"),
        format!("SELECT 1 WHERE DATE '{SECRET}' > now()"),
        format!("SELECT number + '{SECRET}' FROM cards"),
        format!("SELECT no_function('{SECRET}')"),
        format!("SELECT number FROM cards WHERE 1 = '{SECRET}'"),
        format!("SELECT number FROM cards '{SECRET}' x"),
        format!("SELECT nextval('{SECRET}')"),
        format!("SELECT '{SECRET}'::regclass"),
        format!("SELECT E'{SECRET}'::regclass"),
        format!("SELECT regclass '{SECRET}'"),
        format!("SELECT U&'{SECRET}'::regtype"),
        format!("SELECT $tag${SECRET}$tag$::regnamespace"),
        format!("SELECT oid FROM pg_class WHERE oid = '{SECRET}'::regclass"),
        "SELECT number::regnamespace FROM cards".into(),
        "SELECT number::regprocedure FROM cards".into(),
        "SELECT pg_database_size(number) FROM cards".into(),
        "SELECT set_config('role', number, true) FROM cards".into(),
        "SELECT set_config('transaction_isolation', number, true) FROM cards".into(),
        "SELECT pg_advisory_lock(number::bigint) FROM cards".into(),
        format!("SELECT '{SECRET}' COLLATE \"nothing\""),
        format!("SELECT INTERVAL '{SECRET}'"),
        format!("SELECT E'\\u000 {SECRET}'"),
    ];
    for code in [
        "42501", "42P01", "57014", "57P01", "25006", "08006", "53200", "28000", "3D000", "40001", "54000",
        "55000", "58030", "XX000", "P0001", "22012",
    ] {
        statements.push(format!("SELECT tell('{code}')"));
    }
    for sql in statements {
        let fault = fault_of(&database, &sql).await;
        let everything = format!("{} {fault} {fault:?} {:?}", fault.chain(), fault.hint()).to_lowercase();
        assert!(!everything.contains("4111"), "{sql}: {everything}");
        assert!(!everything.contains("hunter"), "{sql}: {everything}");
    }
    // Where the cause is a value of a column that the agent decodes, only the column is named.
    let source = open(PostgresSource {
        numeric: data_exchange_agent::config::NumericPolicy::Decimal { precision: 4, scale: 0 },
        ..configuration(&database.url())
    });
    let fault = read(&source, &query("SELECT small FROM cards"), 1).await.expect_err("too large");
    let everything = format!("{} {fault:?} {:?}", fault.chain(), fault.hint());
    assert!(everything.contains("`small`") && !everything.contains("4111"), "{everything}");
}

#[tokio::test]
async fn the_place_of_an_error_is_that_in_the_text_of_the_task() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let fault = fault_of(&database, "SELECT 1 AS a,\n  wrong FROM pg_class").await;
    assert!(fault.chain().ends_with("at character 18 of the statement"), "{}", fault.chain());
}

#[tokio::test]
async fn a_check_logs_in_and_leaves_nothing_behind() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    source(&database).check().await.expect("the server is there");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while database.value::<i64>(sessions).await > 0 {}
    let absent = database.url().replace(database.name(), "no_such_database");
    let fault = open(configuration(&absent)).check().await.expect_err("no such database");
    assert_eq!(fault.kind(), FaultKind::Request);
    assert!(fault.chain().contains("no_such_database"), "{}", fault.chain());
}

#[tokio::test]
async fn a_slice_is_opened_once() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let extraction = source(&database).prepare(&query("SELECT 1 AS a"), count(1)).await.expect("prepare");
    let limits = crate::support::extraction::limits();
    let _stream = extraction.open(0, limits).await.expect("the first time");
    let again = extraction.open(0, limits).await.err().expect("not a second time");
    assert_eq!(again.kind(), FaultKind::Bug);
}
