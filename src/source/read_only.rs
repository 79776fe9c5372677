//! Proves that a text is exactly one query that only reads.
//!
//! First a scanner finds the boundaries of tokens by the server's own rules and masks what is
//! inside literals and comments; then sqlparser parses the masked text, and the tree is searched
//! for anything that writes or locks. What cannot be proven is refused.
//!
//! **Guarantee:** the text of a [`ReadOnlyQuery`] is the user's own, has balanced brackets, no
//! semicolon outside of literals, and ends with a token, not with a comment. So
//! `COPY (<text>) TO STDOUT` and `SELECT * FROM (<text>) AS q` hold the whole text and nothing of
//! it comes after the closing parenthesis.
//!
//! Functions with side effects are not recognised here: the read-only transaction, or the
//! read-only open file, refuses them; in SQL Server functions have none. A PostgreSQL session must
//! have `standard_conforming_strings = on`, its default, and one of SQL Server
//! `QUOTED_IDENTIFIER ON`, for the boundaries to be the server's.
//!
//! T-SQL needs no semicolon between two statements, so there every word that can begin one is
//! refused, wherever it stands outside of literals and names.

#[cfg(test)]
mod mysql_tests;
#[cfg(test)]
mod odbc_tests;
mod scanner;
mod table_name;

use std::ops::ControlFlow;

use sqlparser::ast::{Query, Select, SetExpr, Statement, Value, ValueWithSpan, Visit, Visitor};
use sqlparser::dialect::{
    Dialect, GenericDialect, MsSqlDialect, MySqlDialect, OracleDialect, PostgreSqlDialect,
    RedshiftSqlDialect, SQLiteDialect, TeradataDialect,
};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

pub use table_name::{TableName, parse_table_name, quote_identifier};

use crate::config::OdbcDialect;
use crate::fault::{Fault, FaultKind};

/// Longest text that is looked at, in bytes.
pub const MAX_QUERY_BYTES: usize = 1 << 20;
/// Levels of parentheses, subqueries and the like that the parser follows.
const MAX_NESTING: usize = 128;

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlDialect {
    /// PostgreSQL 11 and later.
    PostgreSql,
    /// MySQL 5.7 and later, MariaDB 10.5 and later; without the SQL modes that change where literals
    /// and names end (`ANSI_QUOTES`, `NO_BACKSLASH_ESCAPES`).
    MySql,
    /// SQLite 3.
    Sqlite,
    /// SQL Server 2016 and later, and Azure SQL.
    SqlServer,
    /// Oracle Database.
    Oracle,
    /// Db2.
    Db2,
    /// Teradata.
    Teradata,
    /// Amazon Redshift.
    Redshift,
    /// A server of which nothing is known: what two servers could read differently is refused.
    Ansi,
}

impl From<OdbcDialect> for SqlDialect {
    fn from(dialect: OdbcDialect) -> Self {
        match dialect {
            OdbcDialect::Ansi => Self::Ansi,
            OdbcDialect::PostgreSql => Self::PostgreSql,
            OdbcDialect::MySql => Self::MySql,
            OdbcDialect::Sqlite => Self::Sqlite,
            OdbcDialect::SqlServer => Self::SqlServer,
            OdbcDialect::Oracle => Self::Oracle,
            OdbcDialect::Db2 => Self::Db2,
            OdbcDialect::Teradata => Self::Teradata,
            OdbcDialect::Redshift => Self::Redshift,
        }
    }
}

