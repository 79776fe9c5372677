//! Example, documentation and reader know the same keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ::config::ValueKind;

use super::super::keys::{self, Key, REQUIRED};
use super::*;
use crate::bulk::KINDS;

const EXAMPLE: &str = include_str!("../../../configuration.example.toml");
const DOCUMENTATION: &str = include_str!("../../../docs/CONFIGURATION.md");

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
        ("PGPASSWORD", "a"),
        ("SALES_USERNAME", "reader"),
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
pub(super) fn lists() -> Vec<(String, &'static [Key], &'static str)> {
    const SNOWFLAKE: &str = "account = \"a\"\nuser = \"u\"\npassword = \"p\"\n";
    const SALES: &str = "kind = \"postgresql\"\nusername = \"u\"\ndatabase = \"d\"\n";
    const SHOP: &str = "kind = \"mysql\"\nusername = \"u\"\n";
    const CRM: &str = "kind = \"sqlserver\"\nusername = \"u\"\ndatabase = \"d\"\n";
    const VENDOR: &str = "kind = \"odbc\"\ndsn = \"d\"\n";
    const CLUSTER: &str = "kind = \"redshift\"\nhost = \"h\"\ndatabase = \"d\"\n";
    const EXPORTER: &str = "kind = \"command\"\nexecutable = \"export\"\n";
    const BLOB: &str = "container_name = \"lake\"\naccount_name = \"account\"\nsas_token = \"sig=x\"\n";
    let lists: Vec<(&str, &[Key], &str)> = vec![
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
    ];
    // A utility that has to have a section may have any name; this is that of the example.
    let utilities = KINDS.iter().map(|kind| match kind.is_there_without_a_section {
        true => (format!("bulk_utility.{}", kind.name), kind.keys, ""),
        false => ("bulk_utility.exporter".to_owned(), kind.keys, EXPORTER),
    });
    lists
        .into_iter()
        .map(|(section, keys, needed)| (section.to_owned(), keys, needed))
        .chain(utilities)
        .collect()
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
        let section = section.as_str();
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
            let path = raw::join(&section, key.name);
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

/// The examples of TOML in a document, each with what the document says of it behind the fence.
fn examples(document: &str) -> impl Iterator<Item = (&str, &str)> {
    document.split("```toml").skip(1).map(|rest| {
        let (said, rest) = rest.split_once('\n').expect("the fence has a line of its own");
        (said.trim(), rest.split("```").next().unwrap_or_default())
    })
}

#[test]
fn the_configurations_in_the_documentation_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = Directory::new();
    let secret = directory.write("secret", "x");
    let mut checked = BTreeSet::new();
    for folder in ["", "docs", "docs/snowflake"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let document = fs::read_to_string(&path).unwrap();
            for (said, block) in examples(&document) {
                // `file=tasks.toml`: a file of another kind, which tests of its document use.
                if said.starts_with("file=") {
                    continue;
                }
                assert_eq!(said, "", "{}: what is said of an example of TOML", path.display());
                let block = block.replace("/run/secrets/sales", secret.to_str().unwrap());
                parse_in(&block, &example_environment())
                    .unwrap_or_else(|problems| panic!("{}:\n{block}\n{problems}", path.display()));
                checked.insert(path.clone());
            }
        }
    }
    assert!(checked.len() > 7, "{checked:?}");
}
