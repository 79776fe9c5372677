//! The connection files of Snowflake's own tools: `connections.toml` and `config.toml`.
//!
//! Where they are, which one wins, and who else may write to them follows those tools, so that the
//! agent connects with what a person has tried out with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use toml::{Table, Value as Toml};

use super::connection::Connection;
use super::settings::{KEYS, LONGEST, Setting, SettingKey, SettingKind, Settings};
use super::{private_file, proof, spcs};
use crate::config::{Environment, Secret, TargetConnection};
use crate::fault::{Fault, FaultKind};
use crate::nearest;

/// The connection of this name: `@SPCS_CONNECTION`, or one of the connection files.
pub fn named(name: &str, environment: &Environment) -> Result<Connection, Fault> {
    let settings = settings(name, environment)?;
    proof::prove(&settings, environment).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let action = format!("use the Snowflake connection `{name}`: {}", problems.join(" "));
        Fault::new(FaultKind::Request, action)
    })
}

/// The connection of this name among the targets of the configuration, or else [`named`].
pub fn resolve(
    name: &str,
    targets: &BTreeMap<String, TargetConnection>,
    environment: &Environment,
) -> Result<Connection, Fault> {
    match targets.get(name) {
        Some(TargetConnection::Snowflake(target)) => Ok(target.connection.clone()),
        Some(
            TargetConnection::Local(_)
            | TargetConnection::S3(_)
            | TargetConnection::AzureBlob(_)
            | TargetConnection::Gcs(_),
        )
        | None => named(name, environment).map_err(|fault| with_targets(fault, targets)),
    }
}

/// Says which targets of the configuration could be named as well.
fn with_targets(fault: Fault, targets: &BTreeMap<String, TargetConnection>) -> Fault {
    let is_snowflake = |target: &TargetConnection| matches!(target, TargetConnection::Snowflake(_));
    let names: Vec<String> = targets
        .iter()
        .filter(|(_, target)| is_snowflake(target))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if names.is_empty() {
        return fault;
    }
    let hint = fault.hint().unwrap_or_default();
    let remedy = format!("{hint} Targets of this configuration that can be named too: {}.", names.join(", "));
    fault.remedy(remedy.trim_start().to_owned())
}

/// What is known about the connection of this name, unproven.
pub(crate) fn settings(name: &str, environment: &Environment) -> Result<Settings, Fault> {
    if name == spcs::CONNECTION_NAME {
        return spcs::settings(environment);
    }
    let found = Found::read(environment)?;
    let Some(table) = found.connections.get(name) else {
        return Err(found.unknown(name));
    };
    let action = || format!("use the Snowflake connection `{name}` of {}", found.origin);
    let Toml::Table(table) = table else {
        return Err(Fault::new(FaultKind::Request, format!("{}: it is not a table", action())));
    };
    read_settings(table, environment)
        .map_err(|message| Fault::new(FaultKind::Request, format!("{}: {message}", action())))
}

/// The connection that is meant when nobody names one.
#[must_use]
pub fn default_name(environment: &Environment) -> Option<String> {
    if let Some(name) = environment.filled("SNOWFLAKE_DEFAULT_CONNECTION_NAME") {
        return Some(name.to_owned());
    }
    let path = directory(environment)?.join("config.toml");
    let table = read_file(&path, environment).ok()??;
    Some(table.get("default_connection_name").and_then(Toml::as_str).unwrap_or("default").to_owned())
}

/// The connections of the place that wins.
struct Found {
    connections: Table,
    /// For messages: a file, or the variable.
    origin: String,
}

impl Found {
    /// Invariant of the search order: the first place that is there has all connections; nothing of a
    /// later one is mixed in.
    fn read(environment: &Environment) -> Result<Self, Fault> {
        if let Some(text) = environment.filled("SNOWFLAKE_CONNECTIONS") {
            let origin = "the environment variable SNOWFLAKE_CONNECTIONS".to_owned();
            return Ok(Self { connections: parse(text, &origin)?, origin });
        }
        let Some(directory) = directory(environment) else {
            return Err(Fault::new(
                FaultKind::Request,
                "look for Snowflake connections: there is no home directory",
            )
            .remedy("Set HOME or SNOWFLAKE_HOME."));
        };
        let [connections, config] = ["connections.toml", "config.toml"].map(|name| directory.join(name));
        if let Some(table) = read_file(&connections, environment)? {
            return Ok(Self { connections: table, origin: connections.display().to_string() });
        }
        if let Some(mut table) = read_file(&config, environment)? {
            let origin = config.display().to_string();
            return match table.remove("connections") {
                Some(Toml::Table(connections)) => Ok(Self { connections, origin }),
                Some(_) => {
                    Err(Fault::new(FaultKind::Request, format!("read {origin}: connections is not a table")))
                }
                None => Ok(Self { connections: Table::new(), origin }),
            };
        }
        let action = format!(
            "look for Snowflake connections: neither {} nor {} is there",
            connections.display(),
            config.display()
        );
        Err(Fault::new(FaultKind::Request, action).remedy(
            "Write the connection into connections.toml, or configure its account, user and key here.",
        ))
    }

    fn unknown(&self, name: &str) -> Fault {
        let known: Vec<&str> = self.connections.keys().map(String::as_str).collect();
        let listed: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let listed = if listed.is_empty() {
            "none is there".to_owned()
        } else {
            format!("known: {}", listed.join(", "))
        };
        let action = format!("there is no Snowflake connection `{name}` in {}; {listed}", self.origin);
        let remedy = match nearest::nearest(name, known.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Add a table [{name}] to the file, or name a connection that is there."),
        };
        Fault::new(FaultKind::Request, action).remedy(remedy)
    }
}

