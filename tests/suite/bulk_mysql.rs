//! The real clients, MariaDB's and Oracle's, beside the agent's own reader: what all make of a query is the same.

use std::path::{Path, PathBuf};

use data_exchange_agent::bulk::BulkSource;
use data_exchange_agent::config::{MysqlSource, SourceConnection, SslMode, ZeroDates};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::shutdown::Shutdown;

use crate::support::bulk::{self, installed, oracles_client, script, settings};
use crate::support::extraction::{query, read, same, table, transfer};
use crate::support::folder::Folder;
use crate::support::mysql::{self, Flavor, PASSWORD_USER, Server, TLS_USER, open};

const VALUES: &str = r"
    CREATE TABLE every_type (
        id int PRIMARY KEY, tiny tinyint, truth tinyint(1), wide bigint unsigned, exact decimal(30,10), single float,
        doubled double, fixed double(10,2), day date, moment datetime(6), instant timestamp(3) NULL, clock time(6),
        letters varchar(50) CHARACTER SET utf8mb4, latin varchar(50) CHARACTER SET latin1, words longtext, bytes varbinary(20),
        filled binary(4), bits bit(10), one bit(1), kind enum('NULL', 'b'), several set('a', 'b'), spot point, born year
    ) CHARACTER SET utf8mb4;
    INSERT INTO every_type VALUES
        (1, -128, 1, 18446744073709551615, -12345678901234567890.1234567891, 0.1, 0.1, 1.5, '2024-02-29',
         '2024-02-29 23:59:59.123456', '2024-02-29 12:00:00.123', '23:59:59.000001', 'NULL', 'é', 'tab\tline\nreturn\r back\\slash 漢😀\0',
         x'00ff0a', x'01020304', 1023, 1, 'NULL', 'a,b', POINT(1, 2), 2024),
        (2, 0, 0, 0, 0, 3.4028234e38, 1.7976931348623157e308, 0, '0001-01-01', '9999-12-31 00:00:00', '1970-01-03 00:00:01', '00:00:00',
         '', '', '=', '', x'00000000', 0, 0, 'b', '', POINT(0, 0), 1901),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (4, 1, 1, 1, 1, 1e-38, 2.2250738585072014e-308, 1, '2000-01-01', '2000-01-01', '2000-01-01', '12:00:00',
         'rows 4', '\\N', 'null', 'rows 4', x'00', 1, 1, 'b', 'a', POINT(0, 0), 2000)
";

/// Those that are here.
fn clients() -> Vec<PathBuf> {
    [installed("mariadb"), oracles_client()].into_iter().flatten().collect()
}

/// Each of them with each server.
async fn pairs() -> Vec<(PathBuf, &'static Server)> {
    let clients = clients();
    let servers = mysql::servers().await;
    servers
        .into_iter()
        .flat_map(|server| clients.iter().map(move |client| (client.clone(), server)))
        .collect()
}

fn by_client(client: &Path, configuration: MysqlSource) -> BulkSource {
    described_by(configuration.clone(), client, configuration)
}

/// The agent logs in by one configuration, to describe the query, and the client by the other.
fn described_by(native: MysqlSource, client: &Path, configuration: MysqlSource) -> BulkSource {
    let connection = SourceConnection::Mysql(configuration);
    bulk::source(open(native), connection, settings("mysql", client, ""), &Shutdown::new())
}

#[tokio::test]
async fn the_client_gives_what_the_agent_reads_itself() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        database.run(VALUES).await;
        for query in [
            table("every_type"),
            query("SELECT * FROM every_type WHERE id > 1"),
            query("SELECT letters, 'a''b\\\\c' AS `x y` FROM every_type WHERE id = 1 -- the end"),
            query("SELECT letters AS only FROM every_type WHERE id = 4"),
            query("SELECT id FROM every_type WHERE id = 99"),
        ] {
            let native = transfer(&database.source(), &query, 1).await.expect("the agent reads it");
            let found = transfer(&by_client(&client, database.configuration()), &query, 3)
                .await
                .unwrap_or_else(|fault| panic!("{query:?}: {}: {:?}", fault.chain(), fault.hint()));
            same(&found.rows, &native.rows, &query);
        }
    }
}

#[tokio::test]
async fn a_password_with_quotes_reaches_the_client() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        let source = by_client(&client, database.configuration_as(PASSWORD_USER));
        let found = read(&source, &query("SELECT 1 AS a"), 1).await;
        let found = found.unwrap_or_else(|fault| panic!("{}: {:?}", fault.chain(), fault.hint()));
        assert_eq!(found.num_rows(), 1);
    }
}

