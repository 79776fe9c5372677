//! The container's entrypoint, run natively: what it makes out of the environment, word for word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use data_exchange_agent::config::{
    self, Config, Environment, KeyDigest, Overrides, SourceConnection, TargetConnection,
};

use serde_json::Value;

use crate::support::folder::{Folder, write_program};
use crate::support::foreign_reader;
use crate::support::server::{Server, free_address};

const ARTIFACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-artifacts");
pub(crate) const KEY: &str = "an api key of some length";
/// What every start with a configuration that is made needs, and a key, so that none is made.
pub(crate) const BASE: [(&str, &str); 2] = [("AGENT_AFFINITY", "blue"), ("AGENT_API_KEY", KEY)];
/// What a password may hold, and what shells, envsubst, TOML and the agent's references may do to it.
pub(crate) const HOSTILE: [&str; 8] = [
    r#"it's "quoted" \ and \\n"#,
    "two\nlines\r\nand\ttabs",
    "$HOME ${HOME} $(id) `id` $$ $",
    "${env:HOME} $${file:/etc/passwd} $$${x}",
    "# no comment",
    "\u{1}\u{1f}\u{7f}",
    "größe 密码 🦀",
    " leading and trailing ",
];

/// The entrypoint with `echo` in the agent's place.
pub(crate) fn entrypoint(runtime: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(runtime);
    command.envs(variables.iter().copied()).args(arguments);
    command.output().expect("bash is installed")
}

/// The same, not started yet. Its home directory is `runtime`, too.
#[expect(clippy::disallowed_methods, reason = "tests start the program that they test")]
pub(crate) fn command(runtime: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(format!("{ARTIFACTS}/docker-entrypoint.sh"));
    command
        .env_clear()
        .env("PATH", path)
        .env("AGENT_RUNTIME_DIRECTORY", runtime)
        .env("HOME", runtime)
        .env("AGENT_PROGRAM", "echo");
    command
}

pub(crate) fn made(runtime: &Path) -> Config {
    made_with(runtime, [("HOME", "/home/agent")])
}

/// The configuration that was made, as the agent reads it with these variables in its environment.
pub(crate) fn made_with<'a>(
    runtime: &Path,
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Config {
    let file = runtime.join("configuration.toml");
    let environment = Environment::of(variables).with_home("/home/agent");
    let (config, _, warnings) = config::load(Some(&file), &Overrides::default(), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    config
}

#[test]
fn any_value_arrives_as_it_is() {
    for value in HOSTILE {
        let folder = Folder::new();
        let runtime = folder.path().join("runtime");
        let variables = [
            ("AGENT_AFFINITY", value),
            ("AGENT_API_KEY", KEY),
            ("DATA_SOURCE_KIND", "postgresql"),
            ("DATA_SOURCE_HOST", "database"),
            ("DATA_SOURCE_DATABASE", value),
            ("DATA_SOURCE_USERNAME", "reader"),
            ("DATA_SOURCE_PASSWORD", value),
        ];
        let output = entrypoint(&runtime, &variables, &[]);
        assert!(output.status.success(), "{value:?}: {output:?}");
        let config = made(&runtime);
        assert_eq!(config.application.affinity.as_deref(), Some(value), "{value:?}");
        let SourceConnection::Postgres(source) = &config.sources["postgresql"] else { panic!("{value:?}") };
        assert_eq!(source.password.as_ref().map(config::Secret::expose), Some(value));
        assert_eq!((source.database.as_str(), source.port), (value, 5432), "{value:?}");
        assert!(config.server.api_keys[0].is(&KeyDigest::of(KEY.as_bytes())));
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(value), "{value:?} was printed");
        let mode = |path: &Path| fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!(mode(&runtime), 0o700);
        assert_eq!(mode(&runtime.join("configuration.toml")), 0o600);
    }
}

