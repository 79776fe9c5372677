//! The PostgreSQL servers of the tests do what the tests rely on.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::support::agent::eventually;
use crate::support::postgres::{self, Options, Postgres};

async fn current_user(url: &str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let user = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(user)
}

#[tokio::test]
async fn every_test_gets_an_empty_database_of_its_own() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let (first, second) = (server.create_database().await, server.create_database().await);
    assert_ne!(first.name(), second.name());

    first.execute("CREATE TABLE numbers AS SELECT generate_series(1, 10) AS number; ANALYZE numbers").await;

    assert_eq!(first.value::<i64>("SELECT count(*) FROM numbers").await, 10);
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(second.value::<i64>(tables).await, 0);
}

#[tokio::test]
async fn passwords_are_asked_for_and_checked() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    for (user, password) in [postgres::SCRAM_USER, postgres::MD5_USER, postgres::CLEAR_TEXT_USER] {
        assert_eq!(current_user(&database.url_as((user, password))).await.unwrap(), user);
        let refused = current_user(&database.url_as((user, "wrong"))).await.unwrap_err();
        let code = refused.as_database_error().expect("the server refuses").code();
        assert_eq!(code.as_deref(), Some("28P01"), "{user}: {refused}");
    }
}

#[tokio::test]
async fn the_unix_socket_leads_to_the_same_database() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE here (id integer)").await;

    let mut connection = PgConnection::connect(&database.socket_url()).await.unwrap();
    let (address, found): (Option<String>, bool) =
        sqlx::query_as("SELECT inet_client_addr()::text, to_regclass('here') IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .unwrap();

    assert_eq!((address, found), (None, true));
    assert!(server.socket_folder().join(format!(".s.PGSQL.{}", server.port())).exists());
}

#[tokio::test]
async fn a_dropped_database_is_removed_even_while_it_is_in_use() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let (observer, dropped) = (server.create_database().await, server.create_database().await);
    let name = dropped.name().to_owned();
    let _still_connected = dropped.connect().await;

    drop(dropped);

    let remaining = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    eventually("the end of the database", async || {
        (observer.value::<i64>(&remaining).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_private_server_breaks_its_connections_and_comes_back_with_its_data() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let server = Postgres::private(Options::default()).await;
    let database = server.create_database().await;
    database.execute("CREATE TABLE kept (id integer); INSERT INTO kept VALUES (7)").await;
    let mut connection = database.connect().await;

    server.stop_immediately().await;

    connection.execute("SELECT 1").await.expect_err("the server is gone");
    PgConnection::connect(&database.url()).await.expect_err("nobody listens");

    server.restart().await;

    assert_eq!(database.value::<i32>("SELECT id FROM kept").await, 7);
    assert!(server.log().contains("database system was interrupted"), "{}", server.log());
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    if postgres::server_if_installed().await.is_none() {
        return;
    }
    let settings = vec![("max_connections", "7".to_owned())];
    let server = Postgres::private(Options { settings, ..Options::default() }).await;
    let database = server.create_database().await;
    assert_eq!(database.value::<String>("SHOW max_connections").await, "7");
    let folder = server.socket_folder().to_owned();

    drop(server);

    assert!(!folder.exists());
    PgConnection::connect(&database.url()).await.expect_err("nobody listens");
}

#[tokio::test]
async fn every_version_of_the_matrix_starts() {
    for (major_version, binaries) in postgres::matrix() {
        let server = Postgres::private(Options { binaries: Some(binaries), ..Options::default() }).await;
        let database = server.create_database().await;
        let version: String = database.value("SHOW server_version_num").await;
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, major_version);
        assert_eq!(current_user(&database.url_as(postgres::MD5_USER)).await.unwrap(), "md5_user");
    }
}
