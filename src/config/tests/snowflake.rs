//! `kind = "snowflake"`, and the sections of version 1.2.0.

use super::*;
use crate::config::SnowflakeTarget;
use crate::snowflake::authentication::{Authentication, KeySource, TokenSource};
use crate::snowflake::connection::Connection;
use crate::snowflake::connection_files;

const FILE: &str = "[prod]\naccount = \"filed\"\nuser = \"ada\"\nprivate_key_file = \"/key.p8\"\nwarehouse = \"FILED\"\n\
     session_parameters = { A = 1, B = 2 }\n[bare]\nuser = \"ada\"\n";

fn in_container() -> Environment {
    Environment::of([
        ("SNOWFLAKE_HOST", "abc.snowflakecomputing.com"),
        ("SNOWFLAKE_ACCOUNT", "AB12345"),
        ("SNOWFLAKE_CONNECTIONS", FILE),
        ("PW", "hunter2"),
    ])
    .with_home("/home/agent")
}

/// The connection `x`, whose section has these lines.
#[track_caller]
fn target(lines: &str) -> Connection {
    let text = format!("[connections.target.x]\nkind = \"snowflake\"\n{lines}\n");
    let (config, _) =
        parse_in(&text, &in_container()).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    match &config.targets["x"] {
        TargetConnection::Snowflake(SnowflakeTarget { connection, .. }) => connection.clone(),
        other => panic!("{other:?}"),
    }
}

/// The problems of a section of this kind, without its path.
#[track_caller]
fn wrong(kind: &str, lines: &str) -> String {
    let text = format!("[connections.target.x]\nkind = \"{kind}\"\n{lines}\n");
    let problems =
        parse_in(&text, &in_container()).map(|(config, _)| panic!("{text}\n{config:#?}")).unwrap_err();
    problems.to_string().replace("configuration.toml:", "").replace("connections.target.x.", "")
}

#[test]
fn a_section_says_where_and_as_whom() {
    let connection = target(
        "account = \"my_org-acct\"\nUserName = \"ada\"\nprivateKeyPath = \"~/key.p8\"\n\
         private_key_passphrase = \"${env:PW}\"\nrole = \"LOADER\"\nport = \"${env:PORT}\"\nlogin_timeout = \"30s\"\n\
         session_parameters = { week_start = 1, text = \"${env:PW}\", yes = true }"
            .replace("\"${env:PORT}\"", "8443")
            .as_str(),
    );
    assert_eq!(connection.base_url(), "https://my-org-acct.snowflakecomputing.com:8443");
    assert_eq!(connection.account.for_login(), "my_org-acct");
    let Authentication::KeyPair(key) = &connection.authentication else { panic!("{connection:?}") };
    assert_eq!(key.key, KeySource::File("/home/agent/key.p8".into()));
    assert_eq!(key.passphrase, Some(Secret::new("hunter2")));
    assert_eq!(connection.role.as_deref(), Some("LOADER"));
    assert_eq!(connection.login_timeout, Duration::from_secs(30));
    let parameters: Vec<String> =
        connection.session_parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(parameters, ["TEXT=\"hunter2\"", "WEEK_START=1", "YES=true"]);
}

#[test]
fn a_named_connection_is_overridden_key_by_key() {
    let plain = target("connection_name = \"prod\"");
    assert_eq!(plain.account.as_str(), "filed");
    assert_eq!(plain.warehouse.as_deref(), Some("FILED"));

    let over = target(
        "connection_name = \"prod\"\nwarehouse = \"OWN\"\nschema = \"S\"\nsession_parameters = { B = 3 }",
    );
    assert_eq!(over.authentication, plain.authentication);
    assert_eq!((over.warehouse.as_deref(), over.schema.as_deref()), (Some("OWN"), Some("S")));
    assert_eq!(over.session_parameters["A"], 1);
    assert_eq!(over.session_parameters["B"], 3);

    // One way to log in replaces the other as a whole.
    let password = target("connection_name = \"prod\"\npassword = \"${env:PW}\"");
    assert!(matches!(&password.authentication, Authentication::Password(login) if login.user == "ada"));
}

