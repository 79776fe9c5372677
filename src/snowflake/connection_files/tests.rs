//! Real files in a directory of their own.

use serde_json::json;

use super::*;
use crate::config::testing::Directory;
use crate::snowflake::authentication::{Authentication, TokenSource};
use crate::snowflake::connection::{Protocol, SecondaryRoles};

const ONE: &str = "[one]\naccount = \"one\"\ntoken = \"t\"\n";

/// The account of a connection, or the text of the fault.
fn account(name: &str, environment: &Environment) -> String {
    match named(name, environment) {
        Ok(connection) => connection.account.to_string(),
        Err(fault) => format!("{} | {}", fault.chain(), fault.hint().unwrap_or_default()),
    }
}

fn table(name: &str, account: &str) -> String {
    format!("[{name}]\naccount = \"{account}\"\ntoken = \"t\"\n")
}

#[test]
fn the_first_place_that_is_there_has_every_connection() {
    let directory = Directory::new();
    let home = directory.path().to_owned();
    let of = |variables: &[(&str, String)]| Environment::of(variables.iter().cloned()).with_home(&home);
    let plain = of(&[]);
    let xdg = [("XDG_CONFIG_HOME", home.join("xdg").display().to_string())];

    assert_eq!(
        account("one", &plain),
        format!(
            "look for Snowflake connections: neither {0}/.config/snowflake/connections.toml nor \
             {0}/.config/snowflake/config.toml is there | Write the connection into connections.toml, or \
             configure its account, user and key here.",
            home.display()
        )
    );
    directory.write(".config/snowflake/config.toml", table("connections.one", "system"));
    assert_eq!(account("one", &plain), "system");
    directory.write("xdg/snowflake/connections.toml", table("one", "xdg"));
    assert_eq!(account("one", &of(&xdg)), "xdg");

    // ~/.snowflake counts as soon as it is there, even without a file.
    std::fs::create_dir(home.join(".snowflake")).unwrap();
    assert!(account("one", &of(&xdg)).contains(".snowflake/connections.toml"));
    directory.write(
        ".snowflake/config.toml",
        table("connections.one", "config") + &table("connections.two", "two"),
    );
    assert_eq!(account("one", &of(&xdg)), "config");
    directory.write(".snowflake/connections.toml", table("one", "connections"));
    assert_eq!(account("one", &plain), "connections");
    // Nothing of config.toml is left.
    assert_eq!(
        account("two", &plain),
        format!(
            "there is no Snowflake connection `two` in {}/.snowflake/connections.toml; known: `one` | Add a \
             table [two] to the file, or name a connection that is there.",
            home.display()
        )
    );

    directory.write("own/connections.toml", table("one", "own"));
    assert_eq!(account("one", &of(&[("SNOWFLAKE_HOME", home.join("own").display().to_string())])), "own");
    // A directory that is not there is passed over.
    let gone = ("SNOWFLAKE_HOME", home.join("gone").display().to_string());
    assert_eq!(account("one", &of(&[gone, xdg[0].clone()])), "xdg");

    let text = ("SNOWFLAKE_CONNECTIONS", table("one", "variable"));
    assert_eq!(account("one", &of(&[text])), "variable");

    assert_eq!(
        account("one", &Environment::default()),
        "look for Snowflake connections: there is no home directory | Set HOME or SNOWFLAKE_HOME."
    );
}

#[test]
fn a_name_that_nobody_knows_comes_with_those_that_are_known() {
    let environment =
        Environment::of([("SNOWFLAKE_CONNECTIONS", table("production", "a") + &table("test", "b"))]);
    assert_eq!(
        account("produktion", &environment),
        "there is no Snowflake connection `produktion` in the environment variable SNOWFLAKE_CONNECTIONS; known: \
         `production`, `test` | Did you mean `production`?"
    );
    let environment = Environment::of([("SNOWFLAKE_CONNECTIONS", "\n")]);
    assert!(account("one", &environment).contains("; none is there | "));
}

