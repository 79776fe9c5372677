//! Reads the secrets of one connection again, from the configuration as it was at the start.
//!
//! Only what references lead to can be new: a file that somebody edits meanwhile is for the next start.

use std::fmt;
use std::sync::Arc;

use ::config::ValueKind;

use super::model::{Config, RemoteApiSettings, SourceConnection, TargetConnection};
use super::problem::Problems;
use super::raw::{Places, Table};
use super::report::Report;
use super::{Environment, prove};
use crate::snowflake::connection::Connection;

/// Reads secrets again; one that came from nowhere finds nothing.
#[derive(Clone, Default)]
pub struct Renewal(Option<Arc<Layers>>);

/// What the configuration was made of, as far as connections need it. It can hold their secrets.
///
/// Invariant: nothing of `[server]` is in it, so that API keys are kept as hashes only.
#[derive(Default)]
pub(super) struct Layers {
    /// The sections of all layers, before anything was proven.
    tree: Table,
    places: Places,
    environment: Environment,
}

impl Layers {
    pub(super) fn of(tree: &Table, places: &Places, environment: &Environment) -> Self {
        let mut tree = tree.clone();
        tree.retain(|section, _| {
            ["application", "secrets", "connections", "task_source", "selected_task_source"]
                .contains(&section.as_str())
        });
        // The agent's own variables are in the tree.
        Self { tree, places: places.clone(), environment: environment.without_own() }
    }
}

impl Renewal {
    pub(super) fn new(layers: Layers) -> Self {
        Self(Some(Arc::new(layers)))
    }

    /// A source connection with the secrets of now. Blocks for as long as their stores take.
    ///
    /// # Errors
    /// When one of its references leads nowhere any more.
    pub fn source(&self, name: &str) -> Result<Option<SourceConnection>, Problems> {
        Ok(self.read("source", name)?.and_then(|mut config| config.sources.remove(name)))
    }

    /// The same for a target connection.
    ///
    /// # Errors
    /// Likewise.
    pub fn target(&self, name: &str) -> Result<Option<TargetConnection>, Problems> {
        Ok(self.read("target", name)?.and_then(|mut config| config.targets.remove(name)))
    }

    /// The connection of the procedures in Snowflake, which is a target or stands in Snowflake's own files.
    ///
    /// # Errors
    /// Likewise.
    pub fn snowflake_procedures(&self, connection_name: &str) -> Result<Option<Connection>, Problems> {
        let config = self.read_with(Some(("target", connection_name)), Some("snowflake_stored_procedure"))?;
        let task_sources = config.map(|config| config.task_sources);
        Ok(task_sources.and_then(|sources| {
            let queue = sources.snowflake.map(|settings| settings.procedures);
            queue.or(sources.snowflake_history).map(|procedures| procedures.connection)
        }))
    }

    /// The remote API that hands out tasks.
    ///
    /// # Errors
    /// Likewise.
    pub fn remote_api(&self) -> Result<Option<RemoteApiSettings>, Problems> {
        Ok(self.read_with(None, Some("api"))?.and_then(|config| config.task_sources.api))
    }

    fn read(&self, kind: &str, name: &str) -> Result<Option<Config>, Problems> {
        self.read_with(Some((kind, name)), None)
    }

    /// The configuration without anything but one connection and one task source.
    fn read_with(
        &self,
        connection: Option<(&str, &str)>,
        task_source: Option<&str>,
    ) -> Result<Option<Config>, Problems> {
        let Some(layers) = &self.0 else { return Ok(None) };
        let mut report = Report::new(&layers.environment);
        report.places.clone_from(&layers.places);
        let mut tree = layers.tree.clone();
        // What has nothing to do with it cannot fail it, and is not asked for.
        tree.retain(|section, _| match section.as_str() {
            "application" | "secrets" => true,
            "connections" => connection.is_some(),
            "task_source" | "selected_task_source" => task_source.is_some(),
            _ => false,
        });
        if let Some((kind, name)) = connection
            && let Some(connections) = below(&mut tree, "connections")
        {
            connections.retain(|section, _| section == kind);
            if let Some(connections) = below(connections, kind) {
                connections.retain(|connection, _| connection == name);
            }
        }
        if let Some(task_sources) = below(&mut tree, "task_source") {
            task_sources.retain(|name, _| Some(name.as_str()) == task_source);
        }
        let config = prove::prove(tree, &mut report);
        match report.finish() {
            (problems, _) if problems.0.is_empty() => Ok(Some(config)),
            (problems, _) => Err(problems),
        }
    }
}

fn below<'t>(table: &'t mut Table, section: &str) -> Option<&'t mut Table> {
    match &mut table.get_mut(section)?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// Where a configuration came from is no part of what it says.
impl PartialEq for Renewal {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Renewal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Directory;
    use crate::config::{Overrides, parse};

    #[test]
    fn api_keys_are_not_kept_in_clear_text() {
        const SERVER: &str = "[server.api_keys.a]\nkey = \"planted-in-the-file\"\n";
        const SOURCE: &str = "[connections.source.sales]\nkind = \"sqlite\"\npath = \"/sales\"\n";
        let variable = ("DATA_EXCHANGE_AGENT__SERVER__API_KEYS__B__KEY", "planted-in-a-variable");
        let path = ("DATA_EXCHANGE_AGENT__CONNECTIONS__SOURCE__SALES__PATH", "/other");
        let environment = Environment::of([variable, path]).with_home("/home/agent");
        let text = format!("{SERVER}{SOURCE}");
        let (config, _) = parse(&text, "configuration.toml", &Overrides::default(), &environment).unwrap();
        assert_eq!(config.server.api_keys.len(), 2);
        let layers = config.renewal.0.as_ref().unwrap();
        assert!(!format!("{:?}", layers.tree).contains("planted"), "{:?}", layers.tree);
        assert_eq!(layers.environment.own().count(), 0);
        assert_eq!(config.renewal.source("sales").unwrap().as_ref(), config.sources.get("sales"));
    }

    #[test]
    fn one_connection_is_read_again_and_others_do_not_matter() {
        let directory = Directory::new();
        let secret = directory.write("secret", "old");
        let other = directory.write("other", "x");
        let section = |name: &str, path: &std::path::Path| {
            format!(
                "[connections.source.{name}]\nkind = \"postgresql\"\nusername = \"u\"\ndatabase = \"d\"\n\
                 password = \"${{file:{}}}\"\n",
                path.display()
            )
        };
        let text = format!("[server]\nport = 1\n{}{}", section("sales", &secret), section("other", &other));
        let environment = Environment::default().with_home("/home/agent");
        let (config, _) = parse(&text, "configuration.toml", &Overrides::default(), &environment).unwrap();
        let password = |connection| match connection {
            Some(SourceConnection::Postgres(source)) => source.password.unwrap().expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(config.renewal.source("sales").unwrap().as_ref(), config.sources.get("sales"));
        directory.write("secret", "fresh");
        std::fs::remove_file(&other).unwrap();
        assert_eq!(password(config.renewal.source("sales").unwrap()), "fresh");
        assert_eq!(config.renewal.source("nobody").unwrap(), None);
        assert_eq!(config.renewal.target("sales").unwrap(), None);
        let problems = config.renewal.source("other").unwrap_err().to_string();
        assert!(problems.contains("connections.source.other.password refers to the file"), "{problems}");
        assert_eq!(Renewal::default().source("sales").unwrap(), None);
        assert!(!format!("{:?}", config.renewal).contains("fresh"));
    }
}
