//! Values and statements of every kind.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

fn stored() -> impl Strategy<Value = Stored> {
    prop_oneof![
        Just(Stored::Null),
        any::<i64>().prop_map(Stored::Integer),
        any::<f64>().prop_filter("SQLite stores NaN as NULL", |real| !real.is_nan()).prop_map(Stored::Real),
        any::<String>().prop_map(Stored::Text),
        any::<Vec<u8>>().prop_map(Stored::Blob),
    ]
}

impl Stored {
    fn as_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Integer(integer) => Some(integer.to_string()),
            Self::Real(real) if real.is_infinite() => {
                Some(if *real > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
            }
            Self::Real(real) => Some(format!("{real:?}")),
            Self::Text(text) => Some(text.clone()),
            Self::Blob(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                Some(format!("X'{digits}'"))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_mixture_of_values_arrives(values in prop::collection::vec(stored(), 0..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let batch = runtime.block_on(async {
            // One value of each other class makes the column mixed.
            let (scratch, source) = database("CREATE TABLE t (c); INSERT INTO t VALUES (1), ('x'), (x'00')").await;
            let mut connection = writer(&scratch.file()).await;
            for value in &values {
                let insert = sqlx::query("INSERT INTO t VALUES (?1)");
                let insert = match value.clone() {
                    Stored::Null => insert.bind(None::<i64>),
                    Stored::Integer(integer) => insert.bind(integer),
                    Stored::Real(real) => insert.bind(real),
                    Stored::Text(text) => insert.bind(text),
                    Stored::Blob(bytes) => insert.bind(bytes),
                };
                insert.execute(&mut connection).await.expect("an insert");
            }
            connection.close().await.expect("closed");
            rows(&source, &table("t")).await
        });
        let found: Vec<Option<String>> =
            texts(batch.column(0)).into_iter().skip(3).map(|text| text.map(str::to_owned)).collect();
        let expected: Vec<Option<String>> = values.iter().map(Stored::as_text).collect();
        prop_assert_eq!(found, expected);
    }
}

/// A statement that deletes, between pieces that could open and close literals, names or comments.
fn attack() -> impl Strategy<Value = String> {
    let families: [&[&str]; 6] = [
        &["/*", "*/", " "],
        &["'", "''", "\\", "E'", "x'"],
        &["\"", "[", "]", "`", "\\"],
        &["--", "\n", "\r", "/*"],
        &["$$", "$a$", "$x(", ")"],
        &["(", ")", ";", "'", "/*"],
    ];
    prop::sample::select(families.to_vec()).prop_flat_map(|family| {
        let pieces = |longest| prop::collection::vec(prop::sample::select(family.to_vec()), 0..longest);
        let tail = prop::sample::select(vec!["", "+1", " AS a", ",1)"]);
        (pieces(5), pieces(4), tail).prop_map(|(before, after, tail)| {
            format!("SELECT 1 {}; DELETE FROM t; {}{tail}", before.concat(), after.concat())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn nothing_that_is_accepted_changes_a_database_that_may_be_written(texts in prop::collection::vec(attack(), 1_000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let left: i64 = runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().connect().await.expect("a database in memory");
            run(&mut connection, "CREATE TABLE t (a); INSERT INTO t VALUES (1)").await;
            for text in texts {
                let Ok(checked) = check(&text, SqlDialect::Sqlite) else { continue };
                for sql in [checked.as_str().to_owned(), format!("SELECT * FROM ({}) AS q", checked.as_str())] {
                    // SQLite need not know everything that the check lets through.
                    let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
                }
            }
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut connection).await.expect("a count")
        });
        prop_assert_eq!(left, 1);
    }
}
