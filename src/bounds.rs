//! What tasks may do, as the configuration says: which connections, below which paths, into which tables.
//!
//! Every list is one of what is allowed, and what is not in it is refused; a list that is not given allows
//! all. Bounds stand in `[bounds]` for all tasks, and with API keys and task sources for the tasks that they
//! hand in. They are checked when a task is handed in, and those of `[bounds]` once more before it runs,
//! because a stored task can be older than the configuration.

use crate::snowflake::load::TableName;
use crate::snowflake::put::StageLocation;
use crate::task::{DestinationKind, TaskSpec};

/// What tasks may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskBounds {
    /// Source connections that may be read.
    pub sources: Option<Vec<String>>,
    /// Target connections that may be written to.
    pub destinations: Option<Vec<String>>,
    /// Places below which files may be written.
    pub path_prefixes: Option<Vec<PathPrefix>>,
    /// Tables that may be loaded into. With path prefixes and without this list, none: files that may lie
    /// in one place only should not end in any table.
    pub load_tables: Option<Vec<TablePattern>>,
}

/// A field of a task that leads out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// JSON pointer into the nested form of a task.
    pub pointer: &'static str,
    /// What is not allowed.
    pub detail: String,
}

impl TaskBounds {
    /// True when everything is allowed.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    /// True when this source connection may be read.
    #[must_use]
    pub fn allows_source(&self, name: &str) -> bool {
        self.sources.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// True when this target connection may be written to.
    #[must_use]
    pub fn allows_destination(&self, name: &str) -> bool {
        self.destinations.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// Where `spec` leads out of these bounds; `destination` is the target connection that it means.
    /// What is allowed in its place is told only when the asker `may_know` it.
    #[must_use]
    pub fn breaches(&self, spec: &TaskSpec, destination: &str, may_know: bool) -> Vec<Breach> {
        let allowed = |words: Vec<String>| told(&words, may_know);
        let mut breaches = Vec::new();
        breaches.extend(self.source_breach(&spec.source.connection, may_know));
        let mut add = |pointer, detail| breaches.push(Breach { pointer, detail });
        if !self.allows_destination(destination) {
            let pointer = match spec.destination.connection {
                Some(_) => "/destination_config/connection",
                None => "/destination_config/type",
            };
            let known = allowed(quoted(self.destinations.as_ref()));
            add(pointer, format!("target connection `{destination}` is not allowed{known}"));
        }
        let path = &spec.destination.path;
        if let Some(prefixes) = &self.path_prefixes
            && !prefixes.iter().any(|prefix| prefix.contains(spec.destination.kind, path))
        {
            let pointer = match spec.destination.kind {
                DestinationKind::SnowflakeStage => "/destination_config/stage",
                DestinationKind::Local
                | DestinationKind::S3
                | DestinationKind::Blob
                | DestinationKind::Gcs => "/destination_config/path",
            };
            let known = allowed(prefixes.iter().map(|prefix| format!("`{}`", prefix.text)).collect());
            add(pointer, format!("this place is not allowed, or not written in the plainest way{known}"));
        }
        if let Some(load) = &spec.destination.load
            && !self.allows_load(&load.table)
        {
            let tables = self.load_tables.iter().flatten();
            let known = allowed(tables.map(|table| format!("`{}`", table.text)).collect());
            add("/destination_config/load/table", format!("to load into this table is not allowed{known}"));
        }
        breaches
    }

    /// The same for a source alone.
    #[must_use]
    pub fn source_breach(&self, name: &str, may_know: bool) -> Option<Breach> {
        if self.allows_source(name) {
            return None;
        }
        let known = told(&quoted(self.sources.as_ref()), may_know);
        let detail = format!("source connection `{name}` is not allowed{known}");
        Some(Breach { pointer: "/source_config/database", detail })
    }

    fn allows_load(&self, table: &str) -> bool {
        match &self.load_tables {
            Some(tables) => {
                TableName::parse(table).is_ok_and(|name| tables.iter().any(|table| table.contains(&name)))
            }
            None => self.path_prefixes.is_none(),
        }
    }
}

/// What is allowed, for those who may know it.
fn told(words: &[String], may_know: bool) -> String {
    match (may_know, words.is_empty()) {
        (true, true) => "; none is".to_owned(),
        (true, false) => format!("; allowed: {}", words.join(", ")),
        (false, _) => String::new(),
    }
}

fn quoted(names: Option<&Vec<String>>) -> Vec<String> {
    names.into_iter().flatten().map(|name| format!("`{name}`")).collect()
}

/// A place and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix {
    /// As it was written.
    text: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Below the root of a connection, component by component.
    Directory(Vec<String>),
    /// Below a stage.
    Stage(StageLocation),
}

impl PathPrefix {
    /// Reads a directory, key prefix or stage. `None` when it is not written in the plainest way, so that
    /// nobody can mean it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let place = match text.starts_with('@') {
            true => Place::Stage(plain_stage(text)?),
            false => Place::Directory(plain_components(text)?.into_iter().map(str::to_owned).collect()),
        };
        Some(Self { text: text.to_owned(), place })
    }

    fn contains(&self, kind: DestinationKind, path: &str) -> bool {
        match (&self.place, kind) {
            (Place::Stage(stage), DestinationKind::SnowflakeStage) => {
                plain_stage(path).is_some_and(|location| location.is_below(stage))
            }
            (
                Place::Directory(prefix),
                DestinationKind::Local | DestinationKind::S3 | DestinationKind::Blob | DestinationKind::Gcs,
            ) => plain_components(path).is_some_and(|components| {
                components.len() >= prefix.len()
                    && components.iter().zip(prefix).all(|(component, wanted)| component == wanted)
            }),
            (Place::Stage(_) | Place::Directory(_), _) => false,
        }
    }
}

