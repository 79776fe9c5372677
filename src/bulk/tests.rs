//! The walk-through of `docs/EXTENDING.md` for bulk utilities: its file is compiled here, and goes the whole way of
//! a utility, from its section to rows.

mod rowdump;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use async_trait::async_trait;

use super::*;
use crate::config::testing::{Directory, bulk_utilities};
use crate::config::{Environment, source_from_url};
use crate::fault::FaultKind;
use crate::schema::{Column, TableSchema};
use crate::shutdown::Shutdown;
use crate::source::{BatchLimits, Extraction, Query, Source, TextForms};
use crate::task::Read;

const GUIDE: &str = include_str!("../../docs/EXTENDING.md");
const ROWDUMP: &str = include_str!("tests/rowdump.rs");

/// The registry of an agent that has the utility of the guide.
fn kinds() -> Vec<Kind> {
    KINDS.iter().copied().chain([rowdump::KIND]).collect()
}

/// A database of which nothing is known but the columns `id` and `words` of every query.
struct Described;

#[async_trait]
impl Source for Described {
    async fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn prepare(&self, _: &Query, _: NonZeroUsize) -> Result<Box<dyn Extraction>, Fault> {
        Err(Fault::new(FaultKind::Request, "read without a program"))
    }

    async fn export_as_text(&self, query: &Query) -> Result<TextExport, Fault> {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            source_type: "varchar(20)".into(),
            data_type,
            nullable: true,
        };
        let columns = vec![column("id", DataType::Int32), column("words", DataType::Utf8)];
        let Read::Query(sql) = query.read.clone() else { panic!("the tests have queries only") };
        let schema = TableSchema::new(columns)?;
        Ok(TextExport { sql, session: Vec::new(), schema, forms: TextForms::default() })
    }
}

fn connection(url: &str) -> SourceConnection {
    source_from_url(url, &Environment::default()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test may start a program of the system")]
fn install(file: &Path, program: &Path) {
    let made = Command::new("install").args(["-m", "755"]).args([file, program]).status();
    assert!(made.unwrap().success());
}

/// The first batch that a program makes of a query, by way of its section: a script in the place of rowdump.
async fn read(folder: &Directory, script: &str) -> Result<RecordBatch, Fault> {
    let script = folder.write("script", format!("#!/bin/sh\n{script}\n"));
    let program = script.with_file_name("rowdump");
    // By another process: a program that a test beside this one starts meanwhile would inherit the descriptor, and
    // nobody could run this one while it has that.
    install(&script, &program);
    let section = format!("[bulk_utility.rowdump]\nexecutable = {program:?}\ncompress = true\n");
    let mut settings = bulk_utilities(&section, &kinds()).unwrap();
    let utility = utility("rowdump", settings.remove("rowdump").unwrap());
    assert_eq!(find_program(&*utility).unwrap(), program);
    let connection = connection("postgresql://someone:hunter2@example.com:1/db");
    let source = BulkSource::new(Arc::new(Described), utility, connection, Shutdown::new());
    let query =
        Query { read: Read::Query("SELECT 1".into()), columns: None, slice_column: None, as_texts: false };
    let extraction = source.prepare(&query, NonZeroUsize::MIN).await?;
    let many = NonZeroUsize::new(1 << 20).unwrap();
    let mut stream = extraction.open(0, BatchLimits { rows: many, bytes: many }).await?;
    stream.next().await.map(|batch| batch.expect("there are rows"))
}

#[test]
fn the_guide_has_the_file_that_is_compiled_here() {
    assert!(
        GUIDE.contains(ROWDUMP.trim()),
        "docs/EXTENDING.md has another file than src/bulk/tests/rowdump.rs"
    );
}

#[test]
fn the_section_of_the_guides_utility_is_proven_as_that_of_every_other_one() {
    let without = bulk_utilities("", &kinds()).unwrap();
    assert!(!without["rowdump"].has_section);
    let with = bulk_utilities("[bulk_utility.rowdump]\ncompress = true\ntimeout = \"1m\"", &kinds()).unwrap();
    assert!(with["rowdump"].has_section);
    assert_eq!(with["rowdump"].timeout.as_secs(), 60);
    assert_ne!(with["rowdump"].own, without["rowdump"].own);
    assert_eq!(with["psql"], without["psql"]);
    for (section, expected) in [
        ("[bulk_utility.rowdump]\ncompressed = true", "bulk_utility.rowdump.compressed is not a known key"),
        ("[bulk_utility.rowdump]\ncompress = 1", "bulk_utility.rowdump.compress is an integer"),
        ("[bulk_utility.dump]\nkind = \"rowdumps\"", "Did you mean \"rowdump\"?"),
    ] {
        let problems = bulk_utilities(section, &kinds()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
}

#[tokio::test]
async fn the_utility_of_the_guide_reads_rows() {
    let folder = Directory::new();
    let script = r#"printf '1,"%s %s %s"\n2,\n' "$2" "$4" "$6"; cat "${5#--password-file=}" >&2; echo >&2; echo "rows 2" >&2"#;
    let found = read(&folder, script).await.unwrap();
    let words = found.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!((words.value(0), words.is_null(1)), ("example.com SELECT 1 --compress", true));

    // It prints an empty line too many, which is no row.
    let script = r#"printf '1,a\n\n'; echo "rows 1" >&2"#;
    assert_eq!(read(&folder, script).await.unwrap_err().kind(), FaultKind::Data);

    let script = r#"cat "${5#--password-file=}" >&2; exit 1"#;
    let fault = read(&folder, script).await.unwrap_err();
    assert_eq!(fault.chain(), "export with rowdump: it ended with exit status: 1 and said: ***");

    let settings = bulk_utilities("", &kinds()).unwrap().remove("rowdump").unwrap();
    let other = connection("mysql://someone@example.com:1/db");
    let fault = utility("rowdump", settings).supports(&other).unwrap_err();
    assert_eq!(fault.chain(), "export with rowdump: it reads from connections to PostgreSQL only");
}

/// The places of a utility are those that name one that is there. Tests are not among them, and what is in the
/// utility's own file or folder is one place.
#[test]
fn the_guide_names_every_place_that_a_utility_has() {
    let guide = GUIDE.split("\n## ").find(|section| section.starts_with("A bulk utility\n")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for file in files(&root.join("src")) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let mut words = code.split(|letter: char| !letter.is_ascii_alphanumeric());
        if !words.any(|word| word.eq_ignore_ascii_case("psql") || word.starts_with("Psql")) {
            continue;
        }
        found += 1;
        let file = file.strip_prefix(root).unwrap().display().to_string();
        let place = match file.starts_with("src/bulk/psql/") {
            true => "src/bulk/<name>/".to_owned(),
            false => file.replace("psql", "<name>"),
        };
        assert!(
            guide.contains(&format!("`{place}`")),
            "{file} names psql, and the guide does not name {place}"
        );
    }
    assert!(found > 1, "the search finds nothing");
}

/// Every file of the agent that is no test.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
