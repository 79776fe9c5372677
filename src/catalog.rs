//! The configured connections by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bounds::{Breach, TaskBounds};
use crate::destination::Destination;
use crate::fault::{Fault, FaultKind};
use crate::nearest::nearest;
use crate::source::Source;
use crate::source::read_only::SqlDialect;
use crate::task::{
    Compression, DestinationKind, DestinationSpec, FileFormat, MethodReceipt, SourceSpec, TaskSpec,
};

/// Every source and destination that tasks can name.
#[derive(Default)]
pub struct Catalog {
    sources: BTreeMap<String, (SourceInfo, Arc<dyn Source>)>,
    destinations: BTreeMap<String, (DestinationKind, Arc<dyn Destination>)>,
    unavailable: BTreeMap<String, String>,
    bounds: TaskBounds,
    methods: BTreeMap<String, Methods>,
}

/// The method that leaves the choice to the connection.
pub const AUTO: &str = "auto";
/// The method by which the agent reads itself.
pub const NATIVE: &str = "native";
/// The method by which a driver reads.
pub const ODBC: &str = "odbc";

/// The other ways to read a source connection than by itself, by name.
#[derive(Default)]
struct Methods {
    /// What `auto` means here; the agent itself when `None`.
    chosen: Option<String>,
    /// A source that reads this way, or the reason why this connection cannot be read so.
    known: BTreeMap<String, Result<Arc<dyn Source>, String>>,
}

/// What the configuration says about a source connection, as far as a task can ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceInfo {
    /// Name of the database on its server; `None` when the connection has no such name.
    pub database: Option<String>,
    /// Whose SQL it reads: queries are checked with it before they are accepted. `None` leaves the
    /// whole check to the source.
    pub dialect: Option<SqlDialect>,
}

/// Both ends of a transfer.
pub type Ends = (Arc<dyn Source>, Arc<dyn Destination>);

