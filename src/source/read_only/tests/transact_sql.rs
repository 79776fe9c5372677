//! Queries for SQL Server.

use super::super::SqlDialect::SqlServer;
use super::super::check;
use super::{accepted, refused};

#[test]
fn transact_sql_syntax_is_accepted() {
    for sql in [
        "SELECT TOP (10) a, [b;c], \"d\" FROM [sales].[order items] WITH (NOLOCK) WHERE x = N'ü''' ORDER BY a",
        "SELECT a FROM [x]]; DROP TABLE y; --]",
        "SELECT a, COUNT(*) OVER (PARTITION BY b ORDER BY c) FROM t ORDER BY a OFFSET 5 ROWS FETCH NEXT 3 ROWS ONLY",
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM b",
        "SELECT CONVERT(varchar(10), d, 120), TRY_CAST(a AS int), IIF(a > 1, 'x', 'y'), ISNULL(a, 0) FROM t",
        "SELECT a FROM t CROSS APPLY (SELECT TOP (1) b FROM u WHERE u.i = t.i) AS v",
        "SELECT a FROM db.dbo.t AS t LEFT OUTER JOIN other..u ON t.i = u.i",
        "SELECT STRING_AGG(a, ',') WITHIN GROUP (ORDER BY a), SYSDATETIME() FROM t GROUP BY b",
        "SELECT 1 /* a /* nested ; */ b */ AS one, 0x1F, 1.5e3, -1",
        "SELECT (SELECT a FROM t FOR JSON PATH) AS document",
        "SELECT a COLLATE Latin1_General_BIN2 FROM t WHERE b LIKE '[a-z]%' ESCAPE '!'",
        "SELECT 'a' + N'b' AS [end], [update] FROM [delete]",
        "SELECT DATEADD(day, 1, d), d AT TIME ZONE 'UTC' FROM t -- windows\r\n WHERE a = 1",
    ] {
        assert_eq!(accepted(sql, SqlServer), sql);
    }
}

#[test]
fn two_statements_of_transact_sql_need_no_semicolon_and_are_refused() {
    for (sql, reason) in [
        ("SELECT 1 SHUTDOWN", "SHUTDOWN"),
        ("SELECT a FROM t COMMIT", "COMMIT"),
        ("SELECT a FROM t ROLLBACK", "ROLLBACK"),
        ("SELECT 'a'SHUTDOWN", "SHUTDOWN"),
        ("SELECT [a]shutdown", "SHUTDOWN"),
        ("SELECT 1 DROP TABLE x", "DROP"),
        ("SELECT a FROM t EXEC xp_cmdshell 'x'", "EXEC"),
        ("SELECT 1 SELECT 2", "not known"),
        ("(SELECT 1) (SELECT 2)", ""),
        ("SELECT 1 WITH a AS (SELECT 1) SELECT 2", ""),
        ("SELECT a FROM t ENABLE TRIGGER x ON y", ""),
        ("SELECT a FROM t RECEIVE * FROM q", ""),
        ("SELECT a FROM t THROW 50000, 'x', 1", ""),
        ("SELECT a FROM t FETCH NEXT FROM c", ""),
        ("SELECT a INTO #x FROM t", "U+0023"),
        ("SELECT a INTO x FROM t", "INTO"),
        ("SELECT @a = 1", "parameter"),
        ("SELECT @@VERSION", "parameter"),
        ("SELECT a FROM OPENQUERY(s, 'DELETE FROM t')", "OPENQUERY"),
        ("SELECT a FROM OPENROWSET('x', 'y', 'z')", "OPENROWSET"),
        ("SELECT a FROM t WITH (UPDLOCK)", "UPDLOCK"),
        ("SELECT NEXT VALUE FOR s", ""),
        ("SELECT {fn now()}", "U+007B"),
        ("SELECT a FROM t FOR XML AUTO", "FOR XML"),
        ("SELECT a FROM t FOR JSON PATH", "FOR XML"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("VALUES (1)", "kind VALUES"),
        ("TABLE t", "kind TABLE"),
        ("SELECT a FROM [t", "not closed"),
        ("SELECT 1 -- x\r; DROP TABLE y", "U+000D"),
        ("SELECT 1 -- x\u{2028} SHUTDOWN", "U+2028"),
        ("SELECT 1 /* /* */ SHUTDOWN -- */ /*", "not closed"),
        ("WITH x AS (DELETE FROM t OUTPUT deleted.a) SELECT * FROM x", "DELETE"),
        ("SELECT 1 x GO SHUTDOWN", "SHUTDOWN"),
    ] {
        let message = refused(sql, SqlServer);
        assert!(message.contains(reason), "{sql}: {message}");
    }
}

#[test]
fn the_parts_of_a_query_are_its_own_text() {
    for (sql, with, body) in [
        ("SELECT 1", None, "SELECT 1"),
        (
            "WITH a AS (SELECT ')' AS x) SELECT x FROM a",
            Some("WITH a AS (SELECT ')' AS x)"),
            " SELECT x FROM a",
        ),
        (
            "-- ü\n;WITH a AS (\n SELECT 1 x\n), b(y) AS (SELECT 2)\nSELECT * FROM b;",
            Some("WITH a AS (\n SELECT 1 x\n), b(y) AS (SELECT 2)"),
            "\nSELECT * FROM b",
        ),
        (
            "  WITH [ü )] AS (SELECT 1 [)]) SELECT 'é', (SELECT 1)",
            Some("WITH [ü )] AS (SELECT 1 [)])"),
            " SELECT 'é', (SELECT 1)",
        ),
    ] {
        let query = check(sql, SqlServer).expect(sql);
        assert_eq!(query.parts(), (with, body), "{sql}");
    }
    for (sql, needs_offset) in [
        ("SELECT a FROM t ORDER BY a", true),
        ("SELECT TOP 5 a FROM t ORDER BY a", false),
        ("SELECT a FROM t ORDER BY a OFFSET 0 ROWS", false),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY a", true),
        ("SELECT a FROM (SELECT TOP 1 a FROM t ORDER BY a) AS x", false),
    ] {
        let query = check(sql, SqlServer).expect(sql);
        assert_eq!(query.needs_offset(), needs_offset, "{sql}");
    }
}
