//! Databases behind ODBC that cannot be had here, when the environment names them.

use arrow::array::RecordBatch;
use data_exchange_agent::config::{
    ConnectionString, OdbcConsistency, OdbcSource, SourceConnection, SqlDialect,
};
use data_exchange_agent::fault::Fault;
use data_exchange_agent::shutdown::Shutdown;
use data_exchange_agent::source::{Query, Source, read_only};

use crate::support::bulk;
use crate::support::extraction::{self, count, query, read, transfer};
use crate::support::odbc::{self, open};
use crate::support::postgres::setting;

/// Databases that cannot be had here: connection strings of ODBC in variables. They are read, and nothing is made.
#[tokio::test]
async fn databases_that_the_environment_names() {
    for named in [
        // Neither a lock nor an export goes without a table; and an export takes no row by its key.
        Named {
            variable: "TERADATA_URL",
            dialect: SqlDialect::Teradata,
            from: " FROM dbc.dbcinfov WHERE infokey LIKE 'VERS%'",
            session: Some(("GETQUERYBAND()", "Group=tests")),
        },
        Named {
            variable: "ORACLE_URL",
            dialect: SqlDialect::Oracle,
            from: " FROM dual",
            session: Some(("SESSIONTIMEZONE", "UTC")),
        },
        Named {
            variable: "DB2_URL",
            dialect: SqlDialect::Db2,
            from: " FROM sysibm.sysdummy1",
            session: None,
        },
        Named {
            variable: "REDSHIFT_URL",
            dialect: SqlDialect::Redshift,
            from: "",
            session: Some(("CURRENT_SETTING('timezone')", "UTC")),
        },
    ] {
        let statements = [named.values(), named.numbers()].into_iter().chain(named.shown());
        for sql in statements {
            // What is asked passes the agent's own check, also where nobody is there to be asked.
            read_only::check(&sql, named.dialect).unwrap_or_else(|fault| panic!("{sql}: {}", fault.chain()));
        }
        named.read().await;
    }
}

/// A database that cannot be had here.
struct Named {
    variable: &'static str,
    dialect: SqlDialect,
    /// What one row that needs no table is selected from.
    from: &'static str,
    /// An expression, and what its text holds in a session that is set up.
    session: Option<(&'static str, &'static str)>,
}

impl Named {
    /// One row: a number, a text, a negative decimal, a date, a timestamp, an empty text, no text, a long one.
    fn values(&self) -> String {
        format!(
            "SELECT CAST(1 AS DECIMAL(9, 0)) AS c1, CAST('ä' AS VARCHAR(5)) AS c2, \
             CAST(-1.50 AS DECIMAL(18, 2)) AS c3, DATE '2024-02-29' AS c4, \
             TIMESTAMP '2024-02-29 23:59:59.123456' AS c5, CAST('' AS VARCHAR(5)) AS c6, \
             CAST(NULL AS VARCHAR(5)) AS c7, CAST(RPAD('x', 2000, 'x') AS VARCHAR(2000)) AS c8{}",
            self.from
        )
    }

    fn expected(&self) -> [Option<String>; 8] {
        // Oracle has no date without a clock, and no empty text.
        let is_oracle = self.dialect == SqlDialect::Oracle;
        let day = if is_oracle { "2024-02-29 00:00:00" } else { "2024-02-29" };
        let empty = (!is_oracle).then_some("");
        let long = "x".repeat(2000);
        let moment = "2024-02-29 23:59:59.123456";
        [Some("1"), Some("ä"), Some("-1.50"), Some(day), Some(moment), empty, None, Some(&*long)]
            .map(|text| text.map(str::to_owned))
    }

    /// A hundred rows, each with another number.
    fn numbers(&self) -> String {
        let digits: Vec<String> = (0..10).map(|digit| format!("SELECT {digit} AS d{}", self.from)).collect();
        let digits = digits.join(" UNION ALL ");
        format!(
            "SELECT CAST(a.d + 10 * b.d AS DECIMAL(9, 0)) AS id FROM ({digits}) a CROSS JOIN ({digits}) b"
        )
    }

    /// What the session says of itself.
    fn shown(&self) -> Option<String> {
        self.session.map(|(expression, _)| format!("SELECT {expression} AS shown{}", self.from))
    }

    fn told<T>(&self, result: Result<T, Fault>) -> T {
        let variable = self.variable;
        result.unwrap_or_else(|fault| panic!("{variable}: {}: {:?}", fault.chain(), fault.hint()))
    }

    /// Reads from the database, when its variable has a connection string.
    async fn read(&self) {
        let variable = self.variable;
        let Some(text) = setting(variable) else { return };
        let string =
            ConnectionString::parse(&text).unwrap_or_else(|malformed| panic!("{variable}: {malformed}"));
        let is_teradata = self.dialect == SqlDialect::Teradata;
        let configuration = OdbcSource {
            dialect: Some(self.dialect),
            query_band: is_teradata.then(|| "Group=tests;".to_owned()),
            reads_uncommitted_rows: is_teradata,
            consistency: OdbcConsistency::Independent,
            ..odbc::configuration(string)
        };
        let source = open(configuration.clone());
        self.told(source.check().await);

        let found = self.told(transfer(&source, &query(self.values()), 1).await);
        assert_eq!(first_row(&found.rows), self.expected(), "{variable}");

        if let (Some(sql), Some((_, expected))) = (self.shown(), self.session) {
            let found = self.told(read(&source, &query(sql), 1).await);
            let shown = first_row(&found);
            let is_set = shown[0].as_ref().is_some_and(|text| text.contains(expected));
            assert!(is_set, "{variable}: {shown:?}");
        }

        let asked = Query { slice_column: Some("id".into()), ..query(self.numbers()) };
        let extraction = self.told(source.prepare(&asked, count(4)).await);
        assert_eq!(extraction.slice_count(), 4, "{variable}");
        let mut ids = Vec::new();
        for slice in 0..4 {
            let rows = self.told(extraction::read_slice(&*extraction, slice).await);
            assert!(rows.num_rows() > 0, "{variable}: slice {slice}");
            let texts = extraction::texts(rows.column(0)).into_iter().flatten();
            ids.extend(texts.map(|text| text.parse::<u32>().expect("a number")));
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<u32>>(), "{variable}: every row once");

        if is_teradata && let Some(program) = bulk::found("tbuild") {
            let settings = bulk::settings("tpt", &program, "");
            let by_tpt =
                bulk::source(source, SourceConnection::Odbc(configuration), settings, &Shutdown::new());
            let found = self.told(read(&by_tpt, &query(self.values()), 1).await);
            assert_eq!(first_row(&found), self.expected(), "{variable}: by tbuild");
        }
    }
}

/// The texts of a result of one row.
fn first_row(found: &RecordBatch) -> Vec<Option<String>> {
    assert_eq!(found.num_rows(), 1);
    found.columns().iter().flat_map(|column| extraction::texts(column)).collect()
}
