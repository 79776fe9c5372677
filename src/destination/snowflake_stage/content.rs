//! Whether a file on the stage has the content that is to be stored.

use futures::TryStreamExt;

use super::Shared;
use super::listing::StageFiles;
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;
use crate::snowflake::put::digest::{ContentDigest, FileDigests};
use crate::snowflake::put::encryption::Decryptor;
use crate::snowflake::put::storage::{self, Storage};
use crate::snowflake::put::{Grant, Request};

/// True when `file_name` is visible with this content. A file whose content cannot be found out
/// counts as another one, and is stored again.
pub(super) async fn is_same(
    shared: &Shared,
    files: &StageFiles,
    storage: &dyn Storage,
    file_name: &str,
    digest: ContentDigest,
) -> Result<bool, Fault> {
    if let Some(found) = storage.look(file_name).await?
        && let Some(found) = found.digest
    {
        return Ok(found == digest.to_base64());
    }
    match read_digest(shared, files, file_name).await {
        Ok(found) => Ok(found == digest.to_base64()),
        Err(fault) if fault.kind().is_retryable() => Err(fault),
        Err(fault) => {
            tracing::warn!(
                task.id = %files.task, file = file_name, error = fault.chain(), hint = fault.hint(),
                "cannot find out whether a file on the stage has the same content, so it is stored again; \
                 something that has loaded it already may load it once more"
            );
            Ok(false)
        }
    }
}

/// The digest of a visible file: what its metadata say, else that of its content.
async fn read_digest(shared: &Shared, files: &StageFiles, file_name: &str) -> Result<String, Fault> {
    let request = Request::Download(files.location.clone(), file_name.to_owned());
    let grant = std::sync::Arc::new(Grant::ask(shared.client.clone(), request, files.tag()).await?);
    let answer = grant.answer();
    let index = answer.files.iter().position(|name| name.rsplit('/').next() == Some(file_name));
    let material = answer.encryption.get(index.unwrap_or(0)).cloned();
    let storage = storage::open(std::sync::Arc::clone(&grant), &shared.connections)?;
    let (found, mut content) = storage.read(file_name).await?;
    if let Some(digest) = found.digest {
        return Ok(digest);
    }
    let mut decryptor = match (&material, &found.key) {
        (Some(material), Some((key, vector))) => Some(Decryptor::new(&material.master_key, key, vector)?),
        (None, None) => None,
        _ => {
            return Err(Fault::new(FaultKind::Data, format!("decrypt `{file_name}` of the stage"))
                .because("its metadata and the stage do not agree about its encryption"));
        }
    };
    let mut digests = FileDigests::new(false);
    while let Some(chunk) = content.try_next().await? {
        (digests, decryptor) = run_blocking("compare a file of the stage", move || {
            match &mut decryptor {
                Some(decryptor) => digests.update_content(decryptor.decrypt(&chunk)?),
                None => digests.update_content(&chunk),
            }
            Ok((digests, decryptor))
        })
        .await?;
    }
    if let Some(decryptor) = decryptor {
        digests.update_content(&decryptor.finish()?);
    }
    Ok(digests.finish().content.to_base64())
}
