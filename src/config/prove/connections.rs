//! `[connections.source.<name>]` and `[connections.target.<name>]`.

use std::collections::BTreeMap;

use ::config::{Value, ValueKind};

use super::super::BulkUtilitySettings;
use super::super::known::Known;
use super::super::model::{LocalTarget, SourceConnection, TargetConnection, UnavailableConnection};
use super::super::raw::join;
use super::super::report::Report;
use super::super::section::{Section, type_name};
use super::super::{keys, reference};
use super::{
    prove_azure_blob, prove_gcs, prove_mysql, prove_odbc, prove_postgresql, prove_s3, prove_snowflake,
    prove_sqlite, prove_sqlserver,
};
use crate::catalog::{AUTO, NATIVE, ODBC};
use crate::nearest;

type Sources = BTreeMap<String, SourceConnection>;
type Targets = BTreeMap<String, TargetConnection>;
type Methods = BTreeMap<String, String>;

const SOURCE_KINDS: &[&str] = &[
    "postgresql",
    "mysql",
    "mariadb",
    "sqlserver",
    "sqlite",
    "odbc",
    "teradata",
    "oracle",
    "db2",
    "redshift",
];
const ODBC_KINDS: &[&str] = &["odbc", "teradata", "oracle", "db2", "redshift"];
/// Why a connection through ODBC is not available in a build without it.
const NO_ODBC: &str = "this build has no ODBC; build it with --features odbc (needs unixODBC)";
const TARGET_KINDS: &[&str] = &["local", "s3", "blob", "gcs", "snowflake"];
/// Kinds of version 1.2.0 that are served and that nobody should write any more.
const OLD_TARGET_KINDS: &[&str] =
    &["snowflake_connection_name", "snowflake_password", "snowflake_external_browser"];

fn is_unlisted_source(_kind: &str) -> bool {
    false
}

fn is_unlisted_target(kind: &str) -> bool {
    OLD_TARGET_KINDS.contains(&kind)
}

pub(super) fn prove_connections(
    report: &mut Report<'_>,
    value: Option<Value>,
    utilities: &BTreeMap<String, BulkUtilitySettings>,
    unavailable: &mut Vec<UnavailableConnection>,
) -> (Sources, Methods, Targets) {
    let mut section = Section::open(report, "connections", value, Known::exactly(keys::CONNECTIONS));
    let [source, target] = ["source", "target"].map(|name| section.value(name));
    let (mut sources, mut methods) = (Sources::new(), Methods::new());
    for (name, path, value) in named(report, "connections.source", source) {
        let Some(kind) = kind_of(report, &name, &path, &value, SOURCE_KINDS, is_unlisted_source) else {
            continue;
        };
        if let Some(method) = method_of(report, &path, &value, utilities) {
            methods.insert(name.clone(), method);
        }
        let connection = match kind.as_str() {
            "postgresql" => prove_postgresql(report, &path, value).map(SourceConnection::Postgres),
            "mysql" | "mariadb" => prove_mysql(report, &path, value).map(SourceConnection::Mysql),
            "sqlite" => prove_sqlite(report, &path, value).map(SourceConnection::Sqlite),
            "sqlserver" => prove_sqlserver(report, &path, value).map(SourceConnection::SqlServer),
            kind if ODBC_KINDS.contains(&kind) => {
                let source = prove_odbc(report, &path, kind, value);
                if cfg!(feature = "odbc") {
                    source.map(SourceConnection::Odbc)
                } else {
                    record(report, &path, NO_ODBC, unavailable);
                    None
                }
            }
            _ => {
                refuse(report, &path, unavailable);
                None
            }
        };
        sources.extend(connection.map(|connection| (name, connection)));
    }
    let mut targets = Targets::new();
    for (name, path, value) in named(report, "connections.target", target) {
        let Some(kind) = kind_of(report, &name, &path, &value, TARGET_KINDS, is_unlisted_target) else {
            continue;
        };
        let connection = match kind.as_str() {
            "local" => prove_local(report, &path, value).map(TargetConnection::Local),
            "s3" => prove_s3(report, &path, value).map(TargetConnection::S3),
            "blob" => prove_azure_blob(report, &path, value).map(TargetConnection::AzureBlob),
            "gcs" => prove_gcs(report, &path, value).map(TargetConnection::Gcs),
            kind if kind == "snowflake" || OLD_TARGET_KINDS.contains(&kind) => {
                prove_snowflake(report, &path, kind, value).map(TargetConnection::Snowflake)
            }
            _ => {
                refuse(report, &path, unavailable);
                None
            }
        };
        targets.extend(connection.map(|connection| (name, connection)));
    }
    (sources, methods, targets)
}

