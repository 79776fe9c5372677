//! Names of stages, and the statements about their files.
//!
//! A location is `@[database.][schema.]name[/path]`, `@[database.][schema.]%table[/path]` or
//! `@~[/path]`, optionally the whole of it in single quotes. A name is plain, or in double quotes
//! where it is case-sensitive or has other characters. PUT, LIST, REMOVE and GET take no bound
//! values, so names are parsed here and written again from their parts; nothing of a task becomes
//! SQL as it is.

use std::fmt::{self, Write as _};

/// Longest name of a database, schema, stage or table, in characters.
const MAX_NAME: usize = 255;

/// A directory of an internal stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StageLocation {
    stage: Stage,
    /// Empty, or components that end in `/` each.
    directory: String,
}

/// Which stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// `@~`.
    User,
    /// `@db.schema.%table`.
    Table { namespace: Vec<Identifier>, table: Identifier },
    /// `@db.schema.stage`.
    Named { namespace: Vec<Identifier>, name: Identifier },
}

impl Stage {
    /// Whether two names mean the same stage; with database and schema in the one only, nobody knows.
    fn is_same(&self, other: &Self) -> bool {
        let names = |stage: &Self| match stage {
            Self::User => None,
            Self::Table { namespace, table: name } | Self::Named { namespace, name } => {
                Some(namespace.iter().chain([name]).map(Identifier::folded).collect::<Vec<_>>())
            }
        };
        std::mem::discriminant(self) == std::mem::discriminant(other) && names(self) == names(other)
    }
}

/// A name in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identifier {
    /// Written without quotes; its case has no meaning.
    Plain(String),
    /// Written in double quotes, here without them.
    Quoted(String),
}

/// Why a text is not a location on a stage: a sentence fragment about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StageNameError(&'static str);

const EXPECTED_NAME: &str = "expected the name of a stage, such as `@db.schema.stage/path/`; a name that is \
    case-sensitive or has other characters than letters, digits, `_` and `$` needs double quotes";

impl StageLocation {
    /// Reads a location as a person writes it.
    pub fn parse(text: &str) -> Result<Self, StageNameError> {
        let unquoted;
        let mut rest = text.trim();
        if rest.starts_with('\'') {
            unquoted = unquote_literal(rest)?;
            rest = &unquoted;
        }
        if rest.chars().any(char::is_control) {
            return Err(StageNameError("a control character cannot be in the name of a stage or its path"));
        }
        let Some(rest) = rest.strip_prefix('@') else {
            return Err(StageNameError(
                "expected a stage, which begins with `@`, such as `@db.schema.stage/path/`",
            ));
        };
        let (stage, path) =
            if let Some(path) = rest.strip_prefix('~') { (Stage::User, path) } else { named_stage(rest)? };
        if !path.is_empty() && !path.starts_with('/') {
            return Err(StageNameError(match stage {
                Stage::User => "after `@~` comes `/` and a path, or nothing",
                Stage::Table { .. } | Stage::Named { .. } => EXPECTED_NAME,
            }));
        }
        let mut directory = String::new();
        for component in path.split('/').filter(|component| !component.is_empty()) {
            if matches!(component, "." | "..") {
                return Err(StageNameError("`.` and `..` cannot be parts of the path on a stage"));
            }
            directory.push_str(component);
            directory.push('/');
        }
        Ok(Self { stage, directory })
    }

