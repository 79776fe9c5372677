//! A file that waits on this machine until it may become visible.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::sync::OnceCell;

use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A private temporary file, made when it is first needed. It has no name any more as soon as it is
/// open, so it goes away with the last handle, also when the process is killed. On an encrypted stage
/// its content is encrypted before it gets here.
#[derive(Debug, Default)]
pub(super) struct Spool {
    file: OnceCell<Arc<File>>,
    bytes: AtomicU64,
}

/// What was spooled.
#[derive(Debug)]
pub(super) struct Content {
    file: Arc<File>,
    pub(super) bytes: u64,
}

impl Spool {
    /// Writes behind everything that was appended before.
    pub(super) async fn append(&self, block: Bytes) -> Result<(), Fault> {
        let offset = self.bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
        let file = Arc::clone(self.file().await?);
        blocking("write a temporary file", move || file.write_all_at(&block, offset)).await
    }

    /// Everything that was appended.
    pub(super) async fn content(&self) -> Result<Content, Fault> {
        let file = Arc::clone(self.file().await?);
        Ok(Content { file, bytes: self.bytes.load(Ordering::Relaxed) })
    }

    /// In the system's directory for temporary files (`TMPDIR`).
    async fn file(&self) -> Result<&Arc<File>, Fault> {
        let open = || {
            blocking("open a temporary file", || {
                let name = format!(".data-exchange-{}", uuid::Uuid::new_v4().simple());
                let path = std::env::temp_dir().join(name);
                let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
                std::fs::remove_file(&path)?;
                Ok(Arc::new(file))
            })
        };
        self.file.get_or_try_init(open).await
    }
}

impl Content {
    /// All of it, from the beginning.
    pub(super) fn read(&self) -> impl Stream<Item = Result<Bytes, Fault>> + Send + use<> {
        let (file, bytes) = (Arc::clone(&self.file), self.bytes);
        futures::stream::try_unfold((file, 0_u64), move |(file, offset)| async move {
            if offset >= bytes {
                return Ok(None);
            }
            let length = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(READ_BYTES);
            let from = Arc::clone(&file);
            let chunk = blocking("read a temporary file", move || {
                let mut chunk = BytesMut::zeroed(length);
                from.read_exact_at(&mut chunk, offset)?;
                Ok(chunk.freeze())
            })
            .await?;
            Ok(Some((chunk, (file, offset + length as u64))))
        })
    }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    let failed = move |error| {
        let remedy = "Files for this stage wait in the directory for temporary files until the task commits: \
             see that it has room, or name another one with TMPDIR.";
        Fault::new(FaultKind::Transient, action).because(error).remedy(remedy)
    };
    run_blocking(action, move || work().map_err(failed)).await
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_as_often_as_wanted() {
        let spool = Spool::default();
        let content: Vec<u8> = (0..READ_BYTES * 2 + 17).map(|index| (index % 253) as u8).collect();
        for block in content.chunks(100_000) {
            spool.append(Bytes::copy_from_slice(block)).await.expect("write");
        }
        let spooled = spool.content().await.expect("the file is open");
        assert_eq!(spooled.bytes, content.len() as u64);
        for _ in 0..2 {
            let chunks: Vec<Bytes> = spooled.read().try_collect().await.expect("read");
            assert!(chunks.concat() == content);
        }
    }
}
