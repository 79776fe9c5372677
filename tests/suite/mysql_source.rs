//! What a query or table of MySQL and MariaDB becomes, and what is refused.

use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::{Query, Source};

use crate::support::extraction::{column, query, read, refused, table};
use crate::support::mysql::{self, READER, open};

#[tokio::test]
async fn the_check_of_a_connection_logs_in() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database.source().check().await.expect("it answers");
    }
}

#[tokio::test]
async fn queries_that_do_more_than_read_are_refused() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database
            .run(
                "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); SET GLOBAL log_bin_trust_function_creators = 1;\nDELIMITER //\nCREATE FUNCTION writes() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (2); RETURN 1; END //\nDELIMITER ;\nSELECT 1",
            )
            .await;
        let source = database.source();
        for sql in [
            "DELETE FROM t",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t LOCK IN SHARE MODE",
            "SELECT * FROM t INTO OUTFILE '/tmp/x'",
            "SELECT id INTO @x FROM t",
            "SELECT @x := id FROM t",
            "SELECT 1; DROP TABLE t",
            "SELECT 1 /*! INTO OUTFILE '/tmp/x' */",
            "SELECT 1 /*M! FROM t FOR UPDATE */",
            "SELECT ?",
            "SET @x = 1",
            "CALL p()",
            "SELECT LOAD_FILE('/etc/hostname')",
            "SELECT `load_file`('/etc/hostname')",
        ] {
            let fault = refused(&source, &query(sql), 1).await;
            assert_eq!(fault.kind(), FaultKind::Request, "{sql}: {}", fault.chain());
        }
        // What cannot be seen in the text, the transaction refuses.
        let fault = read(&source, &query("SELECT writes() AS n FROM t"), 1).await.expect_err("it writes");
        assert_eq!(fault.kind(), FaultKind::Request);
        assert!(fault.chain().contains("1792"), "{}", fault.chain());
        assert!(fault.hint().unwrap_or_default().contains("read-only"), "{:?}", fault.hint());
        assert_eq!(database.value("SELECT COUNT(*) FROM t").await, "1");
    }
}

#[tokio::test]
async fn syntax_of_the_server_alone_is_accepted() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database
            .run("CREATE TABLE `t a` (id int, `select` varchar(20)); INSERT INTO `t a` VALUES (1, 'a;b')")
            .await;
        for (sql, expected) in [
            ("SELECT `select` AS v FROM `t a` # a comment; with 'quotes", "a;b"),
            ("SELECT \"it's\" AS v -- a comment", "it's"),
            ("SELECT 'a\\'b' AS v", "a'b"),
            ("SELECT \"a\\\"; DROP TABLE x; -- \" AS v", "a\"; DROP TABLE x; -- "),
            ("SELECT 'a''b' AS v /* ; */;", "a'b"),
            ("SELECT IF(id > 0, 'yes', 'no') AS v FROM `t a` LIMIT 0, 1", "yes"),
            ("SELECT id DIV 1 AS v FROM `t a` WHERE `select` REGEXP '^a'", "1"),
            ("SELECT GROUP_CONCAT(id ORDER BY id SEPARATOR '/') AS v FROM `t a`", "1"),
            ("SELECT id AS v FROM `t a` UNION SELECT id FROM `t a`", "1"),
            ("WITH q AS (SELECT 5 AS a) SELECT a AS v FROM q", "5"),
            ("SELECT DATE_ADD('2024-01-01', INTERVAL 1 DAY) AS v", "2024-01-02"),
        ] {
            let found = read(&database.source(), &query(sql), 1).await;
            let found = found.unwrap_or_else(|fault| panic!("{sql}: {} {:?}", fault.chain(), fault.hint()));
            assert_eq!(column(&found, "v"), [Some(expected.to_owned())], "{sql}");
        }
    }
}

#[tokio::test]
async fn modes_of_the_server_do_not_change_how_a_text_is_read() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
        let private = mysql::Server::private(server.flavor, false).await;
        let strange = private.create_database().await;
        strange.run("SET GLOBAL sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'").await;
        let found = read(&strange.source(), &query("SELECT \"x\\\\y\" AS v"), 1).await.expect("a literal");
        assert_eq!(column(&found, "v"), [Some("x\\y".into())]);
    }
}

#[tokio::test]
async fn faults_name_what_is_missing_and_no_value() {
    for server in mysql::servers().await {
        let database = server.create_database().await;
        database.run("CREATE TABLE t (id int, secret text); INSERT INTO t VALUES (1, 'hunter2')").await;
        let source = database.source();
        for (query, expected) in [
            (query("SELECT * FROM missing_one"), "missing_one"),
            (query("SELECT missing_one FROM t"), "missing_one"),
            (table("missing_one"), "missing_one"),
            (query("SELECT id, id FROM t"), "`id`"),
            (Query { columns: Some(vec!["missing_one".into()]), ..table("t") }, "missing_one"),
            (Query { slice_column: Some("missing_one".into()), ..table("t") }, "missing_one"),
            (Query { slice_column: Some("secret".into()), ..table("t") }, "secret"),
        ] {
            let fault = refused(&source, &query, 2).await;
            assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
            assert!(fault.chain().contains(expected), "{}", fault.chain());
            assert!(fault.hint().is_some(), "{}", fault.chain());
        }
        // An error while the query runs, whose text would quote the row.
        let sql = "SELECT id, EXTRACTVALUE('<a/>', CONCAT('//', secret, '[[')) AS x FROM t";
        if let Err(fault) = read(&source, &query(sql), 1).await {
            assert!(!fault.chain().contains("hunter2"), "{}", fault.chain());
        }
        database.run(&format!("CREATE DATABASE {}_hidden", database.name())).await;
        let reader = open(database.configuration_as(READER));
        let found = read(&reader, &table("t"), 1).await.expect("the right to read is enough");
        assert_eq!(found.num_rows(), 1);
        database.run("CREATE USER IF NOT EXISTS nobody_special@'%' IDENTIFIED BY 'x'").await;
        let mut configuration = database.configuration_as(("nobody_special", "x"));
        configuration.database = None;
        let fault =
            refused(&open(configuration), &query(format!("SELECT * FROM {}.t", database.name())), 1).await;
        assert_eq!(fault.kind(), FaultKind::Permission, "{}", fault.chain());
    }
}
