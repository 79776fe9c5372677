//! The kinds of ODBC, as far as they are proven without a driver.

use super::postgresql::postgresql;
use super::*;
use crate::config::prove::prove_odbc;
use crate::config::report::Report;
use crate::config::{OdbcConsistency, OdbcLongValues, OdbcSource, OdbcText, SqlDialect};

/// What a section becomes, whether this build has ODBC or not; or the problems.
fn proven(kind: &str, lines: &str) -> Result<OdbcSource, String> {
    let environment = environment();
    let mut report = Report::new(&environment);
    let value = ::config::Value::new(None, parsed_toml(lines));
    let source = prove_odbc(&mut report, "connections.source.x", kind, value);
    let (problems, _) = report.finish();
    match (source, problems.0.is_empty()) {
        (Some(source), true) => Ok(source),
        _ => Err(problems.to_string()),
    }
}

#[track_caller]
fn built(kind: &str, lines: &str) -> String {
    let source = proven(kind, lines).unwrap_or_else(|problems| panic!("{lines}\n{problems}"));
    source.connection.build().expose().to_owned()
}

#[track_caller]
fn problems(kind: &str, lines: &str) -> String {
    proven(kind, lines).expect_err(lines)
}

#[test]
fn a_build_without_odbc_says_so_and_is_no_stranger_to_the_kinds() {
    for (kind, lines) in [
        ("odbc", "dsn = \"d\""),
        ("teradata", ""),
        ("oracle", "service_name = \"s\""),
        ("db2", "database = \"d\""),
        ("redshift", "host = \"h\"\ndatabase = \"d\""),
    ] {
        let text = format!("[connections.source.x]\nkind = {kind:?}\n{lines}\n");
        let config = good(&text);
        if cfg!(feature = "odbc") {
            assert!(matches!(config.sources["x"], SourceConnection::Odbc(_)), "{kind}");
            continue;
        }
        assert!(config.sources.is_empty());
        assert_eq!(config.unavailable[0].section, "connections.source.x");
        assert!(config.unavailable[0].reason.contains("--features odbc"), "{:?}", config.unavailable);
        let warned = warnings(&text);
        assert!(warned[0].contains("this build has no ODBC; build it with --features odbc"), "{warned:?}");
    }
    // A wrong key is wrong in every build.
    assert!(bad("[connections.source.teradata]\nlogmec = \"LDAP\"").contains("Did you mean logmech?"));
}

#[test]
fn presets_build_connection_strings() {
    for (kind, lines, expected) in [
        (
            "odbc",
            "connection_string = \"DSN=a;UID=b\"\nusername = \"c\"\npassword = \"x;y}z\"",
            "DSN=a;UID=b;PWD={x;y}}z};",
        ),
        (
            "odbc",
            "driver = \"A B\"\n[attributes]\nServer = \"h\"\nPort = 1\nTls = true",
            "Driver={A B};Port=1;Server=h;Tls=1;",
        ),
        (
            "teradata",
            "username = \"u\"\npassword = \"p{;}\"\ndatabase = \"d\"\nlogmech = \"LDAP\"\nlogdata = \"a=b\"\n\
             session_charset = \"UTF16\"\nsession_mode = \"teradata\"\nsslmode = \"REQUIRE\"",
            "Driver={Teradata Database ODBC Driver 20.00};DBCName=localhost;TdmstPortNumber=1025;DefaultDatabase=d;\
             MechanismName=LDAP;MechanismKey={a=b};UID=u;PWD={p{;}}};CharacterSet=UTF16;SessionMode=Teradata;SSLMode=REQUIRE;",
        ),
        (
            "oracle",
            "host = \"db\"\nservice_name = \"erp\"\nusername = \"u\"\npassword = \"p\"",
            "Driver={Oracle 21 ODBC driver};UID=u;PWD=p;DBQ=//db:1521/erp;DBA=R;QTO=T;APA=T;NUM=US;",
        ),
        (
            "oracle",
            "driver = \"/opt/o.so\"\nconnect_identifier = \"(DESCRIPTION=(A=b))\"\nattributes = { NUM = \"NLS\" }",
            "Driver=/opt/o.so;DBQ={(DESCRIPTION=(A=b))};DBA=R;QTO=T;APA=T;NUM=US;",
        ),
        (
            "db2",
            "host = \"db\"\ndatabase = \"S\"\nschema = \"CRM\"\nssl = true\nssl_ca = \"/ca.arm\"",
            "Driver=DB2;Hostname=db;Port=50000;Protocol=TCPIP;CurrentSchema=CRM;Security=SSL;\
             SSLServerCertificate=/ca.arm;Database=S;ClientApplName=data-exchange-agent;",
        ),
        (
            "redshift",
            "host = \"c\"\ndatabase = \"d\"\nusername = \"u\"",
            "Driver={Amazon Redshift (x64)};UID=u;SSLMode=verify-ca;Port=5439;UseDeclareFetch=1;Fetch=8192;\
             BoolsAsChar=0;Server=c;Database=d;",
        ),
    ] {
        assert_eq!(built(kind, lines), expected, "{kind}");
    }
}

