//! A directory of this machine.
//!
//! A part is written to a private temporary file (mode 0600, hidden name) beside the place where
//! it will appear, and made durable there. The commit renames every part, removes what an earlier
//! attempt left, and makes the directory durable. Files then have mode 0644 less the umask of the
//! process. Directories that were created stay, also after an abort.
//!
//! All file access happens on blocking threads. A task's path cannot leave the root (`place`);
//! somebody who can exchange directories below the root while a task runs is not kept out.

mod io_fault;
mod place;
mod temporary;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use url::Url;

use self::io_fault::io_fault;
use super::content_hash::ContentHash;
use super::{Destination, PartName, PartWriter, StoredPart, Target, Upload};
use crate::config::LocalTarget;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;
use crate::task::{FileReceipt, TaskId};

/// Small chunks are collected up to this size: a change of threads costs more than a short write.
const COLLECT_BYTES: usize = 256 * 1024;

/// Writes below one directory.
#[derive(Debug)]
pub struct LocalDestination {
    root: PathBuf,
    file_mode: u32,
}

impl LocalDestination {
    /// Touches nothing yet; the root is created by the first attempt that needs it.
    #[must_use]
    pub fn new(target: &LocalTarget) -> Self {
        Self { root: target.root.clone(), file_mode: temporary::visible_mode() }
    }
}

#[async_trait]
impl Destination for LocalDestination {
    async fn check(&self) -> Result<(), Fault> {
        let root = self.root.clone();
        blocking(move || place::check(&root)).await
    }

    fn part_buffer_bytes(&self) -> usize {
        COLLECT_BYTES
    }

    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault> {
        let root = self.root.clone();
        let target = target.clone();
        let file_mode = self.file_mode;
        let upload = blocking(move || {
            let directory = place::create(&root, &target.path)?;
            // An agent that died cannot remove its own. One that lost its lease and still writes
            // finds its file gone at its commit, and fails there.
            remove_files(&directory, |name| temporary::belongs_to(name, &target.task))?;
            let attempt = Attempt { task: target.task, directory, file_mode, files: Mutex::default() };
            Ok(LocalUpload { attempt: Arc::new(attempt) })
        })
        .await?;
        Ok(Arc::new(upload))
    }

    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault> {
        let root = self.root.clone();
        let (target, name) = (target.clone(), name.clone());
        blocking(move || {
            let directory = place::create(&root, &target.path)?;
            let path = directory.join(name.as_str());
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_fault("delete the file", &path, error)),
            }
            place::sync(&directory)?;
            place::remove_when_empty(&root, &directory);
            Ok(())
        })
        .await
    }
}

struct LocalUpload {
    attempt: Arc<Attempt>,
}

/// What the upload and its writers share.
struct Attempt {
    task: TaskId,
    /// Absolute, without symbolic links.
    directory: PathBuf,
    file_mode: u32,
    /// Locked on blocking threads only.
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// Names of the temporary files that exist.
    temporary: Vec<String>,
    /// Set by commit and abort, so that a create that was overtaken by them leaves no file.
    closed: bool,
}

