//! The files of one attempt: uploads that are known, completed together, or aborted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokio::sync::watch;

use super::cleanup::{self, PARALLEL_REQUESTS};
use super::file::MultipartFile;
use super::{MultipartStore, StoreFailure};
use crate::destination::part_writer::PartedFile;
use crate::destination::publication::publish_all;
use crate::destination::{PartName, PartWriter, StoredPart, Upload, in_time_to_clean_up, in_time_to_stop};
use crate::fault::{Fault, FaultKind};
use crate::task::{FileReceipt, TaskId};

/// Wait before the next try to abort what could not be aborted.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) struct MultipartUpload<S: MultipartStore> {
    attempt: Arc<Attempt<S>>,
}

/// What the upload and its writers share.
pub(super) struct Attempt<S: MultipartStore> {
    store: Arc<S>,
    task: TaskId,
    /// Key prefix of the files: empty, or ending in `/`.
    directory: String,
    state: Mutex<State<S::Part>>,
    /// Requests for new uploads that have no answer yet.
    asking: watch::Sender<usize>,
}

/// One of them.
struct Asking<'a>(&'a watch::Sender<usize>);

impl<'a> Asking<'a> {
    fn new(asking: &'a watch::Sender<usize>) -> Self {
        asking.send_modify(|count| *count += 1);
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct State<P> {
    /// Invariant: an upload is here before its first part is sent, so that an abort finds it.
    uploads: Vec<KnownUpload<P>>,
    /// Keys for which an upload may exist whose id never arrived here.
    unanswered: BTreeSet<String>,
    /// Set by commit and abort: an upload that is created later is aborted at once.
    is_closed: bool,
}

impl<P> Default for State<P> {
    fn default() -> Self {
        Self { uploads: Vec::new(), unanswered: BTreeSet::new(), is_closed: false }
    }
}

#[derive(Clone)]
struct KnownUpload<P> {
    key: String,
    upload_id: String,
    /// Kept in the object's metadata: tells this upload's object from any other at the same key.
    mark: String,
    /// `None` while it is being written.
    parts: Option<Vec<P>>,
}

impl<S: MultipartStore> Attempt<S> {
    pub(super) fn store(&self) -> &Arc<S> {
        &self.store
    }

    fn state(&self) -> MutexGuard<'_, State<S::Part>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that all parts of an upload are stored.
    pub(super) fn finished(&self, upload_id: &str, parts: Vec<S::Part>) {
        let mut state = self.state();
        if let Some(upload) = state.uploads.iter_mut().find(|upload| upload.upload_id == upload_id) {
            upload.parts = Some(parts);
        }
    }

    pub(super) fn url(&self, key: &str) -> String {
        format!("{}/{key}", self.store.place())
    }

    /// Goes on when nobody waits for it any more: the store may carry out a request after its connection has
    /// ended, when nobody would look for the upload again.
    async fn create(self: Arc<Self>, key: String) -> Result<String, Fault> {
        let shutdown = self.store.shutdown().clone();
        let created = shutdown.spawn(async move {
            let _asking = Asking::new(&self.asking);
            in_time_to_stop(self.store.shutdown(), self.ask_for_upload(&key)).await
        });
        let action = "create a file in the store";
        let created = created.await.map_err(|error| Fault::new(FaultKind::Bug, action).because(error))?;
        created.unwrap_or_else(|| Err(Fault::new(FaultKind::Transient, action).because("the agent stops")))
    }

    async fn ask_for_upload(&self, key: &str) -> Result<String, Fault> {
        let action = || format!("create `{}`", self.url(key));
        let mark = uuid::Uuid::new_v4().to_string();
        // Noted before it is sent: the answer can get lost.
        self.state().unanswered.insert(key.to_owned());
        let created =
            self.store.create_upload(key, &mark).await.map_err(|failure| failure.fault(action()))?;
        let upload_id = created.upload_id;
        if upload_id.is_empty() {
            return Err(
                Fault::new(FaultKind::Transient, action()).because("the store answered without an upload id")
            );
        }
        let is_closed = {
            let mut state = self.state();
            if created.is_only_one {
                state.unanswered.remove(key);
            }
            let (key, upload_id) = (key.to_owned(), upload_id.clone());
            state.uploads.push(KnownUpload { key, upload_id, mark, parts: None });
            state.is_closed
        };
        if is_closed {
            in_time_to_clean_up(self.store.shutdown(), self.abort_known(key, &upload_id)).await;
            return Err(Fault::new(FaultKind::Bug, action()).because("the attempt has ended"));
        }
        Ok(upload_id)
    }

    async fn publish(&self, parts: &[StoredPart]) -> Result<Vec<FileReceipt>, Fault> {
        let uploads = parts.iter().map(|part| self.take_finished(part)).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<String> = uploads.iter().map(|upload| upload.key.clone()).collect();
        let receipts = parts
            .iter()
            .zip(&keys)
            .map(|(part, key)| FileReceipt {
                location: self.url(key),
                rows: part.rows,
                bytes: part.bytes,
                sha256: part.sha256.clone(),
            })
            .collect();
        let sizes = parts.iter().map(|part| part.bytes);
        let files = uploads.into_iter().zip(sizes).map(|(upload, bytes)| self.complete(upload, bytes));
        publish_all(files.collect(), PARALLEL_REQUESTS).await?;
        cleanup::delete_leftovers(&*self.store, &self.task, &self.directory, &keys).await?;
        Ok(receipts)
    }

    fn take_finished(&self, part: &StoredPart) -> Result<KnownUpload<S::Part>, Fault> {
        let state = self.state();
        let known =
            state.uploads.iter().find(|upload| upload.upload_id == part.token && upload.parts.is_some());
        known.cloned().ok_or_else(|| {
            Fault::new(
                FaultKind::Bug,
                format!("commit `{}`: it is not a finished part of this attempt", part.name),
            )
        })
    }

    /// Completes one upload, and forgets it: from here on it is not to be aborted.
    async fn complete(&self, upload: KnownUpload<S::Part>, bytes: u64) -> Result<(), Fault> {
        let KnownUpload { key, upload_id, mark, parts } = upload;
        let action = format!("make `{}` visible", self.url(&key));
        match self.store.complete_upload(&key, &upload_id, parts.unwrap_or_default()).await {
            Ok(()) => {}
            // Completed by a try whose answer was lost, or not completed: the object tells.
            Err(failure) if failure.leaves_doubt() => {
                let is_ours = match self.store.is_object_of(&key, &mark, bytes).await {
                    Ok(is_ours) => is_ours,
                    Err(unknown) => {
                        let unknown = unknown.fault(format!("look whether `{}` is there", self.url(&key)));
                        tracing::warn!(
                            task.id = %self.task, place = self.store.place(), key, error = unknown.chain(),
                            "cannot find out whether a file was made visible; the attempt is repeated"
                        );
                        false
                    }
                };
                if !is_ours {
                    return Err(failure.fault(action));
                }
            }
            Err(failure) => return Err(failure.fault(action)),
        }
        self.state().uploads.retain(|known| known.upload_id != upload_id);
        Ok(())
    }

    /// Aborts every upload that is not completed.
    async fn discard(&self) {
        let uploads = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.uploads)
        };
        // Collected first: a closure inside the stream would have to hold for every lifetime.
        let known: Vec<_> =
            uploads.iter().map(|upload| self.abort_known(&upload.key, &upload.upload_id)).collect();
        let known = stream::iter(known).buffer_unordered(PARALLEL_REQUESTS).collect::<()>();
        let lost = async {
            // Each of them that is answered now aborts its upload itself. The sender is there as long as `self`.
            drop(self.asking.subscribe().wait_for(|count| *count == 0).await);
            let unanswered = std::mem::take(&mut self.state().unanswered);
            let lost: Vec<_> = unanswered.iter().map(|key| self.abort_lost(key)).collect();
            stream::iter(lost).buffer_unordered(PARALLEL_REQUESTS).collect::<()>().await;
        };
        let all = async { tokio::join!(known, lost) };
        if !in_time_to_clean_up(self.store.shutdown(), all).await {
            tracing::warn!(
                task.id = %self.task, place = self.store.place(), uploads = uploads.len(),
                "the store did not abort all uploads in time; the next attempt of the task, or a \
                 life-cycle rule of the bucket, removes the rest"
            );
        }
    }