impl SqlDialect {
    /// The kind of connections that speak it, as in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
            Self::SqlServer => "sqlserver",
            Self::Oracle => "oracle",
            Self::Db2 => "db2",
            Self::Teradata => "teradata",
            Self::Redshift => "redshift",
            Self::Ansi => "odbc",
        }
    }

    fn parser_dialect(self) -> &'static dyn Dialect {
        match self {
            Self::PostgreSql => &PostgreSqlDialect {},
            Self::MySql => &MySqlDialect {},
            Self::Sqlite => &SQLiteDialect {},
            Self::SqlServer => &MsSqlDialect {},
            Self::Oracle => &OracleDialect {},
            Self::Teradata => &TeradataDialect {},
            Self::Redshift => &RedshiftSqlDialect {},
            Self::Db2 | Self::Ansi => &GenericDialect {},
        }
    }

    fn begins_query(self, word: &str) -> bool {
        match self {
            Self::PostgreSql | Self::MySql | Self::Sqlite => {
                matches!(word, "SELECT" | "VALUES" | "TABLE" | "WITH")
            }
            Self::Db2 => matches!(word, "SELECT" | "WITH" | "VALUES"),
            Self::SqlServer | Self::Oracle | Self::Teradata | Self::Redshift | Self::Ansi => {
                matches!(word, "SELECT" | "WITH")
            }
        }
    }
}

/// A text that was proven to be one query that only reads, safe between parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyQuery {
    text: String,
    /// Where its body begins, behind the common table expressions; 0 when there are none. In bytes.
    body: usize,
    needs_offset: bool,
}

impl ReadOnlyQuery {
    /// The user's own text, without leading and trailing semicolons and trailing comments.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `WITH ...`, when the query begins so, and what follows it. Each has balanced brackets.
    #[must_use]
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self.text.split_at(self.body) {
            ("", body) => (None, body),
            (with, body) => (Some(with), body),
        }
    }

    /// True when the body ends with an ORDER BY that has neither TOP nor OFFSET, which SQL Server
    /// refuses between parentheses.
    #[must_use]
    pub fn needs_offset(&self) -> bool {
        self.needs_offset
    }
}

/// Why a text is refused. Never quotes a literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    #[error("it has no statement")]
    Empty,
    #[error("it holds a zero byte")]
    ZeroByte,
    #[error("a second statement begins")]
    SecondStatement,
    #[error("a semicolon stands between brackets")]
    SemicolonInBrackets,
    #[error("a literal or quoted name is not closed")]
    UnterminatedQuote,
    #[error("a comment is not closed")]
    UnterminatedComment,
    #[error("it has a comment that the server reads as SQL: /*! ... */, or a hint with SET_VAR")]
    ExecutableComment,
    #[error("a comment begins inside a comment, which servers read differently")]
    NestedComment,
    #[error("a backslash stands before a quote, which servers read differently")]
    BackslashBeforeQuote,
    #[error("a literal begins with q' or nq', and only the server knows where it ends")]
    QuoteDelimited,
    #[error("a bracket is not closed")]
    UnclosedBracket,
    #[error("a bracket is closed that was not opened")]
    UnopenedBracket,
    #[error("a number runs into a word or literal")]
    NumberRunsOn,
    #[error("an E'...' literal is followed by another literal")]
    ContinuedEscapeString,
    #[error("the character U+{code:04X} stands outside of literals and names", code = u32::from(*.0))]
    Character(char),
    #[error("it has a parameter")]
    Parameter,
    #[error("it is nested too deep, or one of its expressions is too long")]
    TooDeep,
    #[error("it has more than {} words, values and signs", scanner::MAX_TOKENS)]
    TooManyTokens,
    #[error("it is {0}, not a query")]
    OtherStatement(String),
    #[error("it holds {0} inside a query")]
    Writes(&'static str),
    #[error("it has SELECT ... INTO, which creates a table")]
    SelectInto,
    #[error("it locks rows with FOR UPDATE or FOR SHARE")]
    Locks,
    #[error("the word {0} stands outside of literals and quoted names")]
    Word(&'static str),
    #[error("it ends with FOR XML, FOR JSON or FOR BROWSE, whose text comes in pieces, one a row")]
    ForClause,
    #[error("this syntax is not known here ({0})")]
    Unknown(String),
}

impl Refusal {
    fn remedy(&self) -> &'static str {
        match self {
            Self::TooLong | Self::TooDeep => {
                "Put the query into a view and read that with `table`, or use IN (...) or a joined list in place of long chains."
            }
            Self::TooManyTokens => {
                "Put a list of values into a table and join that, or split the list over several tasks."
            }
            Self::Empty => "Write a SELECT, VALUES, TABLE or WITH ... SELECT query.",
            Self::ZeroByte | Self::Character(_) => {
                "Remove the character, or put a name that needs it in quotes."
            }
            Self::SecondStatement | Self::SemicolonInBrackets => "Send one query for each task.",
            Self::UnterminatedQuote
            | Self::UnterminatedComment
            | Self::UnclosedBracket
            | Self::UnopenedBracket => "Check quotes, comments and brackets of the query.",
            Self::NestedComment => "Remove the inner comment.",
            Self::BackslashBeforeQuote | Self::QuoteDelimited => {
                "Write the literal another way, for example with CHR(92), or create a view in the database and read it with `table`."
            }
            Self::ExecutableComment => "Write the SQL without the comment around it, or remove it.",
            Self::NumberRunsOn => "Put a space behind the number.",
            Self::ContinuedEscapeString => "Write it as one literal, or join the two with ||.",
            Self::Parameter => "Write the value into the query: a task has no parameters.",
            Self::OtherStatement(_) | Self::Writes(_) => {
                "A task only reads: send a SELECT, VALUES, TABLE or WITH ... SELECT query."
            }
            Self::SelectInto => "Remove INTO: the rows go to the destination of the task.",
            Self::Locks => "Remove the locking clause: a task only reads.",
            Self::Word(_) => {
                "It begins a statement, locks for writing or reaches another server. Put a name in [brackets]; for anything else, create a view in the database and read it with `table`."
            }
            Self::ForClause => "Put it into a subquery: SELECT (SELECT ... FOR JSON PATH) AS document.",
            Self::Unknown(_) => {
                "If the database accepts the query, create a view of it there and read the view with `table`."
            }
        }
    }
}

