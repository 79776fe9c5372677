//! The check of queries: what all databases share, by the rules of PostgreSQL and SQLite.

mod any_text;
mod mysql;
mod odbc;
mod repeatable;
mod transact_sql;

use super::SqlDialect::{PostgreSql, Sqlite};
use super::*;

const BOTH: [SqlDialect; 2] = [PostgreSql, Sqlite];

#[track_caller]
fn accepted(sql: &str, dialect: SqlDialect) -> String {
    match check(sql, dialect) {
        Ok(query) => query.as_str().to_owned(),
        Err(fault) => panic!("{dialect:?} refused {sql:?}: {}", fault.chain()),
    }
}

#[track_caller]
fn refused(sql: &str, dialect: SqlDialect) -> String {
    match check(sql, dialect) {
        Ok(query) => panic!("{dialect:?} accepted {sql:?} as {query:?}"),
        Err(fault) => {
            assert_eq!(fault.kind(), FaultKind::Request);
            assert!(fault.hint().is_some(), "{sql:?} has no remedy");
            fault.chain()
        }
    }
}

#[test]
fn queries_are_accepted_as_they_are() {
    for sql in [
        "SELECT 1",
        "select a, \"B\" from t where c = 'x''y' order by 1 limit 10",
        "VALUES (1, 'a'), (2, 'b')",
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM b",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
        "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT 4",
        "SELECT count(*) FILTER (WHERE x > 1.5e-3) OVER (PARTITION BY y) FROM t GROUP BY z HAVING sum(q) > 0",
        "SELECT CASE WHEN a IN (1, 2) THEN 'x' ELSE NULL END FROM a LEFT JOIN b ON a.i = b.i",
        "/* c */ SELECT -- d\n 1",
        "SELECT ';' AS a, '--' AS b, '/*' AS c, ') TO STDOUT' AS d",
        "SELECT \"a;b\", \"--\" FROM \"x)\"",
        "SELECT update_time, deleted, inserted, \"into\" FROM merged",
        "SELECT größe FROM straße",
    ] {
        for dialect in BOTH {
            assert_eq!(accepted(sql, dialect), sql);
        }
    }
}

#[test]
fn postgres_syntax_is_accepted() {
    for sql in [
        "TABLE sales.orders",
        "(TABLE orders)",
        "TABLE a UNION ALL TABLE b ORDER BY 1 LIMIT 5",
        "WITH x AS (TABLE a) TABLE x",
        "SELECT a AS table, t.table FROM (TABLE a) AS t",
        "(SELECT 1)",
        "((SELECT 1) UNION (SELECT 2))",
        "SELECT $$a;b$$, $x$ ' $$ -- $x$, E'it\\'s; \\\\', U&'d\\0061t', B'01', X'1f', N'x'",
        "SELECT /* a /* nested ; */ b */ 1",
        "SELECT a::int[], b->>'k', c @> '{}', d ? 'k', e || 'x', f ~* 'y', g[1:2] FROM t",
        "SELECT DISTINCT ON (a) a, b FROM t, LATERAL (SELECT 1) AS x TABLESAMPLE SYSTEM (1)",
        "SELECT x FROM generate_series(1, 10) WITH ORDINALITY AS g(x, i)",
        "SELECT INTERVAL '1 day', DATE '2024-01-01', TIMESTAMP '2024-01-01' AT TIME ZONE 'UTC'",
        "SELECT 'a'\n'b'",
        "SELECT ARRAY[1, 2], ROW(1, 'a'), array(SELECT 1)",
        "SELECT '\\' AS backslash",
        "SELECT a$b FROM t$1",
        "SELECT EXTRACT(EPOCH FROM ts), substring(a FROM 1 FOR 2), position('a' IN b) FROM t FETCH FIRST 3 ROWS ONLY",
        "SELECT count(*) FROM t GROUP BY GROUPING SETS ((a), (b), ())",
        "SELECT a FROM t WHERE b LIKE 'x\\_%' ESCAPE '\\'",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t",
        "SELECT a FROM ONLY t",
    ] {
        assert_eq!(accepted(sql, PostgreSql), sql);
    }
}

#[test]
fn sqlite_syntax_is_accepted() {
    for sql in [
        "SELECT [a;b], `c--d` FROM [x)]",
        "SELECT rowid, * FROM t WHERE a GLOB 'x*' LIMIT 5 OFFSET 2",
        "SELECT /* a /* not nested */ 1",
        "SELECT '\\', x'0aff', 0x1F",
        "SELECT a ->> '$.b', json(c) FROM t",
        "SELECT value FROM json_each('[1,2]')",
        "SELECT iif(a IS NOT NULL, 1, 2), CAST(a AS TEXT) COLLATE NOCASE FROM t",
    ] {
        assert_eq!(accepted(sql, Sqlite), sql);
    }
}

