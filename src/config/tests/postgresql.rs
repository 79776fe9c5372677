//! The source `postgresql`, and the driver options that stand beside its keys.

use super::*;

const POSTGRESQL: &str =
    "[connections.source.postgresql]\ndatabase = \"sales\"\nusername = \"reader\"\npassword = \"pw\"\n";

#[track_caller]
pub(super) fn postgresql(lines: &str) -> PostgresSource {
    match good(&format!("{POSTGRESQL}{lines}")).sources.remove("postgresql") {
        Some(SourceConnection::Postgres(source)) => source,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad_postgresql(line: &str) -> String {
    bad(&format!("{POSTGRESQL}{line}\n")).replace("configuration.toml:5: connections.source.postgresql.", "")
}

#[test]
fn postgresql_is_proven() {
    let source = postgresql(
        "host = \"/var/run/postgresql\"\nport = 6432\nstatement_timeout = \"2h\"\nspecial_values = \"null\"\n",
    );
    assert_eq!((source.host.as_str(), source.port), ("/var/run/postgresql", 6432));
    assert_eq!(source.statement_timeout, Some(Duration::from_secs(7200)));
    assert_eq!(source.special_values, SpecialValues::Null);
    assert_eq!(source.application_name, "data-exchange-agent");
    assert_eq!(source.connect_timeout, Duration::from_secs(10));
    for (word, expected) in [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ] {
        assert_eq!(postgresql(&format!("sslmode = \"{word}\"")).ssl_mode, expected, "{word}");
    }
    for (word, expected) in [
        ("text", NumericPolicy::Text),
        ("double", NumericPolicy::Double),
        ("decimal(38,10)", NumericPolicy::Decimal { precision: 38, scale: 10 }),
        ("decimal(76, 76)", NumericPolicy::Decimal { precision: 76, scale: 76 }),
        ("decimal(1,0)", NumericPolicy::Decimal { precision: 1, scale: 0 }),
    ] {
        assert_eq!(postgresql(&format!("numeric = \"{word}\"")).numeric, expected, "{word}");
    }
    for word in
        ["decimal", "decimal(38)", "decimal(0,0)", "decimal(77,0)", "decimal(5,6)", "decimal(5,-1)", "float"]
    {
        let problem = bad_postgresql(&format!("numeric = \"{word}\""));
        assert!(
            problem.starts_with(&format!("numeric is the string \"{word}\"; expected \"text\", ")),
            "{problem}"
        );
    }
    for (line, expected) in [
        ("port = 0", "port is 0; expected an integer from 1 to 65535"),
        (
            "sslmode = \"on\"",
            "sslmode is the string \"on\"; expected one of \"disable\", \"allow\", \"prefer\", \"require\", \
             \"verify-ca\", \"verify-full\"",
        ),
        (
            "special_values = \"nan\"",
            "special_values is the string \"nan\"; expected one of \"error\", \"null\"",
        ),
        ("ssl = \"yes\"", "ssl is the string \"yes\"; expected true or false"),
        (
            "statement_timeout = 0",
            "statement_timeout is 0; expected a duration from 1s to 30d, in seconds or as a text like \"90s\", \
             \"5m\", \"2h\"",
        ),
        (
            "connectTimeout = -1",
            "connectTimeout is -1; expected a duration from 0s to 1h, in seconds or as a text like \"90s\", \
             \"5m\", \"2h\"",
        ),
    ] {
        assert_eq!(bad_postgresql(line), expected);
    }
    assert_eq!(
        bad("[connections.source.postgresql]\nport = 5432"),
        "configuration.toml:1: connections.source.postgresql.database is missing. Add database to the section.\n\
         configuration.toml:1: connections.source.postgresql.username is missing. Add username to the section."
    );
}

#[test]
fn driver_options_are_known_in_every_spelling_and_place() {
    let plain = postgresql("");
    let expected = PostgresSource {
        ssl_mode: SslMode::VerifyCa,
        ssl_root_certificate: Some("/ca.pem".into()),
        application_name: "etl".into(),
        search_path: Some("crm,public".into()),
        connect_timeout: Duration::from_secs(3),
        ..plain.clone()
    };
    for lines in [
        "sslMode = \"require\"\nsslRootCert = \"/ca.pem\"\nApplicationName = \"etl\"\n\
         currentSchema = \"crm,public\"\nloginTimeout = 5\nconnectTimeout = 3\n",
        "ssl_mode = \"require\"\nssl_root_cert = \"/ca.pem\"\napplication_name = \"etl\"\n\
         current_schema = \"crm,public\"\nlogin_timeout = 3\nconnect_timeout = 5\n",
        "[connections.source.postgresql.options]\nsslmode = \"require\"\nsslrootcert = \"/ca.pem\"\n\
         applicationName = \"etl\"\nsearch_path = \"crm,public\"\nlogin_timeout = 3\n",
    ] {
        assert_eq!(postgresql(lines), expected, "{lines}");
    }
    assert_eq!(postgresql("ssl = true").ssl_mode, SslMode::VerifyFull);
    assert_eq!(postgresql("ssl = false").ssl_mode, SslMode::Prefer);
    assert_eq!(postgresql("ssl = true\nsslmode = \"require\"").ssl_mode, SslMode::Require);
    assert_eq!(postgresql("connect_timeout = 0").connect_timeout, Duration::from_secs(3600));
    for lines in ["trustServerCertificate = true", "trust_server_certificate = true", "instanceName = \"x\""]
    {
        assert_eq!(postgresql(lines), plain, "{lines}");
        let warned = warnings(&format!("{POSTGRESQL}{lines}"));
        assert!(warned[0].ends_with("is a driver option that this version does not use"), "{warned:?}");
    }
}

#[test]
fn an_option_that_is_given_twice_or_misspelled_is_a_problem() {
    let twice = bad_postgresql("sslmode = \"require\"\nsslMode = \"prefer\"");
    assert_eq!(
        twice,
        "sslmode is given twice, as connections.source.postgresql.sslMode too. Keep one of them."
    );
    assert_eq!(
        bad_postgresql("options = { sslmod = \"require\" }"),
        "options.sslmod is not a known key. Did you mean sslmode?"
    );
    assert_eq!(bad_postgresql("passwort = \"x\""), "passwort is not a known key. Did you mean password?");
    assert_eq!(
        bad_postgresql("options = \"-c geqo=off\""),
        "options is a string; expected a table. Write it as a section: [connections.source.postgresql.options]."
    );
    assert!(
        bad_postgresql("options = { password = \"x\" }").starts_with("options.password is not a known key")
    );
}

#[test]
fn an_empty_password_is_none_unless_a_reference_promised_one() {
    let section = "[connections.source.postgresql]\ndatabase = \"d\"\nusername = \"u\"\n";
    let environment = Environment::of([("EMPTY", "")]).with_home("/");
    let (config, _) = parse_in(&format!("{section}password = \"\""), &environment).unwrap();
    let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{config:?}") };
    assert_eq!(source.password, None);
    let problems = parse_in(&format!("{section}password = \"${{env:EMPTY}}\""), &environment).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "configuration.toml:4: connections.source.postgresql.password is what ${env:EMPTY} stands for, \
         and that is empty"
    );
}

#[test]
fn a_root_certificate_is_asked_for_or_warned_of() {
    let tls = |lines: &str| {
        let source = postgresql(lines);
        (source.ssl_mode, source.ssl_root_certificate.is_some())
    };
    let certificate = "sslrootcert = \"/ca.pem\"";
    assert_eq!(tls(&format!("{certificate}\nsslmode = \"require\"")), (SslMode::VerifyCa, true));
    assert_eq!(tls(&format!("{certificate}\nsslmode = \"verify-full\"")), (SslMode::VerifyFull, true));
    assert_eq!(tls(&format!("{certificate}\nssl = true")), (SslMode::VerifyFull, true));
    assert_eq!(tls("sslrootcert = \"system\""), (SslMode::VerifyFull, false));
    assert_eq!(tls("sslrootcert = \"system\"\nsslmode = \"verify-ca\""), (SslMode::VerifyCa, false));
    for lines in ["", "\nsslmode = \"prefer\"", "\nsslmode = \"disable\""] {
        let warned = warnings(&format!("{POSTGRESQL}{certificate}{lines}"));
        assert_eq!(
            warned,
            [
                "configuration.toml:5: connections.source.postgresql.sslrootcert is not used, because sslmode does \
              not ask for a certificate. Use sslmode = \"verify-full\", or leave the certificate out."
            ]
        );
    }
}