    /// The path below the stage: empty, or ending in `/`.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// True when this is `other` or a directory below it, on the same stage under the same name.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        // Every component ends in a slash, so that the beginning of one is no match.
        self.stage.is_same(&other.stage) && self.directory.starts_with(&other.directory)
    }

    /// The statement that asks for a place where `file_name` can be stored. The file itself is
    /// never read by name; only its base name has a meaning.
    #[must_use]
    pub fn put(&self, file_name: &str, compression: SourceCompression) -> String {
        // OVERWRITE: what may be overwritten is decided by the caller, who has listed the files.
        format!(
            "PUT 'file:///{}' {} AUTO_COMPRESS=FALSE SOURCE_COMPRESSION={} OVERWRITE=TRUE",
            escape_literal(file_name),
            self.written(""),
            compression.as_str()
        )
    }

    /// The statement that lists the files whose name begins with `prefix`, also those deeper down.
    #[must_use]
    pub fn list(&self, prefix: &str) -> String {
        format!("LIST {}", self.written(prefix))
    }

    /// The statement that removes one file. A path alone would also match every longer name.
    #[must_use]
    pub fn remove(&self, file_name: &str) -> String {
        let mut pattern = String::from(".*");
        for character in file_name.chars() {
            match character.is_ascii_alphanumeric() || character == '_' {
                true => pattern.push(character),
                // A class, because a backslash would have to survive two levels of quoting.
                false => _ = write!(pattern, "[{character}]"),
            }
        }
        format!("REMOVE {} PATTERN='{}'", self.written(file_name), escape_literal(&pattern))
    }

    /// The statement that asks how one file can be read.
    #[must_use]
    pub fn get(&self, file_name: &str) -> String {
        format!("GET {} 'file:///tmp/'", self.written(file_name))
    }

    /// The name by which LIST shows a file of this directory, without the name of the stage that
    /// is before it on named stages.
    #[must_use]
    pub fn listed_name(&self, file_name: &str) -> String {
        format!("{}{file_name}", self.directory)
    }

    /// What of `name`, as LIST shows it, comes after `prefix` in this directory; `None` for a file
    /// of a deeper directory or of none of this.
    #[must_use]
    pub fn listed_file<'n>(&self, name: &'n str, prefix: &str) -> Option<&'n str> {
        let beginning = self.listed_name(prefix);
        let below_stage = match &self.stage {
            Stage::User | Stage::Table { .. } => Some(name),
            Stage::Named { .. } => name.split_once('/').map(|(_, below)| below),
        };
        // Some deployments show the name of the stage where others do not.
        let rest = [below_stage, Some(name), name.split_once('/').map(|(_, below)| below)]
            .into_iter()
            .flatten()
            .find_map(|name| name.strip_prefix(&beginning))?;
        let file_name = &name[name.len() - rest.len() - prefix.len()..];
        (!rest.contains('/')).then_some(file_name)
    }

    /// The directory in SQL, for COPY.
    #[must_use]
    pub fn reference(&self) -> String {
        self.written("")
    }

    /// For SQL: in single quotes only where it needs them, since an emulator knows no others.
    fn written(&self, file_name: &str) -> String {
        let text = format!("{self}{file_name}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._/%~-=$".contains(&byte);
        // Two hyphens would begin a comment.
        match text.bytes().all(is_plain) && !text.contains("--") {
            true => text,
            false => format!("'{}'", escape_literal(&text)),
        }
    }
}

/// As a person writes it, without single quotes.
impl fmt::Display for StageLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, mark, name) = match &self.stage {
            Stage::User => return write!(formatter, "@~/{}", self.directory),
            Stage::Table { namespace, table } => (namespace, "%", table),
            Stage::Named { namespace, name } => (namespace, "", name),
        };
        formatter.write_str("@")?;
        for part in namespace {
            write!(formatter, "{part}.")?;
        }
        write!(formatter, "{mark}{name}/{}", self.directory)
    }
}

impl Identifier {
    /// The name as the server keeps it.
    fn folded(&self) -> String {
        match self {
            Self::Plain(name) => name.to_ascii_uppercase(),
            Self::Quoted(name) => name.clone(),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => formatter.write_str(name),
            Self::Quoted(name) => write!(formatter, "\"{}\"", name.replace('"', "\"\"")),
        }
    }
}

/// How the content of a file is compressed, as PUT has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceCompression {
    /// Not at all, or inside the format, as in Parquet.
    None,
    /// The whole file is gzip.
    Gzip,
    /// The whole file is Zstandard.
    Zstd,
}

impl SourceCompression {
    /// By the extension that the agent gives its files.
    #[must_use]
    pub fn of(file_name: &str) -> Self {
        match file_name.rsplit_once('.') {
            Some((_, "gz")) => Self::Gzip,
            Some((_, "zst")) => Self::Zstd,
            _ => Self::None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Gzip => "GZIP",
            Self::Zstd => "ZSTD",
        }
    }
}

