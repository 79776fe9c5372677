//! Connections of ODBC in a configuration: presets, data sources, drivers that are missing, and the program that reads
//! through them.

use data_exchange_agent::agent;
use data_exchange_agent::config::{
    ConnectionString, Environment, OdbcSource, Overrides, PostgresSource, SourceConnection, SqlDialect,
};
use data_exchange_agent::fault::FaultKind;
use data_exchange_agent::source::Source;

use crate::support::agent::{Place, files_below};
use crate::support::document::blocks;
use crate::support::extraction::{self, column, query, read};
use crate::support::odbc::{self, Driver, data_source, open, registered};
use crate::support::postgres;

#[tokio::test]
async fn an_unknown_driver_is_named_with_those_that_are_there() {
    let folder = crate::support::folder::Folder::new();
    let missing = |text: &str| open(OdbcSource::new(ConnectionString::parse(text).expect("right"), None));
    let fault = missing("Driver={No Such Driver};PWD=hunter2").check().await.expect_err("no such driver");
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    assert!(
        fault.chain().contains("No Such Driver") && fault.chain().contains("odbcinst.ini"),
        "{}",
        fault.chain()
    );
    assert!(fault.hint().is_some_and(|hint| hint.contains("odbcinst -q -d")), "{fault:?}");
    let library = folder.path().join("nothing.so");
    let fault = missing(&format!("Driver={}", library.display())).check().await.expect_err("no such file");
    assert!(fault.chain().contains("nothing.so") && fault.hint().is_some(), "{}", fault.chain());
    // A file that is no library.
    std::fs::write(&library, "no library").expect("write");
    let fault = missing(&format!("Driver={}", library.display())).check().await.expect_err("no library");
    assert_eq!(fault.kind(), FaultKind::Request, "{}", fault.chain());
    let fault = missing("DSN=no_such_dsn").check().await.expect_err("no such data source");
    assert!(fault.chain().contains("IM002"), "{}", fault.chain());
}