#[test]
fn who_is_meant_when_nobody_is_named() {
    let directory = Directory::new();
    let environment = || Environment::default().with_home(directory.path());
    assert_eq!(default_name(&environment()), None);
    directory.write(".snowflake/config.toml", "");
    assert_eq!(default_name(&environment()).as_deref(), Some("default"));
    directory.write(".snowflake/config.toml", "default_connection_name = \"one\"\n");
    assert_eq!(default_name(&environment()).as_deref(), Some("one"));
    let variable =
        Environment::of([("SNOWFLAKE_DEFAULT_CONNECTION_NAME", "two")]).with_home(directory.path());
    assert_eq!(default_name(&variable).as_deref(), Some("two"));
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let file = directory.write(".snowflake/connections.toml", ONE);
    let environment = Environment::default().with_home(directory.path());
    for (mode, is_good) in [(0o600, true), (0o640, true), (0o644, true), (0o660, false), (0o602, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(named("one", &environment).is_ok(), is_good, "{mode:o}");
    }
    assert_eq!(
        account("one", &environment),
        format!(
            "read the connection file {0}: other users of this machine can write to it | Run chmod go-w on {0}.",
            file.display()
        )
    );
}

#[test]
fn every_key_of_a_connection_reaches_its_place() {
    let text = r#"
[full]
account = "my_org-acct"
username = "ada"
host = "PRIVATE.example.com"
port = "8443"
protocol = "http"
authenticator = "programmatic_access_token"
token_file_path = "~/pat"
role = "\"Loader\""
warehouse = "wh"
database = "db"
schema = "sc"
secondary_roles = "none"
session_parameters = { query_tag = "x", WEEK_START = 1, AUTOCOMMIT = true }
autocommit = false
timezone = "UTC"
login_timeout = 0
network_timeout = "30"
socket_timeout = 1.5
client_session_keep_alive = "False"
client_session_keep_alive_heartbeat_frequency = 900
application = "etl"
password = ""
paramstyle = "qmark"
unheard_of = [1, 2]
"#;
    let environment = Environment::of([("SNOWFLAKE_CONNECTIONS", text)]).with_home("/home/agent");
    let connection = named("full", &environment).unwrap();
    assert_eq!(connection.account.as_str(), "my_org-acct");
    assert_eq!(connection.base_url(), "http://private.example.com:8443");
    assert_eq!(connection.protocol, Protocol::Http);
    let Authentication::ProgrammaticAccessToken(token) = &connection.authentication else { panic!() };
    assert_eq!(token.token, TokenSource::File("/home/agent/pat".into()));
    assert_eq!(connection.authentication.user(), Some("ada"));
    assert_eq!(connection.role.as_deref(), Some("\"Loader\""));
    assert_eq!(connection.warehouse.as_deref(), Some("wh"));
    assert_eq!((connection.database.as_deref(), connection.schema.as_deref()), (Some("db"), Some("sc")));
    assert_eq!(connection.secondary_roles, Some(SecondaryRoles::None));
    assert_eq!(
        json!(connection.session_parameters),
        json!({"QUERY_TAG": "x", "WEEK_START": 1, "AUTOCOMMIT": true, "TIMEZONE": "UTC"})
    );
    assert_eq!(connection.login_timeout, LONGEST);
    assert_eq!(connection.network_timeout, Some(Duration::from_secs(30)));
    assert_eq!(connection.socket_timeout, Duration::from_millis(1500));
    assert!(!connection.keep_alive);
    assert_eq!(connection.heartbeat_interval, Some(Duration::from_secs(900)));
    assert_eq!(connection.application, "etl");
    assert_eq!(connection.service_token_file, None);
}

#[test]
fn what_nobody_says_has_a_default() {
    let environment = Environment::of([("SNOWFLAKE_CONNECTIONS", ONE), ("SF_PARTNER", "partner")]);
    let connection = named("one", &environment).unwrap();
    assert_eq!(connection.base_url(), "https://one.snowflakecomputing.com:443");
    assert_eq!(connection.login_timeout, Duration::from_secs(120));
    assert_eq!(connection.network_timeout, None);
    assert!(connection.keep_alive);
    assert_eq!(connection.application, "partner");
    assert_eq!(connection.role, None);
}

#[test]
fn mistakes_are_said_with_their_place_and_without_a_value() {
    for (text, expected) in [
        (
            "[one\naccount = 'hunter2'",
            "read the environment variable SNOWFLAKE_CONNECTIONS: line 1 is not valid TOML: ",
        ),
        ("[one]\naccount = 'a'\npassword = 'hunter2", "SNOWFLAKE_CONNECTIONS: line 3 is not valid TOML: "),
        (
            "one = 'hunter2'",
            "use the Snowflake connection `one` of the environment variable SNOWFLAKE_CONNECTIONS: it is not a table",
        ),
        ("[one]\nport = 'hunter2'", "port is string; expected an integer from 1 to 65535"),
        ("[one]\nport = 70000", "port is integer; expected an integer from 1 to 65535"),
        ("[one]\naccount = true", "account is boolean; expected a text"),
        ("[one]\nlogin_timeout = -1", "login_timeout is integer; expected a number of seconds"),
        ("[one]\nsession_parameters = { x = [1] }", "session_parameters is table; expected a table of texts"),
        ("[one]\nautocommit = 'hunter2'", "autocommit is string; expected true or false"),
        (
            "[one]\npassword = 'hunter2'",
            "use the Snowflake connection `one`: account is missing. Add account. user is missing. Add user.",
        ),
        (
            "[one]\naccount = 'a'",
            "user is missing. Add user. password is missing. Add password, private_key_file,",
        ),
        (
            "[one]\naccount = 'a.snowflakecomputing.com'\ntoken = 'hunter2'",
            "account is a host name; the account is the part before `.snowflakecomputing`. Write account = \"a\".",
        ),
        ("[one]\naccount = 'a/b'\ntoken = 'hunter2'", "account is no account identifier: "),
        ("[one]\naccount = 'a'\nhost = 'https://a'\ntoken = 'hunter2'", "host is no host name or address; "),
        ("[one]\naccount = 'a'\nregion = 'x y'\ntoken = 'hunter2'", "region is no region: "),
        (
            "[one]\naccount = 'a'\nprotocol = 'ftp'\ntoken = 'hunter2'",
            "protocol is neither \"https\" nor \"http\"",
        ),
        ("[one]\naccount = 'a'\nsecondary_roles = 'some'\ntoken = 'hunter2'", "secondary_roles is neither"),
        (
            "[one]\naccount = 'a'\nauthenticator = 'https://idp.okta.com/hunter2'",
            "authenticator is the address of an identity provider, where a person has to log in. Use one of SNOWFLAKE, ",
        ),
        (
            "[one]\naccount = 'a'\nauthenticator = 'oauth_authorization_code'",
            "authenticator is \"OAUTH_AUTHORIZATION_CODE\", where a person has to agree in a browser",
        ),
        (
            "[one]\naccount = 'a'\nauthenticator = 'snowflake_jw'",
            "authenticator is no way to log in that this agent knows. Did you mean \"SNOWFLAKE_JWT\"?",
        ),
        (
            "[one]\naccount = 'a'\nuser = 'u'\npassword = 'hunter2'\nauthenticator = 'username_password_mfa'",
            "authenticator is \"USERNAME_PASSWORD_MFA\", which waits for a person to confirm each login. Use a key pair",
        ),
        (
            "[one]\naccount = 'a'\nauthenticator = 'snowflake_jwt'\nuser = 'u'",
            "private_key_file is missing. Add private_key_file.",
        ),
        ("[one]\naccount = 'a'\nauthenticator = 'oauth'", "token is missing. Add token."),
        (
            "[one]\naccount = 'a'\nworkload_identity_provider = 'ibm'",
            "workload_identity_provider is none of ",
        ),
    ] {
        let environment = Environment::of([("SNOWFLAKE_CONNECTIONS", text)]);
        let found = account("one", &environment);
        assert!(found.contains(expected), "{text}\n{found}");
        assert!(!found.contains("hunter2") && !found.contains('\n'), "{found}");
    }
}

#[test]
fn the_way_to_log_in_follows_from_the_other_keys() {
    for (lines, expected) in [
        ("user = 'u'\npassword = 'p'", "Password"),
        ("user = 'u'\npassword = 'p'\nauthenticator = 'Snowflake'", "Password"),
        ("user = 'u'\npassword = 'p'\ntoken = 't'", "Password"),
        ("user = 'u'\npassword = 'p'\nprivate_key_path = '/k'", "KeyPair"),
        ("user = 'u'\nauthenticator = 'snowflake'\nprivate_key_raw = 'k'", "KeyPair"),
        ("token_file_path = '/t'", "OAuthToken"),
        ("token = 't'\nauthenticator = 'OAUTH'", "OAuthToken"),
        ("token = 't'\nauthenticator = 'programmatic_access_token'", "ProgrammaticAccessToken"),
        ("oauth_client_id = 'i'\noauth_client_secret = 's'", "ClientCredentials"),
        (
            "workload_identity_provider = 'aws'\nworkload_identity_impersonation_path = ['a', 'b']",
            "WorkloadIdentity",
        ),
        ("user = 'u'\nauthenticator = 'externalbrowser'", "ExternalBrowser"),
    ] {
        let text = format!("[one]\naccount = 'a'\n{lines}\n");
        let connection = named("one", &Environment::of([("SNOWFLAKE_CONNECTIONS", text)])).unwrap();
        let shown = format!("{:?}", connection.authentication);
        assert!(shown.starts_with(expected), "{lines}: {shown}");
    }
}

#[test]
fn outside_of_a_container_the_service_of_one_is_refused() {
    assert_eq!(
        account(spcs::CONNECTION_NAME, &Environment::of([("SNOWFLAKE_HOST", "h")])),
        "use @SPCS_CONNECTION: SNOWFLAKE_ACCOUNT is not set, so the agent does not run inside Snowpark Container \
         Services | Run the agent as a service or job of Snowpark Container Services, or name a connection of \
         ~/.snowflake/connections.toml."
    );
    assert!(
        account(spcs::CONNECTION_NAME, &Environment::default())
            .contains("SNOWFLAKE_HOST and SNOWFLAKE_ACCOUNT are")
    );
}

#[test]
fn inside_a_container_everything_comes_from_its_environment() {
    let variables = [
        ("SNOWFLAKE_HOST", "abc.snowflakecomputing.com"),
        ("SNOWFLAKE_ACCOUNT", "AB12345"),
        ("SNOWFLAKE_PORT", "8080"),
        ("SNOWFLAKE_DATABASE", "DB"),
        ("SNOWFLAKE_SCHEMA", "SC"),
        ("SNOWFLAKE_WAREHOUSE", "WH"),
        // A service has neither.
        ("SNOWFLAKE_USER", "someone"),
        ("SNOWFLAKE_ROLE", "ADMIN"),
    ];
    let connection = named(spcs::CONNECTION_NAME, &Environment::of(variables)).unwrap();
    assert_eq!(connection.base_url(), "https://abc.snowflakecomputing.com:8080");
    assert_eq!(connection.account.for_login(), "AB12345");
    let context = [&connection.database, &connection.schema, &connection.warehouse, &connection.role];
    assert_eq!(context.map(|name| name.as_deref()), [Some("DB"), Some("SC"), Some("WH"), None]);
    assert_eq!(connection.authentication.user(), None);
    let Authentication::SpcsToken(token) = &connection.authentication else { panic!("{connection:?}") };
    assert_eq!(token.path, Path::new("/snowflake/session/token"));
    assert_eq!(connection.service_token_file, None);
}

/// What the fuzzer begins with.
fn seeds() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/connection_file");
    let files = std::fs::read_dir(folder).expect("the seeds are part of the repository");
    files.map(|file| std::fs::read_to_string(file.expect("an entry").path()).expect("a seed")).collect()
}

#[test]
fn every_seed_of_the_fuzzer_is_read() {
    assert!(seeds().len() >= 6);
    for seed in seeds() {
        fuzz(&seed);
    }
}

proptest::proptest! {
    #[test]
    fn a_changed_connection_file_is_read_or_refused(
        seed in proptest::prelude::any::<proptest::sample::Index>(),
        cut in proptest::prelude::any::<proptest::sample::Index>(),
        inserted in "[\\[\\]\"=.#{}a-z0-9\\n \\\\é-]{0,6}",
    ) {
        let mut text = seed.get(&seeds()).clone();
        let mut place = cut.index(text.len());
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        text.insert_str(place, &inserted);
        fuzz(&text);
        text.truncate(place);
        fuzz(&text);
    }
}