/// Reads up to three names divided by dots, and returns what follows.
fn named_stage(text: &str) -> Result<(Stage, &str), StageNameError> {
    let mut namespace = Vec::new();
    let mut rest = text;
    loop {
        let is_table = rest.starts_with('%');
        let (name, after) = identifier(rest.strip_prefix('%').unwrap_or(rest))?;
        match after.strip_prefix('.') {
            Some(next) if !is_table => {
                namespace.push(name);
                rest = next;
            }
            _ if namespace.len() > 2 => {
                return Err(StageNameError("a stage has at most a database and a schema before its name"));
            }
            _ if is_table => return Ok((Stage::Table { namespace, table: name }, after)),
            _ => return Ok((Stage::Named { namespace, name }, after)),
        }
    }
}

fn identifier(text: &str) -> Result<(Identifier, &str), StageNameError> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut rest = quoted;
        loop {
            let (before, after) = rest
                .split_once('"')
                .ok_or(StageNameError("a name that begins with a double quote has no end"))?;
            name.push_str(before);
            match after.strip_prefix('"') {
                Some(after) => {
                    name.push('"');
                    rest = after;
                }
                None if name.is_empty() || name.chars().count() > MAX_NAME => {
                    return Err(StageNameError("a name has 1 to 255 characters"));
                }
                None => return Ok((Identifier::Quoted(name), after)),
            }
        }
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '$');
    let end = text.find(|character| !is_part(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins_well || name.len() > MAX_NAME {
        return Err(StageNameError(EXPECTED_NAME));
    }
    Ok((Identifier::Plain(name.to_owned()), rest))
}

/// The content of a string literal in single quotes.
fn unquote_literal(text: &str) -> Result<String, StageNameError> {
    let broken = StageNameError("a location that begins with a single quote has to end with one");
    let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).ok_or(broken.clone())?;
    let mut content = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match (character, characters.as_str().chars().next()) {
            ('\'', Some('\'')) | ('\\', Some('\'' | '\\')) => {
                content.push(characters.next().expect("it was seen"));
            }
            ('\'', _) => return Err(broken),
            ('\\', _) => {
                return Err(StageNameError("in single quotes, a backslash is written as two of them"));
            }
            (character, _) => content.push(character),
        }
    }
    Ok(content)
}

