//! Files with secrets: how they are read, and who else may.

use std::io::{self, Read};
use std::path::Path;

use crate::config::{Environment, Secret};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;

/// The longest file of this kind, in bytes; a path that was meant for something else must not fill
/// the memory.
const LONGEST: u64 = 1 << 20;

/// Warnings about who else can read a file are left out when one of these says so.
const SKIP_WARNINGS: [&str; 3] = [
    "SF_SKIP_WARNING_FOR_READ_PERMISSIONS_ON_CONFIG_FILE",
    "SF_SKIP_TOKEN_FILE_PERMISSIONS_VERIFICATION",
    "SKIP_TOKEN_FILE_PERMISSIONS_VERIFICATION",
];

/// Reads a file of secrets. A file that others can write to is refused.
pub(super) async fn read(path: &Path, what: &'static str) -> Result<Secret, Fault> {
    let owned = path.to_owned();
    run_blocking(format!("read {what} {}", path.display()), move || read_now(&owned, what)).await
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

/// Warns when others than the user of the agent can read a file, unless the environment says that
/// this is known. A file that is not there is left to whoever reads it.
pub(super) fn warn_of_readers(path: &Path, what: &'static str, environment: &Environment) {
    let is_told = |name: &str| environment.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exposure = std::fs::metadata(path).map_or(Exposure::None, |metadata| exposure(&metadata));
    if exposure == Exposure::Readable && !SKIP_WARNINGS.iter().any(|name| is_told(name)) {
        tracing::warn!(
            path = %path.display(),
            "{what} belongs to another user or can be read by others; run chmod 600 on it"
        );
    }
}

/// What others than the owner may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    /// Nothing.
    None,
    /// Read it, or it belongs to somebody else.
    Readable,
    /// Write to it.
    Writable,
}

#[cfg(unix)]
fn exposure(metadata: &std::fs::Metadata) -> Exposure {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    // Where there is no such directory, the owner is not looked at.
    let own_user = std::fs::metadata("/proc/self").ok().map(|process| process.uid());
    let is_foreign = own_user.is_some_and(|user| user != metadata.uid() && metadata.uid() != 0);
    match metadata.permissions().mode() {
        mode if mode & 0o022 != 0 => Exposure::Writable,
        mode if mode & 0o044 != 0 || is_foreign => Exposure::Readable,
        _ => Exposure::None,
    }
}

#[cfg(not(unix))]
fn exposure(_: &std::fs::Metadata) -> Exposure {
    Exposure::None
}
