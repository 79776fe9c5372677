//! A directory of this machine, as emulators name it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::spool::Spool;
use super::{Found, Metadata, StagedFile, Storage};
use crate::fault::{Fault, FaultKind};

const READ_BYTES: usize = 256 * 1024;

/// A server that is not on this machine has no business with its directories.
pub(super) fn refuse_unless(is_allowed: bool, directory: &str) -> Result<(), Fault> {
    let is_plain = Path::new(directory).is_absolute() && !directory.split('/').any(|name| name == "..");
    if is_allowed && is_plain {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Request, "use the storage of the stage").because(
        "the server named a directory of this machine, which only an emulator on this machine may do",
    ))
}

pub(super) struct DirectoryStorage(PathBuf);

struct DirectoryFile {
    directory: PathBuf,
    name: String,
    spool: Spool,
}

impl DirectoryStorage {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }
}

#[async_trait]
impl Storage for DirectoryStorage {
    fn create(&self, file_name: &str) -> Result<Arc<dyn StagedFile>, Fault> {
        Ok(Arc::new(DirectoryFile {
            directory: self.0.clone(),
            name: file_name.to_owned(),
            spool: Spool::default(),
        }))
    }

    fn parallel_blocks(&self) -> usize {
        1
    }

    async fn look(&self, file_name: &str) -> Result<Option<Found>, Fault> {
        let path = self.0.join(file_name);
        match tokio::fs::metadata(&path).await {
            Ok(found) => Ok(Some(Found { bytes: Some(found.len()), ..Found::default() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at", &path, error)),
        }
    }

    async fn read(
        &self,
        file_name: &str,
    ) -> Result<(Found, BoxStream<'static, Result<Bytes, Fault>>), Fault> {
        let path = self.0.join(file_name);
        let file = tokio::fs::File::open(&path).await.map_err(|error| failed("open", &path, error))?;
        let chunks = futures::stream::try_unfold((file, path), |(mut file, path)| async move {
            let mut chunk = vec![0; READ_BYTES];
            let length = file.read(&mut chunk).await.map_err(|error| failed("read", &path, error))?;
            chunk.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(chunk), (file, path))))
        });
        Ok((Found::default(), chunks.boxed()))
    }

    async fn discard_earlier(&self, _: &str, _: &(dyn for<'n> Fn(&'n str) -> bool + Sync)) -> bool {
        false
    }
}

#[async_trait]
impl StagedFile for DirectoryFile {
    async fn store(&self, _number: u32, block: Bytes) -> Result<(), Fault> {
        self.spool.append(block).await
    }

    async fn publish(&self, _metadata: &Metadata) -> Result<(), Fault> {
        let content = self.spool.content().await?;
        let target = self.directory.join(&self.name);
        let temporary = self.directory.join(format!(".{}.{}", self.name, uuid::Uuid::new_v4().simple()));
        let written = async {
            tokio::fs::create_dir_all(&self.directory).await?;
            let mut file = tokio::fs::File::create_new(&temporary).await?;
            let mut chunks = std::pin::pin!(content.read());
            while let Some(chunk) =
                chunks.try_next().await.map_err(|fault| std::io::Error::other(fault.chain()))?
            {
                file.write_all(&chunk).await?;
            }
            file.sync_all().await?;
            tokio::fs::rename(&temporary, &target).await
        };
        if let Err(error) = written.await {
            let _ = tokio::fs::remove_file(&temporary).await;
            return Err(failed("write", &target, error));
        }
        Ok(())
    }

    async fn discard(&self) {}
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Fault {
    Fault::new(FaultKind::Transient, format!("{what} `{}`", path.display())).because(error)
}
