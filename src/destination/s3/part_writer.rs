//! One file, sent in parts while it is written.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::CompletedPart;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::upload::Attempt;
use crate::destination::content_hash::ContentHash;
use crate::destination::{PartName, PartWriter, StoredPart};
use crate::fault::{Fault, FaultKind};
use crate::shutdown;

/// S3 takes no more parts in one file.
pub(super) const MAX_PARTS: i32 = 10_000;

type PartTask = AbortOnDropHandle<Result<CompletedPart, Fault>>;

/// Fills one part while others are on their way.
///
/// Chunks are copied into the part: one that was kept as it is would keep its whole allocation
/// alive, and the memory of the agent would depend on how an encoder cuts its output.
pub(super) struct S3PartWriter {
    attempt: Arc<Attempt>,
    name: PartName,
    key: String,
    upload_id: String,
    filling: BytesMut,
    /// Parts that were begun.
    part_count: i32,
    /// Dropping the writer stops them.
    in_flight: FuturesUnordered<PartTask>,
    stored: Vec<CompletedPart>,
    hash: Hashing,
}

impl S3PartWriter {
    pub(super) fn new(attempt: Arc<Attempt>, name: PartName, key: String, upload_id: String) -> Self {
        Self {
            attempt,
            name,
            key,
            upload_id,
            filling: BytesMut::new(),
            part_count: 0,
            in_flight: FuturesUnordered::new(),
            stored: Vec::new(),
            hash: Hashing::Idle(ContentHash::default()),
        }
    }

    /// Sends the part that was filled, once there is room for it.
    async fn send(&mut self, part: Bytes) -> Result<(), Fault> {
        let store = self.attempt.store();
        if self.part_count == MAX_PARTS {
            let action = format!(
                "write `s3://{}/{}`: a file has at most {MAX_PARTS} parts, of {} bytes here",
                store.bucket(),
                self.key,
                store.part_size()
            );
            return Err(Fault::new(FaultKind::Request, action)
                .remedy("Raise `part_size` of the connection, or set a smaller `max_file_size`."));
        }
        while self.in_flight.len() >= self.attempt.store().parallel_parts() {
            self.wait_for_one().await?;
        }
        self.hash.push(part.clone()).await?;
        self.part_count += 1;
        let attempt = Arc::clone(&self.attempt);
        let (key, upload_id, number) = (self.key.clone(), self.upload_id.clone(), self.part_count);
        let upload = async move {
            let store = attempt.store();
            store.upload_part(&key, &upload_id, number, part).await.map_err(|failure| {
                failure.fault(format!("store part {number} of `s3://{}/{key}`", store.bucket()))
            })
        };
        let task = self.attempt.store().shutdown().spawn(upload);
        self.in_flight.push(AbortOnDropHandle::new(task));
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), Fault> {
        match self.in_flight.next().await {
            None => Ok(()),
            Some(ended) => self.note(ended),
        }
    }

    fn note(
        &mut self,
        ended: Result<Result<CompletedPart, Fault>, tokio::task::JoinError>,
    ) -> Result<(), Fault> {
        let part = ended.map_err(|error| Fault::new(FaultKind::Bug, "store a part").because(error))??;
        self.stored.push(part);
        Ok(())
    }
}

#[async_trait]
impl PartWriter for S3PartWriter {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), Fault> {
        // Parts that have ended meanwhile: a failed one is told now, not when the next is full.
        while let Some(Some(ended)) = self.in_flight.next().now_or_never() {
            self.note(ended)?;
        }
        let part_size = self.attempt.store().part_size();
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
        // An upload needs a part to be completed, so an empty file has an empty one.
        if !self.filling.is_empty() || self.part_count == 0 {
            let last = std::mem::take(&mut self.filling).freeze();
            self.send(last).await?;
        }
        while !self.in_flight.is_empty() {
            self.wait_for_one().await?;
        }
        let hash = self.hash.take().await?;
        let mut parts = std::mem::take(&mut self.stored);
        parts.sort_by_key(CompletedPart::part_number);
        self.attempt.finished(&self.upload_id, parts);
        Ok(StoredPart {
            name: self.name.clone(),
            rows,
            bytes: hash.bytes(),
            sha256: hash.finish(),
            token: self.upload_id.clone(),
        })
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
