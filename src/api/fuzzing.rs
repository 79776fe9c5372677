//! An entry for the fuzzer: any bytes as the body of `POST /tasks`.

use std::sync::Arc;

use super::{strict_json, submission};
use crate::bounds::TaskBounds;
use crate::catalog::{Catalog, SourceInfo};
use crate::config::{LocalTarget, SqliteSource};
use crate::destination::local::LocalDestination;
use crate::source::read_only::SqlDialect;
use crate::source::sqlite::SqliteDatabase;
use crate::task::{DestinationKind, FileFormat, Task};

/// Reads `body` as the route does, with one connection at each end. What is accepted must survive
/// the queue, which keeps it as JSON.
pub fn read(body: &[u8]) {
    let Ok(value) = strict_json::parse(body) else { return };
    let mut catalog = Catalog::new();
    // Neither is opened: a task is checked against names and dialects.
    let source = SqliteDatabase::new(&SqliteSource { path: "/nothing".into() });
    let dialect = Some(SqlDialect::PostgreSql);
    catalog.add_source("db", SourceInfo { database: Some("db".into()), dialect }, Arc::new(source));
    let target = LocalDestination::new(&LocalTarget { root: "/nothing".into() });
    catalog.add_destination("local", DestinationKind::Local, Arc::new(target));
    let Ok(submission) = submission::read(&value, &catalog, FileFormat::Parquet, &TaskBounds::default())
    else {
        return;
    };
    assert!(!submission.tasks.is_empty(), "an accepted body has a task");
    for wanted in submission.tasks {
        let kept = serde_json::to_string(&wanted.task).expect("a task is JSON");
        let again: Task = serde_json::from_str(&kept).expect("what was kept can be read");
        assert_eq!(again, wanted.task);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    fn seeds() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/task_json");
        let files = fs::read_dir(folder).expect("the seeds are part of the repository");
        files.map(|file| fs::read(file.expect("an entry").path()).expect("a seed")).collect()
    }

    #[test]
    fn every_seed_of_the_fuzzer_is_read() {
        assert!(seeds().len() > 5);
        for seed in seeds() {
            super::read(&seed);
        }
    }

    proptest! {
        #[test]
        fn a_broken_body_never_panics(
            seed in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut body = seed.get(&seeds()).clone();
            for (place, byte) in changes {
                let place = place.index(body.len());
                body[place] = byte;
            }
            super::read(&body);
        }
    }
}
