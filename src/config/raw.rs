//! The layers, read and laid over each other: TOML file, environment, command line.
//!
//! What comes out is a tree of values that nobody has judged, and where each of them was written.
//! Defaults are not in the tree: a key that is absent has its default when it is proven.

use std::collections::BTreeMap;

use ::config::{ConfigError, Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, key_names};
use super::problem::Place;
use super::report::Report;
use super::{Environment, Overrides, reference};
use crate::nearest;

/// Variables of the environment layer begin with this.
pub(super) const PREFIX: &str = "DATA_EXCHANGE_AGENT__";

/// Where each value and each section was written, by path; later layers replace earlier ones.
pub(super) type Places = BTreeMap<String, Place>;

pub(super) type Table = Map<String, Value>;

/// Reads every layer and merges them. Problems (syntax, unknown sections) go to the report.
pub(super) fn read(
    file: Option<(&str, &str)>,
    overrides: &Overrides,
    environment: &Environment,
    report: &mut Report,
) -> Table {
    let file = file.map(|(text, origin)| read_toml(text, origin, report)).unwrap_or_default();
    let variables = read_variables(environment, &file, report);
    let arguments = read_arguments(overrides, report);
    let merged = ::config::Config::builder()
        .add_source(Layer(file))
        .add_source(Layer(variables))
        .add_source(Layer(arguments))
        .build();
    match merged.map(|merged| merged.cache.kind) {
        Ok(ValueKind::Table(tree)) => tree,
        // Nothing was set anywhere.
        Ok(_) => Table::new(),
        Err(error) => {
            report.problem("configuration", format!("cannot be merged: {error}"), None);
            Table::new()
        }
    }
}

/// Joins a key to the path of its section; a key that is not bare is quoted, as TOML does.
pub(super) fn join(section: &str, key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if section.is_empty() { key } else { format!("{section}.{key}") }
}

/// A layer that was read already.
#[derive(Clone, Debug)]
struct Layer(Table);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(self.0.clone())
    }
}

fn value(kind: impl Into<ValueKind>) -> Value {
    Value::new(None, kind)
}

/// Invariant: only known names reach the first level of a layer. `config` reads a path into each of
/// them, so that an index like `a[9999999999]` would be carried out.
fn is_known_section(name: &str, path: &str, report: &mut Report) -> bool {
    let is_known = key_names(keys::TOP).any(|known| known == name);
    if !is_known {
        report.unknown(path, name, key_names(keys::TOP));
    }
    is_known
}

fn read_toml(text: &str, origin: &str, report: &mut Report) -> Table {
    // Editors of some systems put a byte order mark in front, which TOML does not know.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text);
    let place = |position: usize| Place::Line { file: origin.to_owned(), line: lines.number(position) };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            // Only the message: the error itself would print the line, which may hold a password.
            let position = error.span().map_or(0, |span| span.start);
            let message = format!("is not valid TOML: {}", error.message().replace('\n', ", "));
            report.problem_at(Some(place(position)), "syntax", message, None);
        }
        // What could be recovered is not what was meant; judging it would only mislead.
        return Table::new();
    }
    let mut reader = TomlReader { place: &place, report };
    let mut table = reader.table("", document.into_inner());
    table.retain(|name, _| is_known_section(name, &join("", name), reader.report));
    table
}

struct TomlReader<'a, 'e> {
    place: &'a dyn Fn(usize) -> Place,
    report: &'a mut Report<'e>,
}

impl TomlReader<'_, '_> {
    fn table(&mut self, section: &str, table: DeTable<'_>) -> Table {
        let mut entries = Table::new();
        for (key, entry) in table {
            let path = join(section, key.get_ref());
            let place = (self.place)(key.span().start);
            self.report.places.insert(path.clone(), place);
            if is_literal_secret(section, key.get_ref(), entry.get_ref()) {
                self.report.literal_secrets.push(path.clone());
            }
            if let Some(entry) = self.value(&path, entry) {
                entries.insert(key.into_inner().into_owned(), entry);
            }
        }
        entries
    }

