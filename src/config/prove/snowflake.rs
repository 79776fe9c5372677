//! `kind = "snowflake"`, and the sections of version 1.2.0 that begin with the word.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::super::known::Known;
use super::super::model::SnowflakeTarget;
use super::super::raw::join;
use super::super::report::Report;
use super::super::section::{Section, type_name};
use super::super::{keys, reference};
use crate::snowflake::connection_files;
use crate::snowflake::load::TableName;
use crate::snowflake::proof::{self, SettingProblem};
use crate::snowflake::settings::{KEYS, LONGEST, Setting, SettingKind, Settings};

const KNOWN: Known =
    Known { keys: keys::SNOWFLAKE, driver: keys::SNOWFLAKE_CONNECTION, ignored: keys::SNOWFLAKE_IGNORED };

/// Proves a section at `path`. `None` when something that is needed is missing or wrong; the report
/// says what.
pub(in super::super) fn prove_snowflake(
    report: &mut Report<'_>,
    path: &str,
    kind: &str,
    value: Value,
) -> Option<SnowflakeTarget> {
    let environment = report.environment;
    let mut section = Section::open(report, path, Some(value), KNOWN);
    section.skip("kind");
    let (own, wrong) = read_settings(&mut section);
    let name = section.text("connection_name");
    let load_control_table = control_table(&mut section);
    if kind == "snowflake_connection_name" {
        section.required("connection_name", name.as_ref());
    }
    let mut settings = match &name {
        None if section.has("connection_name") => return None,
        None => own,
        Some(name) => match connection_files::settings(name, environment) {
            Ok(settings) => settings.under(own),
            Err(fault) => {
                let remedy = fault.hint().map(str::to_owned);
                let message = format!("cannot be used: {}", fault.chain());
                section.problem("connection_name", message, remedy.as_deref());
                return None;
            }
        },
    };
    if kind == "snowflake_external_browser" && !settings.has("authenticator") {
        settings.set("authenticator", Setting::Text("EXTERNALBROWSER".into()));
    }
    match proof::prove(&settings, environment) {
        Ok(connection) => {
            Some(SnowflakeTarget { connection, load_control_table }).filter(|_| wrong.is_empty())
        }
        Err(problems) => {
            for problem in problems {
                report_problem(&mut section, name.as_deref(), &wrong, problem);
            }
            None
        }
    }
}

fn control_table(section: &mut Section<'_, '_>) -> Option<TableName> {
    const KEY: &str = "load_control_table";

    let name = TableName::parse(&section.text(KEY)?);
    if let Err(invalid) = &name {
        section.problem(KEY, format!("is no name of a table: {invalid}"), None);
    }
    name.ok()
}

/// What is wrong with a value of this section is said there, and the rest where the other connection
/// is named. A value that was wrong before is not missing too.
fn report_problem(
    section: &mut Section<'_, '_>,
    name: Option<&str>,
    wrong: &[&'static str],
    problem: SettingProblem,
) {
    let SettingProblem { key, message, remedy } = problem;
    match name {
        _ if wrong.contains(&key) => {}
        Some(name) if !section.has(key) => {
            let message = format!("leads to `{name}`, where {key} {message}");
            section.problem("connection_name", message, remedy.as_deref());
        }
        _ => section.problem(key, message, remedy.as_deref()),
    }
}

/// The values of the section, and the keys whose values are wrong.
fn read_settings(section: &mut Section<'_, '_>) -> (Settings, Vec<&'static str>) {
    let mut settings = Settings::default();
    let mut wrong = Vec::new();
    for key in KEYS {
        let name = key.name;
        let problems = section.report().problem_count();
        let value = match key.kind {
            SettingKind::Text => section.text(name).map(Setting::Text),
            SettingKind::Secret => section.secret(name).map(Setting::Secret),
            SettingKind::Path => section.path(name).map(Setting::Path),
            SettingKind::Port => section.integer(name, 1..=65_535).map(Setting::Integer),
            SettingKind::Boolean => section.boolean(name).map(Setting::Boolean),
            SettingKind::Duration => section.duration(name, Duration::ZERO..=LONGEST).map(Setting::Duration),
            SettingKind::Parameters => read_parameters(section, name).map(Setting::Parameters),
        };
        if section.report().problem_count() > problems {
            wrong.push(name);
        }
        if let Some(value) = value {
            settings.set(name, value);
        }
    }
    (settings, wrong)
}

fn read_parameters(section: &mut Section<'_, '_>, key: &str) -> Option<BTreeMap<String, serde_json::Value>> {
    let path = section.path_of(key);
    let value = section.value(key)?;
    let report = section.report();
    let mut parameters = BTreeMap::new();
    for (name, value) in report.table(&path, value)? {
        let path = join(&path, &name);
        let value = match value.kind {
            ValueKind::Boolean(truth) => truth.into(),
            ValueKind::I64(number) => number.into(),
            ValueKind::Float(number) => number.into(),
            ValueKind::String(text) => match reference::resolve(&text, report.environment, &report.stores) {
                Ok(resolved) => resolved.text.into(),
                Err(broken) => {
                    report.problem(&path, broken.message, Some(broken.remedy));
                    continue;
                }
            },
            other => {
                let message = format!("is {}; expected a text, a number or a boolean", type_name(&other));
                report.problem(&path, message, None);
                continue;
            }
        };
        parameters.insert(name.to_ascii_uppercase(), value);
    }
    Some(parameters)
}
