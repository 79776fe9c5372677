//! The source `sqlserver`.

use super::*;

fn sqlserver(lines: &str) -> SqlServerSource {
    let text = format!("[connections.source.sqlserver]\ndatabase = \"d\"\n{lines}");
    let config = good(&text);
    let SourceConnection::SqlServer(source) = &config.sources["sqlserver"] else { panic!("{config:?}") };
    source.clone()
}

#[test]
fn sql_server_knows_the_spellings_of_other_tools() {
    let login = "username = \"u\"\n";
    for (line, encryption) in [
        ("", SqlServerEncryption::Mandatory),
        ("encrypt = true", SqlServerEncryption::Mandatory),
        ("Encrypt = \"yes\"", SqlServerEncryption::Mandatory),
        ("encrypt = \"Mandatory\"", SqlServerEncryption::Mandatory),
        ("encrypt = false", SqlServerEncryption::Optional),
        ("encrypt = \"no\"", SqlServerEncryption::Optional),
        ("encrypt = \"strict\"", SqlServerEncryption::Strict),
    ] {
        assert_eq!(sqlserver(&format!("{login}{line}")).encryption, encryption, "{line}");
    }
    for line in [
        "trustServerCertificate = true",
        "trust_server_certificate = \"yes\"",
        "TrustServerCertificate = \"True\"",
    ] {
        assert!(sqlserver(&format!("{login}{line}")).trusts_any_certificate, "{line}");
    }
    assert!(!sqlserver(login).trusts_any_certificate, "certificates are checked by default");
    for line in ["instanceName = \"SALES\"", "host = 'db\\SALES'"] {
        assert_eq!(sqlserver(&format!("{login}{line}")).instance.as_deref(), Some("SALES"), "{line}");
    }
    assert!(sqlserver(&format!("{login}applicationIntent = \"ReadOnly\"")).reads_only);
    let limits =
        sqlserver(&format!("{login}queryTimeout = 60\nstatement_timeout = \"2m\"\nloginTimeout = 5"));
    assert_eq!(limits.statement_timeout, Some(Duration::from_secs(60)));
    assert_eq!(limits.connect_timeout, Duration::from_secs(5));
    assert_eq!(sqlserver(&format!("{login}queryTimeout = 0")).statement_timeout, None);
    let hint = sqlserver(&format!("{login}table_hint = \"nolock, forcescan\"")).table_hint;
    assert_eq!(hint.as_deref(), Some("NOLOCK, FORCESCAN"));
    assert_eq!(sqlserver(&format!("{login}longest_row = \"1 MiB\"")).longest_row.get(), 1 << 20);
    for (lines, undoes) in [
        ("", false),
        ("table_hint = \"FORCESCAN, TABLOCK\"", false),
        ("table_hint = \"forcescan, holdlock\"", true),
    ] {
        assert_eq!(sqlserver(&format!("{login}{lines}")).hint_undoes_snapshots(), undoes, "{lines}");
    }
    let warned = |lines: &str| {
        let text = format!("[connections.source.sqlserver]\ndatabase = \"d\"\n{login}{lines}");
        warnings(&text).iter().any(|warning| warning.contains("undoes snapshots"))
    };
    assert!(warned("table_hint = \"NOLOCK\""));
    assert!(!warned("table_hint = \"NOLOCK\"\nconsistency = \"serial\"") && !warned(""));
    for authority in ["http://localhost:8080", "http://127.0.0.1", "http://[::1]/", "https://login.example"] {
        let lines = "client_id = \"c\"\nclient_secret = \"s\"\ntenant_id = \"t\"";
        sqlserver(&format!("{lines}\nauthority = \"{authority}\""));
    }
}

#[test]
fn sql_server_has_several_ways_to_log_in_and_says_which_one_is_missing() {
    let principal = SqlServerLogin::ServicePrincipal {
        authority: "https://login.microsoftonline.com".into(),
        tenant_id: "t".into(),
        client_id: "c".into(),
        client_secret: Secret::new("s"),
    };
    assert_eq!(sqlserver("tenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = \"s\"").login, principal);
    let jdbc = "authentication = \"ActiveDirectoryServicePrincipal\"\nusername = \"c\"\npassword = \"s\"\ntenant_id = \"t\"";
    assert_eq!(sqlserver(jdbc).login, principal);
    assert_eq!(sqlserver("access_token = \"t\"").login, SqlServerLogin::Token(Secret::new("t")));
    for (lines, expected) in [
        ("", "username is missing"),
        ("client_id = \"c\"", "client_secret is missing"),
        ("username = \"u\"\nservice_principal = \"db.example.com\"", "service_principal"),
        ("username = \"u\"\ntable_hint = \"UPDLOCK\"", "table_hint"),
        ("username = \"u\"\ntable_hint = \"READPAST\"", "nor skip rows (READPAST)"),
        (
            "client_id = \"c\"\nclient_secret = \"s\"\ntenant_id = \"t\"\nauthority = \"http://login.example\"",
            "authority is no URL of https",
        ),
        ("username = \"u\"\nauthentication = \"ActiveDirectoryInteractive\"", "authentication"),
        ("client_id = \"c\"\nclient_secret = \"s\"\ntenant_id = \"t\"\nauthority = \"x\"", "authority"),
    ] {
        let problems = bad(&format!("[connections.source.sqlserver]\ndatabase = \"d\"\n{lines}"));
        assert!(problems.contains(expected), "{lines}: {problems}");
    }
}

#[test]
fn kerberos_is_there_in_a_build_that_has_it_and_another_says_how_to_get_it() {
    for line in ["trusted_connection = \"yes\"", "integratedSecurity = true"] {
        let named = format!("{line}\nusername = \"agent@REALM\"\nserverSpn = \"MSSQLSvc/db:1433\"");
        if !cfg!(feature = "kerberos") {
            let problems = bad(&format!("[connections.source.sqlserver]\ndatabase = \"d\"\n{named}"));
            let expected = "this build has none; build it with --features kerberos (needs MIT Kerberos)";
            assert!(problems.contains(expected), "{line}: {problems}");
            continue;
        }
        let login = SqlServerLogin::Kerberos { principal: None, service_principal: None };
        assert_eq!(sqlserver(line).login, login, "no name is needed");
        let login = SqlServerLogin::Kerberos {
            principal: Some("agent@REALM".into()),
            service_principal: Some("MSSQLSvc/db:1433".into()),
        };
        assert_eq!(sqlserver(&named).login, login);
    }
}

#[test]
fn what_kerberos_does_not_use_is_said() {
    let section = "[connections.source.sqlserver]\ndatabase = \"d\"\nusername = \"u\"\n";
    let warned = warnings(&format!("{section}service_principal = \"MSSQLSvc/db\""));
    assert!(warned[0].contains("is not used without `trusted_connection`"), "{warned:?}");
    if cfg!(feature = "kerberos") {
        let warned = warnings(&format!("{section}password = \"p\"\ntrusted_connection = true"));
        assert!(warned[0].contains("asks for Kerberos"), "{warned:?}");
    }
}