/// Where in the text, counted from 1; columns in characters.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    column: u64,
}

impl Place {
    fn of(text: &str, position: usize) -> Self {
        let before = &text[..position];
        let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count() as u64,
            column: 1 + before[line_begin..].chars().count() as u64,
        }
    }

    /// The inverse of [`Place::of`].
    fn position(self, text: &str) -> Option<usize> {
        let lines = usize::try_from(self.line.checked_sub(1)?).ok()?;
        let columns = usize::try_from(self.column.checked_sub(1)?).ok()?;
        let line = match lines {
            0 => 0,
            lines => text.match_indices('\n').nth(lines - 1)?.0 + 1,
        };
        text[line..].char_indices().nth(columns).map(|(index, _)| line + index)
    }
}

/// Checks that `sql` is one query that only reads. Total: no text makes it panic.
pub fn check(sql: &str, dialect: SqlDialect) -> Result<ReadOnlyQuery, Fault> {
    prove(sql, dialect).map_err(|(refusal, place)| {
        let action = match place {
            Some(Place { line, column }) => {
                format!("check that the query only reads, at line {line}, column {column}")
            }
            None => "check that the query only reads".to_owned(),
        };
        let remedy = refusal.remedy();
        Fault::new(FaultKind::Request, action).because(refusal).remedy(remedy)
    })
}

fn prove(sql: &str, dialect: SqlDialect) -> Result<ReadOnlyQuery, (Refusal, Option<Place>)> {
    if sql.len() > MAX_QUERY_BYTES {
        return Err((Refusal::TooLong, None));
    }
    let outline = scanner::scan(sql, dialect.rules()).map_err(|(refusal, position)| {
        let place = (refusal != Refusal::Empty).then(|| Place::of(sql, position));
        (refusal, place)
    })?;
    if !dialect.begins_query(&outline.first_word) {
        let what = match outline.first_word.as_str() {
            "" => "no statement of SQL".to_owned(),
            word if word.len() > 30 => "a statement of another kind".to_owned(),
            word => format!("a statement of the kind {word}"),
        };
        return Err((Refusal::OtherStatement(what), None));
    }
    let query = parse(&outline.masked, dialect).map_err(|(refusal, place)| {
        let original = |Place { line, column }| Place { line, column: outline.original_column(line, column) };
        (refusal, place.map(original))
    })?;
    match query.visit(&mut WriteFinder) {
        ControlFlow::Break(refusal) => return Err((refusal, None)),
        ControlFlow::Continue(()) => {}
    }
    if query.for_clause.is_some() {
        return Err((Refusal::ForClause, None));
    }
    let text = sql[outline.start..outline.end].to_owned();
    let body = match &query.with {
        Some(with) => {
            let last = with.cte_tables.last().map(|table| table.closing_paren_token.0.span.start);
            let position = last.and_then(|place| {
                let column = outline.original_column(place.line, place.column);
                Place { line: place.line, column }.position(sql)
            });
            let position = position.filter(|position| sql[*position..].starts_with(')'));
            // The parser has seen the parenthesis, so this is a matter of form.
            position.ok_or((Refusal::Unknown("WITH has no end".into()), None))? + 1 - outline.start
        }
        None => 0,
    };
    Ok(ReadOnlyQuery { text, body, needs_offset: needs_offset(&query) })
}

