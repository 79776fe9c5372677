//! Removes what an earlier attempt of the same task left in a bucket.

use futures::{StreamExt, TryStreamExt, stream};

use super::{MultipartStore, StoreFailure};
use crate::destination::{PartName, key};
use crate::fault::Fault;
use crate::task::TaskId;

/// Requests of one attempt that run at the same time, outside of parts.
pub(super) const PARALLEL_REQUESTS: usize = 8;
/// How often an upload is aborted: a part that was on its way can arrive after the first time.
const ABORT_ROUNDS: usize = 3;

/// Aborts every unfinished upload of `task`.
///
/// Without the right to list them, and on a store that cannot, nothing happens; that is told once.
pub(super) async fn abort_stale_uploads<S: MultipartStore>(
    store: &S,
    task: &TaskId,
    directory: &str,
) -> Result<(), Fault> {
    let prefix = format!("{directory}{}", PartName::prefix(task));
    let uploads = match store.list_uploads(&prefix).await {
        Ok(uploads) => uploads,
        Err(failure) if failure.is_unknown_to_the_store() => {
            tracing::debug!(place = store.place(), "the store cannot list unfinished uploads");
            return Ok(());
        }
        Err(failure) if failure.is_forbidden() => {
            tell_about_listing(store, failure, "list the unfinished uploads");
            return Ok(());
        }
        Err(failure) => {
            return Err(failure.fault(format!("list the unfinished uploads of `{}`", store.place())));
        }
    };
    let stale = uploads.into_iter().filter(|(key, _)| key::is_file_of(key, directory, task));
    stream::iter(stale)
        .for_each_concurrent(
            PARALLEL_REQUESTS,
            |(key, id)| async move { abort_upload(store, &key, &id).await },
        )
        .await;
    Ok(())
}

/// Deletes the files of `task` that are not among `ours`.
///
/// Without the right to list, nothing happens; that is told once. A file that is found and cannot
/// be deleted is a fault, because readers would see its rows twice.
pub(super) async fn delete_leftovers<S: MultipartStore>(
    store: &S,
    task: &TaskId,
    directory: &str,
    ours: &[String],
) -> Result<(), Fault> {
    let prefix = format!("{directory}{}", PartName::prefix(task));
    let keys = match store.list_keys(&prefix).await {
        Ok(keys) => keys,
        Err(failure) if failure.is_forbidden() => {
            tell_about_listing(store, failure, "list the files of an earlier attempt");
            return Ok(());
        }
        Err(failure) => {
            return Err(failure.fault(format!("list the files in `{}/{prefix}`", store.place())));
        }
    };
    let leftovers =
        keys.into_iter().filter(|key| key::is_file_of(key, directory, task) && !ours.contains(key));
    stream::iter(leftovers.map(Ok))
        .try_for_each_concurrent(PARALLEL_REQUESTS, |key| async move {
            store.delete(&key).await.map_err(|failure| {
                failure.fault(format!("delete `{}/{key}` of an earlier attempt", store.place()))
            })
        })
        .await
}

/// Aborts one upload until it is gone. What cannot be aborted is logged.
pub(super) async fn abort_upload<S: MultipartStore>(store: &S, key: &str, upload_id: &str) {
    if let Err(failure) = try_to_abort(store, key, upload_id).await {
        tell_about_the_rest(store, key, upload_id, failure);
    }
}

/// Aborts one upload until it is gone.
pub(super) async fn try_to_abort<S: MultipartStore>(
    store: &S,
    key: &str,
    upload_id: &str,
) -> Result<(), S::Failure> {
    for _ in 0..ABORT_ROUNDS {
        store.abort_upload(key, upload_id).await?;
        // Without the right to ask, once has to do.
        if !store.upload_exists(key, upload_id).await.unwrap_or(false) {
            break;
        }
    }
    Ok(())
}

/// Logs that an upload could not be aborted.
pub(super) fn tell_about_the_rest<S: MultipartStore>(
    store: &S,
    key: &str,
    upload_id: &str,
    failure: S::Failure,
) {
    let fault = failure.fault("abort a multipart upload");
    tracing::warn!(
        place = store.place(),
        key,
        upload.id = upload_id,
        error = fault.chain(),
        hint = fault.hint(),
        "an unfinished upload is left; nobody sees it, but its parts are stored: \
         the next attempt of the task, or a life-cycle rule of the bucket, removes it"
    );
}

fn tell_about_listing<S: MultipartStore>(store: &S, failure: S::Failure, action: &'static str) {
    if store.tell_about_listing() {
        let fault = failure.fault(action);
        tracing::warn!(
            place = store.place(),
            error = fault.chain(),
            hint = S::LISTING_HINT,
            "cannot look for what an earlier attempt left: if a repeated attempt writes fewer files \
             than the one before, the surplus ones stay"
        );
    }
}
