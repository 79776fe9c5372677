//! A folder of one test.

use std::fs;
use std::path::{Path, PathBuf};

/// A new, empty folder that is removed with its owner.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("data-exchange-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path).expect("the folder for temporary files takes new ones");
        Self(fs::canonicalize(path).expect("it was just created"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed does not make a test fail that has passed.
        let _ = fs::remove_dir_all(&self.0);
    }
}
