//! Files as multipart uploads, for stores that keep the parts of a file until it is completed.
//!
//! The uploads of an attempt are known before their first part is sent, completed together in the
//! commit, and aborted otherwise; those that an earlier attempt of the same task left are aborted at
//! the begin and after the commit. See `docs/adr/0004-s3-multipart-until-commit.md`.

mod cleanup;
mod file;
mod upload;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::upload::MultipartUpload;
use super::{PartName, Target, Upload, key};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::Shutdown;

/// A multipart upload that was created.
pub(super) struct Created {
    pub(super) upload_id: String,
    /// False when the request was repeated: the answer to an earlier try may be lost, and then
    /// there is a second upload that nobody knows.
    pub(super) is_only_one: bool,
}

/// A request that failed after all its repetitions.
pub(super) trait StoreFailure: fmt::Debug + Send {
    /// True when the store may have done all the same what it was asked: the answer was lost, or
    /// could not be read, or says that an earlier try has changed something.
    fn leaves_doubt(&self) -> bool;

    /// True when the credentials are good and a right is missing.
    fn is_forbidden(&self) -> bool;

    /// True when the store does not know this request at all.
    fn is_unknown_to_the_store(&self) -> bool;

    /// The fault while doing `action`.
    fn fault(self, action: impl Into<Cow<'static, str>>) -> Fault;
}

/// One bucket. The requests that are sent to it, one method each.
#[async_trait]
pub(super) trait MultipartStore: Send + Sync + 'static {
    type Failure: StoreFailure;
    /// What the store answered to a part, and wants to see again when the upload is completed.
    type Part: Clone + Send + Sync;

    /// Parts that a file has at most.
    const MAX_PARTS: u32;
    /// The rights without which an earlier attempt cannot be looked for.
    const LISTING_HINT: &'static str;

    /// Scheme and name of the bucket: `s3://lake`.
    fn place(&self) -> String;

    /// Bytes of every part but the last.
    fn part_size(&self) -> usize;

    /// Parts of one file that are on their way at the same time.
    fn parallel_parts(&self) -> usize;

    /// Runs what sends the parts.
    fn shutdown(&self) -> &Shutdown;

    /// True the first time it is asked: a missing right to list is told once, not for every task.
    fn tell_about_listing(&self) -> bool;

    /// Creates an upload whose object will carry `mark`.
    async fn create_upload(&self, key: &str, mark: &str) -> Result<Created, Self::Failure>;

    /// Stores part `number` (from 1) invisibly; repeating it replaces the part.
    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        body: Bytes,
    ) -> Result<Self::Part, Self::Failure>;

    /// Makes the object visible. `parts` are in their order.
    async fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: Vec<Self::Part>,
    ) -> Result<(), Self::Failure>;

    /// True when the object at `key` came from the upload with this mark, in this size.
    async fn is_object_of(&self, key: &str, mark: &str, bytes: u64) -> Result<bool, Self::Failure>;

    /// Aborts an upload. One that is gone already is aborted.
    async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<(), Self::Failure>;

    /// True when an upload still holds parts.
    async fn upload_exists(&self, key: &str, upload_id: &str) -> Result<bool, Self::Failure>;

    /// Key and id of every unfinished upload whose key begins with `prefix`.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, Self::Failure>;

    /// Every key that begins with `prefix`.
    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>, Self::Failure>;

    /// Deletes an object. One that is gone already is deleted.
    async fn delete(&self, key: &str) -> Result<(), Self::Failure>;
}

/// Opens the place of one attempt, and aborts what an earlier one left unfinished there.
pub(super) async fn begin<S: MultipartStore>(
    store: &Arc<S>,
    prefix: &str,
    target: &Target,
) -> Result<Arc<dyn Upload>, Fault> {
    let directory = key::directory(prefix, &target.path)?;
    match cleanup::abort_stale_uploads(&**store, &target.task, &directory).await {
        Ok(()) => {}
        // Every request of this attempt would end the same way.
        Err(fault) if matches!(fault.kind(), FaultKind::Request | FaultKind::Credentials) => {
            return Err(fault);
        }
        // Housekeeping only: what is left costs storage, no reader sees it.
        Err(fault) => tracing::warn!(
            task.id = %target.task, place = store.place(), error = fault.chain(),
            "cannot look for unfinished uploads of an earlier attempt"
        ),
    }
    Ok(Arc::new(MultipartUpload::new(Arc::clone(store), target.task.clone(), directory)))
}

/// Deletes one file of a task without looking for it.
pub(super) async fn delete<S: MultipartStore>(
    store: &S,
    prefix: &str,
    target: &Target,
    name: &PartName,
) -> Result<(), Fault> {
    let key = format!("{}{name}", key::directory(prefix, &target.path)?);
    let deleted = store.delete(&key).await;
    deleted.map_err(|failure| failure.fault(format!("delete `{}/{key}`", store.place())))
}
