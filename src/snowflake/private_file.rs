//! Files with secrets: how they are read, and who else may.

use std::io::{self, Read};
use std::path::Path;

use crate::config::Secret;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::spawn_blocking;

/// The longest file of this kind, in bytes; a path that was meant for something else must not fill
/// the memory.
const LONGEST: u64 = 1 << 20;

/// Reads a file of secrets. A file that others can write to is refused.
pub(super) async fn read(path: &Path, what: &'static str) -> Result<Secret, Fault> {
    let owned = path.to_owned();
    let reading = spawn_blocking(move || read_now(&owned, what));
    reading.await.unwrap_or_else(|error| {
        Err(Fault::new(FaultKind::Bug, format!("read {what} {}", path.display())).because(error))
    })
}

/// The same on the thread of the caller.
pub(super) fn read_now(path: &Path, what: &'static str) -> Result<Secret, Fault> {
    let action = || format!("read {what} {}", path.display());
    let broken = |error: io::Error| {
        Fault::new(FaultKind::Credentials, action())
            .because(error)
            .remedy("Make the file readable for the user of the agent, or correct the path.")
    };
    let file = std::fs::File::open(path).map_err(broken)?;
    let metadata = file.metadata().map_err(broken)?;
    match exposure(&metadata) {
        Exposure::Writable => {
            return Err(Fault::new(
                FaultKind::Credentials,
                format!("{}: other users of this machine can write to it", action()),
            )
            .remedy(format!("Run chmod go-w on {}.", path.display())));
        }
        Exposure::Readable | Exposure::None => {}
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > LONGEST {
        let action = format!("{}: it is longer than {LONGEST} bytes", action());
        return Err(Fault::new(FaultKind::Credentials, action).remedy("Correct the path."));
    }
    // The decoding error would tell bytes of the content, so it is dropped.
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => {
            let action = format!("{}: it is not UTF-8 text", action());
            Err(Fault::new(FaultKind::Credentials, action).remedy("Correct the path."))
        }
    }
}

/// What others than the owner may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Nothing.
    None,
    /// Read it, or it belongs to somebody else.
    Readable,
    /// Write to it.
    Writable,
}

#[cfg(unix)]
pub(super) fn exposure(metadata: &std::fs::Metadata) -> Exposure {
    use std::os::unix::fs::PermissionsExt;
    match metadata.permissions().mode() {
        mode if mode & 0o022 != 0 => Exposure::Writable,
        mode if mode & 0o044 != 0 => Exposure::Readable,
        _ => Exposure::None,
    }
}

#[cfg(not(unix))]
pub(super) fn exposure(_: &std::fs::Metadata) -> Exposure {
    Exposure::None
}