#[test]
fn semicolons_and_trailing_comments_are_cut_off() {
    for (sql, expected) in [
        ("  SELECT 1  ;\n", "SELECT 1"),
        (";; SELECT 1;;", "SELECT 1"),
        ("SELECT 1 -- the end", "SELECT 1"),
        ("SELECT 1 -- ; \n ; -- x\n;/* y */", "SELECT 1"),
        ("-- first\nSELECT 1", "-- first\nSELECT 1"),
        ("/* hint */ SELECT 1 /* x", ""),
        ("; /* hint */ SELECT 1;", "/* hint */ SELECT 1"),
    ] {
        for dialect in BOTH {
            if expected.is_empty() {
                refused(sql, dialect);
            } else {
                assert_eq!(accepted(sql, dialect), expected);
            }
        }
    }
}

#[test]
fn texts_that_would_leave_the_parentheses_are_refused() {
    for sql in [
        "SELECT 1) TO STDOUT; DROP TABLE x; --",
        "SELECT 1) AS q; DROP TABLE x; --",
        "SELECT 1) AS q --",
        "SELECT 1 ) UNION ( SELECT 2",
        "SELECT (1",
        "SELECT (1; SELECT 2)",
        "SELECT 1; DROP TABLE x",
        "SELECT 1; SELECT 2",
        "SELECT 1;; -- x\n SELECT 2",
        "SELECT 'a' /* */ ; /* */ DELETE FROM t",
        "SELECT 'a\\'; DROP TABLE x; --'",
        "SELECT \"a\\\"; DROP TABLE x; --\"",
        "SELECT 1 /* ' */; DROP TABLE x; -- '",
    ] {
        for dialect in BOTH {
            refused(sql, dialect);
        }
    }
}

#[test]
fn each_dialect_ends_comments_and_literals_where_its_server_does() {
    // PostgreSQL nests comments, SQLite does not.
    assert_eq!(accepted("SELECT 1 /* /* */ ; DROP TABLE x -- */", PostgreSql), "SELECT 1");
    refused("SELECT 1 /* /* */ ; DROP TABLE x -- */", Sqlite);
    assert_eq!(accepted("SELECT 1 /* /* */ */ + 1", PostgreSql), "SELECT 1 /* /* */ */ + 1");
    refused("SELECT 1 /* /* */ */ + 1", Sqlite);
    // A carriage return ends a comment in PostgreSQL only.
    refused("SELECT 1 -- x\r; DROP TABLE y", PostgreSql);
    assert_eq!(accepted("SELECT 1 -- x\r; DROP TABLE y", Sqlite), "SELECT 1");
    // Backslashes escape in E'...' only, and only where the word is a lone E.
    refused("SELECT E'\\'; DROP TABLE x; --'; SELECT 1", Sqlite);
    accepted("SELECT E'\\'; DROP TABLE x; --'", PostgreSql);
    refused("SELECT x_e'\\'; DROP TABLE x; --'", PostgreSql);
    refused("SELECT 1e'\\'; DROP TABLE x; --'", PostgreSql);
    refused("SELECT 0x1E'\\'; DROP TABLE x; --'", PostgreSql);
    // A literal on the next line continues E'...', with escapes.
    refused("SELECT E'a'\n'\\'; DROP TABLE x; --'", PostgreSql);
    refused("SELECT E'a' -- c\n -- d\n '\\'; DROP TABLE x; --'", PostgreSql);
    // Dollar quotes exist in PostgreSQL only, and not inside of a word.
    refused("SELECT $$;$$", Sqlite);
    refused("SELECT a$$;DROP TABLE x;$$", PostgreSql);
    refused("SELECT $a$ $b$; DROP TABLE x", PostgreSql);
    refused("SELECT 1$$ ; $$", PostgreSql);
    // Brackets and backticks quote in SQLite only.
    refused("SELECT a[1; DROP TABLE x; --]", PostgreSql);
    refused("SELECT `a;b`", PostgreSql);
    // SQLite reads `$x(...)` as one parameter, whatever is inside.
    for sql in ["SELECT $x(')", "SELECT :a", "SELECT @a", "SELECT ?", "SELECT ?1"] {
        assert!(refused(sql, Sqlite).contains("parameter"), "{sql}");
    }
    for sql in ["SELECT $1", "SELECT :a"] {
        assert!(refused(sql, PostgreSql).contains("parameter"), "{sql}");
    }
}