#[tokio::test]
async fn a_connection_of_another_kind_is_read_through_odbc_by_its_connection_string() {
    let database = postgres::server().await.create_database().await;
    let Some(string) = odbc::postgres_connection(&database) else { return };
    let native =
        PostgresSource { odbc_connection: Some(string), ..extraction::configuration(&database.url()) };
    let source = agent::odbc_source(&SourceConnection::Postgres(native.clone())).expect("there is one");
    let found = read(&*source, &query("SELECT 1 AS one"), 1).await.expect("one row");
    assert_eq!(column(&found, "one"), [Some("1".to_owned())]);
    let without = PostgresSource { odbc_connection: None, ..native };
    let fault = agent::odbc_source(&SourceConnection::Postgres(without)).err().expect("there is none");
    assert!(fault.hint().is_some_and(|hint| hint.contains("odbc_connection_string")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_reads_through_a_preset_and_says_which_driver_is_missing() {
    let database = postgres::server().await.create_database().await;
    let Some(library) = Driver::PostgreSql.library() else { return };
    database
        .execute("CREATE TABLE orders AS SELECT i AS id, 'x' AS name FROM generate_series(1, 1000) AS i")
        .await;
    let native = extraction::configuration(&database.url());
    let section = |driver: &str| {
        format!(
            "kind = \"redshift\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = {:?}\nusername = {:?}\n\
             password = \"hunter2\"\nsslmode = \"disable\"\ndriver = {driver:?}\n",
            native.port, native.database, native.username
        )
    };
    let place = Place::new().connection("source.sales", &section(Driver::PostgreSql.name()));
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let folder = place.path().display().to_string();
    let variables = [("ODBCSYSINI", folder.as_str())];
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");

    let finished =
        place.run_with(&["check", "--config", configuration, "--without-writing"], &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let arguments = [
        "extract",
        "--config",
        configuration,
        "--source",
        "sales",
        "--query",
        "SELECT id, name FROM orders",
        "--to",
        "local",
        "--path",
        "orders",
    ];
    let finished = place.run_with(&arguments, &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(files_below(&place.output()).len(), 1, "{finished:?}");

    let place = Place::new().connection("source.sales", &section("Amazon Redshift (x64)"));
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let folder = place.path().display().to_string();
    let configuration = place.configuration();
    let arguments = ["check", "--config", configuration.to_str().expect("plain"), "--without-writing"];
    let finished = place.run_with(&arguments, &[("ODBCSYSINI", &folder)]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for expected in ["Amazon Redshift (x64)", "PostgreSQL Unicode", "odbcinst -q -d"] {
        assert!(finished.stdout.contains(expected), "{expected}: {}", finished.stdout);
    }
    assert!(!finished.stdout.contains("hunter2"), "{}", finished.stdout);
}

/// Where the database is stands in `odbc.ini` alone, who reads it in the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_reads_through_a_data_source_of_the_driver_manager() {
    let database = postgres::server().await.create_database().await;
    let Some(library) = Driver::PostgreSql.library() else { return };
    database
        .execute("CREATE TABLE orders AS SELECT i AS id, 'größe' AS name FROM generate_series(1, 1000) AS i")
        .await;
    let native = extraction::configuration(&database.url());
    // The driver turns narrow texts into the character set of the locale, and nobody has set one for the program.
    let section =
        format!("kind = \"odbc\"\ndsn = \"sales\"\nusername = {:?}\ntext = \"utf8\"\n", native.username);
    let place = Place::new().connection("source.shop", &section);
    registered(place.path(), &[(Driver::PostgreSql.name(), &library)]);
    let (folder, port) = (place.path().display().to_string(), native.port.to_string());
    let attributes = [
        ("Driver", Driver::PostgreSql.name()),
        ("Servername", "127.0.0.1"),
        ("Port", port.as_str()),
        ("Database", native.database.as_str()),
        ("UseDeclareFetch", "1"),
    ];
    data_source(place.path(), "sales", &attributes);
    let variables = [("ODBCSYSINI", folder.as_str())];
    let configuration = place.configuration();
    let configuration = configuration.to_str().expect("plain");
    let arguments = |path: &'static str| {
        let sql = "SELECT id, name FROM orders WHERE id > 990";
        [
            "extract",
            "--config",
            configuration,
            "--source",
            "shop",
            "--query",
            sql,
            "--to",
            "local",
            "--path",
            path,
            "--json",
        ]
    };
    let finished = place.run_with(&arguments("orders"), &variables).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let receipt: serde_json::Value = serde_json::from_str(&finished.stdout).expect("a receipt");
    assert_eq!(receipt["rows"], 10, "{finished:?}");
    assert_eq!(files_below(&place.output()).len(), 1, "{finished:?}");

    // The name means nothing where nobody has registered it.
    data_source(place.path(), "other", &attributes);
    let finished = place.run_with(&arguments("again"), &variables).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("IM002"), "{finished:?}");
}

#[test]
fn the_sections_of_the_documentation_build_these_connection_strings() {
    let environment = Environment::of([("SALES_PASSWORD", "p;w}d")]).with_home("/home/agent");
    let documented = blocks(include_str!("../../docs/ODBC.md"));
    let documented = documented.iter().find(|block| block.language() == "toml").expect("it has an example");
    // The secret of the environment, and what the example leaves at its default.
    let text = documented
        .text
        .replace("${file:/run/secrets/sales}", "${env:SALES_PASSWORD}")
        .replace("query_band =", "locking_row_for_access = true\nquery_band =")
        + "[connections.source.dwh.attributes]\nMaxRespSize = 1048576\n";
    let (config, _) = data_exchange_agent::config::parse(&text, "text", &Overrides::default(), &environment)
        .expect("right");
    let SourceConnection::Odbc(vendor) = &config.sources["vendor"] else { panic!("{config:?}") };
    assert_eq!(
        vendor.connection.build().expose(),
        "Driver=Informix;Server=ol_prod;Database=stores;UID=reader;PWD={p;w}}d};"
    );
    assert_eq!(vendor.dialect, Some(SqlDialect::Ansi));
    let SourceConnection::Odbc(source) = &config.sources["dwh"] else { panic!("{config:?}") };
    assert_eq!(
        source.connection.build().expose(),
        "Driver={Teradata Database ODBC Driver 20.00};DBCName=td.example.com;TdmstPortNumber=1025;\
         DefaultDatabase=sales;MechanismName=LDAP;UID=etl;PWD={p;w}}d};CharacterSet=UTF8;MaxRespSize=1048576;"
    );
    assert_eq!((source.query_band.as_deref(), source.reads_uncommitted_rows), (Some("Group=night;"), true));
}