#[test]
fn the_service_of_a_container_takes_what_it_is_told_besides() {
    let service = |lines: &str| target(&format!("connection_name = \"@SPCS_CONNECTION\"\n{lines}"));
    let plain = service("warehouse = \"WH\"");
    assert_eq!(plain.base_url(), "https://abc.snowflakecomputing.com:443");
    assert_eq!(plain.warehouse.as_deref(), Some("WH"));
    let path = |connection: &Connection| match &connection.authentication {
        Authentication::SpcsToken(token) => token.path.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(path(&plain), Path::new("/snowflake/session/token"));
    assert_eq!(path(&service("token_file_path = \"/own/token\"")), Path::new("/own/token"));

    let own = service("authenticator = \"programmatic_access_token\"\ntoken = \"${env:PW}\"");
    let Authentication::ProgrammaticAccessToken(token) = &own.authentication else { panic!("{own:?}") };
    assert_eq!(token.token, TokenSource::Text(Secret::new("hunter2")));
    assert_eq!(own.host, "abc.snowflakecomputing.com");
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (lines, expected) in [
        (
            "connection_name = \"pro\"",
            "3: connection_name cannot be used: there is no Snowflake connection `pro` in the environment variable \
             SNOWFLAKE_CONNECTIONS; known: `bare`, `prod`. Did you mean `prod`?",
        ),
        (
            "connection_name = \"bare\"",
            "3: connection_name leads to `bare`, where account is missing. Add account.\n\
             3: connection_name leads to `bare`, where password is missing. Add password, private_key_file, token or \
             another way to log in.",
        ),
        ("connection_name = \" \"", "3: connection_name is blank; expected a text"),
        (
            "account = \"https://a\"\ntoken = \"hunter2\"",
            "3: account is no account identifier: letters, digits, `_` and `-` in parts joined by dots, such as \
             `myorg-account1`. Write account = \"myorg-account1\".",
        ),
        (
            "account = \"a\"\nuser = \"u\"",
            "1: password is missing. Add password, private_key_file, token or another way to log in.",
        ),
        (
            "account = \"a\"\nuser = \"u\"\npassword = \"\"",
            "5: password is missing. Add password, private_key_file,",
        ),
        (
            "account = \"a\"\nuser = \"u\"\npassword = \"${env:GONE}\"",
            "5: password refers to the environment variable GONE, which is not set. Set GONE, or write the value here.",
        ),
        ("account = 1\ntoken = \"t\"", "3: account is an integer; expected a string"),
        (
            "account = \"a\"\ntoken = \"t\"\naccounts = 1",
            "5: accounts is not a known key. Did you mean account?",
        ),
        (
            "account = \"a\"\ntoken = \"t\"\nsession_parameters = { x = [1] }",
            "5: session_parameters.x is an array; expected a text, a number or a boolean",
        ),
        ("account = \"a\"\ntoken = \"t\"\nusername = \"u\"\nuser = \"u\"", "is given twice"),
    ] {
        let problems = wrong("snowflake", lines);
        assert!(problems.contains(expected), "{lines}\n{problems}");
        assert_eq!(problems.lines().count(), expected.lines().count(), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn sections_of_1_2_0_have_requirements_of_their_own() {
    assert_eq!(
        wrong("snowflake_connection_name", "account = \"a\"\ntoken = \"t\""),
        "1: connection_name is missing. Add connection_name to the section."
    );
    assert_eq!(wrong("snowflake_external_browser", "account = \"a\""), "1: user is missing. Add user.");
    assert!(wrong("snowflake_password", "account = \"a\"\nuser = \"u\"").contains("password is missing"));
    assert!(
        wrong("snowflake_passwords", "")
            .contains("expected \"local\" or \"s3\" or \"blob\" or \"gcs\" or \"snowflake\"")
    );
}

#[test]
fn a_proxy_of_a_connection_is_a_warning() {
    let lines = "[connections.target.snowflake]\naccount = \"a\"\ntoken = \"t\"\nproxy_host = \"p\"\n";
    assert_eq!(
        warnings(lines),
        [
            "configuration.toml:4: connections.target.snowflake.proxy_host is a driver option that this version does not use"
        ]
    );
}

#[test]
fn every_key_of_a_connection_is_one_of_the_configuration() {
    use crate::snowflake::settings::KEYS;
    let listed: Vec<_> = keys::SNOWFLAKE_CONNECTION.iter().map(|key| (key.name, key.also)).collect();
    let read: Vec<_> = KEYS.iter().map(|key| (key.name, key.also)).collect();
    assert_eq!(listed, read);
}

#[test]
fn a_task_source_may_name_a_target_or_a_connection_of_the_files() {
    let text = "[connections.target.prod]\nkind = \"snowflake\"\naccount = \"configured\"\ntoken = \"t\"\n\
                [connections.target.local]\nroot = \"/out\"\n";
    let environment = in_container();
    let (config, _) = parse_in(text, &environment).unwrap();
    let account = |name: &str| {
        connection_files::resolve(name, &config.targets, &environment).map(|found| found.account.to_string())
    };
    assert_eq!(account("prod").unwrap(), "configured");
    assert_eq!(account("@SPCS_CONNECTION").unwrap(), "AB12345");
    let fault = account("local").unwrap_err();
    assert_eq!(
        fault.chain(),
        "there is no Snowflake connection `local` in the environment variable SNOWFLAKE_CONNECTIONS; known: \
         `bare`, `prod`"
    );
    assert!(account("bare").unwrap_err().chain().contains("account is missing"));
}

#[test]
fn the_control_table_of_loads_is_a_name_of_a_table() {
    let parse = |name: &str| {
        let text = format!(
            "[connections.target.x]\nkind = \"snowflake\"\naccount = \"a\"\nuser = \"u\"\npassword = \"p\"\n\
             load_control_table = '{name}'\n"
        );
        parse_in(&text, &in_container())
    };
    let (config, _) = parse("db.\"My schema\".loads").expect("a name");
    let TargetConnection::Snowflake(target) = &config.targets["x"] else { panic!("a Snowflake target") };
    let name = target.load_control_table.as_ref().expect("it was given");
    assert_eq!((name.schema.as_deref(), name.table.as_str()), (Some("My schema"), "LOADS"));
    let problems = parse("a b").expect_err("no name").to_string();
    assert!(problems.contains("connections.target.x.load_control_table is no name of a table"), "{problems}");
}