impl Attempt {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, name: &PartName) -> Result<(File, String), Fault> {
        let mut files = self.files();
        if files.closed {
            let action = format!("create `{name}`: the attempt has ended");
            return Err(Fault::new(FaultKind::Bug, action));
        }
        let token = temporary::name(name);
        let path = self.directory.join(&token);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io_fault("create the file", &path, error))?;
        files.temporary.push(token.clone());
        Ok((file, token))
    }

    fn publish(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault> {
        let mut receipts = Vec::with_capacity(parts.len());
        for part in &parts {
            let from = self.directory.join(&part.token);
            let to = self.directory.join(part.name.as_str());
            let stored = fs::metadata(&from).map_err(|error| io_fault("publish the file", &from, error))?;
            if stored.len() != part.bytes {
                let action = format!(
                    "publish `{}`: it has {} bytes in place of {}",
                    to.display(),
                    stored.len(),
                    part.bytes
                );
                return Err(Fault::new(FaultKind::Transient, action));
            }
            fs::rename(&from, &to).map_err(|error| io_fault("publish the file", &to, error))?;
            let location = Url::from_file_path(&to).expect("the directory is absolute").to_string();
            receipts.push(FileReceipt {
                location,
                rows: part.rows,
                bytes: part.bytes,
                sha256: part.sha256.clone(),
            });
        }
        let is_leftover = |name: &str| {
            let is_ours = || parts.iter().any(|part| part.name.as_str() == name);
            temporary::belongs_to(name, &self.task) || (PartName::belongs_to(name, &self.task) && !is_ours())
        };
        remove_files(&self.directory, is_leftover)?;
        place::sync(&self.directory)?;
        Ok(receipts)
    }

    /// Removes the temporary files; what is gone already was published.
    fn close(&self) {
        let mut files = self.files();
        files.closed = true;
        for token in files.temporary.drain(..) {
            let path = self.directory.join(token);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(
                    task.id = %self.task, path = %path.display(), %error,
                    "cannot remove a temporary file; the next attempt of the task tries again"
                ),
            }
        }
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn create(&self, name: &PartName) -> Result<Box<dyn PartWriter>, Fault> {
        let attempt = Arc::clone(&self.attempt);
        let part = name.clone();
        let (file, token) = blocking(move || attempt.create(&part)).await?;
        Ok(Box::new(LocalPartWriter {
            name: name.clone(),
            token,
            attempt: Arc::clone(&self.attempt),
            open: Some(OpenFile { file, hash: ContentHash::default() }),
            collected: BytesMut::new(),
        }))
    }

    async fn commit(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault> {
        let attempt = Arc::clone(&self.attempt);
        blocking(move || {
            let result = attempt.publish(parts);
            attempt.close();
            result
        })
        .await
    }

    async fn abort(&self) {
        let attempt = Arc::clone(&self.attempt);
        let closed = blocking(move || {
            attempt.close();
            Ok(())
        });
        if let Err(fault) = closed.await {
            tracing::warn!(task.id = %self.attempt.task, error = fault.chain(), "cannot abort an upload");
        }
    }
}

struct LocalPartWriter {
    name: PartName,
    token: String,
    attempt: Arc<Attempt>,
    /// Away on a blocking thread during a write, and gone after a failed one.
    open: Option<OpenFile>,
    collected: BytesMut,
}

struct OpenFile {
    file: File,
    hash: ContentHash,
}

impl LocalPartWriter {
    /// Runs `work` on the open file, on a blocking thread.
    async fn with_file<T: Send + 'static>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut OpenFile) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let path = self.attempt.directory.join(&self.token);
        let Some(mut open) = self.open.take() else {
            let action = format!("{action} `{}`: an earlier write failed", path.display());
            return Err(Fault::new(FaultKind::Bug, action));
        };
        let (open, answer) = blocking(move || {
            let answer = work(&mut open).map_err(|error| io_fault(action, &path, error))?;
            Ok((open, answer))
        })
        .await?;
        self.open = Some(open);
        Ok(answer)
    }
}

#[async_trait]
impl PartWriter for LocalPartWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Fault> {
        if self.collected.len() + chunk.len() <= COLLECT_BYTES {
            self.collected.extend_from_slice(&chunk);
            return Ok(());
        }
        let collected = self.collected.split().freeze();
        self.with_file("write the file", move |open| {
            for bytes in [&collected, &chunk] {
                open.file.write_all(bytes)?;
                open.hash.update(bytes);
            }
            Ok(())
        })
        .await
    }

    async fn finish(mut self: Box<Self>, rows: u64) -> Result<StoredPart, Fault> {
        let collected = self.collected.split().freeze();
        let mode = self.attempt.file_mode;
        let hash = self
            .with_file("finish the file", move |open| {
                open.file.write_all(&collected)?;
                open.hash.update(&collected);
                open.file.set_permissions(Permissions::from_mode(mode))?;
                open.file.sync_all()?;
                Ok(open.hash.clone())
            })
            .await?;
        Ok(StoredPart {
            name: self.name.clone(),
            rows,
            bytes: hash.bytes(),
            sha256: hash.finish(),
            token: self.token.clone(),
        })
    }
}

/// Removes the files of `directory` whose names are chosen. Directories are left alone.
fn remove_files(directory: &Path, is_chosen: impl Fn(&str) -> bool) -> Result<(), Fault> {
    let list_fault = |error| io_fault("list the directory", directory, error);
    for entry in fs::read_dir(directory).map_err(list_fault)? {
        let entry = entry.map_err(list_fault)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !is_chosen(name) || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_fault("remove a file of an earlier attempt", &path, error)),
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    run_blocking("run file access on a thread", work).await
}