    /// Aborts an upload, again and again while the store fails.
    async fn abort_known(&self, key: &str, upload_id: &str) {
        while let Err(failure) = cleanup::try_to_abort(&*self.store, key, upload_id).await {
            if failure.is_forbidden() {
                cleanup::tell_about_the_rest(&*self.store, key, upload_id, failure);
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Aborts uploads of exactly this key that were created by a request without an answer.
    async fn abort_lost(&self, key: &str) {
        // They hold no parts, so little is lost where they cannot be listed.
        let found = loop {
            match self.store.list_uploads(key).await {
                Ok(found) => break found,
                Err(failure) if failure.is_forbidden() || failure.is_unknown_to_the_store() => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let lost = found.into_iter().filter(|(found, _)| found == key);
        stream::iter(lost).for_each(|(key, id)| async move { self.abort_known(&key, &id).await }).await;
    }
}

impl<S: MultipartStore> MultipartUpload<S> {
    pub(super) fn new(store: Arc<S>, task: TaskId, directory: String) -> Self {
        let (state, asking) = (Mutex::new(State::default()), watch::Sender::new(0));
        Self { attempt: Arc::new(Attempt { store, task, directory, state, asking }) }
    }
}

#[async_trait]
impl<S: MultipartStore> Upload for MultipartUpload<S> {
    async fn create(&self, name: &PartName) -> Result<Box<dyn PartWriter>, Fault> {
        let key = format!("{}{name}", self.attempt.directory);
        let upload_id = Arc::clone(&self.attempt).create(key.clone()).await?;
        let file = MultipartFile::new(Arc::clone(&self.attempt), key, upload_id);
        Ok(Box::new(PartedFile::new(name.clone(), Arc::new(file))))
    }

    async fn commit(&self, parts: Vec<StoredPart>) -> Result<Vec<FileReceipt>, Fault> {
        let result = self.attempt.publish(&parts).await;
        // After an error, the uploads that are not visible yet; after success, files that were
        // begun and are not among `parts`.
        self.attempt.discard().await;
        let receipts = result?;
        let Attempt { store, task, directory, .. } = &*self.attempt;
        if let Err(fault) = cleanup::abort_stale_uploads(&**store, task, directory).await {
            // The files are visible and complete; this is about storage that nobody sees.
            tracing::warn!(
                task.id = %task, place = store.place(), error = fault.chain(),
                "cannot look for unfinished uploads of an earlier attempt"
            );
        }
        Ok(receipts)
    }

    async fn abort(&self) {
        self.attempt.discard().await;
    }
}
