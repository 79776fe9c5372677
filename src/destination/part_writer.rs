//! One file that is sent in parts while it is written, for stores that keep parts until the commit.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::content_hash::ContentHash;
use super::{PartName, PartWriter, StoredPart};
use crate::fault::{Fault, FaultKind};
use crate::shutdown::{self, Shutdown};

/// Where the parts of one file go.
#[async_trait]
pub(super) trait PartSink: Send + Sync + 'static {
    /// Runs what sends the parts.
    fn shutdown(&self) -> &Shutdown;

    /// Bytes of every part but the last.
    fn part_size(&self) -> usize;

    /// Parts that are on their way at the same time.
    fn parallel_parts(&self) -> usize;

    /// Parts that a file has at most.
    fn max_parts(&self) -> u32;

    /// What the file is called in messages.
    fn location(&self) -> String;

    /// Stores part `number` (from 1) durably and invisibly, and remembers it. Called at the same
    /// time for several parts, once for each. An empty file has one empty part.
    async fn store(&self, number: u32, part: Bytes) -> Result<(), Fault>;

    /// Notes that every part is stored, and returns the token of the file.
    fn finish(&self) -> String;
}

type PartTask = AbortOnDropHandle<Result<(), Fault>>;

/// Fills one part while others are on their way.
///
/// Chunks are copied into the part: one that was kept as it is would keep its whole allocation
/// alive, and the memory of the agent would depend on how an encoder cuts its output.
pub(super) struct PartedFile<S> {
    sink: Arc<S>,
    name: PartName,
    filling: BytesMut,
    /// Parts that were begun.
    part_count: u32,
    /// Dropping the writer stops them.
    in_flight: FuturesUnordered<PartTask>,
    hash: Hashing,
}

impl<S: PartSink> PartedFile<S> {
    pub(super) fn new(name: PartName, sink: Arc<S>) -> Self {
        Self {
            sink,
            name,
            filling: BytesMut::new(),
            part_count: 0,
            in_flight: FuturesUnordered::new(),
            hash: Hashing::Idle(ContentHash::default()),
        }
    }

    /// Sends the part that was filled, once there is room for it.
    async fn send(&mut self, part: Bytes) -> Result<(), Fault> {
        let most = self.sink.max_parts();
        if self.part_count == most {
            let (file, size) = (self.sink.location(), self.sink.part_size());
            let action = format!("write `{file}`: a file has at most {most} parts, of {size} bytes here");
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Raise `part_size` of the connection, or set a smaller `max_file_size`."));
        }
        while self.in_flight.len() >= self.sink.parallel_parts() {
            self.wait_for_one().await?;
        }
        self.hash.push(part.clone()).await?;
        self.part_count += 1;
        let (sink, number) = (Arc::clone(&self.sink), self.part_count);
        let task = self.sink.shutdown().spawn(async move { sink.store(number, part).await });
        self.in_flight.push(AbortOnDropHandle::new(task));
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), Fault> {
        self.in_flight.next().await.map_or(Ok(()), ended)
    }
}

fn ended(part: Result<Result<(), Fault>, tokio::task::JoinError>) -> Result<(), Fault> {
    part.map_err(|error| Fault::new(FaultKind::Bug, "store a part").because(error))?
}

#[async_trait]
impl<S: PartSink> PartWriter for PartedFile<S> {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), Fault> {
        // Parts that have ended meanwhile: a failed one is told now, not when the next is full.
        while let Some(Some(part)) = self.in_flight.next().now_or_never() {
            ended(part)?;
        }
        let part_size = self.sink.part_size();
        while chunk.has_remaining() {
            if self.filling.is_empty() {
                self.filling = BytesMut::with_capacity(part_size);
            }
            let room = part_size - self.filling.len();
            self.filling.extend_from_slice(&chunk.split_to(room.min(chunk.len())));
            if self.filling.len() == part_size {
                let part = std::mem::take(&mut self.filling).freeze();
                self.send(part).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, rows: u64) -> Result<StoredPart, Fault> {
        if !self.filling.is_empty() || self.part_count == 0 {
            let last = std::mem::take(&mut self.filling).freeze();
            self.send(last).await?;
        }
        while !self.in_flight.is_empty() {
            self.wait_for_one().await?;
        }
        let hash = self.hash.take().await?;
        let token = self.sink.finish();
        let bytes = hash.bytes();
        Ok(StoredPart { name: self.name.clone(), rows, bytes, sha256: hash.finish(), token })
    }
}

/// The hash of the file, on a blocking thread while parts are sent.
///
/// Invariant: at most one part is being hashed, and it is either in flight as well or takes the
/// place of one that is, so hashing adds nothing to the memory of the writer.
enum Hashing {
    Idle(ContentHash),
    Busy(JoinHandle<ContentHash>),
}

impl Hashing {
    async fn push(&mut self, part: Bytes) -> Result<(), Fault> {
        let mut hash = self.take().await?;
        *self = Self::Busy(shutdown::spawn_blocking(move || {
            hash.update(&part);
            hash
        }));
        Ok(())
    }

    /// The hash of everything that was pushed; leaves an empty one.
    async fn take(&mut self) -> Result<ContentHash, Fault> {
        match std::mem::replace(self, Self::Idle(ContentHash::default())) {
            Self::Idle(hash) => Ok(hash),
            Self::Busy(job) => {
                job.await.map_err(|error| Fault::new(FaultKind::Bug, "hash a part").because(error))
            }
        }
    }
}
