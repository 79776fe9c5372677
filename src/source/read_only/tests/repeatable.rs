//! Which queries may be read in slices.

use super::super::SqlDialect::{self, Ansi, MySql, Oracle, PostgreSql, SqlServer};
use super::super::check;
use super::super::repeatable::{Unrepeatable, slices};
use crate::task::Read;
use std::num::NonZeroUsize;

#[track_caller]
fn reason(sql: &str, dialect: SqlDialect) -> Option<Unrepeatable> {
    match check(sql, dialect) {
        Ok(query) => query.unrepeatable,
        Err(fault) => panic!("{dialect:?} refused {sql:?}: {}", fault.chain()),
    }
}

#[test]
fn a_query_whose_runs_can_differ_is_told() {
    use Unrepeatable::{Limit, MadeUp, Place, QuotedFunction, Sample};
    for (sql, dialect, expected) in [
        ("SELECT id FROM n ORDER BY RAND() LIMIT 100", MySql, Limit),
        ("SELECT id FROM n LIMIT 5, 10", MySql, Limit),
        ("SELECT id FROM n WHERE RAND() < 0.5", MySql, MadeUp),
        ("SELECT id FROM n WHERE `rand`() < 0.5", MySql, QuotedFunction),
        ("SELECT id, uuid() AS u FROM n", MySql, MadeUp),
        ("SELECT id FROM (SELECT id FROM n ORDER BY day LIMIT 10) AS q", MySql, Limit),
        ("WITH q AS (SELECT id FROM n LIMIT 10) SELECT id FROM q", MySql, Limit),
        ("SELECT id FROM n WHERE id IN (SELECT id FROM m ORDER BY x LIMIT 3)", PostgreSql, Limit),
        ("SELECT id FROM n OFFSET 3", PostgreSql, Limit),
        ("SELECT id FROM n FETCH FIRST 3 ROWS ONLY", PostgreSql, Limit),
        ("SELECT id FROM n UNION ALL (SELECT id FROM m LIMIT 3)", PostgreSql, Limit),
        ("SELECT id FROM n ORDER BY random()", PostgreSql, MadeUp),
        ("SELECT id FROM n ORDER BY pg_catalog.random()", PostgreSql, MadeUp),
        ("SELECT id FROM n, random() AS r WHERE r < 0.5", PostgreSql, MadeUp),
        ("SELECT gen_random_uuid() AS u, id FROM n", PostgreSql, MadeUp),
        ("SELECT \"random\"() AS r, id FROM n", PostgreSql, QuotedFunction),
        ("SELECT DISTINCT ON (a) a, id FROM n", PostgreSql, Place),
        ("SELECT id FROM n TABLESAMPLE SYSTEM (1)", PostgreSql, Sample),
        ("SELECT id, row_number() OVER (ORDER BY day) AS place FROM n", PostgreSql, Place),
        ("SELECT id, sum(x) OVER (ORDER BY day ROWS 3 PRECEDING) AS total FROM n", PostgreSql, Place),
        (
            "SELECT id, sum(x) OVER w AS total FROM n WINDOW w AS (ORDER BY day ROWS 3 PRECEDING)",
            PostgreSql,
            Place,
        ),
        ("SELECT TOP 10 id FROM n", SqlServer, Limit),
        ("SELECT id FROM n ORDER BY day OFFSET 5 ROWS FETCH NEXT 5 ROWS ONLY", SqlServer, Limit),
        ("SELECT id FROM n ORDER BY NEWID()", SqlServer, MadeUp),
        ("SELECT id FROM n WHERE ROWNUM < 10", Oracle, Limit),
        ("SELECT id FROM n WHERE rownum < 10", Ansi, Limit),
        ("SELECT id, DBMS_RANDOM.VALUE(1, 10) AS v FROM n", Oracle, MadeUp),
    ] {
        assert_eq!(reason(sql, dialect), Some(expected), "{sql}");
        let read = Read::Query(sql.into());
        let four = NonZeroUsize::new(4).expect("not zero");
        assert_eq!(slices(&read, dialect, four).get(), 1, "{sql}");
    }
}

#[test]
fn other_queries_are_read_in_as_many_slices_as_are_wanted() {
    let four = NonZeroUsize::new(4).expect("not zero");
    for (sql, dialect) in [
        ("SELECT id, 'LIMIT 5' AS t, \"rand\" FROM n ORDER BY id", PostgreSql),
        ("SELECT rand, random, uuid, `limit` FROM n", MySql),
        (
            "SELECT id, rank() OVER (PARTITION BY a ORDER BY b) AS r, sum(x) OVER (ORDER BY day) AS s FROM n",
            PostgreSql,
        ),
        (
            "SELECT DISTINCT a, count(*) AS n, max(b) AS m FROM n WHERE day > now() GROUP BY a HAVING count(*) > 1",
            PostgreSql,
        ),
        ("SELECT id FROM n JOIN m USING (id) WHERE x IN (SELECT y FROM o)", MySql),
        ("SELECT id, rownum FROM n", MySql),
        ("SELECT [id], GETDATE() AS loaded FROM n", SqlServer),
        ("SELECT id FROM generate_series(1, 10) AS id", PostgreSql),
    ] {
        assert_eq!(reason(sql, dialect), None, "{sql}");
        assert_eq!(slices(&Read::Query(sql.into()), dialect, four), four, "{sql}");
    }
    // What is wrong with a text is told where it is read.
    assert_eq!(slices(&Read::Query("DELETE FROM n".into()), MySql, four), four);
    assert_eq!(slices(&Read::Table("n".into()), MySql, four), four);
}