/// Where the files are: `$SNOWFLAKE_HOME` or `~/.snowflake` when it is there, or else where the
/// system keeps configuration.
fn directory(environment: &Environment) -> Option<PathBuf> {
    let own = environment.filled("SNOWFLAKE_HOME").map_or("~/.snowflake", |path| path);
    if let Some(own) = environment.expand_home(own).filter(|path| path.is_dir()) {
        return Some(own);
    }
    let system = if cfg!(target_os = "macos") {
        environment.home()?.join("Library/Application Support")
    } else if cfg!(windows) {
        PathBuf::from(environment.filled("LOCALAPPDATA")?)
    } else {
        match environment.filled("XDG_CONFIG_HOME") {
            Some(directory) => PathBuf::from(directory),
            None => environment.home()?.join(".config"),
        }
    };
    Some(system.join("snowflake"))
}

/// The tables of a file; `None` when it is not there.
fn read_file(path: &Path, environment: &Environment) -> Result<Option<Table>, Fault> {
    // Anything but a missing file is said by the reading.
    if std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let text = private_file::read_now(path, "the connection file")?;
    private_file::warn_of_readers(path, "the connection file", environment);
    parse(text.expose(), &path.display().to_string()).map(Some)
}

/// Only the message of the parser goes on: the error itself would print the line, which may hold a
/// password.
fn parse(text: &str, origin: &str) -> Result<Table, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.parse::<Table>().map_err(|error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let message = error.message().replace('\n', ", ");
        Fault::new(FaultKind::Request, format!("read {origin}: line {line} is not valid TOML: {message}"))
    })
}

fn read_settings(table: &Table, environment: &Environment) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (name, value) in table {
        let is_named = |key: &&SettingKey| key.name == name || key.also.contains(&name.as_str());
        let Some(key) = KEYS.iter().find(is_named) else {
            tracing::debug!(key = name, "the agent does not use this key of a Snowflake connection");
            continue;
        };
        // An empty text says nothing, as in Snowflake's tools.
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            continue;
        }
        let value = read_setting(key.kind, value, environment)
            .ok_or_else(|| format!("{name} is {}; expected {}", value.type_str(), expected(key.kind)))?;
        settings.set(key.name, value);
    }
    Ok(settings)
}

fn expected(kind: SettingKind) -> &'static str {
    match kind {
        SettingKind::Text | SettingKind::Secret => "a text",
        SettingKind::Path => "a path",
        SettingKind::Port => "an integer from 1 to 65535",
        SettingKind::Boolean => "true or false",
        SettingKind::Duration => "a number of seconds, up to a day",
        SettingKind::Parameters => "a table of texts, numbers and booleans",
    }
}

/// Numbers and booleans may be written as texts, since the tools take them so.
fn read_setting(kind: SettingKind, value: &Toml, environment: &Environment) -> Option<Setting> {
    let integer = || value.as_integer().or_else(|| value.as_str()?.trim().parse().ok());
    Some(match kind {
        SettingKind::Text => Setting::Text(match value {
            // The path of an impersonation is a list there.
            Toml::Array(items) => items.iter().map(Toml::as_str).collect::<Option<Vec<_>>>()?.join(","),
            Toml::Integer(number) => number.to_string(),
            other => other.as_str()?.to_owned(),
        }),
        SettingKind::Secret => Setting::Secret(Secret::new(match value {
            // A passcode of digits.
            Toml::Integer(number) => number.to_string(),
            other => other.as_str()?.to_owned(),
        })),
        SettingKind::Path => Setting::Path(environment.expand_home(value.as_str()?)?),
        SettingKind::Port => Setting::Integer(integer().filter(|port| (1..=65_535).contains(port))?),
        SettingKind::Boolean => Setting::Boolean(match value {
            Toml::String(text) => text.trim().to_ascii_lowercase().parse().ok()?,
            other => other.as_bool()?,
        }),
        SettingKind::Duration => {
            let seconds = value.as_float().or_else(|| integer().map(|seconds| seconds as f64))?;
            let duration = Duration::try_from_secs_f64(seconds).ok()?;
            Setting::Duration(Some(duration).filter(|duration| *duration <= LONGEST)?)
        }
        SettingKind::Parameters => {
            let parameters: Option<BTreeMap<String, Value>> = value
                .as_table()?
                .iter()
                .map(|(name, value)| {
                    let value = match value {
                        Toml::String(text) => Value::from(text.as_str()),
                        Toml::Integer(number) => Value::from(*number),
                        Toml::Float(number) => Value::from(*number),
                        Toml::Boolean(truth) => Value::from(*truth),
                        Toml::Datetime(_) | Toml::Array(_) | Toml::Table(_) => return None,
                    };
                    Some((name.to_ascii_uppercase(), value))
                })
                .collect();
            Setting::Parameters(parameters?)
        }
    })
}

/// For the fuzzer: any text as a connection file. Every connection in it is proven or refused, and no
/// message has a line of the file in it.
#[cfg(any(test, fuzzing))]
pub fn fuzz(text: &str) {
    let environment = Environment::of([("SNOWFLAKE_CONNECTIONS", text)]);
    let names = text.parse::<Table>().map(|table| table.keys().cloned().collect::<Vec<_>>());
    for name in names.unwrap_or_default().iter().map(String::as_str).chain(["default"]) {
        if name == spcs::CONNECTION_NAME {
            continue;
        }
        if let Err(fault) = named(name, &environment) {
            let shown = format!("{} {}", fault.chain(), fault.hint().unwrap_or_default());
            assert!(!shown.contains(FUZZED_SECRET), "a message shows what is in the file");
        }
    }
}

/// What the seeds of the fuzzer have as password and token.
#[cfg(any(test, fuzzing))]
const FUZZED_SECRET: &str = "correct horse battery staple";

#[cfg(test)]
mod tests;
