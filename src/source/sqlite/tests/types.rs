//! What columns become, and who decides it.

use super::*;

#[tokio::test]
async fn declared_columns_become_their_arrow_types() {
    let (_scratch, source) = database(
        "CREATE TABLE t (i INTEGER, b BOOLEAN, r REAL, d DECIMAL(10,2), s VARCHAR(9), x BLOB,
                         day DATE, moment DATETIME, wide NUMERIC(60,2));
         INSERT INTO t VALUES
             (9223372036854775807, 1, 1.5, 12.34, 'a', x'00ff', '2024-02-29', '2024-02-29 12:00:00.123', 1.25),
             (-9223372036854775808, 0, -1e308, -7, '', x'', 20240229, 1709208000.5, 3),
             (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
             (0, 1, 9e999, 0.1, 'ß → 日本 🚚', zeroblob(3), 'not a day', 7, 'free text');",
    )
    .await;
    for read in [table("t"), query("SELECT * FROM t -- all")] {
        let batch = rows(&source, &read).await;
        let types: Vec<DataType> =
            batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(
            types,
            [
                DataType::Int64,
                DataType::Boolean,
                DataType::Float64,
                DataType::Decimal128(10, 2),
                DataType::Utf8,
                DataType::Binary,
                DataType::Utf8,
                DataType::Utf8,
                DataType::Utf8,
            ]
        );
        assert_eq!(integers(batch.column(0)), [Some(i64::MAX), Some(i64::MIN), None, Some(0)]);
        let booleans: Vec<_> = batch.column(1).as_boolean().iter().collect();
        assert_eq!(booleans, [Some(true), Some(false), None, Some(true)]);
        assert_eq!(reals(batch.column(2)), [Some(1.5), Some(-1e308), None, Some(f64::INFINITY)]);
        assert_eq!(decimals(batch.column(3)), [Some(1234), Some(-700), None, Some(10)]);
        assert_eq!(texts(batch.column(4)), [Some("a"), Some(""), None, Some("ß → 日本 🚚")]);
        let blobs: Vec<_> = batch.column(5).as_binary::<i32>().iter().collect();
        assert_eq!(blobs, [Some(&[0, 255][..]), Some(&[]), None, Some(&[0, 0, 0])]);
        assert_eq!(texts(batch.column(6)), [Some("2024-02-29"), Some("20240229"), None, Some("not a day")]);
        assert_eq!(
            texts(batch.column(7)),
            [Some("2024-02-29 12:00:00.123"), Some("1709208000.5"), None, Some("7")]
        );
        assert_eq!(texts(batch.column(8)), [Some("1.25"), Some("3"), None, Some("free text")]);
        assert_eq!(source_type(&batch, 3), "DECIMAL(10,2)");
    }
}

#[tokio::test]
async fn a_value_of_another_class_is_an_error_that_names_column_and_row() {
    for (declared, good, bad, found) in [
        ("INTEGER", "1", "1.5", "a real"),
        ("INTEGER", "1", "'secret'", "text"),
        ("INTEGER", "1", "x'00'", "a blob"),
        ("BOOLEAN", "1", "2", "an integer"),
        ("BOOLEAN", "0", "'true'", "text"),
        ("REAL", "1.5", "'secret'", "text"),
        ("DECIMAL(10,2)", "1.25", "1.255", "a real"),
        ("DECIMAL(10,2)", "1.25", "100000000", "an integer"),
        ("DECIMAL(10,2)", "1.25", "'secret'", "text"),
        ("DECIMAL(10,2)", "1.25", "9e999", "a real"),
        ("TEXT", "'a'", "x'00'", "a blob"),
        ("BLOB", "x'00'", "'secret'", "text"),
        ("BLOB", "x'00'", "1", "an integer"),
        ("DATE", "'2024-01-01'", "x'00'", "a blob"),
        ("TEXT", "'a'", "CAST(x'ff' AS TEXT)", "text"),
    ] {
        let (_scratch, source) = database(&format!(
            "CREATE TABLE t (c {declared}); INSERT INTO t VALUES ({good}), (NULL), ({good}), ({good}), ({bad})"
        ))
        .await;
        let fault = refused(&source, &table("t")).await;
        let message = fault.chain();
        assert_eq!(fault.kind(), FaultKind::Data, "{declared} {bad}");
        assert!(message.contains("column `c`, row 5"), "{declared} {bad}: {message}");
        assert!(message.contains(found) && !message.contains("secret"), "{declared} {bad}: {message}");
        assert!(fault.hint().is_some_and(|hint| hint.contains("CAST")), "{declared} {bad}");
        // The remedy works, except for text that is no text.
        if !bad.contains("ff") {
            let cast = rows(&source, &query("SELECT CAST(c AS TEXT) AS c FROM t")).await;
            assert_eq!(cast.num_rows(), 5);
        }
    }
}