#[test]
fn no_secret_stands_in_the_list_of_processes() {
    let folder = Folder::new();
    let programs = folder.path().join("programs");
    let log = folder.path().join("arguments");
    fs::create_dir(&programs).unwrap();
    for name in ["env", "envsubst", "iconv", "sed", "awk", "od", "tr"] {
        let script = format!(
            "#!/bin/bash\nprintf '%s\\n' {name} \"$@\" >>'{}'\nPATH=${{PATH#*:}} exec {name} \"$@\"\n",
            log.display()
        );
        write_program(&programs, name, &script);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = format!("{}:{}", programs.display(), path.to_string_lossy());
    let variables = [
        ("PATH", path.as_str()),
        ("AGENT_AFFINITY", "blue"),
        ("AGENT_API_KEY", KEY),
        ("AGENT_METRICS_KEY", "planted-key-for-scrapes"),
        ("DATA_SOURCE_KIND", "teradata"),
        ("DATA_SOURCE_HOST", "database"),
        ("DATA_SOURCE_PASSWORD", "planted-password"),
        ("SNOWFLAKE_ACCOUNT", "account"),
        ("SNOWFLAKE_PASSWORD", "planted-secret"),
    ];
    let output = entrypoint(&folder.path().join("runtime"), &variables, &[]);
    assert!(output.status.success(), "{output:?}");
    let arguments = fs::read_to_string(log).unwrap();
    assert!(arguments.contains("envsubst"), "the programs of this test were called: {arguments}");
    for secret in [KEY, "planted-key-for-scrapes", "planted-password", "planted-secret"] {
        assert!(!arguments.contains(secret), "{arguments}");
    }
}

#[test]
fn defaults_arguments_and_keys_are_those_of_the_documentation() {
    let folder = Folder::new();
    let output = entrypoint(folder.path(), &[("AGENT_AFFINITY", "blue")], &["--debug", "-w", "3"]);
    let file = folder.path().join("configuration.toml");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(stdout.trim(), format!("run --config {} --debug -w 3", file.display()));
    let config = made(folder.path());
    assert_eq!((config.application.workers.get(), config.server.port), (1, 5000));
    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert!(config.sources.is_empty() && config.targets.is_empty());
    // The key that was made is said once, and is the one in the file.
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let key = stderr.trim().rsplit(' ').next().expect("words");
    assert_eq!((stderr.lines().count(), key.len()), (1, 64), "{stderr}");
    assert!(config.server.api_keys[0].is(&KeyDigest::of(key.as_bytes())));

    for (arguments, expected) in [
        (vec!["run", "--once"], format!("run --config {} --once", file.display())),
        (vec!["--config", "/etc/agent.toml"], "run --config /etc/agent.toml".to_owned()),
    ] {
        let output = entrypoint(folder.path(), &[("AGENT_AFFINITY", "blue")], &arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
        // A key that was made is no key of an agent that reads another file.
        assert_eq!(output.stderr.is_empty(), arguments.contains(&"--config"), "{output:?}");
    }
}

/// `check` proves what the variables made; what runs no agent needs no affinity, and makes no key known.
#[test]
fn other_commands_get_the_configuration_that_they_take() {
    let folder = Folder::new();
    let file = folder.path().join("configuration.toml");
    let made = format!("--config {}", file.display());
    for (arguments, expected) in [
        (vec!["check", "--json"], format!("check {made} --json")),
        (vec!["doctor"], format!("doctor {made}")),
        (vec!["check", "-c", "/etc/agent.toml"], "check -c /etc/agent.toml".to_owned()),
        (vec!["extract", "--source", "sales"], format!("extract {made} --source sales")),
        (vec!["config", "print", "--redacted"], format!("config print --redacted {made}")),
        (vec!["tasks", "list"], "tasks list".to_owned()),
        (vec!["extract", "--help"], "extract --help".to_owned()),
        (vec!["--debug", "--version"], "--debug --version".to_owned()),
    ] {
        let output = entrypoint(folder.path(), &[], &arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

/// The endpoint, and whether the bucket is in the path of its URLs.
#[test]
fn a_store_of_its_own_is_asked_by_path_and_amazon_by_host() {
    for (endpoint, said, expected) in [
        ("", "", false),
        ("", "true", true),
        ("http://store:9000", "", true),
        ("https://store.example.com", "false", false),
    ] {
        let folder = Folder::new();
        let variables = [
            ("AGENT_AFFINITY", "blue"),
            ("S3_BUCKET", "lake"),
            ("S3_REGION", "eu-west-1"),
            ("S3_ENDPOINT_URL", endpoint),
            ("S3_PATH_STYLE", said),
        ];
        let output = entrypoint(folder.path(), &variables, &[]);
        assert!(output.status.success(), "{endpoint} {said}: {output:?}");
        let config = made(folder.path());
        let TargetConnection::S3(target) = &config.targets["s3"] else { panic!("another kind") };
        assert_eq!(target.path_style, expected, "{endpoint} {said}");
        assert_eq!(target.endpoint_url.as_deref().unwrap_or_default(), endpoint);
    }
}

#[test]
fn what_is_wrong_is_said_at_once_and_nothing_starts() {
    let folder = Folder::new();
    let variables = [("WORKER_COUNT", "many"), ("DATA_SOURCE_NAME", "a b"), ("S3_PATH_STYLE", "yes")];
    let output = entrypoint(folder.path(), &variables, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    for name in ["AGENT_AFFINITY is missing", "WORKER_COUNT", "DATA_SOURCE_NAME", "S3_PATH_STYLE"] {
        assert!(stderr.contains(name), "{name}: {stderr}");
    }
    assert!(output.stdout.is_empty() && !folder.path().join("configuration.toml").exists());
}

#[test]
fn a_connection_to_snowflake_becomes_a_connection_file() {
    let folder = Folder::new();
    let password = "p'\"\\${env:HOME}$";
    let variables = [
        ("AGENT_AFFINITY", "blue"),
        ("SNOWFLAKE_ACCOUNT", "org-account"),
        ("SNOWFLAKE_USER", "loader"),
        ("SNOWFLAKE_PASSWORD", password),
        ("SNOWFLAKE_WAREHOUSE", "LOAD WH"),
    ];
    let output = entrypoint(folder.path(), &variables, &[]);
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(folder.path().join("snowflake/config.toml")).expect("it was made");
    let document = ::toml::de::DeTable::parse(&text).expect("TOML").into_inner();
    let connections = document["connections"].get_ref().as_table().expect("a table");
    let found: BTreeMap<&str, &str> = connections["default"]
        .get_ref()
        .as_table()
        .expect("a table")
        .iter()
        .map(|(key, value)| (&**key.get_ref(), value.get_ref().as_str().expect("a text")))
        .collect();
    let expected =
        [("account", "org-account"), ("password", password), ("user", "loader"), ("warehouse", "LOAD WH")];
    assert_eq!(found, BTreeMap::from(expected));
}

/// The real agent, started by the entrypoint, and asked by the health check of the image.
#[test]
fn the_agent_starts_and_the_health_check_finds_it() {
    let folder = Folder::new();
    let address = free_address();
    let (home, port) = (folder.path().to_str().expect("plain"), address.port().to_string());
    let settings = [
        ("HOME", home),
        ("AGENT_RUNTIME_DIRECTORY", home),
        ("AGENT_PROGRAM", env!("CARGO_BIN_EXE_data-exchange-agent")),
        ("AGENT_AFFINITY", "blue"),
        ("AGENT_HOST", "127.0.0.1"),
        ("AGENT_PORT", &port),
    ];
    let assignments: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut arguments: Vec<&str> = assignments.iter().map(String::as_str).collect();
    let script = format!("{ARTIFACTS}/docker-entrypoint.sh");
    arguments.push(&script);
    let server = Server::start(Path::new("env"), &arguments);
    server.wait_for("healthy agent", |_| health_check_in(folder.path()).then_some(()));
    drop(server);
    assert!(!health_check_in(folder.path()), "nobody answers any more");
}

/// The health check where another program than the entrypoint has started the agent.
pub(crate) fn health_check(port: &str) -> bool {
    is_healthy("AGENT_PORT", port)
}

/// The health check of the agent that the entrypoint has started with this runtime directory.
pub(crate) fn health_check_in(runtime: &Path) -> bool {
    is_healthy("AGENT_RUNTIME_DIRECTORY", runtime.to_str().expect("plain"))
}

#[expect(clippy::disallowed_methods, reason = "tests start the program that they test")]
fn is_healthy(variable: &str, value: &str) -> bool {
    let mut command = Command::new(format!("{ARTIFACTS}/healthcheck.sh"));
    command.env("AGENT_RUNTIME_DIRECTORY", "/not/there").env(variable, value);
    command.output().expect("bash is installed").status.success()
}

/// The try-out of docs/docker: its agent is configured for the database and the store beside it, and the
/// task in its first lines is one of them.
#[test]
fn the_try_out_gives_its_agent_the_database_and_the_store_beside_it() {
    let Some((text, compose)) = compose() else { return };
    let services = &compose["services"];
    let agent = variables_of(&services["agent"]);
    let folder = Folder::new();
    let given: Vec<(&str, &str)> = agent.iter().map(|(name, value)| (*name, *value)).collect();
    let output = entrypoint(folder.path(), &given, &[]);
    assert!(output.status.success(), "{output:?}");
    let config = made(folder.path());

    let postgres = variables_of(&services["postgres"]);
    let SourceConnection::Postgres(source) = &config.sources["shop"] else { panic!("another kind") };
    assert_eq!((source.host.as_str(), source.port), ("postgres", 5432));
    assert_eq!(source.database, postgres["POSTGRES_DB"]);
    assert_eq!(source.username, postgres["POSTGRES_USER"]);
    let password = source.password.as_ref().map(config::Secret::expose);
    assert_eq!(password, Some(postgres["POSTGRES_PASSWORD"]));
    // The temporary server of the first start answers on the socket alone, and is no database yet.
    let check = services["postgres"]["healthcheck"]["test"].as_array().expect("a list");
    assert!(check.contains(&Value::from("-h")), "{check:?}");

    let TargetConnection::S3(target) = &config.targets["s3"] else { panic!("another kind") };
    let port = services["store"]["command"][1].as_str().expect("a port");
    assert_eq!(target.endpoint_url, Some(format!("http://store:{port}")));
    assert!(target.path_style, "no host is called lake.store");
    let made_by = variables_of(&services["bucket"]);
    assert_eq!(target.endpoint_url.as_deref(), Some(made_by["AWS_ENDPOINT_URL"]));
    assert_eq!(target.region_name.as_deref(), Some(made_by["AWS_DEFAULT_REGION"]));
    let program = services["bucket"]["entrypoint"][2].as_str().expect("a program");
    assert!(program.contains(&format!("Bucket='{}'", target.bucket_name)), "{program}");

    let comment: String = text.lines().map_while(|line| line.strip_prefix("#")).collect();
    let (_, request) = comment.split_once("-d '").expect("the task");
    let (request, _) = request.split_once('\'').expect("its end");
    let request: Value = serde_json::from_str(request).expect("JSON");
    assert_eq!(request["source_config"]["database"], agent["DATA_SOURCE_NAME"]);
    assert_eq!(request["destination_config"]["type"], "s3");
    let table = request["source_config"]["table"].as_str().expect("a table");
    let sample = compose["configs"]["sample"]["content"].as_str().expect("SQL");
    assert!(sample.contains(&format!("CREATE TABLE {table}")), "{sample}");
    assert!(comment.contains(&format!("Bearer {}'", agent["AGENT_API_KEY"])), "{comment}");
}

/// The text of compose.yaml, and what it says.
#[expect(clippy::disallowed_methods, reason = "tests start the programs that they compare with")]
fn compose() -> Option<(String, Value)> {
    if !foreign_reader::is_installed() {
        return None;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/docker/compose.yaml");
    let output = Command::new(std::env::var_os("TEST_PYTHON").expect("asked for before"))
        .args([
            "-c",
            "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
            file,
        ])
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((
        fs::read_to_string(file).expect("it is there"),
        serde_json::from_slice(&output.stdout).expect("JSON"),
    ))
}

fn variables_of(service: &Value) -> BTreeMap<&str, &str> {
    let variables = service["environment"].as_object().expect("variables");
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a text"))).collect()
}
