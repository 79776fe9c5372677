//! Where files go.
//!
//! An attempt opens an [`Upload`], creates parts in it, and commits. Nothing is visible to readers
//! before the commit; afterwards the place holds exactly the files of this attempt.

pub mod azure_blob;
mod clean_up;
mod cloud;
mod content_hash;
pub mod gcs;
mod key;
pub mod local;
mod multipart;
pub mod part_name;
mod part_writer;
mod publication;
pub mod s3;
pub mod snowflake_stage;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use clean_up::{in_time_to_clean_up, in_time_to_stop};
pub use part_name::PartName;

use crate::fault::Fault;
use crate::schema::TableSchema;
use crate::task::{
    Compression, DestinationSpec, FileFormat, FileReceipt, LoadReceipt, LoadSpec, Receipt, TaskId,
};

/// The place of one task's files.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Whose files.
    pub task: TaskId,
    /// Number of the attempt, from 1, for who looks at what the store was asked.
    pub attempt: u32,
    /// Directory or key prefix below the connection's root, or a stage with a path on it, as the
    /// task gave it.
    pub path: String,
    /// What to do with the files once they are visible; only the kinds that can load look at it.
    pub load: Option<LoadRequest>,
}

/// A table that files are to be loaded into, and what the files will have.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadRequest {
    /// The table and the way.
    pub spec: LoadSpec,
    /// The columns of the files.
    pub schema: TableSchema,
    /// Their format.
    pub layout: FileLayout,
}

/// What a reader has to know about the files of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLayout {
    /// File format.
    pub format: FileFormat,
    /// Compression.
    pub compression: Compression,
    /// CSV field delimiter.
    pub csv_delimiter: u8,
    /// CSV line end.
    pub csv_line_end: String,
    /// Whether a CSV file begins with the column names.
    pub csv_header: bool,
}

/// A configured store. Shared by all workers.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Proves that the store is there. Called by health checks.
    async fn check(&self) -> Result<(), Fault>;

    /// Address of the server whose clock decides whether a login or a signature counts; `None` where there
    /// is none. Called by `check`.
    fn server(&self) -> Option<String> {
        None
    }

    /// Bytes of memory that one open part can hold back, besides the chunk being written.
    fn part_buffer_bytes(&self) -> usize;

    /// Bytes of the largest file that the store takes, where that can be reached. A task whose
    /// files may be larger gets more files instead.
    fn max_file_bytes(&self) -> Option<NonZeroU64> {
        None
    }

    /// The receipt of a task that an earlier attempt has brought to its end here, so that nothing is
    /// left to do: an agent can die after a load is committed and before its task is. Called once for
    /// each attempt, before the source is asked for anything. Changes nothing that was not asked for.
    ///
    /// `None` where that cannot be known; then the attempt is repeated as a whole.
    async fn recorded(
        &self,
        task: &TaskId,
        attempt: u32,
        destination: &DestinationSpec,
    ) -> Result<Option<Receipt>, Fault> {
        let _nothing_is_recorded = (task, attempt, destination);
        Ok(None)
    }

    /// Opens the place for one attempt. Nothing becomes visible. Called once for each attempt. A
    /// load that cannot be is refused here, before a row is read.
    async fn begin(&self, target: &Target) -> Result<Arc<dyn Upload>, Fault>;

    /// Removes everything of a task that will not be completed: also files that an earlier attempt has made
    /// visible, when its agent died before it could say so. Called while the lease is held, after the last
    /// attempt has ended.
    async fn retract(&self, target: &Target) -> Result<(), Fault> {
        // A commit of nothing removes all files with names of this task.
        self.begin(target).await?.commit(Vec::new()).await.map(drop)
    }

    /// Deletes one file that was committed, without looking for it: unlike after [`Destination::retract`],
    /// a missing right to list cannot hide a missing right to delete. One that is gone already is deleted.
    /// A directory of files goes with its last one, where the store has directories; the root stays. Called
    /// by `check` for the file that it has written, after the commit or when that has failed.
    async fn delete(&self, target: &Target, name: &PartName) -> Result<(), Fault>;

    /// Called when an attempt that began at `since` was refused for its credentials, also by several
    /// attempts at the same time. True when there are newer ones than the attempt had, so that trying
    /// once more makes sense. Adapters leave this to [`crate::renewal`].
    async fn renew(&self, since: Instant) -> bool {
        let _no_newer_ones = since;
        false
    }
}

/// The files of one attempt. Slices call `create` at the same time.
#[async_trait]
pub trait Upload: Send + Sync {
    /// Opens a file, to be written as a stream. It is not visible yet. A name is used once.
    async fn create(&self, name: &PartName) -> Result<Box<dyn PartWriter>, Fault>;

    /// Makes all `parts` visible and removes what an earlier attempt of this task left: files with
    /// this task's names that are not in `parts`. Called once, after every part was finished. After
    /// an error some parts may be visible; a repeated attempt replaces them.
    ///
    /// Returns the receipts in the order of `parts`.
    async fn commit(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault>;

    /// Loads the files into the table of [`Target::load`]. Called once, after `commit` has returned
    /// `files`. `None` when no load was asked for.
    ///
    /// A task is loaded once, however often this is called for it by one attempt after the other.
    /// After an error nothing of this attempt is in the table.
    async fn load(&self, files: &[FileReceipt]) -> Result<Option<LoadReceipt>, Fault> {
        let _nothing_to_load = files;
        Ok(None)
    }

    /// Removes everything of this attempt, as far as it can be reached; what cannot is logged.
    /// Called instead of `commit`, also after writers were dropped unfinished; and by `check` after a commit
    /// that failed or was cut off, which then leaves what is visible to [`Destination::delete`].
    async fn abort(&self);
}

/// One file being written. Dropping it unfinished leaves the rest to [`Upload::abort`].
#[async_trait]
pub trait PartWriter: Send {
    /// Appends a chunk of any size. Returns when the writer can take another one.
    async fn write(&mut self, chunk: Bytes) -> Result<(), Fault>;

    /// Waits until everything is stored durably, still invisible.
    async fn finish(self: Box<Self>, rows: u64) -> Result<StoredPart, Fault>;
}

/// A finished, invisible part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its name.
    pub name: PartName,
    /// Rows in it.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in lower-case hex.
    pub sha256: String,
    /// What the adapter needs to make it visible; opaque to others.
    pub token: String,
}