#[tokio::test]
async fn a_date_that_no_calendar_has_is_an_error_or_null() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        database.run("CREATE TABLE t (d date); SET sql_mode = ''; INSERT INTO t VALUES ('0000-00-00')").await;
        let fault = read(&by_client(&client, database.configuration()), &query("SELECT d FROM t"), 1)
            .await
            .unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Data);
        assert!(fault.chain().contains("row 1, column `d`: no calendar"), "{}", fault.chain());
        let configuration = MysqlSource { zero_dates: ZeroDates::Null, ..database.configuration() };
        let found = read(&by_client(&client, configuration), &query("SELECT d FROM t"), 1).await.unwrap();
        assert_eq!(found.column(0).null_count(), 1);
    }
}

#[tokio::test]
async fn an_error_of_the_server_is_one_of_the_task() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        database.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)").await;
        let sql = "SELECT (SELECT a FROM t) AS a FROM t";
        let fault = read(&by_client(&client, database.configuration()), &query(sql), 1).await.unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
        assert!(
            fault.chain().contains("error 1242 (21000): a subquery has more than one row"),
            "{}",
            fault.chain()
        );
    }
}

/// A server does not double the quotes inside of a value, so that nobody can tell where one ends.
#[tokio::test]
async fn no_value_comes_with_an_error() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        let raises = "DELIMITER //\nCREATE FUNCTION raises() RETURNS int DETERMINISTIC NO SQL \
            BEGIN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'value: Ann O\\'Brien, 4111'; RETURN 1; END//\n\
            DELIMITER ;\nSELECT 1";
        database.run(raises).await;
        let fault = read(&by_client(&client, database.configuration()), &query("SELECT raises() AS n"), 1)
            .await
            .unwrap_err();
        let message = fault.chain();
        assert!(message.ends_with("error 1644 (45000): raised by a function"), "{message}");
    }
}

/// Oracle's client reads the login paths of the user even when it is told which file of options to read.
#[tokio::test]
async fn the_login_paths_of_the_user_are_out_of_reach() {
    for (client, server) in pairs().await {
        let database = server.create_database().await;
        let folder = Folder::new();
        let text = format!(
            "options=${{1#--defaults-file=}}\n[ -f \"$options\" ] || exit 11\n\
         [ \"$(dirname \"$MYSQL_TEST_LOGIN_FILE\")\" = \"$(dirname \"$options\")\" ] || exit 12\n\
         [ ! -e \"$MYSQL_TEST_LOGIN_FILE\" ] || exit 13\nexec {} \"$@\"",
            client.display()
        );
        let program = script(folder.path(), "mysql", &text);
        let source = by_client(&program, database.configuration());
        let found = read(&source, &query("SELECT 7 AS a"), 1).await;
        assert_eq!(found.unwrap_or_else(|fault| panic!("{}", fault.chain())).num_rows(), 1);
    }
}

/// What MariaDB's client does not know: a mode of TLS by its name, and the key with which a password is encrypted.
#[tokio::test]
async fn oracles_client_protects_the_password_as_the_connection_says() {
    let Some(client) = oracles_client() else { return };
    if !mysql::flavors().contains(&Flavor::MySql) {
        return;
    }
    // A server that has seen no login of these users yet, so that each one is a full one.
    let server = Server::private(Flavor::MySql, true).await;
    let database = server.create_database().await;
    let logs_in = async |configuration: MysqlSource| {
        let source = described_by(database.configuration(), &client, configuration);
        match read(&source, &query("SELECT 1 AS a"), 1).await {
            Ok(rows) => Ok(rows.num_rows()),
            Err(fault) => Err(fault.chain()),
        }
    };

    for (host, ssl_mode, authority, works) in server.tls_modes() {
        let base = database.configuration_as(TLS_USER);
        let ssl_ca = authority.cloned();
        let outcome = logs_in(MysqlSource { host: host.into(), ssl_mode, ssl_ca, ..base }).await;
        assert_eq!(outcome.is_ok(), works, "{host} {ssl_mode:?}: {outcome:?}");
    }

    let plain = MysqlSource { ssl_mode: SslMode::Disable, ..database.configuration_as(PASSWORD_USER) };
    logs_in(plain.clone()).await.expect_err("nothing protects the password");
    let key = server.data_file("public_key.pem");
    let with_key = MysqlSource { server_public_key: Some(key), ..plain.clone() };
    assert_eq!(logs_in(with_key).await, Ok(1));
    database.run("FLUSH PRIVILEGES").await;
    assert_eq!(logs_in(MysqlSource { allow_public_key_retrieval: true, ..plain }).await, Ok(1));
}