    fn value(&mut self, path: &str, entry: Spanned<DeValue<'_>>) -> Option<Value> {
        let kind = match entry.into_inner() {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(truth) => ValueKind::Boolean(truth),
            DeValue::Integer(number) => {
                let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) else {
                    self.report.problem(path, "is an integer of more than 64 bits", None);
                    return None;
                };
                ValueKind::I64(number)
            }
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(_) => {
                self.report.problem(path, "is a date or time; no key takes one", None);
                return None;
            }
            // No key takes a list, so the type is all that matters.
            DeValue::Array(_) => ValueKind::Array(Vec::new()),
            DeValue::Table(table) => ValueKind::Table(self.table(path, table)),
        };
        Some(value(kind))
    }
}

/// True for a password and the like that stands in the file itself.
fn is_literal_secret(section: &str, key: &str, value: &DeValue<'_>) -> bool {
    let is_secret = section == "otlp" && key == "headers"
        || key == "key" && (section == "task_source.api" || section.starts_with("server.api_keys."))
        || section != "server.tls"
            && keys::SECRETS.iter().any(|secret| nearest::normal(secret) == nearest::normal(key));
    is_secret && value.as_str().is_some_and(|text| !text.is_empty() && reference::is_literal(text))
}

/// Turns a byte position into a line number.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(position, _)| position).collect())
    }

    fn number(&self, position: usize) -> usize {
        self.0.partition_point(|end| *end < position) + 1
    }
}

/// `DATA_EXCHANGE_AGENT__APPLICATION__WORKERS=8`. A name is matched with the file without regard to
/// case, so that `..__SOURCE__SALES__PASSWORD` reaches `[connections.source.Sales]`; a new name is
/// in lower case. An empty variable counts as not set.
fn read_variables(environment: &Environment, file: &Table, report: &mut Report) -> Table {
    let mut layer = Table::new();
    for (variable, text) in environment.with_prefix(PREFIX) {
        if text.is_empty() {
            continue;
        }
        let place = Place::Variable(variable.to_owned());
        let mut names: Vec<String> = Vec::new();
        let mut level = Some(file);
        for segment in variable[PREFIX.len()..].split("__") {
            let name = level
                .and_then(|table| table.keys().find(|key| key.eq_ignore_ascii_case(segment)))
                .cloned()
                .unwrap_or_else(|| segment.to_lowercase());
            level = level.and_then(|table| table.get(&name)).and_then(as_table);
            names.push(name);
        }
        let path = names.iter().fold(String::new(), |path, name| join(&path, name));
        if names.iter().any(String::is_empty) {
            let message = "has a name with an empty part between two underscores";
            let remedy = format!("Write {PREFIX}SECTION__KEY.");
            report.problem_at(Some(place), "the variable", message, Some(remedy));
            continue;
        }
        report.places.insert(path.clone(), place);
        if !is_known_section(&names[0], &path, report) {
            continue;
        }
        if !insert(&mut layer, &names, value(text)) {
            report.problem(&path, "is set as a value, and as a section by another variable", None);
        }
    }
    layer
}

/// Puts a value below the sections that lead to it. False when a value is in the way.
fn insert(table: &mut Table, names: &[String], entry: Value) -> bool {
    match names {
        [] => false,
        [name] => table.insert(name.clone(), entry).is_none(),
        [name, rest @ ..] => {
            let below = table.entry(name.clone()).or_insert_with(|| value(Table::new()));
            match &mut below.kind {
                ValueKind::Table(below) => insert(below, rest, entry),
                _ => false,
            }
        }
    }
}

fn as_table(value: &Value) -> Option<&Table> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn read_arguments(overrides: &Overrides, report: &mut Report) -> Table {
    let Overrides { workers, interval, host, port, debug } = overrides;
    let mut layer = Table::new();
    let mut set = |section: &str, key: &str, argument, entry: Option<ValueKind>| {
        if let Some(entry) = entry {
            report.places.insert(join(section, key), Place::Argument(argument));
            insert(&mut layer, &[section.to_owned(), key.to_owned()], value(entry));
        }
    };
    // An interval beyond i64 is out of every range anyway.
    let interval = interval.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    set("application", "workers", "--workers", workers.map(ValueKind::from));
    set("application", "task_fetch_interval", "--interval", interval.map(ValueKind::from));
    set("application", "debug_mode", "--debug", debug.then_some(ValueKind::Boolean(true)));
    set("server", "host", "--host", host.clone().map(ValueKind::from));
    set("server", "port", "--port", port.map(|port| ValueKind::from(i64::from(port))));
    layer
}
