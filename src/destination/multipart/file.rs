//! One file while it is written: the parts of one upload.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::upload::Attempt;
use super::{MultipartStore, StoreFailure};
use crate::destination::part_writer::PartSink;
use crate::fault::Fault;
use crate::shutdown::Shutdown;

pub(super) struct MultipartFile<S: MultipartStore> {
    attempt: Arc<Attempt<S>>,
    key: String,
    upload_id: String,
    stored: Mutex<Vec<(u32, S::Part)>>,
}

impl<S: MultipartStore> MultipartFile<S> {
    pub(super) fn new(attempt: Arc<Attempt<S>>, key: String, upload_id: String) -> Self {
        Self { attempt, key, upload_id, stored: Mutex::default() }
    }
}

#[async_trait]
impl<S: MultipartStore> PartSink for MultipartFile<S> {
    fn shutdown(&self) -> &Shutdown {
        self.attempt.store().shutdown()
    }

    fn part_size(&self) -> usize {
        self.attempt.store().part_size()
    }

    fn parallel_parts(&self) -> usize {
        self.attempt.store().parallel_parts()
    }

    fn max_parts(&self) -> u32 {
        S::MAX_PARTS
    }

    fn location(&self) -> String {
        self.attempt.url(&self.key)
    }

    async fn store(&self, number: u32, part: Bytes) -> Result<(), Fault> {
        let stored = self.attempt.store().upload_part(&self.key, &self.upload_id, number, part).await;
        let stored = stored
            .map_err(|failure| failure.fault(format!("store part {number} of `{}`", self.location())))?;
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push((number, stored));
        Ok(())
    }

    fn finish(&self) -> String {
        let mut stored = std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        stored.sort_by_key(|(number, _)| *number);
        self.attempt.finished(&self.upload_id, stored.into_iter().map(|(_, part)| part).collect());
        self.upload_id.clone()
    }
}