/// For a string literal in single quotes, where a backslash begins an escape.
fn escape_literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> StageLocation {
        StageLocation::parse(text).expect(text)
    }

    #[test]
    fn every_kind_of_stage_is_read_and_written_back() {
        for (text, shown, put) in [
            ("@stage", "@stage/", "@stage/"),
            ("@stage/", "@stage/", "@stage/"),
            ("  @Stage/a//b  ", "@Stage/a/b/", "@Stage/a/b/"),
            ("@db.schema.stage/path/", "@db.schema.stage/path/", "@db.schema.stage/path/"),
            (
                "@schema.stage$1/dt=2026-01-01",
                "@schema.stage$1/dt=2026-01-01/",
                "@schema.stage$1/dt=2026-01-01/",
            ),
            ("@~", "@~/", "@~/"),
            ("@~/a/b", "@~/a/b/", "@~/a/b/"),
            ("@%orders/x", "@%orders/x/", "@%orders/x/"),
            ("@db.schema.%orders", "@db.schema.%orders/", "@db.schema.%orders/"),
            ("@\"my stage\"/p", "@\"my stage\"/p/", "'@\"my stage\"/p/'"),
            ("'@\"my stage\"/p'", "@\"my stage\"/p/", "'@\"my stage\"/p/'"),
            (
                "@db.\"a.b\".\"c\"\"d/e\"/p q",
                "@db.\"a.b\".\"c\"\"d/e\"/p q/",
                "'@db.\"a.b\".\"c\"\"d/e\"/p q/'",
            ),
            ("@%\"Orders 2026\"", "@%\"Orders 2026\"/", "'@%\"Orders 2026\"/'"),
            ("@stage/it's/100%\\", "@stage/it's/100%\\/", "'@stage/it\\'s/100%\\\\/'"),
            ("'@stage/it''s'", "@stage/it's/", "'@stage/it\\'s/'"),
            ("'@stage/it\\'s/a\\\\b'", "@stage/it's/a\\b/", "'@stage/it\\'s/a\\\\b/'"),
            ("@stage/a--b", "@stage/a--b/", "'@stage/a--b/'"),
            ("@stage/Zürich 日本", "@stage/Zürich 日本/", "'@stage/Zürich 日本/'"),
        ] {
            let location = parse(text);
            assert_eq!(location.to_string(), shown);
            assert_eq!(
                location.put("task_a_result_001.parquet", SourceCompression::None),
                format!(
                    "PUT 'file:///task_a_result_001.parquet' {put} AUTO_COMPRESS=FALSE \
                     SOURCE_COMPRESSION=NONE OVERWRITE=TRUE"
                )
            );
            assert_eq!(parse(shown), location, "{shown} means the same");
        }
    }

    #[test]
    fn what_is_no_stage_is_refused_with_what_is_expected() {
        for (text, expected) in [
            ("", "begins with `@`"),
            ("stage/path", "begins with `@`"),
            ("s3://bucket/", "begins with `@`"),
            ("@", "expected the name of a stage"),
            ("@/path", "expected the name of a stage"),
            ("@my stage/", "needs double quotes"),
            ("@1stage", "expected the name of a stage"),
            ("@größe", "needs double quotes"),
            ("@a.b.c.d/", "at most a database and a schema"),
            ("@a..b", "expected the name of a stage"),
            ("@%t.x", "expected the name of a stage"),
            ("@~x", "after `@~`"),
            ("@\"open", "has no end"),
            ("@\"\"", "1 to 255 characters"),
            ("@stage/../x", "`.` and `..`"),
            ("@stage/./x", "`.` and `..`"),
            ("@stage/a\nb", "control character"),
            ("'@stage", "has to end with one"),
            ("'@st'age'", "has to end with one"),
            ("'@stage/a\\n'", "two of them"),
            ("@stage; DROP TABLE t", "needs double quotes"),
            ("@stage'/x", "needs double quotes"),
        ] {
            let error = StageLocation::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn remove_matches_one_file_exactly() {
        assert_eq!(
            parse("@s/d").remove("task_a-1_result_001.csv"),
            "REMOVE @s/d/task_a-1_result_001.csv PATTERN='.*task_a[-]1_result_001[.]csv'"
        );
    }

    #[test]
    fn files_are_found_in_the_listing_of_every_kind_of_stage() {
        let prefix = "task_a_result_";
        for (stage, listed, expected) in [
            ("@s/d", "s/d/task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@s/d", "d/task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@\"My Stage\"/d/e", "my stage/d/e/task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@~/d", "d/task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@%t", "task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@s", "s/task_a_result_001.csv", Some("task_a_result_001.csv")),
            ("@s/d", "s/d/task_a_result_001.csv/deeper", None),
            ("@s/d", "s/e/task_a_result_001.csv", None),
            ("@s/d", "s/d/e/task_a_result_001.csv", None),
            ("@s", "s/d/task_b_result_001.csv", None),
        ] {
            assert_eq!(parse(stage).listed_file(listed, prefix), expected, "{stage} {listed}");
        }
    }

    #[test]
    fn the_extension_tells_the_compression() {
        for (name, expected) in [
            ("task_a_result_001.parquet", "NONE"),
            ("task_a_result_001.csv", "NONE"),
            ("task_a_result_001.csv.gz", "GZIP"),
            ("task_a_result_001.csv.zst", "ZSTD"),
        ] {
            assert_eq!(SourceCompression::of(name).as_str(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_location_or_an_error(text in r#"['@]?['"@%~./a-zA-Z0-9_$ \\;\n-]{0,40}"#) {
            let Ok(location) = StageLocation::parse(&text) else { return Ok(()) };
            prop_assert_eq!(&parse(&location.to_string()), &location);
            let put = location.put("a.csv", SourceCompression::None);
            let target = put.strip_prefix("PUT 'file:///a.csv' ").expect("the file comes first");
            let target = target.strip_suffix(" AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE=TRUE");
            let target = target.expect("the options come last");
            prop_assert_eq!(&parse(target), &location, "what the server reads is what was meant");
            let is_plain = !target.contains([' ', '\'', '"', ';', '\\']) && !target.contains("--");
            prop_assert!(target.starts_with('\'') || is_plain);
        }

        #[test]
        fn any_quoted_name_survives(name in r"\PC{1,30}", path in r"[^\pC/]{1,20}") {
            let text = format!("@\"{}\"/{path}", name.replace('"', "\"\""));
            prop_assume!(!matches!(path.as_str(), "." | "..") && path.trim() == path);
            let location = parse(&text);
            prop_assert_eq!(location.to_string(), format!("{text}/"));
        }
    }
}
