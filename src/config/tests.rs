//! The whole configuration: layers, messages, 1.2.0, example and documentation.

mod odbc;
mod snowflake;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ::config::ValueKind;
use proptest::prelude::*;

use super::keys::{self, Key, REQUIRED};
use super::testing::Directory;
use super::*;
use crate::bounds::TaskBounds;
use crate::snowflake::authentication::Authentication;
use crate::task::{Compression, FileFormat};

const EXAMPLE: &str = include_str!("../../configuration.example.toml");
const DOCUMENTATION: &str = include_str!("../../docs/CONFIGURATION.md");

/// The sample configuration of version 1.2.0, with every section it knows.
const SAMPLE_OF_1_2_0: &str = r#"
selected_task_source = "api"                 # or "snowflake_stored_procedure"

[application]
workers = 4                                  # 1..100
task_fetch_interval = 5                      # seconds, >= 1
debug_mode = false
affinity = "blue"                            # optional, not blank

[task_source.api]
key = "api-key"
[task_source.snowflake_stored_procedure]
connection_name = "@SPCS_CONNECTION"

[connections.source.sqlserver]
username = "username"
password = "password"
database = "database_name"
host = "127.0.0.1"
port = 1433
trustServerCertificate = "yes"
encrypt = true
instanceName = "SQLEXPRESS"
[connections.source.postgresql]
username = "username"
password = "password"
database = "database_name"
[connections.source.teradata]
username = "username"
password = "password"
database = "database_name"
host = "127.0.0.1"
port = 1025

[connections.target.snowflake_connection_name]
connection_name = "connection_name"
[connections.target.snowflake_password]
account = "account"
user = "user"
password = "password"
role = "role"
warehouse = "warehouse"
database = "database"
schema = "schema"
[connections.target.snowflake_external_browser]
account = "account"
user = "user"
[connections.target.s3]
profile_name = "profile_name"
bucket_name = "bucket_name"
[connections.target.blob]
connection_string = "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=a2V5;EndpointSuffix=core.windows.net"
container_name = "container_name"

[bulk_utility.bcp]
delimiter = ","
row_terminator = "\\n"
encoding = "UTF8"
trusted_connection = false
encrypt = true
"#;

fn environment() -> Environment {
    Environment::default().with_home("/home/agent")
}

/// The connection file that the sample of 1.2.0 refers to, in the form of a variable.
fn environment_of_1_2_0() -> Environment {
    let connections = "[connection_name]\naccount = \"account\"\ntoken = \"hunter2\"\n";
    Environment::of([("SNOWFLAKE_CONNECTIONS", connections)]).with_home("/home/agent")
}

fn parse_in(text: &str, environment: &Environment) -> Result<(Config, Vec<Warning>), Problems> {
    parse(text, "configuration.toml", &Overrides::default(), environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    parse_in(text, &environment()).unwrap_or_else(|problems| panic!("{text}\n{problems}")).0
}

/// The complete text of all problems.
#[track_caller]
fn bad(text: &str) -> String {
    match parse_in(text, &environment()) {
        Ok((config, _)) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(problems) => problems.to_string(),
    }
}

/// The problems of one wrong line in a section, without place and path of the section.
#[track_caller]
fn bad_line(section: &str, line: &str) -> String {
    let text = bad(&format!("[{section}]\n{line}\n"));
    text.replace("configuration.toml:2: ", "").replace(&format!("{section}."), "")
}

fn warnings(text: &str) -> Vec<String> {
    parse_in(text, &environment()).unwrap().1.iter().map(ToString::to_string).collect()
}

const POSTGRESQL: &str =
    "[connections.source.postgresql]\ndatabase = \"sales\"\nusername = \"reader\"\npassword = \"pw\"\n";

#[track_caller]
fn postgresql(lines: &str) -> PostgresSource {
    match good(&format!("{POSTGRESQL}{lines}")).sources.remove("postgresql") {
        Some(SourceConnection::Postgres(source)) => source,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad_postgresql(line: &str) -> String {
    bad(&format!("{POSTGRESQL}{line}\n")).replace("configuration.toml:5: connections.source.postgresql.", "")
}

#[track_caller]
fn s3(lines: &str) -> S3Target {
    match good(&format!("[connections.target.s3]\nbucket_name = \"lake\"\n{lines}")).targets.remove("s3") {
        Some(TargetConnection::S3(target)) => target,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad_s3(lines: &str) -> String {
    bad(&format!("[connections.target.s3]\nbucket_name = \"lake\"\n{lines}\n"))
        .replace("configuration.toml:3: connections.target.s3.", "")
}

// Layers.

fn default_utilities() -> BTreeMap<String, BulkUtilitySettings> {
    let kinds = [
        ("bcp", BulkUtilityKind::Bcp(BcpSettings::default())),
        ("psql", BulkUtilityKind::Psql),
        ("mysql", BulkUtilityKind::Mysql),
        ("tpt", BulkUtilityKind::Tpt(TptSettings::default())),
    ];
    kinds.into_iter().map(|(name, kind)| (name.to_owned(), BulkUtilitySettings::new(kind))).collect()
}

#[test]
fn nothing_at_all_is_the_defaults() {
    let config = good("");
    assert_eq!(
        config,
        Config {
            application: Application {
                workers: NonZeroUsize::new(4).unwrap(),
                task_fetch_interval: Duration::from_secs(5),
                debug_mode: false,
                affinity: None,
                data_directory: "/home/agent/.data_exchange_agent".into(),
                stop_grace: Duration::from_secs(30),
                memory_limit: None,
            },
            server: Server {
                host: [127, 0, 0, 1].into(),
                port: 5001,
                max_body_bytes: 1 << 20,
                max_connections: NonZeroUsize::new(800).unwrap(),
                requests_per_minute: NonZeroU32::new(60_000),
                tls: None,
                api_keys: Vec::new(),
                allow_unauthenticated: false,
                allowed_hosts: Vec::new(),
            },
            transfer: TransferSettings::default(),
            log: LogSettings::default(),
            queue: QueueSettings::default(),
            history: HistorySettings::default(),
            guards: GuardSettings::default(),
            idle_shutdown: None,
            otlp: None,
            task_sources: TaskSources::default(),
            bounds: TaskBounds::default(),
            secrets: SecretSettings::default(),
            sources: [].into(),
            source_methods: [].into(),
            targets: [].into(),
            bulk_utilities: default_utilities(),
            unavailable: Vec::new(),
            renewal: Renewal::default(),
        }
    );
}

#[test]
fn each_layer_wins_over_the_ones_below() {
    let file = "[application]\nworkers = 10\ntask_fetch_interval = 10\n[server]\nport = 1000\n";
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__APPLICATION__WORKERS", "20"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__TASK_FETCH_INTERVAL", "20"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__AFFINITY", ""),
    ])
    .with_home("/");
    let overrides = Overrides { workers: Some(30), ..Overrides::default() };
    let (config, _) = parse(file, "configuration.toml", &overrides, &variables).unwrap();
    assert_eq!(config.application.workers.get(), 30);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(20));
    assert_eq!(config.server.port, 1000);
    assert_eq!(config.application.stop_grace, Duration::from_secs(30));
    assert_eq!(config.application.affinity, None);
}

#[test]
fn every_argument_of_the_command_line_reaches_its_key() {
    let overrides = Overrides {
        workers: Some(7),
        interval: Some(8),
        host: Some("::1".into()),
        port: Some(0),
        debug: true,
    };
    let (config, _) =
        parse("[application]\ndebug_mode = false", "configuration.toml", &overrides, &environment()).unwrap();
    assert_eq!(config.application.workers.get(), 7);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(8));
    assert_eq!(config.server.host, "::1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(config.server.port, 0);
    assert!(config.application.debug_mode);
    let (config, _) =
        parse("[application]\ndebug_mode = true", "x", &Overrides::default(), &environment()).unwrap();
    assert!(config.application.debug_mode, "without --debug the file decides");
}

#[test]
fn problems_of_environment_and_command_line_name_their_place() {
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__APPLICATION__STOP_GRACE", "soon"),
        ("DATA_EXCHANGE_AGENT__APPLICATION__WORKERZ", "1"),
        ("DATA_EXCHANGE_AGENT__APLICATION__WORKERS", "1"),
        ("DATA_EXCHANGE_AGENT__SERVER", "x"),
        ("DATA_EXCHANGE_AGENT__TRANSFER____SLICES", "x"),
    ])
    .with_home("/");
    let overrides = Overrides {
        workers: Some(0),
        interval: Some(u64::MAX),
        host: Some("example.com".into()),
        ..Overrides::default()
    };
    let problems = parse("", "configuration.toml", &overrides, &variables).unwrap_err().to_string();
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "environment variable DATA_EXCHANGE_AGENT__APLICATION__WORKERS: aplication.workers \
             is not a known key. Did you mean application?",
            "environment variable DATA_EXCHANGE_AGENT__APPLICATION__STOP_GRACE: application.stop_grace is \
             \"soon\"; expected a duration from 0s to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"",
            "environment variable DATA_EXCHANGE_AGENT__APPLICATION__WORKERZ: application.workerz \
             is not a known key. Did you mean workers?",
            "environment variable DATA_EXCHANGE_AGENT__TRANSFER____SLICES: the variable has a name with an \
             empty part between two underscores. Write DATA_EXCHANGE_AGENT__SECTION__KEY.",
            "--host: server.host is \"example.com\"; expected an IP address such as \"127.0.0.1\", \
             or \"localhost\"",
            "--interval: application.task_fetch_interval is 9223372036854775807; expected a duration from 1s \
             to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"",
            "--workers: application.workers is 0; expected an integer from 1 to 100",
        ]
    );
}

