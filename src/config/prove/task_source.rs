//! `selected_task_source` and `[task_source]`.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::Value;
use url::Url;

use super::super::keys;
use super::super::known::Known;
use super::super::model::{
    RemoteApiSettings, SnowflakeProcedures, SnowflakeQueueSettings, TargetConnection, TaskSources,
};
use super::super::raw::join;
use super::super::report::Report;
use super::super::section::Section;
use super::bounds::read_bounds;
use crate::snowflake::connection_files;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Both limits of version 1.2.0.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Where version 1.2.0 looks for the procedures.
const DEFAULT_DATABASE: &str = "SNOWCONVERT_AI";
const DEFAULT_SCHEMA: &str = "DATA_MIGRATION";
/// Longest identifier of Snowflake, in characters.
const MAX_IDENTIFIER: usize = 255;

/// Which task source runs beside the local queue because the first level says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    Api,
    Snowflake,
}

pub(super) fn prove_selected_task_source(top: &mut Section<'_, '_>) -> Selected {
    let choices = [("api", Selected::Api), ("snowflake_stored_procedure", Selected::Snowflake)];
    top.choice("selected_task_source", &choices).unwrap_or(Selected::Api)
}

pub(super) fn prove_task_source(
    report: &mut Report<'_>,
    value: Option<Value>,
    selected: Selected,
    targets: &BTreeMap<String, TargetConnection>,
) -> TaskSources {
    let mut section = Section::open(report, "task_source", value, Known::exactly(keys::TASK_SOURCE));
    let [api, snowflake] = ["api", "snowflake_stored_procedure"].map(|name| section.value(name));
    let (snowflake, snowflake_history) = prove_snowflake(report, snowflake, selected, targets);
    TaskSources { api: prove_api(report, api), snowflake, snowflake_history }
}

fn prove_api(report: &mut Report<'_>, value: Option<Value>) -> Option<RemoteApiSettings> {
    let mut section = Section::open(report, "task_source.api", value, Known::exactly(keys::TASK_SOURCE_API));
    let base_url = section.parsed_unseen(
        "base_url",
        "a URL such as \"https://tasks.example.com\", without user, query and fragment",
        base_url,
    );
    let key = section.secret("key");
    let agent_id = section.text("agent_id");
    let connect_timeout = section.duration("connect_timeout", SECOND..=10 * MINUTE);
    let read_timeout = section.duration("read_timeout", SECOND..=60 * MINUTE);
    let bounds = read_bounds(&mut section);
    if section.has("key") && !section.has("base_url") {
        let remedy = "Add base_url when a remote API hands out tasks; without it they come from POST /tasks.";
        section.warning("key", "is not used without base_url", Some(remedy));
    }
    Some(RemoteApiSettings {
        base_url: base_url?,
        key,
        agent_id,
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        read_timeout: read_timeout.unwrap_or(DEFAULT_READ_TIMEOUT),
        bounds,
    })
}

fn base_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_valid = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_valid.then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// The queue, where it is selected, and where the history is written to.
fn prove_snowflake(
    report: &mut Report<'_>,
    value: Option<Value>,
    selected: Selected,
    targets: &BTreeMap<String, TargetConnection>,
) -> (Option<SnowflakeQueueSettings>, Option<SnowflakeProcedures>) {
    let path = "task_source.snowflake_stored_procedure";
    let mut section = Section::open(report, path, value, Known::exactly(keys::TASK_SOURCE_SNOWFLAKE));
    let connection_name = section.text("connection_name");
    let mut name = |key, default: &str| {
        let expected = "an identifier: letters, digits, _ and $, or any text in double quotes";
        section.parsed(key, expected, identifier).unwrap_or_else(|| default.to_owned())
    };
    let (database, schema) = (name("database", DEFAULT_DATABASE), name("schema", DEFAULT_SCHEMA));
    let agent_id = section.text("agent_id");
    let bounds = read_bounds(&mut section);
    let depth_interval = section.duration("depth_interval", 10 * SECOND..=24 * 60 * MINUTE);
    let is_queue = selected == Selected::Snowflake;
    let has_history = section.boolean("record_history").unwrap_or(is_queue);
    if !is_queue && !has_history {
        return (None, None);
    }
    let Some(connection_name) = section.required("connection_name", connection_name) else {
        return (None, None);
    };
    let connection = match connection_files::resolve(&connection_name, targets, section.report().environment)
    {
        Ok(connection) => connection,
        Err(fault) => {
            // What is wrong with a target of this file is said where it is.
            if !section.report().places.contains_key(&join("connections.target", &connection_name)) {
                let remedy = fault.hint().map(str::to_owned);
                let cause = format!("cannot be used: {}", fault.chain());
                section.problem("connection_name", cause, remedy.as_deref());
            }
            return (None, None);
        }
    };
    let procedures = SnowflakeProcedures { connection, connection_name, database, schema, agent_id };
    let history = has_history.then(|| procedures.clone());
    (is_queue.then_some(SnowflakeQueueSettings { procedures, bounds, depth_interval }), history)
}

/// An identifier as SQL spells it, safe to stand in a statement: a bare name, or one in double quotes
/// in which quotes are doubled.
fn identifier(text: &str) -> Option<String> {
    let is_bare = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
    let is_quoted = || {
        let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.is_some_and(|inner| {
            !inner.is_empty()
                && !inner.replace("\"\"", "").contains('"')
                && !inner.chars().any(char::is_control)
        })
    };
    let fits = text.chars().count() <= MAX_IDENTIFIER;
    (fits && (is_bare || is_quoted())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_break_out_of_a_statement() {
        for good in ["SNOWCONVERT_AI", "_x$1", "\"my db\"", "\"a\"\"b\"", "\"Ä\""] {
            assert_eq!(identifier(good).as_deref(), Some(good));
        }
        let long = "x".repeat(MAX_IDENTIFIER + 1);
        for bad in
            ["", "1x", "a b", "a.b", "a;b", "\"", "\"\"", "\"a\"b\"", "\"a\"\"\"b\"", "\"a\nb\"", &long]
        {
            assert_eq!(identifier(bad), None, "{bad}");
        }
    }
}
