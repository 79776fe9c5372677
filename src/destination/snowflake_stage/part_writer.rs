//! One file, encrypted and sent in blocks while it is written.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::upload::{Attempt, KnownFile};
use super::{BLOCK_BYTES, PARALLEL_BLOCKS};
use crate::destination::{PartName, PartWriter, StoredPart};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::run_blocking;
use crate::snowflake::put::digest::{FileDigests, Finished};
use crate::snowflake::put::encryption::{self, Encryptor, KeyMetadata};
use crate::snowflake::put::storage::Metadata;

/// What is done with a block before it is sent.
const SEALING: &str = "encrypt a block";

type BlockTask = AbortOnDropHandle<Result<(), Fault>>;

/// Fills one block while others are encrypted and on their way.
///
/// Chunks are copied into the block: one that was kept as it is would keep its whole allocation
/// alive. Blocks are encrypted in place, so that encryption takes no memory of its own.
pub(super) struct StagePartWriter {
    attempt: Arc<Attempt>,
    file: Arc<KnownFile>,
    name: PartName,
    key: Option<KeyMetadata>,
    filling: BytesMut,
    block_count: u32,
    /// Dropping the writer stops them.
    in_flight: FuturesUnordered<BlockTask>,
    sealer: Sealing,
}

/// What turns content into what is stored, in order.
struct Sealer {
    digests: FileDigests,
    encryptor: Option<Encryptor>,
}

/// Invariant: at most one block is being sealed, and it is in flight, so that it adds nothing to the
/// memory of the writer.
enum Sealing {
    Idle(Box<Sealer>),
    Busy(oneshot::Receiver<Box<Sealer>>),
    Failed,
}

impl StagePartWriter {
    pub(super) fn new(attempt: Arc<Attempt>, file: Arc<KnownFile>, name: PartName) -> Result<Self, Fault> {
        const { assert!(BLOCK_BYTES.is_multiple_of(encryption::BLOCK_BYTES)) };
        let (encryptor, key) = match attempt.material() {
            Some(material) => {
                let (encryptor, key) = Encryptor::new(material)?;
                (Some(encryptor), Some(key))
            }
            None => (None, None),
        };
        let digests = FileDigests::new(attempt.storage().wants_md5());
        Ok(Self {
            attempt,
            file,
            name,
            key,
            filling: BytesMut::new(),
            block_count: 0,
            in_flight: FuturesUnordered::new(),
            sealer: Sealing::Idle(Box::new(Sealer { digests, encryptor })),
        })
    }

    /// Sends a block that is not the last one, once there is room for it.
    async fn send(&mut self, block: BytesMut) -> Result<(), Fault> {
        let parallel = self.attempt.storage().parallel_blocks().min(PARALLEL_BLOCKS);
        while self.in_flight.len() >= parallel {
            self.wait_for_one().await?;
        }
        if self.block_count == 0 {
            // More follows, so the digest is not known yet.
            let metadata = Metadata { key: self.key.clone(), ..Metadata::default() };
            self.file.staged.begin(&metadata).await?;
        }
        let sealer = self.take_sealer().await?;
        self.block_count += 1;
        let (give_back, returned) = oneshot::channel();
        self.sealer = Sealing::Busy(returned);
        let (file, number) = (Arc::clone(&self.file), self.block_count);
        let task = self.attempt.shutdown().spawn(async move {
            let (sealer, sealed) = run_blocking(SEALING, move || sealer.seal(block)).await?;
            // Nobody waits for it any more when the writer was dropped.
            let _ = give_back.send(sealer);
            file.staged.store(number, sealed).await
        });
        self.in_flight.push(AbortOnDropHandle::new(task));
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), Fault> {
        match self.in_flight.next().await {
            None => Ok(()),
            Some(ended) => note(ended),
        }
    }

    async fn take_sealer(&mut self) -> Result<Box<Sealer>, Fault> {
        match std::mem::replace(&mut self.sealer, Sealing::Failed) {
            Sealing::Idle(sealer) => Ok(sealer),
            Sealing::Busy(returned) => match returned.await {
                Ok(sealer) => Ok(sealer),
                // Its task ended early: that says why.
                Err(_) => {
                    while !self.in_flight.is_empty() {
                        self.wait_for_one().await?;
                    }
                    Err(Fault::new(FaultKind::Bug, SEALING))
                }
            },
            Sealing::Failed => {
                Err(Fault::new(FaultKind::Bug, format!("write `{}` after a failure", self.name)))
            }
        }
    }
}

fn note(ended: Result<Result<(), Fault>, tokio::task::JoinError>) -> Result<(), Fault> {
    ended.map_err(|error| Fault::new(FaultKind::Bug, "store a block").because(error))?
}

impl Sealer {
    /// A block that is not the last.
    fn seal(mut self: Box<Self>, mut block: BytesMut) -> Result<(Box<Self>, Bytes), Fault> {
        self.digests.update_content(&block);
        if let Some(encryptor) = &mut self.encryptor {
            encryptor.encrypt(&mut block)?;
        }
        self.digests.update_stored(&block);
        Ok((self, block.freeze()))
    }

    /// The last block, and the digests of the whole.
    fn finish(mut self, mut block: BytesMut) -> Result<(Finished, Bytes), Fault> {
        self.digests.update_content(&block);
        if let Some(encryptor) = self.encryptor {
            encryptor.finish(&mut block)?;
        }
        self.digests.update_stored(&block);
        Ok((self.digests.finish(), block.freeze()))
    }
}

#[async_trait]
impl PartWriter for StagePartWriter {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), Fault> {
        // Blocks that have ended meanwhile: a failed one is told now, not when the next is full.
        while let Some(Some(ended)) = self.in_flight.next().now_or_never() {
            note(ended)?;
        }
        while chunk.has_remaining() {
            // Only when more follows: the last block is one that `finish` sends.
            if self.filling.len() == BLOCK_BYTES {
                let block = std::mem::take(&mut self.filling);
                self.send(block).await?;
            }
            if self.filling.is_empty() {
                self.filling = BytesMut::with_capacity(BLOCK_BYTES + encryption::BLOCK_BYTES);
            }
            let room = BLOCK_BYTES - self.filling.len();
            self.filling.extend_from_slice(&chunk.split_to(room.min(chunk.len())));
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, rows: u64) -> Result<StoredPart, Fault> {
        let sealer = self.take_sealer().await?;
        let last = std::mem::take(&mut self.filling);
        let (finished, last) = run_blocking(SEALING, move || sealer.finish(last)).await?;
        let metadata = Metadata {
            key: self.key.clone(),
            digest: Some(finished.content),
            stored_md5: finished.stored_md5.clone(),
        };
        if self.block_count == 0 {
            self.file.staged.begin(&metadata).await?;
        }
        // On storage that keeps the order, the last block is begun after all others have ended.
        let parallel = self.attempt.storage().parallel_blocks().min(PARALLEL_BLOCKS);
        while self.in_flight.len() >= parallel {
            self.wait_for_one().await?;
        }
        self.file.staged.store(self.block_count + 1, last).await?;
        while !self.in_flight.is_empty() {
            self.wait_for_one().await?;
        }
        let part = StoredPart {
            name: self.name.clone(),
            rows,
            bytes: finished.content_bytes,
            sha256: finished.content.to_hex(),
            token: self.file.token.clone(),
        };
        self.file.finished(finished, metadata);
        Ok(part)
    }
}