fn prove_local(report: &mut Report<'_>, path: &str, value: Value) -> Option<LocalTarget> {
    let mut section = Section::open(report, path, Some(value), Known::exactly(keys::LOCAL));
    section.skip("kind");
    Some(LocalTarget { root: section.required_path("root")? })
}

/// The connections or utilities below a section, in order of their names.
pub(super) fn named(
    report: &mut Report<'_>,
    path: &str,
    value: Option<Value>,
) -> Vec<(String, String, Value)> {
    let table = value.and_then(|value| report.table(path, value)).unwrap_or_default();
    let mut connections: Vec<_> =
        table.into_iter().map(|(name, value)| (join(path, &name), name, value)).collect();
    connections.sort_by(|left, right| left.0.cmp(&right.0));
    connections.retain(|(path, name, value)| {
        let ValueKind::Table(_) = value.kind else {
            let message = format!("is {}; expected a table", type_name(&value.kind));
            let remedy = match path.starts_with("connections.") {
                true => format!("A connection has a section: [{path}]."),
                false => format!("Write it as a section: [{path}]."),
            };
            report.problem(path, message, Some(remedy));
            return false;
        };
        if name.trim().is_empty() {
            report.problem(path, "has a blank name", Some("Give the connection a name.".into()));
            return false;
        }
        true
    });
    connections.into_iter().map(|(path, name, value)| (name, path, value)).collect()
}

/// The kind of a connection or utility: what its `kind` says, or else its name.
pub(super) fn kind_of(
    report: &mut Report<'_>,
    name: &str,
    path: &str,
    value: &Value,
    known: &[&'static str],
    is_unlisted: fn(&str) -> bool,
) -> Option<String> {
    let listed = known.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(" or ");
    let ValueKind::Table(table) = &value.kind else { return None };
    let is_served = |kind: &str| known.contains(&kind) || is_unlisted(kind);
    let Some(written) = table.get("kind") else {
        if is_served(name) {
            return Some(name.to_owned());
        }
        let remedy = match nearest::nearest(name, known.iter().copied()) {
            Some(near) => format!("Add kind = \"{near}\"."),
            None => format!("Add kind = {listed}."),
        };
        report.problem(path, "has no kind, and its name is not one either", Some(remedy));
        return None;
    };
    let key = join(path, "kind");
    let ValueKind::String(written) = &written.kind else {
        let message = format!("is {}; expected {listed}", type_name(&written.kind));
        report.problem(&key, message, None);
        return None;
    };
    match reference::resolve(written, report.environment, &report.stores) {
        Ok(kind) if is_served(&kind.text) => Some(kind.text),
        Ok(kind) => {
            let shown =
                kind.reference.map_or(format!("{written:?}"), |name| format!("what {name} stands for"));
            let remedy = nearest::nearest(&kind.text, known.iter().copied())
                .map(|near| format!("Did you mean \"{near}\"?"));
            report.problem(&key, format!("is {shown}; expected {listed}"), remedy);
            None
        }
        Err(broken) => {
            report.problem(&key, broken.message, Some(broken.remedy));
            None
        }
    }
}

/// The method of a source connection; `None` for the one that every connection has.
fn method_of(
    report: &mut Report<'_>,
    path: &str,
    value: &Value,
    utilities: &BTreeMap<String, BulkUtilitySettings>,
) -> Option<String> {
    let ValueKind::Table(table) = &value.kind else { return None };
    let written = table.get("method")?;
    let key = join(path, "method");
    let known: Vec<&str> =
        [AUTO, NATIVE, ODBC].into_iter().chain(utilities.keys().map(String::as_str)).collect();
    let expected = known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ");
    let ValueKind::String(written) = &written.kind else {
        report.problem(&key, format!("is {}; expected {expected}", type_name(&written.kind)), None);
        return None;
    };
    match reference::resolve(written, report.environment, &report.stores) {
        Ok(method) if known.contains(&method.text.as_str()) => {
            Some(method.text).filter(|method| method != AUTO && method != NATIVE)
        }
        Ok(method) => {
            let shown =
                method.reference.map_or(format!("{written:?}"), |name| format!("what {name} stands for"));
            report.problem(&key, format!("is {shown}; expected {expected}"), None);
            None
        }
        Err(broken) => {
            report.problem(&key, broken.message, Some(broken.remedy));
            None
        }
    }
}

fn refuse(report: &mut Report<'_>, path: &str, unavailable: &mut Vec<UnavailableConnection>) {
    record(report, path, "this version does not know this kind", unavailable);
}

fn record(report: &mut Report<'_>, path: &str, reason: &str, unavailable: &mut Vec<UnavailableConnection>) {
    let remedy = "Tasks that name it are refused.";
    report.warning(path, format!("is not available: {reason}"), Some(remedy.into()));
    unavailable.push(UnavailableConnection { section: path.to_owned(), reason: reason.to_owned() });
}
