//! Queries for the databases that are reached through ODBC.

use proptest::prelude::*;

use super::super::SqlDialect::{self, Ansi, Db2, Oracle, Redshift, Teradata};
use super::super::check;
use super::{accepted, refused};

const CAUTIOUS: [SqlDialect; 5] = [Oracle, Db2, Teradata, Redshift, Ansi];

#[test]
fn what_every_server_reads_alike_is_accepted() {
    for sql in [
        "SELECT 1",
        "SELECT a, \"B c\" FROM s.t WHERE x = 'it''s' AND y > 1.5e-3 ORDER BY a",
        "WITH x AS (SELECT a FROM t) SELECT count(*) FROM x GROUP BY a HAVING count(*) > 1",
        "SELECT a FROM t /* why */ WHERE b = DATE '2024-01-01' -- and so on\n AND c = 'C:\\dir'",
        "SELECT CASE WHEN a IN (1, 2) THEN 'x' END FROM a LEFT JOIN b ON a.i = b.i",
        "SELECT sum(a) OVER (PARTITION BY b ORDER BY c) FROM t",
        "SELECT 1 UNION ALL SELECT 2",
    ] {
        for dialect in CAUTIOUS {
            accepted(sql, dialect);
        }
    }
}

#[test]
fn the_servers_own_syntax_is_accepted() {
    for (dialect, sql) in [
        (Oracle, "SELECT 1 FROM dual WHERE ROWNUM < 10"),
        (Oracle, "SELECT /*+ FULL(t) PARALLEL(t, 4) */ a FROM t WHERE a = N'x'"),
        (Oracle, "SELECT a FROM t OFFSET 1 ROWS FETCH NEXT 5 ROWS ONLY"),
        (Oracle, "SELECT level FROM t START WITH a = 1 CONNECT BY PRIOR a = b"),
        (Db2, "SELECT a FROM t FETCH FIRST 5 ROWS ONLY"),
        (Db2, "VALUES (1, 'a')"),
        (Db2, "SELECT 1 FROM sysibm.sysdummy1"),
        (Teradata, "SELECT TOP 10 a FROM db.t"),
        (Teradata, "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1"),
        (Redshift, "SELECT a::int, b.c[0] FROM t LIMIT 5"),
    ] {
        accepted(sql, dialect);
    }
}

#[test]
fn what_writes_locks_or_hides_is_refused() {
    for sql in [
        "DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "SELECT a FROM t FOR UPDATE",
        "SELECT a INTO b FROM t",
        "INSERT INTO t VALUES (1)",
        "CALL p()",
        "{call p()}",
        "SELECT {fn now()}",
        "SELECT ? FROM t",
        "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
        "LOCKING TABLE t FOR WRITE SELECT a FROM t",
        "BEGIN EXECUTE IMMEDIATE 'DROP TABLE t'; END;",
        // Texts that end elsewhere on another server.
        "SELECT 'a\\' || '; DELETE FROM t --'",
        "SELECT 'a\\\\'",
        "SELECT \"a\\\" FROM t",
        "SELECT 1 /* a /* b */ c */",
        "SELECT 1 /*! , 2 */",
        "SELECT 1 --1",
        "SELECT q'[it's]' FROM dual",
        "SELECT nq'{it's}' FROM dual",
        "SELECT $$a$$",
        "SELECT `a` FROM t",
        "SELECT a # b\n FROM t",
    ] {
        for dialect in CAUTIOUS {
            refused(sql, dialect);
        }
    }
    // Where nothing is known, two statements may stand side by side without a semicolon.
    for sql in
        ["SELECT 1 DELETE FROM t", "SELECT a FROM t EXEC p", "SELECT [a] FROM t", "SELECT a::int FROM t"]
    {
        refused(sql, Ansi);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>(), symbols in "[SELECT q'\\\\\"/*-;()a\n]{0,40}") {
        for dialect in CAUTIOUS {
            let _any = check(&text, dialect);
            let _any = check(&format!("SELECT {symbols}"), dialect);
        }
    }

    #[test]
    fn what_is_accepted_is_still_accepted_between_parentheses(symbols in "[q'\\\\\"/*,()a1\n -]{0,30}") {
        for dialect in CAUTIOUS {
            let Ok(query) = check(&format!("SELECT {symbols}"), dialect) else { continue };
            let outer = format!("SELECT s.a FROM ({}\n) s", query.as_str());
            prop_assert!(check(&outer, dialect).is_ok(), "{outer:?}");
        }
    }
}