#[test]
fn a_section_cannot_be_replaced_by_a_variable() {
    let variables = Environment::of([("DATA_EXCHANGE_AGENT__SERVER", "x")]).with_home("/");
    let problems = parse_in("[server]\nport = 1", &variables).unwrap_err().to_string();
    assert_eq!(
        problems,
        "environment variable DATA_EXCHANGE_AGENT__SERVER: server is a string; expected a table. \
         Write it as a section: [server]."
    );
    let variables =
        Environment::of([("DATA_EXCHANGE_AGENT__SERVER", "x"), ("DATA_EXCHANGE_AGENT__SERVER__PORT", "1")])
            .with_home("/");
    let problems = parse_in("", &variables).unwrap_err().to_string();
    assert!(problems.contains("server.port is set as a value, and as a section"), "{problems}");
}

#[test]
fn a_variable_reaches_a_connection_whose_name_has_capitals() {
    let variables = Environment::of([
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__SOURCE__SALES__PASSWORD", "hunter2"),
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__TARGET__OUT__KIND", "local"),
        ("DATA_EXCHANGE_AGENT__CONNECTIONS__TARGET__OUT__ROOT", "/out"),
    ])
    .with_home("/");
    let file = "[connections.source.Sales]\nkind = \"postgresql\"\ndatabase = \"d\"\nusername = \"u\"\n";
    let (config, _) = parse_in(file, &variables).unwrap();
    let Some(SourceConnection::Postgres(source)) = config.sources.get("Sales") else { panic!("{config:?}") };
    assert_eq!(source.password, Some(Secret::new("hunter2")));
    assert_eq!(config.targets["out"], TargetConnection::Local(LocalTarget { root: "/out".into() }));
}

// The file.

#[test]
fn an_explicit_file_has_to_be_there() {
    let directory = Directory::new();
    let missing = directory.path().join("missing.toml");
    let problems = load(Some(&missing), &Overrides::default(), &environment()).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    let text = problems.to_string();
    assert!(text.starts_with(&format!("{} cannot be read: ", missing.display())), "{text}");
    assert!(load(Some(directory.path()), &Overrides::default(), &environment()).is_err());
}

#[test]
fn the_working_directory_is_searched_before_the_home_directory() {
    let directory = Directory::new();
    let (here, home) = (directory.path().join("here"), directory.path().join("home"));
    let environment = Environment::default().with_home(&home).with_directory(&here);
    let load = || load(None, &Overrides::default(), &environment).unwrap();

    let (config, file, warnings) = load();
    assert_eq!((config.application.workers.get(), file), (4, None));
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "configuration was not found at {}/configuration.toml, \
             {}/.data_exchange_agent/configuration.toml; defaults apply. \
             Start from configuration.example.toml, or name a file with --config.",
            here.display(),
            home.display()
        )]
    );

    let at_home =
        directory.write("home/.data_exchange_agent/configuration.toml", "[application]\nworkers = 2");
    let (config, file, _) = load();
    assert_eq!((config.application.workers.get(), file), (2, Some(at_home)));

    let near = directory.write("here/configuration.toml", "[application]\nworkers = 1");
    let (config, file, _) = load();
    assert_eq!((config.application.workers.get(), file), (1, Some(near.clone())));

    std::fs::write(&near, b"\xff").unwrap();
    let problems = super::load(None, &Overrides::default(), &environment).unwrap_err().to_string();
    assert!(problems.contains("cannot be read: it is not UTF-8 text"), "{problems}");
}

#[cfg(unix)]
#[test]
fn a_secret_in_a_file_for_everybody_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let path = directory.write(
        "configuration.toml",
        r#"
[task_source.api]
key = "first"
[connections.source.postgresql]
database = "d"
username = "u"
password = "second"
[connections.source.other]
kind = "postgresql"
database = "d"
username = "u"
password = "${env:PASSWORD}"
[connections.target.blob]
account_name = "account"
container_name = "lake"
account_key = "thirdKey"
"#,
    );
    let environment = Environment::of([("PASSWORD", "fourth")]).with_home("/");
    let warned = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (_, _, warnings) = load(Some(&path), &Overrides::default(), &environment).unwrap();
        let all = format!("{warnings:?}");
        assert!(["first", "second", "third", "fourth"].iter().all(|secret| !all.contains(secret)), "{all}");
        warnings
            .into_iter()
            .filter(|warning| warning.message.starts_with("is a secret in a file"))
            .map(|warning| warning.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warned(0o644),
        [
            "task_source.api.key",
            "connections.source.postgresql.password",
            "connections.target.blob.account_key"
        ]
    );
    assert_eq!(warned(0o600), [""; 0]);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    let config = good("\u{feff}[application]\r\nworkers = 9\r\n");
    assert_eq!(config.application.workers.get(), 9);
}

