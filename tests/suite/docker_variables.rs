//! Variables of the container, one by one: what each becomes in the files that are made, and what is said
//! about a wrong one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use data_exchange_agent::config::SourceConnection;

use super::docker::{BASE, HOSTILE, command, entrypoint, made};
use crate::support::folder::Folder;

const SOURCE: [(&str, &str); 3] =
    [("DATA_SOURCE_HOST", "database"), ("DATA_SOURCE_DATABASE", "sales"), ("DATA_SOURCE_USERNAME", "reader")];

/// The configuration that was made, as TOML without a reader of references.
fn document(file: &Path) -> ::toml::Table {
    fs::read_to_string(file).expect("it was made").parse().expect("TOML")
}

fn value<'a>(table: &'a ::toml::Table, path: &[&str]) -> Option<&'a str> {
    let (key, sections) = path.split_last()?;
    let mut table = table;
    for section in sections {
        table = table.get(*section)?.as_table()?;
    }
    table.get(*key)?.as_str()
}

/// Starts with these variables, and returns what is said; nothing may have been made or started.
fn refused(variables: &[(&str, &str)]) -> String {
    let folder = Folder::new();
    let output = entrypoint(folder.path(), &[&BASE[..], variables].concat(), &[]);
    assert_eq!(output.status.code(), Some(2), "{variables:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{variables:?}: {output:?}");
    assert!(!folder.path().join("configuration.toml").exists(), "{variables:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Starts with these variables in a folder that is returned.
fn started(variables: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    let output = entrypoint(folder.path(), &[&BASE[..], variables].concat(), &[]);
    assert!(output.status.success(), "{variables:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{variables:?}: {output:?}");
    folder
}

#[test]
fn hostile_values_arrive_in_every_variable_that_takes_any_text() {
    for hostile in HOSTILE {
        let key = format!("0123456789abcdef{hostile}");
        let metrics_key = format!("fedcba9876543210{hostile}");
        let variables = [
            ("AGENT_API_KEY", &*key, &["server", "api_keys", "container", "key"][..]),
            ("AGENT_METRICS_KEY", &metrics_key, &["server", "api_keys", "metrics", "key"]),
            ("DATA_SOURCE_HOST", hostile, &["connections", "source", "teradata", "host"]),
            ("DATA_SOURCE_USERNAME", hostile, &["connections", "source", "teradata", "username"]),
            ("S3_BUCKET", hostile, &["connections", "target", "s3", "bucket_name"]),
            ("S3_REGION", hostile, &["connections", "target", "s3", "region_name"]),
            ("S3_ENDPOINT_URL", hostile, &["connections", "target", "s3", "endpoint_url"]),
        ];
        let mut given: Vec<(&str, &str)> = variables.iter().map(|(name, value, _)| (*name, *value)).collect();
        given.push(("DATA_SOURCE_KIND", "teradata"));
        let folder = started(&given);
        let found = document(&folder.path().join("configuration.toml"));
        for (name, expected, path) in variables {
            // The reader of references takes one dollar sign away again.
            let expected = expected.replace("${", "$${");
            assert_eq!(value(&found, path), Some(&*expected), "{name}");
        }
    }
}

#[test]
fn hostile_values_arrive_in_every_variable_of_a_connection_to_snowflake() {
    const NAMES: [&str; 7] = [
        "SNOWFLAKE_ACCOUNT",
        "SNOWFLAKE_USER",
        "SNOWFLAKE_PASSWORD",
        "SNOWFLAKE_WAREHOUSE",
        "SNOWFLAKE_ROLE",
        "SNOWFLAKE_DATABASE",
        "SNOWFLAKE_SCHEMA",
    ];
    for hostile in HOSTILE {
        let folder = started(&NAMES.map(|name| (name, hostile)));
        let found = document(&folder.path().join("snowflake/config.toml"));
        for name in NAMES {
            let key = name.trim_start_matches("SNOWFLAKE_").to_lowercase();
            // This file has no references.
            assert_eq!(value(&found, &["connections", "default", &key]), Some(hostile), "{name}");
        }
    }
}

#[test]
fn the_source_of_tasks_is_snowflake_where_there_is_a_connection_and_can_be_chosen() {
    let spcs = ("SNOWFLAKE_CONNECTION_NAME", "@SPCS_CONNECTION");
    let account = ("SNOWFLAKE_ACCOUNT", "org-account");
    let api = ("TASK_SOURCE", "api");
    let queue = ("TASK_SOURCE", "snowflake_stored_procedure");
    for (variables, selected, connection) in [
        (vec![], "api", None),
        (vec![account], "snowflake_stored_procedure", Some("default")),
        (vec![account, queue], "snowflake_stored_procedure", Some("default")),
        (vec![account, api], "api", Some("default")),
        // The platform sets the account, and the token is the connection.
        (vec![account, spcs], "snowflake_stored_procedure", Some("@SPCS_CONNECTION")),
        (vec![spcs, api], "api", Some("@SPCS_CONNECTION")),
    ] {
        let folder = started(&variables);
        let found = document(&folder.path().join("configuration.toml"));
        assert_eq!(value(&found, &["selected_task_source"]), Some(selected), "{variables:?}");
        let queue = ["task_source", "snowflake_stored_procedure", "connection_name"];
        assert_eq!(value(&found, &queue), connection, "{variables:?}");
        let target = ["connections", "target", "snowflake_connection_name", "connection_name"];
        assert_eq!(value(&found, &target), connection, "{variables:?}");
        let is_made = folder.path().join("snowflake/config.toml").exists();
        assert_eq!(is_made, connection == Some("default"), "{variables:?}");
    }
    assert!(refused(&[queue]).contains("TASK_SOURCE needs SNOWFLAKE_CONNECTION_NAME"));
}

#[test]
fn numbers_may_begin_with_zeros() {
    let variables = [("WORKER_COUNT", "04"), ("AGENT_PORT", "05010"), ("DATA_SOURCE_PORT", "0001433")];
    let folder = started(&[&variables[..], &SOURCE].concat());
    let config = made(folder.path());
    assert_eq!((config.application.workers.get(), config.server.port), (4, 5010));
    let SourceConnection::SqlServer(source) = &config.sources["sqlserver"] else { panic!("another kind") };
    assert_eq!((source.host.as_str(), source.port), ("database", 1433));
}

#[test]
fn a_wrong_value_is_told_by_the_name_of_its_variable() {
    for (name, values) in [
        ("WORKER_COUNT", &["0", "101", "-1", "4.5", "0x4", "4 ", "99999999999999999999"][..]),
        ("AGENT_PORT", &["0", "65536", "http"]),
        ("DATA_SOURCE_PORT", &["0", "65536", "1433]\n[x"]),
        ("AGENT_HOST", &["everywhere", "0.0.0.0\n", "[::]"]),
        ("AGENT_AFFINITY", &[" ", "\t\n"]),
        ("AGENT_API_KEY", &["fifteen letters"]),
        ("AGENT_METRICS_KEY", &["fifteen letters"]),
        ("DATA_SOURCE_NAME", &["a b", "a.b", "a]\n[b", "ä"]),
        ("TASK_SOURCE", &["snowflake", "api\""]),
        ("S3_PATH_STYLE", &["yes", "True"]),
    ] {
        for value in values {
            let said = refused(&[("S3_BUCKET", "lake"), (name, *value)]);
            let is_told = said.starts_with(&format!("docker-entrypoint.sh: {name} is "));
            assert!(is_told && said.lines().count() == 1, "{value:?}: {said}");
        }
    }
}

#[test]
fn what_is_not_utf8_is_told_by_the_name_of_its_variable() {
    let invalid: [&[u8]; 4] = [b"pass\xffword", b"\xc0\x80", b"\xed\xa0\x80", b"cut \xf0\x9f"];
    for name in ["DATA_SOURCE_PASSWORD", "AGENT_AFFINITY", "S3_BUCKET", "SNOWFLAKE_PASSWORD"] {
        for bytes in invalid {
            let folder = Folder::new();
            let runtime = folder.path().join("runtime");
            let mut command = command(&runtime);
            command.envs(BASE).envs(SOURCE).env("SNOWFLAKE_ACCOUNT", "account");
            command.env(name, OsStr::from_bytes(bytes));
            let output = command.output().expect("bash is installed");
            assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
            let said = String::from_utf8(output.stderr).expect("no value is printed");
            assert_eq!(said.trim(), format!("docker-entrypoint.sh: {name} is not UTF-8"));
            assert!(!runtime.exists(), "{name}: nothing is made");
        }
    }
}

#[test]
fn kinds_have_the_ports_that_the_agent_gives_them() {
    for kind in ["sqlserver", "postgresql", "mysql", "mariadb", "teradata", "db2", "redshift"] {
        let folder = started(&[&SOURCE[..], &[("DATA_SOURCE_KIND", kind)]].concat());
        let found = document(&folder.path().join("configuration.toml"));
        let section = found["connections"]["source"][kind].as_table().expect("a section");
        assert_eq!(section["kind"].as_str(), Some(kind));
        assert!(!section.contains_key("port"), "{kind}: the agent knows it");

        let given = [("DATA_SOURCE_KIND", kind), ("DATA_SOURCE_PORT", "1234"), ("DATA_SOURCE_NAME", "sales")];
        let folder = started(&[&SOURCE[..], &given].concat());
        let found = document(&folder.path().join("configuration.toml"));
        assert_eq!(found["connections"]["source"]["sales"]["port"].as_integer(), Some(1234), "{kind}");
    }
    for (kind, expected) in [("postgresql", 5432), ("mysql", 3306), ("sqlserver", 1433)] {
        let folder = started(&[&SOURCE[..], &[("DATA_SOURCE_KIND", kind)]].concat());
        let port = match &made(folder.path()).sources[kind] {
            SourceConnection::Postgres(source) => source.port,
            SourceConnection::Mysql(source) => source.port,
            SourceConnection::SqlServer(source) => source.port,
            other => panic!("another kind: {other:?}"),
        };
        assert_eq!(port, expected, "{kind}");
    }
}

#[test]
fn kinds_that_variables_cannot_describe_are_refused_and_documented() {
    let document = include_str!("../../docs/DOCKER.md");
    for kind in ["oracle", "odbc", "sqlite"] {
        let said = refused(&[&SOURCE[..], &[("DATA_SOURCE_KIND", kind)]].concat());
        assert!(said.contains("DATA_SOURCE_KIND") && said.contains("docs/DOCKER.md"), "{said}");
        assert!(document.contains(&format!("`{kind}`")), "docs/DOCKER.md does not name {kind}");
    }
}

#[test]
fn a_password_alone_is_no_source() {
    for variables in [
        &[("DATA_SOURCE_PASSWORD", "secret")][..],
        &[("DATA_SOURCE_PASSWORD", "secret"), ("DATA_SOURCE_KIND", "postgresql"), ("DATA_SOURCE_PORT", "1")],
        &[("DATA_SOURCE_NAME", "sales")],
    ] {
        assert!(made(started(variables).path()).sources.is_empty(), "{variables:?}");
    }
}

#[test]
fn what_is_missing_is_told_by_variables_unless_others_say_it() {
    for (kind, given, missing) in [
        ("sqlserver", "DATA_SOURCE_HOST", &["DATA_SOURCE_DATABASE", "DATA_SOURCE_USERNAME"][..]),
        ("postgresql", "DATA_SOURCE_DATABASE", &["DATA_SOURCE_USERNAME"]),
        ("mysql", "DATA_SOURCE_HOST", &["DATA_SOURCE_USERNAME"]),
        ("db2", "DATA_SOURCE_HOST", &["DATA_SOURCE_DATABASE"]),
        ("redshift", "DATA_SOURCE_DATABASE", &["DATA_SOURCE_HOST"]),
        ("teradata", "DATA_SOURCE_HOST", &[]),
    ] {
        let variables = [("DATA_SOURCE_KIND", kind), (given, "x")];
        if missing.is_empty() {
            started(&variables);
            continue;
        }
        let said = refused(&variables);
        let expected: Vec<String> = missing
            .iter()
            .map(|name| format!("docker-entrypoint.sh: {name} is missing: {kind} needs it"))
            .collect();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    }
    assert!(refused(&[("S3_REGION", "eu-west-1")]).contains("S3_BUCKET is missing"));
    let own = ("DATA_EXCHANGE_AGENT__CONNECTIONS__SOURCE__SQLSERVER__ACCESS_TOKEN", "token");
    started(&[SOURCE[0], SOURCE[1], own]);
}