#[test]
fn everything_that_writes_or_locks_is_refused() {
    for (sql, reason) in [
        ("INSERT INTO t VALUES (1)", "kind INSERT"),
        ("update t set a = 1", "kind UPDATE"),
        ("DELETE FROM t", "kind DELETE"),
        ("MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE", "kind MERGE"),
        ("(DELETE FROM t)", "kind DELETE"),
        ("CREATE TABLE t AS SELECT 1", "kind CREATE"),
        ("EXPLAIN ANALYZE DELETE FROM t", "kind EXPLAIN"),
        ("COPY t TO '/tmp/x'", "kind COPY"),
        ("CALL p()", "kind CALL"),
        ("DO $$ BEGIN END $$", "kind DO"),
        ("PRAGMA journal_mode = DELETE", "kind PRAGMA"),
        ("ATTACH 'x' AS y", "kind ATTACH"),
        ("SET a = 1", "kind SET"),
        ("PREPARE x AS SELECT 1", "kind PREPARE"),
        ("COMMIT", "kind COMMIT"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "DELETE inside"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x", "INSERT inside"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x", "UPDATE inside"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "INSERT inside"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "DELETE inside"),
        ("SELECT (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x)", "DELETE inside"),
        ("SELECT * FROM (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x) AS y", "DELETE inside"),
        ("SELECT 1 WHERE 1 IN (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x)", "DELETE inside"),
        ("SELECT f(ARRAY(WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x))", "DELETE inside"),
        ("SELECT 1 ORDER BY (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x)", "DELETE inside"),
        ("SELECT 1 LIMIT (WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x)", "DELETE inside"),
        ("TABLE t DELETE FROM", ""),
        ("TABLE t FOR UPDATE", "locks"),
        ("SELECT 1 INTO t", "INTO"),
        ("SELECT 1 INTO TEMP t FROM x", "INTO"),
        ("SELECT 2 UNION SELECT 1 INTO t", "INTO"),
        ("SELECT * FROM t FOR UPDATE", "locks"),
        ("SELECT * FROM t FOR SHARE OF t NOWAIT", "locks"),
        ("SELECT * FROM (SELECT * FROM t FOR UPDATE) AS x", "locks"),
        ("SELECT * FROM t FOR NO KEY UPDATE", ""),
    ] {
        let message = refused(sql, PostgreSql);
        assert!(message.contains(reason), "{sql}: {message}");
    }
}

#[test]
fn empty_and_unfinished_texts_are_refused() {
    for (sql, reason) in [
        ("", "no statement"),
        (" \n;; -- x\n/* y */", "no statement"),
        ("SELECT 'a", "line 1, column 8"),
        ("SELECT \"a", "not closed"),
        ("SELECT 1\n/* x", "line 2, column 1"),
        ("SELECT 'a\0b'", "zero byte"),
        ("SELECT\u{a0}1", "U+00A0"),
        ("SELECT 1\u{b}", "U+000B"),
        ("\u{feff}SELECT 1", "U+FEFF"),
    ] {
        for dialect in BOTH {
            let message = refused(sql, dialect);
            assert!(message.contains(reason), "{sql:?}: {message}");
        }
    }
    assert!(refused("SELECT E'\\'", PostgreSql).contains("not closed"));
    assert!(refused("SELECT $a$ $A$", PostgreSql).contains("not closed"));
    assert!(refused("SELECT [a", Sqlite).contains("not closed"));
}

#[test]
fn unknown_syntax_is_reported_with_its_place_and_without_literals() {
    let message = refused("SELECT 'secret',\n  FROM WHERE 'secret' 4711", PostgreSql);
    assert!(message.contains("at line 2, column"), "{message}");
    refused("SELECT a IS b FROM t", Sqlite);
    let message = refused("TABLE t EXCEPT TABLE u v w", PostgreSql);
    assert!(message.contains("line 1, column 26"), "{message}");
    let message = refused("SELECT * FROM t INDEXED BY i", Sqlite);
    assert!(message.contains("line 1, column 25") && message.contains("before BY"), "{message}");
    for sql in [
        "SELECT 'secret' 'secret'",
        "SELECT a FROM 'secret' 4711",
        "SELECT $$secret$$ $$secret$$",
        "SELECT 4711 4711",
        "SELECT a b c 'secret'",
    ] {
        for dialect in BOTH {
            if let Err(fault) = check(sql, dialect) {
                let message = format!("{} {:?}", fault.chain(), fault.hint());
                assert!(!message.contains("secret") && !message.contains("4711"), "{message}");
            }
        }
    }
}
