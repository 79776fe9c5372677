//! Names, number and nullability of columns.

use super::*;

#[tokio::test]
async fn an_empty_string_is_not_null() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let sql = "SELECT * FROM (VALUES ('', ''::bytea, '{}'::text[]), (NULL, NULL, NULL)) AS v (t, b, a)";
    let found = transfer(&source(&database), &query(sql), 1).await.expect("a result");
    for (name, empty) in [("t", ""), ("b", "\\x"), ("a", "[]")] {
        assert_eq!(column(&found.rows, name), [Some(empty.to_owned()), None]);
    }
}

#[tokio::test]
async fn a_result_needs_columns_with_names_of_their_own() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database.execute("CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES").await;
    let source = source(&database);
    for (query, expected) in [
        (query("SELECT FROM pg_class"), "no columns"),
        (table("nothing"), "no columns"),
        (query("SELECT 1, 2"), "`?column?`"),
        (query("SELECT 1 AS a, 2 AS b, 3 AS a"), "`a`"),
        (query("SELECT * FROM (SELECT 1 AS a) AS x, (SELECT 2 AS a) AS y"), "`a`"),
    ] {
        let fault = refused(&source, &query, 1).await;
        assert_eq!(fault.kind(), FaultKind::Request, "{query:?}");
        assert!(fault.to_string().contains(expected), "{query:?}: {fault}");
        assert!(fault.hint().is_some(), "{query:?}");
    }
    let one =
        transfer(&source, &query("SELECT 1"), 1).await.expect("one column without a name is no trouble");
    assert_eq!(column(&one.rows, "?column?"), [Some("1".to_owned())]);
}

#[tokio::test]
async fn column_names_are_kept_whatever_they_are() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let names = [
        "Upper",
        "with space",
        "quote\"d",
        "it's",
        "a.b",
        "back\\slash",
        "ä 日本 👍",
        "select",
        "c1",
        "$1",
        "%s",
        "a\nb",
        ";--",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    // Half of them are cast to text on the server.
    let columns: Vec<String> = (0..)
        .zip(names)
        .map(|(number, name)| {
            format!("{} {}", quoted(name), if number % 2 == 0 { "integer" } else { "inet" })
        })
        .collect();
    let values: Vec<&str> =
        (0..names.len()).map(|number| if number % 2 == 0 { "7" } else { "'::1'" }).collect();
    database
        .execute(&format!(
            "CREATE TABLE \"odd \"\"table\" ({}); INSERT INTO \"odd \"\"table\" VALUES ({})",
            columns.join(", "),
            values.join(", ")
        ))
        .await;
    let source = source(&database);
    for query in [table("\"odd \"\"table\""), query("SELECT * FROM \"odd \"\"table\"")] {
        let found = transfer(&source, &query, 1).await.expect("a result");
        let schema = found.rows.schema();
        let found_names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(found_names, names);
        assert_eq!(column(&found.rows, "quote\"d"), [Some("7".to_owned())]);
        assert_eq!(column(&found.rows, "it's"), [Some("::1/128".to_owned())]);
    }
}

#[tokio::test]
async fn a_table_of_1600_columns_is_read() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    let columns: Vec<String> = (1..=1600)
        .map(|number| format!("column_{number} {}", ["smallint", "boolean", "inet"][number % 3]))
        .collect();
    let values: Vec<&str> = (1..=1600).map(|number| ["7", "true", "NULL"][number % 3]).collect();
    database
        .execute(&format!(
            "CREATE TABLE wide ({}); INSERT INTO wide VALUES ({values}), ({values})",
            columns.join(", "),
            values = values.join(", ")
        ))
        .await;
    let found = transfer(&source(&database), &table("wide"), 1).await.expect("a result");
    assert_eq!((found.rows.num_columns(), found.rows.num_rows()), (1600, 2));
    assert_eq!(column(&found.rows, "column_1600"), [Some("true".to_owned()), Some("true".to_owned())]);
    assert_eq!(column(&found.rows, "column_1598"), [None, None]);
}

#[tokio::test]
async fn nullability_is_that_of_the_table() {
    let Some(server) = postgres::server_if_installed().await else { return };
    let database = server.create_database().await;
    database
        .execute(
            "CREATE TABLE guarded (id integer PRIMARY KEY, network inet NOT NULL, remark text);\
             INSERT INTO guarded VALUES (1, '::1', NULL);\
             CREATE VIEW seen AS SELECT * FROM guarded; CREATE TABLE parent (id integer NOT NULL);\
             CREATE TABLE child () INHERITS (parent); ALTER TABLE child ALTER id DROP NOT NULL",
        )
        .await;
    let nullable = async |configuration: PostgresSource, query| {
        let found = transfer(&open(configuration), &query, 1).await.expect("a result");
        found.rows.schema().fields().iter().map(|field| field.is_nullable()).collect::<Vec<_>>()
    };
    let default = configuration(&database.url());
    assert_eq!(nullable(default.clone(), table("guarded")).await, [false, false, true]);
    assert_eq!(nullable(default.clone(), table("seen")).await, [true, true, true]);
    assert_eq!(nullable(default.clone(), query("SELECT * FROM guarded")).await, [true, true, true]);
    let with_null = PostgresSource { special_values: SpecialValues::Null, ..default };
    assert_eq!(nullable(with_null, table("guarded")).await, [true, true, true]);
}