#[tokio::test]
async fn columns_without_a_type_that_decides_are_decided_by_their_values() {
    for (declared, values, data_type, seen) in [
        ("", "(1), (NULL), (3)", DataType::Int64, "integer"),
        ("", "(1.5), (2.5), (NULL)", DataType::Float64, "real"),
        ("", "(1), (2.5), (9007199254740992)", DataType::Float64, "integer, real"),
        ("", "(9007199254740993), (2.5), (1)", DataType::Utf8, "integer, real"),
        ("", "('a'), (NULL), ('b')", DataType::Utf8, "text"),
        ("", "(x'00'), (NULL), (x'')", DataType::Binary, "blob"),
        ("", "(NULL), (NULL), (NULL)", DataType::Utf8, "null"),
        ("", "(1), ('a'), (x'0aff')", DataType::Utf8, "integer, text, blob"),
        ("NUMERIC", "(1), (2), (3)", DataType::Int64, "NUMERIC"),
        ("JSON", "('{}'), ('[]'), (NULL)", DataType::Utf8, "JSON"),
        ("STRING", "(1), ('a'), (1.5)", DataType::Utf8, "STRING"),
    ] {
        let (_scratch, source) =
            database(&format!("CREATE TABLE t (c {declared}); INSERT INTO t VALUES {values}")).await;
        for read in [table("t"), query("SELECT c FROM t")] {
            let batch = rows(&source, &read).await;
            assert_eq!(batch.num_rows(), 3);
            assert_eq!(batch.schema().field(0).data_type(), &data_type, "{declared} {values}");
            assert_eq!(source_type(&batch, 0), seen, "{values}");
        }
    }
}

#[tokio::test]
async fn mixed_values_are_kept_as_text() {
    let (_scratch, source) = database(
        "CREATE TABLE t (c);
         INSERT INTO t VALUES (1), (-9223372036854775808), (0.1), (1e20), (2.0), (9e999), ('1'), (''), (x'0AFF'),
                              (x''), (NULL);",
    )
    .await;
    let batch = rows(&source, &table("t")).await;
    assert_eq!(
        texts(batch.column(0)),
        [
            Some("1"),
            Some("-9223372036854775808"),
            Some("0.1"),
            Some("1e20"),
            Some("2.0"),
            Some("Infinity"),
            Some("1"),
            Some(""),
            Some("X'0AFF'"),
            Some("X''"),
            None
        ]
    );
}

#[tokio::test]
async fn expressions_are_decided_by_their_values() {
    let (_scratch, source) =
        database("CREATE TABLE t (id INTEGER, d DECIMAL(10,2)); INSERT INTO t VALUES (1, 1.5), (2, 2)").await;
    let text = "WITH x AS (SELECT * FROM t) \
                SELECT count(*) AS n, sum(d) AS s, avg(id) AS a, 'x' || max(id) AS text, NULL AS none, \
                       x'01' AS blob, max(d) AS top /* the end";
    let batch = rows(&source, &query(&format!("{text} */ FROM x; -- done"))).await;
    assert_eq!(integers(batch.column(0)), [Some(2)]);
    assert_eq!(reals(batch.column(1)), [Some(3.5)]);
    assert_eq!(reals(batch.column(2)), [Some(1.5)]);
    assert_eq!(texts(batch.column(3)), [Some("x2")]);
    assert_eq!(texts(batch.column(4)), [None]);
    assert_eq!(batch.column(5).as_binary::<i32>().value(0), [1]);
    assert_eq!(integers(batch.column(6)), [Some(2)]);
}

