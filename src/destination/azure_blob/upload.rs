//! The files of one attempt: blocks that are known, and the lists that make them visible.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use uuid::Uuid;

use super::container::Container;
use crate::destination::multipart::StoreFailure;
use crate::destination::part_writer::{PartSink, PartedFile};
use crate::destination::publication::publish_all;
use crate::destination::{PartName, PartWriter, StoredPart, Upload, key};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use crate::task::{FileReceipt, TaskId};

/// Azure takes no more blocks in one blob.
pub(super) const MAX_BLOCKS: u32 = 50_000;
/// Requests of one attempt that run at the same time, outside of blocks.
const PARALLEL_REQUESTS: usize = 8;

pub(super) struct AzureUpload {
    attempt: Arc<Attempt>,
}

struct Attempt {
    container: Arc<Container>,
    task: TaskId,
    /// Key prefix of the files: empty, or ending in `/`.
    directory: String,
    finished: Mutex<Vec<Finished>>,
}

/// A file whose blocks are all stored.
#[derive(Clone)]
struct Finished {
    key: String,
    /// In the metadata of the blob and in the ids of its blocks: tells this upload from any other.
    mark: Uuid,
    block_count: u32,
}

/// A file that was made visible.
struct Published {
    key: String,
    tag: Option<String>,
}

/// One file while it is written.
struct AzureFile {
    attempt: Arc<Attempt>,
    key: String,
    mark: Uuid,
    block_count: Mutex<u32>,
}