fn plain_stage(text: &str) -> Option<StageLocation> {
    let location = StageLocation::parse(text).ok()?;
    plain_components(location.directory()).is_some().then_some(location)
}

/// The components of a path that every store, and everything in front of one, reads in the same way;
/// `None` for a path that somebody could read as another place. Slashes at its ends have no meaning.
fn plain_components(path: &str) -> Option<Vec<&str>> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Some(Vec::new());
    }
    let components: Vec<&str> = path.split('/').collect();
    components.iter().all(|component| is_plain(component)).then_some(components)
}

fn is_plain(component: &str) -> bool {
    /// A dot, both slashes and the percent sign, as a decoder in front of a store would find them.
    const ENCODED: [&str; 4] = ["%2e", "%2f", "%5c", "%25"];
    let lower = component.to_ascii_lowercase();
    !component.is_empty()
        && !matches!(component, "." | "..")
        && !component.contains('\\')
        && !component.chars().any(char::is_control)
        && !ENCODED.iter().any(|encoded| lower.contains(encoded))
}

/// A table, or all tables of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    /// As it was written.
    text: String,
    /// The parts before the table, as far as they were written.
    namespace: Vec<String>,
    /// Every table when `None`.
    table: Option<String>,
}

impl TablePattern {
    /// Reads a name, or `schema.*` or `database.schema.*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_all) = match text.strip_suffix(".*") {
            Some(namespace) => (namespace, true),
            None => (text, false),
        };
        let (mut namespace, table) = parts(&TableName::parse(name).ok()?);
        let table = match is_all {
            true => {
                namespace.push(table);
                None
            }
            false => Some(table),
        };
        (namespace.len() <= 2).then(|| Self { text: text.to_owned(), namespace, table })
    }

    /// A name matches with exactly the parts that were written: what it leaves out is that of the
    /// connection, which is not known here.
    fn contains(&self, name: &TableName) -> bool {
        let (namespace, table) = parts(name);
        namespace == self.namespace && self.table.as_ref().is_none_or(|wanted| *wanted == table)
    }
}