// Messages.

#[test]
fn ten_mistakes_are_ten_lines_in_the_order_of_the_file() {
    let problems = bad(r#"selected_task_source = "snowflake"

[application]
workers = 0
task_fetch_interval = "5"
debug_mode = "yes"
wokers = 3

[server]
host = "0.0.0.0"
port = 70000

[connections.source.sales]
kind = "postgres"

[connections.source.postgresql]
username = 5
password = "${env:NOT_SET}"

[connections.target.s3]
bucket_name = "s3://lake"
"#);
    let expected = "\
configuration.toml:1: selected_task_source is the string \"snowflake\"; expected one of \"api\", \"snowflake_stored_procedure\"
configuration.toml:4: application.workers is 0; expected an integer from 1 to 100
configuration.toml:5: application.task_fetch_interval is the string \"5\"; expected a duration from 1s to 1d, in seconds or as a text like \"90s\", \"5m\", \"2h\"
configuration.toml:6: application.debug_mode is the string \"yes\"; expected true or false
configuration.toml:7: application.wokers is not a known key. Did you mean workers?
configuration.toml:10: server.host is 0.0.0.0, which other machines reach; nothing listens on a network without authentication. Add an API key: [server.api_keys.orchestrator] with key = \"${env:AGENT_API_KEY}\". Or use \"127.0.0.1\", or set server.allow_unauthenticated = true when something in front of the agent keeps strangers out.
configuration.toml:11: server.port is 70000; expected an integer from 0 to 65535
configuration.toml:14: connections.source.sales.kind is \"postgres\"; expected \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\". Did you mean \"postgresql\"?
configuration.toml:16: connections.source.postgresql.database is missing. Add database to the section.
configuration.toml:17: connections.source.postgresql.username is an integer; expected a string
configuration.toml:18: connections.source.postgresql.password refers to the environment variable NOT_SET, which is not set. Set NOT_SET, or write the value here.
configuration.toml:21: connections.target.s3.bucket_name is the string \"s3://lake\"; expected the name alone, of 3 to 63 letters, digits, dots and hyphens, or an ARN";
    assert_eq!(problems, expected);
}

#[test]
fn syntax_errors_come_with_their_line_and_without_its_text() {
    let problems = bad("[application]\nworkers = \n[server\nport = 1\npassword = \"hunter2\n");
    let lines: Vec<&str> = problems.lines().collect();
    assert!(lines.len() >= 2, "{problems}");
    assert!(lines[0].starts_with("configuration.toml:2: syntax is not valid TOML: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
    assert!(bad("[a]\n[a]\n").contains("configuration.toml:2: syntax is not valid TOML: duplicate key"));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_one() {
    for (text, expected) in [
        (
            "colour = 1",
            "configuration.toml:1: colour is not a known key. Known here: selected_task_source, \
          application, server, transfer, log, queue, history, guards, idle_shutdown, otlp, task_source, bounds, secrets, connections, bulk_utility.",
        ),
        ("[aplication]", "configuration.toml:1: aplication is not a known key. Did you mean application?"),
        (
            "[connections.sources.x]",
            "configuration.toml:1: connections.sources is not a known key. \
          Did you mean source?",
        ),
        (
            "[transfer]\nbatchRows = 1",
            "configuration.toml:2: transfer.batchRows is not a known key. \
          Did you mean batch_rows?",
        ),
        (
            "[bulk_utility.bpc]",
            "configuration.toml:1: bulk_utility.bpc has no kind, and its name is not one either. \
          Add kind = \"bcp\".",
        ),
        (
            "\"a[9999999999]\" = 1",
            "configuration.toml:1: \"a[9999999999]\" is not a known key. Known here: \
          selected_task_source, application, server, transfer, log, queue, history, guards, idle_shutdown, otlp, task_source, bounds, secrets, connections, bulk_utility.",
        ),
        (
            "[application]\n\"x.y\" = 1",
            "configuration.toml:2: application.\"x.y\" is not a known key. \
          Known here: workers, task_fetch_interval, debug_mode, affinity, data_directory, stop_grace, \
          memory_limit, lease_refresh_interval.",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
}

#[test]
fn sections_have_to_be_tables() {
    for (text, expected) in [
        (
            "application = 4",
            "configuration.toml:1: application is an integer; expected a table. \
          Write it as a section: [application].",
        ),
        (
            "connections = [1]",
            "configuration.toml:1: connections is an array; expected a table. \
          Write it as a section: [connections].",
        ),
        (
            "connections.source = \"x\"",
            "configuration.toml:1: connections.source is a string; expected a \
          table. Write it as a section: [connections.source].",
        ),
        (
            "[connections.source]\npostgresql = 1.5",
            "configuration.toml:2: connections.source.postgresql is \
          a float; expected a table. A connection has a section: [connections.source.postgresql].",
        ),
        (
            "[[application]]\nworkers = 1",
            "configuration.toml:1: application is an array; expected a table. \
          Write it as a section: [application].",
        ),
        (
            "[connections.source.\" \"]",
            "configuration.toml:1: connections.source.\" \" has a blank name. \
          Give the connection a name.",
        ),
        (
            "bulk_utility.bcp = true",
            "configuration.toml:1: bulk_utility.bcp is a boolean; expected a table. \
          Write it as a section: [bulk_utility.bcp].",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
}

#[test]
fn a_text_behind_a_reference_is_in_no_message() {
    let directory = Directory::new();
    let file = directory.write("secret", "hunter2\n");
    let environment = Environment::of([("SECRET", "hunter2")]).with_home("/");
    for line in [
        "[application]\nworkers = \"VALUE\"",
        "[application]\ndebug_mode = \"VALUE\"",
        "[application]\nstop_grace = \"VALUE\"",
        "[application]\nmemory_limit = \"VALUE\"",
        "[server]\nhost = \"VALUE\"",
        "[transfer]\ncompression = \"VALUE\"",
        "[transfer]\ncsv_delimiter = \"VALUE\"",
        "[connections.source.x]\nkind = \"VALUE\"",
        "[connections.source.postgresql]\nport = \"VALUE\"\nnumeric = \"VALUE\"\nsslmode = \"VALUE\"",
        "[connections.target.s3]\nbucket_name = \"VALUE!\"\nendpoint_url = \"VALUE\"",
        "[connections.target.s3]\nbucket_name = \"lake\"\nendpoint_url = \"http://u:hunter2@host\"",
    ] {
        for reference in ["${env:SECRET}".to_owned(), format!("${{file:{}}}", file.display())] {
            let problems = parse_in(&line.replace("VALUE", &reference), &environment).unwrap_err();
            assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{line}: {problems}");
        }
    }
}

#[test]
fn no_debug_output_shows_a_secret() {
    let (config, warnings) = parse_in(SAMPLE_OF_1_2_0, &environment_of_1_2_0()).unwrap();
    let shown = format!("{config:?} {warnings:?}");
    for secret in ["\"password\"", "api-key", "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn references_give_numbers_and_truths_too() {
    let environment = Environment::of([("N", "8"), ("YES", "true"), ("HOST", "db"), ("PW", "p${w}")]);
    let text = r#"
[application]
data_directory = "/data"
workers = "${env:N}"
debug_mode = "${env:YES}"
task_fetch_interval = "${env:N}"
stop_grace = "${env:N}m"
[connections.source.postgresql]
host = "${env:HOST}.example.com"
database = "$${literal}"
username = "u"
password = "${env:PW}"
"#;
    let (config, _) = parse_in(text, &environment).unwrap();
    assert_eq!(config.application.workers.get(), 8);
    assert!(config.application.debug_mode);
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(8));
    assert_eq!(config.application.stop_grace, Duration::from_secs(8 * 60));
    let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{config:?}") };
    assert_eq!(source.host, "db.example.com");
    assert_eq!(source.database, "${literal}");
    assert_eq!(source.password, Some(Secret::new("p${w}")));
}

// Version 1.2.0.

#[test]
fn the_sample_of_1_2_0_works_unchanged() {
    let (config, warnings) = parse_in(SAMPLE_OF_1_2_0, &environment_of_1_2_0()).unwrap();
    assert_eq!(config.application.workers.get(), 4);
    assert_eq!(config.application.affinity.as_deref(), Some("blue"));
    let with_odbc: &[&str] = if cfg!(feature = "odbc") { &["teradata"] } else { &[] };
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), [&["postgresql", "sqlserver"], with_odbc].concat());
    let SourceConnection::SqlServer(source) = &config.sources["sqlserver"] else { panic!("{config:?}") };
    assert_eq!((source.host.as_str(), source.port, source.instance.as_deref()), ("127.0.0.1", 1433, None));
    assert_eq!(source.encryption, SqlServerEncryption::Mandatory);
    assert!(source.trusts_any_certificate);
    let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{config:?}") };
    assert_eq!((source.host.as_str(), source.port), ("localhost", 5432));
    assert_eq!(
        config.targets.keys().collect::<Vec<_>>(),
        ["blob", "s3", "snowflake_connection_name", "snowflake_external_browser", "snowflake_password"]
    );
    let way = |name: &str| match &config.targets[name] {
        TargetConnection::Snowflake(target) => target.connection.authentication.clone(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(way("snowflake_connection_name"), Authentication::OAuthToken(_)));
    assert!(matches!(way("snowflake_external_browser"), Authentication::ExternalBrowser(_)));
    assert!(matches!(way("snowflake_password"), Authentication::Password(_)));
    let TargetConnection::S3(target) = &config.targets["s3"] else { panic!("{config:?}") };
    assert_eq!(target.profile_name.as_deref(), Some("profile_name"));
    let unavailable: Vec<&str> = config.unavailable.iter().map(|section| section.section.as_str()).collect();
    let without_odbc: &[&str] = if cfg!(feature = "odbc") { &[] } else { &["connections.source.teradata"] };
    assert_eq!(unavailable, without_odbc);
    let BulkUtilityKind::Bcp(bcp) = &config.bulk_utilities["bcp"].kind else { panic!("{config:?}") };
    assert_eq!((bcp.delimiter.as_str(), bcp.row_terminator.as_str()), (",", "\n"));
    assert_eq!((bcp.trusted_connection, bcp.encrypt), (false, Some(true)));
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4 + without_odbc.len(), "{texts:#?}");
    assert_eq!(
        texts[0],
        "configuration.toml:11: task_source.api.key is not used without base_url. Add base_url when a \
         remote API hands out tasks; without it they come from POST /tasks."
    );
    assert_eq!(
        texts[1],
        "configuration.toml:23: connections.source.sqlserver.instanceName is not used, because `port` says where \
         the server listens. Keep one of the two."
    );
}

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
        (
            "trusted_connection = \"yes\"",
            "integrated (Kerberos) authentication, which this version cannot do",
        ),
        ("integratedSecurity = true", "integrated (Kerberos) authentication, which this version cannot do"),
        ("username = \"u\"\ntable_hint = \"UPDLOCK\"", "table_hint"),
        ("username = \"u\"\nauthentication = \"ActiveDirectoryInteractive\"", "authentication"),
        ("client_id = \"c\"\nclient_secret = \"s\"\ntenant_id = \"t\"\nauthority = \"x\"", "authority"),
    ] {
        let problems = bad(&format!("[connections.source.sqlserver]\ndatabase = \"d\"\n{lines}"));
        assert!(problems.contains(expected), "{lines}: {problems}");
    }
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

// Proofs, section by section.

#[test]
fn application_is_proven() {
    for (line, expected) in [
        ("workers = 101", "workers is 101; expected an integer from 1 to 100"),
        ("workers = -1", "workers is -1; expected an integer from 1 to 100"),
        ("workers = \"4\"", "workers is the string \"4\"; expected an integer from 1 to 100"),
        ("workers = 4.0", "workers is a float; expected an integer from 1 to 100"),
        ("workers = 99999999999999999999", "workers is an integer of more than 64 bits"),
        ("workers = 2024-01-01", "workers is a date or time; no key takes one"),
        ("debug_mode = 1", "debug_mode is an integer; expected true or false"),
        ("affinity = \" \"", "affinity is blank; expected a text"),
        ("affinity = {}", "affinity is a table; expected a string"),
        ("data_directory = []", "data_directory is an array; expected a string"),
        (
            "stop_grace = \"2 weeks\"",
            "stop_grace is the string \"2 weeks\"; expected a duration from 0s to 1d, in seconds or as a \
             text like \"90s\", \"5m\", \"2h\"",
        ),
        (
            "task_fetch_interval = \"500ms\"",
            "task_fetch_interval is the string \"500ms\"; expected a duration from 1s to 1d, in seconds or as \
             a text like \"90s\", \"5m\", \"2h\"",
        ),
        (
            "memory_limit = 512",
            "memory_limit is 512; expected a size of at least 1 MiB, in bytes or as a text like \"64 MiB\", \
             \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("application", line), expected);
    }
    let config = good(
        "[application]\nstop_grace = \"2m\"\nmemory_limit = \"1 GiB\"\ntask_fetch_interval = \"1h\"\n\
         data_directory = \"~/queue\"\nlease_refresh_interval = 120\n",
    );
    assert_eq!(config.application.stop_grace, Duration::from_secs(120));
    assert_eq!(config.application.memory_limit, NonZeroU64::new(1 << 30));
    assert_eq!(config.application.task_fetch_interval, Duration::from_secs(3600));
    assert_eq!(config.application.data_directory, PathBuf::from("/home/agent/queue"));
}

#[test]
fn without_a_home_directory_the_data_directory_has_to_be_written() {
    let nowhere = Environment::default();
    let problems = parse_in("", &nowhere).unwrap_err().to_string();
    assert_eq!(
        problems,
        "application.data_directory is missing, and there is no home directory for its default. \
         Write the directory of the queue, or set HOME."
    );
    let problems = parse_in("application.data_directory = \"~/x\"", &nowhere).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(parse_in("application.data_directory = \"/x\"", &nowhere).is_ok());
}

#[test]
fn the_server_listens_on_a_network_only_when_told_so_twice() {
    let server = |lines: &str| good(&format!("[server]\n{lines}")).server;
    for host in ["127.0.0.1", "127.8.8.8", "::1", "localhost"] {
        assert!(server(&format!("host = \"{host}\"")).host.is_loopback(), "{host}");
    }
    for host in ["0.0.0.0", "::", "192.168.1.1"] {
        let line = format!("host = \"{host}\"");
        let problem = bad_line("server", &line);
        assert!(problem.contains("nothing listens on a network without authentication"), "{problem}");
        let problem = bad_line("server", &format!("{line}\nallow_unauthenticated = false"));
        assert!(problem.contains("nothing listens on a network without authentication"), "{problem}");
        let allowed = server(&format!("{line}\nallow_unauthenticated = true"));
        assert_eq!(allowed.host.to_string(), host);
        assert!(allowed.allow_unauthenticated);
    }
    // A wrong word is one problem, not two.
    assert_eq!(bad("[server]\nhost = \"::\"\nallow_unauthenticated = 1").lines().count(), 1);
    assert_eq!(server("port = 0\nmax_body_bytes = \"2 MiB\"").max_body_bytes, 2 << 20);
    for (line, expected) in [
        ("port = -1", "port is -1; expected an integer from 0 to 65535"),
        (
            "host = \"example.com\"",
            "host is the string \"example.com\"; expected an IP address such as \"127.0.0.1\", or \"localhost\"",
        ),
        (
            "max_body_bytes = 0",
            "max_body_bytes is 0; expected a size from 1 KiB to 1 GiB, in bytes or as a text like \
             \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("server", line), expected);
    }
}

#[test]
fn transfer_is_proven() {
    let transfer = good(
        "[transfer]\nslices = 4\nbatch_rows = 1000\nbatch_bytes = \"1 MiB\"\nrow_group_rows = 5000\n\
         row_group_bytes = 1048576\nmax_file_size = \"1GB\"\ncompression = \"gzip\"\nformat = \"csv\"\n\
         csv_delimiter = \"\\t\"\ncsv_line_end = \"\\n\"\ncsv_header = false\n",
    )
    .transfer;
    assert_eq!(transfer.slices.get(), 4);
    assert_eq!(transfer.batch_rows.get(), 1000);
    assert_eq!(transfer.batch_bytes.get(), 1 << 20);
    assert_eq!(transfer.row_group_rows.get(), 5000);
    assert_eq!(transfer.row_group_bytes.get(), 1 << 20);
    assert_eq!(transfer.max_file_size.get(), 1_000_000_000);
    assert_eq!(transfer.compression, Compression::Gzip);
    assert_eq!(transfer.format, FileFormat::Csv);
    assert_eq!(transfer.csv_delimiter, b'\t');
    assert_eq!(transfer.csv_line_end, "\n");
    assert!(!transfer.csv_header);
    for (line, expected) in [
        ("slices = 0", "slices is 0; expected an integer from 1 to 256"),
        ("batch_rows = 0", "batch_rows is 0; expected an integer from 1 to 10000000"),
        (
            "compression = \"ZSTD\"",
            "compression is the string \"ZSTD\"; expected one of \"zstd\", \"snappy\", \"gzip\", \"none\"",
        ),
        ("format = \"orc\"", "format is the string \"orc\"; expected one of \"parquet\", \"csv\""),
        (
            "csv_delimiter = \"||\"",
            "csv_delimiter is the string \"||\"; expected one ASCII character, neither a quote nor a line end",
        ),
        (
            "csv_delimiter = '\"'",
            "csv_delimiter is the string \"\\\"\"; expected one ASCII character, neither a quote nor a line end",
        ),
        ("csv_line_end = \"\\r\"", "csv_line_end is the string \"\\r\"; expected one of \"\\r\\n\", \"\\n\""),
        (
            "max_file_size = \"1 PiB\"",
            "max_file_size is the string \"1 PiB\"; expected a size from 1 KiB to 5 TiB, in bytes or as a text \
             like \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_line("transfer", line), expected);
    }
}

#[test]
fn task_sources_are_proven() {
    for (text, expected) in [
        (
            "selected_task_source = \"kafka\"",
            "configuration.toml:1: selected_task_source is the string \"kafka\"; expected one of \"api\", \
             \"snowflake_stored_procedure\"",
        ),
        (
            "task_source = 1",
            "configuration.toml:1: task_source is an integer; expected a table. \
          Write it as a section: [task_source].",
        ),
        (
            "[task_source.api]\nkeys = 1",
            "configuration.toml:2: task_source.api.keys is not a known key. \
          Did you mean key?",
        ),
        (
            "[task_source.rest]",
            "configuration.toml:1: task_source.rest is not a known key. \
          Known here: api, snowflake_stored_procedure.",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
    assert!(warnings("selected_task_source = \"api\"").is_empty());
}

#[test]
fn the_kind_of_a_connection_is_its_name_when_nobody_says() {
    let config = good(
        "[connections.source.sqlite]\npath = \"/a.db\"\n[connections.source.b]\nkind = \"sqlite\"\n\
         path = \"~/b.db\"\n[connections.target.local]\nroot = \"/out\"\n\
         [connections.target.other]\nkind = \"local\"\nroot = \"~/out\"\n",
    );
    let sqlite = |path: &str| SourceConnection::Sqlite(SqliteSource { path: path.into() });
    assert_eq!(config.sources["sqlite"], sqlite("/a.db"));
    assert_eq!(config.sources["b"], sqlite("/home/agent/b.db"));
    let local = |root: &str| TargetConnection::Local(LocalTarget { root: root.into() });
    assert_eq!(config.targets["local"], local("/out"));
    assert_eq!(config.targets["other"], local("/home/agent/out"));
    for (text, expected) in [
        (
            "[connections.source.sales]",
            "configuration.toml:1: connections.source.sales has no kind, and its \
          name is not one either. Add kind = \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\".",
        ),
        (
            "[connections.source.postgres]",
            "configuration.toml:1: connections.source.postgres has no kind, \
          and its name is not one either. Add kind = \"postgresql\".",
        ),
        (
            "[connections.source.s3]",
            "configuration.toml:1: connections.source.s3 has no kind, and its name \
          is not one either. Add kind = \"postgresql\" or \"mysql\" or \"mariadb\" or \"sqlserver\" or \"sqlite\" or \"odbc\" or \"teradata\" or \"oracle\" or \"db2\" or \"redshift\".",
        ),
        (
            "[connections.target.x]\nkind = \"ftp\"",
            "configuration.toml:2: connections.target.x.kind is \
          \"ftp\"; expected \"local\" or \"s3\" or \"blob\" or \"gcs\" or \"snowflake\"",
        ),
        (
            "[connections.target.x]\nkind = 3",
            "configuration.toml:2: connections.target.x.kind is an integer; \
          expected \"local\" or \"s3\" or \"blob\" or \"gcs\" or \"snowflake\"",
        ),
        (
            "[connections.source.sqlite]",
            "configuration.toml:1: connections.source.sqlite.path is missing. \
          Add path to the section.",
        ),
        (
            "[connections.target.local]\nroot = \"\"",
            "configuration.toml:2: connections.target.local.root is \
          blank; expected a text",
        ),
    ] {
        assert_eq!(bad(text), expected, "{text}");
    }
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

#[test]
fn s3_is_proven() {
    assert_eq!(
        s3(""),
        S3Target {
            bucket_name: "lake".into(),
            prefix: String::new(),
            profile_name: None,
            region_name: None,
            endpoint_url: None,
            path_style: false,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            encryption: None,
            part_size: NonZeroUsize::new(8 << 20).unwrap(),
            parallel_parts: NonZeroUsize::new(2).unwrap(),
            request_timeout: Duration::from_secs(60),
        }
    );
    for (prefix, expected) in [("", ""), ("/", ""), ("a", "a/"), ("/a/b/", "a/b/"), ("a/", "a/")] {
        assert_eq!(s3(&format!("prefix = \"{prefix}\"")).prefix, expected, "{prefix}");
    }
    let target =
        s3("region_name = \"eu-west-1\"\nendpoint_url = \"http://127.0.0.1:9000\"\npath_style = true\n\
         access_key_id = \"AK\"\nsecret_access_key = \"SK\"\nsession_token = \"ST\"\n\
         server_side_encryption = \"aws:kms\"\nkms_key_id = \"key\"\npart_size = \"5 MiB\"\n\
         parallel_parts = 16\nrequest_timeout = \"2m\"");
    assert_eq!(target.endpoint_url.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(target.encryption, Some(S3Encryption::Kms { key_id: Some("key".into()) }));
    assert_eq!(target.session_token, Some(Secret::new("ST")));
    assert_eq!(target.part_size.get(), 5 << 20);
    assert_eq!(target.request_timeout, Duration::from_secs(120));
    assert_eq!(s3("server_side_encryption = \"AES256\"").encryption, Some(S3Encryption::Aes256));
    for (lines, expected) in [
        (
            "access_key_id = \"AK\"",
            "access_key_id is given without secret_access_key. Add it, or leave both out.",
        ),
        (
            "secret_access_key = \"SK\"",
            "secret_access_key is given without access_key_id. Add it, or leave both out.",
        ),
        (
            "session_token = \"ST\"",
            "session_token is given without access_key_id. \
             Add access_key_id and secret_access_key, or leave it out.",
        ),
        (
            "profile_name = \"p\"\naccess_key_id = \"AK\"\nsecret_access_key = \"SK\"",
            "profile_name is given beside access_key_id. Keep one of them.",
        ),
        (
            "kms_key_id = \"k\"",
            "kms_key_id is given without server_side_encryption = \"aws:kms\". Add that, or leave the key out.",
        ),
        (
            "server_side_encryption = \"aes256\"",
            "server_side_encryption is the string \"aes256\"; expected one of \"AES256\", \"aws:kms\"",
        ),
        (
            "endpoint_url = \"storage:9000\"",
            "endpoint_url is not a URL such as \"https://storage.example.com:9000\", without user, query and \
             fragment",
        ),
        ("parallel_parts = 17", "parallel_parts is 17; expected an integer from 1 to 16"),
        (
            "part_size = \"1 MiB\"",
            "part_size is the string \"1 MiB\"; expected a size from 5 MiB to 5 GiB, in bytes or as a text like \
             \"64 MiB\", \"8MB\"",
        ),
    ] {
        assert_eq!(bad_s3(lines), expected);
    }
    for name in ["ab", "a/b", "a b", "-é-"] {
        let problem = bad(&format!("[connections.target.s3]\nbucket_name = \"{name}\""));
        assert!(problem.contains("of 3 to 63 letters"), "{problem}");
    }
    let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake";
    good(&format!("[connections.target.s3]\nbucket_name = \"{arn}\""));
}

// Example and documentation.

/// The example with every commented key and section enabled.
fn enabled(example: &str) -> String {
    let is_setting = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        let is_key =
            line.contains(" = ") && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_'));
        is_key || (line.starts_with('[') && line.ends_with(']'))
    };
    example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn example_environment() -> Environment {
    let connection_string = "AccountName=account;AccountKey=a2V5";
    Environment::of([
        ("AZURE_CONNECTION_STRING", connection_string),
        ("AZURE_ACCOUNT_KEY", "a2V5"),
        ("AZURE_SAS_TOKEN", "sig=x"),
        ("OTLP_TOKEN", "a"),
        ("AGENT_API_KEY", "0123456789abcdef"),
        ("VAULT_TOKEN", "a"),
        ("VAULT_SECRET_ID", "a"),
        ("SALES_PASSWORD", "a"),
        ("SHOP_PASSWORD", "a"),
        ("CRM_PASSWORD", "a"),
        ("CRM_TOKEN", "a"),
        ("SALES_ODBC", "DSN=sales"),
        ("SHOP_ODBC", "DSN=shop"),
        ("CRM_ODBC", "DSN=crm"),
        ("VENDOR_CONNECTION", "DSN=vendor"),
        ("VENDOR_PASSWORD", "a"),
        ("DWH_PASSWORD", "a"),
        ("DWH_LOGDATA", "a"),
        ("ERP_PASSWORD", "a"),
        ("DB2_PASSWORD", "a"),
        ("CLUSTER_PASSWORD", "a"),
        ("CRM_SECRET", "a"),
        ("STORE_SECRET", "b"),
        ("TASK_API_KEY", "c"),
        ("SNOWFLAKE_KEY_PASSPHRASE", "c"),
        ("SNOWFLAKE_HOST", "snowflake.example.com"),
        ("SNOWFLAKE_ACCOUNT", "AB12345"),
    ])
    .with_home("/home/agent")
}

#[test]
fn the_example_is_the_defaults_as_it_is() {
    let (config, warnings) = parse_in(EXAMPLE, &example_environment()).unwrap();
    assert_eq!(config, good(""));
    assert_eq!(warnings, []);
}

#[test]
fn the_example_is_valid_with_everything_enabled() {
    let text = enabled(EXAMPLE);
    let (config, _) = parse_in(&text, &example_environment()).unwrap_or_else(|problems| panic!("{problems}"));
    // Those through ODBC are sources in a build that has it, and unavailable in another.
    assert_eq!(config.sources.len() + config.unavailable.len(), 4 + 7);
    assert_eq!(config.sources.len(), if cfg!(feature = "odbc") { 4 + 7 } else { 4 });
    assert_eq!(config.targets.len(), 9);
}

/// Every list of keys, the section of the example that shows it, and what else the section needs.
fn lists() -> Vec<(&'static str, &'static [Key], &'static str)> {
    const SNOWFLAKE: &str = "account = \"a\"\nuser = \"u\"\npassword = \"p\"\n";
    const SALES: &str = "kind = \"postgresql\"\nusername = \"u\"\ndatabase = \"d\"\n";
    const SHOP: &str = "kind = \"mysql\"\nusername = \"u\"\n";
    const CRM: &str = "kind = \"sqlserver\"\nusername = \"u\"\ndatabase = \"d\"\n";
    const VENDOR: &str = "kind = \"odbc\"\ndsn = \"d\"\n";
    const CLUSTER: &str = "kind = \"redshift\"\nhost = \"h\"\ndatabase = \"d\"\n";
    const BLOB: &str = "container_name = \"lake\"\naccount_name = \"account\"\nsas_token = \"sig=x\"\n";
    vec![
        ("", keys::TOP, ""),
        ("application", keys::APPLICATION, ""),
        ("server", keys::SERVER, ""),
        ("server.api_keys.orchestrator", keys::API_KEY, "key = \"0123456789abcdef\"\n"),
        (
            "server.tls",
            keys::SERVER_TLS,
            "certificate = \"c\"\nprivate_key = \"k\"\nclient_certificates = \"a\"\n",
        ),
        ("bounds", keys::BOUNDS, ""),
        ("secrets", keys::SECRET_STORES, ""),
        ("secrets.vault", keys::SECRETS_VAULT, "address = \"https://vault\"\ntoken = \"t\"\n"),
        ("secrets.aws", keys::SECRETS_AWS, ""),
        ("secrets.azure", keys::SECRETS_AZURE, ""),
        ("transfer", keys::TRANSFER, ""),
        ("log", keys::LOG, ""),
        ("queue", keys::QUEUE, ""),
        ("history", keys::HISTORY, ""),
        ("guards", keys::GUARDS, ""),
        ("idle_shutdown", keys::IDLE_SHUTDOWN, ""),
        ("otlp", keys::OTLP, "endpoint = \"http://127.0.0.1:4318\"\n"),
        ("task_source", keys::TASK_SOURCE, ""),
        ("task_source.api", keys::TASK_SOURCE_API, ""),
        ("task_source.snowflake_stored_procedure", keys::TASK_SOURCE_SNOWFLAKE, ""),
        ("connections", keys::CONNECTIONS, ""),
        ("bulk_utility.bcp", keys::BCP, ""),
        ("bulk_utility.psql", keys::PSQL, ""),
        ("bulk_utility.mysql", keys::MYSQL_CLIENT, ""),
        ("bulk_utility.tpt", keys::TPT, ""),
        ("bulk_utility.exporter", keys::COMMAND, "kind = \"command\"\nexecutable = \"export\"\n"),
        ("connections.source.sales", keys::POSTGRESQL, SALES),
        ("connections.source.sales", keys::POSTGRESQL_DRIVER, SALES),
        ("connections.source.shop", keys::MYSQL, SHOP),
        ("connections.source.shop", keys::MYSQL_DRIVER, SHOP),
        ("connections.source.archive", keys::SQLITE, "kind = \"sqlite\"\npath = \"p\"\n"),
        ("connections.source.crm", keys::SQLSERVER, CRM),
        ("connections.source.crm", keys::SQLSERVER_DRIVER, CRM),
        ("connections.source.vendor", keys::ODBC, VENDOR),
        ("connections.source.vendor", keys::ODBC_SHARED, VENDOR),
        ("connections.source.dwh", keys::TERADATA, "kind = \"teradata\"\n"),
        ("connections.source.erp", keys::ORACLE, "kind = \"oracle\"\nservice_name = \"s\"\n"),
        ("connections.source.mainframe", keys::DB2, "kind = \"db2\"\ndatabase = \"d\"\n"),
        ("connections.source.cluster", keys::REDSHIFT, CLUSTER),
        ("connections.target.local", keys::LOCAL, "root = \"r\"\n"),
        ("connections.target.s3", keys::S3, "bucket_name = \"lake\"\n"),
        ("connections.target.blob", keys::BLOB, BLOB),
        ("connections.target.gcs", keys::GCS, "bucket_name = \"lake\"\n"),
        ("connections.target.snowflake", keys::SNOWFLAKE, SNOWFLAKE),
        ("connections.target.snowflake", keys::SNOWFLAKE_CONNECTION, SNOWFLAKE),
    ]
}

fn written<'a>(document: &'a raw::Table, section: &str) -> &'a raw::Table {
    section.split('.').filter(|name| !name.is_empty()).fold(document, |table, name| {
        match table.get(name).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => table,
            _ => panic!("no [{section}] in the example"),
        }
    })
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let document = parsed_toml(&enabled(EXAMPLE));
    for (section, list, _) in lists() {
        for key in list {
            let mut found = written(&document, section).get(key.name);
            if section == "connections.target.s3" && found.is_none() {
                // Keys of access exclude a profile, so they have a section of their own.
                found = written(&document, "connections.target.store").get(key.name);
            }
            if section == "connections.target.blob" && found.is_none() {
                // Only one way to log in can be given.
                let other =
                    |name: &str| written(&document, &format!("connections.target.{name}")).get(key.name);
                found = ["blob_by_name", "blob_by_token"].into_iter().find_map(other);
            }
            if section == "connections.target.snowflake" && found.is_none() {
                // Whoever names another connection says less.
                found = written(&document, "connections.target.service").get(key.name);
            }
            if section == "bulk_utility.exporter" && found.is_none() {
                // CSV and other delimited texts have keys of their own.
                found = written(&document, "bulk_utility.dumper").get(key.name);
            }
            if found.is_none() && ["connections.source.dwh", "connections.source.erp"].contains(&section) {
                // The same place can be named in two ways, of which one is enough.
                found = written(&document, &format!("{section}_by_name")).get(key.name);
            }
            let found = found.unwrap_or_else(|| panic!("{section}.{} is not in the example", key.name));
            if is_toml_default(key) {
                let default = &parsed_toml(&format!("key = {}", key.default))["key"];
                assert_eq!(found.kind, default.kind, "{section}.{} shows its default", key.name);
            }
        }
    }
}

fn is_toml_default(key: &Key) -> bool {
    !key.default.is_empty() && key.default != REQUIRED && key.name != "kind"
}

#[test]
fn the_queue_keeps_ended_tasks_for_a_month_for_longer_or_for_ever() {
    let queue = |lines: &str| good(&format!("[queue]\n{lines}")).queue;
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert_eq!(queue(""), QueueSettings { keep: Some(month), max_tasks: Some(1_000_000) });
    assert_eq!(queue("keep = \"90d\"").keep, Some(3 * month));
    assert_eq!(queue("keep = 0\nmax_tasks = 0"), QueueSettings { keep: None, max_tasks: None });
    let problems = bad("[queue]\nkeep = \"59m\"\nmax_tasks = -1");
    assert!(problems.contains("queue.keep is shorter than 1h"), "{problems}");
    assert!(problems.contains("queue.max_tasks"), "{problems}");
    assert!(bad("[queue]\nkeep = \"4000d\"").contains("queue.keep is"), "longer than ten years");
}

#[test]
fn the_examples_of_the_operations_guide_are_valid() {
    let guide = include_str!("../../docs/OPERATIONS.md");
    let environment = Environment::of([("AGENT_API_KEY", "0123456789abcdef"), ("SALES_PASSWORD", "hunter2")])
        .with_home("/home/agent");
    let blocks: Vec<&str> =
        guide.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() > 2);
    for block in blocks {
        let proven = parse_in(block, &environment).map(drop);
        assert_eq!(proven.map_err(|problems| problems.to_string()), Ok(()), "{block}");
    }
}

#[test]
fn documented_defaults_are_the_real_ones() {
    for (section, list, needed) in lists() {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        for key in list.iter().filter(|key| is_toml_default(key)) {
            let without = format!("{header}{needed}");
            let with = format!("{without}{} = {}\n", key.name, key.default);
            assert_eq!(good(&with), good(&without), "{section}.{}", key.name);
        }
    }
}

#[test]
fn every_key_is_read_and_its_type_is_proven() {
    // These belong to version 1.2.0, and nobody reads them.
    const UNREAD: [&str; 1] = ["application.lease_refresh_interval"];
    for (section, list, needed) in lists() {
        for key in list {
            let path = raw::join(section, key.name);
            if UNREAD.contains(&path.as_str()) {
                continue;
            }
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let needed: String = needed
                .lines()
                .filter(|line| !line.starts_with(&format!("{} =", key.name)))
                .map(|line| format!("{line}\n"))
                .collect();
            let problems = bad(&format!("{header}{needed}{} = []\n", key.name));
            assert!(problems.contains(&format!("{path} is an array; expected ")), "{path}: {problems}");
        }
    }
}

/// A list of keys as the table of the documentation.
fn table(list: &[Key]) -> String {
    let mut text = String::from("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    for key in list {
        let default = match key.default {
            "" => "–".to_owned(),
            default if is_toml_default(key) => format!("`{default}`"),
            default => default.to_owned(),
        };
        text.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.name, key.kind, key.meaning));
    }
    text
}

#[test]
fn the_documentation_has_every_key_as_the_reader_knows_it() {
    let missing: BTreeSet<String> = lists()
        .into_iter()
        .map(|(_, list, _)| table(list))
        .filter(|table| !DOCUMENTATION.contains(table))
        .collect();
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(missing.is_empty(), "not in docs/CONFIGURATION.md:\n{}", missing.join("\n"));
    for option in
        keys::POSTGRESQL_IGNORED.iter().chain(keys::SQLSERVER_IGNORED).chain(keys::SNOWFLAKE_IGNORED)
    {
        assert!(DOCUMENTATION.contains(&format!("`{option}`")), "{option} is not in docs/CONFIGURATION.md");
    }
}

#[test]
fn the_configurations_in_the_documentation_are_valid() {
    let blocks: Vec<&str> =
        DOCUMENTATION.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let directory = Directory::new();
    let secret = directory.write("secret", "x");
    let environment = Environment::of([("SALES_PASSWORD", "a")]).with_home("/home/agent");
    for block in blocks {
        let block = block.replace("/run/secrets/sales", secret.to_str().unwrap());
        parse_in(&block, &environment).unwrap_or_else(|problems| panic!("{block}\n{problems}"));
    }
}

// Any text.

fn parsed_toml(text: &str) -> raw::Table {
    let file = ::config::File::from_str(text, ::config::FileFormat::Toml);
    let document = ::config::Config::builder().add_source(file).build();
    document.unwrap_or_else(|error| panic!("{error}")).cache.into_table().unwrap()
}

/// A key that the reader knows somewhere, or nothing of the kind.
fn any_key() -> impl Strategy<Value = String> {
    let known: Vec<String> = lists()
        .iter()
        .flat_map(|(_, list, _)| list.iter().map(|key| key.name.to_owned()))
        .chain(keys::POSTGRESQL_IGNORED.iter().chain(keys::SNOWFLAKE_IGNORED).map(|name| (*name).to_owned()))
        .collect();
    prop_oneof![4 => proptest::sample::select(known), 1 => "[a-zA-Z_]{0,8}", 1 => "\\PC{0,6}"]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        "[$]{0,2}[{](env|file)?:?[a-z/]{0,4}[}]?".prop_map(|text| format!("{text:?}")),
        "[0-9]{0,22} ?(s|m|h|MiB|GB|B)?".prop_map(|text| format!("{text:?}")),
        "decimal\\([0-9]{0,3},-?[0-9]{0,3}\\)".prop_map(|text| format!("{text:?}")),
        Just("2024-01-01T00:00:00Z".to_owned()),
        Just("[1, \"x\", {}]".to_owned()),
        Just("{ a = { b = 1 } }".to_owned()),
    ]
}

fn any_configuration() -> impl Strategy<Value = String> {
    let sections: Vec<&'static str> = lists()
        .iter()
        .map(|(section, ..)| *section)
        .chain(["connections.source.postgresql", "connections.source.postgresql.options", "bulk_utility.bcp"])
        .collect();
    let line = (any_key(), any_value()).prop_map(|(key, value)| format!("{key:?} = {value}\n"));
    let section = (proptest::sample::select(sections), proptest::collection::vec(line, 0..6)).prop_map(
        |(section, lines)| match section {
            "" => lines.concat(),
            section => format!("[{section}]\n{}", lines.concat()),
        },
    );
    proptest::collection::vec(section, 0..5).prop_map(|sections| sections.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\PC|\\n|\\t){0,200}") {
        let _ = parse_in(&text, &environment());
    }

    #[test]
    fn no_configuration_panics_and_every_problem_has_a_line(text in any_configuration()) {
        if let Err(problems) = parse_in(&text, &environment()) {
            prop_assert!(!problems.0.is_empty());
            for problem in problems.0 {
                prop_assert!(problem.place.is_some(), "{problem}");
                prop_assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }

    #[test]
    fn no_variable_panics(name in "[A-Z_.\\[\\]0-9]{0,20}", value in "\\PC{0,10}") {
        let prefixed = format!("{}{name}", raw::PREFIX);
        let below = format!("{}CONNECTIONS__SOURCE__POSTGRESQL__{name}", raw::PREFIX);
        let environment = Environment::of([(prefixed, value.clone()), (below, value)]).with_home("/");
        let _ = parse_in("", &environment);
    }

    #[test]
    fn no_url_panics(scheme in "(postgresql://|sqlserver://|sqlite:|file:|s3://)?", rest in "\\PC{0,30}") {
        let url = format!("{scheme}{rest}");
        let _ = source_from_url(&url, &environment());
        let _ = target_from_url(&url, &environment());
    }
}

#[test]
fn api_keys_are_proven_and_kept_as_hashes() {
    let keys = |lines: &str| good(lines).server.api_keys;
    let all = keys(
        "[server.api_keys.b]\nkey = \"0123456789abcdef\"\n[server.api_keys.a]\nkey = \"fedcba9876543210\"\nscopes = \"read,submit\"",
    );
    let scopes: Vec<_> = all.iter().map(|key| (key.name(), key.scopes().len())).collect();
    assert_eq!(scopes, [("a", 2), ("b", 3)]);
    assert!(all[1].is(&KeyDigest::of(b"0123456789abcdef")));
    assert!(!format!("{all:?}").contains("0123456789abcdef"));

    // A key opens the network.
    good("[server]\nhost = \"0.0.0.0\"\n[server.api_keys.a]\nkey = \"0123456789abcdef\"");
    for (lines, expected) in [
        ("key = \"short\"", "shorter than 16 characters"),
        ("key = \"0123456789abcdef\"\nscopes = \"read, write\"", "read, submit and operate"),
        ("key = \"0123456789abcdef\"\nscopes = \" \"", "scopes"),
        ("scopes = \"read\"", "key is missing"),
        (
            "key = \"0123456789abcdef\"\n[server.api_keys.b]\nkey = \"0123456789abcdef\"",
            "is the same as that of server.api_keys.a",
        ),
    ] {
        let problems = bad(&format!("[server.api_keys.a]\n{lines}"));
        assert!(problems.contains(expected), "{lines}: {problems}");
        assert!(!problems.contains("0123456789abcdef"), "{problems}");
    }
}