fn needs_offset(query: &Query) -> bool {
    let has_top = matches!(&*query.body, SetExpr::Select(select) if select.top.is_some());
    query.order_by.is_some() && query.limit_clause.is_none() && query.fetch.is_none() && !has_top
}

/// Parses the whole of `masked` as one query.
fn parse(masked: &str, dialect: SqlDialect) -> Result<Box<Query>, (Refusal, Option<Place>)> {
    let mut parser = Parser::new(dialect.parser_dialect())
        .with_recursion_limit(MAX_NESTING)
        .try_with_sql(masked)
        .map_err(refusal_of)?;
    let query = parser.parse_query().map_err(refusal_of)?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(query);
    }
    let place = Place { line: next.span.start.line, column: next.span.start.column };
    Err((Refusal::Unknown(format!("the query ends before {}", next.token)), Some(place)))
}

/// The parser's own words are safe to repeat, because it saw no literal.
fn refusal_of(error: ParserError) -> (Refusal, Option<Place>) {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = error else {
        return (Refusal::TooDeep, None);
    };
    let Some((reason, position)) = message.rsplit_once(" at Line: ") else {
        return (Refusal::Unknown(shortened(&message)), None);
    };
    let place = position.split_once(", Column: ").and_then(|(line, column)| {
        Some(Place { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    (Refusal::Unknown(shortened(reason)), place)
}

fn shortened(reason: &str) -> String {
    const LONGEST: usize = 200;
    let mut text = reason[..reason.floor_char_boundary(LONGEST)].to_owned();
    if text.len() < reason.len() {
        text.push('…');
    }
    text
}

/// Breaks at the first part of a query that does more than read.
struct WriteFinder;

impl Visitor for WriteFinder {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if query.locks.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(Refusal::Locks) }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.into.is_none() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(Refusal::SelectInto)
        }
    }

    /// Every statement inside a query is refused, whatever it does.
    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        ControlFlow::Break(Refusal::Writes(match statement {
            Statement::Insert(_) => "INSERT",
            Statement::Update(_) => "UPDATE",
            Statement::Delete(_) => "DELETE",
            Statement::Merge(_) => "MERGE",
            _ => "another statement",
        }))
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Refusal> {
        match value.value {
            Value::Placeholder(_) => ControlFlow::Break(Refusal::Parameter),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::SqlDialect::{PostgreSql, SqlServer, Sqlite};
    use super::*;

    const BOTH: [SqlDialect; 2] = [PostgreSql, Sqlite];
    const ALL: [SqlDialect; 3] = [PostgreSql, Sqlite, SqlServer];

    #[track_caller]
    fn accepted(sql: &str, dialect: SqlDialect) -> String {
        match check(sql, dialect) {
            Ok(query) => query.as_str().to_owned(),
            Err(fault) => panic!("{sql:?} was refused: {}", fault.chain()),
        }
    }

    #[track_caller]
    fn refused(sql: &str, dialect: SqlDialect) -> String {
        match check(sql, dialect) {
            Ok(query) => panic!("{sql:?} was accepted as {query:?}"),
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

    /// On a stack as small as the smallest that runs this code.
    fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
        thread.join().expect("no panic, and no overflow");
    }

    #[test]
    fn deep_and_long_texts_do_not_exhaust_the_stack() {
        on_a_small_stack(|| {
            for (open, close) in [
                ("(", ")"),
                ("(SELECT ", ")"),
                ("f(", ")"),
                ("CASE WHEN ", " THEN 1 END"),
                ("NOT ", ""),
                ("- ", ""),
                ("", "+1"),
                ("", "::int"),
                ("", "[1]"),
                ("", "[1,1]"),
                ("", " ISNULL"),
                ("", ",1"),
                ("", " OR x=1"),
                ("", " UNION SELECT 1,1"),
                ("", " IN (1,2)"),
                ("", " JOIN a ON 1=1"),
                ("", " COLLATE x"),
            ] {
                for count in [10, 100, 1_000, 2_600, 7_000, 100_000] {
                    let sql = format!("SELECT {}1{}", open.repeat(count), close.repeat(count));
                    for dialect in BOTH {
                        let _ = check(&sql, dialect);
                    }
                }
            }
        });
    }

    #[test]
    fn long_lists_are_accepted_and_texts_over_the_limit_are_not() {
        let list = format!("SELECT * FROM t WHERE id IN (0{})", ", 123456".repeat(100_000));
        accepted(&list, PostgreSql);
        let chain = format!("SELECT * FROM t WHERE id = 0{}", " OR id = 1".repeat(1_500));
        accepted(&chain, PostgreSql);
        let nested = format!("SELECT {}1{}", "(".repeat(50), ")".repeat(50));
        accepted(&nested, PostgreSql);
        let long = format!("SELECT '{}'", "x".repeat(MAX_QUERY_BYTES));
        assert!(refused(&long, PostgreSql).contains("longer"));
        let many = format!("SELECT * FROM t WHERE id IN (0{})", ",1".repeat(500_000));
        assert!(refused(&many, PostgreSql).contains("more than 250000 words"));
    }

    /// Pieces that a lexer can get wrong, glued in any order.
    fn token_soup() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "SELECT",
            "FROM",
            "WITH",
            "AS",
            "VALUES",
            "TABLE",
            "INTO",
            "DELETE",
            "UPDATE",
            "INSERT",
            "UNION",
            "a",
            "e",
            "E",
            "U&",
            "x",
            "1",
            "1e",
            "0x",
            ".",
            ",",
            ";",
            "(",
            ")",
            "[",
            "]",
            "{",
            "'",
            "''",
            "\"",
            "`",
            "\\",
            "$",
            "$$",
            "$a$",
            "--",
            "/*",
            "*/",
            "/",
            "*",
            "\n",
            "\r",
            " ",
            "\t",
            ":",
            "::",
            "?",
            "@",
            "#",
            "|",
            "=",
            "<",
            "é",
            "\u{a0}",
            "FOR UPDATE",
            "CASE",
            "END",
            "CAST",
            "INTERVAL",
            "ARRAY",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in any::<String>()) {
            for dialect in ALL {
                let _ = check(&text, dialect);
            }
        }

        #[test]
        fn what_is_accepted_from_a_soup_is_still_accepted_between_parentheses(soup in token_soup()) {
            for dialect in BOTH {
                for text in [soup.clone(), format!("SELECT {soup}")] {
                    let Ok(query) = check(&text, dialect) else { continue };
                    let inner = query.as_str();
                    prop_assert!(text.contains(inner));
                    let embedded = format!("SELECT * FROM ({inner}) AS q");
                    let again = check(&embedded, dialect).map(|query| query.as_str().to_owned());
                    prop_assert_eq!(again.ok(), Some(embedded));
                }
            }
        }

        #[test]
        fn a_literal_never_reaches_a_message(content in "[a-zA-Z0-9 ;()-]{8,40}", soup in token_soup()) {
            let text = format!("SELECT 'qqqq{content}' {soup}");
            if let Err(fault) = check(&text, PostgreSql) {
                prop_assert!(!fault.chain().contains("qqqq"));
            }
        }
    }
}
