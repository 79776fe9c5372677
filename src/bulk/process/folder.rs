//! A folder for the files of one run.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};

/// A folder below the system's directory for temporary files (`TMPDIR`) that only this user may
/// enter. It goes away with its owner.
#[derive(Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes an empty one.
    pub fn new() -> Result<Self, Fault> {
        let path =
            std::env::temp_dir().join(format!("data-exchange-agent-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| broken(&path, error))?;
        Ok(Self(path))
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only this user may read.
    pub fn write(&self, name: &str, content: &Secret) -> Result<PathBuf, Fault> {
        let path = self.join(name);
        let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content.expose().as_bytes()))
            .map_err(|error| broken(&path, error))?;
        Ok(path)
    }
}

fn broken(path: &Path, error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, format!("write the temporary file {}", path.display()))
        .because(error)
        .remedy(
            "See that the directory for temporary files can be written to, or name another one with TMPDIR.",
        )
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // A file that is still in use on another system would stay; there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