#[tokio::test]
async fn a_query_with_hundreds_of_expressions_is_described() {
    let (_scratch, source) = database("").await;
    let list: Vec<String> = (0..700).map(|number| format!("{number} AS c{number}")).collect();
    let batch = rows(&source, &query(&format!("SELECT {}", list.join(", ")))).await;
    assert_eq!(integers(batch.column(699)), [Some(699)]);
}

#[tokio::test]
async fn a_compound_query_fails_rather_than_lose_a_value() {
    let (_scratch, source) =
        database("CREATE TABLE a (c INTEGER); CREATE TABLE b (c TEXT); INSERT INTO a VALUES (1); INSERT INTO b VALUES ('x')")
            .await;
    let fault = refused(&source, &query("SELECT c FROM a UNION ALL SELECT c FROM b")).await;
    assert_eq!(fault.kind(), FaultKind::Data);
    let batch = rows(&source, &query("SELECT +c AS c FROM a UNION ALL SELECT c FROM b")).await;
    assert_eq!(texts(batch.column(0)), [Some("1"), Some("x")]);
}

#[tokio::test]
async fn results_without_rows_have_their_schema() {
    let (_scratch, source) = database("CREATE TABLE t (id INTEGER NOT NULL, d DECIMAL(5,1), u)").await;
    for read in [table("t"), query("SELECT * FROM t"), query("SELECT id, d, u FROM t WHERE 1 = 2")] {
        let (schema, batches) = batches(&source, &read, limits(10, 10)).await.expect("no rows");
        assert!(batches.is_empty());
        let types: Vec<_> = schema.columns().iter().map(|column| column.data_type.clone()).collect();
        assert_eq!(types, [DataType::Int64, DataType::Decimal128(5, 1), DataType::Utf8]);
    }
}

#[tokio::test]
async fn columns_are_not_nullable_only_where_sqlite_promises_it() {
    let (_scratch, source) = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT, c BLOB UNIQUE);
         CREATE TABLE quirk (id INTEGER PRIMARY KEY DESC, a INT);
         CREATE TABLE text_key (id TEXT PRIMARY KEY);
         CREATE TABLE pair (a INTEGER, b INTEGER, PRIMARY KEY (a, b));
         CREATE TABLE keyed (id TEXT PRIMARY KEY, a INT) WITHOUT ROWID;
         CREATE VIEW v AS SELECT t.id, t.a FROM quirk LEFT JOIN t ON t.id = quirk.a;
         INSERT INTO quirk VALUES (NULL, 99);
         INSERT INTO text_key VALUES (NULL);
         INSERT INTO pair VALUES (NULL, NULL);",
    )
    .await;
    for (read, nullable) in [
        (table("t"), vec![false, false, true, true]),
        (table("main.t"), vec![false, false, true, true]),
        (table("T"), vec![false, false, true, true]),
        (query("SELECT * FROM t"), vec![true, true, true, true]),
        (table("quirk"), vec![true, true]),
        (table("text_key"), vec![true]),
        (table("pair"), vec![true, true]),
        (table("keyed"), vec![false, true]),
    ] {
        let batch = rows(&source, &read).await;
        let found: Vec<bool> = batch.schema().fields().iter().map(|field| field.is_nullable()).collect();
        assert_eq!(found, nullable, "{read:?}");
    }
    let batch = rows(&source, &table("v")).await;
    assert_eq!(batch.num_rows(), 1);
    assert!(batch.schema().fields().iter().all(|field| field.is_nullable()));
    assert!(batch.column(0).is_null(0));
}