/// A field of a task that does not fit the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer into the nested form of a task.
    pub pointer: &'static str,
    /// What is wrong, and what is allowed there.
    pub detail: String,
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source connection.
    pub fn add_source(&mut self, name: impl Into<String>, info: SourceInfo, source: Arc<dyn Source>) {
        self.sources.insert(name.into(), (info, source));
    }

    /// Adds another way to read a source connection, or the reason why it cannot be read so.
    pub fn add_method(
        &mut self,
        connection: impl Into<String>,
        method: impl Into<String>,
        source: Result<Arc<dyn Source>, String>,
    ) {
        self.methods.entry(connection.into()).or_default().known.insert(method.into(), source);
    }

    /// Makes a method the one of tasks that do not say.
    pub fn choose_method(&mut self, connection: impl Into<String>, method: impl Into<String>) {
        self.methods.entry(connection.into()).or_default().chosen = Some(method.into());
    }

    /// The other ways to read a source connection, with the reason of those that it cannot be read by.
    pub fn methods(&self, connection: &str) -> impl Iterator<Item = (&str, Result<&Arc<dyn Source>, &str>)> {
        let known = self.methods.get(connection).into_iter().flat_map(|methods| &methods.known);
        known.map(|(name, source)| (name.as_str(), source.as_ref().map_err(String::as_str)))
    }

    /// Which method a task is read by, and why.
    #[must_use]
    pub fn method(&self, spec: &SourceSpec) -> MethodReceipt {
        let connection = &spec.connection;
        let chosen = self.methods.get(connection).and_then(|methods| methods.chosen.as_ref());
        let (name, reason) = match (&spec.method, chosen) {
            (Some(asked), _) => (asked.clone(), "the task asks for it".to_owned()),
            (None, Some(chosen)) => {
                (chosen.clone(), format!("the connection `{connection}` is configured so"))
            }
            (None, None) => (NATIVE.to_owned(), "it is the default".to_owned()),
        };
        MethodReceipt { name, reason }
    }

    /// The source behind the method of a task, or why there is none.
    fn source_of(&self, spec: &SourceSpec, own: &TaskBounds) -> Result<&Arc<dyn Source>, Misfit> {
        let name = &spec.connection;
        let Some((_, native)) = self.sources.get(name) else {
            let known = self.sources.keys();
            let known = known.filter(|name| own.allows_source(name) && self.bounds.allows_source(name));
            let detail = self.unknown("source", name, known);
            return Err(Misfit { pointer: "/source_config/database", detail });
        };
        let method = self.method(spec).name;
        if method == NATIVE {
            return Ok(native);
        }
        let known = self.methods.get(name).map(|methods| &methods.known);
        let detail = match known.and_then(|known| known.get(&method)) {
            Some(Ok(source)) => return Ok(source),
            Some(Err(reason)) => format!("source connection `{name}` cannot be read by `{method}`: {reason}"),
            None => {
                let others =
                    known.into_iter().flatten().filter(|(_, source)| source.is_ok()).map(|(name, _)| name);
                let names: Vec<&str> = [AUTO, NATIVE].into_iter().chain(others.map(String::as_str)).collect();
                format!(
                    "there is no method `{method}`; source connection `{name}` knows {}",
                    listed(&method, &names)
                )
            }
        };
        Err(Misfit { pointer: "/source_config/method", detail })
    }

    /// Adds a target connection.
    pub fn add_destination(
        &mut self,
        name: impl Into<String>,
        kind: DestinationKind,
        destination: Arc<dyn Destination>,
    ) {
        self.destinations.insert(name.into(), (kind, destination));
    }

    /// Sets what tasks may do, wherever they come from.
    pub fn set_bounds(&mut self, bounds: TaskBounds) {
        self.bounds = bounds;
    }

    /// Remembers a connection that is configured and cannot be served, with the reason.
    pub fn add_unavailable(&mut self, section: impl Into<String>, reason: impl Into<String>) {
        self.unavailable.insert(section.into(), reason.into());
    }

    /// The sources, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Arc<dyn Source>)> {
        self.sources.iter().map(|(name, (_, source))| (name.as_str(), source))
    }

    /// What is known about a source connection; `None` when there is none of this name.
    #[must_use]
    pub fn source_info(&self, name: &str) -> Option<&SourceInfo> {
        self.sources.get(name).map(|(info, _)| info)
    }

    /// The destinations, by name.
    pub fn destinations(&self) -> impl Iterator<Item = (&str, DestinationKind, &Arc<dyn Destination>)> {
        self.destinations.iter().map(|(name, (kind, destination))| (name.as_str(), *kind, destination))
    }

    /// The configured connections that cannot be served, with the reason.
    pub fn unavailable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unavailable.iter().map(|(section, reason)| (section.as_str(), reason.as_str()))
    }

    /// The source and the destination of a task.
    pub fn resolve(&self, spec: &TaskSpec) -> Result<Ends, Fault> {
        let breaches = self.breaches(spec, &TaskBounds::default());
        if !breaches.is_empty() {
            let details: Vec<String> = breaches.into_iter().map(|breach| breach.detail).collect();
            return Err(Fault::new(FaultKind::Permission, details.join("; "))
                .remedy("Correct the task, or widen `[bounds]` and restart the agent."));
        }
        let source = self.source_of(&spec.source, &TaskBounds::default());
        let destination = self.destinations.get(self.destination_name(&spec.destination));
        match (source, destination) {
            (Ok(source), Some((kind, destination))) if *kind == spec.destination.kind => {
                Ok((Arc::clone(source), Arc::clone(destination)))
            }
            _ => {
                let details: Vec<String> = self
                    .misfits(spec, &TaskBounds::default())
                    .into_iter()
                    .map(|misfit| misfit.detail)
                    .collect();
                Err(Fault::new(FaultKind::Request, details.join("; "))
                    .remedy("Configure the connection and restart the agent, or correct the task."))
            }
        }
    }

    /// Everything in `spec` that leads out of the bounds of all tasks, or of `own`, those of whoever hands
    /// it in. What would be allowed is told as far as it may be known there.
    #[must_use]
    pub fn breaches(&self, spec: &TaskSpec, own: &TaskBounds) -> Vec<Breach> {
        let destination = self.destination_name(&spec.destination);
        let mut breaches = own.breaches(spec, destination, true);
        for breach in self.bounds.breaches(spec, destination, own.is_unbounded()) {
            if breaches.iter().all(|other| other.pointer != breach.pointer) {
                breaches.push(breach);
            }
        }
        breaches
    }

    /// The same for a source alone.
    #[must_use]
    pub fn source_breach(&self, spec: &SourceSpec, own: &TaskBounds) -> Option<Breach> {
        let breach = own.source_breach(&spec.connection, true);
        breach.or_else(|| self.bounds.source_breach(&spec.connection, own.is_unbounded()))
    }

    /// The source behind the method of a task.
    pub fn source_for(&self, spec: &SourceSpec) -> Result<Arc<dyn Source>, Fault> {
        let source = self.source_of(spec, &TaskBounds::default());
        source.cloned().map_err(|misfit| Fault::new(FaultKind::Request, misfit.detail))
    }

    /// Everything in `spec` that does not fit the configuration; empty when it fits. Names that are out of
    /// the bounds are not told.
    #[must_use]
    pub fn misfits(&self, spec: &TaskSpec, own: &TaskBounds) -> Vec<Misfit> {
        let mut misfits = Vec::from_iter(self.source_misfit(&spec.source, own));
        let name = self.destination_name(&spec.destination);
        match self.destinations.get(name) {
            None => {
                let same_kind =
                    self.destinations.iter().filter(|(_, (kind, _))| *kind == spec.destination.kind);
                let known = same_kind.map(|(name, _)| name);
                let known =
                    known.filter(|name| own.allows_destination(name) && self.bounds.allows_destination(name));
                let detail = self.unknown("target", name, known);
                let pointer = match spec.destination.connection {
                    Some(_) => "/destination_config/connection",
                    None => "/destination_config/type",
                };
                misfits.push(Misfit { pointer, detail });
            }
            Some((kind, _)) if *kind != spec.destination.kind => misfits.push(Misfit {
                pointer: "/destination_config/connection",
                detail: format!(
                    "target connection `{name}` is of kind `{}`, the task asks for `{}`",
                    kind.as_str(),
                    spec.destination.kind.as_str()
                ),
            }),
            Some(_) => {}
        }
        if (spec.destination.format, spec.destination.compression)
            == (FileFormat::Csv, Some(Compression::Snappy))
        {
            misfits.push(Misfit {
                pointer: "/destination_config/compression",
                detail: "CSV files can be compressed with zstd, gzip or none, not with snappy".into(),
            });
        }
        misfits
    }

    /// What does not fit in the source alone.
    #[must_use]
    pub fn source_misfit(&self, spec: &SourceSpec, own: &TaskBounds) -> Option<Misfit> {
        self.source_of(spec, own).err()
    }

    /// The target connection that a task means. The Snowflake sections of version 1.2.0 are named
    /// by the way they log in, so when there is only one, it needs no name.
    fn destination_name<'a>(&'a self, destination: &'a DestinationSpec) -> &'a str {
        let named = destination.connection_name();
        if destination.connection.is_some()
            || destination.kind != DestinationKind::SnowflakeStage
            || self.destinations.contains_key(named)
        {
            return named;
        }
        let mut stages = self.destinations.iter().filter(|(_, (kind, _))| *kind == destination.kind);
        match (stages.next(), stages.next()) {
            (Some((only, _)), None) => only,
            _ => named,
        }
    }

    fn unknown<'a>(&self, what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
        if let Some(reason) = self.unavailable.get(&format!("connections.{what}.{name}")) {
            return format!("{what} connection `{name}` cannot be used: {reason}");
        }
        let known: Vec<&str> = known.map(String::as_str).collect();
        match known.as_slice() {
            [] => format!("there is no {what} connection `{name}`; none is configured"),
            names => format!("there is no {what} connection `{name}`; known: {}", listed(name, names)),
        }
    }
}

/// The names that somebody can have meant who wrote `written`, and the nearest of them where that is not
/// the only one.
fn listed(written: &str, names: &[&str]) -> String {
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match nearest(written, names.iter().copied()) {
        Some(near) if names.len() > 1 => format!("{list}; did you mean `{near}`?"),
        _ => list,
    }
}