/// 20 bytes in base64: the ids of all blocks of a blob must have the same length. The mark keeps the
/// blocks of two attempts apart, which Azure would otherwise mix.
fn block_id(mark: Uuid, number: u32) -> String {
    let mut id = mark.as_bytes().to_vec();
    id.extend(number.to_be_bytes());
    STANDARD.encode(id)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl PartSink for AzureFile {
    fn shutdown(&self) -> &Shutdown {
        self.attempt.container.shutdown()
    }

    fn part_size(&self) -> usize {
        self.attempt.container.part_size()
    }

    fn parallel_parts(&self) -> usize {
        self.attempt.container.parallel_parts()
    }

    fn max_parts(&self) -> u32 {
        MAX_BLOCKS
    }

    fn location(&self) -> String {
        self.attempt.container.url_of(&self.key)
    }

    async fn store(&self, number: u32, part: Bytes) -> Result<(), Fault> {
        // Azure takes no empty block; a list without blocks is an empty file.
        if part.is_empty() {
            return Ok(());
        }
        let id = block_id(self.mark, number);
        let stored = self.attempt.container.put_block(&self.key, &id, part).await;
        stored.map_err(|failure| failure.fault(format!("store block {number} of `{}`", self.location())))?;
        *locked(&self.block_count) += 1;
        Ok(())
    }

    fn finish(&self) -> String {
        let block_count = *locked(&self.block_count);
        let file = Finished { key: self.key.clone(), mark: self.mark, block_count };
        locked(&self.attempt.finished).push(file);
        self.mark.to_string()
    }
}

impl Attempt {
    async fn publish(&self, parts: &[StoredPart]) -> Result<Vec<FileReceipt>, Fault> {
        let files = parts
            .iter()
            .map(|part| Ok((part, self.finished(part)?)))
            .collect::<Result<Vec<(&StoredPart, Finished)>, Fault>>()?;
        let receipts = files
            .iter()
            .map(|(part, file)| FileReceipt {
                location: self.container.url_of(&file.key),
                rows: part.rows,
                bytes: part.bytes,
                sha256: part.sha256.clone(),
            })
            .collect();
        let keys: Vec<String> = files.iter().map(|(_, file)| file.key.clone()).collect();
        let mut ordered: Vec<(u32, u64, Finished)> =
            files.into_iter().map(|(part, file)| (part.name.number(), part.bytes, file)).collect();
        ordered.sort_by_key(|(number, ..)| *number);
        let mut ordered = ordered.into_iter();
        if let Some((_, first_bytes, first)) = ordered.next() {
            // The first file alone, as a gate: every attempt has one of this name, so the list of an
            // attempt that was overtaken is refused here, before any other of its files is visible.
            self.commit_list(&first, first_bytes).await?;
            let others: Vec<_> =
                ordered.map(|(_, bytes, file)| async move { self.commit_list(&file, bytes).await }).collect();
            let others = publish_all(others, PARALLEL_REQUESTS).await?;
            if !others.is_empty() {
                self.check_still_first(&first, first_bytes, others).await?;
            }
        }
        self.delete_leftovers(&keys).await?;
        Ok(receipts)
    }

    fn finished(&self, part: &StoredPart) -> Result<Finished, Fault> {
        let found = locked(&self.finished).iter().find(|file| file.mark.to_string() == part.token).cloned();
        found.ok_or_else(|| {
            let action = format!("commit `{}`: it is not a finished part of this attempt", part.name);
            Fault::new(FaultKind::Bug, action)
        })
    }

    /// Makes one file visible.
    async fn commit_list(&self, file: &Finished, bytes: u64) -> Result<Published, Fault> {
        let Finished { key, mark, block_count } = file;
        let ids: Vec<String> = (1..=*block_count).map(|number| block_id(*mark, number)).collect();
        let mark = mark.to_string();
        let failure = match self.container.put_block_list(key, &ids, &mark).await {
            Ok(tag) => return Ok(Published { key: key.clone(), tag }),
            Err(failure) => failure,
        };
        let url = self.container.url_of(key);
        // Committed by a try whose answer was lost and replaced since, or not committed: the blob tells.
        if failure.leaves_doubt() {
            match self.container.tag_of(key, &mark, bytes).await {
                Ok(Some(tag)) => return Ok(Published { key: key.clone(), tag: Some(tag) }),
                Ok(None) => {}
                Err(unknown) => tracing::warn!(
                    task.id = %self.task, url,
                    error = unknown.fault(format!("look whether `{url}` is there")).chain(),
                    "cannot find out whether a file was made visible; the attempt is repeated"
                ),
            }
        }
        Err(failure.fault(format!("make `{url}` visible")))
    }

    /// Takes the other files back when another attempt has replaced the first one meanwhile: it has
    /// looked for leftovers perhaps before these became visible.
    async fn check_still_first(
        &self,
        first: &Finished,
        bytes: u64,
        others: Vec<Published>,
    ) -> Result<(), Fault> {
        let url = self.container.url_of(&first.key);
        match self.container.tag_of(&first.key, &first.mark.to_string(), bytes).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            // Without the right to read there is nothing to compare.
            Err(failure) if failure.is_forbidden() => return Ok(()),
            Err(failure) => return Err(failure.fault(format!("look at `{url}` once more"))),
        }
        for Published { key, tag } in &others {
            let Some(tag) = tag else { continue };
            let deleted = self.container.delete(key, Some(tag)).await;
            deleted.map_err(|failure| {
                failure.fault(format!(
                    "take back `{}` of an attempt that is overtaken",
                    self.container.url_of(key)
                ))
            })?;
        }
        Err(Fault::new(FaultKind::Transient, format!("make the files beside `{url}` visible"))
            .because("another attempt of the task has replaced it meanwhile"))
    }

    /// Deletes the files of this task that are not among `ours`.
    ///
    /// Without the right to list, nothing happens; that is told once. A file that is found and cannot
    /// be deleted is a fault, because readers would see its rows twice.
    async fn delete_leftovers(&self, ours: &[String]) -> Result<(), Fault> {
        let Self { container, task, directory, .. } = self;
        let prefix = format!("{directory}{}", PartName::prefix(task));
        let keys = match container.list(&prefix).await {
            Ok(keys) => keys,
            Err(failure) if failure.is_forbidden() => {
                if container.tell_about_listing() {
                    let fault = failure.fault("list the files of an earlier attempt");
                    tracing::warn!(
                        container = container.url(),
                        error = fault.chain(),
                        hint = "Grant the right to list, or keep every task's path to itself.",
                        "cannot look for what an earlier attempt left: if a repeated attempt writes fewer \
                         files than the one before, the surplus ones stay"
                    );
                }
                return Ok(());
            }
            Err(failure) => {
                return Err(failure.fault(format!("list the files in `{}`", container.url_of(&prefix))));
            }
        };
        let leftovers =
            keys.into_iter().filter(|key| key::is_file_of(key, directory, task) && !ours.contains(key));
        stream::iter(leftovers.map(Ok))
            .try_for_each_concurrent(PARALLEL_REQUESTS, |key| async move {
                container.delete(&key, None).await.map_err(|failure| {
                    failure.fault(format!("delete `{}` of an earlier attempt", container.url_of(&key)))
                })
            })
            .await
    }
}

impl AzureUpload {
    pub(super) fn new(container: Arc<Container>, task: TaskId, directory: String) -> Self {
        Self { attempt: Arc::new(Attempt { container, task, directory, finished: Mutex::default() }) }
    }
}

#[async_trait]
impl Upload for AzureUpload {
    async fn create(&self, name: &PartName) -> Result<Box<dyn PartWriter>, Fault> {
        let attempt = Arc::clone(&self.attempt);
        let key = format!("{}{name}", attempt.directory);
        let file = AzureFile { attempt, key, mark: Uuid::new_v4(), block_count: Mutex::default() };
        Ok(Box::new(PartedFile::new(name.clone(), Arc::new(file))))
    }

    async fn commit(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault> {
        self.attempt.publish(&parts).await
    }

    /// Sends nothing: nobody sees the blocks, no request deletes them without making something
    /// visible first, and Azure forgets them.
    async fn abort(&self) {}
}