#[test]
fn choices_are_read() {
    let source = proven(
        "odbc",
        "dsn = \"d\"\ndialect = \"oracle\"\nconsistency = \"independent\"\ntext = \"utf8\"\nlong_values = \"pieces\"\n\
         statement_timeout = \"2h\"\nconnectTimeout = 3\napplication_name = \"night\"",
    )
    .expect("right");
    assert_eq!(source.dialect, Some(SqlDialect::Oracle));
    assert_eq!(
        (source.consistency, source.text, source.long_values),
        (OdbcConsistency::Independent, OdbcText::Utf8, OdbcLongValues::Pieces)
    );
    assert_eq!(source.statement_timeout, Some(Duration::from_secs(7200)));
    assert_eq!(source.connect_timeout, Duration::from_secs(3));
    assert_eq!(source.application_name, "night");
    assert_eq!(
        proven("teradata", "query_band = \"a=b; c=d\"").expect("right").query_band.as_deref(),
        Some("a=b;c=d;")
    );
}

#[test]
fn what_is_missing_or_malformed_is_said_and_no_secret_is() {
    for (kind, lines, expected) in [
        ("odbc", "username = \"u\"", "connection_string is missing: nothing says which driver to use"),
        (
            "odbc",
            "connection_string = \"PWD={hunter2\"",
            "connection_string is no connection string: a brace is not closed",
        ),
        (
            "odbc",
            "connection_string = \"hunter2\"",
            "connection_string is no connection string: an attribute has no `=`",
        ),
        ("odbc", "dsn = \"d\"\ndialect = \"sybase\"", "dialect is the string \"sybase\"; expected one of"),
        ("odbc", "dsn = \"d\"\nattributes = { \"a;b\" = \"hunter2\" }", "is no name of an attribute"),
        ("odbc", "dsn = \"d\"\nattributes = { a = 1.5 }", "attributes.a is a float; expected a text"),
        ("teradata", "host = \"a\"\ndbc_name = \"b\"", "dbc_name says the same as `host`"),
        ("teradata", "query_band = \"night\"", "query_band is the string"),
        ("oracle", "", "service_name is missing"),
        (
            "oracle",
            "service_name = \"a\"\nconnect_identifier = \"b\"",
            "connect_identifier says the same as `service_name`",
        ),
        ("db2", "", "database is missing"),
        ("redshift", "", "host is missing"),
    ] {
        let found = problems(kind, lines);
        assert!(found.contains(expected) && !found.contains("hunter2"), "{lines}: {found}");
    }
    let found = bad(
        "[connections.source.postgresql]\ndatabase = \"d\"\nusername = \"u\"\nodbc_connection_string = \"x\"",
    );
    assert!(found.contains("odbc_connection_string is no connection string"), "{found}");
}

#[test]
fn drivers_that_keep_whole_results_in_memory_are_warned_of() {
    let warned = |string: &str| {
        let environment = environment();
        let mut report = Report::new(&environment);
        let tree = raw::Table::from([("connection_string".to_owned(), ::config::Value::new(None, string))]);
        prove_odbc(&mut report, "connections.source.x", "odbc", ::config::Value::new(None, tree))
            .expect("right");
        report.finish().1.len()
    };
    for (string, expected) in [
        ("Driver={PostgreSQL Unicode}", 1),
        ("Driver=/usr/lib/psqlodbcw.so;UseDeclareFetch=0", 1),
        ("Driver=/usr/lib/psqlodbcw.so;usedeclarefetch=1", 0),
        ("Driver=libmaodbc.so", 1),
        // It knows no such attribute.
        ("Driver={MariaDB Unicode};NO_CACHE=1", 1),
        ("Driver={MySQL ODBC 9.0 Unicode Driver}", 0),
        ("DSN=x", 0),
    ] {
        assert_eq!(warned(string), expected, "{string}");
    }
    // The other side of a connection with an adapter of its own.
    let found = warnings(
        "[connections.source.postgresql]\ndatabase = \"d\"\nusername = \"u\"\n\
         odbc_connection_string = \"Driver={PostgreSQL Unicode}\"",
    );
    assert!(found.iter().any(|warning| warning.contains("odbc_connection_string names")), "{found:?}");
}

#[test]
fn connections_with_an_adapter_of_their_own_have_an_odbc_side_when_it_is_written() {
    let source = postgresql("odbc_connection_string = \"DSN=sales;PWD=hunter2\"\nstatement_timeout = \"1h\"");
    assert!(!format!("{source:?}").contains("hunter2"));
    let odbc = SourceConnection::Postgres(source).odbc().expect("it was written");
    assert_eq!(odbc.connection.get("DSN"), Some("sales"));
    assert_eq!(
        (odbc.dialect, odbc.statement_timeout),
        (Some(SqlDialect::PostgreSql), Some(Duration::from_secs(3600)))
    );
    assert_eq!(SourceConnection::Postgres(postgresql("")).odbc(), None);
}
