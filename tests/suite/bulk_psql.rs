//! The real psql beside the agent's own reader of PostgreSQL: what both make of a query is the same.

use data_exchange_agent::config::SourceConnection;
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::Query;

use crate::support::bulk::{self, installed, settings};
use crate::support::extraction::{configuration, open, query, read, refused, same, source, table, transfer};
use crate::support::postgres::{self, Database, SCRAM_USER};

/// Every type that text has a form of its own for, at its edges.
const VALUES: &str = r#"
    CREATE TABLE every_type (
        id integer NOT NULL, truth boolean, small smallint, large bigint, single real, wide double precision,
        exact numeric(20,5), huge numeric(60,10), day date, moment timestamp, instant timestamptz, clock time,
        words text, letters varchar(20), bytes bytea, ident uuid, document jsonb, address inet, list integer[],
        span interval
    );
    INSERT INTO every_type VALUES
        (1, true, -32768, 9223372036854775807, 0.1, 0.1, 12345.67890, -1e49, '2024-02-29', '2024-02-29 23:59:59.123456',
         '2024-02-29 23:59:59.5+05:30', '23:59:59.999999', E'tab\tline\nreturn\r back\\slash \\N é漢😀', '', '\x00ff0a',
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, null]}', '::1', '{1,NULL,3}', '1 day 02:03:04'),
        (2, false, 0, 0, 'NaN', 'Infinity', 0, 0, '0001-01-01 BC', '0001-01-01', '9999-12-31 23:59:59Z', '00:00:00.000001',
         '\N', E'\\', '', NULL, 'null', NULL, '{}', '-1 year'),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (4, true, 1, 1, 1e-45, 1.7976931348623157e308, 1, 1, '5874897-12-31', '1970-01-01', '1970-01-01Z', '00:00',
         '', ' blank ', '\x', NULL, '"x"', NULL, NULL, NULL);
"#;

async fn database() -> Option<Database> {
    installed("psql")?;
    let server = postgres::server_if_installed().await?;
    let database = server.create_database().await;
    database.execute(VALUES).await;
    Some(database)
}

fn by_psql(url: &str) -> data_exchange_agent::bulk::BulkSource {
    let configuration = configuration(url);
    let connection = SourceConnection::Postgres(configuration.clone());
    let settings = settings("psql", "psql".as_ref(), "");
    bulk::source(open(configuration), connection, settings, &Shutdown::new())
}

#[tokio::test]
async fn psql_gives_what_the_agent_reads_itself() {
    let Some(database) = database().await else { return };
    let columns = |names: &[&str], query: Query| Query {
        columns: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..query
    };
    for query in [
        query("SELECT * FROM every_type ORDER BY id"),
        query("WITH x AS (SELECT 1 AS a) SELECT a, 'it''s \\ :a $1' AS \"B c\" FROM x -- the end"),
        query("SELECT id, words FROM every_type WHERE false"),
        columns(&["words", "id"], query("SELECT * FROM every_type ORDER BY id")),
        query("SELECT i, i::text || E'\\n\\t' AS t FROM generate_series(1, 30000) AS s(i)"),
    ] {
        let native = transfer(&source(&database), &query, 1).await.expect("the agent reads it");
        let found = transfer(&by_psql(&database.url()), &query, 4)
            .await
            .unwrap_or_else(|fault| panic!("{query:?}: {}: {:?}", fault.chain(), fault.hint()));
        same(&found.rows, &native.rows, &query);
        assert_eq!(found.source_types, native.source_types);
    }
}

#[tokio::test]
async fn a_table_is_read_and_its_required_columns_stay_required() {
    let Some(database) = database().await else { return };
    let native = read(&source(&database), &table("every_type"), 1).await.unwrap();
    let found = read(&by_psql(&database.url()), &table("every_type"), 1).await.unwrap();
    assert_eq!(found, native);
}

#[tokio::test]
async fn a_password_reaches_psql_and_a_wrong_one_is_explained_without_it() {
    let Some(database) = database().await else { return };
    database.execute(&format!("GRANT SELECT ON every_type TO {}", SCRAM_USER.0)).await;
    let found = read(&by_psql(&database.url_as(SCRAM_USER)), &query("SELECT 1 AS a"), 1).await.unwrap();
    assert_eq!(found.num_rows(), 1);
    // The agent itself logs in, so that only psql is refused.
    let wrong = configuration(&database.url_as((SCRAM_USER.0, "wrong secret")));
    let right = open(configuration(&database.url_as(SCRAM_USER)));
    let settings = settings("psql", "psql".as_ref(), "");
    let source = bulk::source(right, SourceConnection::Postgres(wrong), settings, &Shutdown::new());
    let fault = read(&source, &query("SELECT 1 AS a"), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Credentials, "{}", fault.chain());
    assert!(!fault.chain().contains("wrong secret"), "{}", fault.chain());
}

#[tokio::test]
async fn an_error_in_the_middle_fails_the_attempt_and_shows_no_value() {
    let Some(database) = database().await else { return };
    let sql = "SELECT i, 1 / (20000 - i) AS q, 'secret'::text AS s FROM generate_series(1, 30000) AS t(i)";
    let fault = read(&by_psql(&database.url()), &query(sql), 1).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    assert!(fault.chain().contains("22012"), "{}", fault.chain());
    assert!(!fault.chain().contains("secret"), "{}", fault.chain());
}

/// The server quotes values in its messages, and psql shows the statement around an error.
#[tokio::test]
async fn no_value_of_a_row_and_no_literal_comes_with_an_error() {
    let Some(database) = database().await else { return };
    database
        .execute(
            "CREATE FUNCTION raises(text) RETURNS int LANGUAGE plpgsql AS \
             $$BEGIN RAISE EXCEPTION '%', $1 USING ERRCODE = '40001'; END$$",
        )
        .await;
    let value = |i: &str| format!("CASE WHEN {i} = 20000 THEN 'Ann O''Brien, 4111 1111' ELSE '1' END");
    for (column, expected, kind) in [
        (format!("({})::integer", value("i")), "22P02", FaultKind::Request),
        (format!("raises({} || i)", value("i")), "40001", FaultKind::Transient),
    ] {
        let sql = format!("SELECT {column} AS n FROM generate_series(20000, 30000) AS t(i)");
        let fault = read(&by_psql(&database.url()), &query(sql), 1).await.unwrap_err();
        let message = fault.chain();
        assert_eq!(fault.kind(), kind, "{message}");
        assert!(message.contains(&format!("PostgreSQL reported {expected}")), "{message}");
        for piece in ["Ann", "Brien", "4111", "LINE", "generate_series", "raises"] {
            assert!(!message.contains(piece), "{piece}: {message}");
        }
    }
}

#[tokio::test]
async fn a_query_that_writes_is_refused_before_psql_starts() {
    let Some(database) = database().await else { return };
    let fault = refused(&by_psql(&database.url()), &query("DELETE FROM every_type"), 1).await;
    assert_eq!(fault.kind(), FaultKind::Request);
    // What only the server can see is refused by the transaction that psql runs in.
    database
        .execute("CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'DELETE FROM every_type; SELECT 1'")
        .await;
    let fault = read(&by_psql(&database.url()), &query("SELECT writes() AS n"), 1).await.unwrap_err();
    assert!(fault.chain().contains("25006"), "{}", fault.chain());
    assert_eq!(database.value::<i64>("SELECT count(*) FROM every_type").await, 4);
}
