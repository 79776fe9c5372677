//! Making the files of an attempt visible, several at the same time.

use std::future::Future;

use futures::{StreamExt, stream};

use crate::fault::Fault;

/// Waits until every one of `files` is visible or has failed, at most `parallel` at the same time; an error is
/// the first one. A request that was left in its middle could be carried out after everything has been taken
/// back.
pub(super) async fn publish_all<T>(
    files: Vec<impl Future<Output = Result<T, Fault>>>,
    parallel: usize,
) -> Result<Vec<T>, Fault> {
    let ended: Vec<_> = stream::iter(files).buffer_unordered(parallel).collect().await;
    ended.into_iter().collect()
}