fn parts(name: &TableName) -> (Vec<String>, String) {
    (name.database.iter().chain(&name.schema).cloned().collect(), name.table.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(prefix: &str, kind: DestinationKind, path: &str) -> bool {
        PathPrefix::parse(prefix).unwrap_or_else(|| panic!("{prefix}")).contains(kind, path)
    }

    #[test]
    fn a_prefix_ends_where_a_component_ends() {
        for kind in [DestinationKind::Local, DestinationKind::S3, DestinationKind::Blob, DestinationKind::Gcs]
        {
            for prefix in ["sales", "sales/", "/sales/"] {
                for inside in ["sales", "sales/", "/sales", "sales/2026/11", "sales/..hidden", "sales/a b%3A"]
                {
                    assert!(contains(prefix, kind, inside), "{prefix} {inside}");
                }
                for outside in ["", "/", "sale", "salesforce", "Sales", "hr", "hr/sales", "@~/sales"] {
                    assert!(!contains(prefix, kind, outside), "{prefix} {outside}");
                }
            }
            assert!(contains("/", kind, "") && contains("/", kind, "anything/below"));
        }
    }

    #[test]
    fn a_path_that_could_be_read_as_another_place_is_below_no_prefix() {
        for trick in [
            "sales/../hr",
            "sales/..",
            "../sales",
            "./sales",
            "sales/./x",
            "sales//x",
            "sales/%2e%2e/hr",
            "sales/%2E%2E/hr",
            "sales/.%2e/hr",
            "sales/%252e%252e/hr",
            "sales%2f..%2fhr",
            "sales/..%2fhr",
            "sales\\..\\hr",
            "sales/..%5chr",
            "sales/\0",
            "sales/a\nb",
        ] {
            assert!(!contains("sales", DestinationKind::S3, trick), "{trick:?}");
            assert!(!contains("/", DestinationKind::Local, trick), "{trick:?}");
            assert_eq!(PathPrefix::parse(trick), None, "{trick:?}");
        }
    }

    #[test]
    fn a_stage_is_known_by_its_name_and_its_path() {
        let stage = DestinationKind::SnowflakeStage;
        for inside in
            ["@db.s.lake/sales/", "@DB.S.LAKE/sales", "@\"DB\".s.lake/sales/2026", "'@db.s.lake/sales/x'"]
        {
            assert!(contains("@db.s.lake/sales", stage, inside), "{inside}");
        }
        for outside in [
            "@db.s.lake",
            "@db.s.lake/",
            "@db.s.lake/salesforce",
            "@db.s.lake/sales/%2e%2e/hr",
            "@s.lake/sales",
            "@lake/sales",
            "@db.s.\"lake\"/sales",
            "@db.s.%lake/sales",
            "@~/sales",
            "sales",
        ] {
            assert!(!contains("@db.s.lake/sales", stage, outside), "{outside}");
        }
        assert!(contains("@~", stage, "@~/anything") && !contains("@~", DestinationKind::Local, "x"));
        // What is no stage allows no stage.
        assert!(!contains("/", stage, "@~/x"));
    }

    #[test]
    fn a_table_matches_with_exactly_its_parts() {
        let contains = |pattern: &str, name: &str| {
            TablePattern::parse(pattern).unwrap().contains(&TableName::parse(name).unwrap())
        };
        assert!(contains("db.public.orders", "DB.PUBLIC.ORDERS"));
        assert!(contains("db.public.*", "db.public.\"any thing\""));
        assert!(contains("orders", "Orders") && contains("public.*", "public.x"));
        for (pattern, name) in [
            ("db.public.orders", "public.orders"),
            ("db.public.orders", "orders"),
            ("orders", "public.orders"),
            ("db.public.orders", "db.public.\"orders\""),
            ("db.public.*", "db.private.x"),
            ("public.*", "db.public.x"),
        ] {
            assert!(!contains(pattern, name), "{pattern} {name}");
        }
        for wrong in ["*", ".*", "a..b", "a.b.c.*", "a.b.c.d", ""] {
            assert_eq!(TablePattern::parse(wrong), None, "{wrong}");
        }
    }
}
