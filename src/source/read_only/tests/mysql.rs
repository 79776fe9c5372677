//! The check of queries by the rules of MySQL and MariaDB.

use proptest::prelude::*;

use super::super::SqlDialect::MySql;
use super::super::check;

#[track_caller]
fn accepted(sql: &str) -> String {
    super::accepted(sql, MySql)
}

#[track_caller]
fn refused(sql: &str) -> String {
    super::refused(sql, MySql)
}

#[test]
fn the_servers_own_syntax_is_accepted() {
    for sql in [
        "SELECT `a``b`, `c;d` FROM `x)` WHERE y = \"it's; --\"",
        "SELECT 'a\\'b', \"a\\\"b\", 'a\\\\', 'a''b', \"a\"\"b\"",
        "SELECT a # it's a comment; ) \n FROM t",
        "SELECT a -- it's a comment\n FROM t",
        "SELECT a --\n FROM t",
        "SELECT 1 - -1",
        "SELECT /* it's ; */ /*+ MAX_EXECUTION_TIME(1000) */ a FROM t",
        "SELECT a FROM t LIMIT 5, 10",
        "SELECT IF(a, b, c), a DIV 2, a % 2, a <=> b, a XOR b FROM t WHERE a REGEXP 'x' AND b RLIKE 'y'",
        "SELECT STRAIGHT_JOIN a FROM t FORCE INDEX (i) JOIN u USING (a)",
        "SELECT GROUP_CONCAT(DISTINCT a ORDER BY b DESC SEPARATOR ', ') FROM t GROUP BY c WITH ROLLUP",
        "SELECT x'00ff', b'01', 0xff, _utf8mb4'x', N'x'",
        "SELECT a->'$.b', c->>'$.d' FROM t",
        "SELECT DATE_ADD(a, INTERVAL 1 DAY), CAST(b AS UNSIGNED), CONVERT(c USING utf8mb4) FROM t",
        "SELECT größe FROM straße",
    ] {
        assert_eq!(accepted(sql), sql);
    }
    assert_eq!(accepted("SELECT 1 # the end"), "SELECT 1");
    assert_eq!(accepted("SELECT 1; -- the end"), "SELECT 1");
}

#[test]
fn literals_and_comments_end_where_the_server_ends_them() {
    for sql in [
        // A backslash does not escape in a name.
        "SELECT `a\\`; DROP TABLE x; -- `",
        // Only white space after two dashes makes a comment; what stands behind is run.
        "SELECT 1 --1 INTO OUTFILE 'x'",
        "SELECT 1 --; DROP TABLE x",
        // A carriage return does not end one, and comments do not nest.
        "SELECT 1 /* /* */ ; DROP TABLE x -- */",
        "SELECT 1 # x\n; DROP TABLE y",
        // A word beside a quote is no prefix of an escape.
        "SELECT \"a\"; DROP TABLE x; -- \"",
        "SELECT [a;b]",
        "SELECT $$;$$",
    ] {
        refused(sql);
    }
    assert_eq!(accepted("SELECT 'a\\'; DROP TABLE x; -- '"), "SELECT 'a\\'; DROP TABLE x; -- '");
    assert_eq!(accepted("SELECT 1 -- x\r; DROP TABLE y"), "SELECT 1");
}

#[test]
fn comments_that_the_server_runs_are_refused() {
    for sql in [
        "SELECT 1 /*! INTO OUTFILE '/tmp/x' */",
        "SELECT 1 /*!50000 FOR UPDATE */",
        "SELECT 1 /*M! FOR UPDATE */",
        "SELECT 1 /*M!100500 FOR UPDATE */",
        "SELECT /*+ SET_VAR(sql_mode = 'ANSI_QUOTES') */ 1",
        "SELECT /*+ set_var(sql_mode = 'ANSI_QUOTES') */ 1",
        "SELECT 1; /*! DROP TABLE x */",
    ] {
        assert!(refused(sql).contains("comment"), "{sql}");
    }
    accepted("SELECT '/*! x */', \"/*M! */\", `/*!`");
}

#[test]
fn whatever_writes_locks_or_sets_is_refused() {
    for sql in [
        "SELECT * FROM t INTO OUTFILE '/tmp/x'",
        "SELECT * INTO OUTFILE '/tmp/x' FROM t",
        "SELECT * FROM t INTO DUMPFILE '/tmp/x'",
        "SELECT a INTO @x FROM t",
        "SELECT @x := 1",
        "SELECT @x",
        "SELECT :=",
        "SELECT * FROM t WHERE a = ?",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR UPDATE SKIP LOCKED",
        "SELECT * FROM t FOR SHARE",
        "SELECT * FROM t LOCK IN SHARE MODE",
        "SELECT * FROM t PROCEDURE ANALYSE()",
        "INSERT INTO t VALUES (1)",
        "REPLACE INTO t VALUES (1)",
        "HANDLER t OPEN",
        "DO SLEEP(1)",
        "LOAD DATA INFILE 'x' INTO TABLE t",
        "KILL 5",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "WITH x AS (SELECT 1) UPDATE t SET a = 1",
    ] {
        refused(sql);
    }
}

#[test]
fn files_of_the_server_are_not_read() {
    for sql in [
        "SELECT LOAD_FILE('/etc/hostname')",
        "SELECT load_file ('/etc/hostname')",
        "SELECT Load_File/* */('/etc/hostname')",
        "SELECT `load_file`('/etc/hostname')",
        "SELECT a FROM (SELECT LOAD_FILE(path) AS a FROM t) AS q",
    ] {
        assert!(refused(sql).contains("LOAD_FILE"), "{sql}");
    }
    accepted("SELECT 'LOAD_FILE(1)', load_files FROM t");
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>()) {
        let _ = check(&text, MySql);
    }

    #[test]
    fn what_is_accepted_is_still_accepted_between_parentheses(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "FROM", "a", "1", "'", "\"", "`", "\\", "#", "--", "-- ", "/*", "*/", "!", "\n", "\r", " ", ";",
            "(", ")", ",", "x'", "N'", "_utf8'", "@", "?", ":=", "/*!", "UNION", "TABLE", "FOR UPDATE", "é", "0x", "1e",
        ]), 0..30),
    ) {
        let text = format!("SELECT {}", pieces.concat());
        if let Ok(query) = check(&text, MySql) {
            prop_assert!(text.contains(query.as_str()));
            let embedded = format!("SELECT * FROM ({}) AS q", query.as_str());
            let again = check(&embedded, MySql).map(|query| query.as_str().to_owned());
            prop_assert_eq!(again.ok(), Some(embedded));
        }
    }
}
