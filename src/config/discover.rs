//! Which configuration file is used, and what it says.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::Environment;
use super::problem::Problems;
use crate::quantity;

/// Name of the file in the working directory and in the agent's directory.
const NAME: &str = "configuration.toml";

/// The longest file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// A file that was read.
pub(super) struct Found {
    pub path: PathBuf,
    pub text: String,
    /// True when other users of this machine can read it too.
    pub is_exposed: bool,
}

/// Where a file is looked for when none is named, in this order.
pub(super) fn candidates(environment: &Environment) -> Vec<PathBuf> {
    let mut candidates = vec![environment.directory().join(NAME)];
    candidates.extend(environment.home().map(|home| home.join(".data_exchange_agent").join(NAME)));
    candidates
}

/// Reads the named file, which has to be there, or the first candidate that is.
pub(super) fn find(explicit: Option<&Path>, environment: &Environment) -> Result<Option<Found>, Problems> {
    if let Some(path) = explicit {
        return read(path).map(Some).map_err(|error| unreadable(path, &error));
    }
    for path in candidates(environment) {
        match read(&path) {
            Ok(found) => return Ok(Some(found)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // A file that is there and cannot be read must not be passed over in silence.
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<Found> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    if metadata.len() > LONGEST {
        let message = format!("it is longer than {}", quantity::show_size(LONGEST));
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    let bytes = std::fs::read(path)?;
    // The decoding error is dropped: its text can hold bytes of the file.
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))?;
    Ok(Found { path: path.to_owned(), text, is_exposed: is_exposed(&metadata) })
}

#[cfg(unix)]
fn is_exposed(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &std::fs::Metadata) -> bool {
    false
}

fn unreadable(path: &Path, error: &io::Error) -> Problems {
    Problems::one(
        path.display().to_string(),
        format!("cannot be read: {error}"),
        "Correct --config, or make the file readable for the user of the agent.",
    )
}
