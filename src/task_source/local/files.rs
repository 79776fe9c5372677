//! The files of the queue: its directory, its lock and its database file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::fault::{Fault, FaultKind};

/// The database file in the data directory.
const DATABASE: &str = "queue.sqlite";
/// The lock file in the data directory.
const LOCK: &str = "queue.lock";
/// Longest text of a lock file that is quoted, in bytes.
const LOCK_TEXT_LIMIT: u64 = 512;

/// The files of one queue, held by this process alone until this value is dropped.
#[derive(Debug)]
pub(super) struct Files {
    /// The database file.
    pub(super) database: PathBuf,
    /// The operating system gives the lock back when this is closed, also after kill -9.
    _lock: File,
}

impl Files {
    /// Creates what is missing, readable for this user only, and takes the lock. Blocks.
    pub(super) fn take(directory: &Path) -> Result<Self, Fault> {
        create_directory(directory).map_err(|error| {
            unusable(error, format!("create the data directory `{}`", directory.display()))
        })?;
        let lock = take_lock(&directory.join(LOCK), directory)?;
        let database = directory.join(DATABASE);
        let private_file = || -> io::Result<()> {
            // Created here, because SQLite would create it with the permissions of the umask. Its
            // own side files take over those of the database.
            private_options().create(true).open(&database)?.sync_all()?;
            sync_directory(directory)
        };
        private_file()
            .map_err(|error| unusable(error, format!("create the queue file `{}`", database.display())))?;
        Ok(Self { database, _lock: lock })
    }
}

fn unusable(error: io::Error, action: String) -> Fault {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FaultKind::Permission,
        _ => FaultKind::Request,
    };
    Fault::new(kind, action)
        .because(error)
        .remedy("Set `data_directory` to a directory on a local disk that this user can write.")
}

/// Creates `directory` and what is missing above it, so that it survives a power loss.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_directory(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        // Two agents that start at the same time create it once.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => return Ok(()),
        created => created?,
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Makes the names in `directory` durable, where the system can do that.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn take_lock(path: &Path, directory: &Path) -> Result<File, Fault> {
    let failed = |error| unusable(error, format!("take the queue lock `{}`", path.display()));
    let mut file = private_options().create(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
        Err(TryLockError::WouldBlock) => return Err(held_by_another(&mut file, directory)),
    }
    let text = format!("process {} on host {} since {}\n", std::process::id(), host_name(), Timestamp::now());
    // The text of the last holder goes only after the lock was taken.
    file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
    Ok(file)
}

fn held_by_another(file: &mut File, directory: &Path) -> Fault {
    let mut holder = String::new();
    let read = file.take(LOCK_TEXT_LIMIT).read_to_string(&mut holder);
    let holder = match holder.trim() {
        // Between taking the lock and writing the text, or on a system where a lock also hides it.
        "" => "another process",
        text if read.is_ok() => text,
        _ => "another process",
    };
    Fault::new(
        FaultKind::Request,
        format!("open the queue in `{}`, which {holder} has open", directory.display()),
    )
    .remedy("Stop that agent, or give this one a `data_directory` of its own.")
}

fn host_name() -> String {
    let name =
        fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    match name.as_deref().map(str::trim) {
        Ok(name) if !name.is_empty() => name.to_owned(),
        Ok(_) | Err(_) => "(unknown)".to_owned(),
    }
}
