//! Which configuration the agent of a container has: one that was mounted, or the one that is made, with the
//! connection file of Snowflake beside it; where it listens, and that the health check asks there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use data_exchange_agent::config::{KeyDigest, Scope};

use super::docker::{BASE, KEY, command, entrypoint, health_check_in, made};
use crate::support::folder::{Folder, write_program};
use crate::support::server::{Server, free_address};

const AGENT: &str = env!("CARGO_BIN_EXE_data-exchange-agent");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-artifacts/docker-entrypoint.sh");
const METRICS_KEY: &str = "another key of some length";
/// Has an address of its own, and refers to variables that the entrypoint knows.
const MOUNTED: &str = "[server]\nhost = \"127.0.0.1\"\nport = 5001\n\n[server.api_keys.caller]\n\
                       key = \"${env:AGENT_API_KEY}\"\n\n[connections.source.sales]\nkind = \"postgresql\"\n\
                       database = \"sales\"\nusername = \"reader\"\npassword = \"${env:DATA_SOURCE_PASSWORD}\"\n";
/// What `MOUNTED` refers to.
const REFERENCES: [(&str, &str); 2] = [("AGENT_API_KEY", KEY), ("DATA_SOURCE_PASSWORD", "pass word")];

/// The entrypoint with the real agent.
fn agent(runtime: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(runtime);
    command.env("AGENT_PROGRAM", AGENT).envs(variables.iter().copied()).args(arguments);
    command.output().expect("bash is installed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().expect("it is in the folder")).expect("the folder takes new ones");
    fs::write(&file, text).expect("the folder takes new files");
    file.to_str().expect("plain").to_owned()
}

#[test]
fn a_mounted_configuration_keeps_its_variables_and_listens_where_the_container_does() {
    let folder = Folder::new();
    let file = write(folder.path(), "own.toml", MOUNTED);
    let print = ["config", "print", "--config", &file];
    for (given, host, port) in [
        (vec![], "0.0.0.0", "5000"),
        (vec![("AGENT_HOST", "127.0.0.1"), ("AGENT_PORT", "05010")], "127.0.0.1", "5010"),
        (vec![("DATA_EXCHANGE_AGENT__SERVER__PORT", "5020")], "0.0.0.0", "5020"),
    ] {
        let runtime = folder.path().join("runtime");
        let output = agent(&runtime, &[&REFERENCES[..], &given[..]].concat(), &print);
        assert!(output.status.success(), "{output:?}");
        let shown = text(&output.stdout);
        for line in [format!("host = \"{host}\""), format!("port = {port} ")] {
            assert!(shown.contains(&line), "{line}: {shown}");
        }
        assert!(shown.contains("${env:AGENT_API_KEY}") && shown.contains("${env:DATA_SOURCE_PASSWORD}"));
        // Nothing is made that nobody reads, and no key is told that opens nothing.
        assert!(!runtime.join("configuration.toml").exists());
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_mounted_configuration_without_a_key_is_refused_where_others_reach_it() {
    let folder = Folder::new();
    let file = write(folder.path(), "own.toml", "[server]\nport = 5001\n");
    // A key of the environment is none of the file.
    let output = agent(folder.path(), &[("AGENT_API_KEY", KEY)], &["--config", &file]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("server.host is 0.0.0.0") && said.contains("without authentication"), "{said}");
    assert!(!said.contains("callers of this container use the key"), "{said}");
}

#[test]
fn a_file_can_be_named_in_every_way_that_the_agent_knows() {
    let folder = Folder::new();
    for arguments in [
        vec!["-c", "/own.toml"],
        vec!["-c/own.toml"],
        vec!["-c=/own.toml"],
        vec!["-dc", "/own.toml"],
        vec!["-dc/own.toml"],
        vec!["--config=/own.toml"],
        vec!["--once", "--config", "/own.toml"],
    ] {
        for name in ["run", "check", "extract"] {
            let arguments = [&[name][..], &arguments[..]].concat();
            // What is wrong in variables of the file that is not made is not asked for.
            let output = entrypoint(folder.path(), &[("WORKER_COUNT", "many")], &arguments);
            assert_eq!(text(&output.stdout).trim(), arguments.join(" "), "{output:?}");
        }
    }
    // An option that ends in the same letter has a value, and names no file.
    let output = entrypoint(folder.path(), &[("AGENT_AFFINITY", "blue")], &["-w", "3", "--once"]);
    assert!(text(&output.stdout).starts_with("run --config "), "{output:?}");
}

#[test]
fn the_health_check_is_told_where_the_agent_listens() {
    for (variables, arguments, expected) in [
        (vec![], vec![], "0.0.0.0 5000"),
        (vec![("AGENT_HOST", "::1"), ("AGENT_PORT", "7")], vec!["--debug"], "::1 7"),
        (vec![("AGENT_PORT", "7")], vec!["run", "--port", "8", "--host", "::1"], "::1 8"),
        (vec![("DATA_EXCHANGE_AGENT__SERVER__PORT", "9")], vec!["--host=10.0.0.1"], "10.0.0.1 9"),
        (vec![("DATA_EXCHANGE_AGENT__SERVER__PORT", "9")], vec!["--port=8"], "0.0.0.0 8"),
        (vec![], vec!["-p", "8"], "0.0.0.0 8"),
        (vec![], vec!["-dp8"], "0.0.0.0 8"),
        (vec![], vec!["-dp", "8", "-c", "/own.toml"], "0.0.0.0 8"),
    ] {
        let folder = Folder::new();
        let variables = [&BASE[..], &variables[..]].concat();
        let output = entrypoint(folder.path(), &variables, &arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let found = fs::read_to_string(folder.path().join("address")).expect("it was written");
        assert_eq!(found.trim(), expected, "{variables:?} {arguments:?}");
    }
    // `docker exec` of another command says nothing about the agent that runs.
    let folder = Folder::new();
    assert!(entrypoint(folder.path(), &[("AGENT_PORT", "7")], &["check"]).status.success());
    assert!(!folder.path().join("address").exists());
}

#[test]
fn an_agent_with_a_mounted_configuration_or_a_port_of_its_own_is_found_healthy() {
    for (is_mounted, is_argument) in [(true, false), (false, true), (true, true)] {
        let folder = Folder::new();
        let home = folder.path().to_str().expect("plain");
        let port = free_address().port().to_string();
        let file = write(folder.path(), "own.toml", MOUNTED);
        let settings = [
            ("HOME", home),
            ("AGENT_RUNTIME_DIRECTORY", home),
            ("AGENT_PROGRAM", AGENT),
            ("AGENT_AFFINITY", "blue"),
            ("AGENT_HOST", "127.0.0.1"),
            ("AGENT_PORT", if is_argument { "1" } else { &port }),
        ];
        let mut arguments: Vec<String> =
            settings.iter().chain(&REFERENCES).map(|(name, value)| format!("{name}={value}")).collect();
        arguments.push(SCRIPT.to_owned());
        if is_mounted {
            arguments.extend(["--config".to_owned(), file]);
        }
        if is_argument {
            arguments.extend(["--port".to_owned(), port]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::start(Path::new("env"), &arguments);
        server.wait_for("healthy agent", |_| health_check_in(folder.path()).then_some(()));
    }
}

#[test]
fn a_key_for_scrapes_reads_and_does_nothing_else() {
    let folder = Folder::new();
    let given = [("AGENT_AFFINITY", "blue"), ("AGENT_API_KEY", KEY), ("AGENT_METRICS_KEY", METRICS_KEY)];
    let output = entrypoint(folder.path(), &given, &[]);
    assert!(output.status.success(), "{output:?}");
    let keys = made(folder.path()).server.api_keys;
    let found: Vec<(&str, &[Scope])> = keys.iter().map(|key| (key.name(), key.scopes())).collect();
    assert_eq!(found, [("container", &Scope::ALL[..]), ("metrics", &[Scope::Read][..])]);
    assert!(keys[1].is(&KeyDigest::of(METRICS_KEY.as_bytes())));

    // Without the variable nobody has such a key, and it is none in place of the other one.
    assert!(entrypoint(folder.path(), &given[..2], &[]).status.success());
    assert_eq!(made(folder.path()).server.api_keys.len(), 1);
    let same = [given[0], given[1], ("AGENT_METRICS_KEY", KEY)];
    let output = entrypoint(folder.path(), &same, &[]);
    assert!(text(&output.stderr).contains("AGENT_METRICS_KEY is the same as AGENT_API_KEY"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn files_that_others_can_read_are_made_anew() {
    let folder = Folder::new();
    let runtime = folder.path().join("runtime");
    let files = ["configuration.toml", "snowflake/config.toml"].map(|name| write(&runtime, name, "old"));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for file in files.iter().map(Path::new).chain([&*runtime]) {
        let open = fs::Permissions::from_mode(if file.is_dir() { 0o755 } else { 0o644 });
        fs::set_permissions(file, open).expect("the file is ours");
    }
    let variables = [("AGENT_AFFINITY", "blue"), ("SNOWFLAKE_ACCOUNT", "account")];
    // The second start finds what the first one has made.
    for _ in 0..2 {
        assert!(entrypoint(&runtime, &variables, &[]).status.success());
        assert_eq!(mode(&runtime), 0o700);
        for file in files.iter().map(Path::new) {
            assert_eq!(mode(file), 0o600, "{}", file.display());
            assert!(!fs::read_to_string(file).expect("text").contains("old"));
        }
    }
}

#[test]
fn secrets_of_a_made_configuration_are_not_in_the_environment_of_the_agent() {
    let folder = Folder::new();
    let program = write_program(folder.path(), "program", "#!/bin/bash\nenv\n");
    let secrets = [
        ("AGENT_API_KEY", KEY),
        ("AGENT_METRICS_KEY", METRICS_KEY),
        ("DATA_SOURCE_PASSWORD", "planted-password"),
        ("SNOWFLAKE_PASSWORD", "planted-secret"),
    ];
    for (is_mounted, arguments) in [(false, vec!["--once"]), (true, vec!["--config", "/own.toml"])] {
        let mut command = command(&folder.path().join("runtime"));
        command.envs([
            ("AGENT_PROGRAM", program.to_str().expect("plain")),
            ("AGENT_AFFINITY", "blue"),
            ("SNOWFLAKE_ACCOUNT", "a"),
        ]);
        let output = command.envs(secrets).args(arguments).output().expect("bash is installed");
        assert!(output.status.success(), "{output:?}");
        let environment = text(&output.stdout);
        assert!(environment.contains("SNOWFLAKE_HOME="), "{environment}");
        for (name, secret) in secrets {
            assert_eq!(environment.contains(secret), is_mounted, "{name}: {environment}");
        }
    }
}

/// What `config print` shows of the connection that the queue in Snowflake is asked by.
fn connection_of(runtime: &Path, variables: &[(&str, &str)]) -> String {
    let given = [&BASE[..], variables].concat();
    let output = agent(runtime, &given, &["config", "print", "--without-defaults"]);
    assert!(output.status.success(), "{variables:?}: {output:?}");
    let shown = text(&output.stdout);
    let (_, section) = shown.split_once("[task_source.snowflake_stored_procedure]\n").expect("the section");
    section.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_connection_file_that_is_there_wins_over_the_variables_of_a_connection() {
    const FILE: &str = "account = \"org-account\"\nuser = \"loader\"\npassword = \"secret\"\n";
    let made_of = [("SNOWFLAKE_ACCOUNT", "other"), ("SNOWFLAKE_USER", "u"), ("SNOWFLAKE_PASSWORD", "p")];
    let lake = [&made_of[..], &[("SNOWFLAKE_CONNECTION_NAME", "lake")]].concat();
    for (file, section) in [
        ("home/.snowflake/config.toml", "[connections.lake]"),
        ("home/.snowflake/connections.toml", "[lake]"),
        ("mounted/connections.toml", "[lake]"),
    ] {
        let folder = Folder::new();
        let path = write(folder.path(), file, &format!("{section}\n{FILE}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        let [home, mounted] =
            ["home", "mounted"].map(|name| folder.path().join(name).to_str().expect("plain").to_owned());
        let mut variables = [&lake[..], &[("HOME", &*home)]].concat();
        if file.starts_with("mounted") {
            variables.push(("SNOWFLAKE_HOME", &*mounted));
        }
        let runtime = folder.path().join("runtime");
        let shown = connection_of(&runtime, &variables);
        assert!(shown.starts_with("connection_name = \"lake\""), "{file}: {shown}");
        assert!(!runtime.join("snowflake").exists(), "{file}");
        // That file has no `default`, which is the name of a connection that is made.
        variables.push(("SNOWFLAKE_CONNECTION_NAME", "default"));
        variables.extend(BASE);
        let output = agent(&runtime, &variables, &["config", "print"]);
        assert!(text(&output.stderr).contains("there is no Snowflake connection `default`"), "{output:?}");
    }
    // The text of such a file in a variable wins, too.
    let folder = Folder::new();
    let given = format!("[lake]\n{FILE}");
    let shown = connection_of(folder.path(), &[&lake[..], &[("SNOWFLAKE_CONNECTIONS", &*given)]].concat());
    assert!(shown.starts_with("connection_name = \"lake\""), "{shown}");
    assert!(!folder.path().join("snowflake").exists());
    // Without any of them there is the one of the variables.
    assert!(connection_of(folder.path(), &made_of).starts_with("connection_name = \"default\""));
}

#[test]
fn a_connection_to_snowflake_may_have_any_name() {
    for name in ["lake", "my lake", "europe.lake", "\"quoted\" ]\n[x", "größe"] {
        let folder = Folder::new();
        let variables = [
            ("SNOWFLAKE_ACCOUNT", "org-account"),
            ("SNOWFLAKE_USER", "loader"),
            ("SNOWFLAKE_PASSWORD", "secret"),
            ("SNOWFLAKE_CONNECTION_NAME", name),
        ];
        // The agent has looked it up, or there would be a problem.
        let shown = connection_of(folder.path(), &variables);
        assert!(shown.starts_with("connection_name = "), "{shown}");
        let file = fs::read_to_string(folder.path().join("snowflake/config.toml")).expect("it was made");
        let found: ::toml::Table = file.parse().expect("TOML");
        let names: Vec<&String> = found["connections"].as_table().expect("a table").keys().collect();
        assert_eq!(names, [name]);
    }
}
